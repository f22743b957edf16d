"""Every filter of postgrest; what it finds is compared with what Python finds among the same rows."""

import re

from world import Case, ids, rows

PAINTERS = rows("select * from painters order by id")
PAINTINGS = rows("select * from paintings order by id")


def price(row: dict) -> float:
    return -1 if row["price"] is None else row["price"]


def size(row: dict) -> dict:
    return row["details"].get("size") or {}


# name: table, what the client asks, what must hold
PAINTING_FILTERS = {
    "eq": (lambda it: it.eq("id", 3), lambda row: row["id"] == 3),
    "eq_with_reserved_characters": (
        lambda it: it.eq("title", "Fish, fresh (still life)"), lambda row: row["id"] == 4),
    "eq_on_an_enum": (lambda it: it.eq("state", "fair"), lambda row: row["state"] == "fair"),
    "neq": (lambda it: it.neq("state", "good"), lambda row: row["state"] != "good"),
    "gt": (lambda it: it.gt("price", 100), lambda row: price(row) > 100),
    "gte": (lambda it: it.gte("price", 100), lambda row: price(row) >= 100),
    "lt": (lambda it: it.lt("price", 100), lambda row: 0 <= price(row) < 100),
    "lte": (lambda it: it.lte("price", 100), lambda row: 0 <= price(row) <= 100),
    "like": (lambda it: it.like("title", "%boat%"), lambda row: "boat" in row["title"]),
    "ilike": (lambda it: it.ilike("title", "%BOAT%"), lambda row: "boat" in row["title"]),
    "like_all_of": (lambda it: it.like_all_of("title", "%boat%,%dawn"), lambda row: row["id"] == 1),
    "like_any_of": (lambda it: it.like_any_of("title", "%cook,%boat"), lambda row: row["id"] in (2, 3)),
    "ilike_all_of": (lambda it: it.ilike_all_of("title", "%BOAT%,THE%"), lambda row: row["id"] == 2),
    "ilike_any_of": (lambda it: it.ilike_any_of("title", "UNTITLED,fish%"), lambda row: row["id"] in (4, 5)),
    "is_none": (lambda it: it.is_("painter_id", None), lambda row: row["painter_id"] is None),
    "is_null_by_name": (lambda it: it.is_("painter_id", "null"), lambda row: row["painter_id"] is None),
    "not_is": (lambda it: it.not_.is_("price", None), lambda row: row["price"] is not None),
    "in": (lambda it: it.in_("id", [1, 5, 999]), lambda row: row["id"] in (1, 5)),
    "in_with_quotes": (
        lambda it: it.in_("title", ["Untitled", "Fish, fresh (still life)", 'say "hi"']), lambda row: row["id"] in (4, 5)),
    "not_in": (lambda it: it.not_.in_("id", [1, 5]), lambda row: row["id"] not in (1, 5)),
    "not_eq": (lambda it: it.not_.eq("state", "good"), lambda row: row["state"] != "good"),
    "match": (lambda it: it.match({"painter_id": 1, "state": "good"}), lambda row: row["id"] == 1),
    "or": (lambda it: it.or_("id.eq.1,price.gt.200"), lambda row: row["id"] == 1 or price(row) > 200),
    "or_with_and": (
        lambda it: it.or_("id.eq.6,and(state.eq.good,price.lt.110)"), lambda row: row["id"] in (4, 6)),
    "not_or": (lambda it: it.not_.or_("id.eq.1,id.gt.4"), lambda row: row["id"] in (2, 3, 4)),
    "fts": (lambda it: it.fts("search", "'boat' & 'old'"), lambda row: row["id"] == 2),
    "plfts": (lambda it: it.plfts("search", "boats blue"), lambda row: row["id"] == 1),
    "phfts": (lambda it: it.phfts("search", "old boats"), lambda row: row["id"] == 2),
    "wfts": (lambda it: it.wfts("search", "boat -old"), lambda row: row["id"] == 1),
    "text_search": (
        lambda it: it.text_search("search", "boat & !old", {"config": "english"}), lambda row: row["id"] == 1),
    "text_search_plain": (
        lambda it: it.text_search("search", "boats blue", {"config": "english", "type": "plain"}), lambda row: row["id"] == 1),
    "text_search_phrase": (
        lambda it: it.text_search("search", "old boats", {"config": "english", "type": "phrase"}), lambda row: row["id"] == 2),
    "text_search_as_on_the_web": (
        lambda it: it.text_search("search", "cook or fish", {"config": "english", "type": "web_search"}),
        lambda row: row["id"] in (3, 4)),
    "contains_jsonb": (lambda it: it.contains("details", {"size": {"w": 40}}), lambda row: size(row).get("w") == 40),
    "contained_by_jsonb": (
        lambda it: it.contained_by("details", {"tags": [], "size": None}), lambda row: row["id"] in (4, 5, 6)),
    "contains_range": (
        lambda it: it.contains("on_show", "[2030-02-10,2030-02-20)"), lambda row: row["id"] in (1, 2)),
    "contained_by_range": (
        lambda it: it.contained_by("on_show", "[2030-01-01,2030-06-01)"), lambda row: row["id"] in (1, 2)),
    "ov_range": (lambda it: it.ov("on_show", "[2030-05-01,2030-06-10)"), lambda row: row["id"] in (2, 4)),
    "sl": (lambda it: it.sl("on_show", ("2030-06-01", "2030-07-01")), lambda row: row["id"] in (1, 2)),
    "sr": (lambda it: it.sr("on_show", ("2030-01-01", "2030-03-01")), lambda row: row["id"] in (4, 6)),
    "nxl": (lambda it: it.nxl("on_show", ("2030-01-31", "2030-03-01")), lambda row: row["id"] in (2, 4, 6)),
    "nxr": (lambda it: it.nxr("on_show", ("2030-05-01", "2030-06-01")), lambda row: row["id"] in (1, 2)),
    "adj": (lambda it: it.adj("on_show", ("2030-06-30", "2031-01-01")), lambda row: row["id"] in (4, 6)),
    "range_gt": (lambda it: it.range_gt("on_show", ("2030-01-01", "2030-03-01")), lambda row: row["id"] in (4, 6)),
    "range_gte": (lambda it: it.range_gte("on_show", ("2030-01-31", "2030-03-01")), lambda row: row["id"] in (2, 4, 6)),
    "range_lt": (lambda it: it.range_lt("on_show", ("2030-06-01", "2030-07-01")), lambda row: row["id"] in (1, 2)),
    "range_lte": (lambda it: it.range_lte("on_show", ("2030-05-01", "2030-06-01")), lambda row: row["id"] in (1, 2)),
    "range_adjacent": (
        lambda it: it.range_adjacent("on_show", ("2030-06-30", "2031-01-01")), lambda row: row["id"] in (4, 6)),
    "filter": (lambda it: it.filter("id", "gte", "5"), lambda row: row["id"] >= 5),
    "filter_by_expression": (
        lambda it: it.filter("title", "match", "^(Blue|The) "), lambda row: re.match("(Blue|The) ", row["title"])),
    "filter_with_a_modifier": (lambda it: it.filter("id", "eq(any)", "{1,6}"), lambda row: row["id"] in (1, 6)),
    "a_json_path": (lambda it: it.eq("details->size->w", 20), lambda row: size(row).get("w") == 20),
    "a_json_path_as_text": (lambda it: it.eq("details->size->>h", "90"), lambda row: size(row).get("h") == 90),
}

PAINTER_FILTERS = {
    "is_true": (lambda it: it.is_("is_living", True), lambda row: row["is_living"] is True),
    "is_false": (lambda it: it.is_("is_living", False), lambda row: row["is_living"] is False),
    "eq_true": (lambda it: it.eq("is_living", True), lambda row: row["is_living"] is True),
    "contains_array": (lambda it: it.contains("tags", ["oil"]), lambda row: "oil" in row["tags"]),
    "contains_array_with_quotes": (lambda it: it.contains("tags", ["sea, sky"]), lambda row: row["id"] == 2),
    "cs": (lambda it: it.cs("tags", ["ink", "portrait"]), lambda row: row["id"] == 5),
    "cd": (lambda it: it.cd("tags", ["ink", "oil", "portrait"]), lambda row: "sea, sky" not in row["tags"]),
    "contained_by_array": (
        lambda it: it.contained_by("tags", ["ink", "oil", "portrait"]), lambda row: "sea, sky" not in row["tags"]),
    "ov": (lambda it: it.ov("tags", ["ink", "portrait"]), lambda row: {"ink", "portrait"} & set(row["tags"])),
    "overlaps": (lambda it: it.overlaps("tags", ["ink", "portrait"]), lambda row: {"ink", "portrait"} & set(row["tags"])),
    "integer_range": (lambda it: it.sl("active", (1930, 1940)), lambda row: row["id"] in (1, 5)),
    "beyond_ascii": (lambda it: it.like("name", "Éva%"), lambda row: row["id"] == 5),
    "quotes": (lambda it: it.eq("name", 'Éva "Bó" Nagy'), lambda row: row["id"] == 5),
    "a_computed_column": (lambda it: it.eq("initials", "BL"), lambda row: row["id"] == 2),
    "a_deep_json_path": (lambda it: it.eq("facts->home->rooms->>0", "3"), lambda row: row["id"] == 1),
}


def compared(table: str, everything: list[dict], narrow, holds):
    def test(self):
        expected = ids([row for row in everything if holds(row)])
        self.assertTrue(0 < len(expected) < len(everything), "the case tells something")
        found = narrow(self.db.from_(table).select("id")).order("id").execute()
        self.assertEqual(ids(found.data), expected)

    return test


class Filters(Case):
    def test_values_that_look_like_syntax(self):
        nasty = ["'; drop table paintings; --", "null", "eq.1", "a,b", "(a)", '"', "\\", "%", "*", "{}", "ü€😀"]
        for text in nasty:
            self.assertEqual(self.db.from_("paintings").select("id").eq("title", text).execute().data, [], text)
        self.assertEqual(self.db.from_("paintings").select("id").in_("title", nasty).execute().data, [])
        self.assertEqual(self.db.from_("painters").select("id").contains("tags", nasty).execute().data, [])

    def test_embedded_tables(self):
        found = (self.db.from_("painters").select("id", "paintings!painter_id(id)").eq("paintings.state", "good")
                 .lte("id", 2).order("id").execute())
        self.assertEqual(found.data, [{"id": 1, "paintings": [{"id": 1}]}, {"id": 2, "paintings": [{"id": 4}]}])

    def test_or_of_an_embedded_table(self):
        found = (self.db.from_("painters").select("id, paintings!painter_id(id)")
                 .or_("id.eq.2,state.eq.poor", reference_table="paintings").in_("id", [1, 2]).order("id").execute())
        self.assertEqual(found.data, [{"id": 1, "paintings": [{"id": 2}]}, {"id": 2, "paintings": [{"id": 3}]}])
        rest = (self.db.from_("painters").select("id, paintings!painter_id(id)")
                .not_.or_("id.eq.2,state.eq.poor", reference_table="paintings").in_("id", [1, 2]).order("id").execute())
        self.assertEqual(rest.data, [{"id": 1, "paintings": [{"id": 1}]}, {"id": 2, "paintings": [{"id": 4}]}])

    def test_odd_names(self):
        row = self.db.from_("odd names").select('"the id"', '"käse, alt"').eq("the id", 1).single().execute()
        self.assertEqual(row.data, {"the id": 1, "käse, alt": "gouda"})
        found = self.db.from_("odd names").select('"the id"').is_("käse, alt", None).execute()
        self.assertEqual(found.data, [{"the id": 2}])

    def test_what_cannot_be_understood(self):
        error = self.refused(self.db.from_("paintings").select().filter("id", "equals", "1"), "PGRST100")
        self.assertIn("failed to parse filter (equals.1)", error.message)
        self.refused(self.db.from_("paintings").select().eq("id", "one"), "22P02",
                     'invalid input syntax for type bigint: "one"')
        self.refused(self.db.from_("paintings").select().eq("colour", 1), "42703",
                     "column paintings.colour does not exist")


for _table, _everything, _cases in (("paintings", PAINTINGS, PAINTING_FILTERS), ("painters", PAINTERS, PAINTER_FILTERS)):
    for _name, (_narrow, _holds) in _cases.items():
        setattr(Filters, f"test_{_name}_on_{_table}", compared(_table, _everything, _narrow, _holds))

"""What is selected, in which order, how much of it, counted how, in which form, from which schema."""

import json
import unittest

import httpx

from world import WORLD, Case, async_client, ids, recording, rows, sql

PAINTINGS = rows("select * from paintings order by id")


class Reading(Case):
    def test_whole_rows(self):
        self.assertEqual(self.db.from_("paintings").select().execute().data, PAINTINGS)
        self.assertEqual(self.db.table("paintings").select("*").execute().data, PAINTINGS)

    def test_columns_aliases_casts_paths(self):
        row = (self.db.from_("paintings").select("name:title", "price::text", "details->size->w", "h:details->size->>h")
               .eq("id", 1).single().execute())
        self.assertEqual(row.data, {"name": "Blue boats at dawn", "price": "120.50", "w": 40, "h": "30"})

    def test_computed_columns_and_views(self):
        self.assertEqual(self.db.from_("painters").select("initials").eq("id", 1).execute().data, [{"initials": "AR"}])
        self.assertEqual(ids(self.db.from_("shown_paintings").select("id").order("id").execute().data), [1, 2, 4, 6])

    def test_order(self):
        def order(*args, **options):
            return ids(self.db.from_("paintings").select("id").order(*args, **options).order("id").execute().data)

        self.assertEqual(order("price"), [2, 4, 6, 1, 3, 5])
        self.assertEqual(order("price", desc=True), [5, 3, 1, 6, 4, 2])
        self.assertEqual(order("price", nullsfirst=True), [5, 2, 4, 6, 1, 3])
        self.assertEqual(order("price", desc=True, nullsfirst=False), [3, 1, 6, 4, 2, 5])
        self.assertEqual(order("details->size->w", nullsfirst=True)[-1], 3)

    def test_order_and_limit_of_embedded_tables(self):
        found = (self.db.from_("halls").select("id, visits(day)").eq("id", 2).order("day", desc=True, foreign_table="visits")
                 .limit(2, foreign_table="visits").execute())
        self.assertEqual(found.data, [{"id": 2, "visits": [{"day": "2031-05-01"}, {"day": "2030-01-08"}]}])
        ranged = (self.db.from_("halls").select("visits(day)").eq("id", 2).order("day", foreign_table="visits")
                  .range(1, 1, foreign_table="visits").execute())
        self.assertEqual(ranged.data, [{"visits": [{"day": "2030-01-08"}]}])
        by_painter = (self.db.from_("paintings").select("id, painters!painter_id(name)")
                      .order("painters(name)", desc=True, nullsfirst=False).order("id").execute())
        self.assertEqual(ids(by_painter.data), [6, 3, 4, 1, 2, 5])

    def test_pages(self):
        def page(narrow):
            return ids(narrow(self.db.from_("paintings").select("id").order("id")).execute().data)

        self.assertEqual(page(lambda it: it.limit(2)), [1, 2])
        self.assertEqual(page(lambda it: it.limit(2).offset(3)), [4, 5])
        self.assertEqual(page(lambda it: it.range(2, 3)), [3, 4])
        self.assertEqual(page(lambda it: it.range(4, 100)), [5, 6])
        self.assertEqual(page(lambda it: it.range(10, 20)), [])

    def test_counts(self):
        self.assertIsNone(self.db.from_("paintings").select("id").execute().count)
        found = self.db.from_("paintings").select("id", count="exact").order("id").range(1, 2).execute()
        self.assertEqual((found.count, ids(found.data)), (6, [2, 3]))
        for kind in ("planned", "estimated"):
            self.assertGreater(self.db.from_("paintings").select("id", count=kind).execute().count, 0)

    def test_counts_without_rows(self):
        with recording() as (db, calls):
            answer = db.from_("paintings").select("*", count="exact", head=True).eq("state", "good").execute()
        self.assertEqual((answer.count, answer.data), (3, []))
        self.assertEqual((calls[0].request.method, calls[0].content), ("HEAD", b""))

    def test_single_and_maybe_single(self):
        self.assertEqual(self.db.from_("paintings").select("id").eq("id", 1).single().execute().data, {"id": 1})
        none = self.refused(self.db.from_("paintings").select("id").eq("id", 99).single(), "PGRST116",
                            "Cannot coerce the result to a single JSON object")
        self.assertEqual((none.details, none.hint), ("The result contains 0 rows", None))
        self.assertEqual(self.db.from_("paintings").select("id").eq("id", 1).maybe_single().execute().data, {"id": 1})
        self.assertIsNone(self.db.from_("paintings").select("id").eq("id", 99).maybe_single().execute())
        self.refused(self.db.from_("paintings").select("id").maybe_single(), "406")

    def test_csv(self):
        text = self.db.from_("paintings").select("id, title, price").in_("id", [4, 5]).order("id").csv().execute().data
        self.assertEqual(text, 'id,title,price\n4,"Fish, fresh (still life)",99.99\n5,Untitled,')

    def test_without_nulls(self):
        found = self.db.from_("paintings").select("id, painter_id, price").gt("id", 4).order("id").strip_nulls().execute()
        self.assertEqual(found.data, [{"id": 5}, {"id": 6, "painter_id": 5, "price": 100}])
        one = self.db.from_("paintings").select("id, price").eq("id", 5).strip_nulls().single().execute()
        self.assertEqual(one.data, {"id": 5})

    def test_plans(self):
        text = self.db.from_("paintings").select("id").eq("id", 1).explain().execute()
        self.assertRegex(text, r"Aggregate  \(cost=.*\)")
        self.assertNotIn("actual time", text)
        analysed = self.db.from_("paintings").select("id").explain(analyze=True, buffers=True).execute()
        self.assertRegex(analysed, "(?s)actual time.*Execution Time")
        plan = self.db.from_("paintings").select("id").explain(verbose=True, settings=True, format="json").execute().data
        self.assertIn("Output", plan[0]["Plan"])
        self.assertIsInstance(plan[0]["Query Identifier"], int)

    def test_aggregates(self):
        found = self.db.from_("paintings").select("count()", "price.sum()", "top:price.max()").execute()
        self.assertEqual(found.data, [{"count": 6, "sum": 700.49, "top": 300}])
        grouped = self.db.from_("paintings").select("state", "count()").order("state").execute()
        self.assertEqual([it["count"] for it in grouped.data], [1, 2, 3])

    def test_the_description_of_a_schema(self):
        spec = httpx.get(f"{WORLD['url']}/", headers=WORLD["headers"]).json()
        self.assertEqual(spec["swagger"], "2.0")
        self.assertIn("/paintings", spec["paths"])


class Embeds(Case):
    def one(self, table: str, select: str, **where):
        return self.db.from_(table).select(select).match(where).single().execute().data

    def test_every_kind_of_relationship(self):
        self.assertEqual(
            self.one("paintings", "painters!painter_id(name), frames(wood), halls(name), loans(borrower)", id=3),
            {"painters": {"name": "Bo Lind"}, "frames": {"wood": "ash"}, "halls": [{"name": "Store"}],
             "loans": [{"borrower": "Lyon"}, {"borrower": "Oslo"}]})

    def test_hints_and_aliases(self):
        self.assertEqual(
            self.one("paintings", "by:painters!painter_id(name), restored:painters!paintings_restored_by(name)", id=1),
            {"by": {"name": "Ada Rosso"}, "restored": {"name": "Bo Lind"}})
        error = self.refused(self.db.from_("paintings").select("painters(name)"), "PGRST201")
        self.assertEqual(len(error.details), 2)
        self.assertIn("painters!paintings_restored_by", error.hint)
        self.refused(self.db.from_("paintings").select("painters!painter_id(*), painters!restorer_id(*)"), "42712",
                     'table name "paintings_painters_1" specified more than once')

    def test_self_references(self):
        self.assertEqual(self.one("halls", "name, part_of(name), halls(name)", id=2),
                         {"name": "East wing", "part_of": {"name": "Museum"}, "halls": [{"name": "Cabinet"}]})

    def test_inner_and_empty_embeds(self):
        found = self.db.from_("paintings").select("id, frames!inner(wood)").order("id").execute()
        self.assertEqual(ids(found.data), [1, 3, 6])
        found = self.db.from_("paintings").select("id, frames()").is_("frames", None).order("id").execute()
        self.assertEqual(found.data, [{"id": 2}, {"id": 4}, {"id": 5}])

    def test_spreads(self):
        self.assertEqual(self.one("paintings", "title, ...painters!painter_id(painter:name)", id=1),
                         {"title": "Blue boats at dawn", "painter": "Ada Rosso"})
        self.assertEqual(self.one("painters", "name, ...paintings!painter_id(titles:title)", id=5),
                         {"name": 'Éva "Bó" Nagy', "titles": ["50% grey_scale"]})

    def test_computed_relationships_and_views(self):
        self.assertEqual(self.one("painters", "best_painting(title)", id=1), {"best_painting": {"title": "Blue boats at dawn"}})
        self.assertEqual(self.one("shown_paintings", "painters(name), painter_names(full_name)", id=1),
                         {"painters": {"name": "Ada Rosso"}, "painter_names": {"full_name": "Ada Rosso"}})

    def test_no_relationship(self):
        error = self.refused(self.db.from_("halls").select("id, painters(name)"), "PGRST200")
        self.assertEqual(error.message, "Could not find a relationship between 'halls' and 'painters' in the schema cache")


class Asking(Case):
    def test_schemas(self):
        archive = self.db.schema("archive")
        self.assertEqual(ids(archive.from_("papers").select("id").order("id").execute().data), [1, 2])
        self.assertEqual(archive.rpc("count_papers", {}).execute().data, 2)
        self.assertEqual(len(self.client(schema="archive").from_("papers").select().execute().data), 2)
        self.refused(self.db.schema("pg_catalog").from_("pg_class").select(), "PGRST106")
        self.refused(archive.from_("papers").insert({"id": 3, "subject": "x"}), "42501", "permission denied for table papers")

    def test_headers_reach_sql(self):
        trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "rojo=1",
                 "baggage": "userId=alice", "X-Visitor": "Ada"}
        traced = self.client(trace)
        for name, value in trace.items():
            self.assertEqual(traced.rpc("header", {"name": name.lower()}).execute().data, value)

    def test_tokens(self):
        service = self.client().auth(WORLD["serviceRoleKey"])
        self.assertEqual(ids(service.from_("treasures").select("id").order("id").execute().data), [1, 2])
        self.assertEqual(ids(self.db.from_("treasures").select("id").execute().data), [1])
        self.refused(self.client().auth("a.b.c").from_("halls").select(), "PGRST301")
        self.refused(self.client().auth(WORLD["expiredToken"]).from_("halls").select(), "PGRST303", "JWT expired")

    def test_a_missing_table(self):
        error = self.refused(self.db.from_("painting").select(), "PGRST205",
                             "Could not find the table 'public.painting' in the schema cache")
        self.assertEqual((error.hint, error.details), ("Perhaps you meant the table 'public.paintings'", None))
        self.assertEqual(sorted(error.json()), ["code", "details", "hint", "message"])

    def test_an_error_without_a_body_is_named_by_a_header(self):
        self.refused(self.db.from_("painting").select("*", head=True), "PGRST205")

    def test_geojson(self):
        if not sql("select 1 from pg_extension where extname = 'postgis'"):
            self.skipTest("PostGIS is not installed")
        answer = httpx.get(f"{WORLD['url']}/sights?order=id", headers=WORLD["headers"] | {"Accept": "application/geo+json"})
        self.assertEqual(answer.headers["content-type"], "application/geo+json; charset=utf-8")
        self.assertEqual(json.loads(answer.text)["features"][0]["geometry"], {"type": "Point", "coordinates": [10.4, 43.7]})


class Async(unittest.IsolatedAsyncioTestCase):
    async def test_the_asynchronous_client(self):
        async with async_client() as db:
            found = await db.from_("paintings").select("id", count="exact").gt("id", 4).order("id").execute()
            self.assertEqual((found.count, ids(found.data)), (2, [5, 6]))
            self.assertEqual((await db.rpc("add_up", {"a": 1, "b": 2}).execute()).data, 3)
            self.assertEqual((await db.from_("paintings").select("id").eq("id", 1).single().execute()).data, {"id": 1})
            self.assertEqual((await db.schema("archive").rpc("count_papers", {}).execute()).data, 2)

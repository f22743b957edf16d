"""Inserts, upserts, updates, deletes and calls of functions. Each test keeps to rows of its own place."""

import time
import unittest
import uuid
from datetime import date, datetime, timezone

from world import Case, ids, recording, rows, sql


def at(place: str) -> list[dict]:
    """Rows of the stock at a place, as the database has them."""
    return rows(f"select code, amount, note from stock where place = '{place}' order by code")


class Writing(Case):
    def setUp(self):
        self.place = f"py-{uuid.uuid4()}"

    def stock(self, *codes: str, **more) -> list[dict]:
        return [{"code": code, "place": self.place, **more} for code in codes]

    def table(self):
        return self.db.from_("stock")

    def test_insert(self):
        made = self.table().insert(self.stock("a")[0]).execute()
        self.assertEqual(made.data, [{"code": "a", "place": self.place, "amount": 1, "note": "as delivered",
                                      "kept_at": "2030-01-01T00:00:00+00:00"}])
        quiet = self.table().insert(self.stock("b")[0], returning="minimal").execute()
        self.assertEqual(quiet.data, [])
        many = self.table().insert(self.stock("c", "d"), count="exact").execute()
        self.assertEqual((many.count, [it["code"] for it in many.data]), (2, ["c", "d"]))
        chosen = self.table().insert(self.stock("e")).select("code, n:amount").execute()
        self.assertEqual(chosen.data, [{"code": "e", "n": 1}])

    def test_insert_of_uneven_rows(self):
        rows_ = [{"code": "a", "place": self.place, "note": "mine"}, {"code": "b", "place": self.place}]
        self.table().insert(rows_).execute()
        self.assertEqual([it["note"] for it in at(self.place)], ["mine", None])
        self.table().delete().eq("place", self.place).execute()
        self.table().insert(rows_, default_to_null=False).execute()
        self.assertEqual([it["note"] for it in at(self.place)], ["mine", "as delivered"])

    def test_values_of_python(self):
        when = datetime(2031, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
        made = self.table().insert({**self.stock("a")[0], "kept_at": when, "note": 'ü€😀 "x" \\'}).execute()
        self.assertEqual((made.data[0]["kept_at"], made.data[0]["note"]), ("2031-02-03T04:05:06+00:00", 'ü€😀 "x" \\'))
        found = self.table().select("code").eq("place", self.place).gte("kept_at", when.isoformat()).execute()
        self.assertEqual(found.data, [{"code": "a"}])
        self.assertEqual(
            self.db.from_("visits").select("people").eq("day", date(2030, 1, 7)).execute().data, [{"people": 10}])

    def test_upsert(self):
        self.table().insert(self.stock("a", amount=3, note="kept")).execute()
        merged = self.table().upsert(self.stock("a", "b", amount=7), count="exact").execute()
        self.assertEqual((merged.count, [it["amount"] for it in merged.data]), (2, [7, 7]))
        self.assertEqual(at(self.place)[0], {"code": "a", "amount": 7, "note": "kept"})
        ignored = self.table().upsert(self.stock("a", "c", amount=9), ignore_duplicates=True).execute()
        self.assertEqual([it["code"] for it in ignored.data], ["c"])
        self.table().upsert(self.stock("a", amount=5), on_conflict="code,place").execute()
        self.assertEqual([it["amount"] for it in at(self.place)], [5, 7, 9])
        by_insert = self.table().insert(self.stock("a", amount=6), upsert=True).execute()
        self.assertEqual(by_insert.data[0]["amount"], 6)

    def test_upsert_by_another_column(self):
        name = f"Upserted {self.place}"
        for country in ("FI", "NO"):
            made = self.db.from_("painters").upsert({"name": name, "country": country}, on_conflict="name").execute()
            self.assertEqual(made.data[0]["country"], country)
        gone = self.db.from_("painters").delete(count="exact").eq("name", name).execute()
        self.assertEqual(gone.count, 1)

    def test_update(self):
        self.table().insert(self.stock("a", "b", "c")).execute()
        changed = self.table().update({"amount": 4}, count="exact").eq("place", self.place).gt("code", "a").execute()
        self.assertEqual((changed.count, [it["amount"] for it in changed.data]), (2, [4, 4]))
        quiet = self.table().update({"amount": 5}, returning="minimal").eq("place", self.place).eq("code", "a").execute()
        self.assertEqual(quiet.data, [])
        self.assertEqual([it["amount"] for it in at(self.place)], [5, 4, 4])
        either = self.table().update({"amount": 0}).eq("place", self.place).or_("code.eq.a,code.eq.b").select("code").execute()
        self.assertEqual(sorted(it["code"] for it in either.data), ["a", "b"])
        self.assertEqual(self.table().update({"amount": 9}).eq("place", "nowhere").execute().data, [])

    def test_delete(self):
        self.table().insert(self.stock("a", "b", "c")).execute()
        gone = self.table().delete(count="exact").eq("place", self.place).in_("code", ["a", "b"]).execute()
        self.assertEqual((gone.count, [it["code"] for it in gone.data]), (2, ["a", "b"]))
        quiet = self.table().delete(returning="minimal").eq("place", self.place).execute()
        self.assertEqual((quiet.data, at(self.place)), ([], []))

    def test_max_affected(self):
        self.table().insert(self.stock("a", "b", "c")).execute()
        error = self.refused(self.table().update({"amount": 2}).eq("place", self.place).max_affected(2), "PGRST124")
        self.assertEqual(error.details, "The query affects 3 rows")
        self.assertEqual([it["amount"] for it in at(self.place)], [1, 1, 1])
        self.assertEqual(len(self.table().delete().eq("place", self.place).max_affected(3).execute().data), 3)

    def test_rollback(self):
        mine = self.client({"Prefer": "tx=rollback"})
        mine.from_("stock").insert(self.stock("a")).execute()
        self.assertEqual(at(self.place), [])

    def test_refusals(self):
        self.table().insert(self.stock("a")).execute()
        conflict = self.refused(self.table().insert(self.stock("a")), "23505")
        self.assertEqual(conflict.details, f"Key (code, place)=(a, {self.place}) already exists.")
        self.refused(self.table().insert(self.stock("b", colour="red")), "PGRST204",
                     "Could not find the 'colour' column of 'stock' in the schema cache")
        self.refused(self.table().insert(self.stock("b", amount=-1)), "23514")
        self.refused(self.table().update({"amount": "many"}).eq("place", self.place), "22P02")
        self.refused(self.db.from_("loans").delete().eq("id", 1), "42501", "permission denied for table loans")


class Functions(Case):
    def test_arguments(self):
        self.assertEqual(self.db.rpc("add_up", {"a": 1, "b": 2}).execute().data, 3)
        self.assertEqual(self.db.rpc("add_up", {"a": 1}, get=True).execute().data, 11)
        self.assertEqual(self.db.rpc("total", {"numbers": [1, 2, 3]}).execute().data, 6)
        self.assertEqual(self.db.rpc("total", {"numbers": [1, 2, 3]}, get=True).execute().data, 6)
        self.assertEqual(self.db.rpc("keys_of", {"doc": {"b": 1, "a": 2}}).execute().data, ["a", "b"])
        self.assertEqual(self.db.rpc("longest", {"words": ["a", "ccc"]}).execute().data, "ccc")
        self.assertEqual(self.db.rpc("whole", {"any": [1]}).execute().data, {"any": [1]})
        self.assertEqual(self.db.rpc("which", {"a": 1, "b": "x"}).execute().data, "a, b")

    def test_head(self):
        with recording() as (db, calls):
            answer = db.rpc("paintings_of", {"painter": "Ada Rosso"}, count="exact", head=True).execute()
        self.assertEqual((answer.count, calls[0].request.method, calls[0].content), (2, "HEAD", b""))

    def test_results(self):
        self.assertEqual(self.db.rpc("numbers", {"upto": 3}).execute().data, [1, 2, 3])
        self.assertEqual(self.db.rpc("split_name", {"name": "Ada Rosso"}).execute().data, {"first": "Ada", "last": "Rosso"})
        self.assertEqual(self.db.rpc("big_number", {}).execute().data, 9007199254740993)
        with recording() as (db, calls):
            db.rpc("nothing", {}).execute()
        self.assertEqual((calls[0].status_code, calls[0].content), (204, b""))

    def test_rows_are_narrowed(self):
        call = lambda **options: self.db.rpc("paintings_of", {"painter": "Bo Lind"}, **options)  # noqa: E731
        self.assertEqual(ids(call().select("id").order("id", desc=True).execute().data), [4, 3])
        self.assertEqual(ids(call(get=True).select("id").gt("id", 3).execute().data), [4])
        self.assertEqual(ids(call().select("id").limit(1).execute().data), [3])
        page = call(count="exact").select("id").order("id").range(0, 0).execute()
        self.assertEqual((page.count, ids(page.data)), (2, [3]))
        self.assertEqual(call().select("id").eq("id", 3).single().execute().data, {"id": 3})
        self.assertIsNone(call().select("id").eq("id", 99).maybe_single().execute())
        csv = self.db.rpc("price_list", {"lowest": 300}).csv().execute().data
        self.assertEqual(csv, 'title,price\n"Portrait of a cook",300.00')

    def test_refusals(self):
        closed = self.refused(self.db.rpc("fail", {}), "P0001", "The museum is closed")
        self.assertEqual((closed.details, closed.hint), ("Mondays only", "Come back"))
        self.refused(self.db.rpc("teapot", {}), "TEA", "short and stout")
        self.refused(self.db.rpc("sell_everything", {"of_place": "x"}, get=True), "25006",
                     "cannot execute UPDATE in a read-only transaction")
        self.refused(self.db.rpc("torn", {"a": 1}), "PGRST203")
        missing = self.refused(self.db.rpc("add_upp", {"a": 1}), "PGRST202")
        self.assertEqual(missing.hint, "Perhaps you meant to call the function public.add_up")


class Reload(Case):
    def test_a_new_table_is_known_after_notify(self):
        name = f"py_{uuid.uuid4().hex}"
        self.addCleanup(sql, f"drop table if exists {name}; notify pgrst, 'reload schema'")
        self.refused(self.db.from_(name).select(), "PGRST205")
        sql(f"create table {name} (id int primary key); insert into {name} values (1); notify pgrst, 'reload schema'")
        deadline = time.monotonic() + 10
        while self.db.session.get(f"/{name}").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(self.db.from_(name).select().execute().data, [{"id": 1}])

"""The task board by supabase-py: sign-up to RLS, as an application would use it."""

import time
import unittest
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
from postgrest.exceptions import APIError
from supabase_auth.errors import AuthApiError, AuthError, AuthWeakPasswordError

from world import (PASSWORD, WORLD, client, join, organisation_id, person, seeded_comment, seeded_labels,
                   seeded_task, seeded_tasks, sql)

BOARD = 2
ROWS = seeded_tasks(BOARD)


def ids(rows: list[dict]) -> list[int]:
    return [it["id"] for it in rows]


class Auth(unittest.TestCase):
    def test_sign_up_and_sign_in_give_a_session(self):
        ada = person("ada")
        answer = client().auth.sign_in_with_password({"email": ada.email, "password": PASSWORD})
        self.assertEqual(answer.user.id, ada.id)
        self.assertEqual(answer.user.user_metadata["name"], "ada")
        self.assertEqual(answer.user.role, "authenticated")
        self.assertEqual(len(answer.user.identities), 1)
        self.assertEqual(answer.session.expires_in, 3600)
        self.assertNotEqual(answer.session.refresh_token, ada.refresh_token)

    def test_wrong_password_and_unknown_address_get_the_same_answer(self):
        ada = person("ada")
        for email, password in [(ada.email, "wrong password"), (f"{uuid.uuid4()}@example.com", PASSWORD)]:
            with self.assertRaises(AuthApiError) as caught:
                client().auth.sign_in_with_password({"email": email, "password": password})
            self.assertEqual(caught.exception.status, 400)
            self.assertEqual(caught.exception.code, "invalid_credentials")
            self.assertEqual(caught.exception.message, "Invalid login credentials")

    def test_sign_up_twice_and_weak_passwords_are_refused(self):
        ada = person("ada")
        with self.assertRaises(AuthApiError) as caught:
            client().auth.sign_up({"email": ada.email, "password": "another password"})
        self.assertEqual((caught.exception.status, caught.exception.code), (422, "user_already_exists"))
        with self.assertRaises(AuthWeakPasswordError) as weak:
            client().auth.sign_up({"email": f"{uuid.uuid4()}@example.com", "password": "12345"})
        self.assertEqual(weak.exception.reasons, ["length"])

    def test_get_user_and_update_user(self):
        ada = person("ada")
        self.assertEqual(ada.client.auth.get_user().user.email, ada.email)
        changed = ada.client.auth.update_user({"data": {"theme": "dark"}, "password": "a different password"})
        self.assertEqual(changed.user.user_metadata["theme"], "dark")
        with self.assertRaises(AuthApiError):
            client().auth.sign_in_with_password({"email": ada.email, "password": PASSWORD})
        again = client().auth.sign_in_with_password({"email": ada.email, "password": "a different password"})
        self.assertEqual(again.user.id, ada.id)

    def test_claims_are_verified_by_the_published_keys(self):
        ada = person("ada")
        claims = ada.client.auth.get_claims()["claims"]
        self.assertEqual((claims["sub"], claims["role"], claims["email"]), (ada.id, "authenticated", ada.email))

    def test_refresh_rotates(self):
        ada = person("ada")
        answer = ada.client.auth.refresh_session()
        self.assertEqual(answer.user.id, ada.id)
        self.assertNotEqual(answer.session.refresh_token, ada.refresh_token)
        self.assertEqual(ada.client.auth.get_user().user.id, ada.id)

    def test_an_old_refresh_token_ends_the_session_after_the_interval(self):
        ada = person("ada")
        tokens = [ada.refresh_token]
        for _ in range(2):
            tokens.append(client().auth.refresh_session(tokens[-1]).session.refresh_token)
        self.assertEqual(len(set(tokens)), 3)
        time.sleep(11)  # the default interval is 10 s, and only time passes it
        with self.assertRaises(AuthApiError) as reused:
            client().auth.refresh_session(tokens[0])
        self.assertEqual((reused.exception.status, reused.exception.code), (400, "refresh_token_already_used"))
        with self.assertRaises(AuthApiError):
            client().auth.refresh_session(tokens[2])

    def test_sign_out_ends_the_session_on_the_server(self):
        ada = person("ada")
        ada.client.auth.sign_out()
        self.assertIsNone(ada.client.auth.get_session())
        with self.assertRaises(AuthError) as caught:
            client().auth.get_user(ada.access_token)
        self.assertEqual(caught.exception.code, "session_not_found")
        with self.assertRaises(AuthApiError):
            client().auth.refresh_session(ada.refresh_token)


class Reading(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.ada = person("ada")
        join(cls.ada, 1, "viewer")
        cls.db = cls.ada.client

    def test_filters(self):
        cases = {
            "eq": (lambda it: it.eq("title", ROWS[4]["title"]), lambda row: row["id"] == ROWS[4]["id"]),
            "neq": (lambda it: it.neq("status", "done"), lambda row: row["status"] != "done"),
            "gt, lte": (lambda it: it.gt("priority", 2).lte("priority", 4), lambda row: 2 < row["priority"] <= 4),
            "in": (lambda it: it.in_("id", [601, 603, 999999]), lambda row: row["id"] in (601, 603)),
            "like": (lambda it: it.like("title", "Ship%"), lambda row: row["title"].startswith("Ship")),
            "ilike": (lambda it: it.ilike("title", "%PISTON%"), lambda row: "piston" in row["title"]),
            "is": (lambda it: it.is_("due_on", "null"), lambda row: row["due_on"] is None),
            "not": (lambda it: it.not_.is_("due_on", "null"), lambda row: row["due_on"] is not None),
            "or": (
                lambda it: it.or_("priority.eq.5,and(status.eq.todo,due_on.is.null)"),
                lambda row: row["priority"] == 5 or (row["status"] == "todo" and row["due_on"] is None)),
            "contains array": (lambda it: it.contains("tags", ["urgent"]), lambda row: "urgent" in row["tags"]),
            "contains jsonb": (
                lambda it: it.contains("details", {"source": "web"}), lambda row: row["details"]["source"] == "web"),
            "json path": (
                lambda it: it.eq("details->estimate->>hours", "7"),
                lambda row: row["details"]["estimate"]["hours"] == 7),
            "text search": (
                lambda it: it.text_search("search", "repairs & boilers", {"config": "english"}),
                lambda row: row["title"].startswith("Repair the boiler")),
        }
        for name, (narrow, holds) in cases.items():
            with self.subTest(name):
                # Ordered before narrowed: text_search ends the chain of filters.
                query = self.db.table("tasks").select("id").eq("board_id", BOARD).order("id")
                expected = ids([row for row in ROWS if holds(row)])
                self.assertTrue(0 < len(expected) < len(ROWS))
                self.assertEqual(ids(narrow(query).execute().data), expected)

    def test_order_limit_range_and_count(self):
        tasks = self.db.table("tasks")
        page = tasks.select("id", count="exact").eq("board_id", BOARD).order("id", desc=True).range(10, 19).execute()
        self.assertEqual(page.count, 600)
        self.assertEqual(ids(page.data), ids(ROWS[::-1][10:20]))
        head = tasks.select("*", count="exact", head=True).eq("status", "todo").execute()
        self.assertEqual((head.count, head.data), (1000, []))
        limited = tasks.select("id").order("priority").order("id").limit(2).execute()
        self.assertEqual(ids(limited.data), [5, 10])

    def test_three_levels_of_embeds(self):
        answer = (
            self.db.table("organisations")
            .select("name, boards(id, tasks(id, title, comments(body)))")
            .eq("id", organisation_id(1))
            .in_("boards.id", [2])
            .lte("boards.tasks.position", 2)
            .order("position", foreign_table="boards.tasks")
            .execute()
        )
        tasks = [
            {"id": it, "title": seeded_task(it)["title"],
             "comments": [{"body": seeded_comment(it)}] if seeded_comment(it) else []}
            for it in (601, 602)
        ]
        self.assertEqual(answer.data, [{"name": "Analytical Engines", "boards": [{"id": 2, "tasks": tasks}]}])

    def test_to_one_and_many_to_many(self):
        task = self.db.table("tasks").select("id, board:boards(name), labels(name)").eq("id", 604).single().execute().data
        self.assertEqual(task["board"], {"name": "Website"})
        self.assertEqual(sorted(it["name"] for it in task["labels"]), seeded_labels(604))
        self.assertEqual(len(task["labels"]), 2)

    def test_single_maybe_single_and_csv(self):
        tasks = self.db.table("tasks")
        self.assertEqual(tasks.select("id").eq("id", 7).single().execute().data, {"id": 7})
        with self.assertRaises(APIError) as caught:
            tasks.select("id").in_("id", [7, 8]).single().execute()
        self.assertEqual(caught.exception.code, "PGRST116")
        self.assertEqual(caught.exception.details, "The result contains 2 rows")
        self.assertIsNone(tasks.select("id").eq("id", 999999).maybe_single().execute())
        csv = tasks.select("id,title").eq("id", 7).csv().execute().data
        self.assertEqual(csv, f"id,title\n7,\"{seeded_task(7)['title']}\"")

    def test_functions_and_views(self):
        summary = self.db.rpc("board_summary", {"organisation": organisation_id(1)}).execute().data
        self.assertEqual(len(summary), 15)
        self.assertIn({"board_id": 2, "board": "Website", "status": "doing", "tasks": 200, "overdue": 0}, summary)
        view = self.db.table("open_tasks").select("id", count="exact").eq("board_id", BOARD).limit(1).execute()
        self.assertEqual(view.count, sum(it["status"] != "done" for it in ROWS))
        with self.assertRaises(APIError) as caught:
            self.db.rpc("move_task", {"task_id": 999999, "board_id": 1, "position": 1}).execute()
        self.assertEqual(caught.exception.code, "PT404")


class Writing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.ada = person("ada")
        cls.db = cls.ada.client

    def own_board(self, name: str) -> tuple[str, int]:
        organisation = self.db.table("organisations").insert({"name": name}).execute().data[0]
        self.assertEqual(organisation["created_by"], self.ada.id)
        board = self.db.table("boards").insert({"organisation_id": organisation["id"], "name": "Board"}).execute().data[0]
        return organisation["id"], board["id"]

    def test_insert_update_delete(self):
        _, board = self.own_board("crud")
        tricky = "O'Hara said \"ü€😀\" \\ ; drop table tasks; -- %_*"
        task = self.db.table("tasks").insert({"board_id": board, "title": tricky, "tags": ["a,b", 'c"d']}).execute().data[0]
        self.assertEqual((task["title"], task["tags"], task["status"]), (tricky, ["a,b", 'c"d'], "todo"))
        changed = self.db.table("tasks").update({"status": "done"}).eq("id", task["id"]).execute().data
        self.assertEqual([(it["id"], it["status"]) for it in changed], [(task["id"], "done")])
        self.assertEqual(self.db.table("tasks").update({"status": "done"}).eq("id", 999999).execute().data, [])
        gone = self.db.table("tasks").delete(count="exact").eq("id", task["id"]).execute()
        self.assertEqual((gone.count, ids(gone.data)), (1, [task["id"]]))
        self.assertEqual(self.db.table("tasks").select("id").eq("board_id", board).execute().data, [])

    def test_bulk_insert_is_all_or_nothing(self):
        _, board = self.own_board("bulk")
        rows = [{"board_id": board, "title": f"bulk {it}", "position": it} for it in range(500)]
        self.assertEqual(len(self.db.table("tasks").insert(rows).execute().data), 500)
        with self.assertRaises(APIError) as caught:
            self.db.table("tasks").insert([{**rows[0], "priority": 1}, {**rows[1], "priority": 9}]).execute()
        self.assertEqual(caught.exception.code, "23514")
        count = self.db.table("tasks").select("*", count="exact", head=True).eq("board_id", board).execute().count
        self.assertEqual(count, 500)

    def test_upsert(self):
        organisation, _ = self.own_board("upsert")

        def upsert(name, color, **options):
            row = {"organisation_id": organisation, "name": name, "color": color}
            return self.db.table("labels").upsert(row, on_conflict="organisation_id,name", **options).execute().data

        first = upsert("bug", "#111111")
        self.assertEqual(upsert("bug", "#222222"), [{**first[0], "color": "#222222"}])
        self.assertEqual(upsert("bug", "#333333", ignore_duplicates=True), [])
        stored = self.db.table("labels").select("name,color").eq("organisation_id", organisation).execute().data
        self.assertEqual(stored, [{"name": "bug", "color": "#222222"}])

    def test_a_function_that_writes(self):
        _, board = self.own_board("move")
        rows = [{"board_id": board, "title": f"t{it}", "position": it} for it in (1, 2, 3)]
        last = self.db.table("tasks").insert(rows).execute().data[2]
        moved = self.db.rpc("move_task", {"task_id": last["id"], "board_id": board, "position": 1}).execute().data
        self.assertEqual((moved["id"], moved["position"]), (last["id"], 1))
        after = self.db.table("tasks").select("title").eq("board_id", board).order("position").execute().data
        self.assertEqual([it["title"] for it in after], ["t3", "t1", "t2"])

    def test_errors_have_the_code_of_the_database(self):
        organisation, _ = self.own_board("errors")
        label = {"organisation_id": organisation, "name": "bug"}
        self.db.table("labels").insert(label).execute()
        for query, code in [
            (self.db.table("labels").insert(label), "23505"),
            (self.db.table("taskz").select("*"), "PGRST205"),
            (self.db.table("tasks").select("titel"), "42703"),
            (self.db.table("tasks").select("*").eq("id", "abc"), "22P02"),
            (self.db.rpc("no_such_function"), "PGRST202"),
        ]:
            with self.subTest(code), self.assertRaises(APIError) as caught:
                query.execute()
            self.assertEqual(caught.exception.code, code)


class Access(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.ada, cls.bob = person("ada"), person("bob")
        join(cls.ada, 1)
        join(cls.bob, 2)

    def test_nobody_reads_another_organisation(self):
        for who, own in [(self.ada, 1), (self.bob, 2)]:
            organisations = who.client.table("organisations").select("id").execute().data
            self.assertEqual(organisations, [{"id": organisation_id(own)}])
            count = who.client.table("tasks").select("*", count="exact", head=True).lte("id", 12000).execute().count
            self.assertEqual(count, 3000)
        self.assertEqual(self.ada.client.table("tasks").select("*").eq("id", 3001).execute().data, [])
        embedded = self.ada.client.table("labels").select("id, tasks(id)").execute().data
        self.assertTrue(all(task["id"] <= 3000 for label in embedded for task in label["tasks"]))

    def test_nobody_writes_to_another_organisation(self):
        tasks = self.ada.client.table("tasks")
        self.assertEqual(tasks.update({"title": "mine"}).eq("id", 3001).execute().data, [])
        self.assertEqual(tasks.delete().eq("id", 3001).execute().data, [])
        for query in [tasks.insert({"board_id": 6, "title": "smuggled"}), tasks.update({"board_id": 6}).eq("id", 9)]:
            with self.assertRaises(APIError) as caught:
                query.execute()
            self.assertEqual(caught.exception.code, "42501")
        kept = self.bob.client.table("tasks").select("title").eq("id", 3001).single().execute().data
        self.assertEqual(kept["title"], seeded_task(3001)["title"])

    def test_anonymous_callers_see_nothing(self):
        for key in (WORLD["anonKey"], WORLD["publishableKey"]):
            for table in ("organisations", "members", "boards", "tasks", "comments", "labels", "profiles", "open_tasks"):
                answer = client(key).table(table).select("*", count="exact").execute()
                self.assertEqual((answer.data, answer.count), ([], 0), table)

    def test_the_service_role_sees_everything(self):
        for key in (WORLD["serviceRoleKey"], WORLD["secretKey"]):
            count = client(key).table("tasks").select("*", count="exact", head=True).lte("id", 12000).execute().count
            self.assertEqual(count, 12000)

    def test_the_key_of_another_project_is_refused(self):
        for key in ("anonKey", "serviceRoleKey", "publishableKey", "secretKey"):
            foreign = WORLD["second"][key]
            answer = httpx.get(f"{WORLD['url']}/rest/v1/tasks?limit=1",
                               headers={"apikey": foreign, "Authorization": f"Bearer {foreign}"})
            self.assertEqual(answer.status_code, 401, key)
            with self.assertRaises(APIError):
                client(foreign).table("tasks").select("id").limit(1).execute()

    def test_requests_at_the_same_time_keep_their_callers_apart(self):
        def first(who):
            answer = who.client.table("tasks").select("id").order("id").limit(1).execute()
            return answer.data[0]["id"]

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(first, [self.ada, self.bob] * 40))
        self.assertEqual(answers, [1, 3001] * 40)

    def test_a_new_table_shows_without_a_restart(self):
        name = f"notes_{uuid.uuid4().hex[:8]}"
        service = client(WORLD["serviceRoleKey"])
        with self.assertRaises(APIError):
            service.table(name).select("*").execute()
        sql(f"create table {name} (id bigint primary key, body text)")
        try:
            deadline = time.monotonic() + 5
            while True:
                try:
                    created = service.table(name).insert({"id": 1, "body": "hello"}).execute().data
                    break
                except APIError as error:
                    if error.code != "PGRST205" or time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
            self.assertEqual(created, [{"id": 1, "body": "hello"}])
        finally:
            sql(f"drop table {name}")


if __name__ == "__main__":
    unittest.main()

// How the client asks: schemas, headers, rights, errors and their throwing, signals, long addresses.
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { describe, test } from "node:test";
import { PostgrestError } from "@supabase/postgrest-js";
import { client, data, db, ids, recorder, refused, rows, world } from "./world.mjs";

describe("schemas", { concurrency: true }, () => {
  test("a query, a write and a call in another schema", async () => {
    const archive = db.schema("archive");
    assert.deepEqual(await data(archive.from("papers").select("id, subject").order("id")),
      [{ id: 1, subject: "A letter" }, { id: 2, subject: "A bill" }]);
    assert.equal(await data(archive.rpc("count_papers")), 2);
    assert.equal(await data(archive.rpc("add_up", { a: 1 }, { get: true })), 1001);
    const denied = await refused(archive.from("papers").insert({ id: 3, subject: "x" }), 401);
    assert.deepEqual([denied.code, denied.message], ["42501", "permission denied for table papers"]);
  });

  test("a client made for a schema", async () => {
    const archive = client({ schema: "archive" });
    assert.equal((await data(archive.from("papers").select())).length, 2);
    assert.equal((await data(archive.schema("public").from("halls").select("id").eq("id", 1))).length, 1);
    const missing = await refused(archive.from("halls").select(), 404);
    assert.deepEqual([missing.code, missing.message], ["PGRST205", "Could not find the table 'archive.halls' in the schema cache"]);
  });

  test("a schema that is not exposed", async () => {
    const error = await refused(db.schema("pg_catalog").from("pg_class").select(), 406);
    assert.deepEqual([error.code, error.message], ["PGRST106", "Invalid schema: pg_catalog"]);
    assert.match(error.hint, /^Only the following schemas are exposed: public, archive/);
  });

  test("the description of a schema", async () => {
    const spec = await data(db.getOpenApiSpec());
    assert.equal(spec.swagger, "2.0");
    assert.ok(spec.paths["/paintings"] && spec.paths["/rpc/add_up"] && spec.definitions.paintings);
    const archive = await data(db.schema("archive").getOpenApiSpec());
    assert.ok(archive.paths["/papers"] && !archive.paths["/paintings"]);
  });
});

describe("headers", { concurrency: true }, () => {
  test("of the client and of one request reach SQL", async () => {
    const named = client({ headers: { "X-Visitor": "Ada", "X-Both": "client" } });
    assert.equal(await data(named.rpc("header", { name: "x-visitor" })), "Ada");
    assert.equal(await data(named.rpc("header", { name: "x-both" }).setHeader("X-Both", "request")), "request");
    assert.equal(await data(named.rpc("header", { name: "x-both" })), "client");
  });

  test("of a trace reach SQL unchanged", async () => {
    const trace = {
      traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      tracestate: "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
      baggage: "userId=alice,serverNode=DF%2028",
    };
    const traced = client({ headers: trace });
    for (const [name, value] of Object.entries(trace)) {
      assert.equal(await data(traced.rpc("header", { name })), value);
      assert.equal(await data(traced.rpc("header", { name }, { get: true })), value);
    }
  });

  test("say how the request was understood", async () => {
    const kept = recorder();
    await data(client({ fetch: kept.fetch }).from("halls").select("id", { count: "exact" }).eq("id", 1));
    const { headers } = kept.calls[0].answer;
    assert.equal(headers.get("content-type"), "application/json; charset=utf-8");
    assert.equal(headers.get("content-range"), "0-0/1");
    assert.match(headers.get("content-location"), /\/halls\?(.*&)?id=eq\.1/);
  });

  test("a preference of one's own is kept beside the client's", async () => {
    const kept = recorder();
    const asked = client({ fetch: kept.fetch, headers: { Prefer: "timezone=Asia/Tokyo" } });
    const [row] = await data(asked.from("paintings").select("bought_at", { count: "exact" }).eq("id", 1));
    assert.equal(row.bought_at, "2029-05-01T19:00:00+09:00");
    assert.match(kept.calls[0].answer.headers.get("preference-applied"), /timezone=Asia\/Tokyo/);
  });

  test("the database knows request, path and role", async () => {
    assert.equal(await data(db.rpc("setting", { name: "request.method" })), "POST");
    assert.equal(await data(db.rpc("setting", { name: "request.path" }, { get: true })), "/rpc/setting");
    assert.equal(await data(db.rpc("setting", { name: "role" })), "anon");
    assert.equal(JSON.parse(await data(db.rpc("setting", { name: "request.jwt.claims" }))).role, "anon");
  });
});

describe("rights", { concurrency: true }, () => {
  test("anybody sees what policies and grants show", async () => {
    assert.deepEqual(ids(await data(db.from("treasures").select())), [1]);
    const row = await refused(db.from("treasures").insert({ id: 3, owner_name: "everybody", name: "x" }), 401);
    assert.deepEqual([row.code, row.message], ["42501", 'new row violates row-level security policy for table "treasures"']);
    const table = await refused(db.from("loans").delete().eq("id", 1), 401);
    assert.deepEqual([table.code, table.message], ["42501", "permission denied for table loans"]);
  });

  test("a token's role and claims hold", async () => {
    const service = client({ headers: { Authorization: `Bearer ${world.serviceRoleKey}` } });
    assert.deepEqual(ids(await data(service.from("treasures").select().order("id"))), [1, 2]);
    assert.equal(await data(service.rpc("setting", { name: "role" })), "service_role");
    await refused(client({ headers: { Authorization: `Bearer ${world.userToken}` } }).rpc("fail", { status: "42501" }), 403);
  });

  test("a broken token is refused", async () => {
    const error = await refused(client({ headers: { Authorization: "Bearer a.b.c" } }).from("halls").select(), 401);
    assert.equal(error.code, "PGRST301");
    const expired = await refused(client({ headers: { Authorization: `Bearer ${world.expiredToken}` } }).from("halls").select(), 401);
    assert.deepEqual([expired.code, expired.message], ["PGRST303", "JWT expired"]);
  });
});

describe("errors", { concurrency: true }, () => {
  test("a table that is missing, and what is similar", async () => {
    const answer = await db.from("painting").select();
    assert.deepEqual(answer, {
      success: false, count: null, data: null, status: 404, statusText: "Not Found",
      error: {
        code: "PGRST205", details: null, hint: "Perhaps you meant the table 'public.paintings'",
        message: "Could not find the table 'public.painting' in the schema cache",
      },
    });
  });

  test("are thrown when asked for", async () => {
    const thrown = await db.from("painting").select().throwOnError().then(() => undefined, (error) => error);
    assert.ok(thrown instanceof PostgrestError && thrown instanceof Error);
    assert.deepEqual([thrown.name, thrown.code, thrown.details], ["PostgrestError", "PGRST205", null]);
    const single = await db.from("halls").select().single().throwOnError().then(() => undefined, (error) => error);
    assert.equal(single.code, "PGRST116");
    assert.equal((await db.from("halls").select("id").eq("id", 1).throwOnError()).data.length, 1);
  });

  test("a select that cannot be read says where", async () => {
    const error = await refused(db.from("halls").select("id, name("), 400);
    assert.equal(error.code, "PGRST100");
    assert.match(error.message, /^"failed to parse select parameter \(id,name\(\)" \(line 1, column \d+\)$/);
    assert.match(error.details, /^unexpected end of input expecting/);
  });

  test("an error without rows to a HEAD request", async () => {
    const answer = await db.from("painting").select("*", { head: true, count: "exact" });
    assert.deepEqual([answer.data, answer.count], [null, null]);
    assert.ok(answer.status === 404 || answer.status === 204, "the client makes 204 of a 404 without body");
  });

  test("an address nobody listens on", async () => {
    const server = createServer();
    await new Promise((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address();
    await new Promise((done) => server.close(done));
    const lost = client({ retry: false, fetch: (url, init) => fetch(`http://127.0.0.1:${port}/`, init) });
    const answer = await lost.from("halls").select();
    assert.deepEqual([answer.status, answer.data], [0, null]);
    assert.match(answer.error.message, /fetch failed/);
    assert.match(answer.error.details, /ECONNREFUSED/);
  });
});

describe("limits", () => {
  test("an aborted request ends on the server too", async () => {
    const abort = new AbortController();
    const mark = `abort-${process.pid}-${world.name}`;
    const asked = client({ headers: { "X-Mark": mark } }).rpc("slow", { seconds: 7 }).abortSignal(abort.signal);
    const answered = asked.then((it) => it);
    const running = () => rows("select 1 from pg_stat_activity where query like '%\"slow\"%' and state = 'active' and pid <> pg_backend_pid()").length;
    const deadline = Date.now() + 5000;
    while (!running() && Date.now() < deadline) await new Promise((done) => setTimeout(done, 50));
    assert.equal(running(), 1, "it runs");
    abort.abort();
    const answer = await answered;
    assert.match(answer.error.message, /AbortError/);
    assert.equal(answer.error.hint, "Request was aborted (timeout or manual cancellation)");
    const end = Date.now() + 4000;
    while (running() && Date.now() < end) await new Promise((done) => setTimeout(done, 50));
    assert.equal(running(), 0, "it was cancelled");
  });

  test("the client's own time limit", async () => {
    const answer = await client({ timeout: 200, retry: false }).rpc("slow", { seconds: 3 });
    assert.deepEqual([answer.status, answer.data], [0, null]);
    assert.match(answer.error.message, /Abort|Timeout/);
  });

  test("an address of 12 kB is answered, an excessive one refused in form", async () => {
    const many = Array.from({ length: 2000 }, (_, it) => it + 1);
    assert.deepEqual(ids(await data(db.from("paintings").select("id").in("id", many).order("id"))), [1, 2, 3, 4, 5, 6]);
    const excessive = Array.from({ length: 60000 }, (_, it) => it + 100000);
    const answer = await client({ retry: false }).from("paintings").select("id").in("id", excessive);
    assert.ok(answer.error, "an error");
    assert.ok([414, 431, 400].includes(answer.status), `${answer.status}`);
    assert.deepEqual(ids(await data(db.from("paintings").select("id").eq("id", 1))), [1], "the next one is answered");
  });

  test("a body of 2 MB goes in", async () => {
    const note = "x".repeat(2 * 1024 * 1024);
    const row = await data(db.from("stock").insert({ code: "big", place: "limits", note }).select("note").single().rollback(), 201);
    assert.equal(row.note.length, note.length);
  });

  test("fifty at once", async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, (_, it) => db.rpc("add_up", { a: it, b: 1 })));
    assert.deepEqual(answers.map((it) => it.data), Array.from({ length: 50 }, (_, it) => it + 1));
  });
});

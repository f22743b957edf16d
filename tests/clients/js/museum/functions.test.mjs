// Functions by POST, GET and HEAD: arguments, results, filters on rows, overloads and what they raise.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { client, data, db, ids, recorder, refused } from "./world.mjs";

describe("functions", { concurrency: true }, () => {
  test("arguments by name, with defaults, by POST and GET", async () => {
    assert.equal(await data(db.rpc("add_up", { a: 1, b: 2 })), 3);
    assert.equal(await data(db.rpc("add_up", { a: 1 })), 11);
    assert.equal(await data(db.rpc("add_up", { a: 1, b: 2 }, { get: true })), 3);
    assert.equal(await data(db.rpc("add_up", { a: 1, b: undefined }, { get: true })), 11);
    assert.equal(await data(db.rpc("add_up", { a: 1, b: undefined })), 11);
    assert.equal(await data(db.rpc("add_up", { a: null, b: 1 })), null);
  });

  test("HEAD answers nothing", async () => {
    const kept = recorder();
    const watched = client({ fetch: kept.fetch });
    const answer = await watched.rpc("add_up", { a: 1 }, { head: true });
    assert.deepEqual([answer.data, answer.error, answer.status], [null, null, 200]);
    const counted = await watched.rpc("paintings_of", { painter: "Ada Rosso" }, { head: true, count: "exact" });
    assert.deepEqual([counted.data, counted.count, counted.status], [null, 2, 200]);
    const doc = await watched.rpc("keys_of", { doc: { b: 1, a: 2 } }, { head: true, count: "exact" });
    assert.deepEqual(doc.data, ["a", "b"], "such arguments need a POST, and functions know no return=minimal");
    assert.deepEqual(kept.calls.map((it) => it.method), ["HEAD", "HEAD", "POST"]);
  });

  test("arrays, JSON and variadic arguments", async () => {
    assert.equal(await data(db.rpc("total", { numbers: [1, 2, 3] })), 6);
    assert.equal(await data(db.rpc("total", { numbers: [1, 2, 3] }, { get: true })), 6);
    assert.equal(await data(db.rpc("total", { numbers: [] }, { get: true })), null);
    assert.deepEqual(await data(db.rpc("keys_of", { doc: { b: 1, a: 2 } })), ["a", "b"]);
    assert.equal(await data(db.rpc("longest", { words: ["a", "ccc", "bb"] })), "ccc");
  });

  test("a parameter without a name", async () => {
    assert.deepEqual(await data(db.rpc("whole", { any: ["thing", 1] })), { any: ["thing", 1] });
    assert.equal(await data(db.rpc("unnamed", { "": "x" })), 'text: {"":"x"}');
  });

  test("results: scalars, rows, sets, tables, out parameters, nothing", async () => {
    assert.equal(await data(db.rpc("state_of", { painting: "The old boat" })), "fair");
    assert.deepEqual(await data(db.rpc("one_painting", { wanted: 2 }).select("id, title")), { id: 2, title: "The old boat" });
    assert.deepEqual(await data(db.rpc("numbers", { upto: 3 })), [1, 2, 3]);
    assert.deepEqual(await data(db.rpc("price_list", { lowest: 110 })), [
      { title: "Blue boats at dawn", price: 120.5 }, { title: "Portrait of a cook", price: 300 }]);
    assert.deepEqual(await data(db.rpc("split_name", { name: "Ada Rosso" })), { first: "Ada", last: "Rosso" });
    const nothing = await db.rpc("nothing");
    assert.deepEqual([nothing.status, nothing.data, nothing.error], [204, null, null]);
  });

  test("big integers survive as text", async () => {
    assert.equal(await data(db.rpc("echo_text", { bigint_value: 9007199254740993n })), "9007199254740993");
    const kept = recorder();
    await client({ fetch: async (...it) => { const answer = await kept.fetch(...it); kept.text = await answer.clone().text(); return answer; } })
      .rpc("big_number");
    assert.equal(kept.text, "9007199254740993");
  });

  test("rows are filtered, ordered, paged, counted, embedded", async () => {
    const call = (options) => db.rpc("paintings_of", { painter: "Bo Lind" }, options);
    assert.deepEqual(ids(await data(call().select("id").order("id", { ascending: false }))), [4, 3]);
    assert.deepEqual(ids(await data(call().select("id").eq("state", "poor"))), [3]);
    assert.deepEqual(ids(await data(call({ get: true }).select("id").gt("id", 3))), [4]);
    assert.deepEqual(ids(await data(call().select("id").limit(1))), [3]);
    const page = await call({ count: "exact" }).select("id").order("id").range(0, 0);
    assert.deepEqual([page.status, page.count, ids(page.data)], [206, 2, [3]]);
    assert.deepEqual(await data(call().select("id, loans(borrower)").eq("id", 4)), [{ id: 4, loans: [{ borrower: "Lyon" }] }]);
    assert.deepEqual(await data(db.rpc("price_list").select("title").lt("price", 90)), [{ title: "The old boat" }]);
    assert.deepEqual(await data(db.rpc("price_list").select("price.max(), count()")), [{ max: 300, count: 5 }]);
  });

  test("one row, perhaps, or as CSV", async () => {
    assert.deepEqual(await data(db.rpc("paintings_of", { painter: "Éva \"Bó\" Nagy" }).select("id").single()), { id: 6 });
    await refused(db.rpc("paintings_of", { painter: "Bo Lind" }).single(), 406);
    assert.equal(await data(db.rpc("paintings_of", { painter: "Nobody" }).maybeSingle()), null);
    assert.equal(await data(db.rpc("price_list", { lowest: 300 }).csv()), 'title,price\n"Portrait of a cook",300.00');
  });

  test("GET cannot write", async () => {
    const error = await refused(db.rpc("sell_everything", { of_place: "x" }, { get: true }), 405);
    assert.deepEqual(error, { code: "25006", details: null, hint: null, message: "cannot execute UPDATE in a read-only transaction" });
  });

  test("overloads are chosen by the names of arguments", async () => {
    assert.equal(await data(db.rpc("which")), "none");
    assert.equal(await data(db.rpc("which", { a: 1 })), "a");
    assert.equal(await data(db.rpc("which", { a: 1, b: "x" }, { get: true })), "a, b");
    assert.deepEqual(await refused(db.rpc("torn", { a: 1 }), 300), {
      code: "PGRST203", details: null,
      hint: "Try renaming the parameters or the function itself in the database so function overloading can be resolved",
      message: "Could not choose the best candidate function between: public.torn(a => integer), public.torn(a => text)",
    });
  });

  test("no such function, and what is similar", async () => {
    assert.deepEqual(await refused(db.rpc("add_upp", { a: 1 }), 404), {
      code: "PGRST202",
      details: "Searched for the function public.add_upp with parameter a or with a single unnamed json/jsonb parameter, but no matches were found in the schema cache.",
      hint: "Perhaps you meant to call the function public.add_up",
      message: "Could not find the function public.add_upp(a) in the schema cache",
    });
    const arguments_ = await refused(db.rpc("add_up", { a: 1, c: 2 }), 404);
    assert.equal(arguments_.hint, "Perhaps you meant to call the function public.add_up(a, b)");
    const get = await refused(db.rpc("add_up", { c: 2 }, { get: true }), 404);
    assert.equal(get.details, "Searched for the function public.add_up with parameter c, but no matches were found in the schema cache.");
  });

  test("arguments that the type refuses", async () => {
    const error = await refused(db.rpc("add_up", { a: "one" }), 400);
    assert.deepEqual([error.code, error.message], ["22P02", 'invalid input syntax for type integer: "one"']);
  });

  test("what a function raises", async () => {
    assert.deepEqual(await refused(db.rpc("fail"), 400), {
      code: "P0001", details: "Mondays only", hint: "Come back", message: "The museum is closed",
    });
    await refused(db.rpc("fail", { status: "PT402" }), 402);
    await refused(db.rpc("fail", { status: "23505" }), 409);
    await refused(db.rpc("fail", { status: "42501" }), 401);
    const kept = recorder();
    const error = await refused(client({ fetch: kept.fetch }).rpc("teapot"), 418);
    assert.deepEqual(error, { code: "TEA", details: "handle", hint: "spout", message: "short and stout" });
    assert.equal(kept.calls[0].answer.headers.get("x-tea"), "green");
  });

  test("a function sets status and headers of the answer", async () => {
    const kept = recorder();
    assert.equal(await data(client({ fetch: kept.fetch }).rpc("with_headers"), 202), "accepted");
    const { headers } = kept.calls[0].answer;
    assert.deepEqual([headers.get("x-hall"), headers.get("cache-control")], ["7", "private"]);
  });
});

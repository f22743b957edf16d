// Inserts, upserts, updates and deletes, and what they answer. Each test keeps to rows of its own place.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { client, data, db, recorder, refused, rows } from "./world.mjs";

/** Rows of the stock at a place, as the database has them. */
const at = (place) => rows(`select code, amount, note from stock where place = '${place}' order by code`);
const AT = "2030-01-01T00:00:00+00:00";

describe("writing", { concurrency: true }, () => {
  test("an insert answers nothing, or what is selected", async () => {
    const answer = await db.from("stock").insert({ code: "a", place: "insert" });
    assert.deepEqual([answer.status, answer.statusText, answer.data, answer.error, answer.count], [201, "Created", null, null, null]);
    const whole = await data(db.from("stock").insert({ code: "b", place: "insert", amount: 5 }).select(), 201);
    assert.deepEqual(whole, [{ code: "b", place: "insert", amount: 5, note: "as delivered", kept_at: AT }]);
    const one = await data(db.from("stock").insert({ code: "c", place: "insert" }).select("code, n:amount").single(), 201);
    assert.deepEqual(one, { code: "c", n: 1 });
    assert.equal(at("insert").length, 3);
  });

  test("an insert of several rows, with a count", async () => {
    const many = ["a", "b", "c"].map((code) => ({ code, place: "bulk" }));
    const answer = await db.from("stock").insert(many, { count: "exact" }).select("code");
    assert.deepEqual([answer.status, answer.count, answer.data], [201, 3, [{ code: "a" }, { code: "b" }, { code: "c" }]]);
    assert.deepEqual(await data(db.from("stock").insert([]).select(), 201), []);
  });

  test("what a row of several lacks is null, or the default when asked for", async () => {
    const uneven = (place) => [{ code: "a", place, note: "mine" }, { code: "b", place }];
    await data(db.from("stock").insert(uneven("uneven")), 201);
    assert.deepEqual(at("uneven").map((it) => it.note), ["mine", null]);
    await data(db.from("stock").insert(uneven("even"), { defaultToNull: false }), 201);
    assert.deepEqual(at("even").map((it) => it.note), ["mine", "as delivered"]);
    const missing = await refused(db.from("stock").insert([{ code: "a", place: "odd", amount: 1 }, { code: "b", place: "odd" }]), 400);
    assert.deepEqual([missing.code, missing.message],
      ["23502", 'null value in column "amount" of relation "stock" violates not-null constraint']);
    assert.deepEqual(at("odd"), []);
  });

  test("every type goes in as it comes out", async () => {
    const painting = {
      id: 500, title: "Test\n\"quoted\" \\ ü€😀", painter_id: null, restorer_id: 2, state: "poor", price: 1234567.89,
      on_show: "[2040-01-01,2040-02-01)", details: { a: [1, null, { b: true }], "käse": "€" }, bought_at: "2040-01-01T12:00:00+00:00",
    };
    const { search, ...stored } = await data(db.from("paintings").insert(painting).select().single().rollback(), 201);
    assert.deepEqual(stored, painting);
    assert.match(search, /'test'/);
    const tags = ["a,b", 'say "hi"', "{x}", "", "\\"];
    const painter = await data(db.from("painters").insert({ id: 500, name: "Test", tags, active: "[1,2)" })
      .select().single().rollback(), 201);
    assert.deepEqual([painter.tags, painter.active, painter.is_living], [tags, "[1,2)", null]);
  });

  test("big integers", async () => {
    const huge = 9007199254740993n;
    const kept = await data(db.from("painters").insert({ id: huge, name: "Huge" }).select("id::text").single().rollback(), 201);
    assert.deepEqual(kept, { id: "9007199254740993" });
  });

  test("a conflict", async () => {
    const error = await refused(db.from("painters").insert({ name: "Ada Rosso" }), 409);
    assert.deepEqual(error, {
      code: "23505", details: "Key (name)=(Ada Rosso) already exists.", hint: null,
      message: 'duplicate key value violates unique constraint "painters_name_key"',
    });
    const foreign = await refused(db.from("frames").insert({ painting_id: 99, wood: "elm" }), 409);
    assert.deepEqual([foreign.code, foreign.details], ["23503", 'Key (painting_id)=(99) is not present in table "paintings".']);
    const check = await refused(db.from("stock").insert({ code: "a", place: "check", amount: -1 }), 400);
    assert.deepEqual([check.code, check.message], ["23514", 'new row for relation "stock" violates check constraint "stock_amount_check"']);
  });

  test("upsert merges by the primary key", async () => {
    await data(db.from("stock").insert({ code: "a", place: "merge", amount: 3, note: "kept" }), 201);
    const answer = await db.from("stock").upsert([{ code: "a", place: "merge", amount: 7 }, { code: "b", place: "merge", amount: 1 }], { count: "exact" }).select("code, amount");
    assert.deepEqual([answer.status, answer.count], [201, 2]);
    assert.deepEqual(answer.data, [{ code: "a", amount: 7 }, { code: "b", amount: 1 }]);
    assert.deepEqual(at("merge")[0], { code: "a", amount: 7, note: "kept" });
    const updatesOnly = await db.from("stock").upsert({ code: "a", place: "merge", amount: 8 }).select("amount");
    assert.deepEqual([updatesOnly.status, updatesOnly.data], [200, [{ amount: 8 }]]);
  });

  test("upsert that ignores duplicates answers new rows only", async () => {
    await data(db.from("stock").insert({ code: "a", place: "ignore", amount: 3 }), 201);
    const answer = await db.from("stock")
      .upsert([{ code: "a", place: "ignore", amount: 9 }, { code: "b", place: "ignore", amount: 9 }], { ignoreDuplicates: true }).select("code");
    assert.deepEqual([answer.status, answer.data], [201, [{ code: "b" }]]);
    assert.deepEqual(at("ignore").map((it) => it.amount), [3, 9]);
    const nothing = await db.from("stock").upsert({ code: "a", place: "ignore" }, { ignoreDuplicates: true }).select();
    assert.deepEqual([nothing.error, nothing.data], [null, []]);
  });

  test("upsert by another unique column", async () => {
    const merged = await data(db.from("painters").upsert({ name: "Bo Lind", country: "NO" }, { onConflict: "name" })
      .select("id, name, country").single().rollback());
    assert.deepEqual(merged, { id: 2, name: "Bo Lind", country: "NO" });
    assert.deepEqual(rows("select country from painters where id = 2"), [{ country: "SE" }]);
    const none = await refused(db.from("painters").upsert({ name: "Bo Lind" }, { onConflict: "country" }), 400);
    assert.equal(none.code, "42P10");
  });

  test("upsert with defaults for what is missing", async () => {
    const uneven = [{ code: "a", place: "default", note: "x" }, { code: "b", place: "default" }];
    await data(db.from("stock").upsert(uneven, { defaultToNull: false, onConflict: "code,place" }), 201);
    assert.deepEqual(at("default").map((it) => it.note), ["x", "as delivered"]);
  });

  test("an update changes what the filters find", async () => {
    await data(db.from("stock").insert(["a", "b", "c"].map((code) => ({ code, place: "update" }))), 201);
    const quiet = await db.from("stock").update({ amount: 2 }).eq("place", "update").eq("code", "a");
    assert.deepEqual([quiet.status, quiet.statusText, quiet.data, quiet.error], [204, "No Content", null, null]);
    const counted = await db.from("stock").update({ amount: 4 }, { count: "exact" }).eq("place", "update").gt("code", "a").select("code, amount").order("code");
    assert.deepEqual([counted.status, counted.count], [200, 2]);
    assert.deepEqual(counted.data, [{ code: "b", amount: 4 }, { code: "c", amount: 4 }]);
    assert.deepEqual(await data(db.from("stock").update({ amount: 9 }).eq("place", "nowhere").select()), []);
    assert.equal((await db.from("stock").update({ amount: 9 }, { count: "exact" }).eq("place", "nowhere")).count, 0);
    assert.deepEqual(at("update").map((it) => it.amount), [2, 4, 4]);
    await refused(db.from("stock").update({ amount: 9 }).eq("place", "nowhere").select().single(), 406);
    assert.equal(await data(db.from("stock").update({ amount: 9 }).eq("place", "nowhere").select().maybeSingle()), null);
  });

  test("an update of more than one row by single changes nothing", async () => {
    await data(db.from("stock").insert(["a", "b"].map((code) => ({ code, place: "single" }))), 201);
    const error = await refused(db.from("stock").update({ amount: 9 }).eq("place", "single").select().single(), 406);
    assert.deepEqual([error.code, error.details], ["PGRST116", "The result contains 2 rows"]);
    assert.deepEqual(at("single").map((it) => it.amount), [1, 1]);
  });

  test("or in updates and deletes", async () => {
    await data(db.from("stock").insert(["a", "b", "c"].map((code) => ({ code, place: "or" }))), 201);
    await data(db.from("stock").update({ amount: 5 }).eq("place", "or").or("code.eq.a,code.eq.c"), 204);
    assert.deepEqual(at("or").map((it) => it.amount), [5, 1, 5]);
    await data(db.from("stock").delete().eq("place", "or").not("code", "in", "(a,b)"), 204);
    assert.deepEqual(at("or").map((it) => it.code), ["a", "b"]);
  });

  test("a delete answers nothing, or what is gone", async () => {
    await data(db.from("stock").insert(["a", "b", "c"].map((code) => ({ code, place: "delete" }))), 201);
    const quiet = await db.from("stock").delete({ count: "exact" }).eq("place", "delete").eq("code", "a");
    assert.deepEqual([quiet.status, quiet.data, quiet.count], [204, null, 1]);
    const gone = await data(db.from("stock").delete().eq("place", "delete").select("code").order("code", { ascending: false }));
    assert.deepEqual(gone, [{ code: "c" }, { code: "b" }]);
    assert.deepEqual(at("delete"), []);
  });

  test("what was written embeds", async () => {
    const written = await data(db.from("frames").insert({ painting_id: 2, wood: "elm" })
      .select("wood, paintings(title, ...painters!painter_id(name))").single().rollback(), 201);
    assert.deepEqual(written, { wood: "elm", paintings: { title: "The old boat", name: "Ada Rosso" } });
  });

  test("views are written through", async () => {
    const renamed = await data(db.from("painter_names").update({ full_name: "B. Lind" }).eq("id", 2).select().rollback());
    assert.deepEqual(renamed, [{ id: 2, full_name: "B. Lind" }]);
    const error = await refused(db.from("prices").insert({ painter_id: 1 }), 500);
    assert.equal(error.code, "55000");
  });

  test("rollback shows what would be and keeps nothing", async () => {
    const kept = recorder();
    const row = await data(client({ fetch: kept.fetch }).from("stock").insert({ code: "a", place: "rollback" }).select().single().rollback(), 201);
    assert.equal(row.place, "rollback");
    assert.match(kept.calls[0].headers.get("prefer"), /tx=rollback/);
    assert.match(kept.calls[0].answer.headers.get("preference-applied"), /tx=rollback/);
    assert.deepEqual(at("rollback"), []);
    const changed = await data(db.from("painters").update({ country: "FI" }).eq("id", 2).select("country").rollback());
    assert.deepEqual(changed, [{ country: "FI" }]);
    assert.deepEqual(rows("select country from painters where id = 2"), [{ country: "SE" }]);
    await data(db.from("stock").insert({ code: "b", place: "rollback", amount: 3 }), 201);
    const sold = await data(db.rpc("sell_everything", { of_place: "rollback" }).select("amount").rollback());
    assert.deepEqual([sold, at("rollback")], [[{ amount: 0 }], [{ code: "b", amount: 3, note: "as delivered" }]]);
  });

  test("maxAffected", async () => {
    await data(db.from("stock").insert(["a", "b", "c"].map((code) => ({ code, place: "max" }))), 201);
    const error = await refused(db.from("stock").update({ amount: 2 }).eq("place", "max").maxAffected(2), 400);
    assert.deepEqual(error, {
      code: "PGRST124", details: "The query affects 3 rows", hint: null,
      message: "Query result exceeds max-affected preference constraint",
    });
    assert.deepEqual(at("max").map((it) => it.amount), [1, 1, 1]);
    await data(db.from("stock").update({ amount: 2 }).eq("place", "max").maxAffected(3), 204);
    await refused(db.from("stock").delete().eq("place", "max").maxAffected(1).select(), 400);
    await refused(db.rpc("sell_everything", { of_place: "max" }).maxAffected(1), 400);
    assert.deepEqual(at("max").map((it) => it.amount), [2, 2, 2]);
    assert.equal((await data(db.rpc("sell_everything", { of_place: "max" }).maxAffected(3))).length, 3);
    await refused(db.rpc("add_up", { a: 1 }).maxAffected(1), 400);
  });

  test("an unknown column is named", async () => {
    const several = await refused(db.from("stock").insert([{ code: "a", place: "x", colour: "red" }]), 400);
    assert.deepEqual(several, {
      code: "PGRST204", details: null, hint: null, message: "Could not find the 'colour' column of 'stock' in the schema cache",
    });
    const one = await refused(db.from("stock").insert({ code: "a", place: "x", colour: "red" }), 400);
    assert.equal(one.code, "PGRST204");
    const update = await refused(db.from("stock").update({ colour: "red" }).eq("code", "a"), 400);
    assert.equal(update.code, "PGRST204");
  });

  test("odd names of columns", async () => {
    const row = { "the id": 9, select: "x", "käse, alt": "brie", "(x)": ["1"] };
    assert.deepEqual(await data(db.from("odd names").insert([row]).select().rollback(), 201), [row]);
    assert.deepEqual(await data(db.from("odd names").upsert([row], { onConflict: '"the id"' }).select().rollback(), 201), [row]);
  });

  test("values that the type refuses", async () => {
    const error = await refused(db.from("stock").update({ amount: "many" }).eq("place", "x"), 400);
    assert.deepEqual([error.code, error.message], ["22P02", 'invalid input syntax for type integer: "many"']);
    const state = await refused(db.from("paintings").update({ state: "great" }).eq("id", 1), 400);
    assert.equal(state.message, 'invalid input value for enum condition: "great"');
  });
});

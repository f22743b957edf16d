// What is selected, in which order, how much of it, counted how, and in which form.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { client, data, db, ids, recorder, refused, rows, sql } from "./world.mjs";

const PAINTINGS = rows("select * from paintings order by id");

describe("select", { concurrency: true }, () => {
  test("whole rows, every type, in the order of the table", async () => {
    assert.deepEqual(await data(db.from("paintings").select()), PAINTINGS);
    assert.deepEqual(await data(db.from("painters").select("*")), rows("select * from painters"));
  });

  test("columns, aliases, casts and paths", async () => {
    const [row] = await data(db.from("paintings")
      .select("name:title, price::text, shown:on_show, details->size->w, wide:details->size->>w, tag:details->tags->0")
      .eq("id", 1));
    assert.deepEqual(row, {
      name: "Blue boats at dawn", price: "120.50", shown: "[2030-01-01,2030-03-01)", w: 40, wide: "40", tag: "sea",
    });
  });

  test("spaces and line ends between columns mean nothing", async () => {
    const [row] = await data(db.from("paintings").select(`
      id,
      title
    `).eq("id", 2));
    assert.deepEqual(row, { id: 2, title: "The old boat" });
  });

  test("computed columns, of partitioned tables too", async () => {
    assert.deepEqual(await data(db.from("painters").select("id, initials").lt("id", 3).order("id")),
      [{ id: 1, initials: "AR" }, { id: 2, initials: "BL" }]);
    assert.deepEqual(await data(db.from("visits").select("day, on:weekday, people").eq("hall_id", 2).order("day")), [
      { day: "2030-01-07", on: "Monday", people: 10 }, { day: "2030-01-08", on: "Tuesday", people: 20 },
      { day: "2031-05-01", on: "Thursday", people: 40 }]);
  });

  test("views", async () => {
    assert.deepEqual(ids(await data(db.from("shown_paintings").select().order("id"))), [1, 2, 4, 6]);
    assert.deepEqual(await data(db.from("prices").select().eq("painter_id", 1)), [{ painter_id: 1, total: 200.5 }]);
  });

  test("an empty select is everything", async () => {
    assert.deepEqual(await data(db.from("paintings").select("").eq("id", 1)), PAINTINGS.slice(0, 1));
  });
});

describe("aggregates", { concurrency: true }, () => {
  test("of a whole table", async () => {
    assert.deepEqual(await data(db.from("paintings").select("count(), price.sum(), price.max(), least:price.min(), price.avg()::int")),
      [{ count: 6, sum: 700.49, max: 300, least: 80, avg: 140 }]);
    assert.deepEqual(await data(db.from("paintings").select("painter_id.count()")), [{ count: 5 }]);
  });

  test("by groups", async () => {
    assert.deepEqual(await data(db.from("paintings").select("state, count()").order("state")),
      [{ state: "poor", count: 1 }, { state: "fair", count: 2 }, { state: "good", count: 3 }]);
  });

  test("of embedded and spread tables", async () => {
    assert.deepEqual(await data(db.from("halls").select("name, visits(people.sum(), days:count())").eq("id", 2)),
      [{ name: "East wing", visits: [{ sum: 70, days: 3 }] }]);
    const halls = await data(db.from("visits").select("...halls(name), people.sum()"));
    assert.deepEqual(halls.sort((a, b) => b.sum - a.sum), [{ name: "East wing", sum: 70 }, { name: "West wing", sum: 5 }]);
    assert.deepEqual(await data(db.from("painters").select("name, paintings!painter_id(count)").eq("id", 1)),
      [{ name: "Ada Rosso", paintings: [{ count: 2 }] }]);
  });

  test("of a path, with a cast before and after", async () => {
    assert.deepEqual(await data(db.from("paintings").select("wide:details->size->w::int.sum()::text")), [{ wide: "120" }]);
  });
});

describe("order", { concurrency: true }, () => {
  const order = async (...args) => ids(await data(db.from("paintings").select("id").order(...args).order("id")));

  test("up, down, and where nulls go", async () => {
    assert.deepEqual(await order("price"), [2, 4, 6, 1, 3, 5]);
    assert.deepEqual(await order("price", { ascending: false }), [5, 3, 1, 6, 4, 2]);
    assert.deepEqual(await order("price", { nullsFirst: true }), [5, 2, 4, 6, 1, 3]);
    assert.deepEqual(await order("price", { ascending: false, nullsFirst: false }), [3, 1, 6, 4, 2, 5]);
  });

  test("by an enum, a path and a computed column", async () => {
    assert.deepEqual(await order("state"), [3, 2, 6, 1, 4, 5]);
    assert.deepEqual(await order("details->size->w", { ascending: false, nullsFirst: false }), [3, 1, 2, 4, 5, 6]);
    assert.deepEqual(ids(await data(db.from("painters").select("id").order("initials", { nullsFirst: false }).limit(2))), [1, 2]);
  });

  test("rows of an embedded table", async () => {
    for (const option of ["referencedTable", "foreignTable"]) {
      const [painter] = await data(db.from("painters").select("paintings!painter_id(id)").eq("id", 1)
        .order("id", { ascending: false, [option]: "paintings" }));
      assert.deepEqual(ids(painter.paintings), [2, 1], option);
    }
  });

  test("by a column of an embedded table", async () => {
    const found = await data(db.from("paintings").select("id, painters!painter_id(name)")
      .order("painters(name)", { ascending: false, nullsFirst: false }).order("id"));
    assert.deepEqual(ids(found), [6, 3, 4, 1, 2, 5]);
  });
});

describe("pages", { concurrency: true }, () => {
  test("limit and range", async () => {
    assert.deepEqual(ids(await data(db.from("paintings").select("id").order("id").limit(2))), [1, 2]);
    assert.deepEqual(ids(await data(db.from("paintings").select("id").order("id").range(2, 3))), [3, 4]);
    assert.deepEqual(ids(await data(db.from("paintings").select("id").order("id").range(4, 100))), [5, 6]);
    assert.deepEqual(await data(db.from("paintings").select("id").range(10, 20)), []);
    assert.deepEqual(await data(db.from("paintings").select("id").limit(0)), []);
  });

  test("limit and range of an embedded table", async () => {
    const [hall] = await data(db.from("halls").select("id, visits(day)").eq("id", 2)
      .order("day", { referencedTable: "visits" }).limit(1, { referencedTable: "visits" }));
    assert.deepEqual(hall, { id: 2, visits: [{ day: "2030-01-07" }] });
    for (const option of ["referencedTable", "foreignTable"]) {
      const [other] = await data(db.from("halls").select("id, visits(day)").eq("id", 2)
        .order("day", { [option]: "visits" }).range(1, 2, { [option]: "visits" }));
      assert.deepEqual(other.visits, [{ day: "2030-01-08" }, { day: "2031-05-01" }]);
    }
  });

  test("counts", async () => {
    const whole = await db.from("paintings").select("id", { count: "exact" });
    assert.deepEqual([whole.status, whole.count, whole.data.length], [200, 6, 6]);
    const part = await db.from("paintings").select("id", { count: "exact" }).order("id").range(1, 2);
    assert.deepEqual([part.status, part.statusText, part.count, ids(part.data)], [206, "Partial Content", 6, [2, 3]]);
    for (const kind of ["planned", "estimated"]) {
      const { count, status } = await db.from("paintings").select("id", { count: kind });
      assert.ok(Number.isInteger(count) && count > 0, kind);
      assert.ok([200, 206].includes(status));
    }
  });

  test("counts without rows", async () => {
    for (const kind of ["exact", "planned", "estimated"]) {
      const answer = await db.from("paintings").select("*", { count: kind, head: true });
      assert.deepEqual([answer.data, answer.error], [null, null]);
      assert.ok(answer.count > 0, kind);
    }
    const filtered = await db.from("paintings").select("*", { count: "exact", head: true }).eq("state", "good");
    assert.equal(filtered.count, 3);
    const uncounted = await db.from("paintings").select("*", { head: true });
    assert.deepEqual([uncounted.status, uncounted.count, uncounted.data], [200, null, null]);
  });

  test("an exact count of an embed that narrows", async () => {
    const { count } = await db.from("painters").select("id, paintings!painter_id!inner(id)", { count: "exact" }).gt("paintings.price", 99);
    assert.equal(count, 3);
  });

  test("a page behind the end is refused when it is counted", async () => {
    const error = await refused(db.from("paintings").select("id", { count: "exact" }).range(10, 20), 416);
    assert.deepEqual(error, {
      code: "PGRST103", details: "An offset of 10 was requested, but there are only 6 rows.", hint: null,
      message: "Requested range not satisfiable",
    });
  });
});

describe("one row", { concurrency: true }, () => {
  test("single", async () => {
    assert.deepEqual(await data(db.from("paintings").select("id").eq("id", 1).single()), { id: 1 });
    assert.deepEqual(await refused(db.from("paintings").select("id").eq("id", 99).single(), 406), {
      code: "PGRST116", details: "The result contains 0 rows", hint: null,
      message: "Cannot coerce the result to a single JSON object",
    });
    const several = await refused(db.from("paintings").select("id").single(), 406);
    assert.equal(several.details, "The result contains 6 rows");
  });

  test("maybeSingle", async () => {
    assert.deepEqual(await data(db.from("paintings").select("id").eq("id", 1).maybeSingle()), { id: 1 });
    assert.equal(await data(db.from("paintings").select("id").eq("id", 99).maybeSingle()), null);
    const several = await refused(db.from("paintings").select("id").maybeSingle(), 406);
    assert.equal(several.code, "PGRST116");
  });

  test("single with a limit", async () => {
    assert.deepEqual(await data(db.from("paintings").select("id").order("id").limit(1).single()), { id: 1 });
  });
});

describe("forms", { concurrency: true }, () => {
  test("CSV", async () => {
    const text = await data(db.from("paintings").select("id, title, price").in("id", [4, 5]).order("id").csv());
    assert.equal(text, 'id,title,price\n4,"Fish, fresh (still life)",99.99\n5,Untitled,');
  });

  test("without nulls", async () => {
    const list = await data(db.from("paintings").select("id, painter_id, price").gt("id", 4).order("id").stripNulls());
    assert.deepEqual(list, [{ id: 5 }, { id: 6, painter_id: 5, price: 100 }]);
    const one = await data(db.from("paintings").select("id, price").eq("id", 5).single().stripNulls());
    assert.deepEqual(one, { id: 5 });
    assert.throws(() => db.from("paintings").select().csv().stripNulls(), /cannot be used/);
  });

  test("GeoJSON", async (t) => {
    if (!sql("select 1 from pg_extension where extname = 'postgis'")) return t.skip("PostGIS is not installed");
    const found = await data(db.from("sights").select().order("id").geojson());
    assert.equal(found.type, "FeatureCollection");
    assert.deepEqual(found.features[0], {
      type: "Feature", geometry: { type: "Point", coordinates: [10.4, 43.7] }, properties: { id: 1, name: "Fountain" },
    });
    assert.equal(found.features.length, 2);
  });

  test("plans as text", async () => {
    const text = await data(db.from("paintings").select("id").eq("id", 1).explain());
    assert.match(text, /Aggregate {2}\(cost=.*rows=.*width=.*\)/);
    assert.doesNotMatch(text, /actual time/);
    const analysed = await data(db.from("paintings").select("id").explain({ analyze: true, format: "text" }));
    assert.match(analysed, /actual time/);
    assert.match(analysed, /Execution Time/);
  });

  test("plans as JSON, with every option", async () => {
    const [plain] = await data(db.from("paintings").select("id").explain({ format: "json" }));
    assert.equal(plain.Plan["Node Type"], "Aggregate");
    assert.ok(!("Execution Time" in plain) && !("Output" in plain.Plan));
    const [all] = await data(db.from("paintings").select("id")
      .explain({ format: "json", analyze: true, verbose: true, settings: true, buffers: true, wal: true }));
    assert.ok("Execution Time" in all && "Planning" in all, "analyze, buffers");
    assert.ok(Array.isArray(all.Plan.Output) && "Shared Hit Blocks" in all.Plan && "WAL Records" in all.Plan);
    assert.equal(typeof all["Query Identifier"], "number");
  });

  test("plans of other forms, of writing and of functions", async () => {
    const kept = recorder();
    const watched = client({ fetch: kept.fetch });
    await data(watched.from("paintings").select("id").eq("id", 1).single().explain({ format: "json" }));
    assert.equal(kept.calls[0].answer.headers.get("content-type"),
      'application/vnd.pgrst.plan+json; for="application/vnd.pgrst.object+json"; charset=utf-8');
    const [insert] = await data(db.from("stock").insert({ code: "p", place: "q" }).select().explain({ format: "json" }));
    assert.match(JSON.stringify(insert.Plan), /ModifyTable/);
    assert.deepEqual(await data(db.from("stock").select().eq("code", "p")), [], "a plan alone changes nothing");
    const [call] = await data(db.rpc("paintings_of", { painter: "Ada Rosso" }).explain({ format: "json" }));
    assert.ok(call.Plan);
  });
});

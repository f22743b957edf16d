// Embedding: every kind of relationship, hints, inner joins, spreads, views and functions.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { client, data, db, ids, refused } from "./world.mjs";

const one = async (request) => (await data(request))[0];

describe("embeds", { concurrency: true }, () => {
  test("to one, to many, one to one, many to many", async () => {
    const painting = await one(db.from("paintings")
      .select("id, painters!painter_id(name), frames(wood), halls(name), loans(borrower)").eq("id", 3));
    assert.deepEqual(painting, {
      id: 3, painters: { name: "Bo Lind" }, frames: { wood: "ash" }, halls: [{ name: "Store" }],
      loans: [{ borrower: "Lyon" }, { borrower: "Oslo" }],
    });
  });

  test("what is missing is null or an empty list", async () => {
    const painting = await one(db.from("paintings").select("painters!painter_id(name), frames(wood), halls(name)").eq("id", 5));
    assert.deepEqual(painting, { painters: null, frames: null, halls: [] });
  });

  test("the other side of one to one", async () => {
    assert.deepEqual(await data(db.from("frames").select("wood, paintings(title)").eq("painting_id", 1)),
      [{ wood: "oak", paintings: { title: "Blue boats at dawn" } }]);
  });

  test("hints: by column, by constraint, with alias", async () => {
    const painting = await one(db.from("paintings")
      .select("painter:painters!painter_id(name), restorer:painters!paintings_restored_by(name)").eq("id", 1));
    assert.deepEqual(painting, { painter: { name: "Ada Rosso" }, restorer: { name: "Bo Lind" } });
    const by_column = await one(db.from("paintings").select("painter_id(name), paintings_restored_by(name)").eq("id", 1));
    assert.deepEqual(by_column, { painter_id: { name: "Ada Rosso" }, paintings_restored_by: { name: "Bo Lind" } });
    const painter = await one(db.from("painters")
      .select("painted:paintings!painter_id(id), restored:paintings!restorer_id(id)").eq("id", 2)
      .order("id", { referencedTable: "painted" }).order("id", { referencedTable: "restored" }));
    assert.deepEqual(painter, { painted: [{ id: 3 }, { id: 4 }], restored: [{ id: 1 }, { id: 6 }] });
    const by_junction = await one(db.from("paintings").select("halls!hangings(id)").eq("id", 2));
    assert.deepEqual(by_junction, { halls: [{ id: 2 }] });
  });

  test("without a hint several ways are listed", async () => {
    const error = await refused(db.from("paintings").select("id, painters(name)"), 300);
    assert.equal(error.code, "PGRST201");
    assert.equal(error.message, "Could not embed because more than one relationship was found for 'paintings' and 'painters'");
    assert.equal(error.hint, "Try changing 'painters' to one of the following: 'painters!paintings_painter_id_fkey', "
      + "'painters!paintings_restored_by'. Find the desired relationship in the 'details' key.");
    assert.deepEqual(error.details, [
      { cardinality: "many-to-one", embedding: "paintings with painters",
        relationship: "paintings_painter_id_fkey using paintings(painter_id) and painters(id)" },
      { cardinality: "many-to-one", embedding: "paintings with painters",
        relationship: "paintings_restored_by using paintings(restorer_id) and painters(id)" },
    ]);
  });

  test("the same name twice needs aliases", async () => {
    const error = await refused(db.from("paintings").select("painters!painter_id(*), painters!restorer_id(*)"), 400);
    assert.deepEqual(error, {
      code: "42712", details: null, hint: null, message: 'table name "paintings_painters_1" specified more than once',
    });
  });

  test("no relationship, with what is similar", async () => {
    const error = await refused(db.from("halls").select("id, painters(name)"), 400);
    assert.deepEqual([error.code, error.message],
      ["PGRST200", "Could not find a relationship between 'halls' and 'painters' in the schema cache"]);
    assert.equal(error.details,
      "Searched for a foreign key relationship between 'halls' and 'painters' in the schema 'public', but no matches were found.");
    const misspelt = await refused(db.from("halls").select("id, visit(day)"), 400);
    assert.equal(misspelt.hint, "Perhaps you meant 'visits' instead of 'visit'.");
  });

  test("a table that refers to itself", async () => {
    const hall = await one(db.from("halls").select("name, part_of(name), halls(name)").eq("id", 2));
    assert.deepEqual(hall, { name: "East wing", part_of: { name: "Museum" }, halls: [{ name: "Cabinet" }] });
    const up = await one(db.from("halls").select("name, above:part_of(name, above:part_of(name))").eq("id", 4));
    assert.deepEqual(up, { name: "Cabinet", above: { name: "East wing", above: { name: "Museum" } } });
    const down = await one(db.from("halls").select("name, parts:halls!part_of(name, parts:halls!part_of(name))").eq("id", 1)
      .order("id", { referencedTable: "parts" }));
    assert.deepEqual(down, {
      name: "Museum",
      parts: [{ name: "East wing", parts: [{ name: "Cabinet" }] }, { name: "West wing", parts: [] }],
    });
  });

  test("inner embeds leave rows out, left ones do not", async () => {
    assert.deepEqual(ids(await data(db.from("paintings").select("id, frames!inner(wood)").order("id"))), [1, 3, 6]);
    assert.deepEqual(ids(await data(db.from("paintings").select("id, frames!left(wood)").order("id"))), [1, 2, 3, 4, 5, 6]);
    const filtered = await data(db.from("halls").select("id, paintings!inner(id)").eq("paintings.state", "good").order("id"));
    assert.deepEqual(filtered, [
      { id: 2, paintings: [{ id: 1 }] }, { id: 3, paintings: [{ id: 4 }] }, { id: 4, paintings: [{ id: 1 }] }]);
  });

  test("hint and inner together, nested", async () => {
    const found = await data(db.from("painters")
      .select("name, paintings!painter_id!inner(title, frames!inner(wood))").eq("paintings.frames.wood", "oak"));
    assert.deepEqual(found, [{ name: "Ada Rosso", paintings: [{ title: "Blue boats at dawn", frames: { wood: "oak" } }] }]);
  });

  test("embeds that show nothing but narrow", async () => {
    assert.deepEqual(await data(db.from("paintings").select("id, frames!inner()").order("id")), [{ id: 1 }, { id: 3 }, { id: 6 }]);
    assert.deepEqual(ids(await data(db.from("paintings").select("id, frames()").is("frames", null).order("id"))), [2, 4, 5]);
    assert.deepEqual(ids(await data(db.from("paintings").select("id, frames()").not("frames", "is", null).order("id"))), [1, 3, 6]);
  });

  test("spreads of one", async () => {
    const painting = await one(db.from("paintings").select("title, ...painters!painter_id(painter:name, country), ...frames(wood)").eq("id", 1));
    assert.deepEqual(painting, { title: "Blue boats at dawn", painter: "Ada Rosso", country: "IT", wood: "oak" });
    const nothing = await one(db.from("paintings").select("title, ...painters!painter_id(name)").eq("id", 5));
    assert.deepEqual(nothing, { title: "Untitled", name: null });
  });

  test("spreads of many are lists", async () => {
    const painter = await one(db.from("painters").select("name, ...paintings!painter_id(titles:title, states:state)").eq("id", 2)
      .order("id", { referencedTable: "paintings" }));
    assert.deepEqual(painter, {
      name: "Bo Lind", titles: ["Portrait of a cook", "Fish, fresh (still life)"], states: ["poor", "good"],
    });
  });

  test("spreads within embeds and embeds within spreads", async () => {
    const hanging = await one(db.from("hangings").select("since, ...paintings(title, painters!painter_id(name)), ...halls(hall:name, ...part_of(within:name))")
      .eq("painting_id", 4));
    assert.deepEqual(hanging, {
      since: "2030-06-01", title: "Fish, fresh (still life)", painters: { name: "Bo Lind" }, hall: "West wing", within: "Museum",
    });
  });

  test("views embed by the keys of their tables", async () => {
    const found = await one(db.from("shown_paintings").select("title, painters(name), painter_names(full_name)").eq("id", 1));
    assert.deepEqual(found, { title: "Blue boats at dawn", painters: { name: "Ada Rosso" }, painter_names: { full_name: "Ada Rosso" } });
    const back = await one(db.from("painter_names").select("full_name, shown_paintings(id)").eq("id", 1)
      .order("id", { referencedTable: "shown_paintings" }));
    assert.deepEqual(back, { full_name: "Ada Rosso", shown_paintings: [{ id: 1 }, { id: 2 }] });
  });

  test("computed relationships, with filters, order and limits", async () => {
    const painter = await one(db.from("painters").select("name, famous_paintings(id), best_painting(title, frames(wood))").eq("id", 1));
    assert.deepEqual(painter, {
      name: "Ada Rosso", famous_paintings: [{ id: 1 }], best_painting: { title: "Blue boats at dawn", frames: { wood: "oak" } },
    });
    const narrowed = await one(db.from("painters").select("famous:famous_paintings(id)").eq("id", 2).lt("famous.price", 10));
    assert.deepEqual(narrowed, { famous: [] });
  });

  test("partitioned tables embed as one", async () => {
    const hall = await one(db.from("halls").select("visits(people)").eq("id", 2).order("day", { referencedTable: "visits" }));
    assert.deepEqual(hall.visits.map((it) => it.people), [10, 20, 40]);
  });

  test("deep nesting with filters, order and limit at each level", async () => {
    const painter = await one(db.from("painters")
      .select("name, paintings!painter_id(title, hangings(since, halls(name)))").eq("id", 1).eq("paintings.id", 1)
      .order("since", { referencedTable: "paintings.hangings", ascending: false }).limit(1, { referencedTable: "paintings.hangings" }));
    assert.deepEqual(painter, {
      name: "Ada Rosso",
      paintings: [{ title: "Blue boats at dawn", hangings: [{ since: "2030-02-01", halls: { name: "Cabinet" } }] }],
    });
  });

  test("a filter on what is not embedded is refused", async () => {
    const error = await refused(db.from("paintings").select("id").eq("frames.wood", "oak"), 400);
    assert.deepEqual([error.code, error.message, error.hint],
      ["PGRST108", "'frames' is not an embedded resource in this request", "Verify that 'frames' is included in the 'select' query parameter."]);
  });

  test("rows returned by a function embed too", async () => {
    const found = await data(db.rpc("paintings_of", { painter: "Ada Rosso" }).select("id, painters!painter_id(name), frames(wood)"));
    assert.deepEqual(found, [
      { id: 1, painters: { name: "Ada Rosso" }, frames: { wood: "oak" } },
      { id: 2, painters: { name: "Ada Rosso" }, frames: null }]);
  });

  test("nulls are stripped inside embeds too", async () => {
    const stripped = await data(client().from("paintings").select("id, frames(painting_id, wood)").eq("id", 6).stripNulls());
    assert.deepEqual(stripped, [{ id: 6, frames: { painting_id: 6 } }]);
  });
});

// Every filter of postgrest-js; what it finds is compared with what JavaScript finds among the same rows.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { data, db, ids, refused, rows } from "./world.mjs";

const PAINTERS = rows("select * from painters order by id");
const PAINTINGS = rows("select * from paintings order by id");
const words = (row) => row.title.toLowerCase().split(/\W+/);
const tagged = (...tags) => (row) => tags.every((it) => row.tags.includes(it));

/** Filters of paintings: what the client asks, what must hold. */
const OF_PAINTINGS = {
  "eq on a number": [(it) => it.eq("id", 3), (row) => row.id === 3],
  "eq on text with reserved characters": [
    (it) => it.eq("title", "Fish, fresh (still life)"), (row) => row.id === 4],
  "eq on an enum": [(it) => it.eq("state", "fair"), (row) => row.state === "fair"],
  "eq on a numeric": [(it) => it.eq("price", 120.5), (row) => row.price === 120.5],
  "eq on a timestamp in another zone": [
    (it) => it.eq("bought_at", "2029-05-01T12:00:00+02:00"), (row) => row.bought_at === "2029-05-01T10:00:00+00:00"],
  neq: [(it) => it.neq("state", "good"), (row) => row.state !== "good"],
  gt: [(it) => it.gt("price", 100), (row) => row.price > 100],
  gte: [(it) => it.gte("price", 100), (row) => row.price >= 100],
  lt: [(it) => it.lt("price", 100), (row) => row.price !== null && row.price < 100],
  lte: [(it) => it.lte("price", 100), (row) => row.price !== null && row.price <= 100],
  "lt on an enum": [(it) => it.lt("state", "good"), (row) => row.state !== "good"],
  "two bounds": [(it) => it.gt("id", 1).lte("id", 4), (row) => row.id > 1 && row.id <= 4],
  like: [(it) => it.like("title", "%boat%"), (row) => row.title.includes("boat")],
  "like with an underscore": [(it) => it.like("title", "T_e%"), (row) => /^T.e/.test(row.title)],
  "like with an escaped sign": [(it) => it.like("title", "50\\% grey\\_%"), (row) => row.id === 6],
  "like with the star of URLs": [(it) => it.like("title", "*cook"), (row) => row.title.endsWith("cook")],
  ilike: [(it) => it.ilike("title", "%BOAT%"), (row) => row.title.includes("boat")],
  likeAllOf: [
    (it) => it.likeAllOf("title", ["%boat%", "%dawn"]), (row) => row.title.includes("boat") && row.title.endsWith("dawn")],
  likeAnyOf: [
    (it) => it.likeAnyOf("title", ["%cook", "%boat"]), (row) => /(cook|boat)$/.test(row.title)],
  ilikeAllOf: [(it) => it.ilikeAllOf("title", ["%BOAT%", "THE%"]), (row) => row.id === 2],
  ilikeAnyOf: [(it) => it.ilikeAnyOf("title", ["UNTITLED", "fish%"]), (row) => [4, 5].includes(row.id)],
  regexMatch: [(it) => it.regexMatch("title", "^(Blue|The) .*boats?"), (row) => /^(Blue|The) .*boats?/.test(row.title)],
  regexIMatch: [(it) => it.regexIMatch("title", "^(BLUE|the) "), (row) => /^(blue|the) /i.test(row.title)],
  "is null": [(it) => it.is("painter_id", null), (row) => row.painter_id === null],
  "isDistinct counts null as different": [(it) => it.isDistinct("restorer_id", 2), (row) => row.restorer_id !== 2],
  in: [(it) => it.in("id", [1, 5, 999]), (row) => [1, 5].includes(row.id)],
  "in with text that is quoted": [
    (it) => it.in("title", ["Untitled", "Fish, fresh (still life)", "none"]), (row) => [4, 5].includes(row.id)],
  notIn: [(it) => it.notIn("id", [1, 5]), (row) => ![1, 5].includes(row.id)],
  "notIn with text that is quoted": [
    (it) => it.notIn("title", ["Fish, fresh (still life)"]), (row) => row.id !== 4],
  "contains on jsonb": [
    (it) => it.contains("details", { size: { w: 40 } }), (row) => row.details.size?.w === 40],
  "contains on a jsonb array": [
    (it) => it.contains("details->tags", '["sea"]'), (row) => row.details.tags?.includes("sea")],
  "containedBy on jsonb": [
    (it) => it.containedBy("details", { tags: [], size: null }), (row) => [4, 5, 6].includes(row.id)],
  "contains on a range": [(it) => it.contains("on_show", "[2030-02-10,2030-02-20)"), (row) => [1, 2].includes(row.id)],
  "containedBy on a range": [
    (it) => it.containedBy("on_show", "[2030-01-01,2030-06-01)"), (row) => [1, 2].includes(row.id)],
  rangeGt: [(it) => it.rangeGt("on_show", "[2030-01-01,2030-06-01)"), (row) => [4, 6].includes(row.id)],
  rangeGte: [(it) => it.rangeGte("on_show", "[2030-02-01,2030-04-01)"), (row) => [2, 4, 6].includes(row.id)],
  rangeLt: [(it) => it.rangeLt("on_show", "[2030-06-01,2030-07-01)"), (row) => [1, 2].includes(row.id)],
  rangeLte: [(it) => it.rangeLte("on_show", "[2030-05-01,2030-06-01)"), (row) => [1, 2].includes(row.id)],
  rangeAdjacent: [(it) => it.rangeAdjacent("on_show", "[2030-07-01,2031-01-01)"), (row) => [4, 6].includes(row.id)],
  "overlaps on a range": [(it) => it.overlaps("on_show", "[2030-05-01,2030-06-10)"), (row) => [2, 4].includes(row.id)],
  "textSearch as tsquery": [
    (it) => it.textSearch("search", "boat & !old", { config: "english" }), (row) => row.id === 1],
  "textSearch without configuration": [(it) => it.textSearch("search", "'boat'"), (row) => [1, 2].includes(row.id)],
  "textSearch plain": [
    (it) => it.textSearch("search", "boats blue", { type: "plain", config: "english" }), (row) => row.id === 1],
  "textSearch phrase": [
    (it) => it.textSearch("search", "old boats", { type: "phrase", config: "english" }), (row) => row.id === 2],
  "textSearch websearch": [
    (it) => it.textSearch("search", "portrait or -boat fish", { type: "websearch", config: "english" }),
    (row) => words(row).includes("portrait") || (words(row).includes("fish") && !row.title.includes("boat"))],
  "textSearch on plain text": [
    (it) => it.textSearch("title", "boats", { config: "english" }), (row) => row.title.includes("boat")],
  match: [(it) => it.match({ painter_id: 1, state: "good" }), (row) => row.id === 1],
  "not with eq": [(it) => it.not("state", "eq", "good"), (row) => row.state !== "good"],
  "not with in": [(it) => it.not("id", "in", "(1,2,3)"), (row) => row.id > 3],
  "not with is": [(it) => it.not("price", "is", null), (row) => row.price !== null],
  "not with contains": [(it) => it.not("details", "cs", '{"size":{"w":40}}'), (row) => row.id !== 1],
  or: [(it) => it.or("id.eq.1,price.gt.200"), (row) => row.id === 1 || row.price > 200],
  "or with and": [
    (it) => it.or("id.eq.6,and(state.eq.good,price.lt.110)"),
    (row) => row.id === 6 || (row.state === "good" && row.price !== null && row.price < 110)],
  "or with not": [(it) => it.or("painter_id.is.null,state.not.in.(good,fair)"), (row) => [3, 5].includes(row.id)],
  "or with not before and": [
    (it) => it.or("not.and(id.gte.2,id.lte.5),id.eq.3"), (row) => [1, 3, 6].includes(row.id)],
  "two ors": [(it) => it.or("id.lt.3,id.gt.4").or("state.eq.good,price.eq.80"), (row) => [1, 2, 5].includes(row.id)],
  "or with quoted text": [(it) => it.or('title.eq."Fish, fresh (still life)",id.eq.1'), (row) => [1, 4].includes(row.id)],
  "or with the range operators": [
    (it) => it.or("on_show.ov.\"[2030-06-15,2030-06-20)\",details.cs.{\"tags\":[\"sea\"]}"), (row) => [1, 4].includes(row.id)],
  "or with any and all": [
    (it) => it.or("title.like(any).{*cook,*boat},id.eq(any).{5}"), (row) => [2, 3, 5].includes(row.id)],
  "filter with any operator": [(it) => it.filter("id", "gte", 5), (row) => row.id >= 5],
  "filter with a modifier": [(it) => it.filter("id", "eq(any)", "{1,6}"), (row) => [1, 6].includes(row.id)],
  "filter with not": [(it) => it.filter("state", "not.eq", "good"), (row) => row.state !== "good"],
  "a path into jsonb as json": [(it) => it.eq("details->size->w", 20), (row) => row.details.size?.w === 20],
  "a path into jsonb as text": [(it) => it.eq("details->size->>h", "90"), (row) => row.details.size?.h === 90],
  "a path with an index": [(it) => it.eq("details->tags->>1", "food"), (row) => row.details.tags?.[1] === "food"],
  "a path that leads nowhere": [(it) => it.is("details->size->>w", null), (row) => row.details.size?.w === undefined],
};

const OF_PAINTERS = {
  "is true": [(it) => it.is("is_living", true), (row) => row.is_living === true],
  "is false": [(it) => it.is("is_living", false), (row) => row.is_living === false],
  "is unknown": [(it) => it.filter("is_living", "is", "unknown"), (row) => row.is_living === null],
  "is not null": [(it) => it.filter("is_living", "is", "not_null"), (row) => row.is_living !== null],
  "contains on an array": [(it) => it.contains("tags", ["oil"]), tagged("oil")],
  "contains on an array of two": [(it) => it.contains("tags", ["ink", "portrait"]), tagged("ink", "portrait")],
  "containedBy on an array": [
    (it) => it.containedBy("tags", ["ink", "oil", "portrait"]), (row) => !row.tags.includes("sea, sky")],
  "overlaps on an array": [
    (it) => it.overlaps("tags", ["ink", "portrait"]), (row) => row.tags.some((tag) => ["ink", "portrait"].includes(tag))],
  "overlaps with an array's text": [(it) => it.overlaps("tags", '{"sea, sky"}'), tagged("sea, sky")],
  "eq on an array": [(it) => it.eq("tags", "{oil,portrait}"), (row) => row.id === 1],
  "eq on a range": [(it) => it.eq("active", "[1930,1950)"), (row) => row.id === 3],
  "rangeLt on integers": [(it) => it.rangeLt("active", "[1931,1940)"), (row) => [1, 5].includes(row.id)],
  "rangeAdjacent on integers": [(it) => it.rangeAdjacent("active", "[1950,1960)"), (row) => row.id === 3],
  "text that is quoted": [(it) => it.eq("name", 'Éva "Bó" Nagy'), (row) => row.id === 5],
  "text beyond ASCII": [(it) => it.like("name", "Éva%"), (row) => row.id === 5],
  "a deep path": [(it) => it.eq("facts->home->rooms->>0", "3"), (row) => row.facts?.home?.rooms[0] === 3],
  "a path compared as json": [(it) => it.gte("facts->born", 1931), (row) => row.facts?.born >= 1931],
  "a path in or": [(it) => it.or("facts->>born.eq.1870,facts->home->>town.eq.Lund"), (row) => [2, 5].includes(row.id)],
  "a computed column": [(it) => it.eq("initials", "BL"), (row) => row.id === 2],
};

function compare(table, all, cases) {
  for (const [name, [narrow, holds]] of Object.entries(cases)) {
    test(name, async () => {
      const expected = ids(all.filter(holds));
      assert.ok(expected.length > 0 && expected.length < all.length, "the case tells something");
      assert.deepEqual(ids(await data(narrow(db.from(table).select("id")).order("id"))), expected);
    });
  }
}

describe("filters", { concurrency: true }, () => {
  compare("paintings", PAINTINGS, OF_PAINTINGS);
  compare("painters", PAINTERS, OF_PAINTERS);

  test("a value that looks like syntax is a value", async () => {
    const nasty = ["'; drop table paintings; --", "null", "eq.1", "a,b", "(a)", "\"", "\\", "%", "*", "{}", "a\tb", "ü€😀"];
    for (const text of nasty) assert.deepEqual(await data(db.from("paintings").select("id").eq("title", text)), [], text);
    assert.deepEqual(await data(db.from("paintings").select("id").in("title", nasty.filter((it) => !/["\\]/.test(it)))), []);
  });

  test("odd names of columns", async () => {
    const columns = '"the id",select,"käse, alt","(x)"';
    const [first] = await data(db.from("odd names").select(columns).eq("the id", 1));
    assert.deepEqual(first, { "the id": 1, select: "one", "käse, alt": "gouda", "(x)": ["a", "b"] });
    const found = async (request) => (await data(request)).map((it) => it["the id"]);
    assert.deepEqual(await found(db.from("odd names").select().eq('"select"', "two, too")), [2]);
    assert.deepEqual(await found(db.from("odd names").select().is('"käse, alt"', null)), [2]);
    assert.deepEqual(await found(db.from("odd names").select().contains('"(x)"', ["b"])), [1]);
    assert.deepEqual(await found(db.from("odd names").select().or('"käse, alt".eq.gouda,"the id".eq.2').order('"the id"')), [1, 2]);
  });

  test("isDistinct with the word null compares with that text", async () => {
    assert.deepEqual(ids(await data(db.from("painters").select("id").isDistinct("country", null).order("id"))), [1, 2, 3, 4, 5]);
  });

  test("filters of embedded tables", async () => {
    const found = await data(db.from("painters").select("id, paintings!painter_id(id)").eq("paintings.state", "good")
      .lt("paintings.id", 4).lte("id", 2).order("id"));
    assert.deepEqual(found, [{ id: 1, paintings: [{ id: 1 }] }, { id: 2, paintings: [] }]);
  });

  test("or of an embedded table", async () => {
    const found = await data(db.from("painters").select("id, paintings!painter_id(id)")
      .or("id.eq.2,state.eq.poor,price.gt.200", { referencedTable: "paintings" }).in("id", [1, 2]).order("id"));
    assert.deepEqual(found, [{ id: 1, paintings: [{ id: 2 }] }, { id: 2, paintings: [{ id: 3 }] }]);
    const older = await data(db.from("painters").select("id, paintings!painter_id(id)")
      .or("id.eq.1,id.eq.3", { foreignTable: "paintings" }).eq("id", 1));
    assert.deepEqual(older, [{ id: 1, paintings: [{ id: 1 }] }]);
  });

  test("or across tables, by inner joins and null embeds", async () => {
    const found = await data(db.from("paintings").select("id, painters!painter_id(), frames()")
      .or("frames.not.is.null,painters.is.null").order("id"));
    assert.deepEqual(found, [{ id: 1 }, { id: 3 }, { id: 5 }, { id: 6 }]);
  });

  test("not, or and in of an embedded table", async () => {
    const found = await data(db.from("halls").select("id, paintings!inner(id)").not("paintings.id", "in", "(1,2)").order("id"));
    assert.deepEqual(found, [{ id: 3, paintings: [{ id: 4 }] }, { id: 5, paintings: [{ id: 3 }] }]);
  });

  test("filters that cannot be understood say where", async () => {
    const error = await refused(db.from("paintings").select().filter("id", "equals", 1), 400);
    assert.equal(error.code, "PGRST100");
    assert.match(error.message, /failed to parse filter \(equals\.1\)/);
    const type = await refused(db.from("paintings").select().eq("id", "one"), 400);
    assert.deepEqual([type.code, type.message], ["22P02", 'invalid input syntax for type bigint: "one"']);
    const column = await refused(db.from("paintings").select().eq("colour", 1), 400);
    assert.deepEqual([column.code, column.message], ["42703", "column paintings.colour does not exist"]);
    const pattern = await refused(db.from("paintings").select().regexMatch("title", "["), 400);
    assert.equal(pattern.code, "2201B");
    const or = await refused(db.from("paintings").select().or("id.eq.1,nothing"), 400);
    assert.match(or.message, /failed to parse logic tree/);
    const search = await refused(db.from("paintings").select().textSearch("search", "a &"), 400);
    assert.deepEqual([search.code, search.message], ["42601", 'no operand in tsquery: "a &"']);
  });
});

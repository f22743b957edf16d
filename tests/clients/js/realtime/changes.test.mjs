// Changes of the database: events, filters, types, and row level security for two users.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { at, first, PROXY, refusal, room, sql, until, user, watching, world } from "./world.mjs";

before(() => {
  sql(`
    set client_min_messages = warning;
    drop table if exists notes, things, hidden, unlisted;
    create table notes (id int primary key, owner uuid not null, text text not null, rank int not null default 0);
    alter table notes enable row level security;
    create policy own on notes for select to authenticated using (owner = auth.uid());
    grant select on notes to authenticated;
    create table things (
      id int primary key, name text, count int, big bigint, price numeric(10, 2), ratio float8, is_new bool,
      made_at timestamptz, tags text[], details jsonb, code uuid);
    alter table things replica identity full;
    grant select on things to anon, authenticated;
    create table hidden (id int primary key, name text, secret text);
    revoke all on hidden from anon;
    grant select (id, name) on hidden to anon;
    create table unlisted (id int primary key);
    grant select on unlisted to anon;
    alter publication supabase_realtime add table notes, things, hidden;
  `);
});

const all = { event: "*", table: "things" };
let last = 0;
const fresh = () => (last += 1) + Math.floor(Math.random() * 1_000_000) * 1000;

test("insert, update and delete come in the order of their commits, to both workers", async () => {
  const [near, far] = [await watching(at(0).channel(room()), all), await watching(at(1).channel(room()), all)];
  const id = fresh();
  sql(`insert into things (id, name) values (${id}, 'one')`);
  sql(`update things set name = 'two' where id = ${id}`);
  sql(`delete from things where id = ${id}`);
  for (const { changes } of [near, far]) {
    const own = () => changes.filter((it) => [it.new.id, it.old.id].includes(id));
    await until("all three come", () => own().length === 3);
    const [inserted, updated, deleted] = own();
    assert.deepEqual([inserted.eventType, inserted.new.name, inserted.old], ["INSERT", "one", {}]);
    assert.deepEqual([updated.eventType, updated.new.name, updated.old.name], ["UPDATE", "two", "one"]);
    assert.deepEqual([deleted.eventType, deleted.new, deleted.old.name], ["DELETE", {}, "two"]);
    for (const it of own()) {
      assert.deepEqual([it.schema, it.table, it.errors], ["public", "things", null]);
      assert.ok(Math.abs(Date.parse(it.commit_timestamp) - Date.now()) < 120_000, it.commit_timestamp);
    }
  }
});

test("values have the types that the client makes of them", async () => {
  const { changes } = await watching(at(PROXY).channel(room()), { event: "INSERT", table: "things" });
  const id = fresh();
  sql(`insert into things values (${id}, 'grüß "dich" 👋', 7, 9007199254740991, 12.50, 0.25, true, '2030-01-02 03:04:05+00',
       '{a,"b c"}', '{"deep": [1, null]}', '00000000-0000-4000-8000-00000000000a')`);
  await until("it comes", () => changes.some((it) => it.new.id === id));
  const { made_at: madeAt, ...row } = changes.find((it) => it.new.id === id).new;
  assert.deepEqual(row, {
    id, name: 'grüß "dich" 👋', count: 7, big: 9007199254740991, price: 12.5, ratio: 0.25, is_new: true,
    tags: ["a", "b c"], details: { deep: [1, null] }, code: "00000000-0000-4000-8000-00000000000a",
  });
  assert.equal(Date.parse(madeAt), Date.UTC(2030, 0, 2, 3, 4, 5));
  sql(`insert into things (id) values (${id + 1})`);
  await until("nulls come", () => changes.some((it) => it.new.id === id + 1));
  assert.equal(changes.find((it) => it.new.id === id + 1).new.name, null);
});

test("filters and events choose, each subscription its own", async () => {
  const base = fresh();
  const cases = {
    [`id=eq.${base + 1}`]: [1],
    [`id=neq.${base + 1},id=gte.${base},id=lt.${base + 4}`]: [0, 2, 3],
    [`id=gt.${base + 1},id=lte.${base + 3}`]: [2, 3],
    [`id=in.(${base + 1},${base + 3})`]: [1, 3],
    [`name=like.%${base}-b%`]: [2],
    [`name=eq."${base}, (x)"`]: [4],
    [`id=gte.${base},id=lte.${base + 4},count=is.null`]: [4],
    [`id=gte.${base},id=lte.${base + 4},id=not.in.(${base},${base + 1})`]: [2, 3, 4],
  };
  const client = at(1);
  const there = [];
  for (const filter of Object.keys(cases)) {
    there.push(await watching(client.channel(room()), { event: "INSERT", table: "things", filter }));
  }
  const updates = await watching(client.channel(room()), { event: "UPDATE", table: "things", filter: `id=eq.${base}` });
  sql(`insert into things (id, name, count) values (${base}, '${base}-a', 1), (${base + 1}, '${base}-a', 1),
       (${base + 2}, '${base}-b', 1), (${base + 3}, '${base}-c', 1), (${base + 4}, '${base}, (x)', null)`);
  sql(`update things set count = 2 where id = ${base}`);
  await first(updates.changes);
  Object.entries(cases).forEach(([filter, wanted], it) => {
    assert.deepEqual(there[it].changes.map(({ new: row }) => row.id - base), wanted, filter);
  });
});

test("one channel has several subscriptions, each with its own callback", async () => {
  const id = fresh();
  const channel = at(0).channel(room());
  const [inserts, deletes] = [[], []];
  channel.on("postgres_changes", { event: "INSERT", schema: "public", table: "things" }, (it) => inserts.push(it));
  channel.on("postgres_changes", { event: "DELETE", schema: "public", table: "things" }, (it) => deletes.push(it));
  await watching(channel, { event: "UPDATE", table: "things" });
  sql(`insert into things (id) values (${id})`);
  sql(`delete from things where id = ${id}`);
  await until("both come", () => inserts.some((it) => it.new.id === id) && deletes.some((it) => it.old.id === id));
  assert.ok(inserts.every((it) => it.eventType === "INSERT") && deletes.every((it) => it.eventType === "DELETE"));
});

test("two users see their own rows only, and anon none", async () => {
  const [ada, bob] = [user(), user()];
  const watch = (place, who) => watching(at(place, who).channel(room()), { event: "*", table: "notes" });
  const adas = await watch(0, ada);
  const bobs = await watch(1, bob);
  const service = await watch(0, { key: world.serviceRoleKey });
  const id = fresh();
  sql(`insert into notes values (${id}, '${ada.id}', 'of ada'), (${id + 1}, '${bob.id}', 'of bob')`);
  // Policies are asked about rows as they are when the change is told.
  await until("both are told", () => adas.changes.length && bobs.changes.length);
  sql(`update notes set text = 'hers' where id = ${id}`);
  await until("she is told", () => adas.changes.length > 1);
  sql(`update notes set owner = '${bob.id}' where id = ${id}`);
  await first(service.changes, 4);
  const told = ({ changes }) => changes.map((it) => [it.eventType, it.new.id - id, it.new.text]);
  await first(adas.changes, 2);
  await first(bobs.changes, 2);
  assert.deepEqual(told(adas), [["INSERT", 0, "of ada"], ["UPDATE", 0, "hers"]]);
  assert.deepEqual(told(bobs), [["INSERT", 1, "of bob"], ["UPDATE", 0, "hers"]]);
  // Whose a deleted row was nobody can say any more: its key is all that is told.
  sql(`delete from notes where id = ${id + 1}`);
  await first(bobs.changes, 3);
  assert.deepEqual([bobs.changes[2].eventType, bobs.changes[2].old], ["DELETE", { id: id + 1 }]);
});

test("columns that the role may not read are not sent", async () => {
  const { changes } = await watching(at(1).channel(room()), { event: "INSERT", table: "hidden" });
  const id = fresh();
  sql(`insert into hidden values (${id}, 'name', 'secret')`);
  assert.deepEqual((await first(changes))[0].new, { id, name: "name" });
});

test("chosen columns are all that comes", async () => {
  const id = fresh();
  const { changes } = await watching(at(0).channel(room()), {
    event: "INSERT", table: "things", filter: `id=eq.${id}`, select: ["id", "name"],
  });
  sql(`insert into things (id, name, count) values (${id}, 'chosen', 3)`);
  assert.deepEqual((await first(changes))[0].new, { id, name: "chosen" });
});

test("a subscription that cannot be is told so, and the channel goes on", async () => {
  const client = at(0);
  for (const wanted of [
    { table: "nowhere" }, { table: "unlisted" }, { table: "things", filter: "nothing=eq.1" }, { table: "things", filter: "id=eq.word" },
    { table: "things", filter: "id=eq.1;drop table things" },
  ]) {
    const channel = client.channel(room());
    await assert.rejects(watching(channel, { event: "*", ...wanted }), undefined, JSON.stringify(wanted));
    await client.removeChannel(channel);
  }
  assert.equal(sql("select count(*) from pg_class where relname = 'things'"), "1");
});

// Private channels: policies of realtime.messages say who may read, write and be present.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { at, first, heard, joined, PROXY, refusal, room, sql, user, world } from "./world.mjs";

// A topic `club:<reader>:<writer>` is read by both and written by the writer, of whom each is a user's id.
before(() => {
  sql(`
    drop policy if exists "members read" on realtime.messages;
    drop policy if exists "writers write" on realtime.messages;
    create policy "members read" on realtime.messages for select to authenticated
      using (extension = 'broadcast' and auth.uid()::text = any(string_to_array(realtime.topic(), ':')));
    create policy "writers write" on realtime.messages for insert to authenticated
      with check (extension = 'broadcast' and auth.uid()::text = split_part(realtime.topic(), ':', 3));
  `);
});

const secret = (broadcast = {}) => ({ config: { private: true, broadcast } });

function club() {
  const [reader, writer] = [user(), user()];
  return { reader, writer, topic: `club:${reader.id}:${writer.id}` };
}

test("a policy lets in, and keeps out", async () => {
  const { reader, writer, topic } = club();
  const channels = [at(0, reader), at(1, writer)].map((it) => it.channel(topic, secret({ ack: true })));
  const lists = channels.map((it) => heard(it));
  await Promise.all(channels.map(joined));
  assert.equal(await channels[1].send({ type: "broadcast", event: "said", payload: { n: 1 } }), "ok");
  assert.deepEqual((await first(lists[0]))[0].payload, { n: 1 });

  const told = `Unauthorized: You do not have permissions to read from this Channel topic: ${topic}`;
  for (const place of [0, 1, PROXY]) {
    assert.equal(await refusal(at(place, user()).channel(topic, secret())), told);
    assert.equal(await refusal(at(place).channel(topic, secret())), told);
  }
});

test("who may only read cannot send", async () => {
  const { reader, writer, topic } = club();
  const channels = [at(0, reader), at(0, writer)].map((it) => it.channel(topic, secret({ ack: true })));
  const list = heard(channels[1]);
  const own = heard(channels[0]);
  await Promise.all(channels.map(joined));
  assert.notEqual(await channels[0].send({ type: "broadcast", event: "said", payload: { by: "reader" } }, { timeout: 1500 }), "ok");
  assert.equal(await channels[1].send({ type: "broadcast", event: "said", payload: { by: "writer" } }), "ok");
  await first(own);
  assert.deepEqual(list, []);
});

test("a public channel of the same name is another one", async () => {
  const { reader, writer, topic } = club();
  const outsider = at(1).channel(topic);
  const overheard = heard(outsider);
  const inside = at(0, reader).channel(topic, secret());
  const list = heard(inside);
  const speaker = at(0, writer).channel(topic, secret({ ack: true }));
  await Promise.all([outsider, inside, speaker].map(joined));
  await speaker.send({ type: "broadcast", event: "said", payload: { n: 1 } });
  await first(list);
  await outsider.send({ type: "broadcast", event: "said", payload: { n: 2 } });
  await speaker.send({ type: "broadcast", event: "said", payload: { n: 3 } });
  assert.deepEqual((await first(list, 2)).map((it) => it.payload.n), [1, 3]);
  assert.deepEqual(overheard, []);
});

test("REST sends to a private channel for those who may write there", async () => {
  const { reader, writer, topic } = club();
  const channel = at(1, reader).channel(topic, secret());
  const list = heard(channel);
  await joined(channel);
  const as = ({ token }) => at(PROXY, { token }).channel(topic, secret());
  await assert.rejects(as(reader).httpSend("said", { by: "reader" }));
  await assert.rejects(at(PROXY).channel(topic, secret()).httpSend("said", { by: "nobody" }));
  assert.deepEqual(await as(writer).httpSend("said", { by: "writer" }), { success: true });
  assert.deepEqual((await first(list))[0].payload, { by: "writer" });
  // The service key bypasses policies.
  assert.deepEqual(await at(PROXY, { key: world.serviceRoleKey }).channel(topic, secret()).httpSend("said", { by: "service" }), { success: true });
  assert.deepEqual((await first(list, 2))[1].payload, { by: "service" });
});

test("SQL reaches the members of a private channel, and of no public one", async () => {
  const { reader, topic } = club();
  const inside = at(0, reader).channel(topic, secret());
  const outside = at(0).channel(topic);
  const [list, overheard] = [heard(inside), heard(outside)];
  await Promise.all([inside, outside].map(joined));
  for (let tries = 0; tries < 100 && !list.length; tries += 1) {
    sql(`select realtime.send('{"by": "sql"}', 'said', '${topic}', true)`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  assert.equal(list[0].payload.by, "sql");
  assert.deepEqual(overheard, []);
});

test("recent private messages are replayed to those who ask", async () => {
  const { reader, topic } = club();
  const since = Date.now() - 60_000;
  for (const n of [1, 2, 3]) sql(`select realtime.send('{"n": ${n}}', 'said', '${topic}', true)`);
  const channel = at(1, reader).channel(topic, secret({ replay: { since, limit: 2 } }));
  const list = heard(channel);
  await joined(channel);
  const replayed = await first(list, 2);
  assert.deepEqual(replayed.map((it) => it.payload.n), [2, 3]);
  assert.ok(replayed.every((it) => it.meta.replayed === true && it.meta.id), JSON.stringify(replayed));
});

test("policies that raise keep out, and say so", async () => {
  sql(`
    create or replace function raise_for_some() returns boolean language plpgsql as $$
      begin if realtime.topic() like 'raise%' then raise exception 'a policy that fails'; end if; return false; end $$;
    drop policy if exists "some raise" on realtime.messages;
    create policy "some raise" on realtime.messages for select to authenticated using (raise_for_some());
  `);
  try {
    const reason = await refusal(at(0, user()).channel(room("raise"), secret()));
    assert.match(reason, /\w+: /);
    const { reader, topic } = club();
    await joined(at(0, reader).channel(topic, secret()));
  } finally {
    sql(`drop policy "some raise" on realtime.messages`);
  }
});

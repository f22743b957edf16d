// Broadcasts: from clients, by REST and from SQL, on one worker and across two.
import assert from "node:assert/strict";
import { test } from "node:test";
import { at, first, heard, joined, PROXY, room, sql, until, world } from "./world.mjs";

const config = (broadcast) => ({ config: { broadcast } });

/** A sender on worker 0, and listeners on both workers, on one topic. */
async function three(topic, broadcast = {}) {
  const channels = [at(0).channel(topic, config(broadcast)), at(0).channel(topic), at(1).channel(topic)];
  const lists = channels.map((it) => heard(it));
  await Promise.all(channels.map(joined));
  return { sender: channels[0], own: lists[0], near: lists[1], far: lists[2] };
}

const send = (channel, payload, event = "said") => channel.send({ type: "broadcast", event, payload });

test("what one sends the others get, on the same worker and on the other, in order", async () => {
  const { sender, own, near, far } = await three(room());
  const sent = Array.from({ length: 200 }, (_, number) => ({ number, text: "grüß 👋 dich", nested: { list: [1, null, "x"] } }));
  for (const it of sent) assert.equal(await send(sender, it), "ok");
  for (const list of [near, far]) {
    await first(list, sent.length);
    assert.deepEqual(list.map((it) => it.payload), sent);
    assert.deepEqual([list[0].type, list[0].event], ["broadcast", "said"]);
  }
  assert.deepEqual(own, []);
});

test("a sender gets its own messages when it asks for them", async () => {
  const { sender, own, near } = await three(room(), { self: true });
  await send(sender, { mine: true });
  assert.deepEqual((await first(own))[0].payload, { mine: true });
  await first(near);
});

test("an acknowledged message is with the server when `send` returns", async () => {
  const { sender, far } = await three(room(), { ack: true });
  assert.equal(await send(sender, { sure: true }), "ok");
  assert.deepEqual((await first(far))[0].payload, { sure: true });
});

test("bytes arrive as they were sent", async () => {
  const { sender, near, far } = await three(room());
  const bytes = Uint8Array.from({ length: 1024 }, (_, it) => it % 256);
  await send(sender, bytes.buffer);
  for (const list of [near, far]) {
    const [message] = await first(list);
    assert.deepEqual(new Uint8Array(message.payload), bytes);
    assert.equal(message.event, "said");
  }
});

test("a message of a megabyte arrives whole", async () => {
  const { sender, far } = await three(room());
  const payload = { text: "long ".repeat(200_000) };
  await send(sender, payload);
  assert.equal((await first(far))[0].payload.text.length, 1_000_000);
});

test("only the topic's subscribers get a message, by the event that they named", async () => {
  const topic = room();
  const { sender, far } = await three(topic);
  const other = at(1).channel(room());
  const elsewhere = heard(other);
  const named = at(1).channel(topic);
  const pings = heard(named, "ping");
  await Promise.all([joined(other), joined(named)]);
  await send(sender, { n: 1 }, "ping");
  await send(sender, { n: 2 }, "pong");
  await send(sender, { n: 3 }, "ping");
  await first(far, 3);
  assert.deepEqual((await first(pings, 2)).map((it) => it.payload.n), [1, 3]);
  assert.deepEqual(elsewhere, []);
});

test("names of topics and events may be of any script", async () => {
  const { sender, near, far } = await three(room("Raum für 日本 / ?#"));
  await send(sender, {}, "grüße:日本");
  for (const list of [near, far]) assert.equal((await first(list))[0].event, "grüße:日本");
});

test("who left gets nothing any more, and may come again", async () => {
  const topic = room();
  const { sender, near, far } = await three(topic);
  const leaver = at(1);
  const channel = leaver.channel(topic);
  const before = heard(channel);
  await joined(channel);
  await send(sender, { n: 1 });
  await first(before);
  assert.equal(await leaver.removeChannel(channel), "ok");
  await send(sender, { n: 2 });
  await first(far, 2);
  const again = leaver.channel(topic);
  const afterwards = heard(again);
  await joined(again);
  await send(sender, { n: 3 });
  assert.deepEqual((await first(afterwards))[0].payload, { n: 3 });
  assert.deepEqual(before.map((it) => it.payload.n), [1]);
  await first(near, 3);
});

test("REST reaches the subscribers of both workers, one message at a time and in batches", async () => {
  const topic = room("REST & more");
  const { near, far } = await three(topic);
  const channel = at(PROXY).channel(topic);
  assert.deepEqual(await channel.httpSend("said", { by: "topic" }), { success: true });
  const bytes = Uint8Array.from([0, 1, 254, 255]);
  assert.deepEqual(await channel.httpSend("bytes", bytes), { success: true });
  // Not joined: the client falls back to the batch endpoint.
  assert.equal(await channel.send({ type: "broadcast", event: "said", payload: { by: "batch" } }), "ok");
  for (const list of [near, far]) {
    const [one, two, three] = await first(list, 3);
    assert.deepEqual([one.event, one.payload], ["said", { by: "topic" }]);
    assert.deepEqual([two.event, new Uint8Array(two.payload)], ["bytes", bytes]);
    assert.deepEqual([three.event, three.payload], ["said", { by: "batch" }]);
  }
});

test("REST refuses what is no message, and who has no key", async () => {
  const post = (body, headers = { apikey: world.anonKey }) => fetch(`${world.url}/realtime/v1/api/broadcast`, {
    method: "POST", headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body),
  });
  const wrong = await post({ messages: [{ topic: "t" }] });
  assert.equal(wrong.status, 422);
  assert.ok((await wrong.json()).errors);
  assert.equal((await post({ messages: [] }, {})).status, 401);
  assert.equal((await post({ messages: [{ topic: room(), event: "e", payload: {} }] })).status, 202);
});

test("SQL sends to both workers: realtime.send, and bytes", async () => {
  const topic = room();
  const { near, far } = await three(topic);
  // The server listens to the database from the first channel on, and that takes a moment.
  await until("a message of SQL comes", () => {
    if (!near.length) sql(`select realtime.send('{"by": "sql"}', 'said', '${topic}', false)`);
    return near.length > 0;
  });
  assert.deepEqual([near[0].event, near[0].payload.by], ["said", "sql"]);
  await until("it comes to the other worker", () => far.length > 0);
  assert.equal(far[0].payload.by, "sql");
  sql(`select realtime.send_binary('\\x00ff10'::bytea, 'bytes', '${topic}', false)`);
  for (const list of [near, far]) {
    await until("bytes of SQL come", () => list.some((it) => it.event === "bytes"));
    const { payload } = list.find((it) => it.event === "bytes");
    assert.deepEqual(new Uint8Array(payload), Uint8Array.from([0, 255, 16]));
  }
});

test("clients of protocol 1.0.0 and 2.0.0 understand each other", async () => {
  const topic = room();
  const [old, recent] = [at(0, { realtime: { vsn: "1.0.0" } }), at(1)].map((it) => it.channel(topic));
  const [atOld, atRecent] = [heard(old), heard(recent)];
  await Promise.all([joined(old), joined(recent)]);
  await send(old, { from: "1.0.0" });
  assert.deepEqual((await first(atRecent))[0].payload, { from: "1.0.0" });
  await send(recent, { from: "2.0.0" });
  assert.deepEqual((await first(atOld))[0].payload, { from: "2.0.0" });
});

test("heartbeats are answered", async () => {
  const states = [];
  const there = at(PROXY, { realtime: { heartbeatIntervalMs: 500, heartbeatCallback: (it) => states.push(it) } });
  await joined(there.channel(room()));
  await until("heartbeats are answered", () => states.filter((it) => it === "ok").length >= 3);
  assert.ok(!states.includes("timeout") && !states.includes("error"), states.join());
});

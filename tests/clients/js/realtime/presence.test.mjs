// Presence over two workers: who is there, who comes, who goes.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { at, joined, room, until, world } from "./world.mjs";

/** A member of `topic` with a key of its own: the channel, and what it was told. */
async function member(place, topic, key) {
  const client = at(place);
  const channel = client.channel(topic, { config: { presence: { key, enabled: true } } });
  const told = [];
  channel.on("presence", { event: "join" }, ({ key, newPresences }) => told.push(["join", key, newPresences.length]));
  channel.on("presence", { event: "leave" }, ({ key, leftPresences }) => told.push(["leave", key, leftPresences.length]));
  await joined(channel);
  return { client, channel, told };
}

/** Who is there for this member: key to the metas' `n`, sorted. */
function seen({ channel }) {
  const state = channel.presenceState();
  return Object.fromEntries(Object.keys(state).sort().map((key) => [key, state[key].map((it) => it.n).sort()]));
}

const sees = (who, wanted) => until(
  `${JSON.stringify(wanted)}; is ${JSON.stringify(seen(who))}`,
  () => JSON.stringify(seen(who)) === JSON.stringify(wanted));

test("members of both workers see each other come and go", async () => {
  const topic = room();
  const ada = await member(0, topic, "ada");
  const bob = await member(1, topic, "bob");
  assert.equal(await ada.channel.track({ n: 1 }), "ok");
  for (const it of [ada, bob]) await sees(it, { ada: [1] });
  assert.equal(await bob.channel.track({ n: 2 }), "ok");
  for (const it of [ada, bob]) await sees(it, { ada: [1], bob: [2] });
  assert.equal(await bob.channel.untrack(), "ok");
  for (const it of [ada, bob]) await sees(it, { ada: [1] });
  assert.deepEqual(ada.told, [["join", "ada", 1], ["join", "bob", 1], ["leave", "bob", 1]]);
});

test("who comes late is told who is there, and a lost connection ends presence", async () => {
  const topic = room();
  const ada = await member(0, topic, "ada");
  await ada.channel.track({ n: 1 });
  await sees(ada, { ada: [1] });
  const bob = await member(1, topic, "bob");
  await sees(bob, { ada: [1] });
  await bob.channel.track({ n: 2 });
  await sees(ada, { ada: [1], bob: [2] });
  await bob.client.realtime.disconnect();
  await sees(ada, { ada: [1] });
  await ada.client.removeChannel(ada.channel);
});

test("a key has as many metas as it has connections", async () => {
  const topic = room();
  const [first, second, other] = [await member(0, topic, "ada"), await member(1, topic, "ada"), await member(1, topic, "bob")];
  await first.channel.track({ n: 1 });
  await second.channel.track({ n: 2 });
  for (const it of [first, second, other]) await sees(it, { ada: [1, 2] });
  await first.channel.untrack();
  for (const it of [first, second, other]) await sees(it, { ada: [2] });
  await second.channel.track({ n: 3 });
  for (const it of [first, second, other]) await sees(it, { ada: [3] });
});

// REQ C8, C12
test("Redis holds who is there, under the documented names", async () => {
  const topic = room();
  const { client, channel } = await member(1, topic, "ada");
  await channel.track({ n: 1 });
  const ask = (...words) => execFileSync("redis-cli", ["-u", world.redisUrl, ...words], { encoding: "utf8" }).trim();
  await until("Redis knows it", () => ask("SMEMBERS", `presence:channel:${topic}:users`) === "ada");
  const ttl = Number(ask("TTL", `presence:channel:${topic}:user:ada`));
  assert.ok(ttl > 0 && ttl <= 60, `${ttl} s`);
  await client.removeChannel(channel);
  await until("Redis forgets it", () => ask("SMEMBERS", `presence:channel:${topic}:users`) === "");
});

// What the tests of this folder stand on: clients of either worker or of the proxy, and channels that are waited for.
//
// `tests/clients/run` starts the cluster (workers.py) and writes its addresses and keys to the file that MADBASE_WORLD names.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after } from "node:test";
import { createClient } from "@supabase/supabase-js";
import { eventually, signed, sql, world } from "../world.mjs";

export { eventually, signed, sql, world };

export const PROXY = "proxy";
const clients = [];

/** A client of worker 0 or 1, or of the proxy; as the user of `token`, if there is one. */
export function at(place, { token, key = world.anonKey, realtime = {} } = {}) {
  const url = place === PROXY ? world.url : world.workers[place];
  const made = createClient(url, key, {
    ...(token && { accessToken: async () => (typeof token === "function" ? token() : token) }),
    ...(!token && { auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false } }),
    realtime,
  });
  // Else a channel that is joined at once is joined before the client has asked for its token.
  if (token) made.realtime.setAuth(typeof token === "function" ? token() : token);
  clients.push(made);
  return made;
}

// Nothing of a test stays connected, however it ended.
after(async () => {
  for (const it of clients) {
    for (const channel of it.realtime.getChannels()) channel.teardown();
    await it.realtime.disconnect();
  }
});

/** The name of a topic that no other test uses. */
export const room = (name = "room") => `${name}-${randomUUID()}`;

/** A user of the project, who need not be signed up: `{ id, token }`. */
export function user(claims = {}) {
  const id = randomUUID();
  return { id, token: tokenOf(id, claims) };
}

/** An access token of user `id`, good for an hour unless `claims` say otherwise. */
export const tokenOf = (id, claims = {}) =>
  signed({ role: "authenticated", sub: id, exp: Math.floor(Date.now() / 1000) + 3600, ...claims }, world.jwtSecret);

/** Subscribes; the channel, once it has joined. A refusal rejects with what the server said. */
export function joined(channel) {
  return new Promise((resolve, reject) => {
    channel.subscribe((status, error) => {
      if (status === "SUBSCRIBED") resolve(channel);
      else if (status !== "CLOSED") reject(error ?? new Error(status));
    });
  });
}

/** Why the server does not let the channel join. */
export async function refusal(channel) {
  const reason = await joined(channel).then(() => assert.fail("it joined"), (it) => it.message);
  await channel.unsubscribe();
  return reason;
}

/** All broadcasts of a channel as they come: `{ event, payload }`. */
export function heard(channel, event = "*") {
  const list = [];
  channel.on("broadcast", { event }, (it) => list.push(it));
  return list;
}

/** Waits until `list` has `count` elements and returns them; fails when they do not come. */
export async function first(list, count = 1) {
  await eventually(() => list.length >= count, 15_000);
  assert.equal(list.length, count, `${list.length} of ${count} came: ${JSON.stringify(list).slice(0, 500)}`);
  return list;
}

/** Waits until `condition` holds; fails with `what` when it never does. */
export async function until(what, condition, limitMs = 20_000) {
  assert.ok(await eventually(condition, limitMs), `not in time: ${what}`);
}

/** Subscribes to changes of the database; the channel and its changes, once the server says that they come. */
export async function watching(channel, ...wanted) {
  const changes = [];
  for (const it of wanted) channel.on("postgres_changes", { schema: "public", ...it }, (change) => changes.push(change));
  const system = new Promise((resolve, reject) => {
    channel.on("system", {}, (it) => {
      if (it.extension === "postgres_changes") it.status === "ok" ? resolve() : reject(new Error(it.message));
    });
  });
  await joined(channel);
  await system;
  return { channel, changes };
}

/** Asks the cluster: ends worker `number` by a signal (TERM, KILL), or starts it again. */
export async function worker(number, what) {
  const answer = await fetch(`${world.door}/workers/${number}/${what}`, { method: "POST" });
  assert.equal(answer.status, 204);
}

// Who may connect, and what becomes of channels when tokens are refreshed, run out, or are not the project's.
import assert from "node:assert/strict";
import http from "node:http";
import { test } from "node:test";
import { at, first, heard, joined, PROXY, refusal, room, sql, tokenOf, until, user, watching, world } from "./world.mjs";
import { eventually, person, signed } from "../world.mjs";

/** The answer to a request for a WebSocket: `{ status, body }`. */
function upgrade(place, query) {
  const url = new URL(`/realtime/v1/websocket${query}`, place === PROXY ? world.url : world.workers[place]);
  return new Promise((resolve, reject) => {
    const headers = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==" };
    const request = http.request(url, { headers });
    request.on("response", async (answer) => {
      let text = "";
      for await (const part of answer) text += part;
      resolve({ status: answer.statusCode, body: text && JSON.parse(text) });
    });
    request.on("upgrade", (answer, socket) => {
      socket.destroy();
      resolve({ status: answer.statusCode });
    });
    request.on("error", reject);
    request.end();
  });
}

const inSeconds = (secs) => Math.floor(Date.now() / 1000) + secs;

test("without a key of the project nobody connects", async () => {
  const foreign = signed({ role: "anon", exp: inSeconds(60) }, "another secret, of another project, quite long");
  for (const place of [PROXY, 0]) {
    for (const query of ["", "?apikey=wrong", `?apikey=${foreign}`, `?apikey=${tokenOf("x", { exp: inSeconds(-60) })}`]) {
      const { status, body } = await upgrade(place, query);
      assert.equal(status, 401, query);
      assert.ok(JSON.stringify(body).length > 10, "it says why");
    }
    assert.equal((await upgrade(place, `?apikey=${world.publishableKey}&vsn=2.0.0`)).status, 101);
    assert.equal((await upgrade(place, `?apikey=${world.anonKey}`)).status, 101);
  }
});

test("a signed-up user has realtime by the session of auth", async () => {
  const ada = await person("ada");
  sql(`create table if not exists letters (id serial primary key, owner uuid, text text);
       alter table letters enable row level security;
       drop policy if exists own on letters;
       create policy own on letters for select to authenticated using (owner = auth.uid());
       grant select on letters to authenticated;
       do $$ begin alter publication supabase_realtime add table letters; exception when duplicate_object then end $$`);
  await ada.client.realtime.setAuth();
  const { changes } = await watching(ada.client.channel(room()), { event: "INSERT", table: "letters" });
  sql(`insert into letters (owner, text) values (gen_random_uuid(), 'of another'), ('${ada.id}', 'of ada')`);
  assert.equal((await first(changes))[0].new.text, "of ada");
  await ada.client.removeAllChannels();
});

test("who signs out has no channel any more in a strict project, and nobody else loses one", async () => {
  const [ada, bob] = [await person("ada"), await person("bob")];
  const told = [];
  const channels = [];
  for (const { client } of [ada, bob]) {
    await client.realtime.setAuth();
    const channel = client.channel(room());
    channel.on("system", {}, (it) => told.push([client === ada.client ? "ada" : "bob", it.message]));
    channels.push(await joined(channel));
  }
  // By another process than the one that the socket is connected to, and without the client's own doing.
  await ada.client.auth.admin.signOut((await ada.client.auth.getSession()).data.session.access_token, "global");
  await first(told);
  assert.deepEqual(told, [["ada", "Session from session_id claim in JWT does not exist"]]);
  await eventually(() => channels[0].state === "closed", 15_000);
  assert.equal(channels[1].state, "joined");
  await bob.client.removeAllChannels();
});

test("a forged token does not join", async () => {
  const forged = signed({ role: "service_role", exp: inSeconds(600) }, "not the secret of this project at all");
  assert.match(await refusal(at(0, { token: forged }).channel(room())), /JWT|token/i);
});

test("a channel goes on with a refreshed token, and ends when the token runs out", async () => {
  const { id } = user();
  let exp = inSeconds(8);
  const client = at(1, { token: () => tokenOf(id, { exp }) });
  const channel = client.channel(room());
  const list = heard(channel);
  const states = [];
  await new Promise((resolve) => channel.subscribe((status) => {
    states.push(status);
    if (status === "SUBSCRIBED") resolve();
  }));
  exp = inSeconds(3600);
  await client.realtime.setAuth();
  const short = at(1, { token: tokenOf(id, { exp: inSeconds(8) }) });
  const ending = short.channel(room());
  const told = [];
  const ended = [];
  ending.on("system", {}, (it) => told.push(it));
  await new Promise((resolve) => ending.subscribe((status) => (status === "SUBSCRIBED" ? resolve() : ended.push(status))));
  await until("the channel with the old token ends", () => ended.length > 0, 30_000);
  assert.ok(told.some((it) => it.status === "error" && /expired/i.test(it.message)), JSON.stringify(told));
  // The one that was refreshed outlives its first token.
  const other = await joined(at(0).channel(channel.subTopic));
  await other.send({ type: "broadcast", event: "said", payload: { n: 1 } });
  assert.deepEqual((await first(list))[0].payload, { n: 1 });
  assert.deepEqual(states, ["SUBSCRIBED"]);
});

test("who is somebody else after a refresh sees other rows", async () => {
  sql(`create table if not exists diaries (id serial primary key, owner uuid, text text);
       alter table diaries enable row level security;
       drop policy if exists own on diaries;
       create policy own on diaries for select to authenticated using (owner = auth.uid());
       grant select on diaries to authenticated;
       do $$ begin alter publication supabase_realtime add table diaries; exception when duplicate_object then end $$`);
  const [ada, bob] = [user(), user()];
  let token = ada.token;
  const client = at(0, { token: () => token });
  const { changes } = await watching(client.channel(room()), { event: "INSERT", table: "diaries" });
  const write = () => sql(`insert into diaries (owner, text) values ('${ada.id}', 'ada'), ('${bob.id}', 'bob')`);
  write();
  assert.equal((await first(changes))[0].new.text, "ada");
  token = bob.token;
  await client.realtime.setAuth();
  await until("bob's rows come", () => {
    write();
    return changes.at(-1).new.text === "bob";
  });
  const since = changes.findIndex((it) => it.new.text === "bob");
  write();
  await until("more come", () => changes.length > since + 1);
  assert.ok(changes.slice(since).every((it) => it.new.text === "bob"));
});

test("a refresh that takes the rights away ends a private channel", async () => {
  const topic = room("mine");
  const { id } = user();
  sql(`drop policy if exists "mine" on realtime.messages;
       create policy "mine" on realtime.messages for select to authenticated
         using (realtime.topic() = '${topic}' and auth.uid() = '${id}')`);
  let token = tokenOf(id);
  const client = at(1, { token: () => token });
  const channel = client.channel(topic, { config: { private: true } });
  const ended = [];
  await new Promise((resolve) => channel.subscribe((status) => (status === "SUBSCRIBED" ? resolve() : ended.push(status))));
  token = user().token;
  await client.realtime.setAuth();
  await until("the channel ends", () => ended.length > 0);
});

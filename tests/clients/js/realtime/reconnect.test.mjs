// A worker is terminated or killed under its clients: they come back on the other one with everything they had.
//
// Runs alone. A client of the proxy may be on either worker: so first one and then the other is ended, and one of the two
// was its own.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { at, heard, joined, PROXY, room, sql, until, user, watching, worker } from "./world.mjs";

sql(`create table if not exists logs (id serial primary key, owner uuid, text text);
     alter table logs enable row level security;
     drop policy if exists own on logs;
     create policy own on logs for select to authenticated using (owner = auth.uid());
     grant select on logs to authenticated;
     do $$ begin alter publication supabase_realtime add table logs; exception when duplicate_object then end $$`);

afterEach(async () => {
  for (const it of [0, 1]) await worker(it, "start");
});

for (const signal of ["TERM", "KILL"]) {
  test(`channels, presence and database changes survive a worker's SIG${signal}`, { timeout: 240_000 }, async () => {
    const ada = user();
    const topic = room();
    const client = at(PROXY, ada);
    const channel = client.channel(topic, { config: { presence: { key: "ada", enabled: true } } });
    const list = heard(channel);
    const { changes } = await watching(channel, { event: "INSERT", table: "logs" });
    await channel.track({ n: 1 });
    const sees = () => Object.keys(channel.presenceState()).join() === "ada";
    await until("presence", sees);

    for (const gone of [0, 1]) {
      await worker(gone, signal);
      await until("the client is connected again", () => client.realtime.isConnected() && channel.state === "joined", 60_000);
      const other = await joined(at(1 - gone).channel(topic));
      const [sent, seen] = [list.length, changes.length];
      // Until the subscription stands again: what is committed meanwhile a client does not see.
      await until("a broadcast comes", () => {
        other.send({ type: "broadcast", event: "said", payload: { gone } });
        return list.length > sent;
      }, 60_000);
      assert.deepEqual(list.at(-1).payload, { gone });
      await until("a change comes", () => {
        sql(`insert into logs (owner, text) values ('${user().id}', 'foreign'), ('${ada.id}', 'after ${gone}')`);
        return changes.length > seen;
      }, 60_000);
      assert.ok(changes.slice(seen).every((it) => it.new.text === `after ${gone}`), JSON.stringify(changes.slice(seen)));
      await channel.track({ n: 1 });
      await until("presence is there again", sees);
      await worker(gone, "start");
    }
    await client.removeAllChannels();
  });
}

import { createClient } from "@supabase/supabase-js";

// Two people, each with a connection; usually they sit at two browsers.
const ada = createClient(process.env.SUPABASE_URL, process.env.SUPABASE_PUBLISHABLE_KEY);
const bob = createClient(process.env.SUPABASE_URL, process.env.SUPABASE_PUBLISHABLE_KEY);

/** Joins the channel; a refusal throws what the server said. */
const join = (channel) =>
  new Promise((joined, refused) => {
    channel.subscribe((status, error) => {
      if (status === "SUBSCRIBED") joined();
      if (status === "CHANNEL_ERROR" || status === "TIMED_OUT") refused(error ?? new Error(status));
    });
  });

// Bob listens, before he joins: to messages, to who comes, and to rows that are inserted.
const lobby = bob.channel("lobby", { config: { presence: { key: "bob" } } });
const greeting = new Promise((heard) => lobby.on("broadcast", { event: "greeting" }, heard));
const arrival = new Promise((seen) => lobby.on("presence", { event: "join" }, ({ key }) => key === "ada" && seen(key)));
const insertion = { event: "INSERT", schema: "public", table: "notes" };
const note = new Promise((told) => lobby.on("postgres_changes", insertion, told));

// SUBSCRIBED says that he is in the channel. Whether rows come is said a moment later, and why not.
const changes = new Promise((come, refused) =>
  lobby.on("system", {}, ({ extension, status, message }) => {
    if (extension === "postgres_changes") status === "ok" ? come() : refused(new Error(message));
  }));
await join(lobby);
await changes;

// Ada joins the same channel, and is seen.
const same = ada.channel("lobby", { config: { broadcast: { ack: true }, presence: { key: "ada" } } });
await join(same);
await same.track({ mood: "good" });
console.log(`Bob sees ${await arrival} come.`);

// Broadcast: to whoever is there now; nothing is stored. With `ack`, send waits until the server has it.
await same.send({ type: "broadcast", event: "greeting", payload: { text: "Hello, Bob" } });
console.log(`Bob hears: ${(await greeting).payload.text}`);

// Changes: whoever writes the row, by whichever way, those hear of it who may read it.
const { error } = await ada.from("notes").insert({ body: "Buy milk" });
if (error) throw error;
console.log(`Bob reads: ${(await note).new.body}`);

await Promise.all([ada.removeAllChannels(), bob.removeAllChannels()]);

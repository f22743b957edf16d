import { createClient } from "@supabase/supabase-js";

/** Signs a new user up; the client acts as that user from then on. */
async function join(name) {
  const client = createClient(process.env.SUPABASE_URL, process.env.SUPABASE_PUBLISHABLE_KEY);
  const email = `${name}.${Date.now()}@example.com`.toLowerCase();
  const { data } = await must(client.auth.signUp({ email, password: "correct horse", options: { data: { name } } }));
  return { client, id: data.user.id };
}

/** The answer, or an exception with the server's reason. */
async function must(request) {
  const answer = await request;
  if (answer.error) throw answer.error;
  return answer;
}

const ada = await join("Ada");
const bob = await join("Bob");

// Ada founds an organisation; a trigger makes her its owner.
const { data: organisation } = await must(
  ada.client.from("organisations").insert({ name: "Analytical Engines" }).select().single());
const { data: board } = await must(
  ada.client.from("boards").insert({ organisation_id: organisation.id, name: "Backlog" }).select().single());
const { data: tasks } = await must(
  ada.client.from("tasks").insert([
    { board_id: board.id, position: 1, title: "Repair the boiler", status: "todo" },
    { board_id: board.id, position: 2, title: "Paint the gear train", status: "doing" },
    { board_id: board.id, position: 3, title: "Ship the printer", status: "done" },
  ]).select());
await must(ada.client.from("comments").insert({ task_id: tasks[0].id, body: "Waiting for parts." }));

// Four tables in one request.
const { data: overview } = await must(
  ada.client.from("organisations").select("name, boards(name, tasks(title, status, comments(body)))")
    .order("position", { referencedTable: "boards.tasks" }).single());
console.log(JSON.stringify(overview, null, 2));

// Row level security: Bob sees nothing until Ada makes him a member.
const count = async (who) =>
  (await must(who.client.from("open_tasks").select("*", { count: "exact", head: true }))).count;
console.log(`Bob sees ${await count(bob)} open tasks.`);
await must(ada.client.from("members").insert({ organisation_id: organisation.id, user_id: bob.id }));
console.log(`Bob, now a member, sees ${await count(bob)} open tasks.`);

// A function of the database moves a task and makes room for it.
await must(bob.client.rpc("move_task", { task_id: tasks[2].id, board_id: board.id, position: 1 }));
const { data: order } = await must(bob.client.from("tasks").select("title").order("position"));
console.log(order.map((task) => task.title).join(", "));

// What every test of this folder stands on: the server under test, people of the task board, and the seed as a model.
//
// `tests/clients/run` starts the server and writes its address and keys to the file that MADBASE_WORLD names.
import { execFileSync } from "node:child_process";
import { createHmac, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import http from "node:http";
import { createClient } from "@supabase/supabase-js";

export const world = JSON.parse(readFileSync(process.env.MADBASE_WORLD, "utf8"));

/** A client that keeps its session in memory only. */
export function client(key = world.anonKey, options = {}) {
  return createClient(world.url, key, {
    auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
    ...options,
  });
}

/** Runs SQL as the project's owner, the way a migration would be; returns the lines that psql prints. */
export function sql(text) {
  const args = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", world.databaseUrl, "-c", text];
  return execFileSync(world.psql, args, { encoding: "utf8" }).trim();
}

/** The newest mail that was captured for an address, or undefined. */
export function mailTo(address) {
  const { mails } = JSON.parse(execFileSync(world.binary, ["inbox", "--json"], { encoding: "utf8" }));
  return mails.filter((it) => it.to === address).sort((a, b) => (a.captured_at < b.captured_at ? 1 : -1))[0];
}

export const password = "correct horse battery staple";

/** A signed-up user with a client of their own: `{ client, id, email, session }`. */
export async function person(name, key = world.anonKey) {
  const email = `${name}-${randomUUID()}@example.com`;
  const their = client(key);
  const { data, error } = await their.auth.signUp({ email, password, options: { data: { name } } });
  if (error) throw error;
  return { client: their, id: data.user.id, email, session: data.session };
}

/** The id of the nth seeded organisation (1 to 4). */
export const organisationId = (n) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

/** Makes the person a member of a seeded organisation, as the owner of the database would. */
export function join(someone, n, role = "member") {
  sql(`insert into members (organisation_id, user_id, role) values ('${organisationId(n)}', '${someone.id}', '${role}')`);
}

const pick = (list, index) => list[index % list.length];
const VERBS = ["Repair", "Paint", "Measure", "Replace", "Document", "Ship", "Review"];
const THINGS = ["boiler", "gear train", "card reader", "printer", "invoice", "front page", "staircase", "bell",
  "piston", "ledger", "window"];
const day = (offset) => new Date(Date.UTC(2030, 0, 1 + offset)).toISOString().slice(0, 10);

/** Task `id` as seed.sql makes it: tests compare what the server answers with what this says. */
export function seededTask(id) {
  return {
    id,
    board_id: Math.floor((id - 1) / 600) + 1,
    title: `${pick(VERBS, id)} the ${pick(THINGS, id)} (${id})`,
    description: id % 4 === 0 ? `Customer ${id % 97} waits for this; see ticket T-${id}.` : "",
    status: pick(["todo", "doing", "done"], id),
    priority: (id % 5) + 1,
    position: ((id - 1) % 600) + 1,
    tags: id % 10 === 0 ? ["urgent", "customer"] : id % 3 === 0 ? ["customer"] : [],
    details: { source: pick(["mail", "phone", "web"], id), estimate: { hours: (id % 40) + 1 } },
    planned: `[${day(id % 365)},${day((id % 365) + 7)})`,
    due_on: id % 6 === 0 ? null : day((id % 365) + 7),
  };
}

/** The seeded tasks of a board (1 to 20), by id. */
export const seededTasks = (board) => Array.from({ length: 600 }, (_, it) => seededTask((board - 1) * 600 + it + 1));

/** The label names that seed.sql gives a task, sorted. */
export function seededLabels(id) {
  const names = ["bug", "feature", "question", "chore", "security", "idea"];
  const kinds = [0, 1].filter((k) => id % 2 === k || id % 4 < 2);
  return kinds.map((k) => pick(names, Math.floor(id / 2) + k * 2)).sort();
}

/** The body of the seeded comment on a task, or undefined. */
export function seededComment(id) {
  if (id % 2) return undefined;
  const number = id / 2;
  return `Note ${number}: ${pick(["done by Friday", "waiting for parts", "please check", "looks good"], number)}`;
}

/** One HTTP request as written, `Host` included; answers `{ status, headers, text, json }`. */
export function request(path, { method = "GET", headers = {}, body, host } = {}) {
  const address = new URL(path, world.url);
  return new Promise((resolve, reject) => {
    const sent = http.request(address, { method, headers: host ? { ...headers, Host: host } : headers }, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("error", reject);
      answer.on("end", () => {
        const text = Buffer.concat(parts).toString("utf8");
        resolve({
          status: answer.statusCode,
          headers: answer.headers,
          text,
          get json() {
            return JSON.parse(text);
          },
        });
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

/** Headers of a request with an API key and, if given, a user's token. */
export const keyed = (key, token = key) => ({ apikey: key, Authorization: `Bearer ${token}` });

/** An HS256 token of these claims, signed with `secret`. */
export function signed(claims, secret, header = { alg: "HS256", typ: "JWT" }) {
  const part = (it) => Buffer.from(JSON.stringify(it)).toString("base64url");
  const text = `${part(header)}.${part(claims)}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

/** Asks `attempt` again until it answers something true, at most for `limitMs`. */
export async function eventually(attempt, limitMs = 5000) {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const answer = await attempt();
    if (answer || Date.now() > deadline) return answer;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

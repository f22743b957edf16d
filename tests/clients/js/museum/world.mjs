// What the museum's tests stand on: postgrest-js against one way into the data API, and what its database holds.
//
// `tests/clients/run` applies museum/schema.sql and writes the address to the file that MADBASE_WORLD names; once
// for `/rest/v1` of a project, once for `madbase rest`.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { PostgrestClient } from "@supabase/postgrest-js";

export const world = JSON.parse(readFileSync(process.env.MADBASE_WORLD, "utf8"));

/** A client of its own; `options` as postgrest-js takes them, besides headers to add. */
export function client({ headers = {}, ...options } = {}) {
  return new PostgrestClient(world.url, { headers: { ...world.headers, ...headers }, ...options });
}

/** Anybody. */
export const db = client();

/** Runs SQL as the database's owner; returns what psql prints. */
export function sql(text) {
  const args = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", world.databaseUrl, "-c", text];
  return execFileSync(world.psql, args, { encoding: "utf8" }).trim();
}

/** The rows of a query, read past the server. */
export const rows = (query) => JSON.parse(sql(`select coalesce(json_agg(t), '[]') from (${query}) t`));

/** What the answer holds; fails when it is an error or has another status. */
export async function data(request, status = 200) {
  const answer = await request;
  assert.deepEqual(answer.error, null);
  assert.equal(answer.status, status);
  return answer.data;
}

/** The error of an answer; fails when there is none, or another status. */
export async function refused(request, status) {
  const answer = await request;
  assert.ok(answer.error, "an error");
  assert.equal(answer.status, status, JSON.stringify(answer.error));
  assert.equal(answer.data, null);
  return answer.error;
}

export const ids = (list) => list.map((it) => it.id);

/** A `fetch` that keeps each request and answer. */
export function recorder() {
  const calls = [];
  const recording = async (url, init) => {
    const call = { url: String(url), method: init.method, headers: new Headers(init.headers) };
    calls.push(call);
    call.answer = await fetch(url, init);
    return call.answer;
  };
  return { calls, fetch: recording };
}

/** Asks `attempt` again until it answers something true, at most for `limitMs`. */
export async function eventually(attempt, limitMs = 10000) {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const answer = await attempt();
    if (answer || Date.now() > deadline) return answer;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

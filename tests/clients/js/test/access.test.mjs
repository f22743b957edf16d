// Who sees what: row level security, keys, projects, tokens, and what bad input gets.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { before, describe, test } from "node:test";
import {
  client, eventually, join, keyed, organisationId, password, person, request, seededTask, signed, sql, world,
} from "../world.mjs";

const TABLES = ["profiles", "organisations", "members", "boards", "tasks", "comments", "labels", "task_labels", "open_tasks"];
let ada; // a member of organisation 1 (tasks 1 to 3000)
let bob; // a member of organisation 2 (tasks 3001 to 6000)

before(async () => {
  [ada, bob] = await Promise.all([person("ada"), person("bob")]);
  join(ada, 1);
  join(bob, 2);
});

describe("row level security", { concurrency: true }, () => {
  test("nobody reads another organisation's rows", async () => {
    for (const [who, own, foreign] of [[ada, 1, 2], [bob, 2, 1]]) {
      const { data: organisations } = await who.client.from("organisations").select("id");
      assert.deepEqual(organisations, [{ id: organisationId(own) }]);
      const first = (foreign - 1) * 3000 + 1;
      for (const [table, column, value] of [
        ["tasks", "id", first], ["comments", "task_id", first + 1], ["boards", "organisation_id", organisationId(foreign)],
        ["labels", "organisation_id", organisationId(foreign)], ["members", "organisation_id", organisationId(foreign)],
        ["task_labels", "task_id", first], ["open_tasks", "id", first + 2], ["organisations", "id", organisationId(foreign)],
      ]) {
        const { data, error } = await who.client.from(table).select("*").eq(column, value);
        assert.deepEqual([data, error], [[], null], table);
      }
    }
  });

  test("counts, embeds and functions leak nothing", async () => {
    const { count } = await ada.client.from("tasks").select("*", { count: "exact", head: true }).lte("id", 12000);
    assert.equal(count, 3000);
    const { data: boards } = await ada.client.from("boards").select("id, organisations(name), tasks(id)").gte("id", 1)
      .lte("id", 20).limit(1, { referencedTable: "tasks" }).order("id");
    assert.deepEqual(boards.map((it) => it.id), [1, 2, 3, 4, 5]);
    const { data: labelled } = await ada.client.from("labels").select("id, tasks(id)").order("id", { referencedTable: "tasks" });
    assert.equal(labelled.length, 6);
    assert.ok(labelled.flatMap((it) => it.tasks).every((it) => it.id <= 3000));
    const { data: people } = await ada.client.from("profiles").select("id");
    assert.ok(people.some((it) => it.id === ada.id) && !people.some((it) => it.id === bob.id));
    const { data: summary } = await ada.client.rpc("board_summary", { organisation: organisationId(2) });
    assert.deepEqual(summary, []);
  });

  test("nobody changes another organisation's rows", async () => {
    const victim = 3001;
    const updated = await ada.client.from("tasks").update({ title: "mine" }).eq("id", victim).select();
    assert.deepEqual([updated.status, updated.data], [200, []]);
    const deleted = await ada.client.from("tasks").delete({ count: "exact" }).eq("id", victim);
    assert.deepEqual([deleted.status, deleted.count], [204, 0]);
    const moved = await ada.client.rpc("move_task", { task_id: victim, board_id: 1, position: 1 });
    assert.equal(moved.error.code, "PT404");
    const { data } = await bob.client.from("tasks").select("title").eq("id", victim).single();
    assert.equal(data.title, seededTask(victim).title);
  });

  test("nobody adds rows to another organisation", async () => {
    const foreign = organisationId(2);
    for (const attempt of [
      ada.client.from("tasks").insert({ board_id: 6, title: "smuggled" }),
      ada.client.from("tasks").upsert({ id: 3001, board_id: 6, title: "smuggled" }),
      ada.client.from("tasks").update({ board_id: 6 }).eq("id", 9),
      ada.client.from("boards").insert({ organisation_id: foreign, name: "smuggled" }),
      ada.client.from("comments").insert({ task_id: 3001, body: "smuggled" }),
      ada.client.from("comments").insert({ task_id: 9, body: "in another's name", author_id: bob.id }),
      ada.client.from("members").insert({ organisation_id: foreign, user_id: ada.id, role: "viewer" }),
      ada.client.from("organisations").insert({ name: "in another's name", created_by: bob.id }),
    ]) {
      const { error, status } = await attempt;
      assert.deepEqual([status, error?.code], [403, "42501"]);
    }
    assert.equal(sql("select count(*) from tasks where title = 'smuggled'"), "0");
  });

  test("a role decides within an organisation", async () => {
    const eve = await person("eve");
    join(eve, 1, "viewer");
    assert.equal((await eve.client.from("tasks").select("id").eq("id", 5).single()).data.id, 5);
    const { data } = await eve.client.from("tasks").update({ title: "x" }).eq("id", 5).select();
    assert.deepEqual(data, []);
    assert.equal((await eve.client.from("members").update({ role: "owner" }).eq("user_id", eve.id).select()).data.length, 0);
    assert.equal((await eve.client.from("tasks").insert({ board_id: 1, title: "x" })).error.code, "42501");
  });

  test("without a user there is nothing to see and nothing to do", async () => {
    for (const key of [world.anonKey, world.publishableKey]) {
      const nobody = client(key);
      for (const table of TABLES) {
        const { data, count, error } = await nobody.from(table).select("*", { count: "exact" });
        assert.deepEqual([data, count, error], [[], 0, null], table);
      }
      const { error, status } = await nobody.from("tasks").insert({ board_id: 1, title: "x" });
      assert.deepEqual([status, error.code], [401, "42501"]);
      assert.deepEqual((await nobody.from("tasks").update({ title: "x" }).eq("id", 1).select()).data, []);
      assert.deepEqual((await nobody.from("tasks").delete().eq("id", 1).select()).data, []);
    }
  });

  test("requests at the same time keep their callers apart", async () => {
    const nobody = client();
    const callers = [[ada.client, 3000], [bob.client, 3000], [nobody, 0]];
    const answers = await Promise.all(Array.from({ length: 150 }, async (_, it) => {
      const [who, expected] = callers[it % 3];
      const { data, count, error } = await who.from("tasks").select("id", { count: "exact" }).lte("id", 12000)
        .order("id").limit(1);
      return [error, count, data?.[0]?.id, expected, [1, 3001, undefined][it % 3]];
    }));
    for (const [error, count, first, expectedCount, expectedFirst] of answers) {
      assert.deepEqual([error, count, first], [null, expectedCount, expectedFirst]);
    }
  });
});

describe("keys", { concurrency: true }, () => {
  test("a publishable key signs in as the legacy one does", async () => {
    const them = client(world.publishableKey);
    const { error } = await them.auth.signInWithPassword({ email: ada.email, password });
    assert.equal(error, null);
    const { count } = await them.from("tasks").select("*", { count: "exact", head: true }).lte("id", 12000);
    assert.equal(count, 3000);
  });

  test("the service role and a secret key see and change everything", async () => {
    for (const key of [world.serviceRoleKey, world.secretKey]) {
      const service = client(key);
      const { count } = await service.from("tasks").select("*", { count: "exact", head: true }).lte("id", 12000);
      assert.equal(count, 12000);
      const { data } = await service.from("tasks").insert({ board_id: 20, title: "from the service" }).select("id").single();
      const gone = await service.from("tasks").delete({ count: "exact" }).eq("id", data.id);
      assert.equal(gone.count, 1);
    }
  });

  test("no key, a made-up key and a key as user token are refused", async () => {
    const attempts = [
      {}, { apikey: "nonsense" }, keyed("sb_publishable_nonsense"), keyed("sb_secret_nonsense"),
      keyed(`${world.anonKey.slice(0, -4)}AAAA`),
      keyed(world.anonKey, `${ada.session.access_token.slice(0, -6)}AAAAAA`),
    ];
    for (const headers of attempts) {
      for (const path of ["/rest/v1/tasks?limit=1", "/auth/v1/user"]) {
        const answer = await request(path, { headers });
        assert.ok(answer.status === 401 || (path.startsWith("/auth") && answer.status === 403),
          `${path} with ${JSON.stringify(headers)}: ${answer.status} ${answer.text}`);
        assert.ok(answer.json.message || answer.json.msg, "the answer says why");
      }
    }
  });

  test("a user's token cannot be made to be the service role's", async () => {
    const [header, payload, signature] = ada.session.access_token.split(".");
    const claims = { ...JSON.parse(Buffer.from(payload, "base64url")), role: "service_role" };
    const part = (it) => Buffer.from(JSON.stringify(it)).toString("base64url");
    const jwks = (await request("/auth/v1/.well-known/jwks.json")).json;
    for (const token of [
      `${header}.${part(claims)}.${signature}`, // another payload under the old signature
      `${part({ alg: "none", typ: "JWT" })}.${part(claims)}.`,
      signed(claims, "super-secret-jwt-token-with-at-least-32-characters-long"), // upstream's well-known default
      signed(claims, ""),
      signed(claims, JSON.stringify(jwks.keys[0]), { alg: "HS256", typ: "JWT", kid: jwks.keys[0].kid }), // the public key as a secret
    ]) {
      const answer = await request("/rest/v1/tasks?limit=1", { headers: keyed(world.anonKey, token) });
      assert.equal(answer.status, 401, answer.text);
      const asKey = await request("/rest/v1/tasks?limit=1", { headers: { apikey: token } });
      assert.equal(asKey.status, 401, asKey.text);
    }
  });

  test("an expired token is refused and says so", async () => {
    const now = Math.floor(Date.now() / 1000);
    const claims = { sub: ada.id, role: "authenticated", aud: "authenticated", iat: now - 7200 };
    const good = await request("/rest/v1/tasks?limit=1", {
      headers: keyed(world.anonKey, signed({ ...claims, exp: now + 600 }, world.jwtSecret)),
    });
    assert.equal(good.status, 200, "the same token in time opens");
    const answer = await request("/rest/v1/tasks?limit=1", {
      headers: keyed(world.anonKey, signed({ ...claims, exp: now - 3600 }, world.jwtSecret)),
    });
    assert.equal(answer.status, 401);
    assert.equal(answer.json.code, "PGRST303");
    assert.equal(answer.json.message, "JWT expired");
    assert.match(answer.headers["www-authenticate"], /^Bearer/);
  });
});

describe("projects", { concurrency: true }, () => {
  const second = world.second;

  test("keys of one project do not open another", async () => {
    for (const [host, key] of [
      [undefined, second.anonKey], [undefined, second.serviceRoleKey], [undefined, second.publishableKey],
      [undefined, second.secretKey], [second.host, world.anonKey], [second.host, world.serviceRoleKey],
      [second.host, world.publishableKey], [second.host, world.secretKey],
    ]) {
      for (const path of ["/rest/v1/tasks?limit=1", "/auth/v1/settings"]) {
        const answer = await request(path, { host, headers: keyed(key) });
        assert.equal(answer.status, 401, `${host ?? "default"}${path}: ${answer.text}`);
      }
    }
  });

  test("supabase-js with the other project's key gets 401", async () => {
    const { data, error, status } = await client(second.anonKey).from("tasks").select("id").limit(1);
    assert.deepEqual([data, status], [null, 401]);
    assert.ok(error.message);
    const signIn = await client(second.anonKey).auth.signInWithPassword({ email: ada.email, password });
    assert.equal(signIn.error.status, 401);
  });

  test("a user of one project is nobody in another", async () => {
    const email = `carol-${randomUUID()}@example.com`;
    const body = JSON.stringify({ email, password });
    const json = { "Content-Type": "application/json" };
    const joined = await request("/auth/v1/signup", {
      method: "POST", host: second.host, headers: { ...keyed(second.anonKey), ...json }, body,
    });
    assert.equal(joined.status, 200, joined.text);
    const own = await request("/auth/v1/user", { host: second.host, headers: keyed(second.anonKey, joined.json.access_token) });
    assert.equal(own.json.email, email);

    const foreign = await request("/rest/v1/tasks?limit=1", { headers: keyed(world.anonKey, joined.json.access_token) });
    assert.equal(foreign.status, 401);
    const signIn = await client().auth.signInWithPassword({ email, password });
    assert.equal(signIn.error.code, "invalid_credentials");
    const reverse = await request("/auth/v1/user", { host: second.host, headers: keyed(second.anonKey, ada.session.access_token) });
    assert.equal(reverse.status, 403);
  });

  test("each project has its own database", async () => {
    const answer = await request("/rest/v1/tasks?limit=1", { host: second.host, headers: keyed(second.serviceRoleKey) });
    assert.equal(answer.status, 404);
    assert.equal(answer.json.code, "PGRST205");
  });
});

describe("the schema may change", { concurrency: true }, () => {
  test("a new table, a new column and a dropped table show without a restart", async () => {
    const service = client(world.serviceRoleKey);
    const name = `notes_${randomUUID().slice(0, 8)}`;
    const before = await service.from(name).select();
    assert.deepEqual([before.status, before.error.code], [404, "PGRST205"]);

    sql(`create table ${name} (id bigint generated always as identity primary key, task_id bigint references tasks (id), body text)`);
    const created = await eventually(async () => {
      const answer = await service.from(name).insert({ task_id: 1, body: "hello" }).select("id, body, tasks(title)").maybeSingle();
      return answer.error === null && answer.data;
    });
    assert.deepEqual(created, { id: 1, body: "hello", tasks: { title: seededTask(1).title } });

    sql(`alter table ${name} add column stars integer not null default 5`);
    const widened = await eventually(async () => (await service.from(name).select("stars")).data);
    assert.deepEqual(widened, [{ stars: 5 }]);

    sql(`drop table ${name}`);
    const dropped = await eventually(async () => (await service.from(name).select()).error?.code === "PGRST205");
    assert.equal(dropped, true);
  });
});

describe("bad input", { concurrency: true }, () => {
  test("an unknown table and an unknown column have PostgREST's codes", async () => {
    const table = await ada.client.from("taskz").select();
    assert.equal(table.status, 404);
    assert.equal(table.error.code, "PGRST205");
    assert.equal(table.error.message, "Could not find the table 'public.taskz' in the schema cache");
    assert.equal(table.error.hint, "Perhaps you meant the table 'public.tasks'");
    const column = await ada.client.from("tasks").select("titel");
    assert.equal(column.status, 400);
    assert.equal(column.error.code, "42703");
    assert.equal(column.error.message, "column tasks.titel does not exist");
    const written = await ada.client.from("tasks").insert({ titel: "x" });
    assert.equal(written.status, 400);
    assert.equal(written.error.code, "PGRST204");
    const hidden = await ada.client.schema("private").from("x").select();
    assert.equal(hidden.status, 406);
    assert.equal(hidden.error.code, "PGRST106");
    const auth = await client(world.serviceRoleKey).from("users").select();
    assert.equal(auth.error.code, "PGRST205");
  });

  test("malformed JSON is refused", async () => {
    const headers = { ...keyed(world.anonKey, ada.session.access_token), "Content-Type": "application/json" };
    const rows = await request("/rest/v1/tasks", { method: "POST", headers, body: '{"board_id": 1, "title": ' });
    assert.equal(rows.status, 400);
    assert.equal(rows.json.code, "PGRST102");
    const signUp = await request("/auth/v1/signup", { method: "POST", headers, body: "{" });
    assert.equal(signUp.status, 400);
    assert.equal(signUp.headers["x-sb-error-code"], "bad_json");
  });

  test("a malformed filter is refused with its place", async () => {
    const answer = await request("/rest/v1/tasks?id=frobnicate.1", { headers: keyed(world.anonKey) });
    assert.equal(answer.status, 400);
    assert.equal(answer.json.code, "PGRST100");
    assert.match(answer.json.message, /^"failed to parse filter \(frobnicate\.1\)"/);
  });

  test("a body of 11 MB is 413", async () => {
    const body = JSON.stringify({ board_id: 1, title: "x".repeat(11 * 1024 * 1024) });
    for (const path of ["/rest/v1/tasks", "/auth/v1/signup"]) {
      const headers = {
        ...keyed(world.anonKey, ada.session.access_token), "Content-Type": "application/json",
        "Content-Length": Buffer.byteLength(body), Connection: "close",
      };
      const { status } = await request(path, { method: "POST", headers, body })
        .catch((error) => ({ status: `${path}: the connection broke: ${error.code}` }));
      assert.equal(status, 413);
    }
  });

  test("an unknown path is 404 with a reason", async () => {
    const answer = await request("/nowhere", { headers: keyed(world.anonKey) });
    assert.equal(answer.status, 404);
    assert.ok(answer.json.message);
  });

  test("a browser may ask first, without a key", async () => {
    const answer = await request("/rest/v1/tasks", {
      method: "OPTIONS",
      headers: {
        Origin: "http://localhost:3000", "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization, apikey, content-type, prefer, x-client-info",
      },
    });
    assert.ok(answer.status === 200 || answer.status === 204, `${answer.status}`);
    assert.match(answer.headers["access-control-allow-methods"], /PATCH/);
    assert.match(answer.headers["access-control-allow-headers"].toLowerCase(), /apikey/);
    const refused = await request("/rest/v1/tasks", { headers: { Origin: "http://localhost:3000" } });
    assert.equal(refused.status, 401);
    assert.ok(["*", "http://localhost:3000"].includes(refused.headers["access-control-allow-origin"]), "errors carry CORS too");
  });
});

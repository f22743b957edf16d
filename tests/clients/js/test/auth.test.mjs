// Sign-up, sign-in, sessions: what supabase-js promises its users about `auth`.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { describe, test } from "node:test";
import { client, eventually, keyed, mailTo, password, person, request, world } from "../world.mjs";

describe("auth by supabase-js", { concurrency: true }, () => {
  test("sign-up gives a session and a user", async () => {
    const email = `Ada-${randomUUID()}@Example.com`;
    const { data, error } = await client().auth.signUp({ email, password, options: { data: { name: "Ada" } } });
    assert.equal(error, null);
    assert.equal(data.user.email, email.toLowerCase());
    assert.equal(data.user.aud, "authenticated");
    assert.equal(data.user.role, "authenticated");
    assert.equal(data.user.user_metadata.name, "Ada");
    assert.deepEqual(data.user.app_metadata, { provider: "email", providers: ["email"] });
    assert.equal(data.user.identities.length, 1);
    assert.equal(data.session.token_type, "bearer");
    assert.equal(data.session.expires_in, 3600);
    assert.ok(data.session.access_token && data.session.refresh_token);
    assert.equal(JSON.stringify(data).includes("argon2"), false);
  });

  test("a second sign-up with the same address is refused", async () => {
    const ada = await person("ada");
    const { data, error } = await client().auth.signUp({ email: ada.email, password: "another password" });
    assert.equal(data.session, null);
    assert.equal(error.status, 422);
    assert.equal(error.code, "user_already_exists");
  });

  test("a short password is refused with the reason", async () => {
    const { error } = await client().auth.signUp({ email: `short-${randomUUID()}@example.com`, password: "12345" });
    assert.equal(error.name, "AuthWeakPasswordError");
    assert.equal(error.status, 422);
    assert.deepEqual(error.reasons, ["length"]);
  });

  test("an address that is none is refused", async () => {
    const { error } = await client().auth.signUp({ email: "not an address", password });
    assert.equal(error.status, 400);
    assert.equal(error.code, "validation_failed");
  });

  test("sign-in gives the same user and a token that opens the API", async () => {
    const ada = await person("ada");
    const other = client();
    const { data, error } = await other.auth.signInWithPassword({ email: ada.email, password });
    assert.equal(error, null);
    assert.equal(data.user.id, ada.id);
    const { data: profiles } = await other.from("profiles").select("id, name");
    assert.deepEqual(profiles, [{ id: ada.id, name: "ada" }]);
  });

  test("a wrong password and an unknown address get the same answer", async () => {
    const ada = await person("ada");
    const wrong = await client().auth.signInWithPassword({ email: ada.email, password: "wrong password" });
    const unknown = await client().auth.signInWithPassword({ email: `nobody-${randomUUID()}@example.com`, password });
    for (const { data, error } of [wrong, unknown]) {
      assert.equal(data.session, null);
      assert.equal(error.status, 400);
      assert.equal(error.code, "invalid_credentials");
      assert.equal(error.message, "Invalid login credentials");
    }
  });

  test("the access token carries the claims that policies read", async () => {
    const ada = await person("ada");
    const { data, error } = await ada.client.auth.getClaims();
    assert.equal(error, null);
    assert.equal(data.claims.sub, ada.id);
    assert.equal(data.claims.role, "authenticated");
    assert.equal(data.claims.aud, "authenticated");
    assert.equal(data.claims.email, ada.email);
    assert.equal(data.claims.user_metadata.name, "ada");
    assert.equal(data.claims.exp - data.claims.iat, 3600);
    assert.match(data.claims.session_id, /^[0-9a-f-]{36}$/);
    assert.equal(data.claims.iss, `${world.url}/auth/v1`);
  });

  test("the published keys verify the access token and hold no secret", async () => {
    const ada = await person("ada");
    const { status, json } = await request("/auth/v1/.well-known/jwks.json");
    assert.equal(status, 200);
    const { kid, alg } = JSON.parse(Buffer.from(ada.session.access_token.split(".")[0], "base64url"));
    const published = json.keys.find((it) => it.kid === kid);
    assert.equal(alg, "ES256");
    assert.ok(published, "the token's key is published");
    for (const key of json.keys) {
      assert.equal(key.d, undefined);
      assert.equal(key.k, undefined);
    }
    const subtleKey = await crypto.subtle.importKey("jwk", published, { name: "ECDSA", namedCurve: "P-256" }, true, ["verify"]);
    const [header, payload, signature] = ada.session.access_token.split(".");
    const verified = await crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, subtleKey,
      Buffer.from(signature, "base64url"), Buffer.from(`${header}.${payload}`));
    assert.equal(verified, true);
  });

  test("getUser asks the server, and only with a good token", async () => {
    const ada = await person("ada");
    const { data, error } = await ada.client.auth.getUser();
    assert.equal(error, null);
    assert.equal(data.user.id, ada.id);
    const { error: refused } = await client().auth.getUser(`${ada.session.access_token.slice(0, -6)}AAAAAA`);
    assert.equal(refused.status, 403);
    assert.equal(refused.code, "bad_jwt");
  });

  test("updateUser changes metadata and password", async () => {
    const ada = await person("ada");
    const { data, error } = await ada.client.auth.updateUser({ data: { name: "Countess", theme: "dark" } });
    assert.equal(error, null);
    assert.deepEqual([data.user.user_metadata.name, data.user.user_metadata.theme], ["Countess", "dark"]);

    const same = await ada.client.auth.updateUser({ password });
    assert.equal(same.error.status, 422);
    assert.equal(same.error.code, "same_password");

    const changed = await ada.client.auth.updateUser({ password: "a different password" });
    assert.equal(changed.error, null);
    const old = await client().auth.signInWithPassword({ email: ada.email, password });
    assert.equal(old.error.code, "invalid_credentials");
    const fresh = await client().auth.signInWithPassword({ email: ada.email, password: "a different password" });
    assert.equal(fresh.error, null);
    assert.equal(fresh.data.user.user_metadata.theme, "dark");
  });

  test("a refresh gives new tokens of the same session", async () => {
    const ada = await person("ada");
    const { data, error } = await ada.client.auth.refreshSession();
    assert.equal(error, null);
    assert.notEqual(data.session.refresh_token, ada.session.refresh_token);
    const session = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url")).session_id;
    assert.equal(session(data.session.access_token), session(ada.session.access_token));
    const { data: profiles } = await ada.client.from("profiles").select("id");
    assert.deepEqual(profiles, [{ id: ada.id }]);
  });

  test("a refresh token that never was is refused", async () => {
    const { data, error } = await client().auth.refreshSession({ refresh_token: "abcdefghijkl" });
    assert.equal(data.session, null);
    assert.equal(error.status, 400);
    assert.equal(error.code, "refresh_token_not_found");
  });

  test("an old refresh token presented after the reuse interval ends the session", async () => {
    const ada = await person("ada");
    const refresh = (token) => client().auth.refreshSession({ refresh_token: token });
    const first = ada.session.refresh_token;
    const second = (await refresh(first)).data.session.refresh_token;
    const third = (await refresh(second)).data.session.refresh_token;
    assert.equal(new Set([first, second, third]).size, 3);

    await pause(11_000); // the default interval is 10 s, and only time passes it
    const reused = await refresh(first);
    assert.equal(reused.data.session, null);
    assert.equal(reused.error.status, 400);
    assert.equal(reused.error.code, "refresh_token_already_used");
    const newest = await refresh(third);
    assert.equal(newest.data.session, null, "whoever stole the token loses the session too");
    assert.equal(newest.error.status, 400);
  });

  test("signOut ends the session on the server", async () => {
    const ada = await person("ada");
    const { access_token, refresh_token } = ada.session;
    const { error } = await ada.client.auth.signOut();
    assert.equal(error, null);
    assert.equal((await ada.client.auth.getSession()).data.session, null);
    const asked = await request("/auth/v1/user", { headers: keyed(world.anonKey, access_token) });
    assert.equal(asked.status, 403);
    assert.equal(asked.headers["x-sb-error-code"], "session_not_found");
    const refreshed = await client().auth.refreshSession({ refresh_token });
    assert.equal(refreshed.error.status, 400);
  });

  test("signOut of the others keeps the own session", async () => {
    const ada = await person("ada");
    const phone = client();
    await phone.auth.signInWithPassword({ email: ada.email, password });
    const { error } = await ada.client.auth.signOut({ scope: "others" });
    assert.equal(error, null);
    assert.equal((await ada.client.auth.getUser()).data.user.id, ada.id);
    const { access_token } = (await phone.auth.getSession()).data.session;
    assert.equal((await client().auth.getUser(access_token)).error.name, "AuthSessionMissingError");
  });

  test("a mailed code signs in, once", async () => {
    const ada = await person("ada");
    const them = client();
    assert.equal((await them.auth.signInWithOtp({ email: ada.email, options: { shouldCreateUser: false } })).error, null);
    const mail = await eventually(async () => mailTo(ada.email));
    const token = mail.html.match(/>(\d{6})</)[1];
    const wrong = token === "123456" ? "654321" : "123456";
    const refused = await client().auth.verifyOtp({ email: ada.email, token: wrong, type: "email" });
    assert.deepEqual([refused.error.status, refused.error.code], [403, "otp_expired"]);
    const { data, error } = await them.auth.verifyOtp({ email: ada.email, token, type: "email" });
    assert.equal(error, null);
    assert.equal(data.user.id, ada.id);
    assert.deepEqual((await them.from("profiles").select("id")).data, [{ id: ada.id }]);
    const again = await client().auth.verifyOtp({ email: ada.email, token, type: "email" });
    assert.equal(again.error.code, "otp_expired");
  });

  test("a forgotten password is set anew by mail", async () => {
    const ada = await person("ada");
    const them = client();
    assert.equal((await them.auth.resetPasswordForEmail(ada.email)).error, null);
    assert.equal((await them.auth.resetPasswordForEmail(`nobody-${randomUUID()}@example.com`)).error, null, "unknown looks alike");
    const mail = await eventually(async () => mailTo(ada.email));
    const link = await request(new URL(mail.link).pathname + new URL(mail.link).search);
    assert.equal(link.status, 303);
    const fragment = new URLSearchParams(new URL(link.headers.location).hash.slice(1));
    assert.equal(fragment.get("type"), "recovery");
    const tokens = { access_token: fragment.get("access_token"), refresh_token: fragment.get("refresh_token") };
    assert.equal((await them.auth.setSession(tokens)).data.user.id, ada.id);
    assert.equal((await them.auth.updateUser({ password: "remembered this time" })).error, null);
    const signedIn = await client().auth.signInWithPassword({ email: ada.email, password: "remembered this time" });
    assert.equal(signedIn.data.user.id, ada.id);
  });

  test("the service key manages users, and only it", async () => {
    const admin = client(world.secretKey).auth.admin;
    const email = `made-${randomUUID()}@example.com`;
    const { data, error } = await admin.createUser({ email, password, email_confirm: true, app_metadata: { plan: "gold" } });
    assert.equal(error, null);
    const them = await client().auth.signInWithPassword({ email, password });
    assert.equal(them.data.user.app_metadata.plan, "gold");
    const changed = await admin.updateUserById(data.user.id, { app_metadata: { plan: "tin" } });
    assert.equal(changed.data.user.app_metadata.plan, "tin");
    assert.equal((await admin.getUserById(data.user.id)).data.user.email, email);
    const page = await admin.listUsers({ page: 1, perPage: 1 });
    assert.equal(page.data.users.length, 1);
    assert.ok(page.data.total > 1);

    const ada = await person("ada");
    const forbidden = await request("/auth/v1/admin/users", { headers: keyed(world.anonKey, ada.session.access_token) });
    assert.deepEqual([forbidden.status, forbidden.headers["x-sb-error-code"]], [403, "not_admin"]);
    const anonymous = await client().auth.admin.listUsers();
    assert.ok([401, 403].includes(anonymous.error.status));

    assert.equal((await admin.deleteUser(data.user.id)).error, null);
    assert.equal((await client().auth.signInWithPassword({ email, password })).error.code, "invalid_credentials");
    assert.equal((await admin.getUserById(data.user.id)).error.status, 404);
  });

  test("health and settings answer", async () => {
    const health = await request("/auth/v1/health");
    assert.equal(health.status, 200);
    assert.equal(health.json.name, "GoTrue");
    const settings = await request("/auth/v1/settings", { headers: keyed(world.anonKey) });
    assert.equal(settings.status, 200);
    assert.equal(settings.json.disable_signup, false);
    assert.equal(settings.json.mailer_autoconfirm, true);
    assert.equal(settings.json.external.email, true);
  });
});

// What anybody may ask: health, settings, the documents that other software reads; and sign-in by SAML where it is off.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";
import { ask, client, refusal, service, world } from "./world.mjs";

const issuer = `${world.url}/auth/v1`;

describe("what anybody may ask", { concurrency: true }, () => {
  test("is health, without a key", async () => {
    const { status, json } = await ask("/health", { key: undefined });
    assert.deepEqual([status, json.name], [200, "GoTrue"]);
  });

  test("is the settings that concern a sign-in page, and no secret", async () => {
    const { status, json } = await ask("/settings");
    assert.equal(status, 200);
    assert.deepEqual([json.disable_signup, json.mailer_autoconfirm, json.passkeys_enabled], [false, false, true]);
    assert.deepEqual([json.external.email, json.external.phone, json.external.anonymous_users], [true, true, true]);
    assert.equal(/secret/.test(JSON.stringify(json)), false);
  });

  test("is where everything is, for OpenID Connect and OAuth", async () => {
    const open = { key: undefined };
    const connect = await ask("/.well-known/openid-configuration", open);
    assert.deepEqual([connect.status, connect.json.issuer], [200, issuer]);
    assert.equal(connect.json.jwks_uri, `${issuer}/.well-known/jwks.json`);
    for (const path of ["/.well-known/oauth-authorization-server", "root:/.well-known/oauth-authorization-server"]) {
      const { status, json } = await ask(path, open);
      assert.deepEqual([status, json.issuer, json.token_endpoint], [200, issuer, `${issuer}/oauth/token`]);
    }
  });
});

describe("sign-in by SAML", () => {
  test("is refused where a project has none", async () => {
    assert.equal((await ask("/settings")).json.saml_enabled, false);
    const off = [404, "saml_provider_disabled"];
    const { auth } = client();
    assert.deepEqual(await refusal(auth.signInWithSSO({ domain: "example.com" })), off);
    assert.deepEqual(await refusal(auth.signInWithSSO({ providerId: randomUUID() })), off);
    const routes = [["GET", "/sso/saml/metadata"], ["POST", "/sso/saml/acs"]];
    const managed = ["GET", "POST"].map((it) => [it, "/admin/sso/providers", service]);
    const single = ["GET", "PUT", "DELETE"].map((it) => [it, `/admin/sso/providers/${randomUUID()}`, service]);
    for (const [method, path, as] of [...routes, ...managed, ...single]) {
      const answer = await ask(path, { ...as, method, body: /P/.test(method) ? {} : undefined });
      assert.deepEqual([method, path, answer.status, answer.json.error_code], [method, path, ...off]);
    }
  });
});

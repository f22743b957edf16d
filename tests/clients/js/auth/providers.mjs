// Signing in by a real OpenID Connect provider (npm's oidc-provider), with a browser that only follows redirects and
// fills in forms; identities that come and go; providers that the project's own people define.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { APP, addressOf } from "./idp.mjs";
import {
  SITE, WELCOME, admin, ask, arrive, browse, client, fragment, good, idp, person, refusal, world,
} from "./world.mjs";

const provider = "custom:idp";

/** Signs `name` in by the provider. */
async function signIn(name, { flowType = "pkce", byForm } = {}) {
  const { auth } = client({ flowType });
  const { url } = await good(auth.signInWithOAuth({ provider, options: { redirectTo: WELCOME, skipBrowserRedirect: true } }));
  return { auth, landed: await browse(url, name, { byForm }) };
}

/** An ID token of `name` that the provider gave to an application of its own. */
async function idToken(name, nonce) {
  const verifier = randomBytes(32).toString("base64url");
  const start = new URL(idp.authorization);
  start.search = new URLSearchParams({
    client_id: "an-app", redirect_uri: APP, response_type: "code", scope: "openid email",
    code_challenge: createHash("sha256").update(verifier).digest("base64url"), code_challenge_method: "S256",
    nonce: createHash("sha256").update(nonce).digest("hex"),
  });
  const landed = await browse(start.toString(), name, { stopAt: APP });
  const answer = await fetch(idp.token, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code", code: landed.searchParams.get("code"), code_verifier: verifier,
      client_id: "an-app", redirect_uri: APP,
    }),
  });
  const granted = await answer.json();
  return { provider, token: granted.id_token, access_token: granted.access_token };
}

describe("a real OpenID Connect provider", { concurrency: true }, () => {
  test("signs a new user in by PKCE, and the same one again", async () => {
    const { auth, landed } = await signIn("ada");
    assert.equal(landed.origin + landed.pathname, WELCOME);
    assert.equal(landed.hash, "", "no token in the address");
    const { user, session } = await good(auth.exchangeCodeForSession(landed.searchParams.get("code")));
    assert.deepEqual([user.email, user.user_metadata.full_name], [addressOf("ada"), "ada of the provider"]);
    assert.deepEqual(user.app_metadata, { provider, providers: [provider] });
    assert.ok(session.provider_token, "the provider's own token is handed on");
    const again = await signIn("ada");
    const code = again.landed.searchParams.get("code");
    assert.equal((await good(again.auth.exchangeCodeForSession(code))).user.id, user.id);
    assert.notEqual((await again.auth.exchangeCodeForSession(code)).error, null, "a code opens once");
  });

  test("signs in by the implicit flow, where a site still wants it", async () => {
    const { auth, landed } = await signIn("bob", { flowType: "implicit" });
    assert.equal((await arrive(auth, landed)).user.email, addressOf("bob"));
    const words = fragment(landed);
    assert.ok("sb" in words && words.provider_token);
  });

  test("may send its answer as a form", async () => {
    const { auth, landed } = await signIn("finn", { byForm: true });
    const { user } = await good(auth.exchangeCodeForSession(landed.searchParams.get("code")));
    assert.equal(user.email, addressOf("finn"));
  });

  test("adds itself to a user who is signed in, and goes again", async () => {
    const { auth, id } = await person("cleo");
    const { url } = await good(auth.linkIdentity({ provider, options: { redirectTo: WELCOME, skipBrowserRedirect: true } }));
    const landed = await browse(url, "cleo");
    assert.ok(fragment(landed).access_token, landed.toString());
    const { identities } = await good(auth.getUserIdentities());
    const added = identities.find((it) => it.provider === provider);
    assert.deepEqual([added.user_id, added.identity_data.email], [id, addressOf("cleo")]);
    await good(auth.unlinkIdentity(added));
    const [left] = (await good(auth.getUserIdentities())).identities;
    assert.deepEqual(await refusal(auth.unlinkIdentity(left)), [422, "single_identity_not_deletable"]);
  });

  test("gives an app an ID token that opens a session", async () => {
    const nonce = "the nonce of the app";
    const token = await idToken("dora", nonce);
    const wrong = await client().auth.signInWithIdToken({ ...token, nonce: "another" });
    assert.equal(wrong.error.message, "Nonces mismatch");
    assert.equal((await good(client().auth.signInWithIdToken({ ...token, nonce }))).user.email, addressOf("dora"));
  });

  test("gives an app an ID token that adds it to a user", async () => {
    const { auth, id } = await person("gwen");
    const nonce = "another nonce of the app";
    const { user } = await good(auth.linkIdentity({ ...await idToken("gwen", nonce), nonce }));
    assert.equal(user.id, id);
    assert.deepEqual(user.identities.map((it) => it.provider).sort(), [provider, "email"]);
  });

  test("is refused as somebody else's code or state", async () => {
    const start = new URL("/auth/v1/callback", world.url);
    start.search = new URLSearchParams({ state: "0f3c7c61-8a5e-4c4b-9d3a-1f0c8f0e2a11", code: "x" });
    const landed = await browse(start.toString());
    assert.equal(landed.origin, SITE);
    assert.equal(landed.searchParams.get("error_code"), "bad_oauth_state");
    const unknown = await ask("/authorize?provider=custom:nobody");
    assert.equal(unknown.status, 400);
  });
});

describe("providers of the project's own", () => {
  test("are made, read, changed and removed by the service key", async () => {
    const { customProviders } = admin;
    const identifier = `custom:own-${randomBytes(4).toString("hex")}`;
    const made = await good(customProviders.createProvider({
      provider_type: "oauth2", identifier, name: "Own", client_id: "board", client_secret: "hush",
      authorization_url: "https://sso.example.com/authorize", token_url: "https://sso.example.com/token",
      userinfo_url: "https://sso.example.com/me", scopes: ["read"],
    }));
    assert.deepEqual([made.identifier, made.client_secret], [identifier, undefined]);
    const { providers } = await good(customProviders.listProviders());
    assert.ok(providers.some((it) => it.identifier === identifier));
    await good(customProviders.updateProvider(identifier, { name: "Renamed" }));
    assert.equal((await good(customProviders.getProvider(identifier))).name, "Renamed");
    const { auth } = client();
    const { url } = await good(auth.signInWithOAuth({ provider: identifier, options: { skipBrowserRedirect: true } }));
    const sent = await browse(url, "nobody", { stopAt: "https://sso.example.com/" });
    assert.deepEqual([sent.pathname, sent.searchParams.get("client_id")], ["/authorize", "board"]);
    await good(customProviders.deleteProvider(identifier));
    assert.deepEqual(await refusal(customProviders.getProvider(identifier)), [404, "custom_provider_not_found"]);
  });
});

// Sign-in by a real OpenID Connect provider (npm's oidc-provider), and the project as a provider for others: both by
// the official client, with a browser that only follows redirects and fills in forms.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, createPublicKey, randomBytes, verify } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { Provider } from "oidc-provider";
import { client, keyed, person, request, world } from "../world.mjs";

const SITE = "http://localhost:3000";
const WELCOME = `${SITE}/welcome`;
const PEOPLE = {
  ada: { email: "ada.idp@example.com", email_verified: true, name: "Ada Lovelace", picture: "https://p.example/ada.png" },
  bob: { email: "bob.idp@example.com", email_verified: true, name: "Bob" },
};
let idp;

/** Changes settings of the default project; secrets come in by standard input. */
function settings(auth) {
  const args = ["project", "settings", "set", "default", "--file", "-"];
  execFileSync(world.binary, args, { input: JSON.stringify({ auth }), stdio: ["pipe", "ignore", "inherit"] });
}

/** A provider on a port of its own that knows two people. */
async function startProvider() {
  const callback = `${world.url}/auth/v1/callback`;
  const configuration = {
    clients: [
      {
        client_id: "madbase", client_secret: "a-secret-of-madbase", redirect_uris: [callback],
        grant_types: ["authorization_code", "refresh_token"], response_types: ["code"],
      },
      {
        client_id: "an-app", redirect_uris: ["http://localhost:3999/cb"], token_endpoint_auth_method: "none",
        response_types: ["code"], application_type: "native",
      },
    ],
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "picture"] },
    scopes: ["openid", "offline_access", "email", "profile"],
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    features: { devInteractions: { enabled: true } },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...PEOPLE[id] }) }),
  };
  // oidc-provider warns about what is fine in a test only: keys in memory, its own pages.
  const warn = console.warn;
  const info = console.info;
  console.warn = console.info = () => {};
  const listener = await new Promise((resolve) => {
    const server = new Provider("http://127.0.0.1:0", configuration).listen(0, "127.0.0.1", () => resolve(server));
  });
  const { port } = listener.address();
  listener.close();
  const provider = new Provider(`http://127.0.0.1:${port}`, configuration);
  const server = await new Promise((resolve) => {
    const started = provider.listen(port, "127.0.0.1", () => resolve(started));
  });
  Object.assign(console, { warn, info });
  return { url: `http://127.0.0.1:${port}`, close: () => server.close() };
}

/** What a browser does: keeps cookies, follows redirects, and signs `name` in where a form asks for it. */
async function browse(start, name) {
  const cookies = new Map();
  let [url, form] = [start, undefined];
  for (let steps = 0; steps < 20; steps += 1) {
    if (url.startsWith(SITE) || url.startsWith("http://localhost:3999")) return new URL(url);
    const headers = { cookie: [...cookies].map(([key, value]) => `${key}=${value}`).join("; ") };
    const answer = await fetch(url, {
      redirect: "manual", headers: form ? { ...headers, "content-type": "application/x-www-form-urlencoded" } : headers,
      method: form ? "POST" : "GET", body: form,
    });
    for (const cookie of answer.headers.getSetCookie()) {
      const [, key, value] = cookie.match(/^([^=]+)=([^;]*)/);
      cookies.set(key, value);
    }
    form = undefined;
    if (answer.status >= 300 && answer.status < 400) {
      url = new URL(answer.headers.get("location"), url).toString();
      continue;
    }
    const page = await answer.text();
    assert.equal(answer.status, 200, `${url}: ${page.slice(0, 500)}`);
    const action = page.match(/<form[^>]*action="([^"]+)"/)?.[1];
    assert.ok(action, `no form at ${url}: ${page.slice(0, 500)}`);
    const prompt = page.match(/name="prompt" value="([^"]+)"/)[1];
    form = new URLSearchParams({ prompt, ...(prompt === "login" ? { login: name, password: "x" } : {}) });
    url = new URL(action, url).toString();
  }
  throw new Error(`too many redirects: ${url}`);
}

before(async () => {
  idp = await startProvider();
  settings({
    external: {
      "custom:idp": {
        enabled: true, client_ids: ["madbase", "an-app"], secret: "a-secret-of-madbase", url: idp.url,
      },
    },
    manual_linking: true,
    oauth_server: { enabled: true, allow_dynamic_registration: true },
  });
});

after(() => {
  settings({ external: { "custom:idp": null }, manual_linking: false, oauth_server: { enabled: false } });
  idp.close();
});

/** Signs `name` in by the provider, with a client that keeps its verifier. */
async function signIn(name, flowType = "pkce") {
  const store = new Map();
  const storage = {
    getItem: (key) => store.get(key) ?? null,
    setItem: (key, value) => void store.set(key, value),
    removeItem: (key) => void store.delete(key),
  };
  const options = { auth: { flowType, storage, persistSession: true, autoRefreshToken: false, detectSessionInUrl: false } };
  const their = client(world.anonKey, options);
  const { data, error } = await their.auth.signInWithOAuth({
    provider: "custom:idp", options: { redirectTo: WELCOME, skipBrowserRedirect: true },
  });
  assert.equal(error, null);
  return { client: their, landed: await browse(data.url, name) };
}

describe("a real OpenID Connect provider", () => {
  test("signs a new user in by PKCE, and the same one again", async () => {
    const { client: their, landed } = await signIn("ada");
    assert.equal(landed.origin + landed.pathname, WELCOME);
    assert.equal(landed.hash, "", "no token in the address");
    const { data, error } = await their.auth.exchangeCodeForSession(landed.searchParams.get("code"));
    assert.equal(error, null);
    assert.equal(data.user.email, PEOPLE.ada.email);
    assert.equal(data.user.user_metadata.full_name, PEOPLE.ada.name);
    assert.deepEqual(data.user.app_metadata, { provider: "custom:idp", providers: ["custom:idp"] });
    assert.ok(data.session.provider_token, "the provider's own token is handed on");
    const again = await signIn("ada");
    const second = await again.client.auth.exchangeCodeForSession(again.landed.searchParams.get("code"));
    assert.equal(second.data.user.id, data.user.id);
    const reused = await again.client.auth.exchangeCodeForSession(again.landed.searchParams.get("code"));
    assert.notEqual(reused.error, null, "a code opens once");
  });

  test("signs in by the implicit flow, where a site still wants it", async () => {
    const { client: their, landed } = await signIn("bob", "implicit");
    const words = new URLSearchParams(landed.hash.slice(1));
    const tokens = { access_token: words.get("access_token"), refresh_token: words.get("refresh_token") };
    const { data, error } = await their.auth.setSession(tokens);
    assert.equal(error, null);
    assert.equal(data.user.email, PEOPLE.bob.email);
    assert.ok(words.has("sb") && words.get("provider_token"));
  });

  test("adds itself to a user who is signed in, and goes again", async () => {
    PEOPLE.cleo = { email: "cleo.idp@example.com", email_verified: true };
    const someone = await person("cleo");
    const { data, error } = await someone.client.auth.linkIdentity({
      provider: "custom:idp", options: { redirectTo: WELCOME, skipBrowserRedirect: true },
    });
    assert.equal(error, null);
    const landed = await browse(data.url, "cleo");
    assert.ok(landed.hash.includes("access_token") || landed.searchParams.has("code"), landed.toString());
    const { data: identities } = await someone.client.auth.getUserIdentities();
    const added = identities.identities.find((it) => it.provider === "custom:idp");
    assert.equal(added.identity_data.email, PEOPLE.cleo.email);
    assert.equal((await someone.client.auth.unlinkIdentity(added)).error, null);
  });

  test("gives an app an ID token that opens a session", async () => {
    PEOPLE.dora = { email: "dora.idp@example.com", email_verified: true };
    const verifier = randomBytes(32).toString("base64url");
    const nonce = "the nonce of the app";
    const start = new URL(`${idp.url}/auth`);
    start.search = new URLSearchParams({
      client_id: "an-app", redirect_uri: "http://localhost:3999/cb", response_type: "code", scope: "openid email",
      code_challenge: createHash("sha256").update(verifier).digest("base64url"), code_challenge_method: "S256",
      nonce: createHash("sha256").update(nonce).digest("hex"),
    });
    const landed = await browse(start.toString(), "dora");
    const answer = await fetch(`${idp.url}/token`, {
      method: "POST",
      body: new URLSearchParams({
        grant_type: "authorization_code", code: landed.searchParams.get("code"), code_verifier: verifier,
        client_id: "an-app", redirect_uri: "http://localhost:3999/cb",
      }),
    });
    const granted = await answer.json();
    const token = { provider: "custom:idp", token: granted.id_token, access_token: granted.access_token };
    const wrong = await client().auth.signInWithIdToken({ ...token, nonce: "another" });
    assert.equal(wrong.error.message, "Nonces mismatch");
    const { data, error } = await client().auth.signInWithIdToken({ ...token, nonce });
    assert.equal(error, null);
    assert.equal(data.user.email, PEOPLE.dora.email);
  });

  test("is refused as somebody else's code or state", async () => {
    const answer = await request("/auth/v1/callback?state=0f3c7c61-8a5e-4c4b-9d3a-1f0c8f0e2a11&code=x");
    assert.equal(answer.status, 303);
    assert.ok(answer.headers.location.startsWith(`${SITE}?error=`), answer.headers.location);
    assert.equal(new URL(answer.headers.location).searchParams.get("error_code"), "bad_oauth_state");
  });
});

describe("the project as a provider", () => {
  test("asks its user and gives a registered client tokens of theirs", async () => {
    const metadata = (await request("/.well-known/oauth-authorization-server/auth/v1")).json;
    assert.equal(metadata.issuer, `${world.url}/auth/v1`);
    const body = JSON.stringify({
      client_name: "Notes", redirect_uris: ["http://localhost:3999/cb"], token_endpoint_auth_method: "none",
    });
    const made = await request(new URL(metadata.registration_endpoint).pathname, {
      method: "POST", body, headers: { "content-type": "application/json" },
    });
    assert.equal(made.status, 201, made.text);
    const clientId = made.json.client_id;
    const verifier = randomBytes(32).toString("base64url");
    const start = new URL(metadata.authorization_endpoint);
    start.search = new URLSearchParams({
      client_id: clientId, redirect_uri: "http://localhost:3999/cb", response_type: "code", scope: "openid email",
      state: "s", nonce: "n", code_challenge_method: "S256",
      code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    });
    const page = await browse(start.toString());
    assert.equal(page.origin + page.pathname, `${SITE}/oauth/consent`);
    const someone = await person("eve");
    const id = page.searchParams.get("authorization_id");
    const details = await someone.client.auth.oauth.getAuthorizationDetails(id);
    assert.equal(details.error, null);
    assert.equal(details.data.client.name, "Notes");
    const approved = await someone.client.auth.oauth.approveAuthorization(id, { skipBrowserRedirect: true });
    const back = new URL(approved.data.redirect_url);
    assert.equal(back.searchParams.get("state"), "s");
    const exchange = await request(new URL(metadata.token_endpoint).pathname, {
      method: "POST", headers: { "content-type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams({
        grant_type: "authorization_code", client_id: clientId, code_verifier: verifier,
        code: back.searchParams.get("code"), redirect_uri: "http://localhost:3999/cb",
      }).toString(),
    });
    assert.equal(exchange.status, 200, exchange.text);
    const claims = await verified(exchange.json.id_token, new URL(metadata.jwks_uri).pathname);
    assert.deepEqual([claims.aud, claims.nonce, claims.email], [[clientId], "n", someone.email]);
    const info = await request(new URL(metadata.userinfo_endpoint).pathname, {
      headers: { authorization: `Bearer ${exchange.json.access_token}` },
    });
    assert.equal(info.json.sub, someone.id);
    const { data: grants } = await someone.client.auth.oauth.listGrants();
    assert.deepEqual(grants.map((it) => it.client.id), [clientId]);
    assert.equal((await someone.client.auth.oauth.revokeGrant({ clientId })).error, null);
    const gone = await request("/auth/v1/user", { headers: keyed(world.anonKey, exchange.json.access_token) });
    assert.equal(gone.status, 403);
  });

  test("lets the service key manage clients", async () => {
    const { auth } = client(world.serviceRoleKey);
    const made = await auth.admin.oauth.createClient({ client_name: "Board", redirect_uris: ["https://board.example/cb"] });
    assert.equal(made.error, null);
    const { client_id: id, client_secret: secret } = made.data;
    const list = await auth.admin.oauth.listClients();
    assert.ok(list.data.clients.some((it) => it.client_id === id));
    const fresh = await auth.admin.oauth.regenerateClientSecret(id);
    assert.ok(fresh.data.client_secret && fresh.data.client_secret !== secret);
    assert.equal((await auth.admin.oauth.getClient(id)).data.client_name, "Board");
    assert.equal((await auth.admin.oauth.deleteClient(id)).error, null);
    assert.equal((await auth.admin.oauth.getClient(id)).error.code, "oauth_client_not_found");
  });
});

/** The claims of a token whose signature one of the published keys verifies. */
async function verified(token, path) {
  const [header, payload, signature] = token.split(".");
  const { alg, kid } = JSON.parse(Buffer.from(header, "base64url"));
  assert.equal(alg, "ES256");
  const { keys } = (await request(path)).json;
  const key = createPublicKey({ key: keys.find((it) => it.kid === kid), format: "jwk" });
  const options = { key, dsaEncoding: "ieee-p1363" };
  assert.ok(verify("sha256", Buffer.from(`${header}.${payload}`), options, Buffer.from(signature, "base64url")));
  return JSON.parse(Buffer.from(payload, "base64url"));
}

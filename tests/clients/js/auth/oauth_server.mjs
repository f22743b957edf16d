// The project as an identity provider for others: a standard OAuth client (oauth4webapi) registers itself, asks the user
// and gets tokens; the user sees and revokes what was granted; the service key manages clients.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as oauth from "oauth4webapi";
import { recorded } from "./record.mjs";
import { SITE, admin, ask, browse, client, good, person, refusal, world } from "./world.mjs";

const CALLBACK = "http://localhost:3999/cb";
const issuer = new URL(`${world.url}/auth/v1`);
const plain = { [oauth.allowInsecureRequests]: true, [oauth.customFetch]: recorded("oauth4webapi") };

/** The server's own description, and a client that registered itself. */
async function registered(name) {
  const discovered = await oauth.discoveryRequest(issuer, { ...plain, algorithm: "oauth2" });
  const server = await oauth.processDiscoveryResponse(issuer, discovered);
  const metadata = { client_name: name, redirect_uris: [CALLBACK], token_endpoint_auth_method: "none" };
  const answer = await oauth.dynamicClientRegistrationRequest(server, metadata, plain);
  return { server, app: await oauth.processDynamicClientRegistrationResponse(answer) };
}

/** Sends a browser to ask for consent; the id of what is asked, and what the client keeps. */
async function asking({ server, app }) {
  const kept = { state: oauth.generateRandomState(), nonce: oauth.generateRandomNonce(), verifier: oauth.generateRandomCodeVerifier() };
  const start = new URL(server.authorization_endpoint);
  start.search = new URLSearchParams({
    client_id: app.client_id, redirect_uri: CALLBACK, response_type: "code", scope: "openid email",
    state: kept.state, nonce: kept.nonce, code_challenge_method: "S256",
    code_challenge: await oauth.calculatePKCECodeChallenge(kept.verifier),
  });
  const page = await browse(start.toString());
  assert.equal(page.origin + page.pathname, `${SITE}/oauth/consent`);
  return { ...kept, id: page.searchParams.get("authorization_id") };
}

/** Tokens for what the user agreed to; `back` is where the user was sent. */
async function exchange({ server, app }, kept, back) {
  const parameters = oauth.validateAuthResponse(server, app, back, kept.state);
  const answer = await oauth.authorizationCodeGrantRequest(server, app, oauth.None(), parameters, CALLBACK, kept.verifier, plain);
  return oauth.processAuthorizationCodeResponse(server, app, answer, { expectedNonce: kept.nonce, requireIdToken: true });
}

describe("the project as a provider", { concurrency: true }, () => {
  test("asks its user and gives a registered client tokens of theirs", async () => {
    const party = await registered("Notes");
    const kept = await asking(party);
    const { auth, id, email } = await person("eve");
    const details = await good(auth.oauth.getAuthorizationDetails(kept.id));
    assert.deepEqual([details.client.name, details.scope, details.user.email], ["Notes", "openid email", email]);
    const { redirect_url: back } = await good(auth.oauth.approveAuthorization(kept.id, { skipBrowserRedirect: true }));
    const tokens = await exchange(party, kept, new URL(back));
    const claims = oauth.getValidatedIdTokenClaims(tokens);
    assert.deepEqual([claims.sub, claims.email], [id, email]);
    const { server, app } = party;
    const info = await oauth.userInfoRequest(server, app, tokens.access_token, plain);
    assert.equal((await oauth.processUserInfoResponse(server, app, id, info)).email, email);
    const fresh = await oauth.refreshTokenGrantRequest(server, app, oauth.None(), tokens.refresh_token, plain);
    const renewed = await oauth.processRefreshTokenResponse(server, app, fresh);
    assert.equal((await ask("/user", { token: renewed.access_token })).json.id, id);

    const grants = await good(auth.oauth.listGrants());
    assert.deepEqual(grants.map((it) => it.client.id), [app.client_id]);
    await good(auth.oauth.revokeGrant({ clientId: app.client_id }));
    assert.equal((await ask("/user", { token: renewed.access_token })).status, 403);
    assert.deepEqual(await good(auth.oauth.listGrants()), []);
  });

  test("tells the client when the user does not want it", async () => {
    const party = await registered("Nosy");
    const kept = await asking(party);
    const { auth } = await person("eve");
    await good(auth.oauth.getAuthorizationDetails(kept.id));
    const { redirect_url: back } = await good(auth.oauth.denyAuthorization(kept.id, { skipBrowserRedirect: true }));
    assert.throws(() => oauth.validateAuthResponse(party.server, party.app, new URL(back), kept.state), {
      error: "access_denied",
    });
    assert.deepEqual(await good(auth.oauth.listGrants()), []);
  });

  test("lets the service key manage clients", async () => {
    const made = await good(admin.oauth.createClient({ client_name: "Board", redirect_uris: ["https://board.example/cb"] }));
    const { client_id: id, client_secret: secret } = made;
    assert.ok((await good(admin.oauth.listClients())).clients.some((it) => it.client_id === id));
    const fresh = await good(admin.oauth.regenerateClientSecret(id));
    assert.ok(fresh.client_secret && fresh.client_secret !== secret);
    await good(admin.oauth.updateClient(id, { client_name: "Boards" }));
    const read = await good(admin.oauth.getClient(id));
    assert.deepEqual([read.client_name, read.client_secret], ["Boards", undefined]);
    await good(admin.oauth.deleteClient(id));
    assert.deepEqual(await refusal(admin.oauth.getClient(id)), [404, "oauth_client_not_found"]);
    assert.equal((await refusal(client().auth.admin.oauth.listClients()))[0] >= 401, true);
  });
});

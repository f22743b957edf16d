// A real OpenID Connect provider (npm's oidc-provider) that knows whoever signs in, with addresses of example.com.
// Its paths are those of Keycloak. By itself it serves the Python tests: `node idp.mjs <callback>` prints where it is and
// ends with its input.
import { pathToFileURL } from "node:url";
import { Provider } from "oidc-provider";

/** Where the native application of these tests gets its codes. */
export const APP = "http://localhost:3999/cb";

const routes = { authorization: "/auth", token: "/token", userinfo: "/userinfo" };
for (const it of Object.keys(routes)) routes[it] = `/protocol/openid-connect${routes[it]}`;

/** The provider's address of someone. */
export const addressOf = (name) => `${name}.idp@example.com`;

/** Starts the provider on a port of its own; `{ url, authorization, token, settings, close }`. */
export async function startProvider(callback) {
  const secret = "a-secret-of-madbase";
  const configuration = {
    clients: [
      {
        client_id: "madbase", client_secret: secret, redirect_uris: [callback],
        grant_types: ["authorization_code", "refresh_token"], response_types: ["code"],
      },
      {
        client_id: "an-app", redirect_uris: [APP], token_endpoint_auth_method: "none",
        response_types: ["code"], application_type: "native",
      },
    ],
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
    scopes: ["openid", "offline_access", "email", "profile"],
    conformIdTokenClaims: false,
    pkce: { required: (_, { clientId }) => clientId === "an-app" },
    routes,
    features: { devInteractions: { enabled: true } },
    findAccount: (_, id) => ({
      accountId: id, claims: () => ({ sub: id, email: addressOf(id), email_verified: true, name: `${id} of the provider` }),
    }),
  };
  // oidc-provider warns about what is fine in a test only: keys in memory, its own pages.
  const { warn, info } = console;
  console.warn = console.info = () => {};
  const started = (provider, port) => new Promise((resolve) => {
    const server = provider.listen(port, "127.0.0.1", () => resolve(server));
  });
  const probe = await started(new Provider("http://127.0.0.1:0", configuration), 0);
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  const url = `http://127.0.0.1:${port}`;
  const server = await started(new Provider(url, configuration), port);
  Object.assign(console, { warn, info });
  return {
    url,
    authorization: url + routes.authorization,
    token: url + routes.token,
    settings: { enabled: true, client_ids: ["madbase", "an-app"], secret, url },
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { close, ...facts } = await startProvider(process.argv[2]);
  console.log(JSON.stringify(facts));
  process.stdin.on("end", close).resume();
}

// Sign-in by SAML 2.0 with an organisation's identity provider that answers what the project asks (samlify).
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import samlify from "samlify";
import { recorded } from "./record.mjs";
import {
  WELCOME, anyAddress, arrive, ask, client, fragment, good, refusal, service, settings, unread, world,
} from "./world.mjs";

const { IdentityProvider, ServiceProvider, SamlLib, setSchemaValidator } = samlify;
const ENTITY = "https://organisation.example/saml";
const pem = (name) => readFileSync(`${world.certificates}/${name}`, "utf8");

setSchemaValidator({ validate: async () => "nobody here has the schema's validator" });

const organisation = IdentityProvider({
  entityID: ENTITY, signingCert: pem("saml.pem"), privateKey: pem("saml.key"),
  nameIDFormat: ["urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"],
  singleSignOnService: [{ Binding: "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect", Location: `${ENTITY}/login` }],
  loginResponseTemplate: {
    context: SamlLib.defaultLoginResponseTemplate.context.replace("{AuthnStatement}", ""),
    attributes: [{
      name: "mail", valueTag: "mail", valueXsiType: "xs:string",
      nameFormat: "urn:oasis:names:tc:SAML:2.0:attrname-format:basic",
    }],
  },
});

/** What the organisation answers to the address that a browser was sent to, as the form of its page. */
async function answer(address, someone) {
  const { searchParams } = new URL(address);
  const metadata = await ask("/sso/saml/metadata", { key: undefined });
  const project = ServiceProvider({ metadata: metadata.text });
  const query = { SAMLRequest: searchParams.get("SAMLRequest"), RelayState: searchParams.get("RelayState") };
  const asked = await organisation.parseLoginRequest(project, "redirect", { query });
  const acs = project.entityMeta.getAssertionConsumerService("post");
  const [now, later] = [new Date(), new Date(Date.now() + 300_000)].map((it) => it.toISOString());
  const response = await organisation.createLoginResponse(project, asked, "post", {}, (template) => {
    const id = `_${randomUUID()}`;
    const values = {
      ID: id, AssertionID: `_${randomUUID()}`, Destination: acs, SubjectRecipient: acs, Issuer: ENTITY,
      Audience: project.entityMeta.getEntityID(), IssueInstant: now, ConditionsNotBefore: now,
      ConditionsNotOnOrAfter: later, SubjectConfirmationDataNotOnOrAfter: later,
      StatusCode: "urn:oasis:names:tc:SAML:2.0:status:Success", InResponseTo: asked.extract.request.id,
      NameIDFormat: "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent", NameID: someone.name, attrMail: someone.mail,
    };
    return { id, context: SamlLib.replaceTagsByValue(template, values) };
  });
  return { SAMLResponse: response.context, RelayState: query.RelayState };
}

/** Sends the form to the project, as the organisation's page makes a browser do. */
async function post(form) {
  const sent = await recorded("browser")(`${world.url}/auth/v1/sso/saml/acs`, {
    method: "POST", redirect: "manual", body: String(new URLSearchParams(form)),
    headers: { "content-type": "application/x-www-form-urlencoded" },
  });
  assert.ok([302, 303].includes(sent.status), `${sent.status}: ${await sent.text()}`);
  return new URL(sent.headers.get("location"));
}

describe("sign-in by SAML", () => {
  const domain = `${randomUUID()}.example`;
  let provider;

  before(() => settings({ saml_enabled: true }));
  after(() => settings({ saml_enabled: false }));

  test("begins with a provider that the service key makes", async () => {
    const wanted = {
      type: "saml", metadata_xml: organisation.getMetadata(), domains: [domain],
      attribute_mapping: { keys: { email: { name: "mail" } } },
    };
    const made = await ask("/admin/sso/providers", { ...service, method: "POST", body: wanted });
    assert.equal(made.status, 201, made.text);
    provider = made.json.id;
    const { json: { items } } = await ask("/admin/sso/providers", service);
    assert.deepEqual(items.map((it) => [it.id, it.saml.entity_id]), [[provider, ENTITY]]);
    const named = { ...service, method: "PUT", body: { domains: [domain, `more.${domain}`] } };
    assert.equal((await ask(`/admin/sso/providers/${provider}`, named)).status, 200);
    const { json: read } = await ask(`/admin/sso/providers/${provider}`, service);
    assert.equal(read.domains.length, 2);
  });

  test("lets the organisation's people in, by its domain and by its id", async () => {
    const mail = anyAddress("worker");
    const { auth } = client();
    const options = { redirectTo: WELCOME };
    const { url } = await good(auth.signInWithSSO({ domain, options }));
    assert.ok(url.startsWith(`${ENTITY}/login?`), url);
    const landed = await post(await answer(url, { name: "worker-1", mail }));
    assert.equal(landed.origin + landed.pathname, WELCOME);
    const { user } = await arrive(auth, landed);
    assert.deepEqual([user.email, user.app_metadata.provider], [mail, `sso:${provider}`]);

    const other = client({ flowType: "pkce" });
    const again = await good(other.auth.signInWithSSO({ providerId: provider, options }));
    const code = (await post(await answer(again.url, { name: "worker-1", mail }))).searchParams.get("code");
    assert.equal((await good(other.auth.exchangeCodeForSession(code))).user.id, user.id);
    assert.equal(unread(mail), 0, "nobody asks the person to confirm what the organisation says");
  });

  test("takes an answer once, and none that somebody changed", async () => {
    const { url } = await good(client().auth.signInWithSSO({ domain, options: { redirectTo: WELCOME } }));
    const form = await answer(url, { name: "worker-2", mail: anyAddress("worker") });
    const forged = Buffer.from(form.SAMLResponse, "base64").toString().replace("worker-2", "worker-1");
    const refused = async (it) => {
      const landed = await post(it).catch((error) => error);
      return landed instanceof Error || landed.searchParams.has("error") || "error" in fragment(landed);
    };
    assert.ok(await refused({ ...form, SAMLResponse: Buffer.from(forged).toString("base64") }));
    const next = await good(client().auth.signInWithSSO({ domain, options: { redirectTo: WELCOME } }));
    const fresh = await answer(next.url, { name: "worker-2", mail: anyAddress("worker") });
    assert.ok(fragment(await post(fresh)).access_token);
    assert.ok(await refused(fresh));
  });

  test("ends with the provider", async () => {
    assert.equal((await ask(`/admin/sso/providers/${provider}`, { ...service, method: "DELETE" })).status, 200);
    const unknown = [404, "sso_provider_not_found"];
    assert.deepEqual(await refusal(client().auth.signInWithSSO({ domain })), unknown);
    assert.deepEqual(await refusal(client().auth.signInWithSSO({ providerId: provider })), unknown);
    assert.equal((await ask(`/admin/sso/providers/${provider}`, service)).status, 404);
  });
});

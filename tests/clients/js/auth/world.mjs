// What the tests of auth stand on: a project that mails by SMTP, sends SMS and trusts an OpenID Connect provider, all of
// them started here; people who sign in; and clients whose requests are noted.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomInt, randomUUID } from "node:crypto";
import { client as plain, keyed, password, world } from "../world.mjs";
import { startProvider } from "./idp.mjs";
import { startMail, startSms } from "./post.mjs";
import { named, recorded } from "./record.mjs";

export { password, world };
export { eventually } from "../world.mjs";

export const SITE = "http://localhost:3000";
export const WELCOME = `${SITE}/welcome`;
const base = `${world.url}/auth/v1`;
const mail = await startMail();
const sms = await startSms();
export const idp = await startProvider(`${base}/callback`);

/** Changes settings of the project, as its operator does; secrets come in by standard input. */
export function settings(auth) {
  const args = ["project", "settings", "set", "default", "--file", "-"];
  execFileSync(world.binary, args, { input: JSON.stringify({ auth }), stdio: ["pipe", "ignore", "inherit"] });
}

export const smtp = mail.settings;
const often = ["token_refresh", "sign_in", "verify", "otp", "sso", "web3", "passkey", "anonymous_users", "mfa",
  "oauth_dynamic_client_registration"];
settings(null);
settings({
  site_url: SITE, redirect_urls: [`${SITE}/**`], mailer_autoconfirm: false, anonymous_users: true, manual_linking: true,
  smtp, mail_max_frequency_secs: 0, mail_max_per_hour: 10_000,
  phone_enabled: true, sms_provider: sms.settings, sms_max_frequency_secs: 0, sms_max_per_hour: 10_000,
  mfa_phone: "on", mfa_webauthn: "on", passkeys: true, webauthn_rp_id: "localhost",
  oauth_server: { enabled: true, allow_dynamic_registration: true },
  external: { "custom:idp": idp.settings, web3_ethereum: { enabled: true }, web3_solana: { enabled: true } },
  ...Object.fromEntries(often.map((it) => [`rate_limit_${it}`, 100_000])),
});

/** Closes what this module has started. */
export function stop() {
  for (const it of [mail, sms, idp]) it.close();
}

/** The next mail to an address; the next SMS to a number. */
export const mailTo = (address) => mail.letters.next(address);
export const smsTo = (phone) => sms.letters.next(phone);
/** How many mails to an address nobody has read. */
export const unread = (address) => mail.letters.count(address);

export const anyAddress = (name) => `${name}-${randomUUID()}@example.com`;
export const anyPhone = () => `4479${randomInt(10_000_000, 99_999_999)}`;

/** A client that keeps its session and its verifiers in memory. */
export function client({ key = world.anonKey, flowType = "implicit" } = {}) {
  const store = new Map();
  const storage = {
    getItem: (it) => store.get(it) ?? null,
    setItem: (it, value) => void store.set(it, value),
    removeItem: (it) => void store.delete(it),
  };
  const auth = { storage, flowType, persistSession: true, autoRefreshToken: false, detectSessionInUrl: false };
  return { auth: named(plain(key, { auth, global: { fetch: recorded("client") } }).auth, "auth") };
}

export const admin = client({ key: world.secretKey }).auth.admin;

/** What a call that must succeed gave. */
export async function good(answer) {
  const { data, error } = await answer;
  assert.equal(error, null, error && `${error.status} ${error.code}: ${error.message}`);
  return data;
}

/** Status and code of a call that must be refused. */
export async function refusal(answer) {
  const { error } = await answer;
  assert.notEqual(error, null, "this was to be refused");
  return [error.status, error.code];
}

/** A confirmed user who is signed in: `{ auth, id, email, session }`. */
export async function person(name, { flowType } = {}) {
  const email = anyAddress(name);
  const { user } = await good(admin.createUser({ email, password, email_confirm: true, user_metadata: { name } }));
  const { auth } = client({ flowType });
  const { session } = await good(auth.signInWithPassword({ email, password }));
  return { auth, id: user.id, email, session };
}

/** Asks auth without a client; `{ status, headers, text, json }`. Paths that begin with `root:` are those of the server. */
export async function ask(path, { method = "GET", token, key = world.anonKey, body } = {}) {
  const headers = { ...(key ? keyed(key, token) : {}), ...(body ? { "content-type": "application/json" } : {}) };
  const url = path.startsWith("root:") ? `${world.url}${path.slice(5)}` : `${base}${path}`;
  const answer = await recorded("fetch")(url, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  return {
    status: answer.status, headers: answer.headers, text,
    get json() {
      return JSON.parse(text);
    },
  };
}

export const service = { token: world.serviceRoleKey, key: world.serviceRoleKey };

/** Where a mailed link leads. */
export async function follow(link) {
  const answer = await recorded("browser")(link, { redirect: "manual" });
  assert.equal(answer.status, 303, `${link}: ${await answer.text()}`);
  return new URL(answer.headers.get("location"));
}

/** The words of a fragment. */
export const fragment = (url) => Object.fromEntries(new URLSearchParams(url.hash.slice(1)));

/** Opens a session from the tokens of a fragment. */
export async function arrive(auth, url) {
  const { access_token, refresh_token } = fragment(url);
  assert.ok(access_token && refresh_token, `no tokens in ${url}`);
  return good(auth.setSession({ access_token, refresh_token }));
}

/**
 * What a browser does until it comes to the site or to `stopAt`: keeps cookies, follows redirects, and signs `name` in
 * where a form asks for it. With `byForm` the provider's answer travels as a form, as some providers send it.
 */
export async function browse(start, name, { stopAt = SITE, byForm = false } = {}) {
  const cookies = new Map();
  let [url, form] = [start, undefined];
  for (let steps = 0; steps < 20; steps += 1) {
    if (url.startsWith(SITE) || url.startsWith(stopAt)) return new URL(url);
    if (byForm && url.startsWith(`${base}/callback?`)) [url, form] = [`${base}/callback`, new URL(url).searchParams];
    const type = form ? { "content-type": "application/x-www-form-urlencoded" } : {};
    const headers = { ...type, cookie: [...cookies].map(([key, value]) => `${key}=${value}`).join("; ") };
    const options = { redirect: "manual", headers, method: form ? "POST" : "GET", body: form && String(form) };
    const answer = await (url.startsWith(world.url) ? recorded("browser") : fetch)(url, options);
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

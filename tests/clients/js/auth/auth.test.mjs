// Every endpoint of auth by supabase-js, and a last look at whether it was every one: ../../auth_rows.txt is the list.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { createClient } from "@supabase/supabase-js";
import { compared, contract } from "./record.mjs";
import { stop } from "./world.mjs";
import "./discovery.mjs";
import "./sign_up.mjs";
import "./mails.mjs";
import "./phones.mjs";
import "./wallets.mjs";
import "./providers.mjs";
import "./factors.mjs";
import "./webauthn.mjs";
import "./saml.mjs";
import "./oauth_server.mjs";
import "./admin.mjs";

after(stop);

/** Methods that ask nothing themselves, parts of others, and codes of recovery, which no contract of ours has. */
const WITHOUT_ROWS = new Set([
  "initialize", "fetch", "admin.fetch", "logger", "getSession", "setSession", "onAuthStateChange", "startAutoRefresh", "stopAutoRefresh", "dispose",
  "isThrowOnErrorEnabled", "fetchJwk", "signInWithOAuth", "signInWithEthereum", "signInWithSolana", "linkIdentityOAuth",
  "linkIdentityIdToken", "mfa.getAuthenticatorAssuranceLevel", "mfa.recoveryCodes",
].map((it) => `auth.${it}`));

/** The public methods of an object of the client, by their names. */
function methods(target, path) {
  const names = new Set(Object.keys(target));
  for (let kind = Object.getPrototypeOf(target); kind !== Object.prototype; kind = Object.getPrototypeOf(kind)) {
    for (const it of Object.getOwnPropertyNames(kind)) names.add(it);
  }
  return [...names].filter((it) => !/^_|^constructor$/.test(it)).flatMap((name) => {
    const inner = ["admin", "mfa", "oauth", "passkey", "customProviders", "webauthn"].includes(name);
    if (inner) return methods(target[name], `${path}.${name}`);
    return name === "recoveryCodes" || typeof target[name] === "function" ? [`${path}.${name}`] : [];
  });
}

describe("the contract of auth", () => {
  test("was driven row by row, by the methods that its list names", (t) => {
    const { rows, requests, missing, unlisted } = compared();
    t.diagnostic(`${rows} rows, ${requests} requests`);
    assert.deepEqual({ missing, unlisted }, { missing: [], unlisted: [] });
  });

  test("would be missed where nobody drives it, and where nobody has listed it", () => {
    const rows = ["GET /telepathy fetch -", "POST /otp carrier=pigeon auth.signInWithOtp -", "GET /health auth.getUser -"];
    assert.equal(compared(`${contract}\n${rows.join("\n")}`).missing.length, rows.length);
    const shorter = contract.split("\n").filter((it) => !it.includes(" /recover ")).join("\n");
    assert.deepEqual(compared(shorter).unlisted, ["POST /recover by auth.resetPasswordForEmail"]);
  });

  test("has a row for every method of the client that asks", () => {
    const listed = compared().methods;
    const all = methods(createClient("http://localhost", "key").auth, "auth");
    assert.ok(all.length > 60, `${all.length} methods found`);
    assert.deepEqual(all.filter((it) => !listed.has(it) && !WITHOUT_ROWS.has(it)), []);
  });
});

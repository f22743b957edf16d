// Passkeys and security keys: supabase-js in a real browser, with a virtual authenticator.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startBrowser, startSite } from "./browser.mjs";
import { note } from "./record.mjs";
import { admin, client, good, password, person, settings, world } from "./world.mjs";

let [site, browser] = [];

before(async () => {
  site = await startSite();
  settings({ webauthn_rp_origins: [site.origin] });
  browser = await startBrowser(world.chromium);
});

after(async () => {
  await browser?.close();
  site?.close();
});

/** A page in which `board()` is a client whose requests are noted under the name of the method that made them. */
async function page(transport = "internal") {
  const { run, credentials } = await browser.open(`${site.origin}/`, transport);
  await run((url, key) => {
    window.seen = [];
    let by = "client";
    const named = (target, path) => new Proxy(target, {
      get(_, name) {
        const value = Reflect.get(target, name);
        if (["mfa", "passkey", "webauthn"].includes(name)) return named(value, `${path}.${name}`);
        if (typeof value !== "function") return value;
        return async (...args) => {
          by = `${path}.${name}`;
          const { data, error } = await value.apply(target, args);
          if (error) throw new Error(`${by}: ${error.status} ${error.code} ${error.message}`);
          return data;
        };
      },
    });
    const noting = async (address, options = {}) => {
      const who = by;
      const answer = await fetch(address, options);
      window.seen.push({ by: who, method: options.method ?? "GET", url: address, body: options.body, status: answer.status });
      return answer;
    };
    window.board = () => named(window.supabase.createClient(url, key, {
      auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false }, global: { fetch: noting },
    }).auth, "auth");
  }, world.url, world.anonKey);
  const noted = async (work, ...values) => {
    try {
      return await run(work, ...values);
    } finally {
      for (const it of await run(() => window.seen.splice(0))) note(it);
    }
  };
  return { run: noted, credentials };
}

describe("passkeys in a browser", () => {
  test("sign in without a name or password", async () => {
    const { email, id } = await person("key");
    const { run, credentials } = await page();
    const made = await run(async (them) => {
      const auth = board();
      await auth.signInWithPassword(them);
      return auth.registerPasskey();
    }, { email, password });
    assert.ok(made.id && made.created_at);
    const [stored] = await credentials();
    assert.deepEqual([stored.rpId, stored.isResidentCredential], ["localhost", true]);
    const { user, session } = await run(() => board().signInWithPasskey());
    assert.equal(user.id, id);
    const { claims } = await good(client().auth.getClaims(session.access_token));
    assert.ok(claims.amr.some((it) => /passkey|webauthn/.test(it.method)), JSON.stringify(claims.amr));
  });

  test("are made and used step by step, listed, renamed and removed", async () => {
    const { email, id } = await person("steps");
    const { run, credentials } = await page();
    const list = await run(async (them) => {
      window.auth = board();
      await auth.signInWithPassword(them);
      const { challenge_id, options } = await auth.passkey.startRegistration();
      const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options.publicKey ?? options);
      const credential = (await navigator.credentials.create({ publicKey })).toJSON();
      await auth.passkey.verifyRegistration({ challengeId: challenge_id, credential });
      return auth.passkey.list();
    }, { email, password });
    assert.equal(list.length, 1);
    const signedIn = await run(async () => {
      const other = board();
      const { challenge_id, options } = await other.passkey.startAuthentication();
      const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options.publicKey ?? options);
      const credential = (await navigator.credentials.get({ publicKey })).toJSON();
      return other.passkey.verifyAuthentication({ challengeId: challenge_id, credential });
    });
    assert.equal(signedIn.user.id, id);
    const renamed = await run(async (passkeyId) => auth.passkey.update({ passkeyId, friendlyName: "Blue key" }), list[0].id);
    assert.equal(renamed.friendly_name, "Blue key");
    const [seen] = await good(admin.passkey.listPasskeys({ userId: id }));
    assert.deepEqual([seen.id, seen.friendly_name], [list[0].id, "Blue key"]);
    assert.deepEqual(await run(async (passkeyId) => {
      await auth.passkey.delete({ passkeyId });
      return auth.passkey.list();
    }, list[0].id), []);
    await assert.rejects(run(() => board().signInWithPasskey()), /400 webauthn_verification_failed/);
    assert.equal((await credentials()).length, 1, "the browser still had it to offer");
  });

  test("are taken away by the service key", async () => {
    const { email, id } = await person("lost");
    const { run } = await page();
    const { id: passkeyId } = await run(async (them) => {
      const auth = board();
      await auth.signInWithPassword(them);
      return auth.registerPasskey();
    }, { email, password });
    await good(admin.passkey.deletePasskey({ userId: id, passkeyId }));
    assert.deepEqual(await good(admin.passkey.listPasskeys({ userId: id })), []);
  });
});

describe("security keys in a browser", () => {
  test("are a second factor", async () => {
    const { email } = await person("factor");
    const { run } = await page("usb");
    const registered = await run(async (them) => {
      window.auth = board();
      await auth.signInWithPassword(them);
      return auth.mfa.webauthn.register({ friendlyName: "Key" });
    }, { email, password });
    const claims = async (token) => (await good(client().auth.getClaims(token))).claims;
    assert.equal((await claims(registered.access_token)).aal, "aal2");
    const again = await run(async (them) => {
      const other = board();
      await other.signInWithPassword(them);
      const { webauthn } = await other.mfa.listFactors();
      return other.mfa.webauthn.authenticate({ factorId: webauthn[0].id });
    }, { email, password });
    const { aal, amr } = await claims(again.access_token);
    assert.equal(aal, "aal2");
    assert.ok(amr.some((it) => it.method.includes("webauthn")), JSON.stringify(amr));
  });

  test("are enrolled, challenged and verified step by step", async () => {
    const { email } = await person("factor");
    const { run } = await page("usb");
    const { factors } = await run(async (them) => {
      const auth = board();
      await auth.signInWithPassword(them);
      const { id: factorId } = await auth.mfa.webauthn.enroll({ friendlyName: "Key" });
      const place = { rpId: location.hostname, rpOrigins: [location.origin] };
      const { challengeId, webauthn } = await auth.mfa.webauthn.challenge({ factorId, webauthn: place, friendlyName: "Key" });
      await auth.mfa.webauthn.verify({ factorId, challengeId, webauthn: { ...place, ...webauthn } });
      return (await auth.getUser()).user;
    }, { email, password });
    assert.deepEqual(factors.map((it) => [it.factor_type, it.status]), [["webauthn", "verified"]]);
  });
});

// Second factors: codes of an authenticator app and of SMS, and what the service key does with them.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { URI } from "otpauth";
import { admin, anyPhone, ask, client, good, password, person, refusal, service, smsTo } from "./world.mjs";

/** An app that has scanned `uri`: each code is good once, so the second one is the next one's. */
function app(uri) {
  const totp = URI.parse(uri);
  let ahead = 0;
  return () => {
    const code = totp.generate({ timestamp: Date.now() + ahead });
    ahead += totp.period * 1000;
    return code;
  };
}

const levels = async (auth) => {
  const { currentLevel, nextLevel } = await good(auth.mfa.getAuthenticatorAssuranceLevel());
  return [currentLevel, nextLevel];
};

describe("second factors", { concurrency: true }, () => {
  test("of an app raise the session's level and guard the next one", async () => {
    const ada = await person("ada");
    const { mfa } = ada.auth;
    const factor = await good(mfa.enroll({ factorType: "totp", friendlyName: "App", issuer: "Board" }));
    assert.match(factor.totp.qr_code, /^data:image\/svg\+xml/);
    const code = app(factor.totp.uri);
    assert.equal(URI.parse(factor.totp.uri).secret.base32, factor.totp.secret);
    assert.deepEqual(await levels(ada.auth), ["aal1", "aal1"]);
    const challenge = await good(mfa.challenge({ factorId: factor.id }));
    const wrong = mfa.verify({ factorId: factor.id, challengeId: challenge.id, code: "000000" });
    assert.deepEqual(await refusal(wrong), [422, "mfa_verification_failed"]);
    await good(mfa.verify({ factorId: factor.id, challengeId: challenge.id, code: code() }));
    assert.deepEqual(await levels(ada.auth), ["aal2", "aal2"]);
    const { claims } = await good(ada.auth.getClaims());
    assert.deepEqual([claims.aal, claims.amr.map((it) => it.method).sort()], ["aal2", ["password", "totp"]]);
    assert.deepEqual((await good(mfa.listFactors())).totp.map((it) => it.friendly_name), ["App"]);

    const { auth } = client();
    await good(auth.signInWithPassword({ email: ada.email, password }));
    assert.deepEqual(await levels(auth), ["aal1", "aal2"]);
    assert.deepEqual(await refusal(auth.mfa.unenroll({ factorId: factor.id })), [422, "insufficient_aal"]);
    await good(auth.mfa.challengeAndVerify({ factorId: factor.id, code: code() }));
    assert.deepEqual(await levels(auth), ["aal2", "aal2"]);
    assert.equal((await good(auth.mfa.unenroll({ factorId: factor.id }))).id, factor.id);
    assert.deepEqual((await good(auth.mfa.listFactors())).all, []);
  });

  test("of a phone do the same by SMS", async () => {
    const { auth } = await person("caller");
    const phone = anyPhone();
    const factor = await good(auth.mfa.enroll({ factorType: "phone", friendlyName: "Mine", phone: `+${phone}` }));
    assert.deepEqual([factor.type, factor.phone.replace("+", "")], ["phone", phone]);
    const challenge = await good(auth.mfa.challenge({ factorId: factor.id, channel: "sms" }));
    const { code } = await smsTo(phone);
    const session = await good(auth.mfa.verify({ factorId: factor.id, challengeId: challenge.id, code }));
    assert.equal(session.user.factors[0].status, "verified");
    assert.deepEqual(await levels(auth), ["aal2", "aal2"]);
    const again = auth.mfa.verify({ factorId: factor.id, challengeId: challenge.id, code });
    assert.equal((await refusal(again))[0], 422);
  });

  test("are seen, named and taken away by the service key", async () => {
    const { auth, id } = await person("loser");
    const { id: factorId, totp } = await good(auth.mfa.enroll({ factorType: "totp", friendlyName: "Lost" }));
    await good(auth.mfa.challengeAndVerify({ factorId, code: app(totp.uri)() }));
    const renamed = await ask(`/admin/users/${id}/factors/${factorId}`, {
      ...service, method: "PUT", body: { friendly_name: "Found" },
    });
    assert.equal(renamed.status, 200);
    const { factors } = await good(admin.mfa.listFactors({ userId: id }));
    assert.deepEqual(factors.map((it) => [it.id, it.friendly_name, it.status]), [[factorId, "Found", "verified"]]);
    assert.equal(JSON.stringify(factors).includes(totp.secret), false);
    await good(admin.mfa.deleteFactor({ userId: id, id: factorId }));
    assert.deepEqual((await good(admin.mfa.listFactors({ userId: id }))).factors, []);
  });
});

// Signing up by address, number and without either; sessions, what refreshes them and what ends them.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  WELCOME, admin, anyAddress, anyPhone, arrive, ask, client, follow, fragment, good, mailTo, password, person, refusal,
  smsTo, unread, world,
} from "./world.mjs";

describe("signing up", { concurrency: true }, () => {
  test("waits for the code that was mailed", async () => {
    const email = anyAddress("ada");
    const { auth } = client();
    const { user, session } = await good(auth.signUp({ email, password, options: { data: { name: "Ada" } } }));
    assert.equal(session, null);
    assert.ok(user.confirmation_sent_at && !user.email_confirmed_at);
    const mail = await mailTo(email);
    assert.deepEqual([mail.from, mail.subject], ["board@example.com", "Confirm your signup"]);
    assert.deepEqual(await refusal(auth.signInWithPassword({ email, password })), [400, "email_not_confirmed"]);

    await good(auth.resend({ type: "signup", email }));
    const second = await mailTo(email);
    const verified = await good(auth.verifyOtp({ email, token: second.code, type: "signup" }));
    assert.equal(verified.user.user_metadata.name, "Ada");
    assert.ok(verified.user.email_confirmed_at);
    assert.equal((await good(auth.getUser())).user.id, user.id);
    const again = client().auth.verifyOtp({ email, token: second.code, type: "signup" });
    assert.deepEqual(await refusal(again), [403, "otp_expired"]);
  });

  test("follows the mailed link, once, to where the site wanted", async () => {
    const email = anyAddress("link");
    const { auth } = client();
    await good(auth.signUp({ email, password, options: { emailRedirectTo: WELCOME } }));
    const { link } = await mailTo(email);
    const landed = await follow(link);
    assert.equal(landed.origin + landed.pathname, WELCOME);
    assert.equal(fragment(landed).type, "signup");
    assert.equal((await arrive(auth, landed)).user.email, email);
    const late = await follow(link);
    assert.equal(fragment(late).error_code, "otp_expired");
    assert.equal(late.searchParams.has("code"), false);
  });

  test("tells nobody that an address is taken, nor mails it a code", async () => {
    const { email, id } = await person("taken");
    const { user, session } = await good(client().auth.signUp({ email, password: "another password" }));
    assert.deepEqual([session, user.identities], [null, []]);
    assert.notEqual(user.id, id);
    assert.equal(unread(email), 0);
  });

  test("is done by a number as well, with the code of an SMS", async () => {
    const phone = anyPhone();
    const { auth } = client();
    const { user, session } = await good(auth.signUp({ phone, password }));
    assert.deepEqual([session, user.phone], [null, phone]);
    await smsTo(phone);
    assert.deepEqual(await refusal(auth.signInWithPassword({ phone, password })), [400, "phone_not_confirmed"]);
    await good(auth.resend({ type: "sms", phone }));
    const { code } = await smsTo(phone);
    await good(auth.verifyOtp({ phone, token: code, type: "sms" }));
    const again = await good(client().auth.signInWithPassword({ phone, password }));
    assert.deepEqual([again.user.id, again.user.app_metadata.provider], [user.id, "phone"]);
  });

  test("is done without a name, and the user keeps all when a name comes", async () => {
    const { auth } = client();
    const { user } = await good(auth.signInAnonymously({ options: { data: { cart: 3 } } }));
    assert.equal(user.is_anonymous, true);
    const email = anyAddress("later");
    await good(auth.updateUser({ email }));
    const { code } = await mailTo(email);
    const named = await good(auth.verifyOtp({ email, token: code, type: "email_change" }));
    assert.deepEqual([named.user.id, named.user.is_anonymous, named.user.email], [user.id, false, email]);
    assert.equal(named.user.user_metadata.cart, 3);
    const { data } = await auth.getClaims((await good(auth.refreshSession())).session.access_token);
    assert.equal(data.claims.is_anonymous, false);
  });
});

describe("sessions", { concurrency: true }, () => {
  test("are refreshed, and their tokens verify by the published keys", async () => {
    const ada = await person("ada");
    const { session } = await good(ada.auth.refreshSession());
    assert.notEqual(session.refresh_token, ada.session.refresh_token);
    const { claims } = await good(ada.auth.getClaims());
    assert.deepEqual([claims.sub, claims.aal, claims.amr[0].method], [ada.id, "aal1", "password"]);
    assert.equal(claims.iss, `${world.url}/auth/v1`);
  });

  test("end one by one, all others, or all", async () => {
    const ada = await person("ada");
    const opened = async () => {
      const { auth } = client();
      const { session } = await good(auth.signInWithPassword({ email: ada.email, password }));
      return { auth, token: session.access_token };
    };
    const alive = async (it) => (await ask("/user", { token: it.token })).status === 200;
    const all = [await opened(), await opened(), await opened(), await opened()];
    const states = () => Promise.all(all.map(alive));
    const ended = async (it, scope) => assert.equal((await it.auth.signOut({ scope })).error, null);
    await ended(all[0], "local");
    assert.deepEqual(await states(), [false, true, true, true]);
    await ended(all[1], "others");
    assert.deepEqual(await states(), [false, true, false, false]);
    all.push(await opened());
    await ended(all[1], "global");
    assert.deepEqual(await states(), [false, false, false, false, false]);
    const last = await opened();
    assert.equal((await admin.signOut(last.token, "global")).error, null);
    assert.equal(await alive(last), false);
    const bad = await ask("/logout?scope=theirs", { method: "POST", token: (await opened()).token });
    assert.deepEqual([bad.status, bad.json.error_code], [400, "validation_failed"]);
  });

  test("are not to be had by a grant that is none", async () => {
    const answer = await ask("/token?grant_type=telepathy", { method: "POST", body: { thought: "Ada" } });
    assert.deepEqual([answer.status, answer.json.error_code], [400, "invalid_credentials"]);
    assert.equal(answer.json.msg, "unsupported_grant_type");
  });
});

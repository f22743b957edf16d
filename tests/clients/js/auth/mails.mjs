// Everything that goes by mail: codes and links to sign in, forgotten passwords, changes of address, nonces, invitations.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, describe, test } from "node:test";
import { startMail } from "./post.mjs";
import {
  SITE, WELCOME, admin, anyAddress, arrive, ask, client, eventually, follow, fragment, good, mailTo, password, person,
  refusal, settings, smtp, unread, world,
} from "./world.mjs";

const hashOf = (mail) => new URL(mail.link).searchParams.get("token");

describe("mails that sign in", { concurrency: true }, () => {
  test("carry a code, which opens the session of a new user", async () => {
    const email = anyAddress("otp");
    const { auth } = client();
    const unknown = auth.signInWithOtp({ email, options: { shouldCreateUser: false } });
    assert.deepEqual(await refusal(unknown), [422, "otp_disabled"]);
    await good(auth.signInWithOtp({ email, options: { data: { name: "New" } } }));
    const first = await mailTo(email);
    const { user } = await good(auth.verifyOtp({ email, token: first.code, type: "email" }));
    assert.deepEqual([user.email, user.user_metadata.name], [email, "New"]);
    await good(auth.signInWithOtp({ email, options: { shouldCreateUser: false } }));
    const second = await mailTo(email);
    assert.equal((await good(auth.verifyOtp({ email, token: second.code, type: "magiclink" }))).user.id, user.id);
  });

  test("carry a link, whose hash a server may present itself", async () => {
    const { auth, email, id } = await person("hash");
    await good(auth.signInWithOtp({ email }));
    const mail = await mailTo(email);
    const token_hash = hashOf(mail);
    assert.equal((await good(client().auth.verifyOtp({ token_hash, type: "email" }))).user.id, id);
    assert.deepEqual(await refusal(client().auth.verifyOtp({ token_hash, type: "email" })), [403, "otp_expired"]);
    assert.equal(fragment(await follow(mail.link)).error_code, "otp_expired", "the link is spent as well");
  });

  test("carry a magic link, asked for as older clients do", async () => {
    const { auth, email, id } = await person("magic");
    const answer = await ask(`/magiclink?redirect_to=${encodeURIComponent(WELCOME)}`, { method: "POST", body: { email } });
    assert.deepEqual([answer.status, answer.json], [200, {}]);
    const landed = await follow((await mailTo(email)).link);
    assert.deepEqual([landed.pathname, fragment(landed).type], ["/welcome", "magiclink"]);
    assert.equal((await arrive(auth, landed)).user.id, id);
  });

  test("lead to a code only, for a client that keeps a verifier", async () => {
    const { auth } = client({ flowType: "pkce" });
    const email = anyAddress("pkce");
    await good(auth.signInWithOtp({ email, options: { emailRedirectTo: WELCOME } }));
    const landed = await follow((await mailTo(email)).link);
    assert.equal(landed.hash, "");
    const code = landed.searchParams.get("code");
    const stranger = await ask("/token?grant_type=pkce", { method: "POST", body: { auth_code: code, code_verifier: "x".repeat(43) } });
    assert.deepEqual([stranger.status, stranger.json.error_code], [400, "bad_code_verifier"]);
    assert.equal((await good(auth.exchangeCodeForSession(code))).user.email, email);
  });

  test("never lead to somebody else's site", async () => {
    const { auth, email } = await person("redirect");
    await good(auth.signInWithOtp({ email, options: { emailRedirectTo: "https://evil.example/" } }));
    assert.equal((await follow((await mailTo(email)).link)).origin, SITE);
  });
});

describe("mails that help with an account", { concurrency: true }, () => {
  test("let in who forgot the password, and nobody learns who has an account", async () => {
    const { email, id } = await person("forgetful");
    const { auth } = client();
    await good(auth.resetPasswordForEmail(email, { redirectTo: WELCOME }));
    await good(auth.resetPasswordForEmail(anyAddress("nobody")));
    const landed = await follow((await mailTo(email)).link);
    assert.equal(fragment(landed).type, "recovery");
    assert.equal((await arrive(auth, landed)).user.id, id);
    await good(auth.updateUser({ password: "remembered this time" }));
    await good(client().auth.signInWithPassword({ email, password: "remembered this time" }));
    await good(auth.resetPasswordForEmail(email));
    const { code } = await mailTo(email);
    assert.equal((await good(client().auth.verifyOtp({ email, token: code, type: "recovery" }))).user.id, id);
  });

  test("let in who forgot the password by a verifier too", async () => {
    const { email, id } = await person("forgetful");
    const { auth } = client({ flowType: "pkce" });
    await good(auth.resetPasswordForEmail(email));
    const landed = await follow((await mailTo(email)).link);
    const { user, redirectType } = await good(auth.exchangeCodeForSession(landed.searchParams.get("code")));
    assert.deepEqual([user.id, redirectType], [id, "recovery"]);
  });

  test("change an address once both addresses agreed", async () => {
    const { auth, email, id } = await person("mover");
    const next = anyAddress("moved");
    const { user } = await good(auth.updateUser({ email: next }, { emailRedirectTo: WELCOME }));
    assert.deepEqual([user.email, user.new_email], [email, next]);
    await Promise.all([mailTo(email), mailTo(next)]);
    await good(auth.resend({ type: "email_change", email }));
    const [old, fresh] = await Promise.all([mailTo(email), mailTo(next)]);
    const half = await follow(old.link);
    assert.match(fragment(half).message, /confirm link sent to the other email/i);
    assert.equal((await good(auth.getUser())).user.email, email, "half is not enough");
    const whole = await good(client().auth.verifyOtp({ email: next, token: fresh.code, type: "email_change" }));
    assert.deepEqual([whole.user.id, whole.user.email, whole.user.new_email], [id, next, undefined]);
    await good(client().auth.signInWithPassword({ email: next, password }));
    assert.equal(whole.user.identities[0].identity_data.email, next);
  });

  test("change an address by two links", async () => {
    const { auth, email, id } = await person("mover");
    const next = anyAddress("moved");
    await good(auth.updateUser({ email: next }, { emailRedirectTo: WELCOME }));
    const [old, fresh] = await Promise.all([mailTo(email), mailTo(next)]);
    await follow(fresh.link);
    const landed = await follow(old.link);
    assert.equal(fragment(landed).type, "email_change");
    const { user } = await arrive(auth, landed);
    assert.deepEqual([user.id, user.email], [id, next]);
  });

  test("carry the nonce of a new password", async () => {
    const { auth, email } = await person("careful");
    await good(auth.reauthenticate());
    const { code } = await mailTo(email);
    await good(auth.updateUser({ data: { theme: "dark" } }));
    await good(auth.updateUser({ password: "a different password", nonce: code }));
    await good(client().auth.signInWithPassword({ email, password: "a different password" }));
  });

  test("invite, by a link and by a code", async () => {
    const [one, two] = [anyAddress("guest"), anyAddress("guest")];
    const { user } = await good(admin.inviteUserByEmail(one, { data: { team: "blue" }, redirectTo: WELCOME }));
    assert.ok(user.invited_at);
    const landed = await follow((await mailTo(one)).link);
    assert.deepEqual([landed.pathname, fragment(landed).type], ["/welcome", "invite"]);
    const arrived = await arrive(client().auth, landed);
    assert.deepEqual([arrived.user.id, arrived.user.user_metadata.team], [user.id, "blue"]);
    await good(admin.inviteUserByEmail(two));
    const { code } = await mailTo(two);
    await good(client().auth.verifyOtp({ email: two, token: code, type: "invite" }));
    assert.deepEqual(await refusal(admin.inviteUserByEmail(one)), [422, "email_exists"]);
  });
});

describe("the operator of a project, while it runs,", () => {
  const file = (name) => readFileSync(`${world.certificates}/${name}`);
  const askedFor = async () => {
    const email = anyAddress("post");
    await good(client().auth.signInWithOtp({ email }));
    return email;
  };

  after(() => settings({ smtp, mailer_templates: {} }));

  test("says what mails say", async () => {
    const magic = { subject: "Come in, {{ .Email }}", content: "<p>Your code: {{ .Token }}</p><a href=\"{{ .ConfirmationURL }}\">in</a>" };
    settings({ mailer_templates: { magic_link: magic, confirmation: magic } });
    const shown = execFileSync(world.binary, ["project", "mail", "default", "magic_link", "--json"], { encoding: "utf8" });
    assert.match(JSON.parse(shown).subject, /^Come in, /);
    const email = await askedFor();
    const mail = await mailTo(email);
    assert.equal(mail.subject, `Come in, ${email}`);
    await good(client().auth.verifyOtp({ email, token: mail.code, type: "email" }));
  });

  test("takes another mail server, by STARTTLS", async () => {
    const other = await startMail({ key: file("mail.key"), cert: file("mail.pem") });
    settings({ smtp: { ...other.settings, tls: true } });
    const email = await askedFor();
    assert.equal((await other.letters.next(email)).secure, true);
    assert.equal(unread(email), 0);
    other.close();
  });

  test("is not listened to by one that nobody vouches for", async () => {
    const forged = await startMail({ key: file("saml.key"), cert: file("saml.pem") });
    settings({ smtp: { ...forged.settings, tls: true } });
    const email = await askedFor();
    assert.ok(await eventually(() => forged.errors.length), "it was called, and not believed");
    assert.equal(forged.letters.count(email), 0);
    forged.close();
  });
});

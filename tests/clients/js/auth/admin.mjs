// What the service key does: users, links, the audit log; and what the anonymous key may not.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  WELCOME, admin, anyAddress, anyPhone, arrive, ask, client, follow, fragment, good, password, person, refusal, service,
  unread,
} from "./world.mjs";

describe("the service key", { concurrency: true }, () => {
  test("makes, reads, changes, bans and removes users", async () => {
    const [email, phone] = [anyAddress("made"), anyPhone()];
    const made = await good(admin.createUser({ email, phone, password, email_confirm: true, app_metadata: { plan: "gold" } }));
    const { id } = made.user;
    assert.equal((await good(admin.getUserById(id))).user.phone, phone);
    const page = await good(admin.listUsers({ page: 1, perPage: 1 }));
    assert.deepEqual([page.users.length, page.nextPage, page.total > 1], [1, 2, true]);
    await good(admin.updateUserById(id, { app_metadata: { plan: "tin" }, phone_confirm: true }));
    const them = await good(client().auth.signInWithPassword({ phone, password }));
    assert.equal(them.user.app_metadata.plan, "tin");
    await good(admin.updateUserById(id, { ban_duration: "1h" }));
    assert.deepEqual(await refusal(client().auth.signInWithPassword({ email, password })), [400, "user_banned"]);
    assert.deepEqual(await refusal(admin.createUser({ email, password })), [422, "email_exists"]);
    assert.equal((await admin.deleteUser(id)).error, null);
    assert.deepEqual(await refusal(admin.getUserById(id)), [404, "user_not_found"]);
  });

  test("keeps the row of a user who is only hidden", async () => {
    const { id, email } = await person("hidden");
    assert.equal((await admin.deleteUser(id, true)).error, null);
    const { user } = await good(admin.getUserById(id));
    assert.ok(user.deleted_at);
    assert.notEqual(user.email, email);
    assert.deepEqual(await refusal(client().auth.signInWithPassword({ email, password })), [400, "invalid_credentials"]);
  });

  test("makes links of every kind, and mails none of them", async () => {
    const [fresh, guest, next] = ["fresh", "guest", "next"].map(anyAddress);
    const { auth, email, id } = await person("linked");
    const link = async (of) => (await good(admin.generateLink({ options: { redirectTo: WELCOME }, ...of }))).properties;
    const landed = async (made) => fragment(await follow(made.action_link)).type;

    assert.equal(await landed(await link({ type: "signup", email: fresh, password })), "signup");
    await good(client().auth.signInWithPassword({ email: fresh, password }));
    assert.equal(await landed(await link({ type: "invite", email: guest })), "invite");
    const magic = await link({ type: "magiclink", email });
    assert.deepEqual([magic.verification_type, magic.redirect_to], ["magiclink", WELCOME]);
    assert.equal((await arrive(client().auth, await follow(magic.action_link))).user.id, id);
    const { email_otp: token, hashed_token: token_hash } = await link({ type: "recovery", email });
    assert.equal((await good(client().auth.verifyOtp({ email, token, type: "recovery" }))).user.id, id);
    assert.deepEqual(await refusal(client().auth.verifyOtp({ token_hash, type: "recovery" })), [403, "otp_expired"]);

    const old = await link({ type: "email_change_current", email, newEmail: next });
    const moved = await link({ type: "email_change_new", email, newEmail: next });
    await follow(old.action_link);
    assert.equal((await good(auth.getUser())).user.email, email);
    await follow(moved.action_link);
    assert.equal((await good(auth.getUser())).user.email, next);
    assert.deepEqual([fresh, guest, email, next].map(unread), [0, 0, 0, 0]);
  });

  test("reads what was done, and by whom", async () => {
    const { email, id } = await person("watched");
    const page = await ask(`/admin/audit?query=${encodeURIComponent(`author:${email}`)}&per_page=1`, service);
    assert.equal(page.status, 200);
    const [{ payload }] = page.json;
    assert.deepEqual([payload.action, payload.actor_id], ["login", id]);
    assert.ok(Number(page.headers.get("x-total-count")) >= 1);
  });

  test("is not the anonymous key, nor a user's token", async () => {
    const { session } = await person("curious");
    for (const [method, path] of [["GET", "/admin/users"], ["POST", "/invite"], ["GET", "/admin/audit"],
      ["POST", "/admin/generate_link"], ["GET", "/admin/custom-providers"], ["GET", "/admin/sso/providers"]]) {
      const answer = await ask(path, { method, token: session.access_token, body: method === "POST" ? {} : undefined });
      assert.deepEqual([path, answer.status, answer.json.error_code], [path, 403, "not_admin"]);
    }
    assert.ok([401, 403].includes((await refusal(client().auth.admin.listUsers()))[0]));
  });
});

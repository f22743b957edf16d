// Everything that goes by SMS: codes to sign in and changes of number.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { admin, anyPhone, client, good, password, refusal, smsTo } from "./world.mjs";

describe("SMS", { concurrency: true }, () => {
  test("sign a new user in, once", async () => {
    const phone = anyPhone();
    const { auth } = client();
    const { messageId } = await good(auth.signInWithOtp({ phone }));
    assert.match(messageId, /^SM/);
    const { code, channel, text } = await smsTo(phone);
    assert.deepEqual([channel, text], ["sms", `Your code is ${code}`]);
    const { user } = await good(auth.verifyOtp({ phone, token: code, type: "sms" }));
    assert.deepEqual([user.phone, user.app_metadata.provider], [phone, "phone"]);
    assert.deepEqual(await refusal(client().auth.verifyOtp({ phone, token: code, type: "sms" })), [403, "otp_expired"]);
  });

  test("go by WhatsApp where the user wants it", async () => {
    const phone = anyPhone();
    const { auth } = client();
    await good(auth.signInWithOtp({ phone, options: { channel: "whatsapp" } }));
    const { code, channel } = await smsTo(phone);
    assert.equal(channel, "whatsapp");
    await good(auth.verifyOtp({ phone, token: code, type: "sms" }));
  });

  test("prove a new number of a user", async () => {
    const [old, phone] = [anyPhone(), anyPhone()];
    const { user: { id } } = await good(admin.createUser({ phone: old, password, phone_confirm: true }));
    const { auth } = client();
    await good(auth.signInWithPassword({ phone: old, password }));
    const { user } = await good(auth.updateUser({ phone }));
    assert.deepEqual([user.phone, user.new_phone], [old, phone]);
    await smsTo(phone);
    await good(auth.resend({ type: "phone_change", phone: old }));
    const { code } = await smsTo(phone);
    const proved = await good(auth.verifyOtp({ phone, token: code, type: "phone_change" }));
    assert.deepEqual([proved.user.id, proved.user.phone], [id, phone]);
    await good(client().auth.signInWithOtp({ phone }));
    const next = await smsTo(phone);
    assert.equal((await good(client().auth.verifyOtp({ phone, token: next.code, type: "sms" }))).user.id, id);
  });
});

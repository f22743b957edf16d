// Where the project's mails and SMS go to in these tests: an SMTP server, and one that takes SMS as Twilio does.
import http from "node:http";
import PostalMime from "postal-mime";
import { SMTPServer } from "smtp-server";

/** What arrived for each address, oldest first; `next` takes it out. */
class Letters {
  #boxes = new Map();
  #waiting = new Map();

  #queue(map, to) {
    if (!map.has(to)) map.set(to, []);
    return map.get(to);
  }

  put(to, letter) {
    const waiter = this.#queue(this.#waiting, to).shift();
    if (waiter) waiter(letter);
    else this.#queue(this.#boxes, to).push(letter);
  }

  /** The oldest unread letter, waited for at most `limitMs`. */
  next(to, limitMs = 10_000) {
    const letter = this.#queue(this.#boxes, to).shift();
    if (letter) return Promise.resolve(letter);
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`nothing came for ${to}`)), limitMs);
      this.#queue(this.#waiting, to).push((it) => {
        clearTimeout(late);
        resolve(it);
      });
    });
  }

  count(to) {
    return this.#queue(this.#boxes, to).length;
  }
}

const listening = (server) => new Promise((resolve) => {
  server.listen(0, "127.0.0.1", function started() {
    resolve((this.address ? this : server.server).address().port);
  });
});

/** An SMTP server: `{ settings, letters, errors, close }`; letters are `{ subject, from, html, text, link, code, secure }`. */
export async function startMail(extra = {}) {
  const letters = new Letters();
  const login = { username: "board", password: "a secret of the mail server" };
  const server = new SMTPServer({
    allowInsecureAuth: true,
    disabledCommands: extra.key ? [] : ["STARTTLS"],
    ...extra,
    onAuth({ username, password }, _, done) {
      const right = username === login.username && password === login.password;
      done(right ? null : new Error("wrong password"), { user: username });
    },
    onData(stream, session, done) {
      PostalMime.parse(new ReadableStream({
        async start(to) {
          for await (const part of stream) to.enqueue(part);
          to.close();
        },
      })).then(({ subject, from, html, text }) => {
        const link = text.match(/https?:\S+\/verify\?\S+/)?.[0];
        const code = html.match(/\b\d{6}\b/)?.[0];
        const mail = { subject, from: from.address, html, text, link, code, secure: session.secure };
        for (const { address } of session.envelope.rcptTo) letters.put(address, mail);
        done();
      }, done);
    },
  });
  const errors = []; // of clients that break off, as one does that does not trust the certificate
  server.on("error", (error) => errors.push(error));
  const port = await listening(server);
  const settings = { host: "127.0.0.1", port, from: "Board <board@example.com>", ...login };
  return { settings, letters, errors, close: () => server.close() };
}

/** Twilio's message API: `{ settings, letters, close }`; letters are `{ text, code, channel }`, addresses digits. */
export async function startSms() {
  const letters = new Letters();
  const [account, token] = ["AC0123456789", "a token of the SMS provider"];
  const server = http.createServer(async (request, answer) => {
    let body = "";
    for await (const part of request) body += part;
    const form = new URLSearchParams(body);
    const right = request.headers.authorization === `Basic ${Buffer.from(`${account}:${token}`).toString("base64")}`;
    const known = request.url === `/2010-04-01/Accounts/${account}/Messages.json`;
    answer.writeHead(right && known ? 201 : 401, { "content-type": "application/json" });
    if (!(right && known)) return answer.end(JSON.stringify({ code: 20003, message: "Authenticate" }));
    const text = form.get("Body");
    const [, channel, to] = form.get("To").match(/^(whatsapp:)?\+(\d+)$/);
    letters.put(to, { text, code: text.match(/\d{6}/)[0], channel: channel ? "whatsapp" : "sms" });
    return answer.end(JSON.stringify({ sid: `SM${Date.now()}`, status: "queued" }));
  });
  const port = await listening(server);
  const settings = {
    kind: "twilio", account_sid: account, auth_token: token, from: "+15005550006", url: `http://127.0.0.1:${port}`,
  };
  return { settings, letters, close: () => server.close() };
}

// A real Chromium with a virtual authenticator, over its DevTools protocol: pages in which supabase-js runs as it does on
// a site, and functions of the tests that run in them.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const script = new URL("../node_modules/@supabase/supabase-js/dist/umd/supabase.js", import.meta.url);

/** Serves an empty page that has loaded supabase-js; its origin is a secure one. */
export async function startSite() {
  const page = "<!doctype html><title>Board</title><script src=/supabase.js></script>";
  const server = http.createServer((request, answer) => {
    const wanted = { "/": ["text/html", page], "/supabase.js": ["text/javascript", readFileSync(script)] }[request.url];
    answer.writeHead(wanted ? 200 : 404, { "content-type": wanted?.[0] ?? "text/plain" });
    answer.end(wanted?.[1]);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { origin: `http://localhost:${server.address().port}`, close };
}

/** Starts Chromium; `{ open, close }`. */
export async function startBrowser(program) {
  const folder = mkdtempSync(join(tmpdir(), "madbase-chromium-"));
  const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--remote-debugging-port=0", `--user-data-dir=${folder}`, "about:blank"];
  const running = spawn(program, flags, { stdio: ["ignore", "ignore", "pipe"] });
  const ended = new Promise((resolve) => running.once("exit", resolve));
  const address = await new Promise((resolve, reject) => {
    const said = [];
    createInterface(running.stderr).on("line", (line) => {
      said.push(line);
      const found = line.match(/DevTools listening on (ws:\S+)/);
      if (found) resolve(found[1]);
    });
    running.once("error", reject);
    ended.then((code) => reject(new Error(`Chromium ended with ${code}: ${said.slice(-5).join("\n")}`)));
  });
  const send = await connect(address);
  return {
    open: (url, transport) => open(send, url, transport),
    async close() {
      await send("Browser.close");
      await ended;
      running.stderr.destroy(); // helpers of the browser may hold it for minutes
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** The protocol: numbered commands over one socket. */
async function connect(address) {
  const socket = new WebSocket(address);
  const waiting = new Map();
  await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: reject }));
  socket.onmessage = ({ data }) => {
    const { id, result, error } = JSON.parse(data);
    const waiter = waiting.get(id);
    if (!waiter) return; // an event
    waiting.delete(id);
    clearTimeout(waiter.late);
    if (error) waiter.reject(new Error(error.message));
    else waiter.resolve(result);
  };
  let last = 0;
  return (method, params = {}, sessionId = undefined) => new Promise((resolve, reject) => {
    last += 1;
    const late = setTimeout(() => reject(new Error(`${method} takes too long`)), 20_000);
    waiting.set(last, { resolve, reject, late });
    socket.send(JSON.stringify({ id: last, method, params, sessionId }));
  });
}

/** A page with an authenticator of its own, part of the machine ("internal") or plugged in ("usb"): `{ run, credentials }`. */
async function open(send, url, transport) {
  const { targetId } = await send("Target.createTarget", { url });
  const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
  const here = (method, params) => send(method, params, sessionId);
  await here("WebAuthn.enable");
  const options = {
    protocol: "ctap2", transport, hasResidentKey: true, hasUserVerification: true, isUserVerified: true,
    automaticPresenceSimulation: true,
  };
  const { authenticatorId } = await here("WebAuthn.addVirtualAuthenticator", { options });
  const run = async (work, ...values) => {
    const expression = `(${work})(...${JSON.stringify(values)})`;
    const answer = await here("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true, userGesture: true });
    const { exceptionDetails: thrown, result } = answer;
    if (thrown) throw new Error(thrown.exception?.description ?? thrown.text);
    return result.value;
  };
  while (!await run(() => "supabase" in window)) await new Promise((resolve) => setTimeout(resolve, 20));
  const credentials = async () => (await here("WebAuthn.getCredentials", { authenticatorId })).credentials;
  return { run, credentials };
}

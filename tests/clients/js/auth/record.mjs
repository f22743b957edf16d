// Notes every request to auth with who made it, and compares what was asked with ../../auth_rows.txt.
import { AsyncLocalStorage } from "node:async_hooks";
import { readFileSync } from "node:fs";

const asking = new AsyncLocalStorage();
const asked = [];

/** An object of a client whose methods tell `recorded` their names, those of the objects in it included. */
export function named(target, path) {
  return new Proxy(target, {
    get(_, key) {
      const value = Reflect.get(target, key);
      const name = `${path}.${String(key)}`;
      if (typeof value === "function") return (...args) => asking.run(name, () => value.apply(target, args));
      const inner = ["admin", "mfa", "oauth", "passkey", "customProviders", "webauthn"].includes(key);
      return inner ? named(value, name) : value;
    },
  });
}

/** `fetch` that notes what it asks, as done by the method that runs, else by `who`. */
export function recorded(who) {
  return async (url, options = {}) => {
    const by = asking.getStore() ?? who;
    const answer = await fetch(url, options);
    const location = answer.headers.get("location") ?? "";
    note({ by, method: options.method ?? "GET", url, body: options.body, status: answer.status, location });
    return answer;
  };
}

/** Notes one request: who, method, address, body, status, and where the answer leads to. */
export function note({ by, method, url, body, status, location = "" }) {
  const { pathname, searchParams } = new URL(url);
  const path = pathname.startsWith("/auth/v1") ? pathname.slice("/auth/v1".length) : `root:${pathname}`;
  const said = { ...Object.fromEntries(searchParams), ...fields(body) };
  asked.push({ by, method, path, said, status, refused: status >= 400 || /[?&#]error=/.test(location) });
}

function fields(body) {
  const text = body ? String(body) : "";
  return text.startsWith("{") ? JSON.parse(text) : Object.fromEntries(new URLSearchParams(text));
}

/** The rows of the list. */
function rows(text) {
  return text.split("\n").filter((it) => it && !it.startsWith("#")).map((line) => {
    const words = line.split(/ +/);
    const [method, path] = words;
    const [javascript] = words.slice(-2);
    const more = words.slice(2, -2);
    const conditions = more.filter((it) => it !== "!400").flatMap((it) => it.split("&"));
    const pattern = new RegExp(`^${path.replaceAll(".", "\\.").replaceAll("{id}", "[^/]+")}$`);
    return {
      line, method, pattern, conditions, by: javascript.split(","),
      status: more.includes("!400") ? 400 : undefined,
    };
  });
}

const asks = (row, it) => row.method === it.method && row.pattern.test(it.path);

function holds(condition, said) {
  const [name, value] = condition.replace("!", "").split("=");
  if (condition.startsWith("!")) return said[name] == null;
  return value === undefined ? said[name] != null : said[name] === value;
}

/** The list. */
export const contract = readFileSync(new URL("../../auth_rows.txt", import.meta.url), "utf8");

/** Rows that nobody has driven as they say, what was asked and is no row, and how many rows there are. */
export function compared(text = contract) {
  const list = rows(text);
  const missing = list.flatMap((row) => {
    const here = asked.filter((it) => asks(row, it) && row.conditions.every((one) => holds(one, it.said)));
    const good = here.filter((it) => (row.status ? it.status === row.status : !it.refused));
    const absent = row.by.filter((by) => !good.some((it) => it.by === by));
    return absent.length ? [`${row.line.replaceAll(/ +/g, " ")}: not by ${absent.join(", ")}`] : [];
  });
  const unlisted = asked.filter((it) => !list.some((row) => asks(row, it)));
  return {
    rows: list.length, requests: asked.length, missing,
    unlisted: [...new Set(unlisted.map((it) => `${it.method} ${it.path} by ${it.by}`))],
    methods: new Set(list.flatMap((row) => row.by)),
  };
}

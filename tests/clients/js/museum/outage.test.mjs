// PostgreSQL goes away: reads are repeated by the client until it is back, writes fail at once. Nothing runs beside it.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { afterEach, describe, test } from "node:test";
import { client, data, eventually, ids, recorder, sql, world } from "./world.mjs";

const CONF = `${world.dataDir}/conf/custom.conf`;
const written = readFileSync(CONF, "utf8");

/** Ends PostgreSQL without a word; what supervises it cannot start it again before `mend`. */
function crash() {
  const [pid] = readFileSync(`${world.dataDir}/postgres/postmaster.pid`, "utf8").split("\n");
  writeFileSync(CONF, "port = nonsense\n");
  process.kill(Number(pid), "SIGKILL");
}

const mend = () => writeFileSync(CONF, written);
const isUp = async () => (await client({ retry: false }).from("halls").select("id").limit(1)).status === 200;
/** Without PostgreSQL a read waits for its return; who waits this long waits for that. */
const isAway = async () => {
  const hurried = (url, init) => fetch(url, { ...init, signal: AbortSignal.timeout(2000) });
  return (await client({ retry: false, fetch: hurried }).from("halls").select("id").limit(1)).status !== 200;
};

/** The error says, in PostgREST's words, that the database is away. */
function checkAway(error) {
  assert.match(error.code, /^PGRST00[0-3]$/);
  assert.deepEqual(Object.keys(error).sort(), ["code", "details", "hint", "message"]);
}

describe("an outage", () => {
  afterEach(async () => {
    mend();
    assert.ok(await eventually(isUp, 30000), "it is back");
  });

  test("is bridged by the client for reads", { timeout: 60000 }, async () => {
    const kept = recorder();
    assert.ok(await isUp());
    crash();
    assert.ok(await eventually(isAway), "it is away");
    const read = client({ fetch: kept.fetch }).from("halls").select("id").eq("id", 1).then((it) => it);
    await eventually(() => kept.calls[0]?.answer);
    mend();

    assert.deepEqual(ids(await data(read)), [1], "after some attempts it is answered");
    assert.ok(kept.calls.length > 1);
    assert.deepEqual(kept.calls.map((it) => it.headers.get("x-retry-count")), [null, "1", "2", "3"].slice(0, kept.calls.length));
    for (const { answer } of kept.calls.slice(0, -1)) {
      assert.equal(answer.status, 503);
      assert.match(answer.headers.get("retry-after"), /^\d$/);
    }
  });

  test("is told at once to writers, and to readers who want that", { timeout: 60000 }, async () => {
    const kept = recorder();
    const mine = client({ fetch: kept.fetch });
    crash();
    assert.ok(await eventually(isAway), "it is away");
    const answers = await Promise.all([
      mine.from("halls").update({ name: "x" }).eq("id", 99),
      mine.rpc("add_up", { a: 1 }),
      mine.from("halls").select("id").retry(false),
    ]);
    for (const answer of answers) {
      assert.equal(answer.status, 503);
      checkAway(answer.error);
    }
    assert.deepEqual(kept.calls.map((it) => it.headers.get("x-retry-count")), [null, null, null]);

    mend();
    assert.ok(await eventually(isUp, 30000), "it is back");
    await data(mine.from("halls").update({ name: "Museum" }).eq("id", 1), 204);
    assert.equal(sql("select name from halls where id = 1"), "Museum");
  });
});

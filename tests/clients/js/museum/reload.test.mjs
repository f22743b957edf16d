// What changes while the server runs: tables after DDL, and the settings of the login role. Nothing else runs beside it.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { client, data, db, eventually, refused, sql } from "./world.mjs";

/** Whether the answer has this status, within ten seconds. */
const becomes = (ask, status) => eventually(async () => (await ask()).status === status);

describe("reload", () => {
  after(() => {
    sql("drop table if exists late");
    for (const name of ["db_plan_enabled", "db_aggregates_enabled"]) sql(`alter role authenticator set pgrst.${name} to 'true'`);
    sql("alter role authenticator set pgrst.db_tx_end to 'commit-allow-override'");
    sql("alter role authenticator reset pgrst.db_max_rows");
    sql("notify pgrst, 'reload config'");
  });

  test("a new table, column, key and function are known after NOTIFY", async () => {
    await refused(db.from("late").select(), 404);
    sql("create table late (id int primary key, hall_id int references halls); insert into late values (1, 2); notify pgrst, 'reload schema'");
    assert.ok(await becomes(() => db.from("late").select(), 200));
    assert.ok(await eventually(async () => (await db.from("late").select("id, halls(name)")).data?.[0].halls.name === "East wing"));

    sql("alter table late add column note text default 'new'; notify pgrst, 'reload schema'");
    assert.ok(await becomes(() => db.from("late").update({ note: "x" }).eq("id", 1).select(), 200));

    sql("create function late_answer(late) returns int language sql immutable as 'select 42'; notify pgrst, 'reload schema'");
    assert.ok(await eventually(async () => (await db.from("late").select("late_answer")).data?.[0].late_answer === 42));

    sql("drop function late_answer(late); drop table late; notify pgrst, 'reload schema'");
    assert.ok(await becomes(() => db.from("late").select(), 404));
  });

  test("plans, aggregates and rollback follow the role's settings", async () => {
    const plan = () => db.from("halls").select("id").explain();
    const sum = () => db.from("paintings").select("price.sum()");
    const forget = () => db.from("stock").insert({ code: "x", place: "forgotten" }).rollback();
    const set = (value, ending) => sql(`
      alter role authenticator set pgrst.db_plan_enabled to '${value}';
      alter role authenticator set pgrst.db_aggregates_enabled to '${value}';
      alter role authenticator set pgrst.db_tx_end to '${ending}';
      notify pgrst, 'reload config'`);
    assert.deepEqual([(await plan()).status, (await sum()).status], [200, 200]);

    set(false, "commit");
    assert.ok(await becomes(sum, 400));
    const aggregates = await refused(sum(), 400);
    assert.deepEqual([aggregates.code, aggregates.message], ["PGRST123", "Use of aggregate functions is not allowed"]);
    assert.equal((await refused(plan(), 406)).code, "PGRST107");
    await data(forget(), 201);
    assert.equal(sql("select count(*) from stock where place = 'forgotten'"), "1", "the preference means nothing");

    set(true, "commit-allow-override");
    assert.ok(await becomes(sum, 200));
    assert.equal((await plan()).status, 200);
    await data(db.from("stock").delete().eq("place", "forgotten").rollback(), 204);
    assert.equal(sql("select count(*) from stock where place = 'forgotten'"), "1");
    await data(db.from("stock").delete().eq("place", "forgotten"), 204);
  });

  test("the number of rows follows too, without a new client", async () => {
    sql("alter role authenticator set pgrst.db_max_rows to '2'; notify pgrst, 'reload config'");
    const mine = client();
    assert.ok(await eventually(async () => (await mine.from("paintings").select()).data?.length === 2));
    const page = await mine.from("paintings").select("id", { count: "exact" }).order("id");
    assert.deepEqual([page.status, page.count, page.data.length], [206, 6, 2]);
    sql("alter role authenticator reset pgrst.db_max_rows; notify pgrst, 'reload config'");
    assert.ok(await eventually(async () => (await mine.from("paintings").select()).data?.length === 6));
  });
});

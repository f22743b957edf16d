// Reading and writing rows: filters, embeds, pages, counts, inserts, upserts, functions and views.
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import {
  join, organisationId, person, seededComment, seededLabels, seededTask, seededTasks,
} from "../world.mjs";

let ada;
let db;
const BOARD = 2;
const ROWS = seededTasks(BOARD);
const ids = (rows) => rows.map((it) => it.id);

before(async () => {
  ada = await person("ada");
  db = ada.client;
  join(ada, 1, "viewer"); // a viewer reads the seed and cannot change it
});

/** The task ids that the server and the model find for one filter; both must agree and be neither none nor all. */
const FILTERS = {
  "eq on text": [(it) => it.eq("title", ROWS[4].title), (row) => row.title === ROWS[4].title],
  "eq on an enum": [(it) => it.eq("status", "doing"), (row) => row.status === "doing"],
  neq: [(it) => it.neq("status", "done"), (row) => row.status !== "done"],
  "gt and lte": [(it) => it.gt("priority", 2).lte("priority", 4), (row) => row.priority > 2 && row.priority <= 4],
  "gte on a date": [(it) => it.gte("due_on", "2030-06-01"), (row) => row.due_on !== null && row.due_on >= "2030-06-01"],
  "lt": [(it) => it.lt("position", 10), (row) => row.position < 10],
  in: [(it) => it.in("id", [601, 603, 999999]), (row) => [601, 603].includes(row.id)],
  "in with text that needs quotes": [
    (it) => it.in("title", [ROWS[0].title, "a,b", 'say "hi"', "(x)"]), (row) => row.id === ROWS[0].id],
  like: [(it) => it.like("title", "Ship%"), (row) => row.title.startsWith("Ship")],
  ilike: [(it) => it.ilike("title", "%PISTON%"), (row) => row.title.includes("piston")],
  "is null": [(it) => it.is("due_on", null), (row) => row.due_on === null],
  "not is null": [(it) => it.not("due_on", "is", null), (row) => row.due_on !== null],
  "not in": [(it) => it.not("priority", "in", "(1,2,3)"), (row) => row.priority > 3],
  or: [
    (it) => it.or("priority.eq.5,and(status.eq.todo,due_on.is.null)"),
    (row) => row.priority === 5 || (row.status === "todo" && row.due_on === null)],
  "not in an or": [(it) => it.or("title.not.ilike.*the*,priority.eq.1"), (row) => row.priority === 1],
  match: [(it) => it.match({ status: "todo", priority: 1 }), (row) => row.status === "todo" && row.priority === 1],
  "contains on an array": [(it) => it.contains("tags", ["urgent"]), (row) => row.tags.includes("urgent")],
  "containedBy on an array": [(it) => it.containedBy("tags", ["customer"]), (row) => !row.tags.includes("urgent")],
  "overlaps on an array": [(it) => it.overlaps("tags", ["urgent", "nothing"]), (row) => row.tags.includes("urgent")],
  "contains on jsonb": [
    (it) => it.contains("details", { source: "web" }), (row) => row.details.source === "web"],
  "a path into jsonb": [
    (it) => it.eq("details->estimate->>hours", "7"), (row) => row.details.estimate.hours === 7],
  "overlaps on a range": [
    (it) => it.overlaps("planned", "[2030-09-10,2030-09-12)"),
    (row) => { const [from, to] = row.planned.slice(1, -1).split(","); return from < "2030-09-12" && to > "2030-09-10"; }],
  "rangeLt": [
    (it) => it.rangeLt("planned", "[2030-09-01,2030-09-02)"), (row) => row.planned.slice(12, 22) <= "2030-09-01"],
  "textSearch on a tsvector": [
    (it) => it.textSearch("search", "repairs & boilers", { config: "english" }),
    (row) => row.title.startsWith("Repair the boiler")],
  "textSearch as on the web": [
    (it) => it.textSearch("search", "ticket -piston", { type: "websearch", config: "english" }),
    (row) => row.description !== "" && !row.title.includes("piston")],
  filter: [(it) => it.filter("priority", "in", "(1,5)"), (row) => [1, 5].includes(row.priority)],
};

describe("filters", { concurrency: true }, () => {
  for (const [name, [narrow, holds]] of Object.entries(FILTERS)) {
    test(name, async () => {
      const { data, error, status } = await narrow(db.from("tasks").select("id").eq("board_id", BOARD)).order("id");
      const expected = ids(ROWS.filter(holds));
      assert.ok(expected.length > 0 && expected.length < ROWS.length, "the case tells something");
      assert.equal(error, null);
      assert.equal(status, 200);
      assert.deepEqual(ids(data), expected);
    });
  }

  test("a value is a value, whatever it looks like", async () => {
    const nasty = ["'; drop table tasks; --", "null", "eq.1", "a,b", "(a)", '"', "\\", "ü€😀", "%", "*"];
    for (const text of nasty) {
      const { data, error } = await db.from("tasks").select("id").eq("title", text);
      assert.equal(error, null, text);
      assert.deepEqual(data, [], text);
    }
  });
});

describe("pages", { concurrency: true }, () => {
  test("order by several columns, nulls last", async () => {
    const { data } = await db.from("tasks").select("id, due_on, priority").eq("board_id", BOARD)
      .order("due_on", { ascending: false, nullsFirst: false }).order("priority").order("id").limit(600);
    const expected = [...ROWS].sort((a, b) => {
      if (a.due_on !== b.due_on) return a.due_on === null ? 1 : b.due_on === null ? -1 : a.due_on < b.due_on ? 1 : -1;
      return a.priority - b.priority || a.id - b.id;
    });
    assert.deepEqual(ids(data), ids(expected));
  });

  test("limit", async () => {
    const { data } = await db.from("tasks").select("id").eq("board_id", BOARD).order("id").limit(3);
    assert.deepEqual(ids(data), [601, 602, 603]);
  });

  test("range with an exact count", async () => {
    const { data, count, status } = await db.from("tasks").select("id", { count: "exact" }).eq("board_id", BOARD)
      .order("id").range(100, 199);
    assert.equal(status, 206);
    assert.equal(count, 600);
    assert.deepEqual(ids(data), ids(ROWS.slice(100, 200)));
  });

  test("count with head sends no rows", async () => {
    const { data, count, error } = await db.from("tasks").select("*", { count: "exact", head: true }).eq("status", "todo");
    assert.equal(error, null);
    assert.equal(data, null);
    assert.equal(count, 1000);
  });

  test("a page behind the end is refused", async () => {
    const { error, status } = await db.from("tasks").select("id", { count: "exact" }).eq("board_id", BOARD).range(700, 800);
    assert.equal(status, 416);
    assert.equal(error.code, "PGRST103");
    assert.equal(error.details, "An offset of 700 was requested, but there are only 600 rows.");
  });

  test("one answer holds at most 1,000 rows", async () => {
    const { data } = await db.from("tasks").select("id").order("id");
    assert.deepEqual(ids(data), Array.from({ length: 1000 }, (_, it) => it + 1));
  });
});

describe("shapes", { concurrency: true }, () => {
  test("a whole row, every type", async () => {
    const { data } = await db.from("tasks").select("*").eq("id", 660).single();
    const { created_at, updated_at, search, ...rest } = data;
    assert.deepEqual(rest, { ...seededTask(660), assignee_id: null, created_by: null });
    assert.match(created_at, /^\d{4}-\d\d-\d\dT.*\+00:00$/);
    assert.equal(updated_at, created_at);
    assert.match(search, /'boiler'/);
  });

  test("aliases, casts and paths", async () => {
    const { data } = await db.from("tasks").select("name:title, number:id::text, hours:details->estimate->hours, details->>source")
      .eq("id", 660).single();
    const task = seededTask(660);
    assert.deepEqual(data, { name: task.title, number: "660", hours: task.details.estimate.hours, source: task.details.source });
  });

  test("single refuses none and many, maybeSingle only many", async () => {
    const one = (id) => db.from("tasks").select("id").in("id", id);
    assert.deepEqual((await one([7]).single()).data, { id: 7 });
    for (const [id, rows] of [[[], 0], [[7, 8], 2]]) {
      const { data, error, status } = await one(id).single();
      assert.equal(data, null);
      assert.equal(status, 406);
      assert.equal(error.code, "PGRST116");
      assert.equal(error.message, "Cannot coerce the result to a single JSON object");
      assert.equal(error.details, `The result contains ${rows} rows`);
    }
    const none = await one([999999]).maybeSingle();
    assert.deepEqual([none.data, none.error], [null, null]);
    assert.equal((await one([7, 8]).maybeSingle()).error.code, "PGRST116");
  });

  test("csv", async () => {
    const { data, error } = await db.from("tasks").select("id,title,due_on").in("id", [6, 7]).order("id").csv();
    assert.equal(error, null);
    const line = (id) => { const it = seededTask(id); return `${it.id},"${it.title}",${it.due_on ?? ""}`; };
    assert.equal(data, `id,title,due_on\n${line(6)}\n${line(7)}`);
  });
});

describe("embeds", { concurrency: true }, () => {
  test("three levels deep: organisation, boards, tasks, comments", async () => {
    const { data, error } = await db.from("organisations")
      .select("name, boards(id, name, tasks(id, title, comments(body)))")
      .eq("id", organisationId(1))
      .in("boards.id", [1, 3])
      .lte("boards.tasks.position", 3)
      .order("id", { referencedTable: "boards" })
      .order("position", { referencedTable: "boards.tasks", ascending: false });
    assert.equal(error, null);
    const board = (id, name) => ({
      id,
      name,
      tasks: [3, 2, 1].map((position) => (id - 1) * 600 + position).map((task) => ({
        id: task,
        title: seededTask(task).title,
        comments: seededComment(task) ? [{ body: seededComment(task) }] : [],
      })),
    });
    assert.deepEqual(data, [{ name: "Analytical Engines", boards: [board(1, "Backlog"), board(3, "Engine room")] }]);
  });

  test("limit on an embed is per parent", async () => {
    const { data } = await db.from("boards").select("id, tasks(id)").order("id")
      .order("position", { referencedTable: "tasks" }).limit(2, { referencedTable: "tasks" });
    assert.deepEqual(data, [1, 2, 3, 4, 5].map((id) => (
      { id, tasks: [{ id: (id - 1) * 600 + 1 }, { id: (id - 1) * 600 + 2 }] })));
  });

  test("to-one, twice, and null when there is none", async () => {
    const { data } = await db.from("tasks")
      .select("id, board:boards(name, organisation:organisations(name)), assignee:profiles!tasks_assignee_id_fkey(name)")
      .eq("id", 601).single();
    assert.deepEqual(data, {
      id: 601, board: { name: "Website", organisation: { name: "Analytical Engines" } }, assignee: null,
    });
  });

  test("many-to-many, from both sides", async () => {
    const { data } = await db.from("tasks").select("id, labels(name)").gte("id", 601).lte("id", 620).order("id");
    assert.equal(data.length, 20);
    for (const task of data) {
      assert.deepEqual(task.labels.map((it) => it.name).sort(), seededLabels(task.id), `task ${task.id}`);
    }
    const { data: label } = await db.from("labels").select("name, tasks(id)").eq("name", "idea")
      .gte("tasks.id", 601).lte("tasks.id", 620).order("id", { referencedTable: "tasks" }).single();
    assert.deepEqual(ids(label.tasks), ids(data.filter((it) => seededLabels(it.id).includes("idea"))));
  });

  test("an inner embed keeps only the parents that match", async () => {
    const { data, count } = await db.from("tasks").select("id, boards!inner(name)", { count: "exact" })
      .eq("boards.name", "Hiring").order("id").limit(2);
    assert.equal(count, 600);
    assert.deepEqual(data, [1801, 1802].map((id) => ({ id, boards: { name: "Hiring" } })));
  });

  test("a relation that does not exist is named", async () => {
    const { error, status } = await db.from("boards").select("id, comments(id)");
    assert.equal(status, 400);
    assert.equal(error.code, "PGRST200");
    assert.equal(error.message, "Could not find a relationship between 'boards' and 'comments' in the schema cache");
  });
});

describe("functions and views", { concurrency: true }, () => {
  test("a set-returning function is filtered and ordered like a table", async () => {
    const { data, error } = await db.rpc("board_summary", { organisation: organisationId(1) })
      .eq("status", "todo").order("board_id").limit(2);
    assert.equal(error, null);
    assert.deepEqual(data, [
      { board_id: 1, board: "Backlog", status: "todo", tasks: 200, overdue: 0 },
      { board_id: 2, board: "Website", status: "todo", tasks: 200, overdue: 0 },
    ]);
  });

  test("the same by GET, with the argument left out and a count", async () => {
    const { data, count } = await db.rpc("board_summary", {}, { get: true, count: "exact" }).order("board_id").order("status");
    assert.equal(count, 15);
    assert.deepEqual(data.slice(0, 3).map((it) => it.status), ["todo", "doing", "done"]);
  });

  test("a view shows what its reader may see", async () => {
    const { data, count } = await db.from("open_tasks").select("id, board, title, status", { count: "exact" })
      .eq("board_id", BOARD).order("id").limit(1);
    assert.equal(count, ROWS.filter((it) => it.status !== "done").length);
    const first = ROWS.find((it) => it.status !== "done");
    assert.deepEqual(data, [{ id: first.id, board: "Website", title: first.title, status: first.status }]);
  });

  test("an unknown function and a wrong argument are 404", async () => {
    for (const call of [db.rpc("no_such_function"), db.rpc("board_summary", { nobody: 1 })]) {
      const { error, status } = await call;
      assert.equal(status, 404);
      assert.equal(error.code, "PGRST202");
    }
  });

  test("what a function raises reaches the caller", async () => {
    const { error, status } = await db.rpc("move_task", { task_id: 999999, board_id: 1, position: 1 });
    assert.equal(status, 404);
    assert.deepEqual({ code: error.code, message: error.message, hint: error.hint, details: error.details }, {
      code: "PT404", message: "there is no task 999999 that you may move", hint: "Ask a member of its organisation.", details: null,
    });
  });
});

describe("writing", { concurrency: true }, () => {
  /** A new organisation of Ada's with one board: `{ organisation, board }` ids. */
  async function ownBoard(name) {
    const { data: organisation, error } = await db.from("organisations").insert({ name }).select().single();
    assert.equal(error, null);
    assert.equal(organisation.created_by, ada.id);
    const { data: board } = await db.from("boards").insert({ organisation_id: organisation.id, name: "Board" }).select("id").single();
    return { organisation: organisation.id, board: board.id };
  }

  test("insert, read back, change, delete", async () => {
    const { board } = await ownBoard("crud");
    const silent = await db.from("tasks").insert({ board_id: board, title: "silent" });
    assert.deepEqual([silent.status, silent.data, silent.error], [201, null, null]);

    const tricky = "O'Hara said \"ü€😀\" \\ ; drop table tasks; -- \n\t%_*";
    const { data: task, status } = await db.from("tasks")
      .insert({ board_id: board, title: tricky, tags: ["a,b", 'c"d', "{}"], details: { deep: [1, { two: null }] }, due_on: "2031-02-03" })
      .select("*, board:boards(name)").single();
    assert.equal(status, 201);
    assert.equal(task.title, tricky);
    assert.deepEqual(task.tags, ["a,b", 'c"d', "{}"]);
    assert.deepEqual(task.details, { deep: [1, { two: null }] });
    assert.deepEqual([task.status, task.priority, task.created_by], ["todo", 3, ada.id]);
    assert.deepEqual(task.board, { name: "Board" });

    const changed = await db.from("tasks").update({ status: "done", assignee_id: ada.id }).eq("id", task.id)
      .select("id, status, profiles(name)");
    assert.equal(changed.status, 200);
    assert.deepEqual(changed.data, [{ id: task.id, status: "done", profiles: { name: "ada" } }]);
    const nothing = await db.from("tasks").update({ status: "done" }).eq("id", 999999).select();
    assert.deepEqual([nothing.status, nothing.data], [200, []]);
    const quiet = await db.from("tasks").update({ priority: 1 }).eq("id", task.id);
    assert.deepEqual([quiet.status, quiet.data], [204, null]);

    const gone = await db.from("tasks").delete({ count: "exact" }).eq("board_id", board).eq("title", "silent");
    assert.deepEqual([gone.status, gone.count], [204, 1]);
    const { data: left } = await db.from("tasks").select("title, status, priority").eq("board_id", board);
    assert.deepEqual(left, [{ title: tricky, status: "done", priority: 1 }]);
    const returned = await db.from("tasks").delete().eq("id", task.id).select("id").single();
    assert.deepEqual(returned.data, { id: task.id });
  });

  test("bulk insert is all or nothing", async () => {
    const { board } = await ownBoard("bulk");
    const rows = Array.from({ length: 500 }, (_, it) => ({ board_id: board, title: `bulk ${it}`, position: it }));
    const { data, error } = await db.from("tasks").insert(rows).select("title, position");
    assert.equal(error, null);
    assert.deepEqual(data.sort((a, b) => a.position - b.position).map((it) => it.title), rows.map((it) => it.title));

    const { error: refused, status } = await db.from("tasks").insert([
      { board_id: board, title: "good", priority: 1 }, { board_id: board, title: "bad", priority: 9 },
    ]);
    assert.equal(status, 400);
    assert.equal(refused.code, "23514");
    const { count } = await db.from("tasks").select("*", { count: "exact", head: true }).eq("board_id", board);
    assert.equal(count, 500);
  });

  test("rows with different keys take their defaults", async () => {
    const { board } = await ownBoard("ragged");
    const { data, error } = await db.from("tasks")
      .insert([{ board_id: board, title: "a", priority: 5 }, { board_id: board, title: "b", status: "doing" }], { defaultToNull: false })
      .select("title, priority, status").order("title");
    assert.equal(error, null);
    assert.deepEqual(data, [
      { title: "a", priority: 5, status: "todo" }, { title: "b", priority: 3, status: "doing" },
    ]);
  });

  test("upsert inserts, updates, and ignores on demand", async () => {
    const { organisation } = await ownBoard("upsert");
    const upsert = (rows, options) => db.from("labels").upsert(rows, { onConflict: "organisation_id,name", ...options }).select("id, name, color");
    const label = (name, color) => ({ organisation_id: organisation, name, color });
    const first = await upsert([label("bug", "#111111")]);
    assert.deepEqual([first.status, first.data.length], [201, 1]);
    const second = await upsert([label("bug", "#222222"), label("idea", "#333333")]);
    assert.equal(second.error, null);
    assert.equal(second.data.find((it) => it.name === "bug").id, first.data[0].id);
    assert.equal(second.data.find((it) => it.name === "bug").color, "#222222");
    const third = await upsert([label("bug", "#444444")], { ignoreDuplicates: true });
    assert.deepEqual(third.data, []);
    const { data } = await db.from("labels").select("name, color").eq("organisation_id", organisation).order("name");
    assert.deepEqual(data, [{ name: "bug", color: "#222222" }, { name: "idea", color: "#333333" }]);

    const byKey = await db.from("labels").upsert({ id: first.data[0].id, ...label("defect", "#555555") }).select("id, name").single();
    assert.deepEqual(byKey.data, { id: first.data[0].id, name: "defect" });
  });

  test("a function that writes returns the row", async () => {
    const { board } = await ownBoard("move");
    const { data: tasks } = await db.from("tasks")
      .insert([1, 2, 3].map((position) => ({ board_id: board, title: `t${position}`, position }))).select("id, title");
    const id = (title) => tasks.find((it) => it.title === title).id;
    const { data, error } = await db.rpc("move_task", { task_id: id("t3"), board_id: board, position: 1 });
    assert.equal(error, null);
    assert.deepEqual([data.id, data.position], [id("t3"), 1]);
    const { data: after } = await db.from("tasks").select("title").eq("board_id", board).order("position");
    assert.deepEqual(after.map((it) => it.title), ["t3", "t1", "t2"]);
    const byGet = await db.rpc("move_task", { task_id: id("t3"), board_id: board, position: 2 }, { get: true });
    assert.equal(byGet.status, 405, "GET runs in a read-only transaction");
    assert.equal(byGet.error.code, "25006");
  });

  test("refused by the database: unique, foreign key, check, type", async () => {
    const { organisation, board } = await ownBoard("refused");
    await db.from("labels").insert({ organisation_id: organisation, name: "bug" });
    const cases = [
      [db.from("labels").insert({ organisation_id: organisation, name: "bug" }), 409, "23505"],
      [db.from("tasks").insert({ board_id: board, title: "x", assignee_id: organisation }), 409, "23503"],
      [db.from("tasks").insert({ board_id: board, title: "x", priority: 6 }), 400, "23514"],
      [db.from("tasks").insert({ board_id: board, title: null }), 400, "23502"],
      [db.from("tasks").insert({ board_id: board, title: "x", status: "someday" }), 400, "22P02"],
      [db.from("tasks").select("id").eq("id", "abc"), 400, "22P02"],
    ];
    for (const [call, expectedStatus, expectedCode] of cases) {
      const { error, status } = await call;
      assert.deepEqual([status, error.code], [expectedStatus, expectedCode], error.message);
      assert.deepEqual(Object.keys(error).filter((it) => it !== "name").sort(), ["code", "details", "hint", "message"]);
    }
    const { error } = await cases[0][0];
    assert.equal(error.message, 'duplicate key value violates unique constraint "labels_organisation_id_name_key"');
  });
});

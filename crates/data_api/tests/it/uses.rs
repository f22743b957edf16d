//! Settings of a request that no code in the database reads are not made; any code that might read them brings them.

use std::collections::BTreeSet;
use std::time::Duration;

use data_api::{Config, DataApi};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::support::Api;

const LIMIT: Duration = Duration::from_secs(20);

/// Code that reads or sets settings of a request: what makes it, the request, its answer, and what removes it.
const CODE: [(&str, &str, &str, &str); 9] = [
    (
        "create function public.seen() returns text language sql stable as $$ select current_setting('request.path', true) $$",
        "GET /rpc/seen",
        "200\ncontent-range: 0-0/*\n\n\"/rpc/seen\"",
        "drop function public.seen()",
    ),
    (
        "create function public.atom() returns text stable language sql begin atomic select current_setting('request.method', true); end",
        "GET /rpc/atom",
        "200\ncontent-range: 0-0/*\n\n\"GET\"",
        "drop function public.atom()",
    ),
    (
        "create function public.named(name text) returns text language plpgsql stable as $$ begin return current_setting(name, true); end $$",
        "GET /rpc/named?name=request.cookies",
        "200\ncontent-range: 0-0/*\n\n\"{}\"",
        "drop function public.named(text)",
    ),
    (
        "create view public.seen as select current_setting('request.headers', true)::json->>'x-a' as a",
        "GET /seen\nx-a: b",
        "200\ncontent-range: 0-0/*\n\n[{\"a\":\"b\"}]",
        "drop view public.seen",
    ),
    (
        "create policy seen on public.kept for select using (note = current_setting('request.headers', true)::json->>'x-a')",
        "GET /kept?select=note\nx-a: one",
        "200\ncontent-range: 0-0/*\n\n[{\"note\":\"one\"}]",
        "drop policy seen on public.kept",
    ),
    (
        "alter table public.kept alter note set default current_setting('request.method', true)",
        "POST /kept?select=note\nprefer: return=representation, missing=default, tx=rollback",
        "201\ncontent-range: */*\npreference-applied: missing=default, return=representation, tx=rollback\n\n[{\"note\":\"POST\"}]",
        "alter table public.kept alter note drop default",
    ),
    (
        "alter table public.kept add constraint seen check (coalesce(current_setting('request.path', true), '') <> '/kept') not valid",
        "POST /kept?select=note\nprefer: tx=rollback",
        "400",
        "alter table public.kept drop constraint seen",
    ),
    (
        "create function public.teapot() returns boolean language plpgsql as $$ begin perform set_config('response.status', '418', true); return true; end $$; \
         create view public.teapot as select public.teapot() as hot",
        "GET /teapot",
        "418\ncontent-range: 0-0/*\n\n[{\"hot\":true}]",
        "drop view public.teapot; drop function public.teapot()",
    ),
    (
        "create function public.pieces() returns boolean language plpgsql as $$ begin perform set_config('resp' || 'onse.status', '418', true); return true; end $$; \
         create view public.pieces as select public.pieces() as hot",
        "GET /pieces",
        "418\ncontent-range: 0-0/*\n\n[{\"hot\":true}]",
        "drop view public.pieces; drop function public.pieces()",
    ),
];

/// Reads a setting by a name that nobody finds in its source.
const HIDDEN: &str = "create function public.hidden() returns text language plpgsql stable as $$ declare it text; \
     begin execute 'select current_' || 'setting(''req' || 'uest.path'', true)' into it; return it; end $$";

async fn until(api: &Api, role: &str, head: &str, expected: &str) {
    until_one_of(api, role, head, &[expected]).await;
}

async fn until_one_of(api: &Api, role: &str, head: &str, expected: &[&str]) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let body = if head.starts_with("POST") { "{\"id\":9}" } else { "" };
        let answer = api.ask(api.test.caller(role), head, body).await;
        if expected.iter().any(|it| answer == *it || (!it.contains('\n') && answer.starts_with(it))) {
            return;
        }
        assert!(Instant::now() < deadline, "{head}: {answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn settings_of_a_request_are_made_as_soon_as_some_code_may_read_them() {
    testkit::run(async {
        let api = Api::empty("uses").await;
        let owner = api.test.owner().await;
        let tables = "create table public.kept (id int primary key, note text); insert into kept values (1, 'one'), (2, 'two'); \
             alter table public.kept enable row level security; grant all on public.kept to anon, service_role";
        owner.batch_execute(tables).await.unwrap();
        owner.batch_execute(HIDDEN).await.unwrap();
        until(&api, "anon", "GET /rpc/hidden", "200\ncontent-range: 0-0/*\n\nnull").await;
        for (make, head, expected, remove) in CODE {
            owner.batch_execute(make).await.unwrap();
            let role = if make.contains("policy") { "anon" } else { "service_role" };
            until(&api, role, head, expected).await;
            owner.batch_execute(remove).await.unwrap();
        }
        owner.batch_execute("create function public.other() returns text language sql as $$ select current_setting('request.jwt.claims') $$").await.unwrap();
        // An empty text where the connection had the setting before, nothing where it had not.
        let unset = ["200\ncontent-range: 0-0/*\n\n\"\"", "200\ncontent-range: 0-0/*\n\nnull"];
        until_one_of(&api, "anon", "GET /rpc/hidden", &unset).await;
    });
}

#[test]
fn where_nobody_tells_of_changes_all_settings_are_made() {
    testkit::run(async {
        let api = Api::empty("untold").await;
        let owner = api.test.admin().await;
        owner.batch_execute("drop event trigger pgrst_ddl_watch").await.unwrap();
        owner.batch_execute(HIDDEN).await.unwrap();
        owner.batch_execute("grant execute on function public.hidden() to anon; notify pgrst").await.unwrap();
        until(&api, "anon", "GET /rpc/hidden", "200\ncontent-range: 0-0/*\n\n\"/rpc/hidden\"").await;
    });
}

/// How many transactions 64 reads at once take.
async fn transactions(api: &Api) -> usize {
    let reads = (0..64).map(|_| api.ask(api.test.caller("anon"), "GET /clock", ""));
    join_all(reads).await.into_iter().collect::<BTreeSet<_>>().len()
}

#[test]
fn reads_of_one_caller_share_transactions_unless_some_code_changes_settings() {
    testkit::run(async {
        let api = Api::empty("sociable").await;
        let owner = api.test.owner().await;
        let clock = "create view public.clock as select transaction_timestamp() as began; grant select on public.clock to anon";
        owner.batch_execute(clock).await.unwrap();
        until(&api, "anon", "GET /clock", "200").await;
        let setters = [
            "create function public.setter() returns void language sql as $$ select set_config('a.b', 'c', true) $$",
            "create function public.setter() returns void language plpgsql as $$ begin set local a.b = 'c'; end $$",
            "create function public.setter() returns void language plpgsql as $$ begin\n  set role anon; end $$",
            "create function public.setter() returns void language plpgsql as $$ begin perform 1; reset all; end $$",
            "create function public.setter() returns void language plpgsql as $$ begin\n  -- elsewhere\n  set search_path = ''; end $$",
            "create function public.setter() returns void language plpgsql as $$ begin execute 'reset role'; end $$",
            "create function public.setter() returns void language plpgsql as $$ begin execute format('set %I = %L', 'a.b', 'c'); end $$",
            "create function public.setter(it text = set_config('a.b', 'c', true)) returns void language sql as $$ select $$",
        ];
        for setter in setters {
            let shared = async || transactions(&api).await < 64;
            eventually("shared transactions", async || shared().await).await;
            owner.batch_execute(setter).await.unwrap();
            let each = async || transactions(&api).await == 64;
            eventually(setter, async || each().await && each().await && each().await).await;
            owner.batch_execute("drop function public.setter").await.unwrap();
        }
    });
}

/// How many transactions 64 inserts at once take.
async fn inserting(api: &Api, preferences: &str) -> usize {
    let head = format!("POST /entries?select=tx\nPrefer: return=representation{preferences}");
    let inserts = (0..64).map(|_| api.ask(api.test.caller("anon"), &head, "{}"));
    join_all(inserts).await.into_iter().collect::<BTreeSet<_>>().len()
}

#[test]
fn inserts_share_transactions_where_nobody_can_tell() {
    testkit::run(async {
        let api = Api::empty("inserts").await;
        let owner = api.test.owner().await;
        let table = "create table public.entries (id int generated always as identity primary key, tx xid8 default pg_current_xact_id()); \
             create function public.look() returns trigger language plpgsql as $$ begin return new; end $$; \
             grant all on public.entries to anon";
        owner.batch_execute(table).await.unwrap();
        let shared = async || inserting(&api, "").await < 64;
        let each = async |preferences: &str| inserting(&api, preferences).await == 64;
        eventually("shared transactions", async || shared().await).await;
        for preferences in [", tx=commit, resolution=ignore-duplicates", ", resolution=merge-duplicates"] {
            assert!(each(preferences).await, "{preferences}");
        }
        let watchers = [
            (
                "create trigger watcher before insert on public.entries for each row execute function public.look()",
                "drop trigger watcher on public.entries",
            ),
            (
                "create trigger watcher after insert on public.entries execute function public.look()",
                "drop trigger watcher on public.entries",
            ),
            (
                "create function public.setter() returns void language sql as $$ select set_config('a.b', 'c', true) $$",
                "drop function public.setter",
            ),
        ];
        for (make, remove) in watchers {
            owner.batch_execute(make).await.unwrap();
            eventually(make, async || each("").await && each("").await && each("").await).await;
            owner.batch_execute(remove).await.unwrap();
            eventually("shared again", async || shared().await).await;
        }
    });
}

async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !check().await {
        assert!(Instant::now() < deadline, "{what}");
    }
}

#[test]
fn all_rows_of_an_inherited_table_that_share_a_key_are_told() {
    testkit::run(async {
        let api = Api::empty("inherited").await;
        let owner = api.test.owner().await;
        let tables = "create table public.kept (id int primary key, note text); insert into kept values (1, 'one'); \
             grant all on public.kept to anon";
        owner.batch_execute(tables).await.unwrap();
        until(
            &api,
            "anon",
            "GET /kept?id=eq.1",
            "200\ncontent-range: 0-0/*\n\n[{\"id\":1,\"note\":\"one\"}]",
        )
        .await;
        until(&api, "anon", "GET /kept?id=eq.2", "200\ncontent-range: */*\n\n[]").await;
        owner
            .batch_execute(
                "create table public.heir () inherits (public.kept); insert into heir values (1, 'two')",
            )
            .await
            .unwrap();
        let both =
            "200\ncontent-range: 0-1/*\n\n[{\"id\":1,\"note\":\"one\"}, \n {\"id\":1,\"note\":\"two\"}]";
        until(&api, "anon", "GET /kept?id=eq.1&order=note", both).await;
    });
}

#[test]
fn all_values_that_a_function_gives_of_one_row_are_told() {
    testkit::run(async {
        let api = Api::empty("several").await;
        let owner = api.test.owner().await;
        let tables = "create table public.kept (id int primary key); insert into kept values (1); grant all on public.kept to anon; \
             create function public.twice(kept) returns setof int language sql stable as $$ select 2 * $1.id union all select 3 $$";
        owner.batch_execute(tables).await.unwrap();
        let both = "200\ncontent-range: 0-1/*\n\n[{\"twice\":2}, \n {\"twice\":3}]";
        until(&api, "anon", "GET /kept?id=eq.1&select=twice", both).await;
        let both = "200\ncontent-range: 0-1/*\n\n[{\"id\":1}, \n {\"id\":1}]";
        until(&api, "anon", "GET /kept?id=eq.1&order=twice", both).await;
    });
}

#[test]
fn code_of_our_own_uses_no_settings_of_requests() {
    testkit::run(async {
        // With the migrations of every service.
        let test = testkit::project("own").await;
        let api = DataApi::new(Config::default(), test.databases.clone());
        api.warm(&test.project).await.unwrap();
        let cache = api.schema_cache(&test.project).unwrap();
        let uses = r#""dbUses":{"readsRequest":false,"setsAny":false,"setsResponse":false}"#;
        assert!(cache.contains(uses), "{}", cache.get(cache.find("dbUses").unwrap()..).unwrap_or_default());
    });
}

#[test]
fn a_large_row_by_its_key_comes_whole() {
    testkit::run(async {
        let api = Api::empty("large_row").await;
        let owner = api.test.owner().await;
        let tables = "create table public.large (id int primary key, note text); grant all on public.large to anon; \
             insert into public.large values (1, repeat('x', 400000))";
        owner.batch_execute(tables).await.unwrap();
        let row = format!("{{\"id\":1,\"note\":\"{}\"}}", "x".repeat(400_000));
        let array = format!("200\ncontent-range: 0-0/*\n\n[{row}]");
        until(&api, "anon", "GET /large?id=eq.1", &array).await;
        let object = format!(
            "200\ncontent-range: 0-0/*\ncontent-type: application/vnd.pgrst.object+json; charset=utf-8\n\n{row}"
        );
        until(&api, "anon", "GET /large?id=eq.1\naccept: application/vnd.pgrst.object+json", &object).await;
    });
}

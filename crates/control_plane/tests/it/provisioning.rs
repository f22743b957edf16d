//! What a new project's database holds.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use store::postgres::AsyncMessage;
use testkit::{TestProject, project, run};

use crate::text;

#[test]
fn every_schema_has_its_owner() {
    run(async {
        let it = project("schemas").await;
        let owners = text(
            &it.admin().await,
            "select string_agg(nspname || '=' || pg_get_userbyid(nspowner), ' ' order by nspname) from pg_namespace \
             where nspname in ('auth', 'storage', 'realtime')",
        )
        .await;
        assert_eq!(
            owners,
            "auth=supabase_auth_admin realtime=supabase_realtime_admin storage=supabase_storage_admin"
        );
    });
}

#[test]
fn a_services_migrations_ran_as_the_owner_of_its_schema() {
    run(async {
        let it = project("migrations").await;
        let owner = text(
            &it.admin().await,
            "select pg_get_userbyid(relowner)::text from pg_class where oid = 'auth.users'::regclass",
        )
        .await;
        assert_eq!(owner, "supabase_auth_admin");
    });
}

#[test]
fn extensions_are_reachable_without_their_schema() {
    run(async {
        let it = project("extensions").await;
        let client = testkit::connect(&it.project.database, &it.project.logins.authenticator).await.unwrap();
        client.batch_execute("set role anon").await.unwrap();
        assert_eq!(text(&client, "show search_path").await, "\"$user\", public, extensions");
        let hash = text(&client, "select crypt('secret', gen_salt('bf', 4))").await;
        assert!(hash.starts_with("$2a$04$"), "{hash}");
        text(&client, "select uuid_generate_v4()::text").await;
    });
}

#[test]
fn what_is_created_in_public_is_granted_to_the_api_roles() {
    run(async {
        let it = project("grants").await;
        let (admin, owner) = (it.admin().await, it.owner().await);
        admin.batch_execute("create table public.by_admin (id int)").await.unwrap();
        owner
            .batch_execute(
                "create table public.by_owner (id serial); \
                 create function public.one() returns int language sql as 'select 1'",
            )
            .await
            .unwrap();
        for role in ["anon", "authenticated", "service_role"] {
            let rights = text(
                &admin,
                &format!(
                    "select concat_ws(' ', has_table_privilege('{role}', 'by_admin', 'select, insert, update, delete'), \
                     has_table_privilege('{role}', 'by_owner', 'select, insert, update, delete'), \
                     has_sequence_privilege('{role}', 'by_owner_id_seq', 'usage'), \
                     has_function_privilege('{role}', 'one()', 'execute'))"
                ),
            )
            .await;
            assert_eq!(rights, "t t t t", "{role}");
        }
        // The superuser's tables are the owner's as well, as on Supabase.
        owner.batch_execute("insert into public.by_admin values (1)").await.unwrap();
    });
}

#[test]
fn timeouts_are_supabases() {
    run(async {
        let it = project("timeouts").await;
        let settings = |role: &str| {
            format!(
                "select setconfig::text from pg_db_role_setting where setdatabase = 0 and setrole = '{role}'::regrole"
            )
        };
        let admin = it.admin().await;
        assert_eq!(text(&admin, &settings("anon")).await, "{statement_timeout=3s}");
        assert_eq!(text(&admin, &settings("authenticated")).await, "{statement_timeout=8s}");
        let authenticator = &it.project.logins.authenticator.user;
        let found = text(&admin, &settings(authenticator)).await;
        assert_eq!(found, "{statement_timeout=8s,lock_timeout=8s}");
    });
}

/// What `pgrst` hears while the owner runs `statement`.
async fn heard(it: &TestProject, statement: &str) -> Vec<String> {
    let config: store::postgres::Config = testkit::server().await.url().parse().unwrap();
    let connecting = config.clone().dbname(&it.project.database).connect(store::postgres::NoTls).await;
    let (listener, mut connection) = connecting.unwrap();
    let (sender, mut receiver) = tokio::sync::mpsc::channel(100);
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |ctx| connection.poll_message(ctx));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(it) = message {
                sender.send(it.payload().to_owned()).await.unwrap();
            }
        }
    });
    listener.batch_execute("listen pgrst").await.unwrap();
    it.owner().await.batch_execute(statement).await.unwrap();
    // Notifications come in order, so this one comes after whatever the statement caused.
    listener.batch_execute("notify pgrst, 'end'").await.unwrap();
    let mut heard = Vec::new();
    loop {
        let message = tokio::time::timeout(Duration::from_secs(20), receiver.recv()).await.unwrap().unwrap();
        if message == "end" {
            return heard;
        }
        heard.push(message);
    }
}

#[test]
fn changes_of_the_schema_are_told_to_the_data_api() {
    run(async {
        let it = project("watch").await;
        let cases = [
            ("create table public.t (id int primary key)", true),
            ("alter table public.t add column name text", true),
            ("create view public.v as select * from public.t", true),
            ("create function public.f() returns int language sql as 'select 1'", true),
            ("comment on table public.t is 'things'", true),
            ("insert into public.t values (1)", false),
            ("create temporary table nobodys (id int); drop table nobodys", false),
            ("drop function public.f()", true),
            ("drop view public.v", true),
            ("drop table public.t", true),
        ];
        for (statement, told) in cases {
            let heard = heard(&it, statement).await;
            assert_eq!(heard.iter().any(|it| it == "reload schema"), told, "{statement}: {heard:?}");
        }
    });
}

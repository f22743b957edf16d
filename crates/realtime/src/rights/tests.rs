//! Rights against a real PostgreSQL: what policies allow, to whom, and what they see of the caller.

use std::time::Duration;

use serde_json::json;
use testkit::{TestProject, project, run};
use uuid::Uuid;

use super::*;

fn no_headers() -> Arc<str> {
    "{}".into()
}

fn fresh() -> Rights {
    Rights::new(&RightsSettings { kept: Duration::ZERO, ..RightsSettings::default() })
}

async fn ask(project: &TestProject, caller: &Caller, topic: &str) -> Result<Allowed, Error> {
    let database = project.databases.of(&project.project).await;
    fresh().of(&database, caller, topic, &no_headers()).await
}

/// The rights as letters: `r`ead and `w`rite, broadcast before presence.
fn letters(it: Allowed) -> String {
    let all = [
        (it.read_broadcast, 'r'),
        (it.write_broadcast, 'w'),
        (it.read_presence, 'r'),
        (it.write_presence, 'w'),
    ];
    all.iter().map(|(is, letter)| if *is { *letter } else { '-' }).collect()
}

async fn check(project: &TestProject, caller: &Caller, topic: &str) -> String {
    letters(ask(project, caller, topic).await.unwrap())
}

#[test]
fn without_policies_only_the_service_key_may() {
    run(async {
        let project = project("rtnone").await;
        assert_eq!(check(&project, &project.caller("anon"), "a").await, "----");
        assert_eq!(check(&project, &project.user(Uuid::new_v4()), "a").await, "----");
        assert_eq!(check(&project, &project.caller("service_role"), "a").await, "rwrw");
        let rows: i64 = project
            .admin()
            .await
            .query_one("select count(*) from realtime.messages", &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(rows, 0, "nothing of the question is kept");
    });
}

#[test]
fn policies_decide_by_role_topic_extension_and_direction() {
    run(async {
        let project = project("rtpolicies").await;
        let policies = "
            create policy a on realtime.messages for select to authenticated
                using (realtime.topic() = 'room' and extension = 'broadcast');
            create policy b on realtime.messages for insert to authenticated
                with check (topic = 'drop' and private and extension in ('broadcast', 'presence'));
            create policy c on realtime.messages for select to anon
                using (realtime.topic() like 'lobby:%' and extension = 'presence');
            create policy d on realtime.messages to authenticated using (topic = 'all') with check (topic = 'all');";
        project.owner().await.batch_execute(policies).await.unwrap();
        let (anon, user) = (project.caller("anon"), project.user(Uuid::new_v4()));
        for (caller, topic, expected) in [
            (&user, "room", "r---"),
            (&user, "drop", "-w-w"), // write without read
            (&user, "all", "rwrw"),
            (&user, "lobby:1", "----"),
            (&anon, "lobby:1", "--r-"),
            (&anon, "room", "----"),
            (&user, "it's \"odd\" \\ $1 \u{1f600}", "----"),
        ] {
            assert_eq!(check(&project, caller, topic).await, expected, "{topic}");
        }
    });
}

#[test]
fn policies_see_the_claims_and_headers_of_the_caller() {
    run(async {
        let project = project("rtclaims").await;
        let (ada, eve) = (Uuid::new_v4(), Uuid::new_v4());
        let policies = format!(
            "create table public.members (room text, member uuid);
             alter table public.members enable row level security;
             create policy own on public.members for select to authenticated using (member = auth.uid());
             insert into public.members values ('room', '{ada}');
             create policy a on realtime.messages for select to authenticated using (
                exists (select from public.members where room = realtime.topic())
             );
             create policy b on realtime.messages for insert to authenticated with check (
                current_setting('request.headers')::json ->> 'x-team' = 'red'
                and auth.jwt() ->> 'sub' = '{ada}'
             );"
        );
        project.owner().await.batch_execute(&policies).await.unwrap();
        assert_eq!(check(&project, &project.user(ada), "room").await, "r-r-");
        assert_eq!(check(&project, &project.user(ada), "other").await, "----");
        assert_eq!(check(&project, &project.user(eve), "room").await, "----");

        let database = project.databases.of(&project.project).await;
        let mut map = HeaderMap::new();
        map.insert("x-team", "red".parse().unwrap());
        let rights = fresh();
        let allowed = rights.of(&database, &project.user(ada), "room", &headers(&map)).await.unwrap();
        assert_eq!(letters(allowed), "rwrw");
        // Nothing of it stays on the connection for the next.
        let allowed = rights.of(&database, &project.user(eve), "room", &no_headers()).await.unwrap();
        assert_eq!(letters(allowed), "----");
    });
}

#[test]
fn a_policy_that_fails_is_an_error_of_its_topic_only() {
    run(async {
        let project = project("rtraises").await;
        let policies = "
            create function public.judge(topic text) returns boolean language plpgsql as $$
            begin
                if topic = 'broken' then raise exception 'no such room'; end if;
                if topic = 'slow' then perform pg_sleep(60); end if;
                return true;
            end $$;
            create policy a on realtime.messages to authenticated
                using (public.judge(realtime.topic())) with check (public.judge(realtime.topic()));";
        project.owner().await.batch_execute(policies).await.unwrap();
        let user = project.user(Uuid::new_v4());
        let database = project.databases.of(&project.project).await;
        let patience = Duration::from_millis(300);
        let rights = Rights::new(&RightsSettings { patience, ..RightsSettings::default() });
        let ask = async |topic: &str| rights.of(&database, &user, topic, &no_headers()).await;
        let (good, broken, slow) = tokio::join!(ask("good"), ask("broken"), ask("slow"));
        assert_eq!(letters(good.unwrap()), "rwrw");
        let broken = broken.unwrap_err();
        assert!(matches!(&broken, Error::Policy { code, .. } if code == "P0001"), "{broken:?}");
        assert!(broken.to_string().contains("no such room"), "{broken}");
        let slow = slow.unwrap_err();
        assert!(matches!(&slow, Error::Policy { code, .. } if code == "57014"), "{slow:?}");

        // A failure is not kept.
        let mend =
            "create or replace function public.judge(text) returns boolean language sql as 'select true'";
        project
            .owner()
            .await
            .batch_execute("drop policy a on realtime.messages; drop function public.judge")
            .await
            .unwrap();
        project.owner().await.batch_execute(mend).await.unwrap();
        assert_eq!(letters(ask("broken").await.unwrap()), "----");
        // Roles that no token may have are refused, those of our own services above all.
        for role in ["supabase_auth_admin", "supabase_realtime_admin", "postgres", "nobody-known"] {
            let refused = rights.of(&database, &project.caller(role), "x", &no_headers()).await;
            assert!(matches!(refused, Err(Error::Policy { .. })), "{role}: {refused:?}");
        }
    });
}

#[test]
fn an_answer_is_kept_for_its_token_and_bounded_time() {
    run(async {
        let project = project("rtkept").await;
        let owner = project.owner().await;
        owner
            .batch_execute("create policy a on realtime.messages to authenticated using (true)")
            .await
            .unwrap();
        let database = project.databases.of(&project.project).await;
        let rights =
            Rights::new(&RightsSettings { kept: Duration::from_secs(2), ..RightsSettings::default() });
        let user = project.user(Uuid::new_v4());
        let ask =
            async |caller: &Caller| letters(rights.of(&database, caller, "t", &no_headers()).await.unwrap());
        assert_eq!(ask(&user).await, "rwrw");
        owner.batch_execute("drop policy a on realtime.messages").await.unwrap();
        assert_eq!(ask(&user).await, "rwrw", "kept");
        // Another token of the same user is another question.
        let claims =
            json!({"sub": user.claims.map["sub"], "role": "authenticated", "exp": 4_000_000_000_u64});
        let claims = Claims::from_map(claims.as_object().unwrap().clone(), "authenticated");
        let renewed = Caller { claims: Arc::new(claims), authenticated: true };
        assert_eq!(ask(&renewed).await, "----");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while ask(&user).await != "----" {
            assert!(tokio::time::Instant::now() < deadline, "an answer is kept too long");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}

#[test]
fn rights_are_told_even_when_nobody_made_partitions() {
    run(async {
        let project = project("rtparts").await;
        let text = "select format('drop table realtime.%I', to_char(now() at time zone 'utc', '\"messages_\"YYYY_MM_DD'))";
        let owner = project.owner().await;
        let drop: String = owner.query_one(text, &[]).await.unwrap().get(0);
        owner.batch_execute(&drop).await.unwrap();
        assert_eq!(check(&project, &project.caller("service_role"), "a").await, "rwrw");
    });
}

#[test]
fn only_the_service_may_ask_and_custom_roles_may_be_asked_for() {
    run(async {
        let project = project("rtroles").await;
        let role = format!("listener_{}", Uuid::new_v4().simple());
        let authenticator = &project.project.logins.authenticator.user;
        let text = format!(
            "create role {role} nologin; grant {role} to \"{authenticator}\";
             grant usage on schema realtime to {role}; grant select on realtime.messages to {role};
             create policy a on realtime.messages for select to {role} using (true);"
        );
        project.admin().await.batch_execute(&text).await.unwrap();
        assert_eq!(check(&project, &project.caller(&role), "a").await, "r-r-");
        let drop = format!("drop policy a on realtime.messages; drop owned by {role}; drop role {role}");
        project.admin().await.batch_execute(&drop).await.unwrap();

        let login = &project.project.logins.authenticator;
        let client = project.databases.server().login(&project.project.database, login).await.unwrap();
        for role in ["anon", "authenticated", "service_role"] {
            client.batch_execute(&format!("set role {role}")).await.unwrap();
            let refused = client.batch_execute("select realtime.rights('anon', '{}', '{}', 'a')").await;
            assert_eq!(refused.unwrap_err().code().unwrap().code(), "42501", "{role}");
        }
    });
}

#[test]
fn policies_see_headers_that_start_with_x() {
    let mut map = HeaderMap::new();
    map.insert("authorization", "Bearer secret".parse().unwrap());
    map.insert("X-Client-Info", "a\"b".parse().unwrap());
    map.insert("x-request-id", "1".parse().unwrap());
    assert_eq!(&*headers(&map), r#"{"x-client-info":"a\"b"}"#);
    assert_eq!(&*headers(&HeaderMap::new()), "{}");
}

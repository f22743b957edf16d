//! What the project's people and the API roles may do with schema `auth`.

use common::AuthSettings;
use serde_json::json;
use uuid::Uuid;

use crate::support::Api;

#[test]
fn api_roles_call_the_functions_and_never_see_the_tables() {
    testkit::run(async {
        let api = Api::new("grants", AuthSettings::default()).await;
        api.sign_up("ada@example.com").await;
        let admin = api.test.admin().await;
        for role in ["anon", "authenticated", "service_role"] {
            admin.batch_execute(&format!("set role {role}")).await.unwrap();
            let id = Uuid::new_v4();
            let claims = json!({"sub": id, "role": role, "email": "a@b.c"}).to_string();
            admin.execute("select set_config('request.jwt.claims', $1, false)", &[&claims]).await.unwrap();
            let row = admin
                .query_one("select auth.uid(), auth.role(), auth.email(), auth.jwt() ->> 'sub'", &[])
                .await
                .unwrap();
            assert_eq!(row.get::<_, Uuid>(0), id);
            assert_eq!((row.get::<_, &str>(1), row.get::<_, &str>(2)), (role, "a@b.c"));
            assert_eq!(row.get::<_, String>(3), id.to_string());
            for table in ["users", "sessions", "refresh_tokens", "one_time_tokens", "audit_log_entries"] {
                let refused = admin.query(&format!("select * from auth.{table}"), &[]).await.unwrap_err();
                assert_eq!(refused.code().unwrap().code(), "42501", "{role} {table}");
            }
            admin
                .batch_execute("reset role; select set_config('request.jwt.claims', '', false)")
                .await
                .unwrap();
        }
        let row = admin.query_one("select auth.uid()", &[]).await.unwrap();
        assert_eq!(row.get::<_, Option<Uuid>>(0), None);
    });
}

#[test]
fn the_owner_references_users_and_keeps_profiles_by_trigger() {
    testkit::run(async {
        let api = Api::new("profiles", AuthSettings::default()).await;
        let owner = api.test.owner().await;
        owner
            .batch_execute(
                "create table public.profiles (id uuid primary key references auth.users (id) on delete cascade, name text); \
                 create function public.handle_new_user() returns trigger language plpgsql security definer set search_path = '' as \
                 $$ begin insert into public.profiles values (new.id, new.raw_user_meta_data ->> 'name'); return new; end $$; \
                 create trigger on_auth_user_created after insert on auth.users for each row execute function public.handle_new_user()",
            )
            .await
            .unwrap();
        let body = json!({"email": "ada@example.com", "password": "long enough", "data": {"name": "Ada"}});
        assert_eq!(api.post("/signup", body).await.status, 200);
        let row = owner
            .query_one("select name, (select count(*) from auth.users) from public.profiles", &[])
            .await
            .unwrap();
        assert_eq!((row.get::<_, &str>(0), row.get::<_, i64>(1)), ("Ada", 1));
        owner.execute("delete from auth.users", &[]).await.unwrap();
        let row = owner.query_one("select count(*) from public.profiles", &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0);
    });
}

#[test]
fn everything_belongs_to_the_auth_admin() {
    testkit::run(async {
        let api = Api::new("owners", AuthSettings::default()).await;
        let rows = api
            .test
            .admin()
            .await
            .query(
                "select relname::text from pg_class where relnamespace = 'auth'::regnamespace and relkind in ('r', 'S') \
                 and pg_get_userbyid(relowner) <> 'supabase_auth_admin' \
                 union select proname::text from pg_proc where pronamespace = 'auth'::regnamespace \
                 and pg_get_userbyid(proowner) <> 'supabase_auth_admin' \
                 union select typname::text from pg_type where typnamespace = 'auth'::regnamespace and typtype = 'e' \
                 and pg_get_userbyid(typowner) <> 'supabase_auth_admin'",
                &[],
            )
            .await
            .unwrap();
        let strays: Vec<String> = rows.iter().map(|it| it.get(0)).collect();
        assert!(strays.is_empty(), "{strays:?}");
    });
}

#[test]
fn the_audit_log_tells_what_happened() {
    testkit::run(async {
        let api = Api::new("audit", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        api.refresh(&session.refresh).await;
        api.call(http::Method::POST, "/logout", Some(&session.access), serde_json::Value::Null).await;
        let rows = api
            .test
            .admin()
            .await
            .query(
                "select payload ->> 'action', ip_address from auth.audit_log_entries order by created_at",
                &[],
            )
            .await
            .unwrap();
        let mut actions: Vec<String> = rows.iter().map(|it| it.get(0)).collect();
        actions.sort_unstable();
        assert_eq!(actions, ["login", "logout", "token_refreshed", "user_signedup"]);
        assert_eq!(rows[0].get::<_, &str>(1), "127.0.0.1");
    });
}

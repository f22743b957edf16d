//! Nothing of one project can be reached with another's logins, whatever its owner tries.

use common::{Login, Project};
use testkit::{connect, project, run};

use crate::outcome;

fn logins(it: &Project) -> [&Login; 3] {
    [&it.logins.owner, &it.logins.authenticator, &it.logins.services]
}

/// The SQLSTATE of connecting, or `ok`.
async fn connecting(database: &str, login: &Login) -> String {
    match connect(database, login).await {
        Ok(_) => "ok".into(),
        Err(error) => error.code().map_or_else(|| error.to_string(), |it| it.code().to_owned()),
    }
}

#[test]
fn a_login_enters_its_own_database_only() {
    run(async {
        let (one, other) = (project("one").await.project, project("other").await.project);
        let control = format!("madbase_{}", control_plane::fingerprint(&testkit::services()));
        let plane = testkit::control_plane().await;
        let default = plane.project(&"default".parse().unwrap()).await.unwrap().unwrap();
        for login in logins(&one) {
            assert_eq!(connecting(&one.database, login).await, "ok", "{}", login.user);
            for database in [&other.database, &control, &default.database, "template1"] {
                assert_eq!(connecting(database, login).await, "42501", "{} into {database}", login.user);
            }
        }
        for login in logins(&default) {
            assert_eq!(
                connecting(&one.database, login).await,
                "42501",
                "{} into {}",
                login.user,
                one.database
            );
        }
    });
}

#[test]
fn an_owner_cannot_reach_beyond_his_project() {
    run(async {
        let (one, other) = (project("inside").await, project("outside").await);
        let owner = one.owner().await;
        let (db, victim) = (&other.project.database, &other.project.logins.owner.user);
        let other_authenticator = &other.project.logins.authenticator.user;
        let me = &one.project.logins.owner.user;
        let refused = [
            format!("set role {victim}"),
            format!("set role {other_authenticator}"),
            "set role supabase_admin".into(),
            format!("alter role {victim} password 'mine'"),
            format!("alter role {other_authenticator} set statement_timeout = 1"),
            format!("alter role {me} superuser"),
            format!("alter role {me} createdb"),
            format!("alter role {me} replication"),
            format!("grant {victim} to {me}"),
            format!("grant pg_read_server_files to {me}"),
            format!("drop database {db}"),
            format!("alter database {db} owner to {me}"),
            "create database mine".into(),
            "select rolpassword from pg_authid".into(),
            "copy (select 1) to program 'true'".into(),
            "select pg_read_file('/etc/passwd')".into(),
            "drop event trigger pgrst_ddl_watch".into(),
            "create extension dblink; select dblink_connect('dbname=template1')".into(),
        ];
        for statement in refused {
            let outcome = outcome(&owner, &statement).await;
            // 0A000: no such extension here; 42704: nothing to drop. Both would be a test that proves nothing.
            assert!(["42501", "2BP01"].contains(&outcome.as_str()), "{statement}: {outcome}");
        }
        // PostgreSQL only warns here that nothing was granted.
        outcome(&owner, &format!("grant connect on database {db} to {me}")).await;
        assert_eq!(connecting(db, &one.project.logins.owner).await, "42501");
    });
}

#[test]
fn the_data_paths_login_has_no_rights_of_its_own() {
    run(async {
        let it = project("path").await;
        it.owner().await.batch_execute("create table public.notes (id int)").await.unwrap();
        let client = connect(&it.project.database, &it.project.logins.authenticator).await.unwrap();
        let services = &it.project.logins.services.user;
        let owner = &it.project.logins.owner.user;
        let cases = [
            ("select from public.notes".to_owned(), "42501"),
            ("select from auth.users".into(), "42501"),
            ("create table public.mine (id int)".into(), "42501"),
            (format!("set role {owner}"), "42501"),
            (format!("set role {services}"), "42501"),
            ("set role supabase_auth_admin".into(), "42501"),
            ("set role anon; select from public.notes; reset role".into(), "ok"),
            ("set role anon; select from auth.users".into(), "42501"),
            ("reset role".into(), "ok"),
            ("set role service_role; select from public.notes; reset role".into(), "ok"),
        ];
        for (statement, wanted) in cases {
            assert_eq!(outcome(&client, &statement).await, wanted, "{statement}");
        }
    });
}

#[test]
fn keys_of_one_project_verify_in_no_other() {
    run(async {
        use secrecy::ExposeSecret as _;
        let (one, other) = (project("keys1").await.project, project("keys2").await.project);
        let now_secs = jiff::Timestamp::now().as_second();
        let rules = common::jwt::Rules { now_secs, leeway_secs: 30, audience: None, default_role: "anon" };
        let key = one.keys.service_role.expose_secret();
        assert_eq!(one.jwt.verify(key, &rules).unwrap().role, "service_role");
        assert!(other.jwt.verify(key, &rules).is_err());
        let claims = serde_json::json!({"role": "service_role"});
        let token = one.jwt.sign(claims.as_object().unwrap()).unwrap();
        assert!(one.jwt.verify(&token, &rules).is_ok());
        assert!(other.jwt.verify(&token, &rules).is_err());
        assert_ne!(one.keys.secret.expose_secret(), other.keys.secret.expose_secret());
    });
}

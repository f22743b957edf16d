//! Starting: from nothing, again, twice at once, after a crash half-way, with new migrations, and when it must refuse.

use common::Directory as _;
use control_plane::{Error, NewProject, ServiceMigrations};
use futures_util::future::join;
use refinery::{Migration, Runner};
use store::{DistributedLock, Locks, Redis};
use testkit::run;

use crate::{Installation, admin, text, unique};

fn runner(files: &[(&str, &str)]) -> Runner {
    Runner::new(&files.iter().map(|it| Migration::unapplied(it.0, it.1).unwrap()).collect::<Vec<_>>())
}

const FIRST: (&str, &str) = ("V1__users", "create table auth.users (id int)");

/// Services with one migration; with a second one that a later release brings; with one that writes rows.
fn release(number: u8) -> Vec<ServiceMigrations> {
    let runner = match number {
        1 => || runner(&[FIRST]),
        3 => || runner(&[FIRST, ("V2__rows", "insert into auth.users values (1)")]),
        _ => || runner(&[FIRST, ("V2__mail", "alter table auth.users add column mail text")]),
    };
    vec![ServiceMigrations { schema: "auth", owner: "supabase_auth_admin", runner }]
}

fn new(reference: &common::ProjectRef) -> NewProject {
    NewProject { reference: reference.clone(), name: String::new() }
}

#[test]
fn two_nodes_start_at_once_on_an_empty_server() {
    run(async {
        let it = Installation::new();
        let (one, other) = join(it.start(release(1)), it.start(release(1))).await;
        let reference = "default".parse().unwrap();
        let [one, other] = [one.unwrap(), other.unwrap()];
        let (one, other) = (one.find(&reference).await.unwrap(), other.find(&reference).await.unwrap());
        assert_eq!(one.unwrap().id, other.unwrap().id);
        let count = text(&it.control().await, "select count(*)::text from madbase.projects").await;
        assert_eq!(count, "1");
    });
}

#[test]
fn a_start_that_finds_everything_current_waits_for_no_lock() {
    run(async {
        let it = Installation::new();
        it.start(release(1)).await.unwrap();
        // Whoever provisions holds this; a current installation must not notice, nor write anything.
        let server = testkit::server().await.store();
        let locks = Locks::new(&Redis::none(), &server, server.database().unwrap_or("postgres"));
        let holder = DistributedLock::new(&locks, "provisioning", 60);
        assert!(holder.acquire_within(std::time::Duration::from_secs(60)).await.unwrap());
        let counts = "select sum(n_tup_ins + n_tup_upd)::text from pg_stat_user_tables";
        let before = text(&it.control().await, counts).await;
        let limit = std::time::Duration::from_secs(20);
        tokio::time::timeout(limit, it.start(release(1))).await.unwrap().unwrap();
        let waits = tokio::time::timeout(std::time::Duration::from_secs(1), it.start(release(2))).await;
        assert!(waits.is_err(), "a new release takes the lock");
        assert_eq!(text(&it.control().await, counts).await, before);
    });
}

#[test]
fn a_new_release_reaches_every_project() {
    run(async {
        let it = Installation::new();
        let reference = unique("old");
        let plane = it.start(release(1)).await.unwrap();
        let old = plane.create(new(&reference), "test").await.unwrap();
        it.start(release(2)).await.unwrap();
        for database in [&old.database, &it.config.default_database] {
            let client = admin(database).await;
            assert_eq!(text(&client, "select count(mail)::text from auth.users").await, "0", "{database}");
        }
    });
}

#[test]
fn a_migration_does_not_lend_its_rights_to_an_owners_trigger() {
    run(async {
        let it = Installation::new();
        let reference = unique("trojan");
        let plane = it.start(release(1)).await.unwrap();
        let project = plane.create(new(&reference), "test").await.unwrap();
        let name = &project.logins.owner.user;
        let owner = testkit::connect(&project.database, &project.logins.owner).await.unwrap();
        owner
            .batch_execute(&format!(
                "create table public.seen (who text);
                 grant insert on public.seen to public;
                 create function public.climb() returns trigger language plpgsql as $$
                 begin
                    execute 'reset role';
                    insert into public.seen values (current_user);
                    begin
                        execute 'alter role {name} superuser';
                    exception when insufficient_privilege then null;
                    end;
                    return new;
                 end $$;
                 create trigger climb before insert on auth.users for each row execute function public.climb()"
            ))
            .await
            .unwrap();
        it.start(release(3)).await.unwrap();
        let services = &project.logins.services.user;
        assert_eq!(text(&owner, "select who from public.seen").await, *services, "the trigger ran");
        let climbed = format!("select rolsuper::text from pg_roles where rolname = '{name}'");
        assert_eq!(text(&owner, &climbed).await, "false");
    });
}

#[test]
fn what_a_crash_left_half_made_is_finished() {
    run(async {
        let it = Installation::new();
        let reference = unique("half");
        let plane = it.start(release(1)).await.unwrap();
        let before = plane.create(new(&reference), "test").await.unwrap();
        // As a crash after `create role`, before `create database` and the record of it, would leave it.
        let control = it.control().await;
        control.batch_execute(&format!("drop database {} with (force)", before.database)).await.unwrap();
        control
            .execute("update madbase.projects set fingerprint = '' where ref = $1", &[&reference.as_str()])
            .await
            .unwrap();
        assert!(plane.find(&reference).await.unwrap().is_none(), "not served until it is ready");
        let after = it.start(release(1)).await.unwrap().find(&reference).await.unwrap().unwrap();
        assert_eq!(after.id, before.id);
        testkit::connect(&after.database, &after.logins.owner).await.unwrap();
        assert_eq!(text(&admin(&after.database).await, "select count(*)::text from auth.users").await, "0");
    });
}

#[test]
fn what_a_crash_left_half_deleted_is_finished() {
    run(async {
        let it = Installation::new();
        let reference = unique("gone");
        let plane = it.start(release(1)).await.unwrap();
        let before = plane.create(new(&reference), "test").await.unwrap();
        let control = it.control().await;
        control
            .execute("update madbase.projects set deleted_at = now() where ref = $1", &[&reference.as_str()])
            .await
            .unwrap();
        let again = plane.create(new(&reference), "test").await;
        assert!(matches!(again, Err(Error::ProjectGoing(_))), "{again:?}");
        let plane = it.start(release(1)).await.unwrap();
        let left = format!(
            "select (select count(*) from pg_database where datname = '{}') + \
             (select count(*) from pg_roles where rolname = '{}') || ''",
            before.database, before.logins.owner.user
        );
        assert_eq!(text(&control, &left).await, "0");
        let after = plane.create(new(&reference), "test").await.unwrap();
        assert_ne!(after.id, before.id);
        assert!(after.version > before.version, "a cache must not take the new one for the old one");
    });
}

#[test]
fn a_broken_project_does_not_keep_the_others_from_starting() {
    run(async {
        let it = Installation::new();
        let (broken, sound) = (unique("broken"), unique("sound"));
        let plane = it.start(release(1)).await.unwrap();
        let project = plane.create(new(&broken), "test").await.unwrap();
        plane.create(new(&sound), "test").await.unwrap();
        let client = admin(&project.database).await;
        client.batch_execute("alter table auth.users add column mail text").await.unwrap();
        let plane = it.start(release(2)).await.unwrap();
        assert!(plane.find(&sound).await.unwrap().is_some());
        let list = "select string_agg(ref, ' ') from madbase.projects p, madbase.installation i \
                    where p.fingerprint <> i.fingerprint";
        assert_eq!(text(&it.control().await, list).await, broken.as_str(), "the next start tries it again");
    });
}

#[test]
fn another_master_key_is_refused_with_the_next_step() {
    run(async {
        let mut it = Installation::new();
        it.start(release(1)).await.unwrap();
        it.config.master_key = [2; 32];
        for services in [release(1), release(2)] {
            let error = it.start(services).await.unwrap_err();
            assert_eq!(error.code(), "CP500");
            assert!(error.next().contains("key file"), "{}", error.next());
        }
    });
}

#[test]
fn too_few_rights_are_told_before_anything_is_made() {
    run(async {
        let it = Installation::new();
        let name = format!("weak_{}", &it.config.control_database);
        let server = testkit::server().await;
        let client = it.maintenance().await;
        client
            .batch_execute(&format!("create role {name} login createdb createrole password 'known'"))
            .await
            .unwrap();
        let server = store::Server::from_url(&url_as(&server.url(), &name)).unwrap();
        let error = it.start_on(server, release(1)).await.unwrap_err();
        assert_eq!((error.code(), error.to_string().contains(&name)), ("CP501", true), "{error}");
        let made = format!(
            "select count(*)::text from pg_database where datname = '{}'",
            it.config.control_database
        );
        assert_eq!(text(&client, &made).await, "0");
        client.batch_execute(&format!("drop role {name}")).await.unwrap();
    });
}

/// The server's address as key-value text, with the login `user`.
fn url_as(url: &str, user: &str) -> String {
    let config: store::postgres::Config = url.parse().unwrap();
    let host = match config.get_hosts().first().unwrap() {
        store::postgres::config::Host::Tcp(it) => it.clone(),
        store::postgres::config::Host::Unix(it) => it.display().to_string(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let database = config.get_dbname().unwrap_or("postgres");
    format!("host='{host}' port={port} dbname='{database}' user={user} password=known")
}

#[test]
fn a_superuser_of_any_name_will_do() {
    run(async {
        let it = Installation::new();
        let name = format!("boss_{}", &it.config.control_database);
        let server = testkit::server().await;
        let client = it.maintenance().await;
        client.batch_execute(&format!("create role {name} superuser login password 'known'")).await.unwrap();
        let theirs = store::Server::from_url(&url_as(&server.url(), &name)).unwrap();
        let plane = it.start_on(theirs, release(1)).await.unwrap();
        let project = plane.find(&"default".parse().unwrap()).await.unwrap().unwrap();
        let boss = admin(&project.database).await;
        boss.batch_execute(&format!("set role {name}; create table public.made (id int)")).await.unwrap();
        let seen = text(&boss, "select has_table_privilege('anon', 'public.made', 'select')::text").await;
        assert_eq!(seen, "true");
    });
}

#[test]
fn the_default_project_has_a_database_of_its_own() {
    run(async {
        let mut it = Installation::new();
        it.config.default_database = it.config.control_database.clone();
        assert_eq!(it.start(release(1)).await.unwrap_err().code(), "CP503");
    });
}

#[test]
fn nothing_secret_is_stored_in_the_clear() {
    run(async {
        use secrecy::ExposeSecret as _;
        let it = Installation::new();
        let plane = it.start(release(1)).await.unwrap();
        let project = plane.find(&"default".parse().unwrap()).await.unwrap().unwrap();
        let control = it.control().await;
        let row = text(
            &control,
            "select to_jsonb(p)::text || encode(secrets, 'escape') || (select jsonb_agg(to_jsonb(a)) from \
             madbase.audit_log a) from madbase.projects p",
        )
        .await;
        let (keys, logins) = (&project.keys, &project.logins);
        for secret in [&keys.anon, &keys.service_role, &keys.secret, &logins.owner.password] {
            assert!(!row.contains(secret.expose_secret()));
        }
        assert!(!format!("{project:?} {plane:?} {:?}", it.config).contains(keys.secret.expose_secret()));
    });
}

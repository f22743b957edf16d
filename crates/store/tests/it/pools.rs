//! REQ H7: pools by project, closed when idle, the least recently used one first, never under a borrower.

use std::sync::Arc;
use std::time::Duration;

use store::{Error, PoolSettings};

use crate::support::run;

// REQ H7: a project without use for the idle time closes its connections.
#[test]
fn test_connection_pool_ttl_eviction() {
    run(|db| async move {
        let idle_timeout = Duration::from_millis(300);
        let databases = db.databases(PoolSettings { idle_timeout, ..PoolSettings::default() });
        let database = databases.of(&db.project("one")).await;
        let client = database.services().await.unwrap();
        client.simple_query("select 1").await.unwrap();
        drop(database);
        tokio::time::sleep(3 * idle_timeout).await;
        // The borrower is not cut off by the eviction …
        client.simple_query("select 1").await.unwrap();
        assert_eq!(db.backends(&db.admin().await).await, 1);
        // … and once it is done, nothing stays open.
        drop(client);
        db.wait_for_backends(0).await;
        let again = databases.of(&db.project("one")).await;
        again.services().await.unwrap().simple_query("select 1").await.unwrap();
    });
}

// REQ H7: over the limit, the least recently used project goes first.
#[test]
fn test_connection_pool_lru_eviction() {
    run(|db| async move {
        let databases = db.databases(PoolSettings { max_projects: 2, ..PoolSettings::default() });
        let [one, two, three] = ["one", "two", "three"].map(|it| db.project(it));
        let first = Arc::downgrade(&databases.of(&one).await);
        let second = Arc::downgrade(&databases.of(&two).await);
        drop(databases.of(&one).await.services().await.unwrap());
        drop(databases.of(&two).await.services().await.unwrap());
        drop(databases.of(&one).await.services().await.unwrap());
        db.wait_for_backends(2).await;
        drop(databases.of(&three).await.services().await.unwrap());
        db.wait_for_backends(2).await;
        assert!(second.upgrade().is_none(), "the least recently used one is closed");
        assert!(first.upgrade().is_some(), "the others stay");
    });
}

#[test]
fn another_password_opens_anew_and_the_same_project_does_not() {
    run(|db| async move {
        let databases = db.databases(PoolSettings::default());
        let project = db.project("one");
        let first = databases.of(&project).await;
        let mut renamed = project.clone();
        renamed.version = 2;
        renamed.name = "another name".to_owned();
        assert!(Arc::ptr_eq(&first, &databases.of(&renamed).await));
        let mut changed = project;
        changed.logins.authenticator.password = "another".into();
        assert!(!Arc::ptr_eq(&first, &databases.of(&changed).await));
    });
}

#[test]
fn waiting_for_a_service_connection_is_bounded() {
    run(|db| async move {
        let acquire_timeout = Duration::from_millis(100);
        let settings = PoolSettings { service_connections: 1, acquire_timeout, ..PoolSettings::default() };
        let databases = db.databases(settings);
        let database = databases.of(&db.project("one")).await;
        let held = database.services().await.unwrap();
        assert!(matches!(database.services().await, Err(Error::PoolTimeout)));
        drop(held);
        drop(database.services().await.unwrap());
    });
}

#[test]
fn a_refused_login_is_a_connect_error() {
    run(|db| async move {
        let databases = db.databases(PoolSettings::default());
        let mut project = db.project("one");
        project.logins.services.user = "nobody_of_that_name".to_owned();
        let error = databases.of(&project).await.services().await.unwrap_err();
        assert!(matches!(error, Error::Connect(_)), "{error:?}");
    });
}

#[test]
fn closing_lets_borrowers_finish_and_takes_no_new_ones() {
    run(|db| async move {
        let databases = db.databases(PoolSettings::default());
        let database = databases.of(&db.project("one")).await;
        let client = database.services().await.unwrap();
        let working =
            tokio::spawn(async move { client.simple_query("select pg_sleep(0.3)").await.map(|_| ()) });
        tokio::time::sleep(Duration::from_millis(50)).await;
        databases.close(Duration::from_secs(5)).await;
        working.await.unwrap().unwrap();
        assert!(matches!(database.services().await, Err(Error::Connect(_))));
        db.wait_for_backends(0).await;
    });
}

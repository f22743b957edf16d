//! Notifications: heard, debounced, heard again after the connection was lost, ended with the database.

use std::time::Duration;

use store::{Notification, PoolSettings};

use crate::support::run;

#[test]
fn a_listener_hears_and_comes_back_after_its_backend_was_killed() {
    run(|db| async move {
        let databases = db.databases(PoolSettings::default());
        let database = databases.of(&db.project("one")).await;
        let mut heard = database.listen("pgrst");
        assert_eq!(heard.next().await, Some(Notification::Connected));
        db.execute("notify pgrst, 'reload schema'").await;
        assert_eq!(heard.next().await, Some(Notification::Message("reload schema".to_owned())));
        let kill = "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1";
        // Who came back waits no longer the next time.
        for _ in 0..4 {
            db.admin().await.execute(kill, &[&db.login()]).await.unwrap();
            let again = tokio::time::timeout(Duration::from_secs(20), heard.next()).await;
            assert_eq!(again, Ok(Some(Notification::Connected)));
        }
        db.execute("notify pgrst, 'a'; notify pgrst, 'b'").await;
        heard.settle(Duration::from_millis(200), Duration::from_secs(5)).await;
        drop(database);
        databases.close(Duration::from_secs(5)).await;
        assert_eq!(heard.next().await, None);
        db.wait_for_backends(0).await;
    });
}

#[test]
fn a_dropped_listener_frees_its_connection() {
    run(|db| async move {
        let databases = db.databases(PoolSettings::default());
        let database = databases.of(&db.project("one")).await;
        let mut heard = database.listen("pgrst");
        assert_eq!(heard.next().await, Some(Notification::Connected));
        db.wait_for_backends(1).await;
        drop(heard);
        db.wait_for_backends(0).await;
    });
}

//! Versions of projects in two processes over a real PostgreSQL: a write of one is one of the other, and who cannot hear
//! relies on nothing.

use std::time::Duration;

use common::ProjectRef;
use store::{Version, Versions};
use tokio::time::Instant;

use crate::support::{Fixture, quickest, run};

fn board() -> ProjectRef {
    "board".parse().unwrap()
}

async fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(it) = done() {
            return it;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn pair(db: &Fixture) -> [(Versions, Version); 2] {
    let (one, other) = (Versions::shared(&db.server, &db.name), Versions::shared(&db.server, &db.name));
    let first = until("the first listens", || one.of(&board())).await;
    let second = until("the second listens", || other.of(&board())).await;
    [(one, first), (other, second)]
}

#[test]
fn a_write_of_one_process_changes_the_version_in_the_other() {
    run(|db| async move {
        let [(one, first), (other, second)] = pair(&db).await;
        let another: ProjectRef = "another".parse().unwrap();
        let untouched = other.of(&another);
        let (mut mine, mut heard) = (first, second);
        let took = quickest(Duration::from_secs(1), async || {
            one.changed(&board()).await;
            mine = one.of(&board()).filter(|it| *it != mine).expect("here at once");
            let told = Instant::now();
            heard = until("the other hears", || other.of(&board()).filter(|it| *it != heard)).await;
            told.elapsed()
        });
        let took = took.await;
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(other.of(&another), untouched);
        // Many at once are told together, and nobody is left waiting.
        let took = quickest(Duration::from_millis(900), async || {
            let writes = (0..500).map(|_| one.changed(&another));
            let started = Instant::now();
            futures_util::future::join_all(writes).await;
            started.elapsed()
        });
        let took = took.await;
        assert!(took < Duration::from_millis(900), "{took:?}");
        until("the other hears of them", || other.of(&another).filter(|it| Some(*it) != untouched)).await;
        // What one hears by itself is no news.
        assert_eq!(other.of(&board()), Some(heard));
        one.doubt(&board());
        assert_eq!(one.of(&board()), None);
        until("the other doubts too", || other.of(&board()).is_none().then_some(())).await;
    });
}

#[test]
fn who_cannot_hear_relies_on_nothing_and_starts_anew() {
    run(|db| async move {
        let [(one, _), (other, second)] = pair(&db).await;
        let admin = db.admin().await;
        let listeners = "from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database() \
            and (query like '%pg_notify%' or query like '%listen madbase_writes%')";
        let kill = format!("select count(pg_terminate_backend(pid)) {listeners}");
        assert_eq!(admin.query_one(&kill, &[]).await.unwrap().get::<_, i64>(0), 2);
        until("the loss is noticed", || other.of(&board()).is_none().then_some(())).await;
        let told = Instant::now();
        one.changed(&board()).await;
        assert!(told.elapsed() < Duration::from_secs(10), "no writer waits long: {:?}", told.elapsed());
        let again = until("both are back", || one.of(&board()).and(other.of(&board()))).await;
        assert_ne!(again, second, "something may have been missed");
        let heard = other.of(&board());
        one.changed(&board()).await;
        until("the other hears again", || other.of(&board()).filter(|it| Some(*it) != heard)).await;
        drop((one, other));
        let left = format!("select count(*) {listeners}");
        let deadline = Instant::now() + Duration::from_secs(30);
        while admin.query_one(&left, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            assert!(Instant::now() < deadline, "a connection stays behind");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

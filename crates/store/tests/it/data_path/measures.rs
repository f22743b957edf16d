//! What the data path tells about itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use store::{End, PoolSettings, Session};
use tokio::time::{Instant, sleep};

use super::statement;
use crate::support::run;

/// Counts what is recorded, by name; gauges keep the bits of their last value.
#[derive(Debug, Default)]
struct Counts(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

#[derive(Debug)]
struct Records(Arc<AtomicU64>);

impl HistogramFn for Records {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Counts {
    fn of(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<_> = key.labels().map(metrics::Label::key).collect();
        assert_eq!(labels, ["database"]);
        Arc::clone(self.0.lock().unwrap().entry(key.name().to_owned()).or_default())
    }

    fn get(&self, name: &str) -> u64 {
        let counts = self.0.lock().unwrap();
        counts.get(name).unwrap_or_else(|| panic!("{name} among {counts:?}")).load(Ordering::SeqCst)
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Records(self.of(key))))
    }
}

#[test]
fn round_trips_waits_and_connections_are_counted() {
    run(|db| async move {
        let counts = Counts::default();
        let settings = PoolSettings { data_connections: 1, ..PoolSettings::default() };
        let databases = db.databases(settings);
        // The handles are made when the database is opened, which nothing here waits for.
        let project = db.project("one");
        let opening = metrics::with_local_recorder(&counts, || {
            futures_util::FutureExt::now_or_never(databases.of(&project))
        });
        let database = opening.unwrap();
        let none = Session::default();
        let ask = statement("select 1", &[]);
        // Until the first answer, nobody knows what is prepared.
        database.read(&none, &ask).await.unwrap();
        join_all((0..20).map(|_| database.read(&none, &ask))).await;
        database.write(&none, &ask, End::Commit).await.unwrap();
        assert_eq!(counts.get("madbase_pool_round_trip_seconds"), 22);
        let parses = counts.get("madbase_pool_parses_total");
        // The settings (read-only or none) and the statement, once each.
        assert_eq!(parses, 2);
        let waits = counts.get("madbase_pool_waits_total");
        assert!((1..=22).contains(&waits), "{waits}");
        assert_eq!(counts.get("madbase_pool_wait_seconds"), waits);
        assert!((f64::from_bits(counts.get("madbase_pool_connections")) - 1.0).abs() < 0.1);
        // The answer may be here before the connection is counted as free.
        let deadline = Instant::now() + Duration::from_secs(10);
        while f64::from_bits(counts.get("madbase_pool_in_use")).abs() > 0.1 {
            assert!(Instant::now() < deadline, "it stays in use");
            sleep(Duration::from_millis(5)).await;
        }
        for zero in ["lost", "timeouts", "cancels"] {
            assert_eq!(counts.get(&format!("madbase_pool_{zero}_total")), 0, "{zero}");
        }
    });
}

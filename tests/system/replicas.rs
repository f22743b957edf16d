//! The binary with a read replica: `madbase rest` on a primary and a standby, as the guide has it.

use serde_json::json;

use crate::rest::{PLAIN, Rest, free_port};
use crate::server::Home;

/// What [`PLAIN`] lacks: where a request is answered.
const PLACES: &str = "
    create view shop.here as select case when pg_is_in_recovery() then 'replica' else 'primary' end as place;
    grant select on shop.here to visitor;
    create function shop.acts() returns text language sql as 'select place from shop.here'";

// REQ H3: the setting, end to end.
#[test]
fn reads_go_to_the_replica_that_read_replica_url_names() {
    testkit::run(async {
        let mut standby = testkit::standby().await;
        let primary = testkit::primary().await;
        let administrator = primary.store().admin("postgres").await.unwrap();
        administrator.batch_execute(PLAIN).await.unwrap();
        administrator.batch_execute(PLACES).await.unwrap();
        standby.catch_up().await;
        let url = primary.url();
        let (_, place) = url.split_once('@').unwrap();
        let near = url::Url::parse(standby.url()).unwrap().port().unwrap();
        let home = &Home::new();
        let file = format!("db-uri = \"postgres://rest_login:pw@{place}\"\ndb-schemas = \"shop\"\n");
        std::fs::write(home.file("rest.conf"), file).unwrap();
        let admin = free_port();
        let rest = Rest::start(home, free_port(), |command| {
            // The login and its password are those of db-uri.
            command.env("READ_REPLICA_URL", format!("postgres://127.0.0.1:{near}"));
            command.env("PGRST_DB_ANON_ROLE", "visitor").env("PGRST_ADMIN_SERVER_PORT", admin.to_string());
        });
        rest.until_answered(home, "/here", json!([{ "place": "replica" }])).await;
        let acted = reqwest::Client::new().post(format!("{}/rpc/acts", rest.url)).send().await.unwrap();
        assert_eq!(acted.json::<String>().await.unwrap(), "primary");
        standby.crash().await;
        rest.until_answered(home, "/here", json!([{ "place": "primary" }])).await;
        let metrics = reqwest::get(format!("http://127.0.0.1:{admin}/metrics")).await.unwrap();
        let metrics = metrics.text().await.unwrap();
        for expected in [
            format!("madbase_reads_total{{database=\"postgres\",target=\"127.0.0.1:{near}\"}}"),
            "madbase_reads_total{database=\"postgres\",target=\"primary\"}".to_owned(),
            "madbase_read_fallbacks_total{database=\"postgres\",reason=\"lost\"}".to_owned(),
            format!("madbase_replica_usable{{replica=\"127.0.0.1:{near}\"}} "),
            format!("madbase_replica_lag_seconds{{replica=\"127.0.0.1:{near}\"}} "),
            format!("madbase_replica_lag_bytes{{replica=\"127.0.0.1:{near}\"}} "),
        ] {
            assert!(metrics.contains(&expected), "{expected} in {metrics}");
        }
    });
}

#[test]
fn a_replica_that_cannot_be_is_refused_with_an_example() {
    let home = &Home::new();
    let refused = |value: &str| {
        let mut command = home.command(&["rest"]);
        command.env("PGRST_DB_URI", "postgres://127.0.0.1:1/app").env("PGRST_SERVER_PORT", "0");
        let output = command.env("READ_REPLICA_URL", value).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for value in ["postgres://one:port", "postgres://ok:1, nonsense"] {
        let told = refused(value);
        assert!(told.contains("READ_REPLICA_URL cannot be read; an example:"), "{told}");
    }
    let output =
        home.command(&["rest", "--read-replica-url", "postgres://ada:secret@near"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("READ_REPLICA_URL") && !told.contains("standby"), "{told}");
}

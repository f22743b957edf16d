//! Encrypted connections to a PostgreSQL with a certificate: every mode of `libpq`, by every way to connect.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use store::postgres::Client;
use store::{Error, Notification, PoolSettings, Session, Statement};
use tempfile::TempDir;

use crate::support::{Fixture, eventually, run};

/// An authority of a test's own.
fn authority(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

/// PostgreSQL writes its certificate for `localhost` itself, since only it may read the key.
async fn switch_on(admin: &Client, issuer: &Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap().pem();
    for (file, text) in [("tls_test.crt", certificate), ("tls_test.key", key.serialize_pem())] {
        let text = BASE64_STANDARD.encode(text);
        let program = format!("base64 -d > {file} && chmod 600 {file}");
        admin.batch_execute(&format!("copy (select '{text}') to program '{program}'")).await.unwrap();
    }
    for setting in ["ssl_cert_file = 'tls_test.crt'", "ssl_key_file = 'tls_test.key'", "ssl = on"] {
        admin.batch_execute(&format!("alter system set {setting}")).await.unwrap();
    }
    reload(admin, "on").await;
}

async fn reload(admin: &Client, expected: &str) {
    admin.batch_execute("select pg_reload_conf()").await.unwrap();
    eventually("the server has taken its settings", async || {
        let seen: String = admin.query_one("show ssl", &[]).await.unwrap().get(0);
        if seen == expected { Ok(()) } else { Err(seen) }
    })
    .await;
}

/// The fixture's server at `host` with `parameters`.
fn url(db: &Fixture, host: &str, parameters: &str) -> String {
    let mut url = url::Url::parse(&db.url).unwrap();
    url.set_host(Some(host)).unwrap();
    url.set_query(Some(parameters));
    url.to_string()
}

/// Whether connections are encrypted: those of the data path and the services, the administrator's and listeners.
async fn check(db: &Fixture, host: &str, parameters: &str) -> Result<bool, Error> {
    const SSL: &str = "select ssl::text from pg_stat_ssl where pid = pg_backend_pid()";
    let databases = db.through(&url(db, host, parameters), PoolSettings::default());
    let database = databases.of(&db.project("one")).await;
    let ask = Statement { text: SSL.into(), params: vec![] };
    let answer = database.read(&Session::default(), &ask).await?;
    let on_the_data_path = answer.rows.first().and_then(|it| it.text(0)) == Some("true");
    let ways = [
        database.services().await?.query_one(SSL, &[]).await?.get::<_, String>(0),
        databases.server().admin(&db.project("one").database).await?.query_one(SSL, &[]).await?.get(0),
    ];
    assert!(ways.iter().all(|it| (it == "true") == on_the_data_path), "{parameters}: {ways:?}");
    assert_eq!(database.listen("tls").next().await, Some(Notification::Connected));
    Ok(on_the_data_path)
}

#[test]
fn every_mode_encrypts_and_verifies_as_libpq_does() {
    run(|db| async move {
        let admin = db.admin().await;
        let (issuer, known) = authority("known");
        let (_, foreign) = authority("foreign");
        let files = TempDir::new().unwrap();
        let file = |name: &str, text: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (known, foreign) = (file("known.pem", &known), file("foreign.pem", &foreign));

        // Without TLS on the server.
        assert!(!check(&db, "localhost", "sslmode=prefer").await.unwrap());
        let refused = check(&db, "localhost", "sslmode=require").await.unwrap_err();
        assert!(format!("{refused:?}").contains("does not speak TLS"), "{refused:?}");

        switch_on(&admin, &issuer).await;
        let full = format!("sslmode=verify-full&sslrootcert={known}");
        for (host, parameters, encrypted) in [
            ("localhost", "", true),
            ("localhost", "sslmode=disable", false),
            ("localhost", "sslmode=prefer", true),
            ("127.0.0.1", "sslmode=require", true),
            ("127.0.0.1", &format!("sslmode=verify-ca&sslrootcert={known}"), true),
            ("localhost", &full, true),
        ] {
            assert_eq!(check(&db, host, parameters).await.unwrap(), encrypted, "{host} {parameters}");
        }
        for (host, parameters) in [
            ("127.0.0.1", full.as_str()),
            ("localhost", &format!("sslmode=verify-full&sslrootcert={foreign}")),
            ("localhost", &format!("sslmode=verify-ca&sslrootcert={foreign}")),
            ("localhost", &format!("sslmode=require&sslrootcert={foreign}")),
        ] {
            let refused = check(&db, host, parameters).await.unwrap_err();
            assert!(format!("{refused:?}").contains("ertificate"), "{host} {parameters}: {refused:?}");
        }
        large_statements_and_answers_pass(&db, &full).await;
        admin.batch_execute("alter system reset ssl").await.unwrap();
        reload(&admin, "off").await;
    });
}

async fn large_statements_and_answers_pass(db: &Fixture, parameters: &str) {
    let databases = db.through(&url(db, "localhost", parameters), PoolSettings::default());
    let database = databases.of(&db.project("one")).await;
    let text = "x".repeat(3_000_000);
    let params = vec![Some(text.clone().into_bytes().into())];
    let ask = Statement { text: "select $1::text || $1::text".into(), params };
    let answer = database.read(&Session::default(), &ask).await.unwrap();
    assert_eq!(answer.rows.first().and_then(|it| it.text(0)).unwrap().len(), 2 * text.len());
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = store::Server::from_url("postgres://a@b/c?sslmode=verify-ca&sslrootcert=/nowhere.pem");
    assert!(error.unwrap_err().to_string().contains("sslrootcert=/nowhere.pem"));
}

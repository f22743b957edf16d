//! How the data path and the services prove who they are: trust, cleartext, MD5, SCRAM.

use store::postgres::Client;
use store::{Error, PoolSettings, Session, Statement};

use crate::support::{Fixture, eventually, run};

const METHODS: [&str; 4] = ["trust", "password", "md5", "scram-sha-256"];

/// Put `text` into the server's file of access rules and make it read them.
async fn write_rules(admin: &Client, file: &str, text: &[u8]) {
    // Either the cluster is this process's own, or the server writes the file itself.
    if std::fs::metadata(file).is_ok() && std::fs::write(file, text).is_ok() {
        admin.execute("select pg_reload_conf()", &[]).await.unwrap();
        return;
    }
    let row = admin.query_one("select lo_from_bytea(0, $1)", &[&text]).await.unwrap();
    let object: u32 = row.get(0);
    admin.execute("select lo_export($1, $2)", &[&object, &file]).await.unwrap();
    admin.execute("select pg_reload_conf()", &[]).await.unwrap();
}

/// Whether `user` gets in with `password`, by the data path and by the services' pool.
async fn gets_in(db: &Fixture, user: &str, password: &str) -> Result<(), Error> {
    let mut url = url::Url::parse(&db.url).unwrap();
    url.set_host(Some("127.0.0.1")).unwrap();
    let databases = db.through(url.as_str(), PoolSettings::default());
    let mut project = db.project("one");
    for login in [&mut project.logins.authenticator, &mut project.logins.services] {
        login.user = user.to_owned();
        login.password = password.into();
    }
    let database = databases.of(&project).await;
    let ask = Statement { text: "select current_user".into(), params: vec![] };
    let answer = database.read(&Session::default(), &ask).await?;
    assert_eq!(answer.rows.first().and_then(|it| it.text(0)), Some(user));
    database.services().await?.simple_query("select 1").await?;
    Ok(())
}

#[test]
fn every_proof_of_a_password_works_and_a_wrong_one_is_refused() {
    run(|db| async move {
        let admin = db.admin().await;
        let row = admin
            .query_one(
                "select current_setting('hba_file'), pg_read_binary_file(current_setting('hba_file'))",
                &[],
            )
            .await
            .unwrap();
        let (file, rules): (String, Vec<u8>) = (row.get(0), row.get(1));
        let mut ours = String::new();
        for (number, method) in METHODS.iter().enumerate() {
            let role = format!("{}_proof{number}", db.name);
            let encryption = if *method == "md5" { "md5" } else { "scram-sha-256" };
            let create = format!(
                "set password_encryption = '{encryption}'; create role {role} login password 'right'"
            );
            admin.batch_execute(&create).await.unwrap();
            ours.push_str(&format!("host {} {role} 127.0.0.1/32 {method}\n", db.name));
        }
        write_rules(&admin, &file, &[ours.as_bytes(), &rules].concat()).await;
        let outcome = tokio::spawn({
            let db = db.clone();
            async move {
                for (number, method) in METHODS.iter().enumerate() {
                    let role = &format!("{}_proof{number}", db.name);
                    eventually(method, async || {
                        let (right, wrong) =
                            (gets_in(&db, role, "right").await, gets_in(&db, role, "wrong").await);
                        let refused = matches!(wrong, Err(Error::Connect(_)));
                        let as_expected = right.is_ok() && (refused || *method == "trust");
                        if as_expected { Ok(()) } else { Err(format!("{right:?} {wrong:?}")) }
                    })
                    .await;
                }
            }
        })
        .await;
        write_rules(&admin, &file, &rules).await;
        for number in 0..METHODS.len() {
            admin.batch_execute(&format!("drop role {}_proof{number}", db.name)).await.unwrap();
        }
        outcome.unwrap();
    });
}

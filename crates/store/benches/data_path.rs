//! One-row reads by primary key through the data path, beside `pgbench -M prepared` on the same table.
//!
//! `cargo bench -p store` measures the server of `MADBASE_TEST_DATABASE_URL`; it makes and drops a database of its own.
//! Figures mean something only beside each other: the machine's load changes both.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on must stop")]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::jwt::KeyRing;
use common::{ApiKeys, AuthSettings, Login, Logins, Project, ProjectId, RestSettings};
use store::{Database, Databases, PoolSettings, Server, Session, Statement};
use tokio::time::Instant;

const DATABASE: &str = "store_bench";
const ROWS: u32 = 100_000;
const TIME: Duration = Duration::from_secs(4);
const READ: &str = "select body from bench where id = ";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run());
}

#[expect(clippy::disallowed_methods, reason = "how a developer points the benchmark to a server")]
fn url() -> String {
    let default = "postgres://supabase_admin@127.0.0.1:55432/postgres";
    std::env::var("MADBASE_TEST_DATABASE_URL").unwrap_or_else(|_| default.to_owned())
}

async fn run() {
    let url = url();
    let server = Server::from_url(&url).unwrap();
    let admin = server.admin("postgres").await.unwrap();
    let _ = admin.batch_execute(&format!("drop database if exists {DATABASE} with (force)")).await;
    admin.batch_execute(&format!("create database {DATABASE}")).await.unwrap();
    let owner = server.admin(DATABASE).await.unwrap();
    let fill = format!(
        "create table bench as select id, repeat('x', 100) body from generate_series(1, {ROWS}) id; \
         alter table bench add primary key (id); vacuum analyze bench"
    );
    for text in fill.split("; ") {
        owner.batch_execute(text).await.unwrap();
    }
    let user: String = owner.query_one("select current_user::text", &[]).await.unwrap().get(0);
    for connections in [4, 10] {
        let settings = PoolSettings { data_connections: connections, ..PoolSettings::default() };
        let database = Databases::new(server.clone(), settings).of(&project(&user)).await;
        for clients in [1, 16, 64] {
            let (rate, p99) = measure(&database, &user, clients).await;
            let floor = pgbench(&url, clients).await;
            println!(
                "{connections:>2} connections, {clients:>2} clients: {rate:>8.0} reads/s, p99 {p99:?}, pgbench {floor:>8.0}, ratio {:.2}",
                rate / floor
            );
        }
    }
    drop(owner);
    admin.batch_execute(&format!("drop database {DATABASE} with (force)")).await.unwrap();
}

async fn measure(database: &Arc<Database>, role: &str, clients: u32) -> (f64, Duration) {
    let started = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| tokio::spawn(client_loop(Arc::clone(database), role.to_owned(), client, started)))
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    times.sort_unstable();
    let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
    let count = u32::try_from(times.len()).unwrap();
    (f64::from(count) / started.elapsed().as_secs_f64(), p99)
}

async fn client_loop(database: Arc<Database>, role: String, client: u32, started: Instant) -> Vec<Duration> {
    let text: Arc<str> = format!("{READ}$1::int").into();
    let settings = vec![
        ("role".into(), role),
        ("request.jwt.claims".into(), r#"{"role":"authenticated","sub":"0b5e","exp":1893456000}"#.to_owned()),
        ("request.method".into(), "GET".to_owned()),
        ("request.path".into(), "/bench".to_owned()),
    ];
    let session = Session { settings, ..Session::default() };
    let (mut times, mut id) = (Vec::new(), client);
    while started.elapsed() < TIME {
        id = (id * 7919 + 1) % ROWS;
        let params = vec![Some(Bytes::from((id + 1).to_string()))];
        let asked = Instant::now();
        let answer = database.read(&session, &Statement { text: Arc::clone(&text), params }).await.unwrap();
        assert_eq!(answer.rows.len(), 1);
        times.push(asked.elapsed());
    }
    times
}

async fn pgbench(url: &str, clients: u32) -> f64 {
    let script = std::env::temp_dir().join("store_bench.sql");
    std::fs::write(&script, format!("\\set id random(1, {ROWS})\n{READ}:id;\n")).unwrap();
    let mut url = url::Url::parse(url).unwrap();
    url.set_path(DATABASE);
    let mut command = Command::new("pgbench");
    command.args(["-n", "-M", "prepared", "-T", "4", "-j", "2", "-c", &clients.to_string(), "-f"]);
    command.arg(script).arg(url.as_str());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let Ok(output) = output else { return f64::NAN };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rate = text.lines().find_map(|it| it.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    rate.unwrap_or(f64::NAN)
}

fn project(user: &str) -> Project {
    let login = || Login { user: user.to_owned(), password: "unused".into() };
    let key = || "unused".into();
    Project {
        id: ProjectId(uuid::Uuid::nil()),
        reference: "bench".parse().unwrap(),
        name: "bench".to_owned(),
        database: DATABASE.to_owned(),
        logins: Logins { owner: login(), authenticator: login(), services: login() },
        keys: ApiKeys { anon: key(), service_role: key(), publishable: key(), secret: key() },
        jwt: KeyRing::default(),
        auth: AuthSettings::default(),
        rest: RestSettings::default(),
        limits: common::LimitSettings::default(),
        realtime: common::RealtimeSettings::default(),
        version: 1,
        vault: common::Vault::new(&[7; 32]).unwrap(),
    }
}

//! Mails by real SMTP: a small server on loopback that speaks enough of RFC 5321.

use std::time::Duration;

use common::{AuthSettings, SmtpSettings};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::support::{Api, PASSWORD};

/// What a server got: the commands, and the mail.
pub(crate) struct Received {
    pub(crate) commands: Vec<String>,
    pub(crate) data: String,
}

/// Take mails on loopback; `refuse` answers the first `MAIL` with a temporary error.
pub(crate) async fn server(refuse: usize) -> (u16, mpsc::Receiver<Received>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        let mut refuse = refuse;
        while let Ok((stream, _)) = listener.accept().await {
            if let Some(received) = talk(stream, &mut refuse).await {
                sender.send(received).await.unwrap();
            }
        }
    });
    (port, receiver)
}

async fn talk(stream: TcpStream, refuse: &mut usize) -> Option<Received> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 sink ready\r\n").await.unwrap();
    let mut received = Received { commands: Vec::new(), data: String::new() };
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap() == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        let verb = line.split([' ', ':']).next().unwrap().to_ascii_uppercase();
        received.commands.push(line);
        let answer: &[u8] = match verb.as_str() {
            "EHLO" => b"250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n",
            "AUTH" => b"235 welcome\r\n",
            "MAIL" if *refuse > 0 => {
                *refuse -= 1;
                b"451 later\r\n"
            }
            "DATA" => b"354 go on\r\n",
            "QUIT" => b"221 bye\r\n",
            _ => b"250 ok\r\n",
        };
        stream.write_all(answer).await.unwrap();
        if verb == "DATA" {
            let mut data = Vec::new();
            while !data.ends_with(b"\r\n.\r\n") {
                data.push(stream.read_u8().await.unwrap());
            }
            received.data = String::from_utf8(data).unwrap();
            stream.write_all(b"250 taken\r\n").await.unwrap();
            return Some(received);
        }
    }
}

pub(crate) fn settings(port: u16) -> AuthSettings {
    AuthSettings {
        mailer_autoconfirm: false,
        smtp: Some(SmtpSettings {
            host: "127.0.0.1".into(),
            port,
            tls: false,
            username: Some("user".into()),
            password: Some("secret".into()),
            from: "Board <board@example.com>".into(),
        }),
        ..AuthSettings::default()
    }
}

pub(crate) async fn next(mails: &mut mpsc::Receiver<Received>) -> Received {
    tokio::time::timeout(Duration::from_secs(20), mails.recv()).await.unwrap().unwrap()
}

#[test]
fn a_confirmation_leaves_by_smtp_and_not_into_the_inbox() {
    testkit::run(async {
        let (port, mut mails) = server(0).await;
        let api = Api::new("smtp", settings(port)).await;
        let body = json!({"email": "ada@example.com", "password": PASSWORD});
        assert_eq!(api.post("/signup", body).await.status, 200);
        let mail = next(&mut mails).await;
        let commands = mail.commands.join("\n");
        assert!(
            commands.contains("AUTH PLAIN") && commands.contains("RCPT TO:<ada@example.com>"),
            "{commands}"
        );
        assert!(
            mail.data.contains("Subject: Confirm your signup")
                && mail.data.contains("Board <board@example.com>"),
            "{}",
            mail.data
        );
        assert!(mail.data.contains("text/html") && mail.data.contains("text/plain"), "{}", mail.data);
        assert!(api.inbox.list().is_empty());
        // The mail's link works: quoted-printable is undone first.
        let text = mail.data.replace("=\r\n", "").replace("=3D", "=");
        let (_, link) = text.split_once("http://api.test/auth/v1").unwrap();
        let link = link.split_whitespace().next().unwrap().to_owned();
        let answer = api.get(&link, None).await;
        assert!(answer.location().contains("#access_token="), "{}", answer.location());
    });
}

#[test]
fn an_smtp_server_that_is_busy_is_asked_again() {
    testkit::run(async {
        let (port, mut mails) = server(1).await;
        let api = Api::retrying("smtpretry", settings(port)).await;
        let body = json!({"email": "ada@example.com", "password": PASSWORD});
        assert_eq!(api.post("/signup", body).await.status, 200);
        assert!(next(&mut mails).await.data.contains("Confirm"));
    });
}

#[test]
fn a_server_that_never_answers_delays_nobody() {
    testkit::run(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let api = Api::new("smtpsilent", settings(listener.local_addr().unwrap().port())).await;
        let body = json!({"email": "ada@example.com", "password": PASSWORD});
        let answer = tokio::time::timeout(Duration::from_secs(20), api.post("/signup", body)).await.unwrap();
        assert_eq!(answer.status, 200);
    });
}

/// Rows of the outbox, once there are `count` of them.
async fn outbox(api: &Api, count: usize) -> Vec<String> {
    let admin = api.test.admin().await;
    for _ in 0..200 {
        let rows = admin.query("select mail from auth.mail_outbox", &[]).await.unwrap();
        if rows.len() == count {
            return rows.iter().map(|it| it.get(0)).collect();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the outbox does not come to {count} mails");
}

#[test]
fn a_mail_survives_the_process_that_was_to_send_it() {
    testkit::run(async {
        let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let api = Api::new("smtpkilled", settings(silent.local_addr().unwrap().port())).await;
        let body = json!({"email": "ada@example.com", "password": PASSWORD});
        assert_eq!(api.post("/signup", body).await.status, 200);
        let kept = outbox(&api, 1).await;
        assert!(kept[0].starts_with("sealed1:") && !kept[0].contains("ada"), "{kept:?}");
        // Nobody heard from it for ten minutes; any request to another process finds it.
        api.wait(601);
        let (port, mut mails) = server(0).await;
        let other = api.restarted(settings(port));
        assert_eq!(other.get("/user", None).await.status, 401);
        let mail = next(&mut mails).await;
        assert!(mail.commands.join("\n").contains("RCPT TO:<ada@example.com>"), "{:?}", mail.commands);
        assert_eq!(outbox(&api, 0).await, Vec::<String>::new());
        let text = mail.data.replace("=\r\n", "").replace("=3D", "=");
        let (_, link) = text.split_once("http://api.test/auth/v1").unwrap();
        let link = link.split_whitespace().next().unwrap().to_owned();
        assert!(other.get(&link, None).await.location().contains("#access_token="));
    });
}

#[test]
fn mails_that_have_left_or_are_too_old_do_not_stay() {
    testkit::run(async {
        let (port, mut mails) = server(0).await;
        let api = Api::new("smtpleft", settings(port)).await;
        let body = json!({"email": "ada@example.com", "password": PASSWORD});
        assert_eq!(api.post("/signup", body).await.status, 200);
        next(&mut mails).await;
        outbox(&api, 0).await;
        let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let stuck = api.restarted(settings(silent.local_addr().unwrap().port()));
        let body = json!({"email": "bob@example.com", "password": PASSWORD});
        assert_eq!(stuck.post("/signup", body).await.status, 200);
        outbox(&api, 1).await;
        api.wait(3601);
        let later = api.restarted(settings(port));
        later.get("/user", None).await;
        outbox(&api, 0).await;
        assert!(mails.try_recv().is_err(), "what says nothing any more is not sent");
    });
}

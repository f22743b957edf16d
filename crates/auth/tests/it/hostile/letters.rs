//! Mails that somebody else would like to have a say in: lines in names, addresses, subjects and redirects.

use common::MailTemplate;
use http::Method;
use serde_json::json;

use super::redirects::TRICKS;
use crate::smtp::{next, server, settings};
use crate::support::{Api, PASSWORD};

const LINES: &str = "Ada\r\nBcc: eve@evil.test\r\n\r\n<script>alert(1)</script>";

/// The header fields of a mail on the wire, unfolded.
fn fields(data: &str) -> Vec<String> {
    let head = data.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ").replace("\r\n\t", " ");
    head.split("\r\n").map(str::to_owned).collect()
}

#[test]
fn lines_in_what_users_type_make_no_headers() {
    testkit::run(async {
        let (port, mut mails) = server(0).await;
        let own = |subject: &str| MailTemplate {
            subject: Some(subject.into()),
            content: Some(
                "<p>{{ .Data.name }} {{ .NewEmail }} {{ .RedirectTo }} {{ .ConfirmationURL }}</p>".into(),
            ),
        };
        let templates = [
            ("confirmation".to_owned(), own("Hello {{ .Data.name }}\r\nBcc: eve@evil.test")),
            ("email_change".to_owned(), own("{{ .Data.name }}{{ .NewEmail }}")),
        ];
        let base = common::AuthSettings {
            mailer_templates: templates.into(),
            mail_max_frequency_secs: 0,
            mailer_secure_email_change: false,
            ..settings(port)
        };
        let api = Api::new("hostile_lines", base).await;
        let path = "/signup?redirect_to=http%3A%2F%2Flocalhost%3A3000%2Fx%0d%0aBcc%3A%20eve%40evil.test";
        let body = json!({"email": "ada@example.com", "password": PASSWORD, "data": {"name": LINES}});
        assert_eq!(api.post(path, body).await.status, 200);
        let mail = next(&mut mails).await;
        let names: Vec<_> =
            fields(&mail.data).iter().map(|it| it.split(':').next().unwrap().to_owned()).collect();
        let wanted = ["From", "To", "Subject", "MIME-Version", "Date", "Content-Type"];
        assert!(names.iter().all(|it| wanted.contains(&it.as_str())), "{names:?}");
        let to: Vec<_> = mail.commands.iter().filter(|it| it.starts_with("RCPT")).collect();
        assert_eq!(to, ["RCPT TO:<ada@example.com>"]);
        let (_, text) = mail.data.split_once("\r\n\r\n").unwrap();
        assert!(text.contains("&lt;script&gt;") && !text.contains("<script>"), "{text}");
    });
}

#[test]
fn addresses_that_are_more_than_one_are_refused() {
    testkit::run(async {
        let (port, mut mails) = server(0).await;
        let api = Api::new("hostile_recipients", settings(port)).await;
        for address in [
            "ada@example.com\r\nBcc: eve@evil.test",
            "ada@example.com\nBcc: eve@evil.test",
            "ada@example.com,eve@evil.test",
            "ada@example.com;eve@evil.test",
            "ada@example.com eve@evil.test",
            "<ada@example.com>",
            "Ada <ada@example.com>",
            "ada@example.com> RCPT TO:<eve@evil.test",
            "\"ada\\\"@evil.test\"@example.com",
            "ada@example.com\u{0}",
            "ada@exa\u{2028}mple.com",
            "@example.com",
            "ada@",
            "ada",
        ] {
            for (path, body) in [
                ("/signup", json!({"email": address, "password": PASSWORD})),
                ("/otp", json!({"email": address})),
                ("/recover", json!({"email": address})),
                ("/magiclink", json!({"email": address})),
            ] {
                let answer = api.post(path, body).await;
                assert_eq!(answer.refusal(), (400, "validation_failed"), "{address:?} at {path}");
            }
            let invited = api.admin(Method::POST, "/invite", json!({"email": address})).await;
            assert_eq!(invited.refusal(), (400, "validation_failed"), "{address:?}");
        }
        // Nothing left for any of them: the first mail is this one.
        let body = json!({"email": "last@example.com", "password": PASSWORD});
        assert_eq!(api.post("/signup", body).await.status, 200);
        let mail = next(&mut mails).await;
        assert!(mail.commands.contains(&"RCPT TO:<last@example.com>".to_owned()), "{:?}", mail.commands);
    });
}

#[test]
fn links_in_mails_are_ours_whatever_the_request_says() {
    testkit::run(async {
        let settings = common::AuthSettings { mailer_autoconfirm: false, ..common::AuthSettings::default() };
        let api = Api::new("hostile_host", settings).await;
        for (number, evil) in TRICKS.iter().chain(&["evil.test"]).enumerate() {
            let Ok(value) = http::HeaderValue::from_str(evil) else { continue };
            let mut request = api.request(&Method::POST, "/signup", None);
            for name in ["host", "x-forwarded-host", "x-forwarded-proto", "forwarded", "origin", "referer"] {
                request = request.header(name, value.clone());
            }
            let body = json!({"email": format!("a{number}@example.com"), "password": PASSWORD});
            let answer = api.send(request.body(body.to_string().into()).unwrap()).await;
            assert_eq!(answer.status, 200, "{evil}: {}", answer.body);
            let link = api.mail().link.unwrap();
            assert!(link.starts_with("http://api.test/auth/v1/verify?"), "{link}");
            assert!(!link.contains("evil"), "{link}");
            if number == 25 {
                break;
            }
        }
    });
}

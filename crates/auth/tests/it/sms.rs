//! SMS by Twilio's HTTP API and by a webhook: a server on loopback plays the provider.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use common::{AuthSettings, SmsProvider};
use http::{HeaderMap, StatusCode, Uri, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Api, Session};

const NUMBER: &str = "+491701234567";

/// What a provider got: path, `Authorization`, body.
type Calls = Arc<Mutex<Vec<(String, String, String)>>>;

/// A provider that answers everything with `status` and `body`.
async fn provider(status: StatusCode, body: Value) -> (String, Calls) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let calls = Calls::default();
    let answer =
        async move |State(calls): State<Calls>, uri: Uri, headers: HeaderMap, text: String| -> Response {
            let authorization = headers.get(header::AUTHORIZATION).map(|it| it.to_str().unwrap().to_owned());
            calls.lock().unwrap().push((uri.to_string(), authorization.unwrap_or_default(), text));
            (status, axum::Json(body.clone())).into_response()
        };
    let router = Router::new().fallback(answer).with_state(Arc::clone(&calls));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, calls)
}

fn twilio(url: String) -> AuthSettings {
    let provider = SmsProvider::Twilio {
        account_sid: "AC1".into(),
        auth_token: Some("hush".into()),
        from: "+1555".into(),
        url: Some(url),
    };
    settings(provider)
}

fn settings(provider: SmsProvider) -> AuthSettings {
    AuthSettings {
        phone_enabled: true,
        sms_max_frequency_secs: 0,
        sms_template: "{{ .Code }} is for you".into(),
        sms_provider: Some(provider),
        ..AuthSettings::default()
    }
}

#[test]
fn twilio_gets_number_sender_and_text() {
    testkit::run(async {
        let (url, calls) = provider(StatusCode::CREATED, json!({"sid": "SM1", "status": "queued"})).await;
        let api = Api::new("twilio", twilio(url)).await;
        assert_eq!(api.post("/otp", json!({"phone": NUMBER})).await.status, 200);
        let (path, authorization, body) = calls.lock().unwrap().pop().unwrap();
        assert_eq!(path, "/2010-04-01/Accounts/AC1/Messages.json");
        assert_eq!(authorization, "Basic QUMxOmh1c2g=");
        let fields: Vec<(String, String)> =
            url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let of = |name: &str| fields.iter().find(|it| it.0 == name).unwrap().1.clone();
        assert_eq!((of("To"), of("From"), of("Channel")), (NUMBER.into(), "+1555".into(), "sms".into()));
        let code = of("Body").strip_suffix(" is for you").unwrap().to_owned();
        let verify = json!({"type": "sms", "phone": NUMBER, "token": code});
        Session::of(&api.post("/verify", verify).await);
        // A known user is told the provider's id; WhatsApp has its own form of numbers.
        let answer = api.post("/otp", json!({"phone": NUMBER, "channel": "whatsapp"})).await;
        assert_eq!(answer.body, json!({"message_id": "SM1"}));
        let (_, _, body) = calls.lock().unwrap().pop().unwrap();
        assert!(body.contains("To=whatsapp%3A%2B491701234567&From=whatsapp%3A%2B1555&"), "{body}");
        assert!(api.inbox.list().is_empty());
    });
}

#[test]
fn what_a_provider_refuses_is_told_and_may_be_tried_again_at_once() {
    testkit::run(async {
        let refusal =
            json!({"code": 21211, "message": "Invalid 'To' Phone Number: 491701234567", "status": 400});
        let (url, _) = provider(StatusCode::BAD_REQUEST, refusal).await;
        let settings = AuthSettings { sms_max_frequency_secs: 60, ..twilio(url) };
        let api = Api::new("twiliono", settings).await;
        for _ in 0..2 {
            let answer = api.post("/otp", json!({"phone": NUMBER})).await;
            assert_eq!(answer.refusal(), (422, "sms_send_failed"));
            assert_eq!(
                answer.body["msg"],
                "Error sending confirmation OTP to provider: Invalid 'To' Phone Number: …"
            );
        }
        let (url, _) =
            provider(StatusCode::OK, json!({"status": "failed", "error_message": "no route"})).await;
        let api = api.with(twilio(url));
        assert_eq!(api.post("/otp", json!({"phone": NUMBER})).await.refusal(), (422, "sms_send_failed"));
        let gone = api.with(twilio("http://127.0.0.1:1".into()));
        let answer = gone.post("/otp", json!({"phone": NUMBER})).await;
        assert_eq!(
            answer.body["msg"],
            "Error sending confirmation OTP to provider: the provider does not answer"
        );
        // Nothing was written for a code that nobody got.
        let admin = api.test.admin().await;
        let users = admin.query_one("select count(*) from auth.users", &[]).await.unwrap();
        assert_eq!(users.get::<_, i64>(0), 0);
    });
}

#[test]
fn a_webhook_gets_the_code_as_json_with_its_secret() {
    testkit::run(async {
        let (url, calls) = provider(StatusCode::OK, json!({"message_id": "m1"})).await;
        let hook = SmsProvider::Webhook { url: format!("{url}/sms"), secret: Some("hush".into()) };
        let api = Api::new("smshook", settings(hook)).await;
        assert_eq!(api.post("/otp", json!({"phone": NUMBER})).await.status, 200);
        let (path, authorization, body) = calls.lock().unwrap().pop().unwrap();
        assert_eq!((path.as_str(), authorization.as_str()), ("/sms", "Bearer hush"));
        let body: Value = serde_json::from_str(&body).unwrap();
        let code = body["otp"].as_str().unwrap();
        assert_eq!(
            body,
            json!({"phone": NUMBER, "otp": code, "channel": "sms", "message": format!("{code} is for you")})
        );
        let verify = json!({"type": "sms", "phone": NUMBER, "token": code});
        Session::of(&api.post("/verify", verify).await);
        assert_eq!(api.post("/otp", json!({"phone": NUMBER})).await.body, json!({"message_id": "m1"}));
    });
}

#[test]
fn a_provider_that_answers_without_end_or_leads_elsewhere_is_not_followed() {
    testkit::run(async {
        let (url, _) = provider(StatusCode::OK, json!({"padding": "x".repeat(100_000)})).await;
        let api = Api::new("smsendless", twilio(url)).await;
        assert_eq!(api.post("/otp", json!({"phone": NUMBER})).await.refusal(), (422, "sms_send_failed"));
        let (url, _) = provider(StatusCode::TEMPORARY_REDIRECT, json!({})).await;
        let answer = api.with(twilio(url)).post("/otp", json!({"phone": NUMBER})).await;
        assert_eq!(
            answer.body["msg"],
            "Error sending confirmation OTP to provider: the provider answered 307"
        );
    });
}

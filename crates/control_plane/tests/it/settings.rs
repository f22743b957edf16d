//! Auth's settings over REST: secrets are kept and never shown, Supabase's names are taken, mails can be looked at, and
//! whoever listens hears of every change.

use control_plane::router;
use http::Method;
use serde_json::{Value, json};
use store::Notification;
use testkit::run;

use crate::{Installation, TOKEN, send};

const SECRETS: [&str; 3] = ["hush-captcha", "v1,whsec_aHVzaC1ob29rLWh1c2gtaG9vaw==", "hush-hush"];

#[test]
fn secrets_among_the_settings_are_kept_and_told_to_nobody() {
    run(async {
        let plane = Installation::new().start(Vec::new()).await.unwrap();
        let router = router(plane.clone());
        let path = "/api/v1/projects/default/settings";
        let [captcha, hook, smtp] = SECRETS;
        let first = json!({"auth": {
            "security_captcha_enabled": true, "security_captcha_secret": captcha,
            "hook_send_sms": {"enabled": true, "uri": "https://hooks.example.com/sms", "secrets": hook},
            "smtp": {"host": "mail", "port": 25, "from": "a@b.c", "password": smtp},
        }});
        let answer = send(&router, Some(TOKEN), (Method::PATCH, path), Some(&first)).await;
        assert_eq!(answer.short(), "200", "{}", answer.body);
        // Supabase's flat names, and secrets that are not repeated.
        let second = json!({"auth": {
            "jwt_exp": 600, "uri_allow_list": "https://a.b/**", "hook_send_sms_enabled": false,
            "mailer_subjects_invite": "Join {{ .SiteURL }}", "sessions_timebox": 3600,
        }});
        assert_eq!(send(&router, Some(TOKEN), (Method::PATCH, path), Some(&second)).await.short(), "200");
        let project = plane.project(&"default".parse().unwrap()).await.unwrap().unwrap();
        let auth = &project.auth;
        assert_eq!((auth.jwt_expiry_secs, auth.sessions_timebox), (600, 3600));
        assert_eq!(auth.redirect_urls, ["https://a.b/**"]);
        assert_eq!(auth.security_captcha_secret.as_deref(), Some(captcha));
        assert_eq!((auth.hook_send_sms.enabled, auth.hook_send_sms.secrets.as_deref()), (false, Some(hook)));
        // Another address does not get the old secret.
        let moved = json!({"auth": {"hook_send_sms": {"enabled": false, "uri": "https://evil.example.com"}}});
        assert_eq!(
            send(&router, Some(TOKEN), (Method::PATCH, path), Some(&moved)).await.short(),
            "400 CP101"
        );
        for path in ["/api/v1/projects/default/settings", "/api/v1/audit", "/api/v1/projects/default"] {
            let shown = send(&router, Some(TOKEN), (Method::GET, path), None).await.body.to_string();
            assert!(SECRETS.iter().all(|it| !shown.contains(it)), "{path}: {shown}");
        }
        let audit = send(&router, Some(TOKEN), (Method::GET, "/api/v1/audit"), None).await.body;
        assert_eq!(audit["audit"][0]["action"], "project.configure");
        assert_eq!(audit["audit"][0]["detail"]["auth"]["jwt_expiry_secs"], 600);
    });
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_of_it_is_kept() {
    run(async {
        let router = router(Installation::new().start(Vec::new()).await.unwrap());
        let path = "/api/v1/projects/default/settings";
        for bad in [
            json!({"mailer_templates": {"invite": {"content": "{{ .Token"}}}),
            json!({"mailer_templates": {"letter": {}}}),
            json!({"hook_send_email": {"enabled": true, "uri": "http://example.com"}}),
            json!({"security_captcha_enabled": true}),
            json!({"rate_limit_otp": -1}),
            json!({"sessions_timebox": 40_000_000}),
            json!({"password_hibp_url": "ftp://x"}),
        ] {
            let body = json!({"auth": bad});
            let answer = send(&router, Some(TOKEN), (Method::PATCH, path), Some(&body)).await;
            assert_eq!(answer.short(), "400 CP101", "{body}");
        }
        let audit = send(&router, Some(TOKEN), (Method::GET, "/api/v1/audit"), None).await.body;
        assert_eq!(audit["audit"][0]["action"], "project.create");
    });
}

#[test]
fn a_mail_is_looked_at_before_anybody_gets_it() {
    run(async {
        let router = router(Installation::new().start(Vec::new()).await.unwrap());
        let preview = "/api/v1/projects/default/mail/invite/preview";
        let ours = send(&router, Some(TOKEN), (Method::GET, preview), None).await.body;
        assert_eq!(ours["subject"], "You have been invited");
        let words = json!({"auth": {"mailer_templates": {"invite": {"subject": "Join {{ .SiteURL }}"}}}});
        let settings = (Method::PATCH, "/api/v1/projects/default/settings");
        assert_eq!(send(&router, Some(TOKEN), settings, Some(&words)).await.short(), "200");
        let stored = send(&router, Some(TOKEN), (Method::GET, preview), None).await.body;
        assert_eq!(stored["subject"], "Join http://localhost:3000");
        let draft = json!({"content": "<p>Hi {{ .Data.name }}: {{ .Token }}</p>", "data": {"name": "<Ada>"}});
        let drawn = send(&router, Some(TOKEN), (Method::POST, preview), Some(&draft)).await.body;
        assert_eq!(drawn["html"], "<p>Hi &lt;Ada&gt;: 123456</p>");
        assert_eq!(drawn["subject"], "Join http://localhost:3000");
    });
}

#[test]
fn whoever_listens_hears_of_every_change() {
    run(async {
        let plane = Installation::new().start(Vec::new()).await.unwrap();
        let router = router(plane.clone());
        let mut changes = plane.changes();
        assert_eq!(changes.next().await, Some(Notification::Connected));
        let body = json!({"auth": {"disable_signup": true}});
        let path = "/api/v1/projects/default/settings";
        send(&router, Some(TOKEN), (Method::PATCH, path), Some(&body)).await;
        assert_eq!(changes.next().await, Some(Notification::Message("default".into())));
        send(&router, Some(TOKEN), (Method::POST, "/api/v1/projects/default/keys/rotate"), None::<&Value>)
            .await;
        assert_eq!(changes.next().await, Some(Notification::Message("default".into())));
    });
}

// REQ C6: limits change while the server runs.
#[test]
fn limits_are_a_project_s_own_and_go_back_to_the_operator_s() {
    run(async {
        let plane = Installation::new().start(Vec::new()).await.unwrap();
        let router = router(plane.clone());
        let path = "/api/v1/projects/default/settings";
        let change = async |limits: Value| {
            let change = json!({"limits": limits});
            send(&router, Some(TOKEN), (Method::PATCH, path), Some(&change)).await.short()
        };
        let limits = async || {
            let project = plane.project(&"default".parse().unwrap()).await.unwrap().unwrap();
            project.limits.clone()
        };
        assert_eq!(limits().await, common::LimitSettings::default());
        assert_eq!(change(json!({"data": {"user": 600}, "tiers": {"pro": 6000}})).await, "200");
        let set = limits().await;
        assert_eq!((set.data.user, set.data.ip, set.tiers.get("pro")), (Some(600), None, Some(&6000)));
        assert_eq!(change(json!({"data": {"users": 1}})).await, "400 CP101");
        assert_eq!(change(json!({"tiers": {"": 1}})).await, "400 CP101");
        assert_eq!(change(Value::Null).await, "200");
        assert_eq!(limits().await, common::LimitSettings::default());
    });
}

//! Certificates by ACME without an authority: who does the work, and what any process answers. The whole way, against a
//! real authority, is in `tests/system/tls.rs`.

use std::time::Duration;

use control_plane::AcmeSettings;
use futures_util::future::join;
use store::{DistributedLock, Redis};
use testkit::run;
use tokio::time::{Instant, sleep, timeout};

use crate::{Installation, text};

const FAILURES: &str = "select coalesce(max(failures), 0)::text from madbase.certificates";

/// Of an authority that nobody is.
fn in_vain() -> AcmeSettings {
    AcmeSettings {
        domains: vec!["a.test".into()],
        email: None,
        directory: "https://127.0.0.1:1/dir".into(),
        root: None,
        challenge: None,
    }
}

#[test]
fn what_is_due_is_done_by_one_process_and_failures_wait() {
    run(async {
        let installation = Installation::new();
        let one = installation.start(Vec::new()).await.unwrap();
        let other = installation.start(Vec::new()).await.unwrap();
        let control = installation.control().await;
        let (settings, locks) = (in_vain(), one.locks(&Redis::none()));
        let both = join(
            one.keep_certificates(settings.clone(), locks.clone()),
            other.keep_certificates(settings, locks.clone()),
        );
        let watch = async {
            let deadline = Instant::now() + Duration::from_secs(60);
            while text(&control, FAILURES).await == "0" {
                assert!(Instant::now() < deadline, "nobody tried");
                sleep(Duration::from_millis(20)).await;
            }
            sleep(Duration::from_secs(1)).await;
        };
        tokio::select! {
            _ = both => {}
            () = watch => {}
        }
        assert_eq!(text(&control, FAILURES).await, "1", "one process tried, once");
        let later = "select (due_at > now() + interval '100 s')::text from madbase.certificates";
        assert_eq!(text(&control, later).await, "true");
        let why = text(&control, "select last_error from madbase.certificates").await;
        assert!(why.contains("Connection refused"), "{why}");
        assert!(one.certificates().await.unwrap().is_empty());
    });
}

// REQ C5
#[test]
fn whoever_holds_a_domain_s_lock_does_the_work_and_another_one_when_it_is_gone() {
    run(async {
        let installation = Installation::new();
        let plane = installation.start(Vec::new()).await.unwrap();
        let control = installation.control().await;
        let locks = plane.locks(&Redis::none());
        let holder = DistributedLock::new(&locks, "certificate:a.test", 30);
        assert!(holder.acquire().await);
        let tried = "select count(tried_at)::text from madbase.certificates";
        let watch = async {
            let deadline = Instant::now() + Duration::from_secs(60);
            let wanted = "select count(*)::text from madbase.certificates where due_at <= now()";
            while text(&control, wanted).await == "0" {
                assert!(Instant::now() < deadline, "the domain is not wanted");
                sleep(Duration::from_millis(20)).await;
            }
            sleep(Duration::from_secs(1)).await;
            assert_eq!(text(&control, tried).await, "0", "somebody else is at it");
            // As a process does that dies.
            drop(holder);
            while text(&control, tried).await == "0" {
                assert!(Instant::now() < deadline, "nobody goes on");
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = plane.keep_certificates(in_vain(), locks.clone()) => {}
            () = watch => {}
        }
    });
}

#[test]
fn any_process_answers_challenges_as_long_as_they_are_open() {
    run(async {
        let installation = Installation::new();
        let plane = installation.start(Vec::new()).await.unwrap();
        let control = installation.control().await;
        let challenges = plane.challenges();
        assert_eq!(challenges.key_authorization("t1").await, None);
        let open = "insert into madbase.acme_challenges (token, domain, kind, key_authorization, expires_at) values \
            ('t1', 'a.test', 'http-01', 't1.thumb', default), ('t2', 'a.test', 'tls-alpn-01', 't2.thumb', default), \
            ('t3', 'b.test', 'http-01', 't3.thumb', now() - interval '1 s')";
        control.batch_execute(open).await.unwrap();
        assert_eq!(challenges.key_authorization("t1").await.as_deref(), Some("t1.thumb"), "at once");
        for (token, why) in [("t2", "of the other kind"), ("t3", "ended"), ("none", "unknown")] {
            assert_eq!(challenges.key_authorization(token).await, None, "{why}");
        }
        let shown = challenges.certificate("A.test").await.unwrap();
        assert!(shown.chain.starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(challenges.certificate("b.test").await.is_none());
        // Strangers who ask for what is not there cost twenty questions a second, and no more; nobody waits for his.
        let asked = Instant::now();
        let many = (0..600).map(|it| {
            let challenges = &challenges;
            async move { challenges.key_authorization(&format!("no-{it}")).await }
        });
        let answers = timeout(Duration::from_secs(30), futures_util::future::join_all(many)).await.unwrap();
        assert!(answers.iter().all(Option::is_none));
        assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    });
}

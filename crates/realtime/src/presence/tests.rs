//! What sockets are told of each other.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::json;
use testkit::run;

use super::*;
use crate::event::Payload;
use crate::hub;

/// A presence without Redis, and what it delivers: key, event's topic and payload.
fn presence(redis: &Redis, settings: PresenceSettings) -> (Presence, Receiver<(String, String, Value)>) {
    let (sender, delivered) = channel();
    let deliver: Deliver = Arc::new(move |key, event| {
        assert_eq!(event.name, "presence_diff");
        let Payload::Json(payload) = &event.payload else { panic!("{event:?}") };
        let payload = serde_json::from_slice(payload).unwrap();
        sender.send((key.to_string(), event.topic.to_string(), payload)).ok();
    });
    (Presence::new(redis, &ProjectRef::DEFAULT.parse().unwrap(), settings, deliver), delivered)
}

/// As above, without limits on clients.
fn free(redis: &Redis) -> (Presence, Receiver<(String, String, Value)>) {
    presence(redis, PresenceSettings { client_events: u32::MAX, ..PresenceSettings::default() })
}

async fn next(delivered: &Receiver<(String, String, Value)>) -> (String, String, Value) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match delivered.try_recv() {
            Ok(it) => return it,
            Err(_) => assert!(Instant::now() < deadline, "nothing was delivered"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn state(presence: &Presence, topic: &str) -> Value {
    serde_json::from_slice(&presence.state(topic)).unwrap()
}

#[test]
fn coming_changing_and_going_are_told_as_phoenix_does() {
    run(async {
        let (presence, delivered) = free(&Redis::none());
        let topic: Arc<str> = "realtime:room".into();
        presence.track(&topic, 1, "ada", &json!({"mood": "good"})).unwrap();
        let (key, name, diff) = next(&delivered).await;
        assert_eq!((key.as_str(), name.as_str()), ("realtime:room", "realtime:room"));
        let first = diff["joins"]["ada"]["metas"][0].clone();
        assert_eq!(first["mood"], "good");
        assert_eq!(diff, json!({"joins": {"ada": {"metas": [first]}}, "leaves": {}}));
        assert_eq!(state(&presence, &topic), diff["joins"]);

        presence.track(&topic, 1, "ada", &json!({"mood": "better"})).unwrap();
        let (_, _, diff) = next(&delivered).await;
        let second = diff["joins"]["ada"]["metas"][0].clone();
        assert_eq!(second["mood"], "better");
        assert_eq!(second["phx_ref_prev"], first["phx_ref"]);
        assert_ne!(second["phx_ref"], first["phx_ref"]);
        assert_eq!(diff["leaves"], json!({"ada": {"metas": [first]}}));

        // The same key from another socket: two metas.
        presence.track(&topic, 2, "ada", &json!({})).unwrap();
        let (_, _, diff) = next(&delivered).await;
        assert_eq!(diff["leaves"], json!({}));
        assert_eq!(state(&presence, &topic)["ada"]["metas"].as_array().unwrap().len(), 2);
        presence.untrack(&topic, 1).unwrap();
        let (_, _, diff) = next(&delivered).await;
        assert_eq!(diff, json!({"joins": {}, "leaves": {"ada": {"metas": [second]}}}));
        presence.leave_all(2);
        next(&delivered).await;
        assert_eq!(state(&presence, &topic), json!({}));
    });
}

#[test]
fn public_and_private_topics_are_two() {
    run(async {
        let (presence, delivered) = free(&Redis::none());
        let (public, private) = (hub::key("realtime:room", false), hub::key("realtime:room", true));
        presence.track(&private, 1, "ada", &json!({})).unwrap();
        let (key, name, _) = next(&delivered).await;
        assert_eq!((key.as_str(), name.as_str()), (&*private, "realtime:room"));
        assert_eq!(state(&presence, &public), json!({}));
        let manager = manager::beside(&presence);
        manager.join_channel("ben", "room", &json!({})).unwrap();
        assert_eq!(manager.get_channel_online_count("room"), 2);
        assert_eq!(next(&delivered).await.0, *public);
    });
}

#[test]
fn a_state_is_that_of_all_diffs_so_far() {
    run(async {
        let settings = PresenceSettings { gather: Duration::from_millis(300), ..PresenceSettings::default() };
        let (presence, delivered) = presence(&Redis::none(), settings);
        let topic: Arc<str> = "realtime:room".into();
        presence.track(&topic, 1, "ada", &json!({})).unwrap();
        presence.track(&topic, 2, "ben", &json!({})).unwrap();
        presence.leave(&topic, 2);
        assert_eq!(state(&presence, &topic), json!({}), "the diff comes next");
        let (_, _, diff) = next(&delivered).await;
        assert_eq!(diff["joins"].as_object().unwrap().keys().collect::<Vec<_>>(), ["ada"], "gathered");
        assert_eq!(state(&presence, &topic), diff["joins"]);
        presence.leave_all(1);
        assert_eq!(state(&presence, &topic), diff["joins"]);
        assert_eq!(next(&delivered).await.2["leaves"], diff["joins"]);
        assert!(delivered.try_recv().is_err());
    });
}

#[test]
fn clients_and_projects_change_so_often_and_are_so_many() {
    run(async {
        let settings =
            PresenceSettings { events_per_second: 8, max_members: 4, ..PresenceSettings::default() };
        let (presence, _delivered) = presence(&Redis::none(), settings);
        let topic: Arc<str> = "realtime:room".into();
        for idx in 0..5 {
            presence.track(&topic, 1, "ada", &json!({"idx": idx})).unwrap();
        }
        assert_eq!(presence.track(&topic, 1, "ada", &json!({})), Err(PresenceRefusal::TooManyOfClient));
        assert_eq!(presence.untrack(&topic, 1), Err(PresenceRefusal::TooManyOfClient));
        assert_eq!(state_len(&presence, &topic), 1);
        for socket in 2..5 {
            presence.track(&topic, socket, "x", &json!({})).unwrap();
        }
        assert_eq!(presence.track(&topic, 5, "x", &json!({})), Err(PresenceRefusal::TooManyOfProject));
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(presence.track(&topic, 5, "x", &json!({})), Err(PresenceRefusal::Full));
        assert_eq!(presence.track(&topic, 6, "x", &json!(["a"])), Err(PresenceRefusal::NotAMap));
        // Leaving is never refused.
        presence.leave_all(1);
        presence.track(&topic, 5, "x", &json!({})).unwrap();
    });
}

#[test]
fn what_a_full_topic_refuses_counts_as_what_it_takes() {
    run(async {
        let settings = PresenceSettings { max_state_bytes: 4_000, ..PresenceSettings::default() };
        let (presence, _delivered) = presence(&Redis::none(), settings);
        let topic: Arc<str> = "realtime:room".into();
        let long = json!({"text": "x".repeat(3_000)});
        presence.track(&topic, 1, "ada", &long).unwrap();
        for _ in 0..5 {
            assert_eq!(presence.track(&topic, 2, "ben", &long), Err(PresenceRefusal::TooLarge));
        }
        assert_eq!(presence.track(&topic, 2, "ben", &long), Err(PresenceRefusal::TooManyOfClient));
        // Who says little is always shown, and who left leaves room.
        presence.track(&topic, 3, "eve", &json!({"text": "x".repeat(900)})).unwrap();
        let manager = manager::beside(&presence);
        assert_eq!(manager.join_channel("dan", "room", &long), Err(PresenceRefusal::TooLarge));
        presence.leave_all(1);
        presence.track(&topic, 4, "fay", &long).unwrap();
    });
}

fn state_len(presence: &Presence, topic: &str) -> usize {
    presence.shared.local().state.metas(topic).map_or(0, |it| it.values().map(Vec::len).sum())
}

#[test]
fn two_of_one_process_share_members_without_redis() {
    run(async {
        let redis = Redis::none();
        let ((one, _), (two, delivered)) = (free(&redis), free(&redis));
        let topic: Arc<str> = "realtime:room".into();
        one.track(&topic, 1, "ada", &json!({})).unwrap();
        let (_, _, diff) = next(&delivered).await;
        assert_eq!(diff["joins"]["ada"]["metas"].as_array().unwrap().len(), 1);
        one.close().await;
        let (_, _, diff) = next(&delivered).await;
        assert_eq!(diff["leaves"]["ada"]["metas"].as_array().unwrap().len(), 1);
        assert_eq!(state(&two, &topic), json!({}));
    });
}

//! Replays against a real PostgreSQL.

use std::time::{Duration, SystemTime};

use testkit::{project, run};

use super::*;
use crate::event::Payload;

fn ms(time: SystemTime) -> u128 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()
}

/// Client event, metadata and body of each, as text.
fn seen(events: &[Arc<Event>]) -> Vec<(String, Value, String)> {
    let one = |it: &Arc<Event>| match &it.payload {
        Payload::Broadcast { event, meta, body, is_json: true } => (
            event.to_string(),
            serde_json::from_slice(meta).unwrap(),
            String::from_utf8(body.to_vec()).unwrap(),
        ),
        other => panic!("{other:?}"),
    };
    events.iter().map(one).collect()
}

#[test]
fn the_last_private_messages_since_a_time_come_oldest_first() {
    run(async {
        let project = project("replay").await;
        let owner = project.owner().await;
        for idx in 0..30 {
            let text = format!("select realtime.send('{{\"n\": {idx}}}', 'e{idx}', 'room')");
            owner.batch_execute(&text).await.unwrap();
        }
        owner
            .batch_execute(
                "select realtime.send('{}', 'public', 'room', false);
                 select realtime.send('{}', 'elsewhere', 'room2');
                 update realtime.messages set inserted_at = inserted_at - interval '20 hours' where event = 'e29'",
            )
            .await
            .unwrap();
        let database = project.databases.of(&project.project).await;
        let topic: Arc<str> = "realtime:room".into();
        let since = ms(SystemTime::now() - Duration::from_secs(3600));
        let ask = async |replay: Value, allowed: Allowed| {
            let replay = Replay::parse(&replay, true).unwrap().unwrap();
            replay.events(&database, allowed, &topic).await.unwrap()
        };
        let reader = Allowed { read_broadcast: true, ..Allowed::default() };

        let events = ask(json!({"since": since, "limit": 3}), reader).await;
        let seen = seen(&events);
        assert_eq!(seen.iter().map(|it| it.0.as_str()).collect::<Vec<_>>(), ["e26", "e27", "e28"]);
        assert_eq!(&*events[0].topic, "realtime:room");
        let body: Value = serde_json::from_str(&seen[0].2).unwrap();
        assert_eq!(body["n"], 26);
        // The message's id is that of its payload.
        assert_eq!(seen[0].1, json!({"replayed": true, "id": body["id"]}));

        assert_eq!(ask(json!({"since": since}), reader).await.len(), 25);
        let later = ms(SystemTime::now() + Duration::from_secs(3600));
        assert!(ask(json!({"since": later}), reader).await.is_empty());
        let writer = Allowed { read_broadcast: false, ..Allowed::ALL };
        assert!(ask(json!({"since": since}), writer).await.is_empty());
    });
}

#[test]
fn bytes_are_replayed_as_bytes() {
    run(async {
        let project = project("replayraw").await;
        project
            .owner()
            .await
            .batch_execute(r"select realtime.send_binary('\x00ff7b', 'raw', 'b')")
            .await
            .unwrap();
        let database = project.databases.of(&project.project).await;
        let replay = Replay::parse(&json!({"since": 0}), true).unwrap().unwrap();
        let events = replay.events(&database, Allowed::ALL, &"realtime:b".into()).await.unwrap();
        let [event] = events.as_slice() else { panic!("{events:?}") };
        let Payload::Broadcast { body, is_json, .. } = &event.payload else { panic!("{event:?}") };
        assert_eq!((&body[..], *is_json), (&[0, 0xff, 0x7b][..], false));
    });
}

#[test]
fn what_cannot_be_replayed_is_refused() {
    let check = |replay: Value| Replay::parse(&replay, true);
    assert_eq!(check(Value::Null).unwrap(), None);
    assert_eq!(check(json!({"since": 5})).unwrap(), Some(Replay { since_ms: 5.0, limit: 25 }));
    let all = json!({"since": "1700000000000", "limit": 99});
    assert_eq!(check(all).unwrap(), Some(Replay { since_ms: 1.7e12, limit: 25 }));
    assert_eq!(check(json!({"since": 5, "limit": -1})).unwrap(), Some(Replay { since_ms: 5.0, limit: 1 }));
    for bad in [
        json!({}),
        json!({"since": "x"}),
        json!({"since": -1}),
        json!({"since": 1e300}),
        json!({"since": 1, "limit": 1.5}),
        json!([]),
    ] {
        assert!(matches!(check(bad.clone()), Err(Error::Params)), "{bad}");
    }
    assert!(matches!(Replay::parse(&json!({"since": 5}), false), Err(Error::Public)));
}

//! Members as clients and other workers read them: metas, states and diffs as JSON; messages between workers.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::state::{Diff, Dot, Meta, Metas, Op, WorkerId};

/// What one worker tells others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    #[serde(rename = "w")]
    pub(super) from: WorkerId,
    /// Its last operation so far: who lacks one asks for all.
    #[serde(rename = "c")]
    pub(super) clock: u64,
    #[serde(rename = "s")]
    pub(super) said: Said,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Said {
    /// It lives.
    Beat,
    /// It may have missed something: tell it your clock.
    Hello,
    /// What changed.
    Ops(Vec<Op>),
    /// That worker shall tell all that it has.
    Ask(WorkerId),
    /// A part of all that it has: which of how many.
    Part(usize, usize, Vec<(u64, Meta)>),
    /// It ends, and its members leave.
    Bye,
}

impl Message {
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text)
            .inspect_err(|error| tracing::debug!(%error, "unknown presence message"))
            .ok()
    }

    pub(super) fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Whether a message is of `worker`, without reading it.
pub(super) fn is_of(worker: WorkerId, message: &str) -> bool {
    let number = message.strip_prefix(r#"{"w":"#).and_then(|it| it.split_once(',')).map(|(number, _)| number);
    number.and_then(|it| it.parse().ok()) == Some(worker)
}

/// What clients know a meta by.
pub(super) fn reference((worker, number): Dot) -> String {
    format!("{worker:016x}.{number}")
}

/// The text of a meta: what the client says, and our references.
pub(super) fn meta(said: &Map<String, Value>, own: &str, previous: Option<&str>) -> String {
    let mut text = format!(r#"{{"phx_ref":"{own}""#);
    if let Some(previous) = previous {
        let _ = write!(text, r#","phx_ref_prev":"{previous}""#);
    }
    for (name, value) in said.iter().filter(|(name, _)| !matches!(name.as_str(), "phx_ref" | "phx_ref_prev"))
    {
        let _ = write!(text, ",{}:{value}", Value::from(name.as_str()));
    }
    text.push('}');
    text
}

/// `{key: {metas: […]}}`.
pub(super) fn state(metas: &Metas) -> String {
    let mut text = String::from("{");
    for (key, of_key) in metas {
        if text.len() > 1 {
            text.push(',');
        }
        let _ = write!(text, r#"{}:{{"metas":["#, Value::from(&**key));
        for (idx, (_, meta)) in of_key.iter().enumerate() {
            text.extend([if idx > 0 { "," } else { "" }, meta]);
        }
        text.push_str("]}");
    }
    text.push('}');
    text
}

/// `{joins: …, leaves: …}`.
pub(super) fn diff(diff: &Diff) -> String {
    format!(r#"{{"joins":{},"leaves":{}}}"#, state(&diff.joins), state(&diff.leaves))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_member_has_one_entry_with_several_metas() {
        let said = json!({"name": "a\"b", "phx_ref": "forged"});
        let first = meta(said.as_object().unwrap(), &reference((10, 1)), None);
        let second = meta(&Map::new(), &reference((10, 3)), Some(&reference((10, 1))));
        let metas = Metas::from([("k\"1".into(), vec![((10, 1), first.into()), ((10, 3), second.into())])]);
        let joins: Value = serde_json::from_str(&state(&metas)).unwrap();
        assert_eq!(
            joins,
            json!({"k\"1": {"metas": [
                {"phx_ref": "000000000000000a.1", "name": "a\"b"},
                {"phx_ref": "000000000000000a.3", "phx_ref_prev": "000000000000000a.1"},
            ]}})
        );
        let text = diff(&Diff { joins: metas, leaves: Metas::default() });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({"joins": joins, "leaves": {}}));
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        let meta = Meta { topic: "realtime:a".into(), key: "k".into(), text: "{}".into() };
        for said in [
            Said::Beat,
            Said::Ask(u64::MAX),
            Said::Ops(vec![Op::Join(1, meta.clone()), Op::Leave(2, 1)]),
            Said::Part(0, 1, vec![(1, meta)]),
        ] {
            let message = Message { from: u64::MAX, clock: 7, said };
            assert!(is_of(u64::MAX, &message.write()) && !is_of(1, &message.write()));
            assert_eq!(Message::read(&message.write()), Some(message));
        }
        assert_eq!(Message::read("{}"), None);
    }
}

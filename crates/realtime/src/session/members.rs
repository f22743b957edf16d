//! Who is shown in a topic: the client's `presence` messages, and what it is told of others at first.

use std::sync::Arc;

use serde_json::Value;

use super::{Session, address};
use crate::frame::{self, Address, Incoming, Said};
use crate::presence::PresenceRefusal;

const NO_RIGHT: &str = "Unauthorized: You do not have permissions to write to this Channel topic";

impl Session {
    /// `{event: "track", payload}` or `{event: "untrack"}`.
    pub(super) fn presence(&mut self, message: &Incoming<'_>) {
        let Said::Json(payload) = message.payload else { return };
        let payload: Value = serde_json::from_str(payload).unwrap_or_default();
        let event = payload.get("event").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
        let Some(channel) = self.channels.get_mut(&*message.topic) else { return };
        if !channel.allowed.write_presence {
            return self.refuse(address(message), NO_RIGHT);
        }
        let (members, socket) = (&self.connection.tenant.presence, self.connection.outbox.id());
        let outcome = match event.as_str() {
            "track" => {
                let meta = payload.get("payload").unwrap_or(&Value::Null);
                members.track(channel.subscription.key(), socket, &channel.member, meta)
            }
            "untrack" => members.untrack(channel.key(), socket),
            _ => return self.refuse(address(message), "UnknownPresenceEvent: track and untrack are known"),
        };
        match outcome {
            Ok(()) => {
                // Who is shown sees the others, whatever it said when it joined.
                let is_new = !std::mem::replace(&mut channel.presence, true);
                channel.want();
                self.reply(address(message), true, "{}");
                if is_new {
                    self.show_members(&message.topic);
                }
            }
            Err(refusal @ (PresenceRefusal::TooManyOfClient | PresenceRefusal::TooManyOfProject)) => {
                crate::events::refused("too_many_presence_events");
                self.stop(&message.topic, &refusal.to_string());
            }
            Err(refusal) => self.refuse(address(message), &refusal.to_string()),
        }
    }

    /// `presence_state`.
    pub(super) fn show_members(&mut self, topic: &str) {
        let Some(channel) = self.channels.get(topic).filter(|it| it.presence && it.allowed.read_presence)
        else {
            return;
        };
        let state = self.connection.tenant.presence.state(&Arc::clone(channel.key()));
        let to = Address { join_ref: None, reference: None, topic };
        let state = String::from_utf8_lossy(&state);
        self.out.push(frame::message(self.connection.version, to, "presence_state", &state));
    }
}

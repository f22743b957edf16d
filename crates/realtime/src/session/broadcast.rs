//! Messages of clients to the others of a topic.

use bytes::Bytes;

use super::{Session, address};
use crate::event::{BROADCAST, Event};
use crate::events;
use crate::frame::{Incoming, Said};

/// Supabase's words.
const TOO_MANY: &str = "Too many messages per second";

impl Session {
    pub(super) fn broadcast(&mut self, message: &Incoming<'_>) {
        let connection = &self.connection;
        let Some(channel) = self.channels.get(&*message.topic) else { return };
        let settings = connection.tenant.settings();
        let bytes = size_bytes(&message.payload);
        let acknowledges = channel.acknowledges;
        if !channel.allowed.write_broadcast {
            if acknowledges {
                self.refuse(
                    address(message),
                    "Unauthorized: You do not have permissions to write to this Channel topic",
                );
            }
            return;
        }
        if bytes > settings.max_payload_size_in_kb as usize * 1000 {
            events::refused("payload_too_large");
            if acknowledges {
                self.refuse(
                    address(message),
                    "PayloadTooLarge: the broadcast is larger than the project allows",
                );
            }
            return;
        }
        if !connection.tenant.admits(&settings, bytes) {
            events::refused("too_many_messages");
            return self.stop(&message.topic, TOO_MANY);
        }
        let topic = channel.subscription.name();
        let event = match message.payload {
            Said::Json(payload) => Event::json(topic, BROADCAST, Bytes::copy_from_slice(payload.as_bytes())),
            Said::Broadcast { event, meta, body, is_json } => {
                let body = (Bytes::copy_from_slice(meta), Bytes::copy_from_slice(body));
                Event::broadcast(topic, event, body, is_json)
            }
        };
        let except = (!channel.own).then_some(connection.outbox.id());
        connection.tenant.broadcast(channel.key(), &event, except);
        if acknowledges {
            self.reply(address(message), true, "{}");
        }
    }
}

fn size_bytes(payload: &Said<'_>) -> usize {
    match payload {
        Said::Json(payload) => payload.len(),
        Said::Broadcast { event, meta, body, .. } => event.len() + meta.len() + body.len(),
    }
}

//! The REST side: broadcasts without a socket, one by one or many at once, and a sign of life.
//!
//! `POST /api/broadcast` takes `{messages: [{topic, event, payload, private?}]}`, topics without `realtime:`; what the
//! caller may not write is silently left out, as Supabase does. `POST /api/broadcast/{topic}/events/{event}` takes one
//! message as its body, JSON or bytes, and refuses.

mod message;

use std::sync::Arc;

use axum::body::Body;
use common::{Caller, Project};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use self::message::Message;
use crate::error::answer as json_answer;
use crate::event::Event;
use crate::tenant::Tenant;
use crate::{Error, Inner, hub, rights, tokens};

/// `/api/…`.
pub(crate) async fn answer(
    realtime: &Arc<Inner>,
    request: Request<Body>,
    (project, caller): (Arc<Project>, Caller),
) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if path == "/api/ping" && matches!(head.method, Method::GET | Method::HEAD) {
        return Ok(json_answer(StatusCode::OK, r#"{"message":"Success"}"#));
    }
    if head.method != Method::POST {
        return Err(Error::NoRoute);
    }
    let tenant = realtime.tenant(&project);
    if tokens::check(&caller, tokens::now_secs()).is_err() {
        return Err(Error::Unauthorized);
    }
    if project.realtime.suspend {
        return Err(Error::Suspended);
    }
    let sender = Sender { realtime, tenant, caller, headers: rights::headers(&head.headers) };
    if path == "/api/broadcast" {
        let body = read(body, realtime.config.max_message_bytes).await?;
        sender.send_all(message::list(&body)?).await?;
    } else {
        let place = message::Place::of(path).ok_or(Error::NoRoute)?;
        let is_json = is_json(&head.headers)?;
        let body = read(body, realtime.config.max_message_bytes).await?;
        let is_private = message::is_private(head.uri.query());
        sender.send(Message::new(place, (body, is_json), is_private)?).await?;
    }
    let mut accepted = Response::new(Body::empty());
    *accepted.status_mut() = StatusCode::ACCEPTED;
    Ok(accepted)
}

/// Who sends, and on whose behalf.
struct Sender<'a> {
    realtime: &'a Inner,
    tenant: Arc<Tenant>,
    caller: Caller,
    headers: Arc<str>,
}

impl Sender<'_> {
    /// All that the caller may; all or none keep to the limits.
    async fn send_all(&self, messages: Vec<Message>) -> Result<(), Error> {
        for message in &messages {
            self.admit(message)?;
        }
        for message in messages {
            if self.may_write(&message).await? {
                self.deliver(message);
            }
        }
        Ok(())
    }

    async fn send(&self, message: Message) -> Result<(), Error> {
        self.admit(&message)?;
        if !self.may_write(&message).await? {
            return Err(Error::Forbidden);
        }
        self.deliver(message);
        Ok(())
    }

    fn admit(&self, message: &Message) -> Result<(), Error> {
        let settings = self.tenant.settings();
        if message.body.len() > settings.max_payload_size_in_kb as usize * 1000 {
            return Err(Error::TooLarge);
        }
        if !self.tenant.admits(&settings, message.body.len()) {
            return Err(Error::TooManyMessages);
        }
        Ok(())
    }

    async fn may_write(&self, message: &Message) -> Result<bool, Error> {
        if !message.is_private {
            return Ok(!self.tenant.settings().private_only);
        }
        let database = self.realtime.ground.databases.of(&self.tenant.project()).await;
        let asking = self.tenant.rights.of(&database, &self.caller, &message.topic, &self.headers);
        match asking.await {
            Ok(allowed) => Ok(allowed.write_broadcast),
            Err(rights::Error::Policy { .. }) => Ok(false),
            Err(error @ rights::Error::Unavailable(_)) => Err(Error::RightsUnknown(error.to_string())),
        }
    }

    fn deliver(&self, message: Message) {
        let topic: Arc<str> = format!("realtime:{}", message.topic).into();
        let key = hub::key(&topic, message.is_private);
        let event =
            Event::broadcast(&topic, &message.event, (bytes::Bytes::new(), message.body), message.is_json);
        self.tenant.broadcast(&key, &event, None);
    }
}

/// Whether the body is JSON, or else bytes.
fn is_json(headers: &HeaderMap) -> Result<bool, Error> {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" => Ok(true),
        "application/octet-stream" => Ok(false),
        _ => Err(Error::MediaType),
    }
}

async fn read(body: Body, max_bytes: usize) -> Result<bytes::Bytes, Error> {
    match Limited::new(body, max_bytes).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Error::TooLarge),
        Err(_) => Err(Error::BadBody),
    }
}

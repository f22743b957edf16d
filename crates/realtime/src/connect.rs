//! `GET /websocket`: from a request to a socket with a task of its own.

use std::sync::Arc;

use axum::body::Body;
use common::{Caller, Project};
use http::{Request, Response};
use tokio::sync::OwnedSemaphorePermit;

use crate::frame::Version;
use crate::outbox::Outbox;
use crate::session::Connection;
use crate::socket::Socket;
use crate::tenant::Seat;
use crate::websocket::Handshake;
use crate::{Error, Inner, rights, tokens};

/// What a socket has while it lives.
struct Place {
    realtime: Arc<Inner>,
    id: u64,
    _seat: Seat,
    _slot: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.realtime.sockets().remove(&self.id);
        self.realtime.measures.connections.decrement(1.0);
    }
}

/// Open a socket.
pub(crate) fn connect(
    realtime: &Arc<Inner>,
    mut request: Request<Body>,
    (project, caller): (Arc<Project>, Caller),
) -> Result<Response<Body>, Error> {
    let version = Version::of(vsn(request.uri().query())).ok_or(Error::Version)?;
    let headers = rights::headers(request.headers());
    let handshake = Handshake::of(&mut request).ok_or(Error::NoWebSocket)?;
    tokens::check(&caller, tokens::now_secs())?;
    let (tenant, settings) = (realtime.tenant(&project), project.realtime);
    if settings.suspend {
        return Err(Error::Suspended);
    }
    if !tenant.joins.take(1, settings.max_joins_per_second) {
        return Err(Error::TooManyJoins);
    }
    if realtime.draining.is_cancelled() {
        return Err(Error::Full);
    }
    let slot = Arc::clone(&realtime.slots).try_acquire_owned().map_err(|_none| Error::Full)?;
    let seat = tenant.seat().ok_or(Error::TooManySockets)?;
    let outbox = realtime.outbox();
    let place = Place { realtime: Arc::clone(realtime), id: outbox.id(), _seat: seat, _slot: slot };
    let response = handshake.switch();
    let connection = Connection { realtime: Arc::clone(realtime), tenant, version, caller, headers, outbox };
    realtime.tasks.spawn(async move {
        if let Ok(upgraded) = handshake.upgrade.await {
            Socket::new(upgraded, connection).run().await;
        }
        drop(place);
    });
    Ok(response)
}

impl Inner {
    fn outbox(&self) -> Outbox {
        let id = self.next_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let outbox = Outbox::new(id, self.config.max_waiting_bytes);
        self.sockets().insert(id, outbox.clone());
        self.measures.connections.increment(1.0);
        outbox
    }
}

fn vsn(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|it| it.strip_prefix("vsn="))
}

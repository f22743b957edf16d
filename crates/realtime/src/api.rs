//! The REST side: broadcasts without a socket, and a sign of life.

use std::sync::Arc;

use axum::body::Body;
use common::{Caller, Project};
use http::{Method, Request, Response, StatusCode};

use crate::error::answer as json_answer;
use crate::{Error, Inner};

/// `/api/…`.
pub(crate) async fn answer(
    _realtime: &Arc<Inner>,
    request: Request<Body>,
    _of: (Arc<Project>, Caller),
) -> Result<Response<Body>, Error> {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/api/ping") => {
            Ok(json_answer(StatusCode::OK, r#"{"message":"Success"}"#))
        }
        _ => Err(Error::NoRoute),
    }
}

//! What browsers open: links from mails. The answer is always a redirect to an allowed address.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use url::form_urlencoded::Serializer;

use crate::flow::verify::{self as proving, Outcome};
use crate::request::{Context, Query};
use crate::{Auth, Error};

/// What who confirmed one of two addresses is told.
pub(super) const HALF_DONE: &str =
    "Confirmation link accepted. Please proceed to confirm link sent to the other email";

/// `GET /verify?token=&type=&redirect_to=`.
pub(super) async fn verify(
    State(auth): State<Auth>,
    ctx: Context,
    Query(fields): Query<proving::Fields>,
) -> Result<Response, Error> {
    let request = proving::Verify::from_query(fields)?;
    let target = match proving::run_link(&auth, &ctx, &request).await {
        Ok(Outcome::SignedIn(tokens)) => {
            let (expires_at, expires_in) = (tokens.expires_at.to_string(), tokens.expires_in.to_string());
            let fragment = encode(&[
                ("access_token", &tokens.access_token),
                ("expires_at", &expires_at),
                ("expires_in", &expires_in),
                ("refresh_token", &tokens.refresh_token),
                ("sb", ""),
                ("token_type", "bearer"),
                ("type", &request.kind),
            ]);
            with_fragment(&ctx.redirect_to, &fragment)
        }
        Ok(Outcome::HalfDone) => {
            let message = [("message", HALF_DONE)];
            let target = if request.is_pkce() {
                with_query(&ctx.redirect_to, &message)
            } else {
                ctx.redirect_to.clone()
            };
            with_fragment(&target, &encode(&[("message", HALF_DONE), ("sb", "")]))
        }
        Ok(Outcome::Code(code)) => with_query(&ctx.redirect_to, &[("code", &code)]),
        Err(error) if error.status().is_server_error() => return Err(error),
        Err(error) => failure(&ctx.redirect_to, &error, request.is_pkce()),
    };
    redirect(&target)
}

fn failure(target: &str, error: &Error, pkce: bool) -> String {
    let message = error.to_string();
    let word = match error.status() {
        StatusCode::UNAUTHORIZED => "unauthorized_client",
        StatusCode::FORBIDDEN => "access_denied",
        _ => "invalid_request",
    };
    let pairs = [("error", word), ("error_code", error.code()), ("error_description", &*message)];
    let target = if pkce { with_query(target, &pairs) } else { target.to_owned() };
    let mut fragment = pairs.to_vec();
    fragment.push(("sb", ""));
    with_fragment(&target, &encode(&fragment))
}

fn redirect(target: &str) -> Result<Response, Error> {
    let location = HeaderValue::from_str(target).map_err(Error::internal)?;
    let headers =
        [(header::LOCATION, location), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

pub(super) fn encode(pairs: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub(super) fn with_fragment(target: &str, fragment: &str) -> String {
    let base = target.split('#').next().unwrap_or_default();
    format!("{base}#{fragment}")
}

pub(super) fn with_query(target: &str, pairs: &[(&str, &str)]) -> String {
    let (base, fragment) = target.split_once('#').map_or((target, None), |(base, it)| (base, Some(it)));
    let joint = if base.contains('?') { '&' } else { '?' };
    let fragment = fragment.map(|it| format!("#{it}")).unwrap_or_default();
    format!("{base}{joint}{}{fragment}", encode(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_and_fragments_of_the_target_survive() {
        assert_eq!(with_query("myapp://cb", &[("code", "1 2")]), "myapp://cb?code=1+2");
        assert_eq!(with_query("https://a.b/?x=1#y", &[("code", "1")]), "https://a.b/?x=1&code=1#y");
        assert_eq!(with_fragment("https://a.b/#old", "new"), "https://a.b/#new");
    }
}

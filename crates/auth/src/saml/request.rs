//! The request that a browser carries to an identity provider: an address with a signed query (HTTP-Redirect).

use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use jiff::Timestamp;
use url::form_urlencoded::byte_serialize;

use super::{ASSERTION, IdpMetadata, POST, PROTOCOL, Service, ServiceKey, escape};
use crate::Error;

const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";

/// What is asked.
pub(crate) struct Ask<'a> {
    /// The answer names it.
    pub(crate) id: &'a str,
    /// Comes back beside the answer.
    pub(crate) relay_state: &'a str,
    pub(crate) name_id_format: &'a str,
    pub(crate) now: Timestamp,
}

/// Where the browser goes to sign in at `idp`.
pub(crate) fn sign_in_url(
    service: &Service,
    idp: &IdpMetadata,
    key: &ServiceKey,
    ask: &Ask<'_>,
) -> Result<String, Error> {
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::default());
    deflated.write_all(request(service, idp, ask).as_bytes()).map_err(Error::internal)?;
    let message = BASE64_STANDARD.encode(deflated.finish().map_err(Error::internal)?);
    let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    // The signature is over these very characters.
    let query = format!(
        "SAMLRequest={}&RelayState={}&SigAlg={}",
        encode(&message),
        encode(ask.relay_state),
        encode(RSA_SHA256)
    );
    let joint = if idp.sso_url.contains('?') { '&' } else { '?' };
    Ok(format!("{}{joint}{query}&Signature={}", idp.sso_url, encode(&key.sign(&query)?)))
}

fn request(service: &Service, idp: &IdpMetadata, ask: &Ask<'_>) -> String {
    let now = Timestamp::from_second(ask.now.as_second()).unwrap_or(ask.now);
    format!(
        "<samlp:AuthnRequest xmlns:samlp=\"{PROTOCOL}\" xmlns:saml=\"{ASSERTION}\" ID=\"{}\" Version=\"2.0\" \
         IssueInstant=\"{now}\" Destination=\"{}\" AssertionConsumerServiceURL=\"{}\" ProtocolBinding=\"{POST}\">\
         <saml:Issuer>{}</saml:Issuer><samlp:NameIDPolicy Format=\"{}\" AllowCreate=\"true\"/></samlp:AuthnRequest>",
        escape(ask.id),
        escape(&idp.sso_url),
        escape(&service.acs),
        escape(&service.entity_id),
        escape(ask.name_id_format)
    )
}

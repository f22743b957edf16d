//! Codes of authenticator apps (RFC 6238): six digits, thirty seconds, one step of skew; each is good once.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use qrcodegen::{QrCode, QrCodeEcc};
use totp_rs::{Builder, Secret};
use uuid::Uuid;

use crate::request::Context;
use crate::{Error, secret};

const STEP_SECS: u64 = 30;
/// What may stand in the label of a key URI as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Empty modules around a QR code.
const BORDER: i32 = 4;

/// A new secret as the user's app gets it.
pub(super) struct NewSecret {
    /// Base32.
    pub(super) text: String,
    pub(super) uri: String,
    pub(super) qr_code: String,
}

impl NewSecret {
    /// A secret of `account` at `issuer`.
    pub(super) fn new(issuer: &str, account: &str) -> Result<Self, Error> {
        let text = Secret::new(Box::new(secret::random::<20>()?)).to_base32();
        let issuer = utf8_percent_encode(issuer, PLAIN).to_string();
        let account = utf8_percent_encode(account, PLAIN);
        let uri = format!(
            "otpauth://totp/{issuer}:{account}?algorithm=SHA1&digits=6&issuer={issuer}&period={STEP_SECS}&secret={text}"
        );
        let qr_code = svg(&uri)?;
        Ok(Self { text, uri, qr_code })
    }
}

/// The step whose code `code` is, if it is right about now.
pub(super) fn step_of(text: &str, code: &str, now_secs: i64) -> Result<Option<i64>, Error> {
    let bytes = Secret::try_from_base32(text).map_err(|_| Error::internal("a TOTP secret is no base32"))?;
    let totp = Builder::new().with_secret(bytes).with_step_duration(STEP_SECS).build_noncompliant();
    let now_secs = u64::try_from(now_secs).map_err(Error::internal)?;
    if code.len() != 6 || !code.bytes().all(|it| it.is_ascii_digit()) {
        return Ok(None);
    }
    Ok(totp.check(code, now_secs).and_then(|it| i64::try_from(it).ok()))
}

/// What the database holds of the secret of factor `id`.
pub(super) fn sealed(ctx: &Context, id: Uuid, text: &str) -> Result<String, Error> {
    ctx.project.vault.seal(&context(id), text.as_bytes()).map_err(Error::internal)
}

/// The secret of factor `id`, and whether it was imported in the clear.
pub(super) fn opened(ctx: &Context, id: Uuid, stored: &str) -> Result<(String, bool), Error> {
    if !common::Vault::is_sealed(stored) {
        return Ok((stored.to_owned(), true));
    }
    let bytes = ctx.project.vault.open(&context(id), stored).map_err(Error::internal)?;
    String::from_utf8(bytes).map(|it| (it, false)).map_err(Error::internal)
}

fn context(id: Uuid) -> String {
    format!("mfa_factors.secret:{id}")
}

/// `uri` as a QR code.
fn svg(uri: &str) -> Result<String, Error> {
    use std::fmt::Write as _;
    let code = QrCode::encode_text(uri, QrCodeEcc::Medium)
        .map_err(|_| Error::invalid("The issuer is too long for a QR code"))?;
    let side = code.size() + 2 * BORDER;
    let mut path = String::new();
    for y in 0..code.size() {
        for x in (0..code.size()).filter(|x| code.get_module(*x, y)) {
            let _ = write!(path, "M{},{}h1v1h-1z", x + BORDER, y + BORDER);
        }
    }
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
         <path fill=\"#fff\" d=\"M0,0h{side}v{side}h-{side}z\"/><path fill=\"#000\" d=\"{path}\"/></svg>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_rfc() {
        // RFC 6238, appendix B: SHA-1, the last six of eight digits.
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        for (now, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(step_of(secret, code, now).unwrap(), Some(now / 30), "{now}");
            assert_eq!(step_of(secret, code, now + 30).unwrap(), Some(now / 30), "one step late");
            assert_eq!(step_of(secret, code, now + 90).unwrap(), None, "too late");
        }
        for bad in ["", "28708", "2870820", " 287082", "28708a", "٢٨٧٠٨٢"] {
            assert_eq!(step_of(secret, bad, 59).unwrap(), None, "{bad}");
        }
    }

    #[test]
    fn an_app_reads_issuer_account_and_secret() {
        let new = NewSecret::new("a&b:3000", "ada@example.com").unwrap();
        let uri = url::Url::parse(&new.uri).unwrap();
        assert_eq!((uri.scheme(), uri.host_str()), ("otpauth", Some("totp")));
        assert_eq!(uri.path(), "/a%26b%3A3000:ada%40example.com");
        let of = |name: &str| uri.query_pairs().find(|it| it.0 == name).unwrap().1.into_owned();
        assert_eq!((of("issuer"), of("secret")), ("a&b:3000".into(), new.text.clone()));
        assert_eq!(new.text.len(), 32);
        assert!(new.qr_code.starts_with("<svg ") && new.qr_code.ends_with("</svg>"));
        assert!(NewSecret::new(&"x".repeat(4000), "a").is_err());
    }
}

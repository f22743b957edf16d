//! SCRAM-SHA-256 verifiers (RFC 5803), so that a password never travels in the text of a statement, where
//! `log_statement` or an error would write it to PostgreSQL's log.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::{Error, random};

const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("4096 is not zero");

/// What `alter role … password` stores for `password`, which must be ASCII (ours are).
pub(crate) fn verifier(password: &str) -> Result<String, Error> {
    let mut salt = [0; 16];
    random::fill(&mut salt)?;
    Ok(verifier_with(password, &salt))
}

fn verifier_with(password: &str, salt: &[u8]) -> String {
    let mut salted = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt, password.as_bytes(), &mut salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let client_key = hmac::sign(&key, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let server_key = hmac::sign(&key, b"Server Key");
    let [salt, stored, server] =
        [salt, stored_key.as_ref(), server_key.as_ref()].map(|it| BASE64_STANDARD.encode(it));
    format!("SCRAM-SHA-256${ITERATIONS}:{salt}${stored}:{server}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_is_the_one_of_rfc_7677() {
        // RFC 7677 §3: user "user", password "pencil".
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        assert_eq!(
            verifier_with("pencil", &salt),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
             wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }
}

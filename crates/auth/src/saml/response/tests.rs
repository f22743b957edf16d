//! Responses that other implementations signed (`tests/vectors/saml`), and what becomes of them when they are changed.

use super::*;

const CERTIFICATE: &str = include_str!("../../../tests/vectors/saml/certificate.txt");
const ASSERTION: &str = include_str!("../../../tests/vectors/saml/assertion.xml");
const VECTORS: [&str; 4] = [
    ASSERTION,
    include_str!("../../../tests/vectors/saml/assertion_sha512.xml"),
    include_str!("../../../tests/vectors/saml/response.xml"),
    include_str!("../../../tests/vectors/saml/both.xml"),
];

fn check(text: &str) -> Result<Assertion, Refusal> {
    let idp = IdpMetadata {
        entity_id: "https://idp.test/metadata".into(),
        sso_url: "https://idp.test/sso".into(),
        certificates: vec![CERTIFICATE.trim().into()],
        valid_until: None,
    };
    let expected = Expected {
        service: &Service::new("https://api.test/auth/v1"),
        idp: &idp,
        request_id: Some("_request"),
        now: "2026-01-01T00:01:00Z".parse().unwrap(),
    };
    match Message::parse(&BASE64_STANDARD.encode(text)) {
        Ok(message) => read(&message, &expected),
        Err(FormError::Xml(refusal)) => Err(refusal),
        Err(FormError::Base64) => Err(Refusal("Base64")),
    }
}

fn who(assertion: &Assertion) -> (Option<String>, Option<String>, Option<Timestamp>) {
    (assertion.user_id(), assertion.email(), assertion.session_ends)
}

#[test]
fn responses_that_others_signed_are_read() {
    for (idx, vector) in VECTORS.iter().enumerate() {
        let read = check(vector).unwrap_or_else(|it| panic!("{idx}: {it}"));
        assert_eq!(who(&read), (Some("ada & co".into()), Some("ada@org.test".into()), None), "{idx}");
    }
}

#[test]
fn no_change_of_a_character_makes_somebody_else() {
    let honest = who(&check(ASSERTION).unwrap());
    let mut refused = 0;
    for at in (0..ASSERTION.len()).step_by(3) {
        let mut bytes = ASSERTION.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        match check(&changed) {
            // Outside of what is signed, or white space.
            Ok(read) => {
                assert_eq!(who(&read), honest, "at {at}: {}", &changed[at.saturating_sub(20)..at + 20])
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn no_element_can_be_taken_away_or_doubled() {
    let honest = who(&check(ASSERTION).unwrap());
    let starts: Vec<usize> = ASSERTION.match_indices('<').map(|it| it.0).collect();
    for (idx, &from) in starts.iter().enumerate() {
        for &to in &starts[idx..] {
            let (head, middle, tail) = (&ASSERTION[..from], &ASSERTION[from..to], &ASSERTION[to..]);
            for changed in [format!("{head}{tail}"), format!("{head}{middle}{middle}{tail}")] {
                if changed.len() == ASSERTION.len() {
                    continue;
                }
                if let Ok(read) = check(&changed) {
                    assert_eq!(who(&read), honest, "{middle}");
                }
            }
        }
    }
}

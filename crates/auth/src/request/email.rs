//! E-mail addresses: what counts as one, and how it is written.

use crate::Error;

const MAX_BYTES: usize = 255;

/// `text` as an address in lower case.
///
/// # Errors
/// [`Error::Invalid`] in GoTrue's words.
pub(crate) fn parse(text: &str) -> Result<String, Error> {
    if text.is_empty() {
        return Err(Error::invalid("An email address is required"));
    }
    if text.len() > MAX_BYTES {
        return Err(Error::invalid("An email address is too long"));
    }
    let Some((local, domain)) = text.split_once('@') else { return Err(malformed()) };
    let local_ok = !local.is_empty()
        && local.bytes().all(|it| it.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&it));
    if !local_ok || !domain.split('.').all(is_label) {
        return Err(malformed());
    }
    Ok(text.to_ascii_lowercase())
}

fn malformed() -> Error {
    Error::invalid("Unable to validate email address: invalid format")
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_lower_case() {
        assert_eq!(parse("Ada+Board@Example.COM").unwrap(), "ada+board@example.com");
        assert_eq!(parse("a@localhost").unwrap(), "a@localhost");
    }

    #[test]
    fn what_could_break_a_mail_header_is_no_address() {
        for bad in [
            "",
            "a",
            "@b.c",
            "a@",
            "a@b@c",
            "a b@c.d",
            "a@b..c",
            "a@-b.c",
            "a\r\nBcc: x@y.z",
            "a@b.c\n",
            "ü@b.c",
            "\"a\"@b.c",
            "a,b@c.d",
            "<a@b.c>",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse(&format!("{}@b.c", "a".repeat(255))).is_err());
    }
}

//! Phone numbers: E.164, stored as digits only.

use crate::Error;

/// `text` as digits; a leading `+` and spaces are left out.
///
/// # Errors
/// [`Error::Invalid`] in GoTrue's words.
pub(crate) fn parse(text: &str) -> Result<String, Error> {
    let digits = bare(text);
    let legal = (2..=15).contains(&digits.len())
        && digits.bytes().all(|it| it.is_ascii_digit())
        && !digits.starts_with('0');
    if legal { Ok(digits) } else { Err(Error::invalid("Invalid phone number format (E.164 required)")) }
}

/// `text` without its `+` and spaces, whatever is left: an unknown number rather than a malformed one.
pub(crate) fn bare(text: &str) -> String {
    text.strip_prefix('+').unwrap_or(text).chars().filter(|it| *it != ' ').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stored_as_digits() {
        assert_eq!(parse("+49 170 1234567").unwrap(), "491701234567");
        for bad in ["", "+", "1", "0491701234567", "49-170", "++49170", "4917012345678901", "49a", "٤٩١٧٠"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

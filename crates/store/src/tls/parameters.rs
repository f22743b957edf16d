//! What a URL or key-value string says about TLS → parameters, and the string without them, which the driver reads.

use percent_encoding::percent_decode_str;

use super::Mode;

/// The parameters, as far as they are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) mode: Mode,
    /// A file of certificates, or `system`.
    pub(crate) root: Option<String>,
    pub(crate) certificate: Option<String>,
    pub(crate) key: Option<String>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { mode: Mode::Prefer, root: None, certificate: None, key: None }
    }
}

impl Parameters {
    /// Whether `name` is one of them.
    ///
    /// # Errors
    /// A sentence when the value cannot be meant.
    fn take(&mut self, name: &str, value: String) -> Result<bool, String> {
        let value = Some(value).filter(|it| !it.is_empty());
        match name {
            "sslmode" => {
                self.mode = match value.as_deref() {
                    Some("disable") => Mode::Disable,
                    None | Some("allow" | "prefer") => Mode::Prefer,
                    Some("require") => Mode::Require,
                    Some("verify-ca") => Mode::VerifyCa,
                    Some("verify-full") => Mode::VerifyFull,
                    Some(other) => {
                        return Err(format!(
                            "sslmode={other} is none of disable, allow, prefer, require, verify-ca, verify-full"
                        ));
                    }
                }
            }
            "sslrootcert" => self.root = value,
            "sslcert" => self.certificate = value,
            "sslkey" => self.key = value,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// `text` without what it says about TLS, and that.
///
/// # Errors
/// A sentence about a parameter that cannot be meant.
pub(crate) fn split(text: &str) -> Result<(String, Parameters), String> {
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    if is_url { split_url(text) } else { split_pairs(text) }
}

fn split_url(text: &str) -> Result<(String, Parameters), String> {
    let mut parameters = Parameters::default();
    let Some((head, query)) = text.split_once('?') else { return Ok((text.to_owned(), parameters)) };
    let mut rest = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
        if !parameters.take(name, value)? {
            rest.push(pair);
        }
    }
    let text = if rest.is_empty() { head.to_owned() } else { format!("{head}?{}", rest.join("&")) };
    Ok((text, parameters))
}

/// `key = value` with blanks between; a value in single quotes may hold blanks, `\` takes the next character as it is.
fn split_pairs(text: &str) -> Result<(String, Parameters), String> {
    let mut parameters = Parameters::default();
    let mut kept = String::new();
    let mut rest = text.trim_start();
    while let Some((name, tail)) = rest.split_once('=') {
        let tail = tail.trim_start();
        let (value, length) = value(tail);
        let (raw, after) = tail.split_at_checked(length).unwrap_or((tail, ""));
        if !parameters.take(name.trim(), value)? {
            kept.extend([name.trim(), "=", raw, " "]);
        }
        rest = after.trim_start();
    }
    // What is no pair is the driver's to complain about.
    kept.push_str(rest);
    Ok((kept.trim_end().to_owned(), parameters))
}

/// The value that `text` begins with, and how many bytes it takes there.
fn value(text: &str) -> (String, usize) {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, it)) = characters.next() {
        match it {
            '\\' => value.extend(characters.next().map(|(_, it)| it)),
            '\'' if quoted => return (value, at + 1),
            it if !quoted && it.is_ascii_whitespace() => return (value, at),
            it => value.push(it),
        }
    }
    (value, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_tls_is_taken_out() {
        let verify = Parameters {
            mode: Mode::VerifyFull,
            root: Some("/a b/ca.pem".into()),
            certificate: None,
            key: None,
        };
        for (text, rest, expected) in [
            (
                "postgres://a@b/c?sslmode=verify-full&connect_timeout=3&sslrootcert=/a%20b/ca.pem",
                "postgres://a@b/c?connect_timeout=3",
                verify.clone(),
            ),
            (
                "postgresql:///c?sslrootcert=/a b/ca.pem&sslmode=verify-full",
                "postgresql:///c",
                verify.clone(),
            ),
            (
                "host=b sslmode = verify-full password='x \\' y' sslrootcert='/a b/ca.pem' user=a",
                "host=b password='x \\' y' user=a",
                verify.clone(),
            ),
            ("host=b sslrootcert=/a\\ b/ca.pem sslmode=verify-full", "host=b", verify),
            ("postgres://a@b/c", "postgres://a@b/c", Parameters::default()),
            ("", "", Parameters::default()),
            ("nonsense", "nonsense", Parameters::default()),
        ] {
            assert_eq!(split(text), Ok((rest.to_owned(), expected)), "{text}");
        }
        assert!(split("postgres://a/b?sslmode=full").unwrap_err().contains("sslmode=full"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}", tail in "['\\\\=a ]{0,20}") {
            let _ = split(&text);
            let _ = split(&format!("user={tail}"));
            let _ = split(&format!("postgres://{tail}?{text}"));
        }
    }
}

//! `LIKE` without collations: what a pattern means, and whether a text matches it.
//!
//! Refuses patterns that PostgreSQL refuses, and long ones, which PostgreSQL's own time limit should guard.

/// Patterns longer than this are left to PostgreSQL.
const LONGEST: usize = 256;

/// A pattern of `LIKE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Token>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `_`
    Any,
    /// `%`
    Many,
}

impl Pattern {
    /// `text` as a pattern; `None` when it is too long or ends with its escape character.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let mut tokens = Vec::with_capacity(text.len());
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            tokens.push(match byte {
                b'%' => Token::Many,
                b'_' => Token::Any,
                b'\\' => Token::Byte(bytes.next()?),
                other => Token::Byte(other),
            });
        }
        Some(Self(tokens))
    }

    /// Whether all of `text` matches.
    pub(super) fn is_match(&self, text: &str) -> bool {
        let text = text.as_bytes();
        let (mut at, mut idx) = (0, 0);
        // Where to go on when the rest does not match: behind the last `%`, one character further on.
        let mut again: Option<(usize, usize)> = None;
        loop {
            let step = match (self.0.get(idx), text.get(at)) {
                (None, None) => return true,
                (Some(Token::Many), _) => {
                    again = Some((idx + 1, at));
                    idx += 1;
                    continue;
                }
                (Some(Token::Any), Some(first)) => Some(width(*first)),
                (Some(Token::Byte(wanted)), Some(byte)) if wanted == byte => Some(1),
                _ => None,
            };
            if let Some(step) = step {
                (idx, at) = (idx + 1, at + step);
                continue;
            }
            let Some((behind, from)) = again else { return false };
            let Some(first) = text.get(from) else { return false };
            let from = from + width(*first);
            again = Some((behind, from));
            (idx, at) = (behind, from);
        }
    }
}

/// How many bytes the character has that `first` begins.
fn width(first: u8) -> usize {
    match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_postgresql() {
        let check = |pattern, text| Pattern::parse(pattern).unwrap().is_match(text);
        for (pattern, text) in [
            ("", ""),
            ("%", ""),
            ("%", "ä"),
            ("hel%", "hello"),
            ("%llo", "hello"),
            ("h_llo", "hällo"),
            ("___", "äöü"),
            ("a%b%c", "axxbyybzc"),
            ("100\\%", "100%"),
            ("\\\\", "\\"),
            ("%a%", "xxa"),
            ("_%", "ä"),
        ] {
            assert!(check(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("hel%", "Hello"),
            ("_", ""),
            ("_", "ab"),
            ("a%b", "ac"),
            ("100\\%", "100x"),
            ("____", "äöü"),
        ] {
            assert!(!check(pattern, text), "{pattern} {text}");
        }
        assert_eq!(Pattern::parse("a\\"), None);
        assert_eq!(Pattern::parse(&"a".repeat(257)), None);
    }
}

//! The text of a configuration file as PostgREST has it → keys and values.
//!
//! One `key = value` a line, `#` starts a comment. A value is a text in double quotes (`\"`, `\\`, `\n`, `\t`; `$$` is one
//! `$`, `$(NAME)` a variable of the environment), a number, or `true` and `false`.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use anyhow::{Context as _, Result, bail};

/// Keys in kebab case, as written; the last one of several wins.
pub(crate) type Values = BTreeMap<String, String>;

/// Read the text of a file; `environment` gives the values of `$(NAME)`.
pub(crate) fn parse(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Values> {
    let mut values = Values::new();
    for (idx, line) in text.lines().enumerate() {
        let pair = pair(line.trim(), environment).with_context(|| format!("line {}", idx + 1))?;
        values.extend(pair);
    }
    Ok(values)
}

fn pair(line: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Option<(String, String)>> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (key, value) = line.split_once('=').context("expected: key = value")?;
    let (key, value) = (key.trim(), value.trim_start());
    let is_key = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
    if key.is_empty() || !key.chars().all(is_key) {
        bail!("{key:?} is no key: letters, digits, '-', '_' and '.' make one");
    }
    let (value, rest) = match value.strip_prefix('"') {
        Some(quoted) => {
            let mut characters = quoted.chars().peekable();
            let value = unquote(&mut characters, environment)?;
            (value, characters.collect::<String>())
        }
        None => bare(value)?,
    };
    let rest = rest.trim();
    if !rest.is_empty() && !rest.starts_with('#') {
        bail!("unexpected {rest:?} behind the value of {key}");
    }
    Ok(Some((key.to_owned(), value)))
}

/// A number or a truth value.
fn bare(value: &str) -> Result<(String, String)> {
    let end = value.find(|it: char| it.is_whitespace() || it == '#').unwrap_or(value.len());
    let (word, rest) = value.split_at(end);
    let is_word = matches!(word, "true" | "false" | "on" | "off") || word.parse::<f64>().is_ok();
    if !is_word {
        bail!("{word:?} is neither a number nor true or false; put texts in double quotes");
    }
    let word = match word {
        "on" => "true",
        "off" => "false",
        word => word,
    };
    Ok((word.to_owned(), rest.to_owned()))
}

/// Up to the closing quote.
fn unquote(
    characters: &mut Peekable<Chars<'_>>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<String> {
    let mut text = String::new();
    loop {
        match characters.next().context("a closing quote is missing")? {
            '"' => return Ok(text),
            '\\' => text.push(match characters.next().context("a closing quote is missing")? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                it => it,
            }),
            '$' if characters.next_if_eq(&'$').is_some() => text.push('$'),
            '$' if characters.next_if_eq(&'(').is_some() => {
                let name: String =
                    std::iter::from_fn(|| characters.next_if(|it| !matches!(it, ')' | '"'))).collect();
                characters.next_if_eq(&')').context("a closing ')' is missing")?;
                let value = environment(&name);
                text.push_str(&value.with_context(|| format!("the variable {name} is not set"))?);
            }
            '$' => bail!("write $$ for one $"),
            it => text.push(it),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Vec<(String, String)>, String> {
        let environment = |name: &str| (name == "NAME").then(|| "value".to_owned());
        parse(text, &environment).map(|it| it.into_iter().collect()).map_err(|it| format!("{it:#}"))
    }

    fn one(text: &str) -> String {
        check(text).unwrap().remove(0).1
    }

    #[test]
    fn values_are_texts_numbers_and_truths() {
        assert_eq!(check("# nothing\n\n  # at all\n"), Ok(vec![]));
        assert_eq!(one(r#"db-schemas = "multi,   tenant,setup" # comment"#), "multi,   tenant,setup");
        assert_eq!(one("server-port=80"), "80");
        assert_eq!(one("db-config = false # off"), "false");
        assert_eq!(one("db-config = on"), "true");
        assert_eq!(one(r#"app.settings.a_b = "x""#), "x");
        assert_eq!(one(r#"jwt-role-claim-key = "$$.roles[?(@ == \"a\")]""#), "$.roles[?(@ == \"a\")]");
        assert_eq!(one(r#"jwt-secret = "before $(NAME) after""#), "before value after");
        assert_eq!(one("a = \"1\"\na = \"2\""), "2");
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, expected) in [
            ("a = 1\nnonsense", "line 2: expected: key = value"),
            (
                "a = word",
                "line 1: \"word\" is neither a number nor true or false; put texts in double quotes",
            ),
            ("a = \"open", "line 1: a closing quote is missing"),
            ("a = \"x\" y", "line 1: unexpected \"y\" behind the value of a"),
            ("a b = 1", "line 1: \"a b\" is no key: letters, digits, '-', '_' and '.' make one"),
            ("a = \"$(OTHER)\"", "line 1: the variable OTHER is not set"),
            ("a = \"$x\"", "line 1: write $$ for one $"),
        ] {
            assert_eq!(check(text), Err(expected.to_owned()));
        }
    }
}

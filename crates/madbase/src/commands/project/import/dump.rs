//! Reads a plain dump of PostgreSQL: the rows of tables in schema `auth`, from COPY blocks and INSERT statements.
//!
//! Nothing of the dump is executed: whatever else it holds is passed over.

use std::io::{BufRead, Read as _};

use anyhow::{Result, bail};

/// The longest line or statement: a row with everything in it is far shorter.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What a dump holds, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Rows of this table follow.
    Table { name: String, columns: Vec<String> },
    /// One row; `None` is null.
    Row(Vec<Option<String>>),
}

/// A dump being read.
pub(super) struct Dump<R> {
    reader: R,
    copying: bool,
    /// Rows of the INSERT statement that was read last.
    waiting: std::vec::IntoIter<Item>,
}

impl<R: BufRead> Dump<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, copying: false, waiting: Vec::new().into_iter() }
    }

    /// The next item; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Item>> {
        loop {
            if let Some(item) = self.waiting.next() {
                return Ok(Some(item));
            }
            let Some(line) = self.line()? else { return Ok(None) };
            if line.starts_with("PGDMP") {
                bail!(
                    "this is a dump in pg_dump's own format. Make it plain: pg_restore --file=dump.sql FILE"
                );
            }
            if self.copying {
                if line == "\\." {
                    self.copying = false;
                    continue;
                }
                return Ok(Some(Item::Row(line.split('\t').map(unescape).collect())));
            }
            if let Some((name, columns)) = line.strip_prefix("COPY ").and_then(|it| head(it, " FROM stdin;"))
            {
                self.copying = true;
                return Ok(Some(Item::Table { name, columns }));
            }
            // Blocks of other schemas are passed over, too.
            if line.starts_with("COPY ") && line.ends_with(" FROM stdin;") {
                while self.line()?.is_some_and(|it| it != "\\.") {}
                continue;
            }
            if let Some(rest) = line.strip_prefix("INSERT INTO ") {
                let statement = self.statement(rest.to_owned())?;
                self.waiting = insert(&statement)?.into_iter();
            }
        }
    }

    fn line(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        let mut bounded = (&mut self.reader).take(MAX_BYTES as u64);
        if bounded.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        } else if bytes.len() >= MAX_BYTES {
            bail!("a line of the dump is longer than 64 MiB");
        }
        if bytes.starts_with(b"PGDMP") {
            return Ok(Some("PGDMP".to_owned()));
        }
        Ok(Some(String::from_utf8(bytes)?.trim_end_matches('\r').to_owned()))
    }

    /// The rest of a statement that began with `text`: quotes may hold line ends and semicolons.
    fn statement(&mut self, mut text: String) -> Result<String> {
        while !is_whole(&text) {
            let Some(line) = self.line()? else { bail!("the dump ends within a statement") };
            text.push('\n');
            text.push_str(&line);
            if text.len() > MAX_BYTES {
                bail!("a statement of the dump is longer than 64 MiB");
            }
        }
        Ok(text)
    }
}

/// Whether a statement is at its end: a semicolon outside of quotes.
fn is_whole(text: &str) -> bool {
    text.ends_with(';') && text.bytes().filter(|it| *it == b'\'').count() % 2 == 0
}

/// `auth.users (id, "aud")` before `end`: the table and its columns, when it is one of schema `auth`.
fn head(text: &str, end: &str) -> Option<(String, Vec<String>)> {
    let (table, rest) = text.split_once(" (")?;
    let (schema, name) = table.split_once('.')?;
    if unquote(schema) != "auth" {
        return None;
    }
    let columns = rest.strip_suffix(end)?.strip_suffix(')')?;
    let columns = columns.split(", ").map(|it| unquote(it).to_owned()).collect();
    Some((unquote(name).to_owned(), columns))
}

fn unquote(name: &str) -> &str {
    name.trim().trim_matches('"')
}

/// A value of COPY's text format.
fn unescape(field: &str) -> Option<String> {
    if field == "\\N" {
        return None;
    }
    let mut text = String::with_capacity(field.len());
    let mut letters = field.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, false) => text.push(letter),
            (_, true) => match letters.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some('b') => text.push('\u{8}'),
                Some('f') => text.push('\u{c}'),
                Some('v') => text.push('\u{b}'),
                Some(other) => text.push(other),
                None => {}
            },
        }
    }
    Some(text)
}

/// The items of `auth.users (…) VALUES (…), (…);`; none for another schema.
fn insert(statement: &str) -> Result<Vec<Item>> {
    let Some((before, values)) = statement.split_once(" VALUES") else { return Ok(Vec::new()) };
    let Some((name, columns)) = head(before, "") else { return Ok(Vec::new()) };
    let width = columns.len();
    let mut items = vec![Item::Table { name, columns }];
    let mut rest = values.trim_start();
    while let Some(tuple) = rest.strip_prefix('(') {
        let (row, after) = tuple_of(tuple)?;
        if row.len() != width {
            bail!("an INSERT of the dump has {} values for {width} columns", row.len());
        }
        items.push(Item::Row(row));
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    Ok(items)
}

/// The values up to the closing parenthesis, and what follows it.
fn tuple_of(mut text: &str) -> Result<(Vec<Option<String>>, &str)> {
    let mut row = Vec::new();
    loop {
        text = text.trim_start();
        if let Some(quoted) = text.strip_prefix('\'') {
            let (value, after) = literal(quoted)?;
            row.push(Some(value));
            text = after;
        } else {
            let Some(end) = text.find([',', ')']) else { bail!("an INSERT of the dump is cut off") };
            let (word, after) = text.split_at(end);
            let word = word.trim();
            let plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '+' | '-');
            if word.is_empty() || !word.chars().all(plain) {
                bail!("an INSERT of the dump holds more than values: {word:.40}");
            }
            row.push((!word.eq_ignore_ascii_case("null")).then(|| word.to_owned()));
            text = after;
        }
        text = text.trim_start();
        if let Some(after) = text.strip_prefix(')') {
            return Ok((row, after));
        }
        let Some(after) = text.strip_prefix(',') else {
            bail!("an INSERT of the dump holds more than values")
        };
        text = after;
    }
}

/// A quoted text up to its end, and what follows.
fn literal(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let Some((before, after)) = rest.split_once('\'') else { bail!("a text of the dump is cut off") };
        value.push_str(before);
        match after.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return Ok((value, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Item>> {
        let mut dump = Dump::new(text.as_bytes());
        let mut items = Vec::new();
        while let Some(item) = dump.next()? {
            items.push(item);
        }
        Ok(items)
    }

    fn table(columns: &[&str]) -> Item {
        Item::Table { name: "users".into(), columns: columns.iter().map(|it| (*it).to_owned()).collect() }
    }

    fn row(values: &[Option<&str>]) -> Item {
        Item::Row(values.iter().map(|it| it.map(str::to_owned)).collect())
    }

    #[test]
    fn rows_come_from_copy() {
        let text = "SET x = 1;\nCOPY public.t (a) FROM stdin;\nnot ours\n\\.\n\
            COPY auth.users (id, \"role\") FROM stdin;\n1\t\\N\n2\ta\\tb\\\\n\n\\.\n-- done\n";
        let expected = [table(&["id", "role"]), row(&[Some("1"), None]), row(&[Some("2"), Some("a\tb\\n")])];
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn rows_come_from_inserts_over_several_lines() {
        let text = "INSERT INTO \"public\".\"t\" (\"a\") VALUES ('x;');\n\
            INSERT INTO \"auth\".\"users\" (\"id\", \"name\", \"n\", \"ok\") VALUES\n\
            \t('1', 'O''Neil;\n(x), y', NULL, true),\n\t('2', '', 7, false);\n";
        let expected = [
            table(&["id", "name", "n", "ok"]),
            row(&[Some("1"), Some("O'Neil;\n(x), y"), None, Some("true")]),
            row(&[Some("2"), Some(""), Some("7"), Some("false")]),
        ];
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        assert!(read("PGDMP\u{1}").unwrap_err().to_string().contains("pg_restore"));
        assert!(read("INSERT INTO auth.users (id) VALUES ('1").is_err());
        assert!(read("INSERT INTO auth.users (id) VALUES ('1', '2');").is_err());
        assert!(read("INSERT INTO auth.users (id) VALUES (now());").is_err());
    }
}

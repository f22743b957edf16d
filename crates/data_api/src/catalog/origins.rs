//! Which table's column each column of a view shows, read from the stored form of the view (`pg_rewrite.ev_action`).
//!
//! That form is a list of nodes: `({QUERY … :targetList ({TARGETENTRY … :resno 1 … :resorigtbl 16385 :resorigcol 2 …} …) …})`.

use std::collections::HashMap;

/// A column of a relation: the relation's oid, the column's number.
pub(super) type ColumnId = (u32, i32);

/// Views within views: deeper ones are not followed.
const MAX_DEPTH: usize = 64;

/// For each column number of the view, the column that it shows unchanged; the others are left out.
pub(super) fn direct(definition: &str) -> Vec<(i32, ColumnId)> {
    let mut entries = Vec::new();
    let mut entry = Entry::default();
    let mut depth = 0_usize;
    let mut list_depth = None;
    let mut tokens = Tokens(definition);
    while let Some(token) = tokens.next() {
        match token {
            "(" | "{" => depth += 1,
            ")" | "}" => {
                depth = depth.saturating_sub(1);
                match list_depth {
                    Some(list) if depth == list => entries.extend(std::mem::take(&mut entry).finish()),
                    Some(list) if depth < list => break,
                    _ => {}
                }
            }
            // The outermost query is the second bracket; its list is the third, an entry of it the fourth.
            ":targetList" if depth == 2 && list_depth.is_none() => list_depth = Some(3),
            key if depth == 4 && list_depth.is_some() && key.starts_with(':') => entry.read(key, tokens),
            _ => {}
        }
    }
    entries
}

/// The fields of an entry that matter.
#[derive(Default)]
struct Entry {
    number: i32,
    table: u32,
    column: i32,
    is_junk: bool,
}

impl Entry {
    fn read(&mut self, key: &str, mut rest: Tokens<'_>) {
        let value = rest.next().unwrap_or_default();
        match key {
            ":resno" => self.number = value.parse().unwrap_or_default(),
            ":resorigtbl" => self.table = value.parse().unwrap_or_default(),
            ":resorigcol" => self.column = value.parse().unwrap_or_default(),
            ":resjunk" => self.is_junk = value == "true",
            _ => {}
        }
    }

    fn finish(self) -> Option<(i32, ColumnId)> {
        (self.table != 0 && !self.is_junk).then_some((self.number, (self.table, self.column)))
    }
}

/// Brackets and words; `\` takes the next character into the word.
#[derive(Clone, Copy)]
struct Tokens<'a>(&'a str);

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.0.as_bytes();
        let start = bytes.iter().position(|it| !matches!(it, b' ' | b'\n' | b'\t'))?;
        let word = bytes.get(start..)?;
        let length = match word.first()? {
            b'(' | b')' | b'{' | b'}' => 1,
            _ => {
                let mut escaped = false;
                let ends = |it: &u8| {
                    let ends = !escaped && matches!(it, b'(' | b')' | b'{' | b'}' | b' ' | b'\n' | b'\t');
                    escaped = !escaped && *it == b'\\';
                    ends
                };
                word.iter().position(ends).unwrap_or(word.len())
            }
        };
        let (token, rest) = self.0.get(start..)?.split_at_checked(length)?;
        self.0 = rest;
        Some(token)
    }
}

/// Follow views of views: the table's column that a view's column shows in the end.
pub(super) fn resolve(direct: &HashMap<u32, Vec<(i32, ColumnId)>>, from: ColumnId) -> ColumnId {
    let mut column = from;
    for _ in 0..MAX_DEPTH {
        let Some(entries) = direct.get(&column.0) else { return column };
        match entries.iter().find(|(number, _)| *number == column.1) {
            Some((_, origin)) => column = *origin,
            None => return column,
        }
    }
    column
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_outermost_target_list_counts() {
        let definition = r"({QUERY :commandType 1 :cteList ({COMMONTABLEEXPR :ctename a\ b :ctequery {QUERY
            :targetList ({TARGETENTRY :expr {VAR :varno 1} :resno 1 :resorigtbl 99 :resorigcol 9 :resjunk false})}})
            :targetList ({TARGETENTRY :expr {VAR :varno 1 :vartype (b 3)} :resno 1 :resname i\}d :resorigtbl 7
            :resorigcol 2 :resjunk false} {TARGETENTRY :expr {CONST} :resno 2 :resorigtbl 0 :resorigcol 0
            :resjunk false} {TARGETENTRY :expr {FUNC :args ({VAR :resno 8})} :resno 3 :resorigtbl 7 :resorigcol 5
            :resjunk true}) :override 0})";
        assert_eq!(direct(definition), [(1, (7, 2))]);
    }

    #[test]
    fn views_of_views_end_at_the_table() {
        let direct = HashMap::from([(10, vec![(1, (11, 2))]), (11, vec![(2, (7, 3))])]);
        assert_eq!(resolve(&direct, (10, 1)), (7, 3));
        assert_eq!(resolve(&direct, (7, 3)), (7, 3));
    }
}

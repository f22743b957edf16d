//! Finds a similar name, for hints: candidates share letters in a row, the fewest edits win.

use std::collections::HashSet;

/// Below this similarity (0 to 1) nothing is suggested.
pub(super) const LEAST: f64 = 0.33;
/// Bytes wished for times candidates: beyond it the search would cost more than a hint is worth.
const MAX_WORK: usize = 100_000;

/// The candidate most like `wanted`, if it is at least `least` like it.
pub(super) fn best<'a>(
    wanted: &str,
    candidates: impl Iterator<Item = &'a str> + Clone,
    least: f64,
) -> Option<&'a str> {
    if wanted.len().saturating_mul(candidates.clone().count()) > MAX_WORK {
        return None;
    }
    let wanted = wanted.to_lowercase();
    for size in [3, 2] {
        let grams = grams(&wanted, size);
        let scored = candidates.clone().filter_map(|it| {
            let candidate = it.to_lowercase();
            let shares = self::grams(&candidate, size).iter().any(|gram| grams.contains(gram));
            shares.then(|| (similarity(&wanted, &candidate), it))
        });
        let best = scored.reduce(|one, other| if other.0 > one.0 { other } else { one });
        if let Some((score, it)) = best {
            return (score >= least).then_some(it);
        }
    }
    None
}

/// All runs of `size` characters of the word between dashes; signs are left out.
fn grams(word: &str, size: usize) -> HashSet<String> {
    let letters = word.chars().filter(|it| it.is_alphanumeric() || *it == ' ' || *it == ',');
    let letters: Vec<char> = std::iter::once('-').chain(letters).chain(std::iter::once('-')).collect();
    letters.windows(size).map(|it| it.iter().collect()).collect()
}

/// 1 for equal words, 0 for words that have nothing in common: one minus edits per character of the longer one.
fn similarity(one: &str, other: &str) -> f64 {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let longest = one.len().max(other.len());
    if longest == 0 {
        return 1.0;
    }
    // Names have at most 63 bytes in PostgreSQL; a longer wish is cut by the URL's limit.
    let ratio = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    1.0 - ratio(edits(&one, &other)) / ratio(longest)
}

/// The least number of inserted, deleted or replaced characters (Levenshtein).
fn edits(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.iter().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (above, other) in row.iter().skip(1).zip(other) {
            let replaced = diagonal + usize::from(letter != other);
            left = replaced.min(left + 1).min(above + 1);
            next.push(left);
            diagonal = *above;
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wanted: &str, candidates: &[&'static str], least: f64) -> Option<&'static str> {
        best(wanted, candidates.iter().copied(), least)
    }

    #[test]
    fn the_closest_name_is_found() {
        assert_eq!(check("projecxx", &["clients", "projects", "tasks"], 0.75), Some("projects"));
        assert_eq!(check("film", &["films", "roles"], LEAST), Some("films"));
        assert_eq!(check("noclosealternative", &["films", "roles"], LEAST), None);
        assert_eq!(check("(a, b, smthelse)", &["(a, b)", "(x)"], LEAST), Some("(a, b)"));
    }

    #[test]
    fn a_wish_that_is_no_name_is_not_compared() {
        assert_eq!(check(&"films".repeat(30_000), &["films"], 0.0), None);
    }

    #[test]
    fn edits_are_counted() {
        let count = |one: &str, other: &str| {
            edits(&one.chars().collect::<Vec<_>>(), &other.chars().collect::<Vec<_>>())
        };
        assert_eq!(count("kitten", "sitting"), 3);
        assert_eq!(count("", "abc"), 3);
        assert_eq!(count("abc", "abc"), 0);
    }
}

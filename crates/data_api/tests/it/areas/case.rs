//! The text of an area ⇄ its cases. Lines of a file:
//!
//! ```text
//! Any text before the first case tells about the area; `set` and `as` lines there hold for all its cases.
//! # What the case shows
//! > GET /stations?id=eq.1        a request: method and path, then headers
//! > Prefer: count=exact
//! > as anon                      who asks (service_role when absent); `as user` is signed in
//! > set {"db-max-rows": 2}       settings of the project
//! > needs postgis                an extension without which the case is left out
//! > pick /paths                  show this part of the JSON body only
//! > show content-location        show a header that is left out otherwise
//! >
//! > {"id": 1}                    the body, after an empty line
//! < 200                          the answer: status, headers, empty line, body; `·` is a blank at a line's end
//! ```

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// What is asked besides the request itself.
#[derive(Debug, Default, Clone)]
pub(super) struct Terms {
    /// Settings laid over the railway's own.
    pub(super) settings: Map<String, Value>,
    /// A role, or `user`.
    pub(super) caller: Option<String>,
    /// An extension.
    pub(super) needs: Option<String>,
    /// A JSON pointer.
    pub(super) pick: Option<String>,
    /// A header.
    pub(super) show: Vec<String>,
}

impl Terms {
    /// Take a line that is one of ours; `false` when it is none.
    fn take(&mut self, line: &str) -> bool {
        let Some((word, rest)) = line.split_once(' ') else { return false };
        match word {
            "set" => {
                let settings: Map<String, Value> = serde_json::from_str(rest).expect(line);
                self.settings.extend(settings);
            }
            "as" => self.caller = Some(rest.to_owned()),
            "needs" => self.needs = Some(rest.to_owned()),
            "pick" => self.pick = Some(rest.to_owned()),
            "show" => self.show.push(rest.to_owned()),
            _ => return false,
        }
        true
    }
}

/// One request and the answer to it.
#[derive(Debug)]
pub(super) struct Exchange {
    /// The case that it belongs to.
    pub(super) case: String,
    /// Whether it is the first of its case.
    pub(super) is_first: bool,
    pub(super) terms: Terms,
    /// Method and path.
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
    /// The answer, as [`super::runner`] shows it.
    pub(super) expected: String,
    /// The lines of the request.
    request: Vec<String>,
}

/// Whether a line of a request is its first: a method and a path.
fn begins_request(line: &str) -> bool {
    let method = line.trim_start().split_once(" /").map_or("", |(method, _)| method);
    !method.is_empty() && method.bytes().all(|it| it.is_ascii_uppercase())
}

/// An area.
#[derive(Debug, Default)]
pub(super) struct Area {
    /// Text before the first case.
    preface: String,
    pub(super) exchanges: Vec<Exchange>,
}

impl Area {
    pub(super) fn parse(text: &str) -> Self {
        let mut area = Self::default();
        let mut terms = Terms::default();
        let mut case = None;
        let mut request: Vec<String> = Vec::new();
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("# ") {
                area.finish(&mut case, &mut request, &terms);
                case = Some(title.to_owned());
            } else if let Some(line) = line.strip_prefix('>') {
                if begins_request(line) {
                    area.finish(&mut case, &mut request, &terms);
                }
                request.push(line.strip_prefix(' ').unwrap_or(line).to_owned());
            } else if let Some(line) = line.strip_prefix('<') {
                area.finish(&mut case, &mut request, &terms);
                let expected = &mut area.exchanges.last_mut().expect("an answer follows a request").expected;
                let line = line.strip_prefix(' ').unwrap_or(line);
                expected
                    .push_str(&line.strip_suffix('·').map_or_else(|| line.to_owned(), |it| format!("{it} ")));
                expected.push('\n');
            } else if case.is_none() && area.exchanges.is_empty() {
                terms.take(line);
                area.preface += line;
                area.preface.push('\n');
            }
        }
        area.finish(&mut case, &mut request, &terms);
        area
    }

    fn finish(&mut self, case: &mut Option<String>, request: &mut Vec<String>, terms: &Terms) {
        if request.is_empty() {
            return;
        }
        let is_first = case.is_some();
        let title =
            case.take().or_else(|| Some(self.exchanges.last()?.case.clone())).expect("a request has a title");
        self.exchanges.push(Exchange::parse((title, is_first), std::mem::take(request), terms.clone()));
    }

    /// The text again, with answers as they are now.
    pub(super) fn print(&self) -> String {
        let mut text = self.preface.trim_end().to_owned() + "\n";
        for exchange in &self.exchanges {
            if exchange.is_first {
                write!(text, "\n# {}\n", exchange.case).unwrap();
            }
            for line in &exchange.request {
                writeln!(text, "{}", format!("> {line}").trim_end()).unwrap();
            }
            for line in exchange.expected.lines() {
                let line = line.strip_suffix(' ').map_or_else(|| line.to_owned(), |it| format!("{it}·"));
                writeln!(text, "{}", format!("< {line}").trim_end()).unwrap();
            }
        }
        text
    }
}

impl Exchange {
    fn parse((case, is_first): (String, bool), request: Vec<String>, mut terms: Terms) -> Self {
        let mut headers = Vec::new();
        let mut lines = request.iter().map(String::as_str);
        let target = lines.next().expect("a request has a first line").to_owned();
        for line in lines.by_ref().take_while(|it| !it.is_empty()) {
            if !terms.take(line) {
                let (name, value) = line.split_once(':').expect(line);
                headers.push((name.to_owned(), value.trim_start().to_owned()));
            }
        }
        let body = lines.collect::<Vec<_>>().join("\n");
        Self { case, is_first, terms, target, headers, body, expected: String::new(), request }
    }
}

#[test]
fn an_area_reads_as_it_is_written() {
    let text = "About\nset {\"db-max-rows\": 1}\n\n# One\n> GET /a\n> A: b\n< 200\n<\n< [1,·\n<  2]\n> POST /b\n> as anon\n>\n> x\n< 201\n\n# Two\n> GET /c\n";
    let area = Area::parse(text);
    assert_eq!(area.print(), text);
    let [one, more, two] = area.exchanges.as_slice() else { panic!("{area:#?}") };
    assert_eq!((one.expected.as_str(), one.headers.len()), ("200\n\n[1, \n 2]\n", 1));
    assert_eq!((more.case.as_str(), more.is_first, more.body.as_str()), ("One", false, "x"));
    assert_eq!((two.case.as_str(), two.is_first, two.expected.as_str()), ("Two", true, ""));
    assert_eq!(more.terms.caller.as_deref(), Some("anon"));
    assert!(area.exchanges.iter().all(|it| it.terms.settings.contains_key("db-max-rows")));
}

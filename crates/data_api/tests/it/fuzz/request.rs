//! Requests about the railway from random bytes: every byte is one choice, so that a shorter tape is a simpler request.

use std::fmt::Write as _;

/// Choices yet to be made; at the end of it the first of everything is chosen.
pub(crate) struct Tape<'t> {
    bytes: std::slice::Iter<'t, u8>,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    pub(crate) uri: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

/// A relation: its columns, and what can be embedded into it with the relation that is.
#[derive(Clone, Copy)]
struct Table {
    name: &'static str,
    columns: &'static [&'static str],
    embeds: &'static [(&'static str, usize)],
}

const TABLES: [Table; 15] = [
    Table {
        name: "lines",
        columns: &["id", "name", "colour", "opened"],
        embeds: &[("trains", 2), ("stations", 1), ("stops", 3), ("name", 10)],
    },
    Table {
        name: "stations",
        columns: &[
            "id", "name", "city", "altitude", "staffed", "info", "sign", "tags", "hours", "hub_id", "label",
        ],
        embeds: &[
            ("hub_id", 1),
            ("stations", 1),
            ("lines", 0),
            ("notices", 6),
            ("trips!trips_from", 4),
            ("departures", 4),
            ("neighbours", 1),
            ("tracks", 7),
            ("readings", 8),
            ("board", 9),
        ],
    },
    Table {
        name: "trains",
        columns: &["id", "name", "line_id", "specs"],
        embeds: &[("lines", 0), ("trips", 4), ("first_trip", 4), ("cockpits", 11), ("faults", 12)],
    },
    Table {
        name: "stops",
        columns: &["line_id", "station_id", "position"],
        embeds: &[("lines", 0), ("stations", 1), ("staffed_stations", 13)],
    },
    Table {
        name: "trips",
        columns: &["id", "train_id", "origin_id", "fare", "seats"],
        embeds: &[("trains", 2), ("stations!trips_to", 1), ("origin_id", 1), ("tickets", 5)],
    },
    Table {
        name: "tickets",
        columns: &["id", "comfort", "paid", "trip_id"],
        embeds: &[("trips", 4), ("passengers", 14)],
    },
    Table {
        name: "notices",
        columns: &["id", "body", "words", "payload", "station_id"],
        embeds: &[("stations", 1)],
    },
    Table { name: "tracks", columns: &["id", "width", "station_id"], embeds: &[("stations", 1)] },
    Table { name: "readings", columns: &["id", "day", "degrees", "station_id"], embeds: &[("stations", 1)] },
    Table { name: "board", columns: &["station", "title"], embeds: &[("notices", 6), ("tracks", 7)] },
    Table { name: "name", columns: &["id", "name", "lines"], embeds: &[("lines", 0)] },
    Table { name: "cockpits", columns: &["train_id", "maker"], embeds: &[("trains", 2)] },
    Table { name: "faults", columns: &["id", "train_id", "what"], embeds: &[("trains", 2)] },
    Table {
        name: "staffed_stations",
        columns: &["id", "name", "city"],
        embeds: &[("notices", 6), ("stops", 3)],
    },
    Table { name: "passengers", columns: &["id", "name", "email"], embeds: &[("tickets", 5)] },
];

const CALLS: [(&str, usize); 3] =
    [("/rpc/station_list?", 1), ("/rpc/rows_of?wanted={1,2}&", 0), ("/rpc/station?wanted=1&", 1)];

const VALUES: [&str; 12] =
    ["1", "Lund", "", "null", "it's", "a\"b", "{1,2}", "[1,5)", "2023-07-01", "x*", "{\"a\":1}", "\\"];

impl<'t> Tape<'t> {
    pub(crate) fn new(bytes: &'t [u8]) -> Self {
        Self { bytes: bytes.iter() }
    }

    fn byte(&mut self) -> usize {
        self.bytes.next().copied().unwrap_or_default().into()
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        *of.get(self.byte() % of.len()).expect("there is something to choose from")
    }

    /// True once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.byte() % times == times - 1
    }

    fn column(&mut self, table: &Table) -> String {
        let mut text = self.one(table.columns).to_owned();
        if self.once_in(6) {
            text += self.one(&["->a", "->>name", "->0", "->shops->0->>name", "->power->>kw", "->-1"]);
        }
        text
    }

    /// A select list; embeds are remembered in `below`, for the other parameters.
    fn select(&mut self, table: &Table, path: &str, below: &mut Vec<(String, usize)>) -> String {
        let mut items = Vec::new();
        for idx in 0..=self.byte() % 4 {
            items.push(match self.byte() % 16 {
                0 if idx == 0 => "*".to_owned(),
                1 => self.one(&["count()", "n:count()", "id.count()", "id.sum()::text"]).to_owned(),
                2..8 if path.split('.').count() < 5 => self.embed(table, (path, idx), below),
                _ => {
                    let column = self.column(table);
                    let alias = self.one(&["a", "b", "c"]);
                    format!("{alias}{idx}:{column}{}", self.one(&["", "", "", "", "", "::text", ".max()"]))
                }
            });
        }
        items.join(",")
    }

    fn embed(
        &mut self,
        table: &Table,
        (path, idx): (&str, usize),
        below: &mut Vec<(String, usize)>,
    ) -> String {
        let (target, number) = self.one(table.embeds);
        let inner = self.one(&["", "", "!inner", "!left"]);
        let bare = target.split('!').next().unwrap_or_default();
        let is_taken = below.iter().any(|(it, _)| *it == format!("{path}{bare}."));
        let (head, key) = match self.byte() % 3 {
            0 if !is_taken => (String::new(), bare.to_owned()),
            1 if !is_taken => ("...".to_owned(), bare.to_owned()),
            _ => (format!("e{idx}:"), format!("e{idx}")),
        };
        let path = format!("{path}{key}.");
        below.push((path.clone(), number));
        let table = TABLES.get(number).expect("embeds name tables");
        let items = if self.once_in(6) { String::new() } else { self.select(table, &path, below) };
        format!("{head}{target}{inner}({items})")
    }

    fn operation(&mut self) -> String {
        let negation = self.one(&["", "", "", "not."]);
        let value = self.one(&VALUES);
        let operation = match self.byte() % 8 {
            0 => format!("in.({},\"{}\")", self.one(&["1", "", "a b"]), self.one(&["x,y", "(", "\\\""])),
            1 => format!("is.{}", self.one(&["null", "not_null", "true", "unknown"])),
            2 => format!("{}.{value}", self.one(&["fts", "plfts", "phfts(english)", "wfts"])),
            3 => format!("{}.{value}", self.one(&["cs", "cd", "ov", "sl", "adj", "isdistinct", "neq"])),
            4 => format!(
                "{}({}).{{a,b}}",
                self.one(&["eq", "like", "imatch", "gt"]),
                self.one(&["any", "all"])
            ),
            _ => format!("{}.{value}", self.one(&["eq", "gt", "lte", "like", "ilike", "match"])),
        };
        format!("{negation}{operation}")
    }

    fn logic(&mut self, table: &Table, depth: usize) -> String {
        let mut items = Vec::new();
        for _ in 0..=self.byte() % 3 {
            if depth < 3 && self.once_in(4) {
                let head = self.one(&["or", "and", "not.and", "not.or"]);
                items.push(format!("{head}{}", self.logic(table, depth + 1)));
            } else {
                let column = self.column(table);
                // Values of a tree cannot hold its signs.
                let operation = self.operation().replace(['"', '\\'], "").replace(".[1,5)", ".1");
                items.push(format!("{column}.{operation}"));
            }
        }
        format!("({})", items.join(","))
    }

    /// Filters, orders and pages of one level, below which `embeds` are.
    fn parameters(&mut self, table: &Table, (path, embeds): (&str, &[&str]), text: &mut String) {
        while self.once_in(2) {
            let column = self.column(table);
            match self.byte() % 8 {
                0 => write!(text, "&{path}or={}", self.logic(table, 0)),
                1 if !embeds.is_empty() => {
                    let embed = self.one(embeds);
                    write!(text, "&{path}{embed}={}", self.one(&["is.null", "not.is.null", "is.not_null"]))
                }
                2 => write!(
                    text,
                    "&{path}order={column}{}",
                    self.one(&["", ".desc", ".asc.nullsfirst", ".nullslast"])
                ),
                3 if !embeds.is_empty() => {
                    write!(
                        text,
                        "&{path}order={}({}).desc",
                        self.one(embeds),
                        self.one(&["id", "name", "a0"])
                    )
                }
                4 => write!(text, "&{path}limit={}", self.one(&["0", "1", "5"])),
                5 => write!(text, "&{path}offset={}", self.one(&["0", "1"])),
                _ => write!(text, "&{path}{column}={}", self.operation()),
            }
            .expect("text grows");
        }
    }

    fn headers(&mut self) -> Vec<(&'static str, String)> {
        let accept = self.one(&[
            "*/*",
            "application/json",
            "text/csv",
            "application/vnd.pgrst.object+json",
            "application/vnd.pgrst.array+json;nulls=stripped",
            "application/vnd.pgrst.plan+json",
            "text/html",
        ]);
        let mut preferences = vec!["tx=rollback"];
        for words in [
            ["", "return=representation", "return=headers-only", "return=minimal"],
            ["", "count=exact", "count=planned", "count=estimated"],
            ["", "resolution=merge-duplicates", "resolution=ignore-duplicates", "missing=default"],
        ] {
            preferences.push(self.one(&words));
        }
        preferences.retain(|it| !it.is_empty());
        vec![("accept", accept.to_string()), ("prefer", preferences.join(", "))]
    }

    fn body(&mut self, table: &Table) -> String {
        let object = |tape: &mut Self| {
            let mut pairs = Vec::new();
            for column in table.columns.iter().filter(|it| !matches!(**it, "label" | "words")) {
                if Some(column) == table.columns.first() {
                    pairs.push(format!("\"{column}\":{}", tape.one(&["901", "1", "null"])));
                } else if tape.once_in(4) {
                    pairs.push(format!(
                        "\"{column}\":{}",
                        tape.one(&["null", "1", "\"x\"", "{\"a\":[1]}", "[]", "\"9 mm\""])
                    ));
                }
            }
            format!("{{{}}}", pairs.join(","))
        };
        match self.byte() % 3 {
            0 => object(self),
            1 => format!("[{}]", object(self)),
            _ => format!("[{0},{0}]", object(self)),
        }
    }
}

impl From<Tape<'_>> for Asked {
    fn from(mut tape: Tape<'_>) -> Self {
        let call = tape.once_in(6).then(|| tape.one(&CALLS));
        let number = call.map_or_else(|| tape.byte() % TABLES.len(), |(_, number)| number);
        let table = TABLES.get(number).expect("calls name tables");
        let methods = ["GET", "GET", "GET", "HEAD", "POST", "PATCH", "DELETE", "PUT"];
        let method = if call.is_some() { "GET" } else { tape.one(&methods) };
        let mut uri = call.map_or_else(|| format!("/{}?", table.name), |(path, _)| path.to_owned());
        let mut below = Vec::new();
        let _ = write!(uri, "select={}", tape.select(table, "", &mut below));
        below.insert(0, (String::new(), number));
        for (path, number) in &below {
            let keys = below.iter().filter_map(|(it, _)| it.strip_prefix(path.as_str())?.strip_suffix('.'));
            let embeds: Vec<&str> = keys.filter(|it| !it.contains('.')).collect();
            let table = TABLES.get(*number).expect("embeds name tables");
            tape.parameters(table, (path, &embeds), &mut uri);
        }
        if method == "PUT" {
            let _ = write!(uri, "&{}=eq.1", table.columns.first().expect("tables have columns"));
        }
        if method == "POST" && tape.once_in(3) {
            let _ = write!(uri, "&columns={}", tape.one(table.columns));
        }
        let headers = tape.headers();
        let body = if matches!(method, "POST" | "PATCH" | "PUT") { tape.body(table) } else { String::new() };
        Self { method, uri, headers, body }
    }
}

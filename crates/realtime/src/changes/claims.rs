//! Which claims of a token the policies of a table can read: subscribers who differ in others only are decided as one.
//!
//! From what policies and views call (exactly, by the OIDs in their trees) and from the texts of functions (by every name
//! in them). Whatever is not understood counts as reading the whole token, so an answer may be too large, never too small.
//! A function that is written to look like `auth.uid()`, in C or under its name, is not seen through.

use std::collections::{HashMap, HashSet};

use common::jwt::Claims;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Words after which a function's text may do anything.
const UNCLEAR: [&str; 12] = [
    "current_setting",
    "set_config",
    "pg_settings",
    "pg_show_all_settings",
    "execute",
    "jwt",
    "query_to_xml",
    "cursor_to_xml",
    "table_to_xml",
    "ts_stat",
    "dblink",
    "dblink_exec",
];

/// Claims that policies read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Reads {
    subject: bool,
    email: bool,
    all: bool,
}

impl Reads {
    const ALL: Self = Self { subject: true, email: true, all: true };

    /// Whether policies may read who the caller is.
    pub(super) fn has_subject(self) -> bool {
        self.subject
    }

    /// The claims of a token as policies that read these see them: the same text for all whom they cannot tell apart.
    ///
    /// The role is always among them, since the statement runs as that role anyway.
    pub(super) fn of(self, claims: &Claims) -> String {
        if self.all {
            return claims.json.clone();
        }
        let read = [("role", true), ("sub", self.subject), ("email", self.email)];
        let kept: Map<String, Value> = read
            .into_iter()
            .filter(|it| it.1)
            .filter_map(|(name, _)| Some((name.to_owned(), claims.map.get(name)?.clone())))
            .collect();
        Value::Object(kept).to_string()
    }

    fn add(&mut self, other: Self) {
        self.subject |= other.subject;
        self.email |= other.email;
        self.all |= other.all;
    }
}

type Oid = u32;
/// The functions and the relations that a tree names.
type Calls = (Vec<Oid>, Vec<Oid>);

/// What the catalog tells about policies and what they call, as [`SOURCE`] reads it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Source {
    /// Of `SELECT`: relation, functions, relations.
    policies: Vec<(Oid, Vec<Oid>, Vec<Oid>)>,
    views: Vec<(Oid, Vec<Oid>, Vec<Oid>)>,
    functions: Vec<Function>,
    /// Relations with policies or rules: by name, for texts.
    relations: Vec<(Oid, String)>,
    /// Functions of PostgreSQL's own that read settings, or run text.
    unclear: Vec<Oid>,
    unclear_relations: Vec<Oid>,
    /// Functions behind people's own operators, casts and domains: called without being named.
    implicit: Vec<Oid>,
}

#[derive(Debug, Default, Deserialize)]
struct Function {
    oid: Oid,
    schema: String,
    name: String,
    language: String,
    volatile: bool,
    /// Where the language is SQL or PL/pgSQL.
    text: Option<String>,
    calls: Option<Calls>,
    /// What the defaults of its arguments call: they stand in no policy.
    defaults: Option<Calls>,
}

/// [`Source`], ready to be asked.
#[derive(Debug, Default)]
pub(super) struct Readers {
    relations: HashMap<Oid, Vec<Calls>>,
    functions: HashMap<Oid, Function>,
    /// What a word in a function's text may mean.
    words: HashMap<String, Vec<Node>>,
    unclear: HashSet<Oid>,
    unclear_relations: HashSet<Oid>,
    implicit: Vec<Oid>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Node {
    Function(Oid),
    Relation(Oid),
}

impl From<Source> for Readers {
    fn from(source: Source) -> Self {
        let mut readers = Self {
            unclear: source.unclear.into_iter().collect(),
            unclear_relations: source.unclear_relations.into_iter().collect(),
            implicit: source.implicit,
            ..Self::default()
        };
        for (relation, functions, relations) in source.policies.into_iter().chain(source.views) {
            readers.relations.entry(relation).or_default().push((functions, relations));
        }
        for (oid, name) in source.relations {
            readers.words.entry(name.to_lowercase()).or_default().push(Node::Relation(oid));
        }
        for function in source.functions {
            readers.words.entry(function.name.to_lowercase()).or_default().push(Node::Function(function.oid));
            readers.functions.insert(function.oid, function);
        }
        readers
    }
}

impl Readers {
    /// What the policies of the relation `oid` read.
    pub(super) fn reads(&self, oid: Oid) -> Reads {
        let mut reads = Reads::default();
        let mut seen = HashSet::new();
        let mut open = vec![Node::Relation(oid)];
        open.extend(self.implicit.iter().copied().map(Node::Function));
        while let Some(node) = open.pop() {
            if seen.insert(node) {
                reads.add(self.visit(node, &mut open));
            }
            if reads.all {
                return Reads::ALL;
            }
        }
        reads
    }

    fn visit(&self, node: Node, open: &mut Vec<Node>) -> Reads {
        match node {
            Node::Relation(oid) if self.unclear_relations.contains(&oid) => Reads::ALL,
            Node::Relation(oid) => {
                self.relations.get(&oid).into_iter().flatten().for_each(|it| push(it, open));
                Reads::default()
            }
            Node::Function(oid) if self.unclear.contains(&oid) => Reads::ALL,
            Node::Function(oid) => {
                self.functions.get(&oid).map_or(Reads::default(), |it| self.call(it, open))
            }
        }
    }

    fn call(&self, function: &Function, open: &mut Vec<Node>) -> Reads {
        if let Some(defaults) = &function.defaults {
            push(defaults, open);
        }
        if let Some(known) = known(function) {
            return known;
        }
        if let Some(calls) = &function.calls {
            push(calls, open);
            return Reads::default();
        }
        match (&*function.language, &function.text) {
            ("sql" | "plpgsql", Some(text)) => self.read(text, open),
            // Of extensions: they compute.
            ("c" | "internal", _) if !function.volatile => Reads::default(),
            _ => Reads::ALL,
        }
    }

    /// Follow every word of a function's text.
    fn read(&self, text: &str, open: &mut Vec<Node>) -> Reads {
        let text = text.to_lowercase();
        if text.contains("u&") {
            return Reads::ALL;
        }
        for word in text.split(|it: char| !is_of_word(it)) {
            if UNCLEAR.contains(&word) {
                return Reads::ALL;
            }
            open.extend(self.words.get(word).into_iter().flatten());
        }
        // Names with other characters stand in quotes.
        let odd = self
            .words
            .iter()
            .filter(|(name, _)| !name.chars().all(is_of_word) && text.contains(name.as_str()));
        odd.for_each(|(_, nodes)| open.extend(nodes));
        Reads::default()
    }
}

fn is_of_word(it: char) -> bool {
    it.is_alphanumeric() || matches!(it, '_' | '$')
}

/// The functions that policies all over the world are written with.
fn known(function: &Function) -> Option<Reads> {
    if function.volatile || function.schema != "auth" {
        return None;
    }
    match &*function.name {
        "uid" => Some(Reads { subject: true, ..Reads::default() }),
        "email" => Some(Reads { email: true, ..Reads::default() }),
        "role" => Some(Reads::default()),
        _ => None,
    }
}

fn push((functions, relations): &Calls, open: &mut Vec<Node>) {
    open.extend(functions.iter().copied().map(Node::Function));
    open.extend(relations.iter().copied().map(Node::Relation));
}

/// A text that changes whenever [`SOURCE`] may answer otherwise: every row's version takes part.
pub(super) const FINGERPRINT: &str = "
select concat_ws(',',
    (select count(*)::text || ':' || coalesce(sum(hashtextextended(oid || ':' || xmin, 0)), 0) from pg_catalog.pg_policy),
    (select count(*)::text || ':' || coalesce(sum(hashtextextended(oid || ':' || xmin, 0)), 0) from pg_catalog.pg_proc
        where oid >= 16384),
    (select count(*)::text || ':' || coalesce(sum(hashtextextended(oid || ':' || xmin, 0)), 0) from pg_catalog.pg_rewrite
        where oid >= 16384),
    (select count(*)::text || ':' || coalesce(sum(hashtextextended(oid || ':' || relname || ':' || relrowsecurity, 0)), 0)
        from pg_catalog.pg_class where oid >= 16384 and (relrowsecurity or relkind = 'v')),
    (select count(*)::text || ':' || coalesce(sum(hashtextextended(oid || ':' || xmin, 0)), 0) from pg_catalog.pg_operator
        where oid >= 16384),
    (select count(*)::text || ':' || coalesce(sum(hashtextextended(oid || ':' || xmin, 0)), 0) from pg_catalog.pg_cast
        where oid >= 16384),
    (select count(*)::text || ':' || coalesce(sum(hashtextextended(oid || ':' || xmin, 0)), 0)
        from pg_catalog.pg_constraint where contypid <> 0 and oid >= 16384))";

/// [`Source`] as a JSON object.
pub(super) const SOURCE: &str = r"
with calls as (
    select 'policy' as kind, polrelid as oid, polqual::text as tree from pg_catalog.pg_policy
        where polcmd in ('r', '*') and polqual is not null
    union all
    select 'view', ev_class, ev_action::text from pg_catalog.pg_rewrite where ev_type = '1' and oid >= 16384
    union all
    select 'function', oid, prosqlbody::text from pg_catalog.pg_proc where prosqlbody is not null and oid >= 16384
    union all
    select 'defaults', oid, proargdefaults::text from pg_catalog.pg_proc where proargdefaults is not null and oid >= 16384
), named as (
    select kind, oid,
        (select coalesce(json_agg(distinct it[1]::int8), '[]')
            from regexp_matches(tree, ':(?:funcid|opfuncid|aggfnoid|winfnoid) ([0-9]+)', 'g') as it) as functions,
        (select coalesce(json_agg(distinct it[1]::int8), '[]')
            from regexp_matches(tree, ':relid ([0-9]+)', 'g') as it) as relations
    from calls
)
select json_build_object(
    'policies', (select coalesce(json_agg(json_build_array(oid::int8, functions, relations)), '[]')
        from named where kind = 'policy'),
    'views', (select coalesce(json_agg(json_build_array(oid::int8, functions, relations)), '[]')
        from named where kind = 'view'),
    'functions', (select coalesce(json_agg(json_build_object(
            'oid', f.oid::int8, 'schema', s.nspname, 'name', f.proname, 'language', l.lanname,
            'volatile', f.provolatile = 'v',
            'text', case when l.lanname in ('sql', 'plpgsql') then f.prosrc end,
            'calls', (select json_build_array(n.functions, n.relations) from named as n
                where n.kind = 'function' and n.oid = f.oid),
            'defaults', (select json_build_array(n.functions, n.relations) from named as n
                where n.kind = 'defaults' and n.oid = f.oid))), '[]')
        from pg_catalog.pg_proc as f
        join pg_catalog.pg_namespace as s on s.oid = f.pronamespace
        join pg_catalog.pg_language as l on l.oid = f.prolang
        where f.oid >= 16384),
    'relations', (select coalesce(json_agg(json_build_array(oid::int8, relname)), '[]')
        from pg_catalog.pg_class where oid >= 16384 and (relrowsecurity or relkind = 'v')),
    'unclear', (select coalesce(json_agg(oid::int8), '[]') from pg_catalog.pg_proc where oid < 16384 and (
        proname ~ '(setting|config|_to_xml|^ts_stat|^ts_rewrite|^pg_read)'
        or (provolatile = 'v' and proname not in ('random', 'clock_timestamp', 'gen_random_uuid', 'timeofday')))),
    'unclear_relations', (select json_build_array('pg_catalog.pg_settings'::regclass::oid::int8)),
    'implicit', (select coalesce(json_agg(distinct it.oid::int8), '[]') from (
        select oprcode::oid as oid from pg_catalog.pg_operator where oid >= 16384
        union all select castfunc from pg_catalog.pg_cast where oid >= 16384 and castfunc <> 0
        union all select m[1]::oid from pg_catalog.pg_constraint,
            regexp_matches(conbin::text, ':(?:funcid|opfuncid) ([0-9]+)', 'g') as m
            where contypid <> 0 and oid >= 16384) as it)
)::text";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TABLE: Oid = 20_000;

    fn function(oid: Oid, (schema, name): (&str, &str), language: &str, text: &str) -> Function {
        let (schema, name, language) = (schema.into(), name.into(), language.into());
        Function {
            oid,
            schema,
            name,
            language,
            volatile: false,
            text: Some(text.into()),
            calls: None,
            defaults: None,
        }
    }

    /// What policies read that call `functions` (10 and 11 are `auth.uid` and `auth.email`, 12 is `current_setting`).
    fn check(functions: &[Oid], relations: &[Oid], more: Vec<Function>) -> String {
        let source = Source {
            policies: vec![(TABLE, functions.to_vec(), relations.to_vec()), (20_001, vec![11], vec![])],
            views: vec![(20_002, vec![12], vec![])],
            functions: more
                .into_iter()
                .chain([
                    function(10, ("auth", "uid"), "sql", "current_setting"),
                    function(11, ("auth", "email"), "sql", ""),
                ])
                .collect(),
            relations: vec![(20_001, "Teams".into()), (20_002, "my-view".into())],
            unclear: vec![12],
            unclear_relations: vec![13],
            implicit: vec![],
        };
        let claims = json!({"sub": "s", "email": "e", "role": "r", "exp": 1});
        let claims = Claims::from_map(claims.as_object().unwrap().clone(), "anon");
        Readers::from(source).reads(TABLE).of(&claims)
    }

    #[test]
    fn only_what_policies_can_read_is_told_apart() {
        let all = r#"{"email":"e","exp":1,"role":"r","sub":"s"}"#;
        let subject = r#"{"role":"r","sub":"s"}"#;
        let of = |text: &str| check(&[30], &[], vec![function(30, ("public", "f"), "sql", text)]);
        assert_eq!(check(&[], &[], vec![]), r#"{"role":"r"}"#);
        assert_eq!(check(&[10, 99], &[], vec![]), subject);
        assert_eq!(check(&[10, 11], &[], vec![]), r#"{"email":"e","role":"r","sub":"s"}"#);
        assert_eq!(check(&[12], &[], vec![]), all);
        assert_eq!(check(&[], &[13], vec![]), all);
        assert_eq!(check(&[10], &[20_001], vec![]), r#"{"email":"e","role":"r","sub":"s"}"#);
        assert_eq!(check(&[], &[20_002], vec![]), all);
        assert_eq!(of("select auth.uid() = $1"), subject);
        assert_eq!(of("select true from \"Teams\""), r#"{"email":"e","role":"r"}"#);
        assert_eq!(of("select true from \"my-view\""), all);
        assert_eq!(of("select auth.jwt() ->> 'x'"), all);
        assert_eq!(of("begin execute 'select 1'; end"), all);
        assert_eq!(of("select true /* g() */"), r#"{"role":"r"}"#);
        assert_eq!(of("select f()"), r#"{"role":"r"}"#);
        let deep = vec![
            function(30, ("public", "f"), "plpgsql", "begin return g(); end"),
            function(31, ("other", "g"), "sql", "select auth.uid()"),
        ];
        assert_eq!(check(&[30], &[], deep), subject);
        assert_eq!(check(&[30], &[], vec![function(30, ("public", "f"), "plv8", "")]), all);
        assert_eq!(check(&[30], &[], vec![function(30, ("public", "f"), "c", "")]), r#"{"role":"r"}"#);
        let volatile = Function { volatile: true, ..function(30, ("public", "f"), "c", "") };
        assert_eq!(check(&[30], &[], vec![volatile]), all);
    }
}

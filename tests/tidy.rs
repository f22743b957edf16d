//! House rules that a compiler does not check: layers, module headers, file length, scripts.
//!
//! The tables here mirror ARCHITECTURE.md; when one changes, so does the other.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Crate → layer. A crate imports only from lower layers; `store` and the services keep out of their own layer too.
const LAYERS: &[(&str, u8)] = &[
    ("common", 1),
    ("trace", 1),
    ("store", 2),
    ("auth", 3),
    ("control_plane", 3),
    ("data_api", 3),
    ("realtime", 3),
    ("state", 3),
    ("gateway", 4),
    ("madbase", 5),
];

/// For tests only: may import anything, and nothing ships with it.
const DEVELOPMENT: &[&str] = &["crowd", "testkit"];

/// What a layer never imports (STYLE §3).
const BANNED: &[(&str, &[&str])] = &[
    ("common", &["tokio", "axum", "tokio-postgres", "redis", "reqwest"]),
    ("trace", &["tokio", "axum", "opentelemetry_sdk", "opentelemetry-otlp", "reqwest"]),
    ("store", &["axum", "tower", "tower-http", "hyper"]),
    ("auth", &["tokio-postgres", "postgres-protocol", "deadpool-postgres", "redis"]),
    ("control_plane", &["tokio-postgres", "postgres-protocol", "deadpool-postgres", "redis"]),
    ("data_api", &["tokio-postgres", "postgres-protocol", "deadpool-postgres", "redis"]),
    ("realtime", &["tokio-postgres", "postgres-protocol", "deadpool-postgres", "redis"]),
    ("gateway", &["tokio-postgres", "postgres-protocol", "deadpool-postgres", "redis"]),
];

const MAX_PRODUCTION_LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Crate → its dependencies of kind `kind`.
fn dependencies(kind: DependencyKind) -> BTreeMap<String, Vec<String>> {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap();
    let of = |package: &cargo_metadata::Package| {
        package.dependencies.iter().filter(|it| it.kind == kind).map(|it| it.name.clone()).collect()
    };
    metadata.packages.iter().map(|it| (it.name.to_string(), of(it))).collect()
}

fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                files(&path, extension, found);
            }
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
}

fn rust_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&root(), "rs", &mut found);
    assert!(found.len() > 20, "the walk found too few files: {found:?}");
    found
}

#[test]
fn every_crate_has_a_layer() {
    for name in dependencies(DependencyKind::Normal).keys() {
        let known = LAYERS.iter().any(|it| it.0 == name) || DEVELOPMENT.contains(&name.as_str());
        assert!(known, "crate {name} is missing from LAYERS in tests/tidy.rs and from ARCHITECTURE.md");
    }
}

#[test]
fn dependencies_point_down() {
    let layers: BTreeMap<&str, u8> = LAYERS.iter().copied().collect();
    for (name, dependencies) in dependencies(DependencyKind::Normal) {
        let Some(layer) = layers.get(name.as_str()) else { continue };
        for dependency in dependencies {
            assert!(!DEVELOPMENT.contains(&dependency.as_str()), "{name} ships with {dependency}");
            if let Some(below) = layers.get(dependency.as_str()) {
                assert!(below < layer, "{name} (layer {layer}) imports {dependency} (layer {below})");
            }
            let banned = BANNED.iter().find(|it| it.0 == name).map_or(&[][..], |it| it.1);
            assert!(!banned.contains(&dependency.as_str()), "{name} must not import {dependency}");
        }
    }
}

#[test]
fn only_madbase_reads_the_environment() {
    for path in rust_files() {
        let shown = path.strip_prefix(root()).unwrap().display().to_string();
        let free = ["crates/madbase/", "crates/testkit/", "tests/"].iter().any(|it| shown.starts_with(it));
        if free || shown.contains("/tests/") || shown.contains("/benches/") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("env::var"), "{shown} reads the environment; settings come from `madbase`");
    }
}

#[test]
fn files_open_with_a_page_of_docs() {
    for path in rust_files() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} does not open with //!", path.display());
    }
}

#[test]
fn files_stay_short() {
    for path in rust_files() {
        let shown = path.strip_prefix(root()).unwrap().display().to_string();
        if shown.contains("/tests/") || shown.starts_with("tests/") || shown.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().take_while(|it| *it != "#[cfg(test)]").count();
        assert!(lines <= MAX_PRODUCTION_LINES, "{shown} has {lines} lines; split it by what it does");
    }
}

#[test]
fn the_script_stays_small() {
    let script = fs::read_to_string(root().join("madbase")).unwrap();
    assert!(script.starts_with("#!/bin/sh\n"), "./madbase is POSIX sh");
    assert!(script.lines().count() < 150, "./madbase grows: logic belongs in Rust");
}

#[test]
fn decisions_are_numbered_without_gaps() {
    let mut found = Vec::new();
    files(&root().join("docs/decisions"), "md", &mut found);
    let mut numbers: Vec<usize> = found
        .iter()
        .map(|it| it.file_name().unwrap().to_string_lossy().split('-').next().unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=found.len()).collect::<Vec<_>>());
}

/// Every row of the tables of errors ends with the name of a test, and that test exists.
#[test]
fn documented_errors_have_their_tests() {
    let mut sources = Vec::new();
    for (folder, extension) in [("crates", "rs"), ("tests", "rs"), ("tests/clients/js", "mjs")] {
        let mut found = Vec::new();
        files(&root().join(folder), extension, &mut found);
        sources.extend(found.iter().map(|it| fs::read_to_string(it).unwrap()));
    }
    for (name, least) in [("errors.md", 15), ("errors-auth.md", 60), ("realtime-compat.md", 50)] {
        let page = fs::read_to_string(root().join("docs/reference").join(name)).unwrap();
        let mut rows = 0;
        for line in page.lines().filter(|it| it.starts_with("| ") && it.ends_with("` |")) {
            let test = line.trim_end_matches("` |").rsplit('`').next().unwrap();
            let (function, title) = (format!("fn {test}("), format!("test(\"{test}\""));
            let exists = sources.iter().any(|it| it.contains(&function) || it.contains(&title));
            assert!(exists, "docs/reference/{name} names a test that does not exist: {test}");
            rows += 1;
        }
        assert!(rows >= least, "docs/reference/{name} lost its tests: {rows} rows left");
    }
}

/// Every attack in the table ends with names of tests, and all of them exist.
#[test]
fn documented_attacks_have_their_tests() {
    let mut found = Vec::new();
    files(&root().join("crates"), "rs", &mut found);
    let sources: Vec<String> = found.iter().map(|it| fs::read_to_string(it).unwrap()).collect();
    let page = fs::read_to_string(root().join("docs/operations/security.md")).unwrap();
    let (_, table) = page.split_once("## Attacks").unwrap();
    let table = table.split("\n#").next().unwrap();
    let rows: Vec<&str> = table.lines().filter(|it| it.starts_with("| ")).skip(2).collect();
    assert!(rows.len() >= 30, "docs/operations/security.md lost its attacks: {} rows left", rows.len());
    for row in rows {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let tests: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test proves: {row}");
        for test in tests {
            // A test, not a helper of that name: its attribute stands before it.
            let exists = sources.iter().any(|it| {
                let before = it.find(&format!("fn {test}(")).map(|at| it[..at].trim_end_matches("async "));
                before.is_some_and(|it| it.trim_end_matches(' ').ends_with("]\n"))
            });
            assert!(exists, "docs/operations/security.md names a test that does not exist: {test}");
        }
    }
}

/// Every variable that the binary or the script reads has its row in the table of settings.
#[test]
fn every_variable_is_documented() {
    let page = fs::read_to_string(root().join("docs/reference/settings.md")).unwrap();
    let mut sources = Vec::new();
    files(&root().join("crates/madbase/src"), "rs", &mut sources);
    sources.push(root().join("madbase"));
    let mut variables = BTreeMap::new();
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        for (start, _) in text.match_indices("MADBASE_") {
            let name: String =
                text[start..].chars().take_while(|it| it.is_ascii_uppercase() || *it == '_').collect();
            variables.insert(name.trim_end_matches('_').to_owned(), path.clone());
        }
    }
    // Set by `madbase test` for the tests that it runs; nobody else sets it.
    variables.retain(|name, _| name != "MADBASE" && name != "MADBASE_TEST_DATABASE_URL");
    assert!(variables.len() > 8, "the walk found too few variables: {variables:?}");
    for (name, path) in variables {
        assert!(page.contains(&format!("`{name}`")), "{name} of {} is not documented", path.display());
    }
}

/// Every route of auth is a row of what the official clients drive (the clients' own tests compare that list with what
/// they asked).
#[test]
fn every_route_of_auth_is_driven_by_the_clients() {
    let rows = fs::read_to_string(root().join("tests/clients/auth_rows.txt")).unwrap();
    let rows: Vec<(&str, &str)> = rows
        .lines()
        .filter(|it| !it.starts_with('#'))
        .filter_map(|it| it.split_once(' ').map(|(method, rest)| (method, rest.trim_start())))
        .map(|(method, rest)| (method, rest.split(' ').next().unwrap()))
        .collect();
    // The same answers under a second name.
    let twins = [("GET", "/passkeys/"), ("POST", "/oauth/userinfo")];
    let mut sources = Vec::new();
    files(&root().join("crates/auth/src/routes"), "rs", &mut sources);
    sources.push(root().join("crates/auth/src/routes.rs"));
    sources.retain(|it| !it.ends_with("sso_off.rs"));
    let mut found = 0;
    for path in sources {
        for (method, route) in routes(&fs::read_to_string(&path).unwrap()) {
            found += 1;
            let known = |it: &(&str, &str)| *it == (method, route.as_str());
            assert!(
                rows.iter().chain(&twins).any(known),
                "{method} {route} is no row of tests/clients/auth_rows.txt"
            );
        }
    }
    assert!(found > 70, "the walk found too few routes: {found}");
}

/// The methods and paths of the calls of `.route("…", …)` in a file; parameters are all named `id`.
fn routes(source: &str) -> Vec<(&'static str, String)> {
    const HANDLERS: [(&str, &str); 7] = [
        ("get(", "GET"),
        ("reading(", "GET"),
        ("post(", "POST"),
        ("put(", "PUT"),
        ("patch(", "PATCH"),
        ("delete(", "DELETE"),
        ("deleting(", "DELETE"),
    ];
    let mut found = Vec::new();
    for call in source.split(".route(").skip(1) {
        let Some((path, rest)) = call.trim_start().strip_prefix('"').and_then(|it| it.split_once('"')) else {
            continue; // a path that is made; the metadata of the OAuth server
        };
        let mut depth = 1;
        let end = |it: char| {
            depth += i32::from(it == '(') - i32::from(it == ')');
            depth == 0
        };
        let handlers = &rest[..rest.find(end).unwrap()];
        let parts = path.split('/').map(|it| if it.starts_with('{') { "{id}" } else { it });
        let path = parts.collect::<Vec<_>>().join("/");
        for (call, method) in HANDLERS {
            let named = |(at, _): (usize, &str)| {
                !handlers[..at].ends_with(|it: char| it.is_alphanumeric() || it == '_')
            };
            if handlers.match_indices(call).any(named) {
                found.push((method, path.clone()));
            }
        }
    }
    found
}

/// Every metric of the sources has its row in the reference, with its type and the labels that are written beside it, and
/// every row has its metric.
#[test]
fn every_metric_is_documented() {
    let page = fs::read_to_string(root().join("docs/reference/metrics.md")).unwrap();
    let rows: BTreeMap<&str, Vec<&str>> = page
        .lines()
        .filter(|it| it.starts_with("| `"))
        .map(|it| it.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>())
        .map(|cells| (cells[0].trim_matches('`'), cells))
        .collect();
    let mut sources = Vec::new();
    files(&root().join("crates"), "rs", &mut sources);
    sources.retain(|it| it.components().any(|it| it.as_os_str() == "src"));
    let mut known = Vec::new();
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        for (kind, name, labels) in metrics_of(&text) {
            let place = path.display();
            let name = name.unwrap_or_else(|| panic!("a {kind} of {place} has no literal name"));
            let row = rows.get(name).unwrap_or_else(|| panic!("{name} of {place} is not in metrics.md"));
            assert_eq!(row[1], kind, "{name} of {place}");
            for label in labels {
                assert!(row[2].contains(&format!("`{label}`")), "{name} of {place}: label {label}");
            }
            known.push(name.to_owned());
        }
    }
    assert!(known.len() > 40, "the walk found too few metrics: {known:?}");
    for name in rows.keys() {
        assert!(known.iter().any(|it| it == name), "nothing counts {name} of metrics.md any more");
    }
}

/// Calls of the macros of metrics in a file: kind, name, literal labels.
fn metrics_of(source: &str) -> Vec<(&'static str, Option<&str>, Vec<&str>)> {
    let mut found = Vec::new();
    for kind in ["counter", "gauge", "histogram"] {
        for (at, call) in source.match_indices(&format!("{kind}!(")) {
            if source[..at].ends_with(|it: char| it.is_alphanumeric() || it == '_') {
                continue; // another macro, such as `encounter!`
            }
            let mut depth = 1;
            let end = |it: char| {
                depth += i32::from(it == '(') - i32::from(it == ')');
                depth == 0
            };
            let rest = &source[at + call.len()..];
            let arguments = &rest[..rest.find(end).unwrap()];
            let name = arguments.trim_start().strip_prefix('"').and_then(|it| it.split('"').next());
            let labels = arguments.rsplit("=>").skip(1).filter_map(|it| {
                let closed = it.trim_end().strip_suffix('"')?;
                Some(&closed[closed.rfind('"')? + 1..])
            });
            found.push((kind, name, labels.collect()));
        }
    }
    found
}

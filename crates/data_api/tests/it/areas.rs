//! The contract of the data API, area by area: cases as data in `areas/*.http`, one test per area.
//!
//! Each area names its counterpart in `docs/reference/compat.md` and the least number of cases that must run: who
//! takes cases away lowers a number here. `INSTA_UPDATE=always` writes the answers anew, for review.

mod case;
pub(crate) mod railway;
mod runner;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The cases of an area.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/areas").join(name).with_extension("http")
}

/// Run an area; fails when an answer differs, or when fewer cases ran than recorded.
fn check(name: &str, recorded: usize) {
    let counts = testkit::run(runner::run(&file(name)));
    assert!(
        counts.run + counts.skipped >= recorded,
        "{name}: {} cases, {recorded} are recorded",
        counts.run + counts.skipped
    );
    assert!(counts.run == 0 || counts.run >= recorded, "{name}: {} of {recorded} ran", counts.run);
    assert_eq!(
        counts.run + counts.skipped,
        recorded,
        "{name}: record the new cases in areas.rs, so that they stay"
    );
}

macro_rules! areas {
    ($($name:ident = $title:literal: $recorded:literal,)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name), $recorded);
            }
        )*

        /// Every area that is tested here: file and title.
        const AREAS: &[(&str, &str)] = &[$((stringify!($name), $title)),*];
    };
}

areas! {
    filters = "filters": 21,
    lists = "IN lists, quoting, any/all": 13,
    full_text = "full-text search": 12,
    logic = "and/or/not logic": 16,
    select = "select, casts, aliases, basic embedding": 18,
    json_paths = "JSON paths": 16,
    ordering = "ordering": 13,
    computed_columns = "computed columns": 7,
    related_order = "embedding: related order, null filters": 13,
    hints = "embedding: disambiguation, hints": 17,
    inner = "embedding: !inner": 11,
    views = "embedding: views, partitions, one-to-one": 12,
    aliases = "embedding: aliases and target names": 5,
    empty_embeds = "embedding: empty, name clashes": 7,
    spread = "embedding: spread": 17,
    computed_relationships = "computed relationships": 11,
    aggregates = "aggregates": 14,
    representations = "data representations": 12,
    singular = "singular object": 11,
    stripped = "nulls=stripped": 7,
    ranges = "pagination and count: range, limit/offset": 18,
    max_rows = "pagination and count: db-max-rows": 7,
    insert = "insert": 22,
    insert_forms = "insert: CSV and form bodies": 8,
    insert_columns = "insert: ?columns, missing=default": 10,
    update = "update": 19,
    delete = "delete": 10,
    upsert_post = "upsert (POST resolution=...)": 13,
    upsert_put = "upsert (PUT)": 10,
    safeupdate = "pg_safeupdate": 2,
    handling = "Prefer: handling": 7,
    max_affected = "Prefer: max-affected": 7,
    timezone = "Prefer: timezone": 5,
    tx = "Prefer: tx, db-tx-end": 11,
    rpc_calling = "rpc: calling (GET/POST/HEAD)": 20,
    rpc_types = "rpc: variadic, in/out, table, argument and return types": 11,
    rpc_overloads = "rpc: overloads and resolution errors": 9,
    rpc_unnamed = "rpc: single unnamed parameter": 7,
    rpc_rows = "rpc: embedding, shaping, ranges, counts": 12,
    rpc_raise = "rpc: request GUCs, raise sqlstate": 11,
    rpc_settings = "rpc: headers/status GUCs": 7,
    pre_request = "pre-request function, response GUCs": 4,
    media_handlers = "media type handlers": 14,
    names = "read: media types, locations, odd names": 10,
    geojson = "GeoJSON (PostGIS)": 6,
    openapi = "OpenAPI root": 15,
    plan = "plan media type": 9,
    schemas = "schemas: Accept-/Content-Profile": 9,
    search_path = "schemas: extra search path": 4,
    options = "OPTIONS / Allow": 7,
    errors = "errors": 7,
    prepared = "prepared statements, concurrency": 5,
}

/// Areas that the gateway answers: see `crates/gateway/tests/it/contract.rs`.
const OF_THE_GATEWAY: [&str; 3] = ["CORS", "JWT and roles", "Server-Timing, trace header"];

#[test]
fn every_area_of_the_contract_has_cases() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/compat.md");
    let page = fs::read_to_string(page).unwrap();
    let rows = page.lines().skip_while(|it| !it.starts_with("| Area ")).skip(2);
    let titles: BTreeSet<_> =
        rows.map_while(|it| it.strip_prefix("| ")).filter_map(|it| it.split(" | ").next()).collect();
    let here: BTreeSet<_> =
        AREAS.iter().map(|(_, title)| *title).filter(|it| !it.starts_with("beyond: ")).collect();
    assert_eq!(titles, here.union(&OF_THE_GATEWAY.into()).copied().collect());
}

#[test]
fn every_file_of_cases_is_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/areas");
    let files = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let files: BTreeSet<_> = files.filter(|it| it.extension().is_some_and(|it| it == "http")).collect();
    assert_eq!(files, AREAS.iter().map(|(name, _)| file(name)).collect());
}

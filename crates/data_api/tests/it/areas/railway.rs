//! The database of the cases: a railway, made once per test process. What cases write is rolled back.

use std::fs;

use common::RestSettings;
use serde_json::{Map, Value};
use testkit::TestProject;
use tokio::sync::OnceCell;

use super::runner::laid_over;

static SHARED: OnceCell<Railway> = OnceCell::const_new();

/// A project with a railway in it.
#[derive(Debug)]
pub(crate) struct Railway {
    pub(crate) test: TestProject,
    /// Extensions that some cases need and that could be installed.
    pub(crate) extensions: Vec<String>,
}

pub(crate) async fn shared() -> &'static Railway {
    SHARED.get_or_init(make).await
}

async fn make() -> Railway {
    let test = testkit::project("railway").await;
    let seed = fs::read_to_string(super::file("railway").with_extension("sql")).unwrap();
    test.owner().await.batch_execute(&seed).await.unwrap();
    let admin = test.admin().await;
    let mut extensions = Vec::new();
    for (name, seed) in [("postgis", include_str!("postgis.sql"))] {
        if admin.batch_execute(seed).await.is_ok() {
            extensions.push(name.to_owned());
        }
    }
    Railway { test, extensions }
}

/// What the cases begin with: PostgREST's defaults, two schemas, and nothing kept.
pub(crate) fn settings(change: &Map<String, Value>) -> RestSettings {
    let own = RestSettings {
        db_schemas: vec!["rail".into(), "depot".into()],
        db_extra_search_path: vec!["toolbox".into()],
        db_max_rows: None,
        db_tx_end: "rollback-allow-override".into(),
        ..RestSettings::default()
    };
    laid_over(&own, change)
}

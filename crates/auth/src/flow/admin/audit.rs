//! `GET /admin/audit`: pages of the audit log, newest first.

use serde::Deserialize;
use serde_json::Value;

use super::list::Page;
use super::window::{Window, containing};
use crate::request::{Context, text};
use crate::{Auth, Error, queries};

/// The query.
#[derive(Default, Deserialize)]
pub(crate) struct Query {
    page: Option<String>,
    per_page: Option<String>,
    /// `author:ada@`, `action:login` or `type:account`.
    query: Option<String>,
}

/// Read a page.
pub(crate) async fn run(auth: &Auth, ctx: &Context, query: Query) -> Result<Page<Value>, Error> {
    let window = Window::parse(query.page, query.per_page)?;
    let (field, pattern) = match text(query.query) {
        None => Default::default(),
        Some(it) => search(&it)?,
    };
    let db = auth.database(&ctx.project).await?;
    let search = (field.as_str(), pattern.as_str());
    let (items, total) = queries::audit_page(&db, window.per_page, window.offset(), search).await?;
    Ok(Page { items, total, link: window.link("/admin/audit", total) })
}

fn search(text: &str) -> Result<(String, String), Error> {
    let bad =
        || Error::invalid("The query must be author, action or type, then a colon and what to look for");
    let (field, wanted) = text.split_once(':').ok_or_else(bad)?;
    if !matches!(field, "author" | "action" | "type") {
        return Err(bad());
    }
    Ok((field.to_owned(), containing(wanted)))
}

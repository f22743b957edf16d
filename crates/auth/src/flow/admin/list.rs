//! `GET /admin/users`: pages of users, newest first.

use serde::Deserialize;

use super::window::{Window, containing};
use crate::queries;
use crate::request::{Context, text};
use crate::user::Account;
use crate::{Auth, Error};

/// The query.
#[derive(Default, Deserialize)]
pub(crate) struct Query {
    page: Option<String>,
    per_page: Option<String>,
    filter: Option<String>,
}

/// A page.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) total: i64,
    /// The `Link` header.
    pub(crate) link: String,
}

/// Read a page.
pub(crate) async fn run(auth: &Auth, ctx: &Context, query: Query) -> Result<Page<Account>, Error> {
    let window = Window::parse(query.page, query.per_page)?;
    let filter = text(query.filter).map(|it| containing(&it)).unwrap_or_default();
    let db = auth.database(&ctx.project).await?;
    let (items, total) = queries::page(&db, window.per_page, window.offset(), &filter).await?;
    Ok(Page { items, total, link: window.link("/admin/users", total) })
}

//! `GET /admin/users`: pages of users, newest first.

use serde::Deserialize;

use crate::queries;
use crate::request::{Context, text};
use crate::user::Account;
use crate::{Auth, Error};

const DEFAULT_PER_PAGE: i64 = 50;
const MAX_PER_PAGE: i64 = 1000;

/// The query.
#[derive(Default, Deserialize)]
pub(crate) struct Query {
    page: Option<String>,
    per_page: Option<String>,
    filter: Option<String>,
}

/// A page.
pub(crate) struct Page {
    pub(crate) accounts: Vec<Account>,
    pub(crate) total: i64,
    /// As clients parse it: `rel="next"` when there is one, and `rel="last"`.
    pub(crate) link: String,
}

/// Read a page.
pub(crate) async fn run(auth: &Auth, ctx: &Context, query: Query) -> Result<Page, Error> {
    let page = number(query.page, 1)?.max(1);
    let per_page = number(query.per_page, DEFAULT_PER_PAGE)?.clamp(1, MAX_PER_PAGE);
    let filter = text(query.filter).map(|it| format!("%{}%", escape(&it))).unwrap_or_default();
    let db = auth.database(&ctx.project).await?;
    let offset = (page - 1).saturating_mul(per_page);
    let (accounts, total) = queries::page(&db, per_page, offset, &filter).await?;
    let last = total.saturating_add(per_page - 1) / per_page;
    // `page` comes first: supabase-js reads the number behind the first `=`.
    let url = |page: i64| format!("</admin/users?page={page}&per_page={per_page}>");
    let next = if page < last { format!("{}; rel=\"next\", ", url(page + 1)) } else { String::new() };
    Ok(Page { accounts, total, link: format!("{next}{}; rel=\"last\"", url(last)) })
}

fn number(field: Option<String>, default: i64) -> Result<i64, Error> {
    let Some(field) = text(field) else { return Ok(default) };
    let bad = || Error::Invalid(format!("Bad Pagination Parameters: {field:?} is no number").into());
    field.parse::<u32>().map(i64::from).map_err(|_| bad())
}

/// `text` without the magic of `like`.
fn escape(text: &str) -> String {
    text.replace('\0', "").replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

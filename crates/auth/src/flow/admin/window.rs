//! Which page of a list somebody asks for, and where the next and the last one are.

use crate::Error;
use crate::request::text;

const DEFAULT_PER_PAGE: i64 = 50;
const MAX_PER_PAGE: i64 = 1000;

/// `page` (1 and up) of `per_page` items.
pub(super) struct Window {
    page: i64,
    pub(super) per_page: i64,
}

impl Window {
    /// As a query says it; what is left out has a default.
    pub(super) fn parse(page: Option<String>, per_page: Option<String>) -> Result<Self, Error> {
        let page = number(page, 1)?.max(1);
        let per_page = number(per_page, DEFAULT_PER_PAGE)?.clamp(1, MAX_PER_PAGE);
        Ok(Self { page, per_page })
    }

    /// How many items come before it.
    pub(super) fn offset(&self) -> i64 {
        (self.page - 1).saturating_mul(self.per_page)
    }

    /// The `Link` header of a list of `total` items at `path`, as clients parse it: `rel="next"` when there is one,
    /// and `rel="last"`.
    pub(super) fn link(&self, path: &str, total: i64) -> String {
        let Self { page, per_page } = *self;
        let last = total.saturating_add(per_page - 1) / per_page;
        // `page` comes first: supabase-js reads the number behind the first `=`.
        let url = |page: i64| format!("<{path}?page={page}&per_page={per_page}>");
        let next = if page < last { format!("{}; rel=\"next\", ", url(page + 1)) } else { String::new() };
        format!("{next}{}; rel=\"last\"", url(last))
    }
}

fn number(field: Option<String>, default: i64) -> Result<i64, Error> {
    let Some(field) = text(field) else { return Ok(default) };
    let bad = || Error::Invalid(format!("Bad Pagination Parameters: {field:?} is no number").into());
    field.parse::<u32>().map(i64::from).map_err(|_| bad())
}

/// What contains `text`, as `like` reads it.
pub(super) fn containing(text: &str) -> String {
    let plain = text.replace('\0', "").replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{plain}%")
}

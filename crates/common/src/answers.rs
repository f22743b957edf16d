//! When an answer of a project's data API may be given again: what the data API tells the gateway about it.

/// A response extension: the same request of the same caller gets the same answer until something is written, or until
/// time passes for what the database reads besides tables. Without it an answer is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeatable {
    /// What this answer depended on.
    pub dependence: Dependence,
}

/// A response extension: the request is refused, and whatever it began is undone. Without it a refused request may have
/// written, as a function of the database may that sets the status by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NothingWritten;

/// What answers of a project's data API depend on besides method, path, query, the caller's claims, the headers that
/// the data API itself reads, and what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dependence {
    /// Another one whenever schema, rights or settings of the project's database changed, as far as it was told.
    pub generation: u64,
    /// Whether code in the database may read the request itself: all headers and cookies count then.
    pub on_whole_request: bool,
}

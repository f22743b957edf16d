//! The schema `realtime` of every project: the messages that SQL sends, partitioned by day, and its functions.

mod embedded {
    //! The migrations of schema `realtime`, built into the binary.
    refinery::embed_migrations!("migrations");
}

/// The migrations of schema `realtime`, for whoever migrates a project's database.
///
/// They expect the shared roles, and leave everything owned by `supabase_realtime_admin`.
#[must_use]
pub fn migrations() -> refinery::Runner {
    embedded::migrations::runner()
}

//! What is worth knowing, in one place: each function is one event, turned into a log line.
//!
//! Never a key, password, token or body.

use common::{NodeName, ProjectRef};

use crate::Error;

/// A project's part of the cluster was made or brought up to date.
pub(crate) fn project_provisioned(reference: &ProjectRef, waited: std::time::Duration) {
    tracing::info!(project.id = %reference, duration_ms = waited.as_millis(), "project brought up");
}

/// A project stays behind: it serves what it had, and the next start tries again.
pub(crate) fn project_failed(reference: &ProjectRef, error: &Error) {
    tracing::error!(project.id = %reference, error = error as &(dyn std::error::Error + 'static), "project not brought up");
}

/// A project was deleted.
pub(crate) fn project_deleted(reference: &ProjectRef) {
    tracing::info!(project.id = %reference, "project deleted");
}

/// A project could not be deleted completely.
pub(crate) fn deletion_unfinished(reference: &ProjectRef, error: &Error) {
    tracing::warn!(
        project.id = %reference, error = error as &(dyn std::error::Error + 'static),
        "project deleted in part; the next start finishes it"
    );
}

/// An extension that Supabase's projects have is not installed on the server.
pub(crate) fn extension_missing(extension: &str) {
    tracing::warn!(extension, "extension not installed; install PostgreSQL's contrib package to have it");
}

/// Other databases of the cluster let every login in, the projects' among them.
pub(crate) fn databases_open(names: &[String]) {
    tracing::warn!(
        databases = names.join(", "),
        "every login may enter these databases; `revoke connect on database … from public` closes them"
    );
}

/// A request failed by our fault.
pub(crate) fn request_failed(error: &Error) {
    tracing::error!(
        error.kind = error.kind().label(),
        error = error as &(dyn std::error::Error + 'static),
        "request failed"
    );
}

/// The databases were prepared by another version of MadBase, or are not all prepared yet.
pub(crate) fn other_version() {
    tracing::warn!(
        "the databases were prepared by another version of MadBase; run the same version on all nodes"
    );
}

/// A certificate came from its authority.
pub(crate) fn certificate_issued(domain: &str, until: std::time::SystemTime) {
    metrics::counter!("madbase_acme_orders_total", "result" => "issued").increment(1);
    let left_secs = until.duration_since(std::time::SystemTime::now()).unwrap_or_default().as_secs();
    tracing::info!(domain, left_secs, "certificate issued");
}

/// No certificate came; the one before stays as long as it holds.
pub(crate) fn certificate_failed(domain: &str, why: &str, wait: std::time::Duration) {
    metrics::counter!("madbase_acme_orders_total", "result" => "failed").increment(1);
    tracing::error!(domain, error = why, retry_secs = wait.as_secs(), "no certificate; trying again later");
}

/// The control database did not say what certificates or challenges there are.
pub(crate) fn certificates_not_looked_at(error: &Error) {
    tracing::warn!(
        error = error as &(dyn std::error::Error + 'static),
        "certificates cannot be looked at; trying again"
    );
}

/// A node was taken in.
pub(crate) fn node_joined(name: &NodeName) {
    tracing::info!(node.id = %name.id, node.role = %name.pillar, "node joined");
}

/// A node has been silent for too long.
pub(crate) fn node_lost(id: &str) {
    tracing::warn!(node.id = id, "node lost: it said nothing for 15 s");
}

/// Nobody can tell which nodes are silent.
pub(crate) fn nodes_unseen(error: &Error) {
    tracing::warn!(error = error as &(dyn std::error::Error + 'static), "nodes cannot be looked after");
}

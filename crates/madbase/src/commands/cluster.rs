//! `madbase cluster`: the nodes that the control plane knows.

use std::process::ExitCode;

use anyhow::{Result, bail};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::{Cluster, ClusterVerb};
use crate::client::Client;
use crate::output::{Output, table};
use crate::settings::Environment;

/// Run the verb.
pub(crate) async fn run(args: Cluster, output: Output, environment: Environment) -> Result<ExitCode> {
    let client = Client::open(&args.control, environment)?;
    match args.verb {
        ClusterVerb::Nodes => {
            let nodes = client.call(Method::GET, "/api/v1/nodes", None).await?;
            output.show(&nodes, list);
        }
        ClusterVerb::JoinToken { role, ttl } => {
            let body = json!({ "role": role, "ttl_secs": ttl });
            let made = client.call(Method::POST, "/api/v1/nodes/join-tokens", Some(&body)).await?;
            // Alone on its line, for `> token`.
            output.show(&made, |it| it["token"].as_str().unwrap_or_default().to_owned());
        }
        ClusterVerb::Drain { id } => {
            let path = format!("{}/drain", path(&id)?);
            let answer = client.call(Method::POST, &path, None).await?;
            output.show(&answer, |_| format!("{id} finishes what it has and stops"));
        }
        ClusterVerb::Remove { id } => {
            client.call(Method::DELETE, &path(&id)?, None).await?;
            output.show(&json!({ "removed": id }), |_| format!("removed {id}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The id is checked first, so it cannot change the path.
fn path(id: &str) -> Result<String> {
    match id.parse::<common::NodeId>() {
        Ok(id) => Ok(format!("/api/v1/nodes/{id}")),
        Err(_) => bail!("{id} is no node; list them: madbase cluster nodes"),
    }
}

fn list(answer: &Value) -> String {
    let columns =
        ["id", "role", "state", "address", "zone", "version", "requests_in_flight", "requests_per_sec"];
    let heading =
        ["id", "role", "state", "address", "zone", "version", "in flight", "req/s"].map(str::to_owned);
    let cell = |node: &Value, column: &str| match node.get(column) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.as_f64().map_or_else(String::new, |it| format!("{it:.0}")),
        _ => String::new(),
    };
    let nodes = answer["nodes"].as_array().into_iter().flatten();
    let rows = nodes.map(|node| columns.iter().map(|it| cell(node, it)).collect::<Vec<_>>());
    table(&std::iter::once(heading.to_vec()).chain(rows).collect::<Vec<_>>())
}

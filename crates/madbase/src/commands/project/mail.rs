//! `madbase project mail`: how a mail looks, before anybody gets one.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Map, Value};

use super::{path, text_in};
use crate::client::Client;
use crate::output::Output;

/// What to try instead of what is stored.
pub(super) struct Draft {
    pub(super) subject: Option<String>,
    pub(super) content: Option<PathBuf>,
}

/// Show the mail `name` of a project.
pub(super) async fn preview(
    client: &Client,
    output: Output,
    (reference, name): (&str, &str),
    draft: Draft,
) -> Result<()> {
    let plain = name.chars().all(|it| it.is_ascii_lowercase() || it == '_');
    anyhow::ensure!(plain, "there is no mail {name}");
    let path = path(reference, &format!("/mail/{name}/preview"))?;
    let mut body = Map::new();
    if let Some(subject) = draft.subject {
        body.insert("subject".into(), subject.into());
    }
    if let Some(file) = draft.content {
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        body.insert("content".into(), text.into());
    }
    let body = Value::Object(body);
    let mail = client.call(Method::POST, &path, Some(&body)).await?;
    output.show(&mail, |it| format!("Subject: {}\n\n{}", text_in(it, "subject"), text_in(it, "html")));
    Ok(())
}

//! Clients: registered by an administrator, or by themselves (RFC 7591); what they must keep; how they are shown.

use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use crate::queries::{self, ClientRow};
use crate::request::{Context, text};
use crate::{Auth, Error, OAuthError, secret};

const METHODS: [&str; 3] = ["none", "client_secret_basic", "client_secret_post"];
const MAX_PER_PAGE: i64 = 1000;
const MAX_REDIRECTS: usize = 10;
/// Schemes that run code, or that lead nowhere.
const DANGEROUS: [&str; 6] = ["javascript", "data", "file", "vbscript", "about", "blob"];

/// The body of a registration, or of a change.
#[derive(Default, Deserialize)]
pub(crate) struct Fields {
    redirect_uris: Option<Vec<String>>,
    client_type: Option<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    client_name: Option<String>,
    client_uri: Option<String>,
    logo_uri: Option<String>,
}

/// A client as others read it.
#[derive(Debug, Serialize)]
pub(crate) struct View {
    client_id: Uuid,
    /// Told once.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    client_type: String,
    redirect_uris: Vec<String>,
    token_endpoint_auth_method: String,
    grant_types: Vec<String>,
    response_types: [&'static str; 1],
    #[serde(skip_serializing_if = "String::is_empty")]
    client_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_uri: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    logo_uri: String,
    registration_type: String,
    created_at: jiff::Timestamp,
    updated_at: jiff::Timestamp,
}

impl View {
    fn new(row: ClientRow, client_secret: Option<String>) -> Self {
        let list = |text: &str| text.split(',').map(str::to_owned).collect();
        Self {
            client_id: row.id,
            client_secret,
            client_type: row.client_type,
            redirect_uris: list(&row.redirect_uris),
            token_endpoint_auth_method: row.token_endpoint_auth_method,
            grant_types: list(&row.grant_types),
            response_types: ["code"],
            client_name: row.client_name.unwrap_or_default(),
            client_uri: row.client_uri.unwrap_or_default(),
            logo_uri: row.logo_uri.unwrap_or_default(),
            registration_type: row.registration_type,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl ClientRow {
    /// Whether it can keep a secret.
    pub(crate) fn is_confidential(&self) -> bool {
        self.client_type == "confidential"
    }

    /// Letter by letter.
    pub(crate) fn has_redirect(&self, uri: &str) -> bool {
        self.redirect_uris.split(',').any(|it| it == uri)
    }

    pub(crate) fn may_use(&self, grant_type: &str) -> bool {
        self.grant_types.split(',').any(|it| it == grant_type)
    }
}

/// `POST /admin/oauth/clients` (`manual`) and `POST /oauth/clients/register` (`dynamic`).
pub(crate) async fn register(
    auth: &Auth,
    ctx: &Context,
    fields: Fields,
    registration_type: &'static str,
) -> Result<View, Error> {
    check(&fields, true)?;
    let method = text(fields.token_endpoint_auth_method);
    let of_method = method.as_deref().map(|it| if it == "none" { "public" } else { "confidential" });
    let client_type = match (text(fields.client_type), of_method) {
        (Some(kind), None) => kind,
        (Some(kind), Some(expected)) if kind == expected => kind,
        (Some(kind), Some(expected)) => {
            return invalid(format!(
                "client_type '{kind}' is inconsistent with token_endpoint_auth_method '{}' (expected client_type '{expected}')",
                method.unwrap_or_default()
            ));
        }
        (None, kind) => kind.unwrap_or("confidential").to_owned(),
    };
    let confidential = client_type == "confidential";
    let usual = if confidential { "client_secret_basic" } else { "none" };
    let client_secret = if confidential { Some(secret::token()?) } else { None };
    let grant_types = fields.grant_types.filter(|it| !it.is_empty());
    let row = ClientRow {
        id: Uuid::new_v4(),
        client_secret_hash: client_secret.as_deref().map(secret::s256),
        registration_type: registration_type.to_owned(),
        redirect_uris: fields.redirect_uris.unwrap_or_default().join(","),
        grant_types: grant_types.map_or_else(|| "authorization_code,refresh_token".into(), |it| it.join(",")),
        client_name: text(fields.client_name),
        client_uri: text(fields.client_uri),
        logo_uri: text(fields.logo_uri),
        created_at: ctx.now,
        updated_at: ctx.now,
        client_type,
        token_endpoint_auth_method: method.unwrap_or_else(|| usual.to_owned()),
    };
    let db = auth.database(&ctx.project).await?;
    queries::write_client(&db, &row).await?;
    Ok(View::new(row, client_secret))
}

/// A page of clients, how many there are in all, and what `Link` says.
pub(crate) async fn list(
    auth: &Auth,
    ctx: &Context,
    (page, per_page): (i64, i64),
) -> Result<(Vec<View>, i64, String), Error> {
    let (page, per_page) = (page.max(1), per_page.clamp(1, MAX_PER_PAGE));
    let db = auth.database(&ctx.project).await?;
    let (rows, total) = queries::clients(&db, per_page, (page - 1).saturating_mul(per_page)).await?;
    let last = (total.saturating_add(per_page - 1) / per_page).max(1);
    let url = |page: i64| format!("</admin/oauth/clients?page={page}&per_page={per_page}>");
    let next = if page < last { format!("{}; rel=\"next\", ", url(page + 1)) } else { String::new() };
    let views = rows.into_iter().map(|it| View::new(it, None)).collect();
    Ok((views, total, format!("{next}{}; rel=\"last\"", url(last))))
}

/// The client of a path.
async fn find(auth: &Auth, ctx: &Context, id: &str) -> Result<ClientRow, Error> {
    let id: Uuid = id.parse().map_err(|_| Error::invalid("invalid client_id format"))?;
    let db = auth.database(&ctx.project).await?;
    queries::client(&db, id).await?.ok_or_else(|| OAuthError::ClientMissing.into())
}

/// `GET /admin/oauth/clients/{id}`.
pub(crate) async fn read(auth: &Auth, ctx: &Context, id: &str) -> Result<View, Error> {
    Ok(View::new(find(auth, ctx, id).await?, None))
}

/// `PUT /admin/oauth/clients/{id}`.
pub(crate) async fn update(auth: &Auth, ctx: &Context, id: &str, fields: Fields) -> Result<View, Error> {
    let mut row = find(auth, ctx, id).await?;
    let nothing = fields.redirect_uris.is_none()
        && fields.grant_types.is_none()
        && fields.client_name.is_none()
        && fields.client_uri.is_none()
        && fields.logo_uri.is_none()
        && fields.token_endpoint_auth_method.is_none();
    if nothing {
        return Err(Error::invalid("No fields provided for update"));
    }
    check(&fields, false)?;
    if let Some(method) = fields.token_endpoint_auth_method {
        if (method == "none") == row.is_confidential() {
            let valid = if row.is_confidential() { "client_secret_basic client_secret_post" } else { "none" };
            return invalid(format!(
                "token_endpoint_auth_method '{method}' is not valid for client_type '{}'; valid methods: [{valid}]",
                row.client_type
            ));
        }
        row.token_endpoint_auth_method = method;
    }
    if let Some(uris) = fields.redirect_uris {
        row.redirect_uris = uris.join(",");
    }
    if let Some(types) = fields.grant_types {
        row.grant_types = types.join(",");
    }
    let changes = [
        (&mut row.client_name, fields.client_name),
        (&mut row.client_uri, fields.client_uri),
        (&mut row.logo_uri, fields.logo_uri),
    ];
    for (to, from) in changes {
        if from.is_some() {
            *to = text(from);
        }
    }
    row.updated_at = ctx.now;
    let db = auth.database(&ctx.project).await?;
    queries::write_client(&db, &row).await?;
    Ok(View::new(row, None))
}

/// `DELETE /admin/oauth/clients/{id}`: with what it may do for users.
pub(crate) async fn delete(auth: &Auth, ctx: &Context, id: &str) -> Result<(), Error> {
    let row = find(auth, ctx, id).await?;
    let db = auth.database(&ctx.project).await?;
    let there = queries::delete_client(&db, row.id, ctx.now).await?;
    if there { Ok(()) } else { Err(OAuthError::ClientMissing.into()) }
}

/// `POST /admin/oauth/clients/{id}/regenerate_secret`.
pub(crate) async fn regenerate(auth: &Auth, ctx: &Context, id: &str) -> Result<View, Error> {
    let mut row = find(auth, ctx, id).await?;
    if !row.is_confidential() {
        return Err(Error::invalid("Cannot regenerate secret for public client"));
    }
    let client_secret = secret::token()?;
    row.client_secret_hash = Some(secret::s256(&client_secret));
    row.updated_at = ctx.now;
    let db = auth.database(&ctx.project).await?;
    queries::write_client(&db, &row).await?;
    Ok(View::new(row, Some(client_secret)))
}

fn invalid<T>(message: String) -> Result<T, Error> {
    Err(Error::Invalid(message.into()))
}

fn check(fields: &Fields, new: bool) -> Result<(), Error> {
    match &fields.redirect_uris {
        None if new => return Err(Error::invalid("redirect_uris is required")),
        Some(uris) if uris.is_empty() && new => return Err(Error::invalid("redirect_uris is required")),
        Some(uris) if uris.is_empty() => return Err(Error::invalid("redirect_uris cannot be empty")),
        Some(uris) if uris.len() > MAX_REDIRECTS => {
            return Err(Error::invalid("redirect_uris cannot exceed 10 items"));
        }
        Some(uris) => {
            for uri in uris {
                check_redirect(uri).or_else(|why| invalid(format!("invalid redirect_uri '{uri}': {why}")))?;
            }
        }
        None => {}
    }
    match &fields.grant_types {
        Some(types) if types.is_empty() && !new => {
            return Err(Error::invalid("grant_types cannot be empty"));
        }
        Some(types) if !types.iter().all(|it| it == "authorization_code" || it == "refresh_token") => {
            return Err(Error::invalid(
                "grant_types must only contain 'authorization_code' and/or 'refresh_token'",
            ));
        }
        _ => {}
    }
    check_texts(fields, new)
}

fn check_texts(fields: &Fields, new: bool) -> Result<(), Error> {
    if fields.client_name.as_ref().is_some_and(|it| it.len() > 1024) {
        return Err(Error::invalid("client_name cannot exceed 1024 characters"));
    }
    for (name, uri) in [("client_uri", &fields.client_uri), ("logo_uri", &fields.logo_uri)] {
        let Some(uri) = uri.as_deref().filter(|it| !it.is_empty()) else { continue };
        if uri.len() > 2048 {
            return invalid(format!("{name} cannot exceed 2048 characters"));
        }
        // Shown to users as a link and as a picture: nothing that runs code.
        if !Url::parse(uri).is_ok_and(|it| matches!(it.scheme(), "http" | "https")) {
            return invalid(format!("{name} must be a valid URL"));
        }
    }
    let kind = fields.client_type.as_deref().filter(|it| new && !it.is_empty());
    if kind.is_some_and(|it| !matches!(it, "public" | "confidential")) {
        return Err(Error::invalid("client_type must be 'public' or 'confidential'"));
    }
    let method = fields.token_endpoint_auth_method.as_deref().filter(|it| !new || !it.is_empty());
    if method.is_some_and(|it| !METHODS.contains(&it)) {
        let start = if new { "" } else { "invalid token_endpoint_auth_method: must be one of " };
        let start = if new { "token_endpoint_auth_method must be one of: " } else { start };
        return invalid(format!("{start}[{}]", METHODS.join(" ")));
    }
    Ok(())
}

/// What a redirect address must keep (RFC 6749 §3.1.2, RFC 8252).
fn check_redirect(uri: &str) -> Result<(), String> {
    if uri.is_empty() {
        return Err("redirect URI cannot be empty".into());
    }
    if uri.len() > 2048 || uri.contains(|it: char| it.is_whitespace() || it.is_control() || it == '\\') {
        return Err("invalid URL format".into());
    }
    // They are stored with commas between.
    if uri.contains(',') {
        return Err("must not contain a comma".into());
    }
    let url = Url::parse(uri).map_err(|_| "invalid URL format")?;
    if DANGEROUS.contains(&url.scheme()) {
        return Err(format!("scheme '{}' is not allowed for security reasons", url.scheme()));
    }
    let host = url.host_str().unwrap_or_default();
    if host.is_empty() {
        return Err("must have scheme and host".into());
    }
    if url.scheme() == "http" && !matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
        return Err("HTTP scheme only allowed for localhost".into());
    }
    if url.fragment().is_some_and(|it| !it.is_empty()) {
        return Err("fragment not allowed in redirect URI".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_addresses_are_absolute_and_harmless() {
        for good in [
            "https://a.b/cb?x=1",
            "http://localhost:3000/cb",
            "http://127.0.0.1/cb",
            "http://[::1]:8/cb",
            "myapp://callback",
        ] {
            assert_eq!(check_redirect(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "redirect URI cannot be empty"),
            ("/cb", "invalid URL format"),
            ("https://a.b\\@evil.com", "invalid URL format"),
            ("mailto:a@b.c", "must have scheme and host"),
            ("javascript://a/%0Aalert(1)", "scheme 'javascript' is not allowed for security reasons"),
            ("DATA:text/html,x", "must not contain a comma"),
            ("data://x", "scheme 'data' is not allowed for security reasons"),
            ("http://a.b/cb", "HTTP scheme only allowed for localhost"),
            ("http://localhost.evil.com", "HTTP scheme only allowed for localhost"),
            ("https://a.b/#x", "fragment not allowed in redirect URI"),
        ] {
            assert_eq!(check_redirect(bad).unwrap_err(), why, "{bad}");
        }
    }
}

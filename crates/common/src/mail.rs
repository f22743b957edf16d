//! What mails say: one frame and six texts of ours, or a project's own, filled in by minijinja.
//!
//! Shared by auth, which sends, and the control plane, which checks and previews. Templates are Supabase's (Go's syntax)
//! or minijinja's. What users typed is escaped, lines end nowhere in a subject, and rendering is bounded.

mod go;
mod words;

use minijinja::{Environment, context};
use serde_json::Value;

use crate::MailTemplate;

const FRAME: &str = include_str!("../templates/frame.html");
/// Steps that a template may take: thousands of times what a letter needs.
const FUEL: u64 = 50_000;
/// The largest mail.
const MAX_BYTES: usize = 512 * 1024;

/// The mails that there are, by Supabase's names.
pub const NAMES: [&str; 6] =
    ["confirmation", "invite", "magic_link", "recovery", "email_change", "reauthentication"];

/// What templates may show.
#[derive(Debug, Clone, Copy)]
pub struct MailFields<'a> {
    /// Where the button leads; empty for mails with a code only.
    pub confirmation_url: &'a str,
    /// The code.
    pub token: &'a str,
    /// What the link carries.
    pub token_hash: &'a str,
    /// The site.
    pub site_url: &'a str,
    /// Where the link leads in the end.
    pub redirect_to: &'a str,
    /// The user's address.
    pub email: &'a str,
    /// The address that the user wants instead.
    pub new_email: &'a str,
    /// What the user told at sign-up.
    pub data: &'a Value,
}

/// A mail, filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// One line.
    pub subject: String,
    /// The body.
    pub html: String,
    /// The body for readers without HTML.
    pub text: String,
}

/// A template cannot be used; the text says where and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub String);

/// Whether a project may have `template` for the mail `name`.
///
/// # Errors
/// [`TemplateError`] for an unknown name, or a template that does not parse or cannot be filled in.
pub fn check(name: &str, template: &MailTemplate) -> Result<(), TemplateError> {
    if !NAMES.contains(&name) {
        return Err(TemplateError(format!("there is no such mail; there are {}", NAMES.join(", "))));
    }
    render(name, Some(template), &example(&Value::Null)).map(drop)
}

/// Something to fill in when a template is tried.
#[must_use]
pub fn example(data: &Value) -> MailFields<'_> {
    MailFields {
        confirmation_url: "https://api.example.com/auth/v1/verify?token=0123&type=signup",
        token: "123456",
        token_hash: "0123456789abcdef",
        site_url: "https://example.com",
        redirect_to: "https://example.com/welcome",
        email: "ada@example.com",
        new_email: "ada@example.org",
        data,
    }
}

/// The mail `name` in the project's own words where it has some, else in ours.
///
/// # Errors
/// [`TemplateError`] when the project's template cannot be filled in.
pub fn render(
    name: &str,
    own: Option<&MailTemplate>,
    fields: &MailFields<'_>,
) -> Result<Letter, TemplateError> {
    let words = words::of(name);
    let template = own.cloned().unwrap_or_default();
    let subject = match &template.subject {
        Some(subject) => fill("subject.txt", &go::translate(subject)?, fields, None)?,
        None => words.subject.to_owned(),
    };
    let html = match &template.content {
        Some(content) => fill("content.html", &go::translate(content)?, fields, None)?,
        None => fill("frame.html", FRAME, fields, Some(&words))?,
    };
    let code = fields.token;
    let how = match fields.confirmation_url {
        "" => format!("The code is {code}\n"),
        link => format!("{link}\n\nOr enter the code {code}\n"),
    };
    let text = format!("{}\n\n{}\n\n{how}", words.title, words.lead);
    // A header is one line, whatever a user's name holds.
    let subject: String =
        subject.chars().map(|it| if it.is_control() { ' ' } else { it }).take(998).collect();
    Ok(Letter { subject: subject.trim().to_owned(), html, text })
}

/// The name's ending decides whether values are escaped.
fn fill(
    name: &str,
    template: &str,
    fields: &MailFields<'_>,
    words: Option<&words::Words>,
) -> Result<String, TemplateError> {
    let bad = |it: minijinja::Error| TemplateError(it.to_string());
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.add_template(name, template).map_err(bad)?;
    let compiled = environment.get_template(name).map_err(bad)?;
    let filled = compiled.render(context! {
        title => words.map(|it| it.title),
        lead => words.map(|it| it.lead),
        button => words.map(|it| it.button),
        confirmation_url => fields.confirmation_url,
        token => fields.token,
        email => fields.email,
        new_email => fields.new_email,
        site_url => fields.site_url,
        ConfirmationURL => fields.confirmation_url,
        Token => fields.token,
        TokenHash => fields.token_hash,
        SiteURL => fields.site_url,
        RedirectTo => fields.redirect_to,
        Email => fields.email,
        NewEmail => fields.new_email,
        SendingTo => fields.email,
        Data => told(fields.data),
    });
    let filled = filled.map_err(bad)?;
    if filled.len() > MAX_BYTES {
        return Err(TemplateError("the mail is longer than 512 KiB".to_owned()));
    }
    Ok(filled)
}

/// What a user told, as templates see it.
fn told(value: &Value) -> minijinja::Value {
    match value {
        Value::Null => ().into(),
        Value::Bool(it) => (*it).into(),
        Value::Number(it) => match it.as_i64() {
            Some(whole) => whole.into(),
            None => it.as_f64().unwrap_or_default().into(),
        },
        Value::String(it) => it.as_str().into(),
        Value::Array(items) => items.iter().map(told).collect(),
        Value::Object(map) => {
            minijinja::Value::from_pairs(map.iter().map(|(name, it)| (name.as_str(), told(it))))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn own(subject: &str, content: &str) -> MailTemplate {
        MailTemplate { subject: Some(subject.into()), content: Some(content.into()) }
    }

    #[test]
    fn what_users_type_is_escaped_and_makes_no_headers() {
        let data = json!({"name": "<b>Ada</b>\r\nBcc: x@y"});
        let fields = MailFields { new_email: "<script>", ..example(&data) };
        for name in NAMES {
            let ours = render(name, None, &fields).unwrap();
            assert!(!ours.html.contains("<script>"), "{}", ours.html);
            assert!(ours.html.contains("token=0123&amp;type=signup") && ours.text.contains("123456"));
            let theirs = own("Hi {{ .Data.name }}", "<p>{{ .Data.name }} {{ .NewEmail }}</p>");
            let theirs = render(name, Some(&theirs), &fields).unwrap();
            assert_eq!(theirs.subject, "Hi <b>Ada</b>  Bcc: x@y");
            assert!(
                theirs.html.contains("&lt;b&gt;Ada") && !theirs.html.contains("<script>"),
                "{}",
                theirs.html
            );
        }
    }

    #[test]
    fn supabases_own_templates_work() {
        let template = own(
            "Confirm for {{ .SiteURL }}",
            r#"<h2>Confirm</h2>{{ if .Data.name }}<p>Hi {{ .Data.name }}</p>{{ else }}<p>Hi</p>{{ end }}
            <a href="{{ .ConfirmationURL }}">Confirm</a> {{ .Token }} {{ .TokenHash }} {{- .RedirectTo }}"#,
        );
        check("confirmation", &template).unwrap();
        let data = json!({});
        let letter = render("confirmation", Some(&template), &example(&data)).unwrap();
        assert_eq!(letter.subject, "Confirm for https://example.com");
        assert!(letter.html.contains("<p>Hi</p>"), "{}", letter.html);
    }

    #[test]
    fn what_cannot_be_filled_in_is_refused() {
        for bad in [
            "{{ .Token",
            "{{ if .Token }}x",
            "{{ end }}",
            "{{ range .Data }}x{{ end }}",
            "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
            "{% include 'secrets' %}",
        ] {
            assert!(check("invite", &own("x", bad)).is_err(), "{bad}");
        }
        assert!(check("letter", &own("x", "y")).is_err());
    }
}

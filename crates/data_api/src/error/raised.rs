//! What PostgreSQL reported, with its HTTP status; `RAISE SQLSTATE 'PGRST'` gives a function control of the answer.

use std::fmt;

use http::StatusCode;
use serde::Deserialize;
use store::PgError;

/// An error of PostgreSQL.
#[derive(Debug)]
pub(crate) struct Raised {
    error: PgError,
    authenticated: bool,
    custom: Option<Result<Custom, Malformed>>,
}

/// `RAISE SQLSTATE 'PGRST' USING MESSAGE = …, DETAIL = …`
#[derive(Debug)]
struct Custom {
    message: Message,
    detail: Detail,
    headers: Vec<(String, String)>,
}

#[derive(Debug, Deserialize)]
struct Message {
    code: String,
    message: String,
    details: Option<String>,
    hint: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Detail {
    status: u16,
    #[serde(rename = "status_text")]
    _status_text: Option<String>,
    headers: std::collections::BTreeMap<String, String>,
}

/// The JSON of such an error is not what it must be.
#[derive(Debug)]
enum Malformed {
    Message(String),
    Detail(String),
    NoDetail,
}

impl Custom {
    fn parse(error: &PgError) -> Result<Self, Malformed> {
        let message =
            serde_json::from_str(&error.message).map_err(|_| Malformed::Message(error.message.clone()))?;
        let text = error.detail.as_deref().ok_or(Malformed::NoDetail)?;
        let mut detail: Detail =
            serde_json::from_str(text).map_err(|_| Malformed::Detail(text.to_owned()))?;
        let headers = std::mem::take(&mut detail.headers).into_iter().collect();
        Ok(Self { message, detail, headers })
    }
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.custom {
            None => f.write_str(&self.error.message),
            Some(Ok(custom)) => f.write_str(&custom.message.message),
            Some(Err(_)) => f.write_str("Could not parse JSON in the \"RAISE SQLSTATE 'PGRST'\" error"),
        }
    }
}

impl Raised {
    /// Wrap what the store reports; `authenticated` decides between 401 and 403.
    pub(crate) fn new(error: PgError, authenticated: bool) -> Self {
        let custom = (error.code == "PGRST").then(|| Custom::parse(&error));
        Self { error, authenticated, custom }
    }

    pub(super) fn code(&self) -> &str {
        match &self.custom {
            None => &self.error.code,
            Some(Ok(custom)) => &custom.message.code,
            Some(Err(_)) => "PGRST121",
        }
    }

    pub(super) fn details(&self) -> Option<String> {
        match &self.custom {
            None => self.error.detail.clone(),
            Some(Ok(custom)) => custom.message.details.clone(),
            Some(Err(Malformed::Message(text))) => Some(format!("Invalid JSON value for MESSAGE: '{text}'")),
            Some(Err(Malformed::Detail(text))) => Some(format!("Invalid JSON value for DETAIL: '{text}'")),
            Some(Err(Malformed::NoDetail)) => Some("DETAIL is missing in the RAISE statement".into()),
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        match &self.custom {
            None => self.error.hint.clone(),
            Some(Ok(custom)) => custom.message.hint.clone(),
            Some(Err(Malformed::Message(_))) => Some("MESSAGE must be a JSON object with obligatory keys: 'code', 'message' and optional keys: 'details', 'hint'.".into()),
            Some(Err(_)) => Some("DETAIL must be a JSON object with obligatory keys: 'status', 'headers' and optional key: 'status_text'.".into()),
        }
    }

    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let custom = self.custom.iter().filter_map(|it| it.as_ref().ok());
        custom.flat_map(|it| it.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    pub(super) fn status(&self) -> StatusCode {
        match &self.custom {
            Some(Ok(custom)) => status_or_500(custom.detail.status),
            Some(Err(_)) => StatusCode::INTERNAL_SERVER_ERROR,
            None => self.status_of_sqlstate(),
        }
    }

    fn status_of_sqlstate(&self) -> StatusCode {
        let message = &self.error.message;
        let code = self.error.code.as_str();
        let class = code.get(..2).unwrap_or_default();
        let number = match (code, class) {
            ("23503" | "23505", _) => 409,
            ("25006", _) => 405,
            ("21000", _) if message.ends_with("requires a WHERE clause") => 400,
            ("22023", _) if message.starts_with("role") && message.ends_with("does not exist") => 401,
            ("22023" | "P0001", _) => 400,
            ("42883", _) if message.starts_with("function xmlagg(") => 406,
            ("42883" | "42P01", _) => 404,
            ("42501", _) if self.authenticated => 403,
            ("42501", _) => 401,
            // More columns or arguments than a statement can have: nobody asks for these but the client.
            ("54011" | "54023", _) => 400,
            ("53400" | "42P17" | "21000", _) => 500,
            ("57P01", _) | (_, "08" | "53") => 503,
            (_, "PT") => code.get(2..).and_then(|it| it.parse().ok()).unwrap_or(500),
            (_, "0L" | "0P" | "28") => 403,
            (
                _,
                "09" | "25" | "2D" | "38" | "39" | "3B" | "40" | "54" | "55" | "57" | "58" | "F0" | "HV"
                | "P0" | "XX",
            ) => 500,
            _ => 400,
        };
        status_or_500(number)
    }
}

fn status_or_500(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

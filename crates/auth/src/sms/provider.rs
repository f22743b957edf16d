//! One SMS to one provider: Twilio's HTTP API, or a webhook of the project.
//!
//! Why a message did not leave is told in the provider's words, cut short; never with the number or the code in it.

use common::SmsProvider;
use http::header;
use reqwest::{RequestBuilder, Response};
use serde::Deserialize;
use serde_json::json;

use super::{Channel, Message};

const TWILIO: &str = "https://api.twilio.com";
/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// The longest reason that is passed on, in characters.
const MAX_REASON: usize = 300;

/// What Twilio answers, as far as we read it: of a message it took, or of one that it refused.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Receipt {
    sid: Option<String>,
    message_id: Option<String>,
    status: serde_json::Value,
    error_message: Option<String>,
    message: Option<String>,
}

/// Hand `message`, which says `said`, to `provider`; its id there, if it told one.
pub(super) async fn deliver(
    http: &reqwest::Client,
    provider: &SmsProvider,
    message: &Message<'_>,
    said: &str,
) -> Result<Option<String>, String> {
    let request = match provider {
        SmsProvider::Twilio { account_sid, auth_token, from, url } => {
            let base = url.as_deref().unwrap_or(TWILIO).trim_end_matches('/');
            let path = format!("{base}/2010-04-01/Accounts/{account_sid}/Messages.json");
            twilio(http, &path, from, (message, said)).basic_auth(account_sid, auth_token.as_ref())
        }
        SmsProvider::Webhook { url, secret } => {
            let body = json!({
                "phone": format!("+{}", message.phone),
                "message": said,
                "otp": message.otp,
                "channel": message.channel.name(),
            });
            let request = http.post(url).json(&body);
            match secret {
                Some(secret) => request.bearer_auth(secret),
                None => request,
            }
        }
    };
    let receipt = talk(request).await.map_err(|it| clean(&it, message))?;
    let failed = receipt.status.as_str().is_some_and(|it| matches!(it, "failed" | "undelivered"));
    if failed {
        let reason = receipt.error_message.unwrap_or_else(|| "the provider could not deliver it".into());
        return Err(clean(&reason, message));
    }
    Ok(receipt.sid.or(receipt.message_id))
}

fn twilio(
    http: &reqwest::Client,
    path: &str,
    from: &str,
    (message, said): (&Message<'_>, &str),
) -> RequestBuilder {
    let prefix = match message.channel {
        Channel::Sms => "",
        Channel::Whatsapp => "whatsapp:",
    };
    // A messaging service's id takes no prefix; a number does.
    let is_number = from.trim_start_matches('+').bytes().all(|it| it.is_ascii_digit() || it == b' ');
    let from = if is_number { format!("{prefix}{from}") } else { from.to_owned() };
    let body = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("To", &format!("{prefix}+{}", message.phone))
        .append_pair("From", &from)
        .append_pair("Channel", message.channel.name())
        .append_pair("Body", said)
        .finish();
    http.post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
}

async fn talk(request: RequestBuilder) -> Result<Receipt, String> {
    let response = request.send().await.map_err(|it| {
        if it.is_timeout() {
            "the provider is too slow".into()
        } else {
            "the provider does not answer".to_owned()
        }
    })?;
    let status = response.status();
    let receipt: Receipt = serde_json::from_slice(&read(response).await?).unwrap_or_default();
    if status.is_success() {
        return Ok(receipt);
    }
    Err(receipt.message.unwrap_or_else(|| format!("the provider answered {}", status.as_u16())))
}

async fn read(mut response: Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| "the provider broke off".to_owned())? {
        if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err("the provider answers too much".into());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn clean(reason: &str, message: &Message<'_>) -> String {
    let hidden = reason.replace(message.otp, "…").replace(message.phone, "…");
    hidden.chars().filter(|it| !it.is_control()).take(MAX_REASON).collect()
}

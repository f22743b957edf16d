//! Codes by SMS: sign-up, sign-in, another code, a change of number.
//!
//! An SMS is sent before its code is written, once per request however often the writing is tried again: the answer
//! tells whether the provider took it.

pub(crate) mod change;
pub(super) mod code;
pub(crate) mod otp;
pub(crate) mod resend;
pub(crate) mod signup;
pub(super) mod verify;

use serde_json::{Value, json};

/// What a request for an SMS is answered with.
pub(crate) fn receipt(message_id: Option<String>) -> Value {
    message_id.map_or_else(|| json!({}), |id| json!({"message_id": id}))
}

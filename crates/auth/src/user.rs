//! A user with identities and factors: as `auth.users` holds it, and as clients read it.
//!
//! The rows travel as JSON (`to_jsonb`, `jsonb_populate_record`), so field names here are column names there.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::error::AccountError;
use crate::session::Session;

/// The audience of every user and token.
pub(crate) const AUDIENCE: &str = "authenticated";
/// The PostgreSQL role of a signed-in user.
pub(crate) const ROLE: &str = "authenticated";
/// The provider of sign-ups by e-mail.
pub(crate) const EMAIL: &str = "email";
/// The provider of sign-ups by phone number.
pub(crate) const PHONE: &str = "phone";

/// A JSON object.
pub(crate) type Object = Map<String, Value>;

/// A row of `auth.users`: the columns that we read and write.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) id: Uuid,
    pub(crate) aud: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) encrypted_password: Option<String>,
    pub(crate) email_confirmed_at: Option<Timestamp>,
    pub(crate) invited_at: Option<Timestamp>,
    pub(crate) confirmation_sent_at: Option<Timestamp>,
    pub(crate) recovery_sent_at: Option<Timestamp>,
    pub(crate) email_change: Option<String>,
    pub(crate) email_change_sent_at: Option<Timestamp>,
    pub(crate) email_change_confirm_status: Option<i16>,
    pub(crate) last_sign_in_at: Option<Timestamp>,
    pub(crate) raw_app_meta_data: Option<Object>,
    pub(crate) raw_user_meta_data: Option<Object>,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) updated_at: Option<Timestamp>,
    pub(crate) phone: Option<String>,
    pub(crate) phone_confirmed_at: Option<Timestamp>,
    pub(crate) phone_change: Option<String>,
    pub(crate) phone_change_sent_at: Option<Timestamp>,
    pub(crate) reauthentication_sent_at: Option<Timestamp>,
    pub(crate) banned_until: Option<Timestamp>,
    pub(crate) is_sso_user: bool,
    pub(crate) deleted_at: Option<Timestamp>,
    pub(crate) is_anonymous: bool,
}

impl User {
    /// A new user; `email` is `None` for an anonymous one.
    pub(crate) fn new(email: Option<String>, data: Object, now: Timestamp) -> Self {
        let app_metadata = match &email {
            Some(_) => object(json!({"provider": EMAIL, "providers": [EMAIL]})),
            None => Object::new(),
        };
        Self {
            id: Uuid::new_v4(),
            aud: Some(AUDIENCE.into()),
            role: Some(ROLE.into()),
            is_anonymous: email.is_none(),
            email,
            encrypted_password: None,
            email_confirmed_at: None,
            invited_at: None,
            confirmation_sent_at: None,
            recovery_sent_at: None,
            email_change: Some(String::new()),
            email_change_sent_at: None,
            email_change_confirm_status: Some(0),
            last_sign_in_at: None,
            raw_app_meta_data: Some(app_metadata),
            raw_user_meta_data: Some(data),
            created_at: Some(now),
            updated_at: Some(now),
            phone: None,
            phone_confirmed_at: None,
            phone_change: Some(String::new()),
            phone_change_sent_at: None,
            reauthentication_sent_at: None,
            banned_until: None,
            is_sso_user: false,
            deleted_at: None,
        }
    }

    /// A new user by the phone number `phone`.
    pub(crate) fn by_phone(phone: String, data: Object, now: Timestamp) -> Self {
        let mut user = Self::new(None, data, now);
        user.is_anonymous = false;
        user.phone = Some(phone);
        user.raw_app_meta_data = Some(object(json!({"provider": PHONE, "providers": [PHONE]})));
        user
    }

    /// Whether the e-mail address is proved.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.email_confirmed_at.is_some()
    }

    pub(crate) fn is_banned(&self, now: Timestamp) -> bool {
        self.banned_until.is_some_and(|it| it > now)
    }

    /// The address, or nothing.
    pub(crate) fn address(&self) -> &str {
        self.email.as_deref().unwrap_or_default()
    }

    /// Count the address as proved.
    pub(crate) fn confirm(&mut self, now: Timestamp) {
        self.email_confirmed_at = Some(now);
        self.is_anonymous = false;
        merge(&mut self.raw_user_meta_data, object(json!({"email_verified": true})));
    }

    /// What applications read about somebody who signed up starts as what the first identity knows, beside what the user
    /// told. A number is left out: it stands in a field of its own.
    pub(crate) fn describe(&mut self, first: &Identity) {
        let told = self.raw_user_meta_data.take().unwrap_or_default();
        let mut metadata = first.identity_data.clone();
        match told.get("phone") {
            Some(phone) => metadata.insert("phone".into(), phone.clone()),
            None => metadata.remove("phone"),
        };
        if self.is_confirmed() {
            metadata.insert("email_verified".into(), true.into());
        }
        self.raw_user_meta_data = Some(metadata);
    }

    /// The phone number, or nothing.
    pub(crate) fn number(&self) -> &str {
        self.phone.as_deref().unwrap_or_default()
    }

    /// Count the phone number as proved.
    pub(crate) fn confirm_phone(&mut self, now: Timestamp) {
        self.phone_confirmed_at = Some(now);
        self.is_anonymous = false;
    }

    /// Add `provider` to those that the user may sign in with.
    pub(crate) fn add_provider(&mut self, provider: &str) {
        let metadata = self.raw_app_meta_data.get_or_insert_default();
        let mut providers: Vec<String> = metadata
            .get("providers")
            .and_then(|it| serde_json::from_value(it.clone()).ok())
            .unwrap_or_default();
        if !providers.iter().any(|it| it == provider) {
            providers.push(provider.to_owned());
        }
        metadata.entry("provider").or_insert_with(|| provider.into());
        metadata.insert("providers".into(), providers.into());
    }

    /// The user may sign in with `left` and nothing else.
    pub(crate) fn set_providers<'a>(&mut self, left: impl Iterator<Item = &'a str>) {
        let mut providers: Vec<&str> = Vec::new();
        for provider in left {
            if !providers.contains(&provider) {
                providers.push(provider);
            }
        }
        let metadata = self.raw_app_meta_data.get_or_insert_default();
        if let Some(first) = providers.first() {
            metadata.insert("provider".into(), (*first).into());
        }
        metadata.insert("providers".into(), providers.into());
    }
}

/// A row of `auth.identities`.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) id: Uuid,
    pub(crate) provider_id: String,
    pub(crate) user_id: Uuid,
    pub(crate) identity_data: Object,
    pub(crate) provider: String,
    pub(crate) last_sign_in_at: Option<Timestamp>,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) updated_at: Option<Timestamp>,
}

impl Identity {
    /// The identity of a user who signs in by e-mail; `data` is what the user told at sign-up.
    pub(crate) fn email(user: &User, verified: bool, data: &Object) -> Self {
        let mut identity_data = object(json!({
            "sub": user.id, "email": user.address(), "email_verified": verified, "phone_verified": false,
        }));
        for (name, value) in data {
            identity_data.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Self {
            id: Uuid::new_v4(),
            provider_id: user.id.to_string(),
            user_id: user.id,
            identity_data,
            provider: EMAIL.into(),
            last_sign_in_at: user.updated_at,
            created_at: user.updated_at,
            updated_at: user.updated_at,
        }
    }

    /// The identity of a user who signs in by phone; `data` is what the user told at sign-up.
    pub(crate) fn phone(user: &User, verified: bool, data: &Object) -> Self {
        let mut identity = Self::email(user, false, data);
        identity.provider = PHONE.into();
        identity.identity_data.remove("email");
        identity.identity_data.insert("phone".into(), user.number().into());
        identity.identity_data.insert("phone_verified".into(), verified.into());
        identity
    }
}

impl Identity {
    /// The same, made at `now` for a user who has been there before.
    pub(crate) fn made(self, now: Timestamp) -> Self {
        Self { created_at: Some(now), updated_at: Some(now), last_sign_in_at: Some(now), ..self }
    }

    /// The address that the provider told, in lower case, or nothing.
    pub(crate) fn address(&self) -> String {
        self.identity_data.get("email").and_then(Value::as_str).unwrap_or_default().to_lowercase()
    }
}

/// A row of `auth.mfa_factors`, without its secret.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Factor {
    pub(crate) id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) friendly_name: Option<String>,
    pub(crate) factor_type: String,
    pub(crate) status: String,
    pub(crate) phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_challenged_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
    updated_at: Timestamp,
}

impl Factor {
    /// Whether it was answered once.
    pub(crate) fn is_verified(&self) -> bool {
        self.status == "verified"
    }
}

/// A user with everything that an answer shows, as one query reads it.
#[derive(Clone, Deserialize)]
pub(crate) struct Account {
    pub(crate) user: User,
    /// The version of the user's row; a write that names an older one changes nothing.
    pub(crate) version: String,
    pub(crate) identities: Vec<Identity>,
    #[serde(default)]
    pub(crate) factors: Vec<Factor>,
    /// The session that the query named, when it exists and is the user's.
    #[serde(default)]
    pub(crate) session: Option<Session>,
}

impl Account {
    /// The identity by e-mail, if there is one.
    pub(crate) fn email_identity(&self) -> Option<&Identity> {
        self.identities.iter().find(|it| it.provider == EMAIL)
    }

    /// The identity by phone, if there is one.
    pub(crate) fn phone_identity(&self) -> Option<&Identity> {
        self.identities.iter().find(|it| it.provider == PHONE)
    }

    /// Whether a second factor is in use.
    pub(crate) fn has_verified_factor(&self) -> bool {
        self.factors.iter().any(Factor::is_verified)
    }
}

/// A user as clients read it; absent times are left out, absent texts are empty.
#[derive(Serialize)]
pub(crate) struct UserView<'a> {
    id: Uuid,
    aud: &'a str,
    role: &'a str,
    email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_confirmed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invited_at: Option<Timestamp>,
    phone: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_confirmed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmation_sent_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_sent_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "str::is_empty")]
    new_email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_change_sent_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "str::is_empty")]
    new_phone: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_change_sent_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reauthentication_sent_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_sign_in_at: Option<Timestamp>,
    app_metadata: Object,
    user_metadata: Object,
    #[serde(skip_serializing_if = "<[Factor]>::is_empty")]
    factors: &'a [Factor],
    identities: Vec<IdentityView<'a>>,
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    banned_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Timestamp>,
    is_anonymous: bool,
}

#[derive(Serialize)]
struct IdentityView<'a> {
    identity_id: Uuid,
    id: &'a str,
    user_id: Uuid,
    identity_data: &'a Object,
    provider: &'a str,
    last_sign_in_at: Option<Timestamp>,
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
}

impl<'a> UserView<'a> {
    /// What clients read of `user`.
    pub(crate) fn new(user: &'a User, identities: &'a [Identity], factors: &'a [Factor]) -> Self {
        let text = |it: &'a Option<String>| it.as_deref().unwrap_or_default();
        Self {
            id: user.id,
            aud: text(&user.aud),
            role: text(&user.role),
            email: text(&user.email),
            email_confirmed_at: user.email_confirmed_at,
            invited_at: user.invited_at,
            phone: text(&user.phone),
            phone_confirmed_at: user.phone_confirmed_at,
            confirmation_sent_at: user.confirmation_sent_at,
            confirmed_at: earliest(user.email_confirmed_at, user.phone_confirmed_at),
            recovery_sent_at: user.recovery_sent_at,
            new_email: text(&user.email_change),
            email_change_sent_at: user.email_change_sent_at,
            new_phone: text(&user.phone_change),
            phone_change_sent_at: user.phone_change_sent_at,
            reauthentication_sent_at: user.reauthentication_sent_at,
            last_sign_in_at: user.last_sign_in_at,
            app_metadata: user.raw_app_meta_data.clone().unwrap_or_default(),
            user_metadata: user.raw_user_meta_data.clone().unwrap_or_default(),
            factors,
            identities: identities.iter().map(IdentityView::new).collect(),
            created_at: user.created_at,
            updated_at: user.updated_at,
            banned_until: user.banned_until,
            deleted_at: user.deleted_at,
            is_anonymous: user.is_anonymous,
        }
    }
}

impl<'a> From<&'a Account> for UserView<'a> {
    fn from(it: &'a Account) -> Self {
        Self::new(&it.user, &it.identities, &it.factors)
    }
}

impl<'a> IdentityView<'a> {
    fn new(identity: &'a Identity) -> Self {
        Self {
            identity_id: identity.id,
            id: &identity.provider_id,
            user_id: identity.user_id,
            identity_data: &identity.identity_data,
            provider: &identity.provider,
            last_sign_in_at: identity.last_sign_in_at,
            created_at: identity.created_at,
            updated_at: identity.updated_at,
            email: identity.identity_data.get("email").and_then(Value::as_str),
        }
    }
}

/// Write `changes` into `metadata`; null removes a name.
pub(crate) fn merge(metadata: &mut Option<Object>, changes: Object) {
    let metadata = metadata.get_or_insert_default();
    for (name, value) in changes {
        if value.is_null() {
            metadata.remove(&name);
        } else {
            metadata.insert(name, value);
        }
    }
}

/// The most that a user's metadata may hold, as JSON: it travels in every token, and tokens in headers.
const MAX_METADATA_BYTES: usize = 16 * 1024;

/// Refuse metadata that would make tokens too large for headers.
///
/// # Errors
/// [`AccountError::MetadataTooLarge`].
pub(crate) fn check_metadata(metadata: Option<&Object>) -> Result<(), AccountError> {
    let size_bytes = metadata.map_or(0, |it| serde_json::to_string(it).map_or(0, |it| it.len()));
    if size_bytes > MAX_METADATA_BYTES {
        return Err(AccountError::MetadataTooLarge(MAX_METADATA_BYTES));
    }
    Ok(())
}

/// The object in `value`; anything else is empty.
pub(crate) fn object(value: Value) -> Object {
    match value {
        Value::Object(map) => map,
        _ => Object::new(),
    }
}

fn earliest(left: Option<Timestamp>, right: Option<Timestamp>) -> Option<Timestamp> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (one, other) => one.or(other),
    }
}

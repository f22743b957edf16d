//! What a client may know about a user, by the scopes that were granted: `GET /oauth/userinfo`, and ID tokens.

use serde_json::{Value, json};

use super::has_scope;
use crate::flow::signed_in;
use crate::request::Context;
use crate::user::{Object, User, object};
use crate::{Auth, Error};

/// Two dialects: OpenID Connect's own in ID tokens, Supabase's in userinfo.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    IdToken,
    UserInfo,
}

/// The user behind the access token.
pub(crate) async fn run(auth: &Auth, ctx: &Context) -> Result<Value, Error> {
    super::enabled(ctx)?;
    let who = signed_in(auth, ctx).await?;
    let mut claims = object(json!({"sub": who.account.user.id}));
    let scopes = who.session.and_then(|it| it.scopes).unwrap_or_default();
    add(&mut claims, &who.account.user, &scopes, Naming::UserInfo);
    Ok(claims.into())
}

/// Add what `scopes` open.
pub(super) fn add(claims: &mut Object, user: &User, scopes: &str, naming: Naming) {
    let mut put = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
    let info = naming == Naming::UserInfo;
    if has_scope(scopes, "email") && !user.address().is_empty() {
        put("email", user.address().into());
        if !info || user.is_confirmed() {
            put("email_verified", user.is_confirmed().into());
        }
    }
    let phone = user.phone.as_deref().unwrap_or_default();
    if has_scope(scopes, "phone") && !phone.is_empty() {
        let verified = user.phone_confirmed_at.is_some();
        put(if info { "phone" } else { "phone_number" }, phone.into());
        if !info || verified {
            put(if info { "phone_verified" } else { "phone_number_verified" }, verified.into());
        }
    }
    if has_scope(scopes, "profile") {
        let metadata = user.raw_user_meta_data.clone().unwrap_or_default();
        let text = |names: &[&str]| {
            names
                .iter()
                .filter_map(|it| metadata.get(*it)?.as_str())
                .find(|it| !it.is_empty())
                .map(str::to_owned)
        };
        let address = Some(user.address().to_owned()).filter(|it| !it.is_empty());
        let found = [
            ("name", text(&["name"]).or(address)),
            ("picture", text(&["picture", "avatar_url"])),
            ("preferred_username", text(&["preferred_username", "username"])),
        ];
        for (name, value) in found {
            if let Some(value) = value {
                put(name, value.into());
            }
        }
        if let Some(changed) = user.updated_at {
            put("updated_at", changed.as_second().into());
        }
        if info {
            put("user_metadata", metadata.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_knows_what_was_granted_and_no_more() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let data = object(json!({"name": "Ada", "avatar_url": "https://p", "secret": "s"}));
        let mut user = User::new(Some("ada@example.com".into()), data, now);
        user.phone = Some("491".into());
        let check = |scopes: &str, naming| {
            let mut claims = Object::new();
            add(&mut claims, &user, scopes, naming);
            Value::Object(claims)
        };
        assert_eq!(check("openid", Naming::UserInfo), json!({}));
        assert_eq!(check("email", Naming::UserInfo), json!({"email": "ada@example.com"}));
        let email = json!({"email": "ada@example.com", "email_verified": false});
        assert_eq!(check("email", Naming::IdToken), email);
        assert_eq!(check("phone", Naming::UserInfo), json!({"phone": "491"}));
        let phone = json!({"phone_number": "491", "phone_number_verified": false});
        assert_eq!(check("phone", Naming::IdToken), phone);
        let profile = json!({"name": "Ada", "picture": "https://p", "updated_at": 0});
        assert_eq!(check("profile", Naming::IdToken), profile);
        assert_eq!(check("profile", Naming::UserInfo)["user_metadata"]["secret"], "s");
    }
}

//! Forged, moved, old and stolen answers of identity providers: refused, all in the same words.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::SignedDuration;
use serde_json::json;

use super::idp::{Begun, Draft, Signer, assert_forged, refusal};
use super::settings;
use crate::external::said;
use crate::support::Api;

/// What is wrong, and how it is made.
type Lie = (&'static str, fn(&mut Draft));

/// A project and an organisation.
async fn organisation(name: &str) -> Api {
    let api = Api::new(name, settings()).await;
    api.organisation(json!({})).await;
    api
}

async fn begin(api: &Api) -> (Begun, Draft) {
    let begun = api.begin_sso(json!({})).await;
    let draft = Draft::new(Some(&begun.request_id));
    (begun, draft)
}

/// The signed assertion in `xml`, and its signature.
fn parts(xml: &str) -> (String, String) {
    let cut = |from: &str, to: &str| {
        let start = xml.find(from).unwrap();
        let end = xml.find(to).unwrap() + to.len();
        xml[start..end].to_owned()
    };
    (cut("<saml:Assertion", "</saml:Assertion>"), cut("<ds:Signature", "</ds:Signature>"))
}

#[test]
fn unsigned_and_wrongly_signed_responses_are_refused() {
    testkit::run(async {
        let api = organisation("saml_forged").await;
        let (begun, draft) = begin(&api).await;
        assert_forged(&api.bring(&draft.unsigned(), &begun.relay_state).await, "unsigned");
        let (begun, draft) = begin(&api).await;
        let other = Signer::wrong().sign_assertion(&draft.unsigned());
        assert_forged(&api.bring(&other, &begun.relay_state).await, "another key");
        // The right certificate beside a signature by another key.
        let (begun, draft) = begin(&api).await;
        let other = Signer::wrong().sign_assertion(&draft.unsigned());
        let dressed = other.replace(&Signer::wrong().certificate, &Signer::right().certificate);
        assert_forged(&api.bring(&dressed, &begun.relay_state).await, "another key with our certificate");
        for (from, to) in
            [("user-1", "user-2"), ("Ada@Org.test", "boss@org.test"), ("Value=\"urn", "Value=\" urn")]
        {
            let (begun, draft) = begin(&api).await;
            let changed = draft.signed().replace(from, to);
            assert_forged(&api.bring(&changed, &begun.relay_state).await, to);
        }
        let (begun, draft) = begin(&api).await;
        let (_, signature) = parts(&draft.signed());
        let torn = draft.signed().replace(&signature, "");
        assert_forged(&api.bring(&torn, &begun.relay_state).await, "without its signature");
        let (begun, draft) = begin(&api).await;
        let weak = draft.signed().replace("xmldsig-more#rsa-sha256", "xmldsig-more#rsa-sha1");
        assert_forged(&api.bring(&weak, &begun.relay_state).await, "a weak algorithm");
        let (begun, draft) = begin(&api).await;
        let hmac = draft.signed().replace("2001/04/xmldsig-more#rsa-sha256", "2000/09/xmldsig#hmac-sha1");
        assert_forged(&api.bring(&hmac, &begun.relay_state).await, "a key that everybody knows");
    });
}

/// The eight ways of "On Breaking SAML: Be Whoever You Want to Be": the signed element is kept somewhere, another one is
/// read.
#[test]
fn wrapped_signatures_are_refused_in_all_eight_ways() {
    testkit::run(async {
        let api = organisation("saml_wrapped").await;
        for way in 1..=8 {
            for same_id in [false, true] {
                let (begun, draft) = begin(&api).await;
                let forged = wrapped(&draft, way, same_id);
                assert_forged(
                    &api.bring(&forged, &begun.relay_state).await,
                    &format!("way {way}, same id {same_id}"),
                );
            }
        }
        let rows = api.test.owner().await.query("select 1 from auth.users", &[]).await.unwrap();
        assert_eq!(rows.len(), 0);
    });
}

fn wrapped(draft: &Draft, way: usize, same_id: bool) -> String {
    let honest = draft.clone();
    let mut evil = draft.clone();
    evil.name_id = "boss".into();
    evil.attributes = vec![("mail".into(), vec!["boss@org.test".into()])];
    if !same_id {
        evil.assertion_id = "_evil".into();
    }
    if way <= 2 {
        return wrapped_response(&honest, &evil, way, same_id);
    }
    let (original, signature) = parts(&honest.signed());
    let bare = original.replace(&signature, "");
    let into =
        |assertion: &str, place: &str, inner: &str| assertion.replacen(place, &format!("{inner}{place}"), 1);
    let forged = evil.assertion();
    let signed_evil = into(&forged, "<saml:Subject>", &signature);
    match way {
        // The forged one before the signed one.
        3 => evil.around(&format!("{forged}{original}")),
        // The signed one inside of the forged one.
        4 => evil.around(&into(&forged, "</saml:Assertion>", &original)),
        // The signature moves into the forged one; the signed content follows, without it.
        5 => evil.around(&format!("{signed_evil}{bare}")),
        // The signed content inside of the signature that moved.
        6 => evil.around(&signed_evil.replace("</ds:Signature>", &format!("{bare}</ds:Signature>"))),
        // Where the schema takes anything.
        7 => evil.around(&format!("<samlp:Extensions>{original}</samlp:Extensions>{forged}")),
        _ => {
            let object = format!("<ds:Object>{bare}</ds:Object></ds:Signature>");
            evil.around(&signed_evil.replace("</ds:Signature>", &object))
        }
    }
}

/// The same with the signature over the whole response.
fn wrapped_response(honest: &Draft, evil: &Draft, way: usize, same_id: bool) -> String {
    let mut evil = evil.clone();
    if !same_id {
        evil.id = "_evil_response".into();
    }
    let original = Signer::right().sign_response(&honest.unsigned());
    let (_, signature) = parts(&original);
    let bare = original.replace(&signature, "");
    let issuer = format!("<saml:Issuer>{}</saml:Issuer><samlp:Status>", evil.issuer);
    let moved = if way == 1 {
        // The signature holds what it signs.
        signature.replace("</ds:Signature>", &format!("<ds:Object>{bare}</ds:Object></ds:Signature>"))
    } else {
        // What was signed stands before its detached signature.
        format!("{bare}{signature}")
    };
    evil.unsigned().replacen(&issuer, &issuer.replace("<samlp:Status>", &format!("{moved}<samlp:Status>")), 1)
}

#[test]
fn answers_for_somebody_else_or_another_time_are_refused() {
    testkit::run(async {
        let api = organisation("saml_elsewhere").await;
        let lies: [Lie; 14] = [
            ("audience", |it| it.audience = "https://other.test/metadata".into()),
            ("no audience", |it| it.audience = String::new()),
            ("recipient", |it| it.recipient = "https://other.test/acs".into()),
            ("destination", |it| it.destination = "https://other.test/acs".into()),
            ("issuer", |it| it.issuer = "https://other.test".into()),
            ("another request", |it| it.in_response_to = Some("_another".into())),
            ("no request", |it| it.in_response_to = None),
            ("expired", |it| {
                it.issued -= SignedDuration::from_secs(500);
                it.lifetime_secs = 300;
            }),
            ("of the future", |it| it.issued += SignedDuration::from_secs(400)),
            ("issued long ago", |it| {
                it.issued -= SignedDuration::from_hours(2);
                it.lifetime_secs = 3 * 3600;
            }),
            ("the provider's session is over", |it| {
                it.session_ends = Some(it.issued - SignedDuration::from_secs(1))
            }),
            ("the provider refused", |it| it.status = "urn:oasis:names:tc:SAML:2.0:status:Requester".into()),
            ("an unknown condition", |it| it.conditions = "<saml:Condition/>".into()),
            ("a second audience that leaves us out", |it| {
                it.conditions = "<saml:AudienceRestriction><saml:Audience>https://other.test</saml:Audience>\
                     </saml:AudienceRestriction>"
                    .into();
            }),
        ];
        for (what, lie) in lies {
            assert_forged(&api.through_sso(lie).await, what);
        }
        // Nothing can be added to such a time.
        let (begun, draft) = begin(&api).await;
        let over = draft.issued + SignedDuration::from_secs(draft.lifetime_secs);
        let endless = draft.unsigned().replace(&over.to_string(), "9999-12-31T23:59:59Z");
        let answer = api.bring(&Signer::right().sign_assertion(&endless), &begun.relay_state).await;
        assert_forged(&answer, "a time at the end of the calendar");
        // As if the provider had begun, for which no request may be named.
        let (begun, draft) = begin(&api).await;
        assert_forged(&api.bring(&draft.signed(), "").await, "an answer to a request, brought as if to none");
        let answer = api.bring(&draft.signed(), &begun.relay_state).await;
        assert_eq!(answer.status, 302, "the same was honest all the time");
    });
}

#[test]
fn an_assertion_signs_in_once_and_a_relay_state_too() {
    testkit::run(async {
        let api = organisation("saml_once").await;
        let (begun, draft) = begin(&api).await;
        let signed = draft.signed();
        assert_eq!(api.bring(&signed, &begun.relay_state).await.status, 302);
        let again = api.bring(&signed, &begun.relay_state).await;
        let words = "SAML RelayState does not exist, try logging in again?";
        assert_eq!(refusal(&again), (303, "saml_relay_state_not_found".into(), words.into()));
        let unsolicited = Draft::new(None).signed();
        assert_eq!(api.bring(&unsolicited, "").await.status, 302);
        assert_forged(&api.bring(&unsolicited, "").await, "replayed");
        // In another response of the same provider, at another process.
        let other = api.restarted(settings());
        let (assertion, _) = parts(&unsolicited);
        let mut envelope = Draft::new(None);
        envelope.id = "_another_envelope".into();
        assert_forged(&other.bring(&envelope.around(&assertion), "").await, "replayed in another envelope");
        let admin = api.test.owner().await;
        let row =
            admin.query_one("select string_agg(digest, ' ') from auth.saml_assertions", &[]).await.unwrap();
        assert!(row.get::<_, String>(0).starts_with("sha256:"));

        let (begun, draft) = begin(&api).await;
        let stored = "select count(*) from auth.saml_relay_states where id::text = $1";
        let row = admin.query_one(stored, &[&begun.relay_state]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0, "what travels is not what is stored");
        api.wait(601);
        let late = api.bring(&draft.signed(), &begun.relay_state).await;
        let words = "SAML RelayState has expired. Try logging in again?";
        assert_eq!(refusal(&late), (303, "saml_relay_state_expired".into(), words.into()));
    });
}

#[test]
fn an_answer_in_another_flow_is_refused() {
    testkit::run(async {
        let api = organisation("saml_crossed").await;
        let (mine, _) = begin(&api).await;
        let (_, theirs) = begin(&api).await;
        assert_forged(&api.bring(&theirs.signed(), &mine.relay_state).await, "their answer in my flow");
    });
}

#[test]
fn names_are_read_whole_or_not_at_all() {
    testkit::run(async {
        let api = organisation("saml_comments").await;
        // The organisation signs a name that the attacker chose there; canonical XML drops comments.
        for name in ["boss<!-- -->.evil", "<![CDATA[boss]]>", "boss<?x y?>", "<!---->boss", "boss<!---->"] {
            let (begun, mut draft) = begin(&api).await;
            draft.name_id = "boss.evil".into();
            let forged = draft.signed().replace("boss.evil", name);
            let answer = api.bring(&forged, &begun.relay_state).await;
            let words = "SAMLResponse is not a valid XML SAML assertion";
            assert_eq!(refusal(&answer), (303, "validation_failed".into(), words.into()), "{name}");
        }
        let answer =
            api.through_sso(|it| it.name_id = "boss<saml:x xmlns:saml=\"urn:y\"/>.evil".into()).await;
        assert_eq!(answer.status, 302);
        let token = said(&answer.location())["access_token"].clone();
        let user = api.get("/user", Some(&token)).await.body;
        assert_eq!(user["identities"][0]["id"], "boss.evil", "never the part before the element");
    });
}

#[test]
fn document_types_entities_and_masses_of_xml_are_refused_at_once() {
    testkit::run(async {
        let api = organisation("saml_bombs").await;
        let honest = || Draft::new(None).signed();
        let entities = "<!DOCTYPE r [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">\
             <!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">]>";
        let external = "<!DOCTYPE r [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>";
        let deep = format!("{}{}", "<a>".repeat(50_000), "</a>".repeat(50_000));
        let wide = format!("<samlp:Extensions>{}</samlp:Extensions><samlp:Status>", "<a/>".repeat(40_000));
        let attributes: String = (0..1000).map(|it| format!(" a{it}=\"x\"")).collect();
        for (what, xml) in [
            ("entities", format!("{entities}{}", honest().replace("user-1", "&c;"))),
            ("a file", format!("{external}{}", honest().replace("user-1", "&x;"))),
            ("an entity without a document type", honest().replace("user-1", "&x;")),
            ("depth", deep),
            ("width", honest().replacen("<samlp:Status>", &wide, 1)),
            ("attributes", honest().replacen("<samlp:Response", &format!("<samlp:Response{attributes}"), 1)),
            (
                "size",
                honest().replacen("<samlp:Status>", &format!("{}<samlp:Status>", " ".repeat(300_000)), 1),
            ),
            ("UTF-16", format!("<?xml version=\"1.0\" encoding=\"UTF-16\"?>{}", honest())),
            ("two documents", format!("{}{}", honest(), honest())),
            ("an encrypted nothing", "<a".to_owned()),
        ] {
            let began = tokio::time::Instant::now();
            let answer = api.bring(&xml, "").await;
            assert_eq!(refusal(&answer).2, "SAMLResponse is not a valid XML SAML assertion", "{what}");
            assert!(began.elapsed() < std::time::Duration::from_secs(10), "{what}");
        }
        let huge = api.bring(&"x".repeat(2 * 1024 * 1024), "").await;
        assert_eq!(huge.refusal(), (413, "request_entity_too_large"));
        let twice = [("SAMLResponse", &*BASE64_STANDARD.encode(honest())), ("SAMLResponse", "x")];
        assert_eq!(api.bring_form(&twice).await.refusal(), (400, "validation_failed"));
        let encrypted = Draft::new(None).around("<saml:EncryptedAssertion/>");
        assert_forged(&api.bring(&encrypted, "").await, "encrypted");
    });
}

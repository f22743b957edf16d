//! Finds the one assertion of a response, and refuses any place where another one, or a signature over something else,
//! could hide. Pure.
//!
//! Signature wrapping moves what was signed to where nobody reads, and puts something else where it was. So there may
//! be one response, one assertion directly below it, no id twice, and every signature must lie directly below what it
//! names. Which of them verify is the library's business.

use std::collections::HashSet;

use super::xml::Element;
use super::{ASSERTION, PROTOCOL, Refusal, SIGNATURE};

const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const METHODS: [&str; 3] = [
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384",
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512",
];
const DIGESTS: [&str; 3] = [
    "http://www.w3.org/2001/04/xmlenc#sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512",
];

/// The assertion of a response, when nothing else can be meant.
///
/// # Errors
/// [`Refusal`] says what else could be.
pub(super) fn assertion(response: &Element) -> Result<&Element, Refusal> {
    if !response.is(PROTOCOL, "Response") {
        return Err(Refusal("this is no response"));
    }
    if response.descend().any(|it| it.name == "EncryptedAssertion") {
        return Err(Refusal("encrypted assertions are not taken"));
    }
    let count = |name: &str| response.descend().filter(|it| it.name.eq_ignore_ascii_case(name)).count();
    if count("Assertion") != 1 || count("Response") != 1 {
        return Err(Refusal("there must be exactly one assertion"));
    }
    let assertion =
        response.only(ASSERTION, "Assertion").ok_or(Refusal("the assertion is in a strange place"))?;
    let mut ids = HashSet::new();
    if response.descend().flat_map(Element::ids).any(|id| id.is_empty() || !ids.insert(id)) {
        return Err(Refusal("an id comes twice"));
    }
    let mut signed = 0;
    for owner in [response, assertion] {
        signed += owner.all(SIGNATURE, "Signature").count();
        check_signature(owner)?;
    }
    if signed == 0 || count("Signature") != signed {
        return Err(Refusal("a signature is missing, or in a strange place"));
    }
    Ok(assertion)
}

/// The signature of `owner`, if it has one, is about `owner` whole.
fn check_signature(owner: &Element) -> Result<(), Refusal> {
    let mut found = owner.all(SIGNATURE, "Signature");
    let Some(signature) = found.next() else { return Ok(()) };
    let strange = Refusal("a signature is of a strange form");
    if found.next().is_some() || signature.descend().any(|it| it.name == "Object") {
        return Err(strange);
    }
    let info = signature.only(SIGNATURE, "SignedInfo").ok_or(strange)?;
    let reference = info.only(SIGNATURE, "Reference").ok_or(strange)?;
    let named = reference.attribute("URI").and_then(|it| it.strip_prefix('#'));
    if named.is_none() || named != owner.attribute("ID") {
        return Err(Refusal("a signature is about something else"));
    }
    let algorithm = |parent: &Element, name| {
        let element = parent.only(SIGNATURE, name)?;
        element.attribute("Algorithm").map(str::to_owned)
    };
    let allowed = |found: Option<String>, list: &[&str]| found.is_some_and(|it| list.contains(&it.as_str()));
    let transforms = reference.only(SIGNATURE, "Transforms").ok_or(strange)?;
    let plain = (1..=2).contains(&transforms.children.len())
        && transforms.children.iter().all(|it| {
            let named = it.attribute("Algorithm");
            it.is(SIGNATURE, "Transform") && named.is_some_and(|it| [ENVELOPED, EXCLUSIVE].contains(&it))
        });
    if plain
        && allowed(algorithm(info, "CanonicalizationMethod"), &[EXCLUSIVE])
        && allowed(algorithm(info, "SignatureMethod"), &METHODS)
        && allowed(algorithm(reference, "DigestMethod"), &DIGESTS)
    {
        return Ok(());
    }
    Err(Refusal("an algorithm of a signature is not allowed"))
}

#[cfg(test)]
mod tests {
    use super::super::xml;
    use super::*;

    const ASSERTION_SIGNED: &str = include_str!("../../tests/vectors/saml/assertion.xml");
    const BOTH_SIGNED: &str = include_str!("../../tests/vectors/saml/both.xml");

    fn check(text: &str) -> Result<(), &'static str> {
        let root = xml::message(text).map_err(|it| it.0)?;
        assertion(&root).map(drop).map_err(|it| it.0)
    }

    fn cut<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
        let start = text.find(from).unwrap();
        &text[start..text.rfind(to).unwrap() + to.len()]
    }

    #[test]
    fn honest_responses_have_one_meaning() {
        assert_eq!(check(ASSERTION_SIGNED), Ok(()));
        assert_eq!(check(BOTH_SIGNED), Ok(()));
    }

    #[test]
    fn whatever_could_mean_two_things_is_refused_before_any_signature_is_verified() {
        let signed = cut(ASSERTION_SIGNED, "<Assertion", "</Assertion>");
        let signature = cut(ASSERTION_SIGNED, "<ds:Signature ", "</ds:Signature>");
        let change = |from: &str, to: &str| ASSERTION_SIGNED.replacen(from, to, 1);
        let bare = signed.replace(signature, "");
        let other = bare.replace("_assertion", "_other");
        let (one, strange) =
            ("there must be exactly one assertion", "a signature is missing, or in a strange place");
        for (text, why) in [
            (change(signed, &format!("{other}{signed}")), one),
            (change("</Assertion>", &format!("{other}</Assertion>")), one),
            (change("</ds:Signature>", &format!("<ds:Object>{bare}</ds:Object></ds:Signature>")), one),
            (change("<saml2p:Status>", "<saml2p:Status><x:assertion xmlns:x='y'/>"), one),
            (
                change(signed, &format!("<saml2p:Extensions>{signed}</saml2p:Extensions>")),
                "the assertion is in a strange place",
            ),
            (change(signed, "<e:EncryptedAssertion xmlns:e='x'/>"), "encrypted assertions are not taken"),
            (change(signature, ""), strange),
            (change(signature, &format!("<x>{signature}</x>")), strange),
            (change("<Subject>", &format!("{signature}<Subject>")), "a signature is of a strange form"),
            (change("</ds:Signature>", "<ds:Object/></ds:Signature>"), "a signature is of a strange form"),
            (change("URI=\"#_assertion\"", "URI=\"#_response\""), "a signature is about something else"),
            (change("URI=\"#_assertion\"", "URI=\"\""), "a signature is about something else"),
            (
                change("URI=\"#_assertion\"", "URI=\"#xpointer(id('_assertion'))\""),
                "a signature is about something else",
            ),
            (change("<NameID ", "<NameID Id=\"_assertion\" "), "an id comes twice"),
            (change("<NameID ", "<NameID xml:id=\"_response\" "), "an id comes twice"),
            (change("rsa-sha256", "hmac-sha256"), "an algorithm of a signature is not allowed"),
            (
                change("xmldsig#enveloped-signature", "xmldsig#base64"),
                "an algorithm of a signature is not allowed",
            ),
            (change("xmlenc#sha256", "xmldsig#sha1"), "an algorithm of a signature is not allowed"),
            (change("saml2p:Response ", "saml2p:LogoutResponse "), "this is no XML"),
        ] {
            assert_eq!(check(&text), Err(why));
        }
    }
}

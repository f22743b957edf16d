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

//! Reads XML as a tree with namespaces, strictly: bounded in size and depth, without document types, entities, CDATA
//! and anything else that two parsers might read in two ways. In messages comments are refused too.
//!
//! Names are ASCII, prefixes are bound, attributes occur once, also by namespace. Pure.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

use super::Refusal;

/// The largest message.
pub(super) const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// The largest metadata document.
pub(super) const MAX_DOCUMENT_BYTES: usize = 768 * 1024;
const MAX_DEPTH: usize = 64;
const MAX_ELEMENTS: usize = 20_000;
const MAX_ATTRIBUTES: usize = 64;
const MAX_BINDINGS: usize = 256;

/// An element.
#[derive(Debug, Default)]
pub(super) struct Element {
    /// Namespace, or nothing.
    pub(super) space: String,
    /// Name without prefix.
    pub(super) name: String,
    attributes: Vec<Attribute>,
    pub(super) children: Vec<Element>,
    text: String,
}

#[derive(Debug)]
struct Attribute {
    space: String,
    name: String,
    value: String,
}

impl Element {
    /// Whether it is `name` of namespace `space`.
    pub(super) fn is(&self, space: &str, name: &str) -> bool {
        self.space == space && self.name == name
    }

    /// The attribute `name` without a prefix.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|it| it.space.is_empty() && it.name == name);
        found.map(|it| it.value.as_str())
    }

    /// The values of all attributes that any standard uses as an id, whatever the prefix.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        let is_id = |name: &str| name.eq_ignore_ascii_case("id") || name.eq_ignore_ascii_case("assertionid");
        self.attributes.iter().filter(move |it| is_id(&it.name)).map(|it| it.value.as_str())
    }

    /// The text directly inside, without the white space around.
    pub(super) fn text(&self) -> &str {
        self.text.trim_matches([' ', '\t', '\r', '\n'])
    }

    /// The children called `name` of namespace `space`.
    pub(super) fn all<'a>(&'a self, space: &'a str, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |it| it.is(space, name))
    }

    /// The only child called so; `None` when there is none or another one.
    pub(super) fn only(&self, space: &str, name: &str) -> Option<&Element> {
        let mut found = self.children.iter().filter(|it| it.is(space, name));
        let first = found.next();
        if found.next().is_some() { None } else { first }
    }

    /// This element and all below it.
    pub(super) fn descend(&self) -> impl Iterator<Item = &Element> {
        let mut waiting = vec![self];
        std::iter::from_fn(move || {
            let next = waiting.pop()?;
            waiting.extend(next.children.iter().rev());
            Some(next)
        })
    }
}

/// Read a message: nothing but elements, attributes and text.
///
/// # Errors
/// [`Refusal`] says which rule it breaks.
pub(super) fn message(text: &str) -> Result<Element, Refusal> {
    if text.len() > MAX_MESSAGE_BYTES {
        return Err(Refusal("the message is too large"));
    }
    if text.contains("<!") {
        return Err(Refusal("comments, CDATA and document types are not allowed"));
    }
    if declared(text)?.contains("<?") {
        return Err(Refusal("processing instructions are not allowed"));
    }
    parse(text)
}

/// Read metadata: comments and processing instructions are skipped.
///
/// # Errors
/// [`Refusal`] says which rule it breaks.
pub(super) fn document(text: &str) -> Result<Element, Refusal> {
    if text.len() > MAX_DOCUMENT_BYTES {
        return Err(Refusal("the document is too large"));
    }
    declared(text)?;
    parse(text)
}

/// What follows the XML declaration, which may say UTF-8 only.
fn declared(text: &str) -> Result<&str, Refusal> {
    let Some(after) = text.strip_prefix("<?xml ") else { return Ok(text) };
    let (declaration, rest) = after.split_once("?>").ok_or(Refusal("the XML declaration does not end"))?;
    let declaration = declaration.to_ascii_lowercase();
    let other = declaration.contains("encoding") && !declaration.contains("utf-8");
    if other || declaration.contains('<') {
        return Err(Refusal("only UTF-8 is allowed"));
    }
    Ok(rest)
}

fn parse(text: &str) -> Result<Element, Refusal> {
    let is_char = |it: char| matches!(it, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    if !text.chars().all(is_char) {
        return Err(Refusal("control characters are not allowed"));
    }
    let mut reader = NsReader::from_str(text);
    reader.resolver_mut().set_max_namespace_bindings(MAX_BINDINGS);
    let mut stack: Vec<Element> = Vec::new();
    let mut root = None;
    let mut elements = 0;
    loop {
        let event = reader.read_event().map_err(|_| Refusal("this is no XML"))?;
        match event {
            Event::Start(_) | Event::Empty(_) if stack.len() >= MAX_DEPTH || elements >= MAX_ELEMENTS => {
                return Err(Refusal("the XML is too deep or has too many elements"));
            }
            Event::Start(start) => {
                elements += 1;
                stack.push(element(&reader, &start)?);
            }
            Event::Empty(start) => {
                elements += 1;
                let element = element(&reader, &start)?;
                close(&mut stack, &mut root, element)?;
            }
            Event::End(_) => {
                let element = stack.pop().ok_or(Refusal("this is no XML"))?;
                close(&mut stack, &mut root, element)?;
            }
            Event::Text(piece) => append(&mut stack, piece.as_ref())?,
            Event::GeneralRef(reference) => append(&mut stack, &resolved(&reference)?)?,
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::CData(_) | Event::DocType(_) => {
                return Err(Refusal("CDATA and document types are not allowed"));
            }
            Event::Eof => break,
        }
    }
    root.filter(|_| stack.is_empty()).ok_or(Refusal("the XML does not end"))
}

fn close(stack: &mut [Element], root: &mut Option<Element>, element: Element) -> Result<(), Refusal> {
    match (stack.last_mut(), &root) {
        (Some(parent), _) => parent.children.push(element),
        (None, None) => *root = Some(element),
        (None, Some(_)) => return Err(Refusal("there is more than one document")),
    }
    Ok(())
}

fn append(stack: &mut [Element], text: &str) -> Result<(), Refusal> {
    match stack.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.bytes().all(|it| it.is_ascii_whitespace()) => {}
        None => return Err(Refusal("there is text outside the document")),
    }
    Ok(())
}

/// One of the five entities that need no declaration, or a character by its number.
fn resolved(reference: &BytesRef<'_>) -> Result<String, Refusal> {
    match reference.resolve_char_ref() {
        Ok(Some('\0')) | Err(_) => Err(Refusal("a character reference is not allowed")),
        Ok(Some(it)) => Ok(it.to_string()),
        Ok(None) => {
            let found = resolve_predefined_entity(reference.as_ref());
            found.map(str::to_owned).ok_or(Refusal("entities are not allowed"))
        }
    }
}

fn element(reader: &NsReader<&[u8]>, start: &BytesStart<'_>) -> Result<Element, Refusal> {
    let qualified = start.name();
    check_name(qualified.into_inner())?;
    let (space, name) = reader.resolver().resolve_element(qualified);
    let (space, name) = (bound(&space)?, name.into_inner().to_owned());
    let mut attributes: Vec<Attribute> = Vec::new();
    for found in start.attributes() {
        let found = found.map_err(|_| Refusal("an attribute is malformed or comes twice"))?;
        let raw: &str = &found.value;
        if raw.contains('<') || attributes.len() >= MAX_ATTRIBUTES {
            return Err(Refusal("an attribute is malformed, or there are too many"));
        }
        if found.key.as_namespace_binding().is_some() {
            if raw.contains('&') {
                return Err(Refusal("a namespace is written with references"));
            }
            continue;
        }
        check_name(found.key.into_inner())?;
        let (space, name) = reader.resolver().resolve_attribute(found.key);
        let (space, name) = (bound(&space)?, name.into_inner().to_owned());
        if attributes.iter().any(|it| it.space == space && it.name == name) {
            return Err(Refusal("an attribute comes twice"));
        }
        let value = found.normalized_value(XmlVersion::Implicit1_0);
        let value = value.map_err(|_| Refusal("an attribute holds an unknown entity"))?.into_owned();
        attributes.push(Attribute { space, name, value });
    }
    Ok(Element { space, name, attributes, ..Element::default() })
}

fn bound(space: &ResolveResult<'_>) -> Result<String, Refusal> {
    match space {
        ResolveResult::Bound(space) => Ok(space.into_inner().to_owned()),
        ResolveResult::Unbound => Ok(String::new()),
        ResolveResult::Unknown(_) => Err(Refusal("a prefix is not bound")),
    }
}

/// ASCII names with at most one colon.
fn check_name(name: &str) -> Result<(), Refusal> {
    let plain = |part: &str| {
        part.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
            && part.bytes().all(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it))
    };
    let legal =
        name.split_once(':').map_or_else(|| plain(name), |(prefix, local)| plain(prefix) && plain(local));
    if legal { Ok(()) } else { Err(Refusal("a name is not allowed")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_namespaces_and_text_is_whole() {
        let root = message(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><a:r xmlns:a=\"x\" ID='1&amp;2'><b> t&#33; </b></a:r>",
        );
        let root = root.unwrap();
        assert!(root.is("x", "r") && root.attribute("ID") == Some("1&2"));
        assert_eq!(root.only("", "b").unwrap().text(), "t!");
    }

    #[test]
    fn whatever_parsers_read_in_two_ways_is_refused() {
        let deep = format!("{}{}", "<a>".repeat(100), "</a>".repeat(100));
        let wide = format!("<a>{}</a>", "<b/>".repeat(20_001));
        let huge = format!("<a>{}</a>", "x".repeat(MAX_MESSAGE_BYTES));
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bb\"><!ENTITY c \"&b;&b;\">]><a>&c;</a>";
        for bad in [
            "",
            "x",
            "<a>",
            "<a/><a/>",
            "<a/>x",
            "<a></b>",
            "<a><!-- c --></a>",
            "<a><![CDATA[x]]></a>",
            "<a><?pi x?></a>",
            "<?xml version=\"1.0\" encoding=\"UTF-16\"?><a/>",
            "<a>&unknown;</a>",
            "<a b=\"&unknown;\"/>",
            "<a>&#0;</a>",
            "<a>\u{1}</a>",
            "<a b='1' b='2'/>",
            "<a xmlns:p='x' xmlns:q='x' p:b='1' q:b='2'/>",
            "<p:a/>",
            "<a p:b='1'/>",
            "<a b='<'/>",
            "<a xmlns='x&#65;'/>",
            "<a:b:c xmlns:a='x'/>",
            "<\u{e9}/>",
            bomb,
            &deep,
            &wide,
            &huge,
        ] {
            assert!(message(bad).is_err(), "{}", bad.chars().take(80).collect::<String>());
        }
        assert!(document(bomb).is_err());
        assert!(document("<a><!-- c --></a>").is_ok());
    }
}

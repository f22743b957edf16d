//! The message that a wallet shows to its owner: lines with a fixed meaning (EIP-4361 and its sibling for Solana).

use jiff::Timestamp;
use url::Url;

use super::Chain;

/// A parsed message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) domain: String,
    pub(crate) address: String,
    pub(crate) statement: Option<String>,
    pub(crate) uri: Url,
    pub(crate) chain_id: String,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) not_before: Option<Timestamp>,
}

/// The lines behind the statement, as far as they were read.
#[derive(Default)]
struct Fields {
    uri: Option<Url>,
    version: String,
    chain_id: String,
    issued_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    resources: usize,
    in_resources: bool,
}

impl Message {
    /// Read a message of `chain`.
    ///
    /// # Errors
    /// What is wrong, in GoTrue's words.
    pub(super) fn parse(chain: Chain, text: &str) -> Result<Self, String> {
        let tag = tag(chain);
        let lines: Vec<&str> = text.split('\n').collect();
        let [header, address, third, fourth, fifth, _, ..] = lines.as_slice() else {
            return Err(format!("{tag}: message needs at least 6 lines"));
        };
        let ending = format!(" wants you to sign in with your {} account:", chain.label());
        let Some(domain) = header.strip_suffix(&ending) else {
            return Err(format!("{tag}: message first line does not end in {ending:?}"));
        };
        let domain = domain.trim();
        if !is_domain(domain) {
            return Err(format!("{tag}: domain in first line of message is not valid"));
        }
        let address = checked_address(chain, address.trim())?;
        if !third.is_empty() {
            return Err(format!("{tag}: third line must be empty"));
        }
        let has_statement = !fourth.is_empty() && fifth.is_empty();
        let statement = has_statement.then(|| (*fourth).to_owned());
        let mut fields = Fields::default();
        for (idx, line) in lines.iter().enumerate().skip(if has_statement { 5 } else { 3 }) {
            fields.read(chain, idx, line.trim()).map_err(|it| format!("{tag}: {it}"))?;
        }
        fields.finish(domain, address, statement).map_err(|it| format!("{tag}: {it}"))
    }
}

impl Fields {
    fn read(&mut self, chain: Chain, idx: usize, line: &str) -> Result<(), String> {
        if self.in_resources {
            if let Some(resource) = line.strip_prefix("- ") {
                if Url::parse(resource.trim()).is_err() {
                    return Err(format!("Resource at position {} has invalid URI", self.resources));
                }
                self.resources += 1;
                return Ok(());
            }
            self.in_resources = false;
        }
        if line == "Resources:" {
            self.in_resources = true;
            return Ok(());
        }
        if line.is_empty() {
            return Ok(());
        }
        let (name, value) =
            line.split_once(':').ok_or_else(|| format!("encountered unparsable line at index {idx}"))?;
        self.set(chain, name, value.trim())
    }

    fn set(&mut self, chain: Chain, name: &str, value: &str) -> Result<(), String> {
        match name {
            "URI" => self.uri = Some(Url::parse(value).map_err(|_| "URI is not valid")?),
            "Version" => value.clone_into(&mut self.version),
            "Chain ID" if !is_chain_id(chain, value) => return Err("Chain ID is not valid".into()),
            "Chain ID" => value.clone_into(&mut self.chain_id),
            "Issued At" => self.issued_at = Some(time(name, value)?),
            "Expiration Time" => self.expires_at = Some(time(name, value)?),
            "Not Before" => self.not_before = Some(time(name, value)?),
            // Nonce and Request ID are the app's own business.
            _ => {}
        }
        Ok(())
    }

    fn finish(self, domain: &str, address: String, statement: Option<String>) -> Result<Message, String> {
        if self.version != "1" {
            return Err(format!("Version value is not supported, expected 1 got {:?}", self.version));
        }
        let issued_at = self.issued_at.ok_or("Issued At is not specified")?;
        let uri = self.uri.ok_or("URI is not specified")?;
        if self.expires_at.is_some_and(|it| issued_at > it) {
            return Err("Issued At is after Expiration Time".into());
        }
        if let (Some(from), Some(until)) = (self.not_before, self.expires_at)
            && from > until
        {
            return Err("Not Before is after Expiration Time".into());
        }
        Ok(Message {
            domain: domain.to_owned(),
            address,
            statement,
            uri,
            chain_id: self.chain_id,
            issued_at,
            expires_at: self.expires_at,
            not_before: self.not_before,
        })
    }
}

/// What errors begin with.
fn tag(chain: Chain) -> &'static str {
    match chain {
        Chain::Ethereum => "siwe",
        Chain::Solana => "siws",
    }
}

/// `localhost`, or a name of two labels and more, with a port or without.
fn is_domain(text: &str) -> bool {
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    let port_ok =
        port.is_none_or(|it| (1..=5).contains(&it.len()) && it.bytes().all(|it| it.is_ascii_digit()));
    let is_label = |it: &str| {
        (1..=63).contains(&it.len())
            && !it.starts_with('-')
            && !it.ends_with('-')
            && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
    };
    let is_name = name.rsplit_once('.').is_some_and(|(rest, last)| {
        rest.split('.').all(is_label) && last.len() >= 2 && last.bytes().all(|it| it.is_ascii_alphabetic())
    });
    port_ok && (name == "localhost" || is_name)
}

fn checked_address(chain: Chain, text: &str) -> Result<String, String> {
    let (right, message) = match chain {
        Chain::Ethereum => (
            text.strip_prefix("0x")
                .is_some_and(|it| it.len() == 40 && it.bytes().all(|it| it.is_ascii_hexdigit())),
            "siwe: wallet address is not a valid Ethereum address",
        ),
        Chain::Solana => (
            (32..=44).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_alphanumeric()),
            "siws: wallet address is not in base58 format",
        ),
    };
    if right { Ok(text.to_owned()) } else { Err(message.into()) }
}

fn is_chain_id(chain: Chain, value: &str) -> bool {
    match chain {
        // EIP-155: a positive number.
        Chain::Ethereum => value.parse::<i64>().is_ok_and(|it| it > 0),
        Chain::Solana => {
            value.is_empty()
                || ["solana:mainnet", "solana:devnet", "solana:testnet", "solana:localnet"].contains(&value)
        }
    }
}

/// RFC 3339, with a zone.
fn time(name: &str, value: &str) -> Result<Timestamp, String> {
    let shaped = value.get(10..11) == Some("T");
    value.parse().ok().filter(|_| shaped).ok_or_else(|| format!("{name} is not a valid ISO8601 timestamp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(edit: impl Fn(&str) -> String) -> Result<Message, String> {
        let good = "example.com wants you to sign in with your Ethereum account:\n\
                    0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2\n\nHello\n\nURI: https://example.com/login\n\
                    Version: 1\nChain ID: 1\nNonce: 32891756\nIssued At: 2021-09-30T16:25:24Z\nResources:\n\
                    - https://example.com/a\n- ipfs://b";
        Message::parse(Chain::Ethereum, &edit(good))
    }

    #[test]
    fn the_example_of_the_specification_is_read() {
        let message = check(str::to_owned).unwrap();
        assert_eq!(message.domain, "example.com");
        assert_eq!(message.statement.as_deref(), Some("Hello"));
        assert_eq!((message.uri.as_str(), message.chain_id.as_str()), ("https://example.com/login", "1"));
        let without = check(|it| it.replace("Hello\n\n", "")).unwrap();
        assert_eq!(without.statement, None);
    }

    #[test]
    fn domains_are_names_with_a_port_or_without() {
        for good in ["localhost", "localhost:3000", "example.com", "a-b.example.co:65535"] {
            assert!(is_domain(good), "{good}");
        }
        for bad in [
            "",
            "example",
            "example.c",
            "a..com",
            "-a.com",
            "a_b.com",
            "a.com:",
            "a.com:x",
            "1.2.3.4",
            "ü.com",
        ] {
            assert!(!is_domain(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases: [(&str, &str, &str); 13] = [
            ("account:\n", "account\n", "siwe: message first line does not end in"),
            ("example.com wants", "exa mple wants", "siwe: domain in first line of message is not valid"),
            ("0xC02a", "0xZ02a", "siwe: wallet address is not a valid Ethereum address"),
            ("Cc2\n\n", "Cc2\nx\n", "siwe: third line must be empty"),
            ("Version: 1", "Version: 2", "siwe: Version value is not supported, expected 1 got \"2\""),
            ("Chain ID: 1", "Chain ID: -1", "siwe: Chain ID is not valid"),
            ("URI: https://example.com/login\n", "", "siwe: URI is not specified"),
            ("https://example.com/login", "login", "siwe: URI is not valid"),
            ("Issued At: 2021-09-30T16:25:24Z\n", "", "siwe: Issued At is not specified"),
            ("2021-09-30T16:25:24Z", "yesterday", "siwe: Issued At is not a valid ISO8601 timestamp"),
            ("Nonce: 32891756", "Nonsense", "siwe: encountered unparsable line at index 8"),
            ("- ipfs://b", "- b", "siwe: Resource at position 1 has invalid URI"),
            (
                "Nonce: 32891756",
                "Expiration Time: 2021-09-29T00:00:00Z",
                "siwe: Issued At is after Expiration Time",
            ),
        ];
        for (from, to, why) in cases {
            let refused = check(|it| it.replacen(from, to, 1)).unwrap_err();
            assert!(refused.starts_with(why), "{refused} for {to:?}");
        }
        let times = "Expiration Time: 2022-01-01T00:00:00Z\nNot Before: 2023-01-01T00:00:00Z";
        let refused = check(|it| it.replace("Nonce: 32891756", times)).unwrap_err();
        assert_eq!(refused, "siwe: Not Before is after Expiration Time");
        assert_eq!(
            Message::parse(Chain::Solana, "a\nb").unwrap_err(),
            "siws: message needs at least 6 lines"
        );
    }
}

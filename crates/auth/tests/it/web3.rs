//! `grant_type=web3`: messages signed by wallets.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::{AuthSettings, ProviderSettings};
use jiff::{SignedDuration, Timestamp};
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};
use sha3::{Digest as _, Keccak256};

use crate::support::{Answer, Api};

/// A change of a message before it is signed.
type Edit<'a> = Box<dyn Fn(String) -> String + 'a>;

/// The address of the private key 0x0101…01.
const ETHEREUM: &str = "0x1a642f0E3c3aF545E7AcBD38b07251B3990914F1";

fn wallets(names: &[&str]) -> AuthSettings {
    let on = || ProviderSettings { enabled: true, ..ProviderSettings::default() };
    AuthSettings {
        site_url: "https://app.example.com".into(),
        redirect_urls: vec!["http://localhost:3000/**".into()],
        external: names.iter().map(|it| ((*it).to_owned(), on())).collect(),
        ..AuthSettings::default()
    }
}

fn message(chain: &str, address: &str, edit: impl Fn(String) -> String) -> String {
    edit(format!(
        "app.example.com wants you to sign in with your {chain} account:\n{address}\n\nHello\n\n\
         URI: https://app.example.com/login\nVersion: 1\nChain ID: {}\nIssued At: {}",
        if chain == "Ethereum" { "1" } else { "solana:mainnet" },
        Timestamp::now(),
    ))
}

fn ethereum(message: &str) -> Value {
    let key = SigningKey::from_slice(&[1; 32]).unwrap();
    let shown = format!("\u{19}Ethereum Signed Message:\n{}{message}", message.len());
    let (signature, which) = key.sign_prehash_recoverable(&Keccak256::digest(shown.as_bytes()));
    let hex: String = signature.to_bytes().iter().map(|it| format!("{it:02x}")).collect();
    let signature = format!("0x{hex}{:02x}", which.to_byte() + 27);
    json!({"chain": "ethereum", "message": message, "signature": signature})
}

fn solana_address(pair: &Ed25519KeyPair) -> String {
    let alphabet = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut digits = vec![0_u8];
    for byte in pair.public_key().as_ref() {
        let mut carry = usize::from(*byte);
        for digit in &mut digits {
            carry += usize::from(*digit) << 8;
            *digit = u8::try_from(carry % 58).unwrap();
            carry /= 58;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 58).unwrap());
            carry /= 58;
        }
    }
    digits.iter().rev().map(|it| char::from(alphabet[usize::from(*it)])).collect()
}

fn solana(pair: &Ed25519KeyPair, message: &str) -> Value {
    let signature = BASE64_STANDARD.encode(pair.sign(message.as_bytes()).as_ref());
    json!({"chain": "solana", "message": message, "signature": signature})
}

async fn grant(api: &Api, body: Value) -> Answer {
    api.post("/token?grant_type=web3", body).await
}

#[test]
fn an_ethereum_wallet_signs_in() {
    testkit::run(async {
        let api = Api::new("web3_ethereum", wallets(&["web3_ethereum"])).await;
        let body = ethereum(&message("Ethereum", ETHEREUM, |it| it));
        let answer = grant(&api, body.clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let user = &answer.body["user"];
        assert_eq!((&user["email"], &user["is_anonymous"]), (&json!(""), &json!(false)));
        let identity = &user["identities"][0];
        assert_eq!(identity["provider"], "web3");
        assert_eq!(identity["id"], format!("web3:ethereum:{ETHEREUM}"));
        let custom = json!({"address": ETHEREUM, "chain": "ethereum", "network": "1", "domain": "app.example.com",
            "statement": "Hello"});
        assert_eq!(identity["identity_data"]["custom_claims"], custom);
        assert_eq!(grant(&api, body).await.body["user"]["id"], user["id"]);
        let claims = answer.body["access_token"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
        let claims = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["amr"][0]["method"], "web3");
    });
}

#[test]
fn a_solana_wallet_signs_in() {
    testkit::run(async {
        let api = Api::new("web3_solana", wallets(&["web3_solana"])).await;
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let address = solana_address(&pair);
        let answer = grant(&api, solana(&pair, &message("Solana", &address, |it| it))).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body["user"]["identities"][0]["id"], format!("web3:solana:{address}"));
        let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
        let forged = grant(&api, solana(&other, &message("Solana", &address, |it| it))).await;
        let said = (&forged.body["error"], &forged.body["error_description"]);
        assert_eq!(said, (&json!("invalid_grant"), &json!("Signature does not match address in message")));
    });
}

#[test]
fn wallets_are_off_until_they_are_on() {
    testkit::run(async {
        let api = Api::new("web3_off", wallets(&[])).await;
        let text = message("Ethereum", ETHEREUM, |it| it);
        for (on, body, refusal, text) in [
            (vec![], ethereum(&text), (422, "web3_provider_disabled"), "Web3 provider is disabled"),
            (
                vec![],
                json!({"chain": "ethereum", "message": text, "signature": {"0": 1, "1": 2}}),
                (422, "web3_provider_disabled"),
                "Web3 provider is disabled",
            ),
            (
                vec!["web3_solana"],
                ethereum(&text),
                (422, "web3_provider_disabled"),
                "Ethereum Web3 provider is disabled",
            ),
            (
                vec!["web3_ethereum"],
                json!({"chain": "solana"}),
                (422, "web3_provider_disabled"),
                "Solana Web3 provider is disabled",
            ),
            (
                vec!["web3_ethereum"],
                json!({"chain": "bitcoin"}),
                (400, "web3_unsupported_chain"),
                "Unsupported chain",
            ),
        ] {
            let answer = grant(&api.with(wallets(&on)), body).await;
            assert_eq!(answer.refusal(), refusal);
            assert_eq!(answer.body["msg"], text);
        }
        let closed = AuthSettings { disable_signup: true, ..wallets(&["web3_ethereum"]) };
        let answer = grant(&api.with(closed), ethereum(&text)).await;
        assert_eq!(answer.refusal(), (422, "signup_disabled"));
    });
}

#[test]
fn malformed_messages_and_signatures_are_refused() {
    testkit::run(async {
        let api = Api::new("web3_malformed", wallets(&["web3_ethereum", "web3_solana"])).await;
        let good = message("Ethereum", ETHEREUM, |it| it);
        let cases = [
            (json!({"message": "short"}), "message is too short"),
            (json!({"message": "x".repeat(20 * 1024 + 1)}), "message must not exceed 20KB"),
            (
                json!({"signature": "0x00"}),
                "signature must be 65 bytes long, encoded as a 130 character-long hexadecimal string",
            ),
            (
                json!({"message": good.replace("Version: 1", "Version: 2")}),
                "siwe: Version value is not supported",
            ),
            (
                json!({"chain": "solana", "signature": "x"}),
                "signature must be 64 bytes encoded as base64 with or without padding",
            ),
            (
                json!({"chain": "solana", "signature": "%".repeat(86)}),
                "signature does not contain valid base64 characters",
            ),
        ];
        for (edit, why) in cases {
            let mut body = ethereum(&good);
            body.as_object_mut().unwrap().extend(edit.as_object().unwrap().clone());
            let answer = grant(&api, body).await;
            assert_eq!(answer.refusal(), (400, "validation_failed"), "{why}");
            assert!(answer.body["msg"].as_str().unwrap().starts_with(why), "{}", answer.body);
        }
    });
}

fn at(secs: i64) -> String {
    (Timestamp::now() + SignedDuration::from_secs(secs)).to_string()
}

fn add(text: &str, line: &str) -> String {
    format!("{text}\n{line}")
}

fn issued(text: &str, secs: i64) -> String {
    let (before, _) = text.split_once("Issued At: ").unwrap();
    format!("{before}Issued At: {}", at(secs))
}

#[test]
fn messages_for_other_sites_and_other_times_are_refused() {
    testkit::run(async {
        let api = Api::new("web3_site", wallets(&["web3_ethereum"])).await;
        let cases: Vec<(Edit<'_>, &str)> = vec![
            (
                Box::new(|it| it.replace("https://", "http://")),
                "Signed Ethereum message is using URI which does not use HTTPS",
            ),
            (
                Box::new(|it| it.replace("app.example.com", "evil.example.com")),
                "Signed Ethereum message is using URI which is not allowed on this server, message was signed for another app",
            ),
            (
                Box::new(|it| it.replacen("app.example.com", "evil.example.com", 1)),
                "Signed Ethereum message is using a Domain that does not match the one in URI which is not allowed on this server",
            ),
            (
                Box::new(|it| add(&it, &format!("Not Before: {}", at(60)))),
                "Signed Ethereum message becomes valid in the future",
            ),
            (
                Box::new(|it| add(&issued(&it, -120), &format!("Expiration Time: {}", at(-60)))),
                "Signed Ethereum message is expired",
            ),
            (Box::new(|it| issued(&it, -601)), "Ethereum message was issued too long ago"),
            (Box::new(|it| issued(&it, 660)), "Ethereum message was issued too far in the future"),
        ];
        for (edit, why) in cases {
            let answer = grant(&api, ethereum(&message("Ethereum", ETHEREUM, edit))).await;
            assert_eq!((answer.status.as_u16(), answer.body["error"].as_str()), (400, Some("invalid_grant")));
            assert_eq!(answer.body["error_description"], why);
        }
        let local = |it: String| it.replace("https://app.example.com/login", "http://localhost:3000/login");
        let answer = grant(&api, ethereum(&message("Ethereum", ETHEREUM, local))).await;
        assert_eq!(answer.status, 200, "developers have no certificate: {}", answer.body);
        let developers = |it: String| local(it).replacen("app.example.com", "localhost:3000", 1);
        let answer = grant(&api, ethereum(&message("Ethereum", ETHEREUM, developers))).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        // What a wallet shows on a page of somebody else.
        let lured = |it: String| local(it).replacen("app.example.com", "evil.example.com", 1);
        let answer = grant(&api, ethereum(&message("Ethereum", ETHEREUM, lured))).await;
        assert_eq!((answer.status.as_u16(), answer.body["error"].as_str()), (400, Some("invalid_grant")));
    });
}

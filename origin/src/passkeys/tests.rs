//! A device that makes passkeys, and lies where a test wants it to.

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::*;

/// Flags of authenticator data (WebAuthn Level 2, section 6.1).
const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const HAS_KEY: u8 = 0x40;

/// A device with one key on it.
pub(crate) struct Device {
    pub(crate) key: SigningKey,
    pub(crate) id: Vec<u8>,
    /// What a browser says where the page is from.
    pub(crate) origin: &'static str,
    /// Whom it signs for.
    pub(crate) rp_id: &'static str,
    /// Counts every signature, unless the device does not count.
    pub(crate) counter: u32,
    /// Whether it has recognised its owner.
    pub(crate) is_verified: bool,
}

impl Device {
    pub(crate) fn new() -> Self {
        Self {
            key: SigningKey::from_slice(&rand::random::<[u8; 32]>()).unwrap(),
            id: rand::random::<[u8; 32]>().to_vec(),
            origin: "http://localhost:10000",
            rp_id: "localhost",
            counter: 0,
            is_verified: true,
        }
    }

    /// Makes the key that `navigator.credentials.create` was asked for.
    pub(crate) fn create(&self, options: &Value) -> Value {
        let client_data = self.client_data("webauthn.create", options);
        // Nothing attested (section 8.7): a map of three.
        let attestation = [
            &[0xa3][..],
            &text("fmt"),
            &text("none"),
            &text("attStmt"),
            &[0xa0],
            &text("authData"),
            &bytes(&self.authenticator_data(HAS_KEY)),
        ];
        json!({"id": URL_SAFE_NO_PAD.encode(&self.id), "rawId": URL_SAFE_NO_PAD.encode(&self.id), "type": "public-key",
        "authenticatorAttachment": "platform", "clientExtensionResults": {}, "response": {
            "attestationObject": URL_SAFE_NO_PAD.encode(attestation.concat()),
            "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data), "transports": ["internal", "hybrid"],
        }})
    }

    /// Signs what `navigator.credentials.get` was asked for.
    pub(crate) fn get(&self, options: &Value) -> Value {
        let client_data = self.client_data("webauthn.get", options);
        let data = self.authenticator_data(0);
        let signed = [&data[..], &Sha256::digest(&client_data)].concat();
        let signature: Signature = self.key.sign(&signed);
        json!({"id": URL_SAFE_NO_PAD.encode(&self.id), "rawId": URL_SAFE_NO_PAD.encode(&self.id), "type": "public-key",
        "clientExtensionResults": {}, "response": {
            "authenticatorData": URL_SAFE_NO_PAD.encode(data),
            "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data),
            "signature": URL_SAFE_NO_PAD.encode(signature.to_der()),
        }})
    }

    /// The same device, one signature later.
    pub(crate) fn counted(&mut self) -> &mut Self {
        self.counter += 1;
        self
    }

    fn client_data(&self, kind: &str, options: &Value) -> Vec<u8> {
        let challenge = &options["publicKey"]["challenge"];
        assert!(challenge.is_string(), "{options}");
        json!({"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": false})
            .to_string()
            .into_bytes()
    }

    fn authenticator_data(&self, flags: u8) -> Vec<u8> {
        let flags = flags | PRESENT | if self.is_verified { VERIFIED } else { 0 };
        let mut data = [&Sha256::digest(self.rp_id)[..], &[flags], &self.counter.to_be_bytes()].concat();
        if flags & HAS_KEY != 0 {
            let point = self.key.verifying_key().to_encoded_point(false);
            let length = u16::try_from(self.id.len()).unwrap().to_be_bytes();
            data.extend([&[0; 16][..], &length, &self.id].concat());
            // A COSE key (RFC 9053, section 7.1.1): 1: EC2, 3: ES256, -1: P-256, -2: x, -3: y.
            data.extend([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21]);
            data.extend(bytes(point.x().unwrap()));
            data.push(0x22);
            data.extend(bytes(point.y().unwrap()));
        }
        data
    }
}

/// A text in CBOR (RFC 8949), of less than 24 bytes.
fn text(text: &str) -> Vec<u8> {
    [&[0x60 | u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// Bytes in CBOR.
fn bytes(bytes: &[u8]) -> Vec<u8> {
    [&[0x59][..], &u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// Whom passkeys are made for at this address.
pub(crate) fn relying_party(public_url: &str) -> RelyingParty {
    RelyingParty::new(&Url::parse(public_url).unwrap(), &Master::parse(&Master::generate()).unwrap())
}

#[test]
fn only_a_host_name_has_passkeys() {
    for (url, has_some) in [
        ("http://localhost:10000", true),
        ("https://speech.example.org", true),
        ("http://127.0.0.1:10000", false),
        ("http://[::1]:10000", false),
    ] {
        assert_eq!(relying_party(url).webauthn.is_some(), has_some, "{url}");
    }
}

#[test]
fn a_handle_tells_accounts_apart_and_not_who_they_are() {
    let party = relying_party("http://localhost:10000");
    assert_eq!(party.handle("ada"), party.handle("ada"));
    assert_ne!(party.handle("ada"), party.handle("bob"));
    assert_ne!(party.handle("ada"), relying_party("http://localhost:10000").handle("ada"));
}

//! Manifests as a forger would make them: any certificate, any boxes, any claim, validly signed by whatever key. Not tests.

use atlas_manifests::authority::Authority;
use atlas_manifests::id::InstanceId;
use atlas_manifests::seal::Sealer;
use ciborium::Value;
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, PKCS_ED25519, PublicKeyData,
};
use sha2::Digest as _;

use crate::statements::plain;

/// A key of the forger's, or one that he stole.
pub(crate) struct Key(ed25519_dalek::SigningKey, [u8; 32]);

impl Key {
    pub(crate) fn of(seed: u8) -> Self {
        Self::new(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]))
    }

    fn new(key: ed25519_dalek::SigningKey) -> Self {
        let public = key.verifying_key().to_bytes();
        Self(key, public)
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.1
    }
    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).to_bytes().to_vec())
    }
}

/// A pinned authority, whose key signs what a test asks for, as a careless operator's might.
pub(crate) struct House {
    pub(crate) anchors: String,
    pub(crate) name: String,
    pub(crate) key: Key,
    /// Its subject key identifier.
    pub(crate) id: Vec<u8>,
    pub(crate) honest: Vec<u8>,
}

pub(crate) fn house() -> House {
    let tmp = tempfile::tempdir().unwrap();
    let authority = Authority::create(tmp.path()).unwrap();
    let pem = std::fs::read_to_string(tmp.path().join("key.pem")).unwrap();
    let sealer = Sealer::new(authority.issue(InstanceId([1; 16])).unwrap()).unwrap();
    let anchors = authority.certificate_pem().to_owned();
    let der = pem::parse(&anchors).unwrap().into_contents();
    let (_, cert) = x509_parser::parse_x509_certificate(&der).unwrap();
    let ids = cert
        .iter_extensions()
        .filter_map(|e| match e.parsed_extension() {
            x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => {
                Some(id.0.to_vec())
            }
            _ => None,
        });
    House {
        id: ids.last().expect("an authority has a key identifier"),
        name: cert
            .subject()
            .iter_common_name()
            .next()
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned(),
        key: Key::new(ed25519_dalek::SigningKey::from_pkcs8_pem(&pem).unwrap()),
        anchors,
        honest: sealer.seal(&plain()).unwrap().manifest,
    }
}

/// A certificate's content, as an instance's is unless changed.
pub(crate) fn leaf(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut p = named("Atlas instance 01010101010101010101010101010101");
    p.is_ca = IsCa::ExplicitNoCa;
    p.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    p.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::EmailProtection,
        ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 4, 1, 62558, 2, 1]),
    ];
    p.use_authority_key_identifier_extension = true;
    change(&mut p);
    p
}

pub(crate) fn authority(name: &str) -> CertificateParams {
    let mut p = named(name);
    p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    p.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    p
}

fn named(name: &str) -> CertificateParams {
    let mut p = CertificateParams::new(Vec::new()).unwrap();
    p.distinguished_name = DistinguishedName::new();
    p.distinguished_name.push(DnType::OrganizationName, "Atlas");
    p.distinguished_name.push(DnType::CommonName, name);
    p.not_before = rcgen::date_time_ymd(2025, 1, 1);
    p.not_after = rcgen::date_time_ymd(2075, 1, 1);
    p
}

/// Signs a certificate for `subject`, in DER.
pub(crate) fn certify(
    params: &CertificateParams,
    subject: &Key,
    issuer: &CertificateParams,
    by: &Key,
) -> Vec<u8> {
    let issuer = Issuer::from_params(issuer, by);
    params.signed_by(subject, &issuer).unwrap().der().to_vec()
}

/// A manifest taken apart, to be changed and put together again with all hashes and lengths right.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) urn: String,
    /// Label and CBOR.
    pub(crate) assertions: Vec<(String, Vec<u8>)>,
    pub(crate) claim: Vec<(Value, Value)>,
}

fn boxed(kind: &[u8], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 8).unwrap().to_be_bytes();
    [&length[..], kind, content].concat()
}

fn described(kind: &[u8; 4], salted: bool, label: &str) -> Vec<u8> {
    let tail = [0, 0x11, 0, 0x10, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];
    let toggles = [if salted { 0x13 } else { 0x03 }];
    let mut content = [&kind[..], &tail, &toggles, label.as_bytes(), &[0]].concat();
    if salted {
        content.extend(boxed(b"c2sh", &[7; 16]));
    }
    boxed(b"jumd", &content)
}

fn children(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut out = Vec::new();
    while let Some(length) = bytes.first_chunk() {
        let (one, rest) = bytes.split_at(u32::from_be_bytes(*length) as usize);
        out.push(&one[8..]);
        bytes = rest;
    }
    out
}

fn label(description: &[u8]) -> String {
    let text = description[17..].split(|b| *b == 0).next().unwrap();
    String::from_utf8(text.to_vec()).unwrap()
}

pub(crate) fn cbor(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

impl Parts {
    pub(crate) fn of(manifest: &[u8]) -> Self {
        let store = children(&manifest[8..]);
        let manifest = children(store[1]);
        let assertions = children(manifest[1]);
        let claim: Value = ciborium::from_reader(children(manifest[2])[1]).unwrap();
        let taken = assertions[1..].iter().map(|one| {
            let parts = children(one);
            (label(parts[0]), parts[1].to_vec())
        });
        Self {
            urn: label(manifest[0]),
            assertions: taken.collect(),
            claim: claim.into_map().unwrap(),
        }
    }

    pub(crate) fn set(&mut self, key: &str, value: Value) {
        self.claim.retain(|(k, _)| k.as_text() != Some(key));
        self.claim.push((key.into(), value));
    }

    /// The CBOR of the assertion with this label.
    pub(crate) fn assertion(&mut self, label: &str) -> &mut Vec<u8> {
        &mut self
            .assertions
            .iter_mut()
            .find(|(l, _)| l == label)
            .unwrap()
            .1
    }

    /// The boxes, with a claim that names the assertions as they are now.
    fn boxes(&self) -> (Vec<u8>, Vec<u8>) {
        let mut inside = described(b"c2as", false, "c2pa.assertions");
        let mut named = Vec::new();
        for (label, cbor) in &self.assertions {
            let content = [described(b"cbor", true, label), boxed(b"cbor", cbor)].concat();
            named.push(Value::Map(vec![
                (
                    "url".into(),
                    format!("self#jumbf=c2pa.assertions/{label}").into(),
                ),
                (
                    "hash".into(),
                    sha2::Sha256::digest(&content).to_vec().into(),
                ),
            ]));
            inside.extend(boxed(b"jumb", &content));
        }
        let mut claim = self.clone();
        claim.set("created_assertions", Value::Array(named));
        (inside, cbor(&Value::Map(claim.claim)))
    }

    pub(crate) fn signed(&self, key: &Key, certificates: &[Vec<u8>]) -> Vec<u8> {
        self.signed_under(key, &protected(certificates), &Value::Map(Vec::new()))
    }

    pub(crate) fn signed_under(&self, key: &Key, header: &Value, unprotected: &Value) -> Vec<u8> {
        let (assertions, claim) = self.boxes();
        let header = cbor(header);
        let to_sign = Value::Array(vec![
            "Signature1".into(),
            header.clone().into(),
            Vec::<u8>::new().into(),
            claim.clone().into(),
        ]);
        let signature = key.0.sign(&cbor(&to_sign)).to_bytes().to_vec();
        let sign1 = Value::Array(vec![
            header.into(),
            unprotected.clone(),
            Value::Null,
            signature.into(),
        ]);
        let sign1 = cbor(&Value::Tag(18, Box::new(sign1)));
        let one = |kind, name: &str, cbor: &[u8]| {
            let content = [described(kind, false, name), boxed(b"cbor", cbor)].concat();
            boxed(b"jumb", &content)
        };
        let manifest = [
            described(b"c2ma", false, &self.urn),
            boxed(b"jumb", &assertions),
            one(b"c2cl", "c2pa.claim.v2", &claim),
            one(b"c2cs", "c2pa.signature", &sign1),
        ]
        .concat();
        store(&[manifest])
    }
}

/// A manifest store of these manifests.
pub(crate) fn store(manifests: &[Vec<u8>]) -> Vec<u8> {
    let mut content = described(b"c2pa", false, "c2pa");
    for manifest in manifests {
        content.extend(boxed(b"jumb", manifest));
    }
    boxed(b"jumb", &content)
}

/// What is inside the only manifest of a store.
pub(crate) fn only(manifest: &[u8]) -> Vec<u8> {
    children(&manifest[8..])[1].to_vec()
}

/// The protected header that we write, for any number of certificates.
pub(crate) fn protected(certificates: &[Vec<u8>]) -> Value {
    let x5chain = match certificates {
        [one] => one.clone().into(),
        many => Value::Array(many.iter().map(|c| c.clone().into()).collect()),
    };
    Value::Map(vec![(1.into(), (-8).into()), (33.into(), x5chain)])
}

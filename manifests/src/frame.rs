//! The envelope of a manifest: JUMBF boxes (ISO 19566-5) in the one shape that our sealer writes. Neither signatures nor trust: see `read`.
//!
//! C2PA signs the claim, and the claim names the hashes of the assertions. Headers, labels and padding of the boxes around them are covered by nothing,
//! so they must be exactly what our sealer writes: then no byte can be changed unseen. As this is checked first, the SDK sees no bytes of another shape.

use serde::Deserialize;
use sha2::Digest as _;

use crate::assertion::body::Fixed;
use crate::assertion::{ACTIONS, ASSET_TYPE, DATA_HASH, EVIDENCE, INGREDIENT, LABEL_PREFIX};
use crate::cbor;
use crate::digest::Sha256;

/// Deeper CBOR than ours is not read.
const MAX_DEPTH: usize = 16;
/// No manifest of ours has more assertions.
const MAX_ASSERTIONS: usize = 32;

/// What is hashed before a partial claim.
const PARTIAL_CLAIM: &[u8] = b"atlas/partial-claim/v1\0";

/// The last twelve bytes of every JUMBF type; the first four spell its name.
const TYPE_TAIL: [u8; 12] = [0, 0x11, 0, 0x10, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];
/// Toggles of a description box: can be requested, has a label.
const LABELLED: u8 = 0x03;
/// The same, and with a salt in a private box.
const SALTED: u8 = 0x13;
/// Bytes of a salt.
const SALT: usize = 16;
/// A COSE_Sign1: the tag, and an array of four.
const SIGN1: [u8; 2] = [0xd2, 0x84];
/// The protected header up to its certificate: a map of two, EdDSA, `x5chain`.
const PROTECTED: [u8; 5] = [0xa2, 0x01, 0x27, 0x18, 0x21];
/// No unprotected header, and a detached payload.
const DETACHED: [u8; 2] = [0xa0, 0xf6];

/// Why bytes are not a manifest in our shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not the boxes that we write.
    #[error("byte {at}: {what}")]
    Shape {
        /// Offset into the manifest.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// The claim cannot be read, or does not fit its manifest.
    #[error("claim: {0}")]
    Claim(String),
    /// An assertion's bytes are not those that the claim names.
    #[error("assertion {0}: its hash is not the one in the claim")]
    Hash(String),
}

/// A manifest taken apart; nothing is copied.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    /// The manifest's C2PA URN.
    pub(crate) urn: &'a str,
    /// The claim's fields that we use.
    pub(crate) claim: Claim,
    /// The signer's certificate, in DER: one, which an anchor must have signed. The SDK would also follow a chain, and takes for an
    /// authority whoever signed the next one.
    pub(crate) certificate: &'a [u8],
    /// Label and CBOR of each assertion, in the claim's order; the hashes are those of the claim.
    pub(crate) assertions: Vec<(&'a str, &'a [u8])>,
}

/// What we use of `c2pa.claim.v2`.
#[derive(Debug, Deserialize)]
pub(crate) struct Claim {
    #[serde(rename = "instanceID")]
    pub(crate) instance_id: String,
    #[serde(rename = "dc:title", default)]
    pub(crate) title: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    signature: String,
    created_assertions: Vec<Hashed>,
    #[serde(default)]
    gathered_assertions: Vec<Hashed>,
    #[serde(default)]
    redacted_assertions: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Hashed {
    url: String,
    #[serde(default)]
    alg: Option<String>,
    hash: Fixed<32>,
}

impl<'a> Frame<'a> {
    /// Takes untrusted bytes apart and compares every assertion with the claim. Nothing is believed yet: the signature is not looked at.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let mut all = Cursor {
            all: bytes,
            at: 0,
            end: bytes.len(),
        };
        let mut store = all.superbox(b"c2pa", "c2pa")?;
        all.finish()?;
        let mut manifest = store.boxed(b"jumb")?;
        store.finish()?;
        let urn = manifest.description(b"c2ma", LABELLED)?;
        let mut assertions = manifest.superbox(b"c2as", "c2pa.assertions")?;
        let mut claim = manifest.superbox(b"c2cl", "c2pa.claim.v2")?;
        let mut signature = manifest.superbox(b"c2cs", "c2pa.signature")?;
        manifest.finish()?;
        let mut found = Vec::new();
        while !assertions.is_empty() {
            if found.len() == MAX_ASSERTIONS {
                return Err(assertions.error("too many assertions"));
            }
            let mut one = assertions.boxed(b"jumb")?;
            let hash = one.rest();
            let label = one.description(b"cbor", SALTED)?;
            if !ours(label) {
                return Err(assertions.error("an assertion that we do not write"));
            }
            let cbor = one.boxed(b"cbor")?.cbor()?;
            one.finish()?;
            found.push((label, cbor, hash));
        }
        let claim_cbor = claim.boxed(b"cbor")?.cbor()?;
        claim.finish()?;
        let mut cose = signature.boxed(b"cbor")?;
        signature.finish()?;
        let certificate = cose.sign1()?;
        let claim: Claim = decode(claim_cbor).map_err(FrameError::Claim)?;
        claim.fits(urn, &found)?;
        Ok(Self {
            urn,
            claim,
            certificate,
            assertions: found
                .into_iter()
                .map(|(label, cbor, _)| (label, cbor))
                .collect(),
        })
    }

    /// Digest of what a quote for one manifest binds: which bytes, which version of whom, what it was made from, and what is withheld.
    ///
    /// The other assertions hold hashes of salted boxes, which are not known before all of them are written.
    pub(crate) fn partial_claim(&self) -> Sha256 {
        let mut hash = sha2::Sha256::new_with_prefix(PARTIAL_CLAIM);
        for (label, cbor) in &self.assertions {
            let bound = *label == DATA_HASH || label.starts_with(LABEL_PREFIX);
            if bound && *label != EVIDENCE {
                for part in [label.as_bytes(), cbor] {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
            }
        }
        Sha256(hash.finalize().into())
    }

    /// The only assertion with this label.
    pub(crate) fn assertion<T: serde::de::DeserializeOwned>(
        &self,
        label: &str,
    ) -> Result<Option<T>, String> {
        match self.assertions.iter().find(|(l, _)| *l == label) {
            Some((_, cbor)) => decode(cbor)
                .map(Some)
                .map_err(|e| format!("assertion {label}: {e}")),
            None => Ok(None),
        }
    }
}

impl Claim {
    /// The claim must name this manifest, and exactly the assertions that are there, in their order.
    fn fits(&self, urn: &str, found: &[(&str, &[u8], &[u8])]) -> Result<(), FrameError> {
        let wrong = |what: &str| Err(FrameError::Claim(what.to_owned()));
        if self.signature != format!("self#jumbf=/c2pa/{urn}/c2pa.signature") {
            return wrong("it is that of another manifest");
        }
        if self.alg.as_deref() != Some("sha256") {
            return wrong("its hash algorithm is not sha256");
        }
        if !self.gathered_assertions.is_empty() || !self.redacted_assertions.is_empty() {
            return wrong("it has gathered or redacted assertions");
        }
        if self.created_assertions.len() != found.len() {
            return wrong("it names more or fewer assertions than there are");
        }
        for (said, (label, _, content)) in self.created_assertions.iter().zip(found) {
            if said.url != format!("self#jumbf=c2pa.assertions/{label}") {
                return wrong("it names other assertions than there are");
            }
            let sha256 = said.alg.as_deref().is_none_or(|a| a == "sha256");
            if !sha256 || <[u8; 32]>::from(sha2::Sha256::digest(content)) != said.hash.0 {
                return Err(FrameError::Hash(label.escape_debug().to_string()));
            }
        }
        let mut labels: Vec<_> = found.iter().map(|(label, ..)| label).collect();
        labels.sort_unstable();
        if labels.windows(2).any(|w| w[0] == w[1]) {
            return wrong("two assertions have one label");
        }
        Ok(())
    }
}

/// Whether we might write an assertion with this label, now or later. Others are not left to the SDK: it would decode them, and might take
/// one for another binding of the content.
fn ours(label: &str) -> bool {
    let ingredient = |l: &str| {
        let n = l
            .strip_prefix(INGREDIENT)
            .and_then(|l| l.strip_prefix("__"));
        n.is_some_and(|n| !n.is_empty() && n.len() < 3 && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let own = |l: &str| {
        l.strip_prefix(LABEL_PREFIX)
            .is_some_and(|l| l.starts_with('.'))
    };
    [ACTIONS, ASSET_TYPE, DATA_HASH, INGREDIENT].contains(&label) || ingredient(label) || own(label)
}

/// One CBOR value, all of the input.
fn decode<T: serde::de::DeserializeOwned>(mut cbor: &[u8]) -> Result<T, String> {
    let value = ciborium::de::from_reader_with_recursion_limit(&mut cbor, MAX_DEPTH)
        .map_err(|e| e.to_string())?;
    if cbor.is_empty() {
        Ok(value)
    } else {
        Err("bytes after its end".to_owned())
    }
}

/// A stretch of the manifest that is still to be read: the inside of one box.
struct Cursor<'a> {
    all: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    fn is_empty(&self) -> bool {
        self.at == self.end
    }

    fn rest(&self) -> &'a [u8] {
        // Within bounds: `at <= end <= all.len()` always holds.
        &self.all[self.at..self.end]
    }

    fn error(&self, what: &'static str) -> FrameError {
        FrameError::Shape { at: self.at, what }
    }

    fn finish(&self) -> Result<(), FrameError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.error("something that we do not write"))
        }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], FrameError> {
        let got = self
            .rest()
            .get(..n)
            .ok_or_else(|| self.error("cut short"))?;
        self.at += n;
        Ok(got)
    }

    fn expect(&mut self, bytes: &[u8], what: &'static str) -> Result<(), FrameError> {
        if self.rest().starts_with(bytes) {
            self.at += bytes.len();
            Ok(())
        } else {
            Err(self.error(what))
        }
    }

    /// The inside of the next box, which must have this type and a plain 32-bit length.
    fn boxed(&mut self, kind: &[u8; 4]) -> Result<Self, FrameError> {
        let Some((length, _)) = self.rest().split_first_chunk::<4>() else {
            return Err(self.error("cut short"));
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length < 8 || length > self.end - self.at {
            return Err(self.error("a box longer than what holds it, or no box"));
        }
        let inside = Self {
            all: self.all,
            at: self.at + 8,
            end: self.at + length,
        };
        self.at += 4;
        self.expect(kind, "a box of another type")?;
        self.at = inside.end;
        Ok(inside)
    }

    /// The content of the next superbox, which must have this type and label.
    fn superbox(&mut self, kind: &[u8; 4], label: &str) -> Result<Self, FrameError> {
        let mut inside = self.boxed(b"jumb")?;
        if inside.description(kind, LABELLED)? == label {
            Ok(inside)
        } else {
            Err(inside.error("a box with another label"))
        }
    }

    /// The label of the description box that is next.
    fn description(&mut self, kind: &[u8; 4], toggles: u8) -> Result<&'a str, FrameError> {
        let mut d = self.boxed(b"jumd")?;
        d.expect(kind, "a description of another type")?;
        d.expect(&TYPE_TAIL, "a description of another type")?;
        d.expect(&[toggles], "a description of another form")?;
        let label = d.rest().split(|b| *b == 0).next().unwrap_or_default();
        let label = std::str::from_utf8(label)
            .ok()
            .filter(|l| !l.is_empty())
            .ok_or_else(|| d.error("a label that is not text"))?;
        d.at += label.len();
        d.expect(&[0], "a label without an end")?;
        if toggles == SALTED {
            let mut salt = d.boxed(b"c2sh")?;
            salt.take(SALT)?;
            salt.finish()?;
        }
        d.finish()?;
        Ok(label)
    }

    /// What is left, which must be one CBOR item that any decoder may be given.
    fn cbor(&self) -> Result<&'a [u8], FrameError> {
        let all = self.rest();
        cbor::well_formed(all, MAX_DEPTH).map_err(|e| FrameError::Shape {
            at: self.at + e.at,
            what: e.what,
        })?;
        Ok(all)
    }

    /// A COSE_Sign1 with nothing in it that is not signed, but the signature; gives the certificate.
    fn sign1(&mut self) -> Result<&'a [u8], FrameError> {
        let start = self.at;
        self.expect(&SIGN1, "not a COSE_Sign1")?;
        let rest = self.rest();
        let mut reader = cbor::Reader::new(rest);
        let bad = |e: cbor::CborError| FrameError::Shape {
            at: start + SIGN1.len() + e.at,
            what: e.what,
        };
        let protected = reader.bytes().map_err(bad)?;
        reader.skip(&DETACHED).map_err(bad)?;
        reader.fixed::<64>().map_err(bad)?;
        reader.end().map_err(bad)?;
        let header = |_| self.error("a signature that is not by Ed25519 with one certificate");
        let mut protected = cbor::Reader::new(protected);
        protected.skip(&PROTECTED).map_err(header)?;
        let certificate = protected.bytes().map_err(header)?;
        protected.end().map_err(header)?;
        Ok(certificate)
    }
}

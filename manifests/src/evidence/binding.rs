//! What a quote binds: keys, log head, event log, configuration, beacon (FORMAT.md 7.1). Not the quote, and not whether to believe it.

use sha2::Digest as _;

use super::event::{EventHead, Rtmr};
pub use super::log::LogHead;
use crate::cbor::{CborError, Reader, Writer};
use crate::digest::Sha256;
use crate::id::InstanceId;

/// First word of a binding.
const FORMAT: &str = "atlas-binding-1";
/// What is hashed before a binding: no other protocol's report data can be ours.
const DOMAIN: &[u8] = b"atlas/tdx-binding/v1\0";
/// DER of an Ed25519 SubjectPublicKeyInfo (RFC 8410) up to the key itself.
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// No text in a binding is longer, in bytes.
pub const MAX_TEXT: usize = 1024;
/// No nonce is longer, in bytes: what a TDX report holds.
pub const MAX_NONCE: usize = 64;
/// No binding has more keys.
const MAX_KEYS: usize = 8;

/// The 64 bytes that a quote is asked for.
pub type ReportData = [u8; 64];

/// Why a quote was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The first of an instance: its certificate names this one.
    Instance,
    /// Later, at an interval: what the event log and the transparency log had grown to.
    Anchor,
    /// A verifier asked, with a nonce.
    Answer,
    /// For one manifest alone (`--explicit-quotes`).
    Manifest,
}

impl Purpose {
    const ALL: [Self; 4] = [Self::Instance, Self::Anchor, Self::Answer, Self::Manifest];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Anchor => "anchor",
            Self::Answer => "answer",
            Self::Manifest => "manifest",
        }
    }
}

/// What a key may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyUse {
    /// C2PA claims.
    Seal,
    /// Checkpoints of the transparency log.
    Log,
    /// What is sent to a public log: the texts of those checkpoints, once more (FORMAT.md 8.4).
    Anchor,
}

impl KeyUse {
    const ALL: [Self; 3] = [Self::Seal, Self::Log, Self::Anchor];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Log => "log",
            Self::Anchor => "anchor",
        }
    }

    /// What a key of this use is, as it is written: each use has one algorithm. Public logs take no Ed25519 where they are given digests.
    pub const fn algorithm(self) -> &'static str {
        match self {
            Self::Seal | Self::Log => "Ed25519",
            Self::Anchor => "ECDSA-P256",
        }
    }
}

/// One key by the SHA-256 of its SubjectPublicKeyInfo. Its use says of what algorithm it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BoundKey {
    /// What it may sign.
    pub purpose: KeyUse,
    /// SHA-256 of the key's SubjectPublicKeyInfo in DER.
    pub spki: Sha256,
}

impl BoundKey {
    /// Names an Ed25519 public key, which no key of the use `Anchor` is: that one says its digest itself.
    pub fn of(purpose: KeyUse, public: &[u8; 32]) -> Self {
        Self {
            purpose,
            spki: spki_digest(public),
        }
    }
}

/// SHA-256 of an Ed25519 key's SubjectPublicKeyInfo in DER.
pub fn spki_digest(public: &[u8; 32]) -> Sha256 {
    let mut hash = sha2::Sha256::new_with_prefix(SPKI);
    hash.update(public);
    Sha256(hash.finalize().into())
}

/// What shows that a quote is not older than something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beacon {
    /// Bytes that a verifier chose.
    Nonce(Vec<u8>),
    /// SHA-256 of a checkpoint that a witness cosigned.
    Checkpoint(Sha256),
}

/// Everything that one quote binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Why it was made.
    pub purpose: Purpose,
    /// The life of the daemon.
    pub instance: InstanceId,
    /// 0 for the instance's first, then counted up.
    pub seq: u64,
    /// RFC 3339, UTC: the daemon's clock, which the host can influence.
    pub made: String,
    /// The evidence that the event log goes on from; `None`: it begins at the reset of RTMR3.
    pub previous: Option<Sha256>,
    /// The instance's keys.
    pub keys: Vec<BoundKey>,
    /// The transparency log's head; `None` until there is a log.
    pub log: Option<LogHead>,
    /// The event log's head; `None` where RTMR3 cannot be extended (Linux before 6.16).
    pub events: Option<EventHead>,
    /// SHA-256 of the daemon's effective configuration.
    pub config: Sha256,
    /// SHA-256 of the daemon's executable.
    pub program: Sha256,
    /// What was booted, as the operator calls it.
    pub image: Option<String>,
    /// SHA-256 of GPU evidence, kept beside the quote.
    pub gpu: Option<Sha256>,
    /// A lower bound of its age.
    pub beacon: Option<Beacon>,
    /// Digest of the partial claim, for `Purpose::Manifest` (see `seal::partial_claim`).
    pub claim: Option<Sha256>,
}

/// Why bytes are no binding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a binding: {0}")]
pub struct BindingError(String);

impl From<CborError> for BindingError {
    fn from(e: CborError) -> Self {
        Self(e.to_string())
    }
}

impl Binding {
    /// Deterministic CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.array(15);
        w.text(FORMAT);
        w.text(self.purpose.as_str());
        w.bytes(&self.instance.0);
        w.uint(self.seq);
        w.text(&self.made);
        digest(&mut w, self.previous);
        w.array(self.keys.len());
        for key in &self.keys {
            w.array(3);
            w.text(key.purpose.as_str());
            w.text(key.purpose.algorithm());
            w.bytes(&key.spki.0);
        }
        LogHead::write(self.log.as_ref(), &mut w);
        match &self.events {
            Some(head) => {
                w.array(2);
                w.uint(head.count);
                w.bytes(&head.rtmr3.0);
            }
            None => w.null(),
        }
        w.bytes(&self.config.0);
        w.bytes(&self.program.0);
        match &self.image {
            Some(image) => w.text(image),
            None => w.null(),
        }
        digest(&mut w, self.gpu);
        match &self.beacon {
            Some(beacon) => {
                w.array(2);
                match beacon {
                    Beacon::Nonce(nonce) => {
                        w.text("nonce");
                        w.bytes(nonce);
                    }
                    Beacon::Checkpoint(hash) => {
                        w.text("checkpoint");
                        w.bytes(&hash.0);
                    }
                }
            }
            None => w.null(),
        }
        digest(&mut w, self.claim);
        w.0
    }

    /// Reads untrusted bytes.
    ///
    /// # Errors
    /// When they are not exactly one binding in its one spelling, within the bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, BindingError> {
        let mut r = Reader::new(bytes);
        r.array_of(15)?;
        let word = r.text()?;
        if word != FORMAT {
            return Err(BindingError(format!(
                "it begins with {:?}, this program knows {FORMAT:?}",
                word.chars().take(40).collect::<String>()
            )));
        }
        let word = r.text()?;
        let purpose = Purpose::ALL
            .into_iter()
            .find(|p| p.as_str() == word)
            .ok_or_else(|| r.error("an unknown purpose"))?;
        let instance = InstanceId(r.fixed()?);
        let seq = r.uint()?;
        let made = text(&mut r)?;
        let previous = read_digest(&mut r)?;
        let keys = keys(&mut r)?;
        let log = LogHead::read(&mut r)?;
        let events = if r.null() {
            None
        } else {
            r.array_of(2)?;
            Some(EventHead {
                count: r.uint()?,
                rtmr3: Rtmr(r.fixed()?),
            })
        };
        let config = Sha256(r.fixed()?);
        let program = Sha256(r.fixed()?);
        let image = if r.null() { None } else { Some(text(&mut r)?) };
        let gpu = read_digest(&mut r)?;
        let beacon = if r.null() {
            None
        } else {
            r.array_of(2)?;
            Some(match r.text()? {
                "nonce" => {
                    let nonce = r.bytes()?;
                    if nonce.is_empty() || nonce.len() > MAX_NONCE {
                        return Err(r.error("a nonce of a length that is not used").into());
                    }
                    Beacon::Nonce(nonce.to_vec())
                }
                "checkpoint" => Beacon::Checkpoint(Sha256(r.fixed()?)),
                _ => return Err(r.error("an unknown beacon").into()),
            })
        };
        let claim = read_digest(&mut r)?;
        r.end()?;
        let binding = Self {
            purpose,
            instance,
            seq,
            made,
            previous,
            keys,
            log,
            events,
            config,
            program,
            image,
            gpu,
            beacon,
            claim,
        };
        binding.consistent()?;
        Ok(binding)
    }

    fn consistent(&self) -> Result<(), BindingError> {
        let wrong = |what: &str| Err(BindingError(what.to_owned()));
        if (self.purpose == Purpose::Instance) != (self.seq == 0) {
            return wrong("the first one of an instance has number 0, and no other");
        }
        if (self.purpose == Purpose::Manifest) != self.claim.is_some() {
            return wrong("a claim is bound where one manifest is, and nowhere else");
        }
        if self.made.parse::<jiff::Timestamp>().is_err() {
            return wrong("its time is not one of RFC 3339");
        }
        Ok(())
    }

    /// What names the evidence: the SHA-256 of the binding. The quote is no name: its signature can be written in two ways, and clouds pad it.
    pub fn id(&self) -> Sha256 {
        Sha256::of(&self.encode())
    }

    /// What the quote must carry: SHA-512 over a word of our own and the binding.
    pub fn report_data(&self) -> ReportData {
        report_data(&self.encode())
    }

    /// The bound key for a use.
    pub fn key(&self, purpose: KeyUse) -> Option<Sha256> {
        self.keys
            .iter()
            .find(|k| k.purpose == purpose)
            .map(|k| k.spki)
    }
}

/// The same from the encoded binding.
pub fn report_data(binding: &[u8]) -> ReportData {
    let mut hash = sha2::Sha512::new_with_prefix(DOMAIN);
    hash.update(binding);
    hash.finalize().into()
}

/// At least one key, no use twice, and no key for two uses: what one signs must never be taken for the other.
fn keys(r: &mut Reader<'_>) -> Result<Vec<BoundKey>, BindingError> {
    let count = r.array()?;
    if count == 0 || count > MAX_KEYS {
        return Err(r.error("no keys, or too many").into());
    }
    let mut keys: Vec<BoundKey> = Vec::with_capacity(count);
    for _ in 0..count {
        r.array_of(3)?;
        let word = r.text()?;
        let purpose = KeyUse::ALL
            .into_iter()
            .find(|p| p.as_str() == word)
            .ok_or_else(|| r.error("an unknown use of a key"))?;
        if r.text()? != purpose.algorithm() {
            return Err(r
                .error("a key of another algorithm than its use has")
                .into());
        }
        let key = BoundKey {
            purpose,
            spki: Sha256(r.fixed()?),
        };
        if keys
            .iter()
            .any(|k| k.purpose == key.purpose || k.spki == key.spki)
        {
            return Err(r.error("one key or one use twice").into());
        }
        keys.push(key);
    }
    Ok(keys)
}

fn digest(w: &mut Writer, digest: Option<Sha256>) {
    match digest {
        Some(d) => w.bytes(&d.0),
        None => w.null(),
    }
}

fn read_digest(r: &mut Reader<'_>) -> Result<Option<Sha256>, CborError> {
    if r.null() {
        return Ok(None);
    }
    Ok(Some(Sha256(r.fixed()?)))
}

pub(super) fn text(r: &mut Reader<'_>) -> Result<String, CborError> {
    let text = r.text()?;
    if text.len() > MAX_TEXT {
        return Err(r.error("a text that is too long"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn binding() -> Binding {
        Binding {
            purpose: Purpose::Instance,
            instance: InstanceId([7; 16]),
            seq: 0,
            made: "2026-11-26T12:00:00Z".to_owned(),
            previous: None,
            keys: vec![
                BoundKey::of(KeyUse::Seal, &[1; 32]),
                BoundKey::of(KeyUse::Log, &[2; 32]),
            ],
            log: None,
            events: Some(EventHead {
                count: 1,
                rtmr3: Rtmr([3; 48]),
            }),
            config: Sha256([4; 32]),
            program: Sha256([5; 32]),
            image: None,
            gpu: None,
            beacon: None,
            claim: None,
        }
    }

    #[test]
    fn the_bytes_of_the_format_stay_what_they_are() {
        let b = binding();
        assert_eq!(Binding::decode(&b.encode()), Ok(b.clone()));
        assert_eq!(
            b.id().hex(),
            "650da87a382717ff0c5d36354a2ae0dbba5f2ab1980df7e3207a4b3b1b9d25c5"
        );
    }

    #[test]
    fn a_key_for_two_uses_and_a_use_with_two_keys_are_refused() {
        let mut b = binding();
        b.keys[1].spki = b.keys[0].spki;
        assert!(Binding::decode(&b.encode()).is_err());
        let mut b = binding();
        b.keys[1].purpose = KeyUse::Seal;
        assert!(Binding::decode(&b.encode()).is_err());
        b.keys.clear();
        assert!(Binding::decode(&b.encode()).is_err());
    }

    #[test]
    fn a_key_of_another_algorithm_than_its_use_has_is_refused() {
        let mut b = binding();
        b.keys.push(BoundKey::of(KeyUse::Anchor, &[6; 32]));
        let bytes = b.encode();
        assert_eq!(Binding::decode(&bytes), Ok(b));
        for (from, to) in [
            (&b"\x6aECDSA-P256"[..], &b"\x67Ed25519"[..]),
            (b"\x63log\x67Ed25519", b"\x63log\x6aECDSA-P256"),
            (b"\x66anchor", b"\x66Anchor"),
        ] {
            let at = bytes.windows(from.len()).rposition(|w| w == from).unwrap();
            let bad = [&bytes[..at], to, &bytes[at + from.len()..]].concat();
            assert!(Binding::decode(&bad).is_err());
        }
    }

    #[test]
    fn a_binding_of_another_purpose_does_not_pass_for_the_instances() {
        let mut b = binding();
        b.purpose = Purpose::Anchor;
        assert!(Binding::decode(&b.encode()).is_err());
        b.seq = 1;
        assert!(Binding::decode(&b.encode()).is_ok());
        b.claim = Some(Sha256([1; 32]));
        assert!(Binding::decode(&b.encode()).is_err());
    }

    proptest! {
        /// Each byte counts: what is read back differs, or is refused.
        #[test]
        fn no_byte_of_a_binding_can_be_changed_unseen(at: prop::sample::Index, flip in 1u8..) {
            let mut b = binding();
            b.image = Some("image".to_owned());
            b.beacon = Some(Beacon::Nonce(vec![9; 16]));
            let mut bytes = b.encode();
            let before = report_data(&bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert_ne!(report_data(&bytes), before);
            if let Ok(read) = Binding::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
                prop_assert_ne!(read, b);
            }
        }

        #[test]
        fn no_bytes_panic_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(read) = Binding::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }
    }
}

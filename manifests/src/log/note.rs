//! Signed notes and verifier keys (C2SP signed-note v1): a text with signatures of named keys. Not what the text means.

use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;

use crate::bytes::{base64, unbase64};
use crate::digest::unhex;

/// No note is longer, in bytes.
pub const MAX_NOTE: usize = 64 << 10;
/// No note has more signatures. Verifiers must accept sixteen.
pub const MAX_SIGNATURES: usize = 64;
/// What begins a signature's line: em dash and space.
const DASH: &str = "\u{2014} ";

/// Why bytes are no note, no signature or no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a signed note: {0}")]
pub struct NoteError(pub &'static str);

/// A text and its signatures, none of which is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What is signed; ends in a newline.
    pub text: String,
    /// In their order.
    pub signatures: Vec<Signature>,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The key's name.
    pub name: String,
    /// The key's id, a hint: anybody can make another key of the same id.
    pub id: u32,
    /// What the key made.
    pub bytes: Vec<u8>,
}

/// What a key's signatures are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Ed25519 over the text.
    Ed25519,
    /// A witness': Ed25519 over the text and a time (C2SP tlog-cosignature, cosignature/v1).
    Cosignature,
}

impl KeyKind {
    const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::Cosignature => 4,
        }
    }
}

/// A public key with its name: what C2SP calls a vkey.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    public: [u8; 32],
}

impl VerifierKey {
    /// Names a key.
    ///
    /// # Errors
    /// When the name could not stand in a signature line.
    pub fn new(name: &str, kind: KeyKind, public: [u8; 32]) -> Result<Self, NoteError> {
        if !is_name(name) {
            return Err(NoteError("a key's name is empty, or has spaces or a plus"));
        }
        Ok(Self {
            name: name.to_owned(),
            kind,
            public,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its signatures are.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key itself.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The first four bytes of a hash over name, kind and key.
    pub fn id(&self) -> u32 {
        let mut hash = sha2::Sha256::new_with_prefix(self.name.as_bytes());
        hash.update([b'\n', self.kind.byte()]);
        hash.update(self.public);
        let digest: [u8; 32] = hash.finalize().into();
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
    }

    /// The line that this key's owner makes, from the bytes that the key signed with.
    pub fn line(&self, bytes: Vec<u8>) -> Signature {
        Signature {
            name: self.name.clone(),
            id: self.id(),
            bytes,
        }
    }

    /// Whether a line says that it is this key's.
    pub fn made(&self, line: &Signature) -> bool {
        line.name == self.name && line.id == self.id()
    }

    /// Whether the key signed this message with these bytes. Strict: neither keys of small order nor other spellings of a signature pass.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(bytes) = <&[u8; 64]>::try_from(signature) else {
            return false;
        };
        let signature = ed25519_dalek::Signature::from_bytes(bytes);
        ed25519_dalek::VerifyingKey::from_bytes(&self.public)
            .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let material = [&[self.kind.byte()][..], &self.public].concat();
        write!(f, "{}+{:08x}+{}", self.name, self.id(), base64(&material))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let wrong = NoteError("a verifier key is NAME+ID+KEY, an Ed25519 key of kind 1 or 4");
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong);
        };
        let material = unbase64(key).ok_or(wrong.clone())?;
        let kind = match material.first() {
            Some(1) => KeyKind::Ed25519,
            Some(4) => KeyKind::Cosignature,
            _ => return Err(wrong),
        };
        let public = material[1..].try_into().map_err(|_| wrong.clone())?;
        let key = Self::new(name, kind, public)?;
        if unhex(id).is_none_or(|id| id != key.id().to_be_bytes()) {
            return Err(NoteError("a verifier key's id is not that of its key"));
        }
        Ok(key)
    }
}

/// What one key says of a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// It did not sign.
    No,
    /// It did.
    Yes,
    /// A line says that it did, and it did not: the whole note is not to be believed.
    Forged,
}

impl Note {
    /// A text, not signed yet.
    pub fn of(text: String) -> Self {
        Self {
            text,
            signatures: Vec::new(),
        }
    }

    /// Reads untrusted bytes.
    ///
    /// # Errors
    /// When they are not exactly one note, or a longer one than is read.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE {
            return Err(NoteError("it is too long"));
        }
        let all = std::str::from_utf8(bytes).map_err(|_| NoteError("it is not UTF-8"))?;
        if all.bytes().any(|b| b < b' ' && b != b'\n') {
            return Err(NoteError("it has control characters"));
        }
        let at = all
            .rfind("\n\n")
            .ok_or(NoteError("no empty line stands before signatures"))?;
        let (text, lines) = (&all[..=at], &all[at + 2..]);
        if text == "\n" {
            return Err(NoteError("it has no text"));
        }
        Ok(Self {
            text: text.to_owned(),
            signatures: Signature::parse_all(lines)?,
        })
    }

    /// As it is stored and sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = format!("{}\n", self.text);
        for signature in &self.signatures {
            out.push_str(&signature.to_string());
        }
        out.into_bytes()
    }

    /// What a key of kind Ed25519 says of it. A cosignature is read by `cosignature`.
    pub fn signed_by(&self, key: &VerifierKey) -> Signed {
        let mut said = Signed::No;
        for line in self.signatures.iter().filter(|s| key.made(s)) {
            if key.kind != KeyKind::Ed25519 || !key.verify(self.text.as_bytes(), &line.bytes) {
                return Signed::Forged;
            }
            said = Signed::Yes;
        }
        said
    }

    /// Adds a line, unless it stands there already.
    pub fn add(&mut self, line: Signature) {
        if !self.signatures.contains(&line) {
            self.signatures.push(line);
        }
    }
}

impl Signature {
    /// Reads signature lines, as a note ends in and a witness answers with.
    ///
    /// # Errors
    /// When there is none, one is malformed, or there are too many.
    pub fn parse_all(lines: &str) -> Result<Vec<Self>, NoteError> {
        let lines = lines
            .strip_suffix('\n')
            .ok_or(NoteError("its last line has no end"))?;
        let found = lines
            .split('\n')
            .take(MAX_SIGNATURES + 1)
            .map(Self::parse)
            .collect::<Result<Vec<_>, _>>()?;
        if found.len() > MAX_SIGNATURES {
            return Err(NoteError("it has too many signatures"));
        }
        Ok(found)
    }

    fn parse(line: &str) -> Result<Self, NoteError> {
        let wrong = NoteError("a signature's line is not as it should be");
        let rest = line.strip_prefix(DASH).ok_or(wrong.clone())?;
        let (name, value) = rest.split_once(' ').ok_or(wrong.clone())?;
        let value = unbase64(value).ok_or(wrong.clone())?;
        let (id, bytes) = value.split_first_chunk::<4>().ok_or(wrong.clone())?;
        if !is_name(name) || bytes.is_empty() {
            return Err(wrong);
        }
        Ok(Self {
            name: name.to_owned(),
            id: u32::from_be_bytes(*id),
            bytes: bytes.to_vec(),
        })
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = [&self.id.to_be_bytes()[..], &self.bytes].concat();
        writeln!(f, "{DASH}{} {}", self.name, base64(&value))
    }
}

/// Whether a key may have this name.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c == '+' || c.is_control())
}

#[cfg(test)]
#[path = "note_tests.rs"]
mod tests;

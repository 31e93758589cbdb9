//! Paths as bytes that survive JSON: a file name need not be UTF-8. Not a path library.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path, or any argument a person gave, byte for byte. Serialised as text when it is UTF-8, else as `{"b64": "..."}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathBytes(pub Vec<u8>);

impl PathBytes {
    /// As a path of this system.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The last component, or the whole when there is none.
    pub fn base_name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or(&self.0)
    }

    /// For people: invalid UTF-8 replaced. Escape it before a terminal sees it.
    pub fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// Standard base64 of the bytes when they are not UTF-8 (CONTRACTS 1, `path_b64`).
    pub fn b64_if_needed(&self) -> Option<String> {
        std::str::from_utf8(&self.0).err().map(|_| base64(&self.0))
    }
}

impl From<&Path> for PathBytes {
    fn from(p: &Path) -> Self {
        Self(p.as_os_str().as_bytes().to_vec())
    }
}

impl From<&OsStr> for PathBytes {
    fn from(p: &OsStr) -> Self {
        Self(p.as_bytes().to_vec())
    }
}

impl From<PathBuf> for PathBytes {
    fn from(p: PathBuf) -> Self {
        Self::from(p.as_path())
    }
}

impl From<&str> for PathBytes {
    fn from(p: &str) -> Self {
        Self(p.as_bytes().to_vec())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Repr {
    Text(String),
    Bytes { b64: String },
}

impl Serialize for PathBytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => s.serialize_str(text),
            Err(_) => Repr::Bytes {
                b64: base64(&self.0),
            }
            .serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for PathBytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match Repr::deserialize(d)? {
            Repr::Text(text) => Ok(Self(text.into_bytes())),
            Repr::Bytes { b64 } => unbase64(&b64)
                .map(Self)
                .ok_or_else(|| serde::de::Error::custom("not base64")),
        }
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Standard base64 with padding (RFC 4648 section 4).
pub fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            if i <= chunk.len() {
                out.push(char::from(ALPHABET[(word >> (18 - 6 * i) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// The bytes of standard base64 with padding; `None` for anything else.
pub fn unbase64(text: &str) -> Option<Vec<u8>> {
    let (quads, rest) = text.as_bytes().as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(quads.len() * 3);
    for (i, quad) in quads.iter().enumerate() {
        let pad = quad.iter().rev().take_while(|b| **b == b'=').count();
        if pad > 2 || (pad > 0 && i + 1 != quads.len()) {
            return None;
        }
        let mut word = 0u32;
        for b in &quad[..4 - pad] {
            word = word << 6 | u32::try_from(ALPHABET.iter().position(|a| a == b)?).ok()?;
        }
        word <<= 6 * pad;
        let bytes = word.to_be_bytes();
        if bytes[4 - pad..].iter().any(|b| *b != 0) {
            return None;
        }
        out.extend_from_slice(&bytes[1..4 - pad]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_utf8_survive_json() {
        for name in [&b"plain"[..], b"new\nline", b"\xff\xfe", b"", b"a/\x80b"] {
            let p = PathBytes(name.to_vec());
            let json = serde_json::to_string(&p).unwrap();
            assert_eq!(
                serde_json::from_str::<PathBytes>(&json).unwrap(),
                p,
                "{json}"
            );
        }
    }

    #[test]
    fn base64_has_one_spelling() {
        assert_eq!(base64(b"any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw==");
        assert_eq!(
            unbase64("YW55IGNhcm5hbCBwbGVhcw==").unwrap(),
            b"any carnal pleas"
        );
        for bad in ["YQ", "YQ=", "Y===", "YR==", "YQ==YQ==", "Y Q="] {
            assert_eq!(unbase64(bad), None, "{bad}");
        }
    }
}

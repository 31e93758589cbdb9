//! Content digests and how they are written. Not how they are computed at speed: see `atlas_fs::digest`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a digest could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a digest: {0:?} (expected `blake3:` or `sha256:` and 64 lowercase hex digits)")]
pub struct ParseDigestError(pub String);

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The algorithm's name, as it stands before the colon.
            pub const ALG: &'static str = $prefix;

            /// Sixty-four lowercase hex digits, without the prefix.
            pub fn hex(&self) -> String {
                hex(&self.0)
            }

            /// Reads 64 lowercase hex digits, without the prefix.
            pub fn from_hex(text: &str) -> Result<Self, ParseDigestError> {
                unhex32(text).map(Self).ok_or_else(|| ParseDigestError(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{}", Self::ALG, self.hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix(concat!($prefix, ":"))
                    .and_then(unhex32)
                    .map(Self)
                    .ok_or_else(|| ParseDigestError(text.to_owned()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

digest!(
    /// BLAKE3, 256 bits: the identity of content inside Atlas.
    Blake3, "blake3"
);
digest!(
    /// SHA-256: C2PA's hard binding, and what the rest of the world knows content by.
    Sha256, "sha256"
);

impl Sha256 {
    /// The digest of bytes at hand.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl Blake3 {
    /// The digest of bytes at hand.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// The two digests and the length of one content: they always name the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digests {
    /// Identity inside Atlas.
    pub blake3: Blake3,
    /// C2PA hard binding.
    pub sha256: Sha256,
    /// Length in bytes.
    pub size: u64,
}

impl Digests {
    /// Both digests of bytes at hand.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            blake3: Blake3::of(bytes),
            sha256: Sha256::of(bytes),
            size: bytes.len() as u64,
        }
    }
}

/// What a person types to name content: a whole digest or an unambiguous hex prefix of at least 8 digits, of either algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestPrefix {
    /// `Some("blake3")` or `Some("sha256")` when the person said which, else either.
    pub alg: Option<&'static str>,
    /// 8 to 64 lowercase hex digits.
    pub hex: String,
}

impl DigestPrefix {
    /// True when `d` is one of the digests that this prefix names.
    pub fn matches(&self, d: &Digests) -> bool {
        let on = |alg: &str, hex: String| {
            self.alg.is_none_or(|a| a == alg) && hex.starts_with(&self.hex)
        };
        on(Blake3::ALG, d.blake3.hex()) || on(Sha256::ALG, d.sha256.hex())
    }
}

impl FromStr for DigestPrefix {
    type Err = ParseDigestError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (alg, rest) = match text.split_once(':') {
            Some(("blake3", rest)) => (Some(Blake3::ALG), rest),
            Some(("sha256", rest)) => (Some(Sha256::ALG), rest),
            Some(_) => return Err(ParseDigestError(text.to_owned())),
            None => (None, text),
        };
        let ok = (8..=64).contains(&rest.len())
            && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if ok {
            Ok(Self {
                alg,
                hex: rest.to_owned(),
            })
        } else {
            Err(ParseDigestError(text.to_owned()))
        }
    }
}

/// Lowercase hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        out.push(char::from(DIGITS[usize::from(b >> 4)]));
        out.push(char::from(DIGITS[usize::from(b & 15)]));
    }
    out
}

/// The bytes of lowercase hex; `None` for anything else.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[h, l]| Some(digit(*h)? << 4 | digit(*l)?))
        .collect()
}

fn unhex32(text: &str) -> Option<[u8; 32]> {
    unhex(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_as_it_was_written() {
        let d = Digests::of(b"hello");
        assert_eq!(d.blake3.to_string().parse(), Ok(d.blake3));
        assert_eq!(d.sha256.to_string().parse(), Ok(d.sha256));
        assert_eq!(
            d.sha256.hex(),
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        );
    }

    #[test]
    fn uppercase_short_and_foreign_digests_are_refused() {
        for bad in [
            "",
            "blake3:",
            "sha256:00",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "BLAKE3:00",
        ] {
            assert!(bad.parse::<Blake3>().is_err(), "{bad}");
            assert!(bad.parse::<Sha256>().is_err(), "{bad}");
        }
        assert!(
            format!("sha256:{}", "A".repeat(64))
                .parse::<Sha256>()
                .is_err()
        );
    }

    #[test]
    fn a_prefix_names_content_by_either_algorithm_unless_told() {
        let d = Digests::of(b"hello");
        let p: DigestPrefix = "2cf24dba".parse().unwrap();
        assert!(p.matches(&d));
        let q: DigestPrefix = "blake3:2cf24dba".parse().unwrap();
        assert!(!q.matches(&d));
        assert!(
            "2cf24db".parse::<DigestPrefix>().is_err(),
            "seven digits are too few"
        );
    }
}

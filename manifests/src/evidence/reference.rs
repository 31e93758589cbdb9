//! Reference values: measurements and contents that somebody vouches for (RATS; the paper's golden values). Says whether a quote or a content is
//! among them; not who signed them (`signed`), where they lie (`pinned`), or what follows from it.

mod pinned;
mod signed;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::event::Rtmr;
use super::quote::Quote;
use crate::digest::{Blake3, Digests, Sha256, hex, unhex};

pub use pinned::{Removed, SYSTEM_DIR, add, default_dirs, remove, user_dir};
pub use signed::{PAYLOAD_TYPE, ReferenceError, ReferenceSigner, read, signer};
pub(super) use signed::{read_limited, unfit};

/// The registers that must all be given for a verdict of affirming.
const MANDATORY: [&str; 5] = ["mrtd", "rtmr0", "rtmr1", "rtmr2", "mrconfigid"];

/// What somebody vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// 1.
    pub v: u32,
    /// What it is called: an image and its version, a data set.
    pub name: String,
    /// RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<String>,
    /// Sets of registers, each good by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measurements: Vec<Measurements>,
    /// Contents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
}

/// Registers of one booted image. Those that are absent are not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "Intel's names")]
pub struct Measurements {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrtd: Option<Register>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmr0: Option<Register>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmr1: Option<Register>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmr2: Option<Register>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrconfigid: Option<Register>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrowner: Option<Register>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrownerconfig: Option<Register>,
}

/// A register in 96 lowercase hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(pub Rtmr);

impl Serialize for Register {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex(&self.0.0))
    }
}

impl<'de> Deserialize<'de> for Register {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let bytes = unhex(&text).and_then(|b| b.try_into().ok());
        bytes
            .map(|b| Self(Rtmr(b)))
            .ok_or_else(|| serde::de::Error::custom("a register is 96 lowercase hex digits"))
    }
}

impl Measurements {
    /// What a quote says.
    pub fn of(quote: &Quote<'_>) -> Self {
        let register = |r| Some(Register(r));
        Self {
            mrtd: register(quote.mrtd()),
            rtmr0: register(quote.rtmr(0)),
            rtmr1: register(quote.rtmr(1)),
            rtmr2: register(quote.rtmr(2)),
            mrconfigid: register(quote.mrconfigid()),
            mrowner: register(quote.mrowner()),
            mrownerconfig: register(quote.mrownerconfig()),
        }
    }

    /// By name, in order.
    pub fn registers(&self) -> [(&'static str, Option<Rtmr>); 7] {
        [
            ("mrtd", self.mrtd),
            ("rtmr0", self.rtmr0),
            ("rtmr1", self.rtmr1),
            ("rtmr2", self.rtmr2),
            ("mrconfigid", self.mrconfigid),
            ("mrowner", self.mrowner),
            ("mrownerconfig", self.mrownerconfig),
        ]
        .map(|(name, register)| (name, register.map(|r| r.0)))
    }

    /// Mandatory registers that are not given.
    pub fn missing(&self) -> Vec<&'static str> {
        let absent = |(name, register): &(&'static str, Option<Rtmr>)| {
            register.is_none() && MANDATORY.contains(name)
        };
        self.registers()
            .into_iter()
            .filter(absent)
            .map(|(name, _)| name)
            .collect()
    }

    /// Registers that are given and differ.
    fn differing(&self, other: &Self) -> Vec<&'static str> {
        let mine = self.registers().into_iter().zip(other.registers());
        mine.filter(|((_, a), (_, b))| a.is_some() && a != b)
            .map(|((name, _), _)| name)
            .collect()
    }
}

/// One content, by either digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `sha256:...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// `blake3:...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Blake3>,
}

impl Artifact {
    fn is(&self, content: &Digests) -> bool {
        let said = self.sha256.is_some() || self.blake3.is_some();
        said && self.sha256.is_none_or(|d| d == content.sha256)
            && self.blake3.is_none_or(|d| d == content.blake3)
    }
}
impl Document {
    /// Reads a document that nobody signed.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let document: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if document.v != 1 {
            return Err(format!(
                "written in version {} of the format; use a newer atlasctl",
                document.v
            ));
        }
        if document.measurements.is_empty() && document.artifacts.is_empty() {
            return Err("it vouches for nothing: give measurements or artifacts".to_owned());
        }
        let says_nothing = |m: &Measurements| m.missing().len() == MANDATORY.len();
        if document.measurements.iter().any(says_nothing) {
            return Err(
                "measurements without mrtd, rtmr0, rtmr1, rtmr2 and mrconfigid would fit every image"
                    .to_owned(),
            );
        }
        if document
            .artifacts
            .iter()
            .any(|a| a.sha256.is_none() && a.blake3.is_none())
        {
            return Err("an artifact without a digest would fit every file".to_owned());
        }
        Ok(document)
    }
}

/// A document with what is known of who vouches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// What is vouched for.
    pub document: Document,
    /// SHA-256 of the file's bytes: what it is known by.
    pub fingerprint: Sha256,
    /// Who signed it; `None`: nobody, it was pinned as it is.
    pub signer: Option<Sha256>,
    /// Where it was read.
    pub file: PathBuf,
}

/// All reference values that a verdict may rest on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// One for each file.
    pub documents: Vec<Vouched>,
}

/// How a quote's registers compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// There are no measurements to compare with.
    Nothing,
    /// All that is mandatory is given and equal.
    Full(String),
    /// What is given is equal, and these are not given.
    Partial(String, Vec<&'static str>),
    /// The nearest one, and what differs from it.
    Differs(String, Vec<&'static str>),
}
impl References {
    /// How these registers compare with what is vouched for.
    pub fn compare(&self, found: &Measurements) -> Match {
        let mut nearest: Option<(String, Vec<&'static str>)> = None;
        let mut partial = None;
        for vouched in &self.documents {
            for wanted in &vouched.document.measurements {
                let name = || vouched.document.name.clone();
                let differing = wanted.differing(found);
                if differing.is_empty() {
                    let missing = wanted.missing();
                    if missing.is_empty() {
                        return Match::Full(name());
                    }
                    partial.get_or_insert_with(|| Match::Partial(name(), missing));
                } else if nearest
                    .as_ref()
                    .is_none_or(|(_, d)| differing.len() < d.len())
                {
                    nearest = Some((name(), differing));
                }
            }
        }
        partial
            .or_else(|| nearest.map(|(name, differing)| Match::Differs(name, differing)))
            .unwrap_or(Match::Nothing)
    }

    /// Who vouches for this content: the document's name, and the content's own.
    pub fn artifact(&self, content: &Digests) -> Option<String> {
        self.documents.iter().find_map(|v| {
            let artifact = v.document.artifacts.iter().find(|a| a.is(content))?;
            Some(match &artifact.name {
                Some(name) => format!("{} ({name})", v.document.name),
                None => v.document.name.clone(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(byte: u8) -> Option<Register> {
        Some(Register(Rtmr([byte; 48])))
    }

    pub(super) fn found() -> Measurements {
        Measurements {
            mrtd: register(1),
            rtmr0: register(2),
            rtmr1: register(3),
            rtmr2: register(4),
            mrconfigid: register(5),
            mrowner: register(6),
            mrownerconfig: register(7),
        }
    }

    pub(super) fn references(measurements: Vec<Measurements>) -> References {
        References {
            documents: vec![Vouched {
                document: Document {
                    v: 1,
                    name: "image".to_owned(),
                    issued: None,
                    measurements,
                    artifacts: Vec::new(),
                },
                fingerprint: Sha256([0; 32]),
                signer: None,
                file: PathBuf::new(),
            }],
        }
    }

    #[test]
    fn only_all_mandatory_registers_are_a_full_match_and_one_that_differs_is_named() {
        let full = Measurements {
            mrowner: None,
            mrownerconfig: None,
            ..found()
        };
        let name = || "image".to_owned();
        assert_eq!(References::default().compare(&found()), Match::Nothing);
        assert_eq!(
            references(vec![full.clone()]).compare(&found()),
            Match::Full(name())
        );
        for (at, (register, _)) in full.registers().into_iter().enumerate().take(5) {
            let mut json = serde_json::to_value(&full).unwrap();
            json.as_object_mut().unwrap().remove(register);
            let partial: Measurements = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(
                references(vec![partial]).compare(&found()),
                Match::Partial(name(), vec![register]),
                "{at}"
            );
            json[register] = "ff".repeat(48).into();
            let other: Measurements = serde_json::from_value(json).unwrap();
            assert_eq!(
                references(vec![other]).compare(&found()),
                Match::Differs(name(), vec![register])
            );
        }
    }

    #[test]
    fn values_that_would_fit_everything_are_refused() {
        for bad in [
            r#"{"v":1,"name":"x"}"#,
            r#"{"v":1,"name":"x","measurements":[{}]}"#,
            r#"{"v":1,"name":"x","artifacts":[{"name":"y"}]}"#,
            r#"{"v":2,"name":"x","measurements":[{"mrtd":"00"}]}"#,
            r#"{"v":1,"name":"x","measurements":[{"mrdt":"00"}]}"#,
        ] {
            assert!(Document::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

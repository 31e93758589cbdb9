//! Withheld fields: salted commitments that stand in the manifest, and the private record that opens them. Not who may read the record.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Digest as _;

use crate::bytes::{base64, unbase64};
use crate::digest::Sha256;
use crate::rows::{RunRow, VersionRow};
use crate::statement::{Statement, Withheld};

/// Separates this hash from every other use of SHA-256.
const DOMAIN: &[u8] = b"atlas/withheld/v1\0";
/// The record's version.
const VERSION: u32 = 1;
/// No record that is read is longer, in bytes.
pub const MAX_RECORD_BYTES: usize = 64 << 20;

/// Why a private record could not be read, or does not open a manifest.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// Not a record.
    #[error("private record: {0}")]
    Malformed(String),
    /// The record has no such field.
    #[error("the private record holds no field {0:?}")]
    Absent(String),
    /// The manifest commits to no such field.
    #[error("the manifest commits to no field {0:?}")]
    Uncommitted(String),
    /// Value and salt are not those that the manifest commits to.
    #[error("field {0:?} of the private record is not what the manifest commits to")]
    Mismatch(String),
    /// The kernel gave no random bytes.
    #[error("no random bytes for a salt: {0}")]
    NoRandom(std::io::Error),
}

/// Sixteen random bytes: without them, a value that can be guessed could be confirmed from its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; 16]);

impl Salt {
    /// A fresh salt from the kernel.
    pub fn random() -> Result<Self, PrivateError> {
        random().map(Self).map_err(PrivateError::NoRandom)
    }
}

impl Serialize for Salt {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&base64(&self.0))
    }
}

impl<'de> Deserialize<'de> for Salt {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        unbase64(&text)
            .and_then(|b| b.try_into().ok())
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a salt is 16 bytes in base64"))
    }
}

/// A withheld value and the salt that hides it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// Sixteen random bytes.
    pub salt: Salt,
    /// The value.
    pub value: Value,
}

/// Everything that a manifest commits to without saying it. As confidential as the paths and arguments in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrivateRecord {
    /// SHA-256 of the manifest that this record opens.
    pub manifest: Sha256,
    /// The withheld fields, by name.
    pub fields: BTreeMap<String, Opening>,
    /// The index's row for the version, from which an index can be rebuilt.
    pub row: VersionRow,
    /// The index's row for its run.
    pub run: Option<RunRow>,
}

#[derive(Serialize, Deserialize)]
struct Envelope<R> {
    v: u32,
    record: R,
}

impl PrivateRecord {
    /// JSON, as FORMAT.md says.
    pub fn encode(&self) -> Vec<u8> {
        // Cannot fail: every map key is a string, and nothing is written but to memory.
        serde_json::to_vec(&Envelope {
            v: VERSION,
            record: self,
        })
        .unwrap_or_default()
    }

    /// Reads untrusted bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, PrivateError> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(PrivateError::Malformed(format!(
                "longer than {MAX_RECORD_BYTES} bytes"
            )));
        }
        let malformed = |e: serde_json::Error| PrivateError::Malformed(e.to_string());
        // The version first: a later record may have a shape that we cannot read.
        let v = serde_json::from_slice::<Envelope<IgnoredAny>>(bytes)
            .map_err(malformed)?
            .v;
        if v != VERSION {
            return Err(PrivateError::Malformed(format!(
                "version {v} is unknown; use a newer atlasctl"
            )));
        }
        serde_json::from_slice::<Envelope<Self>>(bytes)
            .map(|e| e.record)
            .map_err(malformed)
    }

    /// The field's value, after checking it against what the manifest commits to.
    pub fn open(&self, statement: &Statement, field: &str) -> Result<&Value, PrivateError> {
        let opening = self
            .fields
            .get(field)
            .ok_or_else(|| PrivateError::Absent(field.to_owned()))?;
        check(&statement.withheld, field, opening).map(|()| &opening.value)
    }
}

/// Checks one disclosed field against a manifest's commitments.
pub fn check(withheld: &[Withheld], field: &str, opening: &Opening) -> Result<(), PrivateError> {
    let said = withheld
        .iter()
        .find(|w| w.field == field)
        .ok_or_else(|| PrivateError::Uncommitted(field.to_owned()))?;
    if commitment(field, &opening.salt, &opening.value) == said.sha256 {
        Ok(())
    } else {
        Err(PrivateError::Mismatch(field.to_owned()))
    }
}

/// Salts values and commits to them: what goes into the statement, and what goes into the record.
pub fn withhold(
    values: impl IntoIterator<Item = (String, Value)>,
) -> Result<(Vec<Withheld>, BTreeMap<String, Opening>), PrivateError> {
    let mut fields = BTreeMap::new();
    for (field, value) in values {
        let salt = Salt::random()?;
        fields.insert(field, Opening { salt, value });
    }
    let withheld = fields
        .iter()
        .map(|(field, o)| Withheld {
            field: field.clone(),
            sha256: commitment(field, &o.salt, &o.value),
        })
        .collect();
    Ok((withheld, fields))
}

/// SHA-256 over `atlas/withheld/v1\0`, then field, salt and canonical JSON, each after its length as eight bytes, big end first.
pub fn commitment(field: &str, salt: &Salt, value: &Value) -> Sha256 {
    let mut json = String::new();
    canonical(value, &mut json);
    let mut h = sha2::Sha256::new_with_prefix(DOMAIN);
    for part in [field.as_bytes(), &salt.0, json.as_bytes()] {
        h.update((part.len() as u64).to_be_bytes());
        h.update(part);
    }
    Sha256(h.finalize().into())
}

/// JSON without spaces, object keys in byte order, whatever order this build's maps have.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            out.push('{');
            for (i, (key, item)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(item, out);
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// `N` random bytes from the kernel.
///
/// # Errors
/// When the kernel has none.
pub fn random<const N: usize>() -> Result<[u8; N], std::io::Error> {
    let mut out = [0; N];
    getrandom::fill(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Blake3;
    use crate::id::NodeRef;
    use crate::rows::FileIdentity;
    use crate::vocabulary::State;
    use proptest::prelude::*;
    use serde_json::json;

    fn row() -> VersionRow {
        VersionRow {
            node: NodeRef::Content(Blake3([1; 32])),
            path: Some("secret/dir/model.pt".into()),
            title: None,
            gone: false,
            digests: None,
            state: State::Sealed,
            reason: None,
            closed: None,
            status: None,
            quiet: None,
            cut: None,
            run: None,
            process: 0,
            tree: 0,
            inputs: 0,
            parent: None,
            copied: Vec::new(),
            ephemeral: false,
            manifest: None,
            input_set: None,
            members: None,
            media_type: None,
            ended_at: None,
            sealed_at: None,
            identity: Some(FileIdentity {
                dev: 1,
                ino: 2,
                born: -1,
                size: 3,
                mtime: 1_795_000_000_123_456_789,
                ctime: i128::from(i64::MAX),
            }),
        }
    }

    /// The worked example of FORMAT.md.
    #[test]
    fn the_commitment_of_format_md_is_true() {
        let salt = Salt(*b"0123456789abcdef");
        let said = commitment("cwd", &salt, &json!("/home/ada"));
        assert!(
            include_str!("../FORMAT.md").contains(&said.hex()),
            "{}",
            said.hex()
        );
    }

    #[test]
    fn a_record_reads_back_and_another_version_is_refused() {
        let (_, fields) = withhold([("argv".to_owned(), json!(["python", "train.py"]))]).unwrap();
        let record = PrivateRecord {
            manifest: Sha256([2; 32]),
            fields,
            row: row(),
            run: None,
        };
        let bytes = record.encode();
        assert_eq!(PrivateRecord::decode(&bytes).unwrap(), record);
        let later = String::from_utf8(bytes)
            .unwrap()
            .replace("\"v\":1", "\"v\":2");
        let error = PrivateRecord::decode(later.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains("newer atlasctl"), "{error}");
    }

    #[test]
    fn equal_values_are_not_recognised_by_their_commitments() {
        let (a, _) = withhold([("user".to_owned(), json!("ada"))]).unwrap();
        let (b, _) = withhold([("user".to_owned(), json!("ada"))]).unwrap();
        assert_ne!(a, b);
    }

    #[test]
    fn the_order_of_keys_does_not_change_a_commitment() {
        let salt = Salt([0; 16]);
        let a: Value =
            serde_json::from_str(r#"{"b":[1,{"y":null,"x":"\u00e9"}],"a":true}"#).unwrap();
        let b: Value =
            serde_json::from_str("{\"a\":true,\"b\":[1,{\"x\":\"\u{e9}\",\"y\":null}]}").unwrap();
        assert_eq!(commitment("f", &salt, &a), commitment("f", &salt, &b));
    }

    proptest! {
        #[test]
        fn only_the_committed_field_salt_and_value_open(field in "[a-z]{1,8}", value in "\\PC{0,20}", other in "\\PC{0,20}") {
            prop_assume!(value != other);
            let (withheld, mut fields) = withhold([(field.clone(), json!(value))]).unwrap();
            prop_assert!(check(&withheld, &field, &fields[&field]).is_ok());
            let opening = fields.get_mut(&field).unwrap();
            opening.value = json!(other);
            prop_assert!(matches!(check(&withheld, &field, opening), Err(PrivateError::Mismatch(_))));
            opening.value = json!(value);
            opening.salt.0[0] ^= 1;
            prop_assert!(check(&withheld, &field, opening).is_err());
            prop_assert!(matches!(check(&withheld, "?", opening), Err(PrivateError::Uncommitted(_))));
        }

        #[test]
        fn field_and_value_cannot_trade_bytes(a in "[a-z]{1,6}", b in "[a-z]{1,6}") {
            let salt = Salt([0; 16]);
            let joined = format!("{a}{b}");
            prop_assert_ne!(commitment(&a, &salt, &json!(b)), commitment(&joined, &salt, &json!("")));
        }

        #[test]
        fn noise_is_refused_without_a_panic(bytes: Vec<u8>) {
            prop_assert!(PrivateRecord::decode(&bytes).is_err());
        }
    }
}

//! Where objects of each kind lie in a store, and how large one may be. Names and numbers only.

use crate::evidence::collateral::MAX_COLLATERAL;
use crate::evidence::record::MAX_RECORD;
use crate::shelf::Object;

/// Objects of one kind: their directory, the end of their names, and how large one may be, in bytes.
pub(super) struct Place {
    pub(super) dir: &'static str,
    pub(super) suffix: &'static str,
    pub(super) limit: u64,
    pub(super) dir_mode: u32,
    pub(super) mode: u32,
    /// The name is the SHA-256 of the bytes.
    pub(super) hashed: bool,
}

pub(super) const fn place(object: Object) -> Place {
    match object {
        Object::Manifest => Place {
            dir: "manifests",
            suffix: ".c2pa",
            limit: 4 << 20,
            dir_mode: 0o755,
            mode: 0o644,
            hashed: true,
        },
        Object::Inputs => Place {
            dir: "inputs",
            suffix: ".cbor",
            limit: 256 << 20,
            dir_mode: 0o755,
            mode: 0o644,
            hashed: false,
        },
        Object::Members => Place {
            dir: "members",
            suffix: ".cbor",
            limit: 1 << 30,
            dir_mode: 0o755,
            mode: 0o644,
            hashed: true,
        },
        Object::Evidence => Place {
            dir: "evidence",
            suffix: ".cbor",
            limit: MAX_RECORD as u64,
            dir_mode: 0o755,
            mode: 0o644,
            hashed: false,
        },
        Object::Collateral => Place {
            dir: "collateral",
            suffix: ".json",
            limit: MAX_COLLATERAL,
            dir_mode: 0o755,
            mode: 0o644,
            hashed: true,
        },
        Object::Private => Place {
            dir: "private",
            suffix: ".json",
            limit: 64 << 20,
            dir_mode: 0o700,
            mode: 0o600,
            hashed: false,
        },
    }
}

/// The largest object of a kind that is read, in bytes.
pub(crate) const fn limit(object: Object) -> u64 {
    place(object).limit
}

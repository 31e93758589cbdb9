//! The member list of a registered data set: its canonical bytes are the asset that the set's manifest is about.

use super::{MAX_LEAVES, MAX_SET_BYTES, SetError, SetTree};
use crate::bytes::PathBytes;
use crate::cbor::{CborError, Reader, Writer};
use crate::digest::{Blake3, Digests, Sha256};
use crate::statement::SetHead;

/// The first element of every member list: what it is, and in which version.
const MAGIC: &str = "atlas-members-1";

/// One file of a registered set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Below the set's directory, components separated by `/`.
    pub path: PathBytes,
    /// Its content.
    pub digests: Digests,
}

/// The members of a set, sorted by the bytes of their paths, each path once and inside the set's directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberList(Vec<Member>);

impl MemberList {
    /// Sorts the members. Refuses a path that is empty, absolute, has `.`, `..` or empty components, holds a NUL, or stands twice.
    pub fn new(mut members: Vec<Member>) -> Result<Self, SetError> {
        members.sort_by(|a, b| a.path.cmp(&b.path));
        Self::sorted(members)
    }

    /// The members, in order.
    pub fn members(&self) -> &[Member] {
        &self.0
    }

    /// The member with this path.
    pub fn get(&self, path: &PathBytes) -> Option<&Member> {
        let at = self.0.binary_search_by(|m| m.path.cmp(path)).ok()?;
        self.0.get(at)
    }

    /// The bytes of FORMAT.md, "Member list".
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer(Vec::with_capacity(32 + self.0.len() * 128));
        w.array(2);
        w.text(MAGIC);
        w.array(self.0.len());
        for m in &self.0 {
            write(&mut w, m);
        }
        w.0
    }

    /// Reads untrusted bytes; only what `encode` writes is accepted.
    pub fn decode(bytes: &[u8]) -> Result<Self, SetError> {
        let parse = || {
            let mut r = Reader::new(bytes);
            if bytes.len() > MAX_SET_BYTES {
                return Err(r.error("longer than the limit"));
            }
            r.array_of(2)?;
            if r.text()? != MAGIC {
                return Err(r.error("unknown kind or version"));
            }
            let count = r.array()?;
            let members = (0..count)
                .map(|_| read(&mut r))
                .collect::<Result<Vec<_>, CborError>>()?;
            r.end()?;
            Ok(members)
        };
        Self::sorted(parse().map_err(|source| SetError::Malformed {
            what: "member list",
            source,
        })?)
    }

    /// The Merkle head over the members' encodings, so that one member can be proven without the others.
    pub fn head(&self) -> SetHead {
        let mut tree = SetTree::new();
        for m in &self.0 {
            let mut w = Writer::default();
            write(&mut w, m);
            tree.push_encoded(&w.0);
        }
        tree.head()
    }

    fn sorted(members: Vec<Member>) -> Result<Self, SetError> {
        if members.len() as u64 > MAX_LEAVES {
            return Err(SetError::TooLarge(members.len() as u64));
        }
        for m in &members {
            if !inside(&m.path.0) {
                return Err(SetError::Members(format!(
                    "path {:?} does not stay inside the set",
                    m.path.lossy()
                )));
            }
        }
        match members.windows(2).find(|w| w[0].path >= w[1].path) {
            Some(w) => Err(SetError::Members(format!(
                "path {:?} stands twice or out of order",
                w[1].path.lossy()
            ))),
            None => Ok(Self(members)),
        }
    }
}

/// True for a relative path that names something below its start, in one spelling only.
fn inside(path: &[u8]) -> bool {
    !path.contains(&0)
        && path
            .split(|b| *b == b'/')
            .all(|part| !matches!(part, b"" | b"." | b".."))
}

fn write(w: &mut Writer, m: &Member) {
    w.array(4);
    w.bytes(&m.path.0);
    w.bytes(&m.digests.blake3.0);
    w.bytes(&m.digests.sha256.0);
    w.uint(m.digests.size);
}

fn read(r: &mut Reader<'_>) -> Result<Member, CborError> {
    r.array_of(4)?;
    Ok(Member {
        path: PathBytes(r.bytes()?.to_vec()),
        digests: Digests {
            blake3: Blake3(r.fixed()?),
            sha256: Sha256(r.fixed()?),
            size: r.uint()?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(path: &[u8]) -> Member {
        Member {
            path: PathBytes(path.to_vec()),
            digests: Digests::of(path),
        }
    }

    #[test]
    fn order_of_discovery_does_not_change_the_set() {
        let a = MemberList::new(vec![member(b"b"), member(b"a/x"), member(b"a")]).unwrap();
        let b = MemberList::new(vec![member(b"a"), member(b"b"), member(b"a/x")]).unwrap();
        assert_eq!(a.encode(), b.encode());
        assert_eq!(a.head(), b.head());
        assert_eq!(a.head().size, 3);
        assert_eq!(a.get(&"a/x".into()).unwrap().digests, Digests::of(b"a/x"));
    }

    #[test]
    fn paths_that_leave_the_set_or_stand_twice_are_refused() {
        for bad in [
            &b""[..],
            b"/etc/passwd",
            b"../x",
            b"a/../b",
            b"a//b",
            b"./a",
            b"a/",
            b"a\0b",
        ] {
            assert!(MemberList::new(vec![member(bad)]).is_err(), "{bad:?}");
        }
        assert!(MemberList::new(vec![member(b"a"), member(b"a")]).is_err());
    }

    proptest! {
        #[test]
        fn a_list_reads_back(names in prop::collection::btree_set("[a-c]{1,3}(/[\\x80-\\xff]{1,2})?", 0..12)) {
            let list = MemberList::new(names.iter().map(|n| member(n.as_bytes())).collect()).unwrap();
            prop_assert_eq!(MemberList::decode(&list.encode()).unwrap(), list);
        }

        #[test]
        fn bytes_that_decode_are_the_only_spelling(at: prop::sample::Index, with: u8) {
            let list = MemberList::new(vec![member(b"a"), member(b"dir/b"), member(b"dir/c")]).unwrap();
            let mut bytes = list.encode();
            let at = at.index(bytes.len());
            bytes[at] = with;
            if let Ok(other) = MemberList::decode(&bytes) {
                prop_assert_eq!(other.encode(), bytes);
            }
        }

        #[test]
        fn noise_is_refused_without_a_panic(bytes: Vec<u8>) {
            prop_assert!(MemberList::decode(&bytes).is_err());
        }
    }
}

//! How rows are named in the index: bytes whose order is the order of the answers. Not what the rows hold.

use crate::bytes::PathBytes;
use crate::digest::Blake3;
use crate::id::{InstanceId, NodeId, NodeRef, RunId, VersionId};
use crate::rows::FileIdentity;

/// Tagged, and of one length per tag, so that no node is a prefix of another.
pub(super) fn node(node: NodeRef) -> Vec<u8> {
    match node {
        NodeRef::Content(b) => [&[0u8][..], &b.0].concat(),
        NodeRef::Version(v) => [&[1u8][..], &v.node.0, &v.n.to_be_bytes()].concat(),
    }
}

pub(super) fn parse_node(key: &[u8]) -> Option<NodeRef> {
    match key.split_first()? {
        (0, rest) => Some(NodeRef::Content(Blake3(rest.try_into().ok()?))),
        (1, rest) => {
            let (id, n) = rest.split_at_checked(16)?;
            Some(NodeRef::Version(VersionId {
                node: NodeId(id.try_into().ok()?),
                n: u64::from_be_bytes(n.try_into().ok()?),
            }))
        }
        _ => None,
    }
}

pub(super) fn run(run: RunId) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&run.instance.0);
    key[16..].copy_from_slice(&run.n.to_be_bytes());
    key
}

pub(super) fn parse_run(key: &[u8]) -> Option<RunId> {
    let (instance, n) = key.split_at_checked(16)?;
    Some(RunId {
        instance: InstanceId(instance.try_into().ok()?),
        n: u64::from_be_bytes(n.try_into().ok()?),
    })
}

pub(super) fn process(r: RunId, number: u32) -> [u8; 28] {
    let mut key = [0; 28];
    key[..24].copy_from_slice(&run(r));
    key[24..].copy_from_slice(&number.to_be_bytes());
    key
}

pub(super) fn of_use(r: RunId, order: u64) -> [u8; 32] {
    let mut key = [0; 32];
    key[..24].copy_from_slice(&run(r));
    key[24..].copy_from_slice(&order.to_be_bytes());
    key
}

/// Run and order of a `USERS` key, which end it.
pub(super) fn parse_use(key: &[u8]) -> Option<(RunId, u64)> {
    let (_, tail) = key.split_at_checked(key.len().checked_sub(32)?)?;
    let (r, order) = tail.split_at_checked(24)?;
    Some((parse_run(r)?, u64::from_be_bytes(order.try_into().ok()?)))
}

/// A path cannot hold a zero byte, so the zero ends it.
pub(super) fn path(path: &PathBytes, n: NodeRef) -> Vec<u8> {
    [&path.0[..], &[0], &node(n)].concat()
}

pub(super) fn parse_path(key: &[u8]) -> Option<(PathBytes, NodeRef)> {
    let end = key.iter().position(|b| *b == 0)?;
    Some((PathBytes(key[..end].to_vec()), parse_node(&key[end + 1..])?))
}

pub(super) fn digest(digest: &[u8; 32], n: NodeRef) -> Vec<u8> {
    [&digest[..], &node(n)].concat()
}

pub(super) fn written(r: RunId, n: NodeRef) -> Vec<u8> {
    [&run(r)[..], &node(n)].concat()
}

pub(super) fn user(n: NodeRef, r: RunId, order: u64) -> Vec<u8> {
    [&node(n)[..], &of_use(r, order)].concat()
}

pub(super) fn identity(i: &FileIdentity) -> Vec<u8> {
    let mut key = Vec::with_capacity(72);
    for word in [i.dev, i.ino, i.size] {
        key.extend(word.to_be_bytes());
    }
    for word in [i.born, i.mtime, i.ctime] {
        key.extend(word.to_be_bytes());
    }
    key
}

/// The first key that is greater than every key with this prefix; `None` when there is none.
pub(super) fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

//! Segments of an input set, their leaves, and member lists.
#![no_main]

use atlas_manifests::digest::Sha256;
use atlas_manifests::set::{Leaf, MemberList, Segment, collect};
use atlas_manifests::statement::SetHead;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(leaf) = Leaf::decode(bytes) {
        assert_eq!(leaf.encode(), bytes, "one leaf, two spellings");
    }
    if let Ok(list) = MemberList::decode(bytes) {
        assert_eq!(list.encode(), bytes, "one member list, two spellings");
        assert_eq!(list.head().size, list.members().len() as u64);
        assert!(list.members().iter().all(|m| list.get(&m.path) == Some(m)));
    }
    if let Ok(segment) = Segment::decode(bytes) {
        assert_eq!(segment.encode(), bytes, "one segment, two spellings");
        let size = segment
            .prev
            .size
            .saturating_add(segment.leaves.len() as u64);
        let head = SetHead {
            size,
            root: Sha256([1; 32]),
        };
        // Every segment that is asked for is this one.
        assert!(collect(head, &|_| Ok(Some(bytes.to_vec()))).is_err() || size == 0);
    }
});

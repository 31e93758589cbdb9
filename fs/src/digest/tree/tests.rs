//! The tree against the plain digest of the same bytes.

use proptest::prelude::*;

use super::*;

/// A file in memory and the tree that is told of everything that happens to it.
struct Told {
    bytes: Vec<u8>,
    tree: ContentTree,
}

impl Told {
    fn new() -> Self {
        Self {
            bytes: Vec::new(),
            tree: ContentTree::new(),
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if !bytes.is_empty() && self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset.min(end)..][..bytes.len()].copy_from_slice(bytes);
        self.tree.write(offset as u64, bytes);
    }

    /// The digests, and how many bytes had to be read for them.
    fn finish(&mut self) -> (Digests, u64) {
        let mut read = 0;
        let digests = self
            .tree
            .finish(|at, buffer| {
                let at = at as usize;
                buffer.copy_from_slice(&self.bytes[at..at + buffer.len()]);
                read += buffer.len() as u64;
                Ok(())
            })
            .unwrap();
        (digests, read)
    }
}

fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new_derive_key("atlas test pattern")
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

const G: usize = GROUP as usize;

#[test]
fn bytes_in_order_need_no_second_read_however_small_the_writes() {
    let content = pattern(1, 3 * G + 17);
    for step in [8, 4096, G - 1, G, G + 1, 3 * G + 17] {
        let mut told = Told::new();
        for (i, piece) in content.chunks(step).enumerate() {
            told.write(i * step, piece);
        }
        assert_eq!(told.finish(), (Digests::of(&content), 0), "step {step}");
    }
}

#[test]
fn an_overwrite_makes_only_the_groups_it_touched_unknown() {
    let mut told = Told::new();
    told.write(0, &pattern(2, 8 * G));
    told.finish();
    told.write(5 * G + 100, b"patch");
    assert_eq!(told.tree.check(0, &told.bytes).unwrap(), 7 * GROUP);
    told.tree.forget(2 * GROUP - 1, 2);
    assert_eq!(told.tree.check(0, &told.bytes).unwrap(), 5 * GROUP);
    let whole = Digests::of(&told.bytes);
    assert_eq!(told.finish().0, whole);
    assert_eq!(told.tree.check(0, &told.bytes).unwrap(), 8 * GROUP);
}

#[test]
fn a_read_is_checked_where_it_covers_whole_groups_and_a_flipped_bit_is_found() {
    let mut told = Told::new();
    told.write(0, &pattern(4, 3 * G + 100));
    told.finish();
    let mut read = told.bytes.clone();
    assert_eq!(told.tree.check(1, &read[1..]).unwrap(), 2 * GROUP + 100);
    assert_eq!(told.tree.check(1, &read[1..G]).unwrap(), 0);
    assert_eq!(told.tree.check(3 * GROUP, &read[3 * G..]).unwrap(), 100);
    assert_eq!(told.tree.check(9 * GROUP, &read).unwrap(), 0);
    read[2 * G + 7] ^= 1;
    assert!(
        matches!(told.tree.check(0, &read), Err(TreeError::Differs { offset }) if offset == 2 * GROUP)
    );
}

#[test]
fn storage_that_is_not_what_was_written_is_found_when_sha256_passes_over_it() {
    let mut told = Told::new();
    told.write(G, &pattern(5, 2 * G));
    told.write(0, &pattern(6, G));
    told.bytes[2 * G] ^= 1;
    let found = told.tree.finish(|at, buffer| {
        buffer.copy_from_slice(&told.bytes[at as usize..][..buffer.len()]);
        Ok(())
    });
    assert!(matches!(found, Err(TreeError::Differs { offset }) if offset == 2 * GROUP));
}

#[test]
fn both_digests_name_the_same_bytes_where_the_tree_can_not_tell_what_was_written() {
    let mut told = Told::new();
    told.write(0, &pattern(8, G + 100));
    told.write(5 * G, b"elsewhere"); // group 1 is written in part, and no more
    told.bytes[G + 50] ^= 1;
    let stored = Digests::of(&told.bytes);
    assert_eq!(told.finish().0, stored);
}

#[test]
fn a_file_of_exabytes_costs_no_memory_until_it_is_written() {
    let mut tree = ContentTree::new();
    tree.truncate(u64::MAX / 2);
    tree.write(u64::MAX - 10, &[1; 100]);
    tree.write(1 << 62, b"far");
    tree.forget(5, u64::MAX);
    assert!(tree.known.is_empty());
    assert_eq!(tree.check(u64::MAX - 3, b"none").unwrap(), 0);
}

#[test]
fn a_small_file_has_the_root_of_a_single_group() {
    for len in [0, 1, 1024, 1025, G - 1, G, G + 1] {
        let content = pattern(3, len);
        let mut told = Told::new();
        told.write(0, &content);
        assert_eq!(told.finish().0, Digests::of(&content), "{len}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_order_of_writes_and_truncations_gives_the_plain_digests(
        steps in prop::collection::vec((0u8..10, 0usize..5 * G, 0usize..2 * G, any::<u64>()), 1..12)
    ) {
        let mut told = Told::new();
        for (what, offset, len, seed) in steps {
            match what {
                0 => {
                    told.bytes.resize(offset, 0);
                    told.tree.truncate(offset as u64);
                }
                1..4 => {
                    let end = told.bytes.len();
                    told.write(end, &pattern(seed, len % 5000));
                }
                4 => {
                    let at = offset / G * G;
                    told.write(at, &pattern(seed, len.div_ceil(G) * G));
                }
                5 => {
                    prop_assert_eq!(told.finish().0, Digests::of(&told.bytes));
                }
                6 => told.write(0, &pattern(seed, len)),
                7 => {
                    let end = told.bytes.len().min(offset + len);
                    if offset < end {
                        told.bytes[offset..end].fill(7);
                        told.tree.forget(offset as u64, (end - offset) as u64);
                    }
                }
                _ => told.write(offset, &pattern(seed, len)),
            }
        }
        prop_assert_eq!(told.finish().0, Digests::of(&told.bytes));
        let bytes = told.bytes.clone();
        prop_assert_eq!(told.tree.check(0, &bytes).unwrap(), bytes.len() as u64);
    }
}

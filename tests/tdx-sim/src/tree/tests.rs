//! The tree without a mount: numbers, and what cannot be reached through one.

use super::*;
use crate::collateral::CollateralSpec;
use crate::machine::{Machine, Settings};
use crate::pki::World;

fn tree() -> Tree {
    let world = World::new(1_800_000_000).unwrap();
    let collateral = CollateralSpec::at(1_800_000_000);
    let machine = Machine::new(world, Td::default(), Settings::default(), collateral);
    Tree::new(Arc::new(Simulator::new(machine)), true)
}

#[test]
fn no_two_files_share_a_number() {
    let tree = tree();
    for name in ["a", "b"] {
        tree.simulator().machine().make_item(name).unwrap();
    }
    let mut all = vec![Node::Root];
    let mut next = 0;
    while let Some(node) = all.get(next).copied() {
        all.extend(tree.list(node).into_iter().map(|(_, below)| below));
        next += 1;
    }
    assert_eq!(all.len(), 1 + 5 + 2 + 2 * 4 + 8 + 2);
    let mut numbers: Vec<u64> = all.iter().map(|node| node.number()).collect();
    for (node, number) in all.iter().zip(&numbers) {
        assert_eq!(Node::of(*number), Some(*node));
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), all.len());
}

#[test]
fn a_descriptor_that_has_read_does_not_write() {
    // No attribute of TDX can be opened for both: the descriptor is made by hand.
    let tree = tree();
    let id = tree.simulator().machine().make_item("a").unwrap();
    let node = Node::Attribute(id, Attribute::Inblob);
    let refused = tree.open(node, true, true).unwrap_err();
    assert_eq!(refused, Errno(libc::EACCES));

    let open = tree.open(node, false, true).unwrap();
    *open.buffer() = Buffer::Reading;
    assert_eq!(tree.write(&open, 0, &[1; 64]), Err(Errno(libc::ETXTBSY)));
    let open = tree.open(node, false, true).unwrap();
    tree.write(&open, 0, &[1; 64]).unwrap();
    assert_eq!(tree.read(&open).unwrap_err(), Errno(libc::ETXTBSY));
}

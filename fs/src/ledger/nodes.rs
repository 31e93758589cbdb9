//! The nodes that the ledger remembers, by numbers that are never given twice. Not which of them may be forgotten: see `forget`.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use super::node::{Node, NodeIx, Phase};

/// Nodes in the order in which they were added. Indexing panics for a forgotten one: `forget` keeps whatever anything points to.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    known: BTreeMap<NodeIx, Box<Node>>,
    next: u32,
}

impl Nodes {
    pub(super) fn add(&mut self, node: Node) -> NodeIx {
        let ix = NodeIx(self.next);
        self.next = self.next.saturating_add(1);
        self.known.insert(ix, Box::new(node));
        ix
    }

    /// For numbers that come from outside, perhaps late.
    pub(super) fn get(&self, ix: NodeIx) -> Option<&Node> {
        self.known.get(&ix).map(|n| &**n)
    }

    pub(super) fn get_mut(&mut self, ix: NodeIx) -> Option<&mut Node> {
        self.known.get_mut(&ix).map(|n| &mut **n)
    }

    /// Follows what turned out to be the same content.
    pub(super) fn real(&self, mut ix: NodeIx) -> NodeIx {
        while let Some(Phase::Same(other)) = self.get(ix).map(|n| n.phase) {
            ix = other;
        }
        ix
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (NodeIx, &Node)> {
        self.known.iter().map(|(ix, n)| (*ix, &**n))
    }

    pub(super) fn retain(&mut self, keep: impl Fn(NodeIx) -> bool) {
        self.known.retain(|ix, _| keep(*ix));
    }
}

impl Index<NodeIx> for Nodes {
    type Output = Node;

    fn index(&self, ix: NodeIx) -> &Node {
        &self.known[&ix]
    }
}

impl IndexMut<NodeIx> for Nodes {
    fn index_mut(&mut self, ix: NodeIx) -> &mut Node {
        self.known.get_mut(&ix).expect("a node that is pointed to")
    }
}

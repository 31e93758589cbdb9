//! What goes into the log together, and what is remembered of it once it is there. Pure.

use std::collections::HashMap;

use atlas_manifests::id::RunId;
use atlas_manifests::log::leaf::Leaf;
use atlas_manifests::statement::SetHead;

use super::Inner;
use super::entry::Entry;

/// Leaves in their order, and what they are about.
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    pub(super) leaves: Vec<Vec<u8>>,
    /// A leaf after those of the entries.
    pub(super) last: Option<Leaf>,
    /// The inputs of each run, as this batch logs them last.
    pub(super) runs: HashMap<RunId, SetHead>,
    /// How many manifests of this instance are new with it.
    pub(super) own: u64,
}

impl Batch {
    /// Of entries, those of which are `known` are in the log already.
    pub(super) fn of(
        entries: Vec<Entry>,
        known: &[bool],
        last: Option<Leaf>,
        inner: &Inner,
    ) -> Self {
        let mut batch = Self {
            entries: Vec::new(),
            leaves: Vec::new(),
            last,
            runs: HashMap::new(),
            own: 0,
        };
        for (entry, known) in entries.iter().zip(known) {
            if *known {
                continue;
            }
            if let (Some(leaf), Some((run, head))) = (entry.inputs_leaf(), entry.inputs) {
                let before = batch.runs.get(&run).or_else(|| inner.runs.get(&run));
                // Outputs of one run that were closed together commit to the same inputs.
                if before != Some(&head) {
                    batch.leaves.push(leaf.encode());
                    batch.runs.insert(run, head);
                }
            }
            batch.leaves.push(entry.leaf().encode());
            batch.own += u64::from(Some(entry.instance) == inner.instance);
        }
        batch.leaves.extend(last.map(|l| l.encode()));
        batch.entries = entries;
        batch
    }
}

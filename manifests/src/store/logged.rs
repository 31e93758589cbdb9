//! What a store knows of the logs beside it when rows are made again. Not a verdict.

use std::collections::BTreeMap;

use super::Store;
use crate::digest::Sha256;
use crate::id::{NodeId, NodeRef};
use crate::rows::VersionRow;
use crate::vocabulary::State;

impl Store {
    /// Makes rows of sealed versions say `logged` where their node's log has them.
    pub fn state_logged(&self, rows: &mut [VersionRow]) {
        let mut nodes: BTreeMap<NodeId, Vec<(usize, Sha256)>> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            if let (State::Sealed, NodeRef::Version(v), Some(m)) =
                (row.state, row.node, row.manifest)
            {
                nodes.entry(v.node).or_default().push((at, m.sha256));
            }
        }
        let Some(logs) = &self.logs else { return };
        for (node, named) in nodes {
            let manifests: Vec<Sha256> = named.iter().map(|(_, m)| *m).collect();
            let found = logs.among(node, &manifests);
            for ((at, _), _) in named.iter().zip(found).filter(|(_, found)| *found) {
                rows[*at].state = State::Logged;
            }
        }
    }
}

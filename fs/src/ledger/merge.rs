//! Two runs turn out to be one: their trees share a pipe.

use super::{Ledger, NodeIx};
use crate::caller::{Merge, Who};
use atlas_manifests::bytes::PathBytes;
use atlas_manifests::id::RunId;
use atlas_manifests::vocabulary::Kind;

impl Ledger {
    /// What the absorbed run used, the other has used. Versions that ended before keep the run they ended in.
    pub fn merge(&mut self, merge: &Merge) {
        self.merged
            .insert(merge.absorbed, (merge.into, merge.processes));
        let uses: Vec<(Who, NodeIx, Kind, PathBytes)> = self
            .runs
            .get(&merge.absorbed)
            .map(|r| &r.list)
            .into_iter()
            .flatten()
            .filter(|u| !u.open)
            .map(|u| {
                let who = Who {
                    run: merge.absorbed,
                    process: u.process,
                    tree: u.tree,
                    tgid: crate::vfs::observer::Tgid(0),
                };
                (who, u.node, u.kind, u.path.clone())
            })
            .collect();
        for (who, node, kind, path) in uses {
            self.enter_use(who, node, kind, &path);
        }
    }

    /// What one run used so far, another has used as well: both wrote one file.
    pub(super) fn share_uses(&mut self, from: RunId, with: Who) {
        let uses: Vec<(NodeIx, Kind, PathBytes)> = self
            .runs
            .get(&from)
            .map(|r| &r.list)
            .into_iter()
            .flatten()
            .filter(|u| !u.open)
            .map(|u| (u.node, u.kind, u.path.clone()))
            .collect();
        for (node, kind, path) in uses {
            self.enter_use(with, node, kind, &path);
        }
    }

    /// Where somebody belongs now.
    pub(super) fn place(&self, mut who: Who) -> Who {
        // Runs merge into older ones, so this ends.
        while let Some((into, processes)) = self.merged.get(&who.run) {
            who.run = *into;
            who.process += processes;
        }
        who
    }
}

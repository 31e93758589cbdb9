//! Data went from one run to another through a pipe: they turn out to be one, or the later has used what the ended one used.

use super::{Ledger, NodeIx};
use crate::caller::{Merge, Who};
use atlas_manifests::bytes::PathBytes;
use atlas_manifests::vocabulary::Kind;

impl Ledger {
    /// What the absorbed run used, the other has used. Versions that ended before keep the run they ended in.
    pub fn merge(&mut self, merge: &Merge) {
        if merge.copy.is_none() {
            self.merged
                .insert(merge.absorbed, (merge.into, merge.processes));
        }
        let uses: Vec<(Who, NodeIx, Kind, PathBytes)> = self
            .runs
            .get(&merge.absorbed)
            .map(|r| &r.list)
            .into_iter()
            .flatten()
            .filter(|u| !u.open)
            .map(|u| {
                let tgid = crate::vfs::observer::Tgid(0);
                let who = match merge.copy {
                    None => Who {
                        run: merge.absorbed,
                        process: u.process,
                        tree: u.tree,
                        tgid,
                    },
                    Some(tree) => Who {
                        run: merge.into,
                        process: u.process + merge.processes,
                        tree,
                        tgid,
                    },
                };
                (who, u.node, u.kind, u.path.clone())
            })
            .collect();
        for (who, node, kind, path) in uses {
            self.enter_use(who, node, kind, &path);
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

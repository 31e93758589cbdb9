//! What an earlier life left in its journal becomes nodes and uses again.

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::id::RunId;
use atlas_manifests::rows::VersionRow;
use atlas_manifests::vocabulary::{Closed, Cut, Kind, State};

use super::node::{Authored, Named, Node};
use super::run::Use;
use super::{Known, Ledger, NodeIx, Phase, RawUse};
use crate::vfs::observer::FileKey;

/// A use from a journal, with what is still known of its content.
#[derive(Debug, Clone)]
pub struct Restored {
    /// As it was entered.
    pub raw: RawUse,
    /// What the index knows of the content.
    pub known: Option<Known>,
    /// The file, when it still holds it.
    pub file: Option<FileKey>,
}

const NOWHERE: FileKey = FileKey {
    dev: 0,
    ino: 0,
    born: 0,
};

/// Beyond so many lost records a journal is not damaged but made up.
const MOST_LOST: u64 = 1 << 16;

impl Ledger {
    /// The uses of a run of an earlier life, in order, with their places kept.
    pub fn restore_uses(&mut self, run: RunId, uses: Vec<Restored>) {
        for r in uses {
            self.keep_places(run, r.raw.order, r.raw.process, r.raw.tree);
            let node = self.restored_node(&r);
            let path = r.raw.path.clone();
            let uses = self.runs.entry(run).or_default();
            uses.list.push(Use {
                node,
                kind: r.raw.kind,
                process: r.raw.process,
                tree: r.raw.tree,
                path,
                open: r.raw.open,
            });
            // The index learns of uses a little later than the journal: perhaps it never did.
            let place = uses.list.len() - 1;
            self.tell_use(run, place);
        }
    }

    /// A use whose record was damaged keeps its place: those after it must not move before a cut that they came after, and nobody
    /// may think that it never was.
    fn keep_places(&mut self, run: RunId, until: u64, process: u32, tree: u32) {
        let missing = until.saturating_sub(self.uses_of(run));
        for _ in 0..missing.min(MOST_LOST) {
            let node = self.lost_node();
            self.runs.entry(run).or_default().list.push(Use {
                node,
                kind: Kind::Opened,
                process,
                tree,
                path: PathBytes::default(),
                open: false,
            });
        }
    }

    fn lost_node(&mut self) -> NodeIx {
        let ix = self.add(Node::new(NOWHERE, PathBytes::default(), Phase::Digesting));
        self.name(ix);
        let why = "the record of this use was damaged";
        self.settle(ix, State::Superseded, Some(why.to_owned()));
        ix
    }

    fn restored_node(&mut self, r: &Restored) -> NodeIx {
        if let Some(at) = r.raw.node.and_then(|id| self.restored.get(&id)) {
            return *at;
        }
        let mut node = Node::new(
            r.file.unwrap_or(NOWHERE),
            r.raw.path.clone(),
            Phase::Digesting,
        );
        node.id = r.raw.node;
        node.identity = r.raw.identity;
        if let Some(known) = &r.known {
            node.id = Some(known.node);
            node.adopted = true;
            node.digests = Some(known.digests);
            node.manifest = known.manifest;
            node.media_type.clone_from(&known.media_type);
            node.phase = Phase::Settled(known.state);
        }
        let open = r.known.is_none();
        let id = node.id;
        let ix = self.add(node);
        if let Some(id) = id {
            self.restored.insert(id, ix);
        }
        if open && r.file.is_some() && r.raw.node.is_none() {
            self.want_digest(ix, false);
        } else if open && r.raw.node.is_none() {
            self.name(ix);
            self.settle(
                ix,
                State::Superseded,
                Some("its content was gone when the daemon came back".to_owned()),
            );
        } else if open {
            // A version that ended too is restored after all uses; one that did not is only named.
            self.at(ix).phase = Phase::Settled(State::Incomplete);
        }
        ix
    }

    /// A version that had ended. `file`: the file, when it still holds the version's bytes.
    pub fn restore_ended(&mut self, row: &VersionRow, file: Option<FileKey>) {
        let Some(run) = row.run else { return };
        self.keep_places(run, row.inputs, row.process, row.tree);
        let ix = match self.restored.get(&row.node) {
            Some(at) => *at,
            None => self.add(Node::new(
                NOWHERE,
                row.path.clone().unwrap_or_default(),
                Phase::Digesting,
            )),
        };
        self.restored.insert(row.node, ix);
        let parent = row.parent.and_then(|p| self.restored.get(&p).copied());
        let copied = row
            .copied
            .iter()
            .filter_map(|c| self.restored.get(c).copied())
            .collect();
        let ended = self.end_of(ix);
        let node = self.at(ix);
        node.id = Some(row.node);
        node.file = file.unwrap_or(NOWHERE);
        node.identity = row.identity;
        node.phase = Phase::Digesting;
        node.authored = Some(Authored {
            ended,
            run,
            process: row.process,
            tree: row.tree,
            closed: row.closed.unwrap_or(Closed::Explicit),
            status: row.status,
            inputs: row.inputs,
            cut: row.cut.unwrap_or(Cut::Close),
            parent,
            copied,
            near: Vec::new(),
            named: Named::default(),
            created: row.parent.is_none(),
            doubtful: false,
        });
        self.unsettled.insert(ix);
        if file.is_some() {
            self.want_digest(ix, true);
        } else {
            let why =
                "the daemon stopped before it was digested, and its bytes are not there any more";
            self.settle(ix, State::Superseded, Some(why.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use atlas_manifests::id::{NodeId, NodeRef, VersionId};
    use atlas_manifests::vocabulary::Kind;

    use super::super::testing::{Bench, who};
    use super::*;

    /// What the index was told shortly before a crash it had only in memory: lineage would be empty, while the manifest names its inputs.
    #[test]
    fn uses_of_an_earlier_life_are_told_to_the_index_again() {
        let mut bench = Bench::new();
        let run = who(3, 1).run;
        let node = NodeRef::Version(VersionId {
            node: NodeId([7; 16]),
            n: 1,
        });
        let raw = RawUse {
            run,
            order: 0,
            kind: Kind::Read,
            process: 0,
            tree: 0,
            path: "first".into(),
            node: Some(node),
            identity: None,
            open: false,
        };
        let (known, file) = (None, None);
        bench
            .ledger
            .restore_uses(run, vec![Restored { raw, known, file }]);
        bench.collect();
        let told: Vec<_> = bench.uses.iter().map(|u| (u.order, u.node)).collect();
        assert_eq!(told, [(0, node)]);
    }
}

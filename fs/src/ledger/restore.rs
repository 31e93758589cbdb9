//! What an earlier life left in its journal becomes nodes and uses again.

use atlas_manifests::id::RunId;
use atlas_manifests::rows::VersionRow;
use atlas_manifests::vocabulary::{Closed, Cut, State};

use super::node::{Authored, Node};
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

impl Ledger {
    /// The uses of a run of an earlier life, in order, with their places kept.
    pub fn restore_uses(&mut self, run: RunId, uses: Vec<Restored>) {
        for r in uses {
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
            let place = uses.list.len() - 1;
            // The index may have had it only in memory.
            self.tell_use(run, place);
        }
    }

    fn restored_node(&mut self, r: &Restored) -> NodeIx {
        if let Some(id) = r.raw.node
            && let Some(at) = self.nodes.iter().position(|n| n.id == Some(id))
        {
            return NodeIx(u32::try_from(at).unwrap_or(u32::MAX));
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
        let ix = self.add(node);
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
        let known = self.nodes.iter().position(|n| n.id == Some(row.node));
        let ix = match known {
            Some(at) => NodeIx(u32::try_from(at).unwrap_or(u32::MAX)),
            None => self.add(Node::new(
                NOWHERE,
                row.path.clone().unwrap_or_default(),
                Phase::Digesting,
            )),
        };
        let find = |ledger: &Self, id| {
            let at = ledger.nodes.iter().position(|n| n.id == Some(id))?;
            Some(NodeIx(u32::try_from(at).unwrap_or(u32::MAX)))
        };
        let parent = row.parent.and_then(|p| find(self, p));
        let copied = row.copied.iter().filter_map(|c| find(self, *c)).collect();
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

//! What a version's manifest will say about its inputs: the leaves to append, and the nearest inputs by name.

use std::collections::HashMap;

use atlas_manifests::set::Leaf;
use atlas_manifests::statement::Input;
use atlas_manifests::vocabulary::{Grade, Kind, State};

use super::node::Node;
use super::run::Use;
use super::{Ledger, NodeIx, Plan, Ticket};

/// So many of the latest uses are looked at for the nearest ones where these are not known.
const LATEST: usize = 1024;
/// So many candidates are handed on; the sealer keeps as many as fit.
const CANDIDATES: usize = 16;

impl Ledger {
    /// The plan of a version whose inputs have all settled.
    pub(super) fn plan(&mut self, ix: NodeIx, ticket: Ticket) -> Option<Plan> {
        let node = &self.nodes[ix];
        let a = node.authored.clone()?;
        let version = match node.id? {
            atlas_manifests::id::NodeRef::Version(v) => v,
            atlas_manifests::id::NodeRef::Content(_) => return None,
        };
        let row = node.row(|i| self.id_of(i))?;
        let types = node.types.clone();
        let inputs = self.nearest(ix);
        let parent = a
            .parent
            .and_then(|p| self.input(p, Kind::Parent, Grade::Run, false));
        let runs = self.runs.get(&a.run);
        let cut = usize::try_from(a.inputs)
            .unwrap_or(usize::MAX)
            .min(runs.map_or(0, |r| r.list.len()));
        let leaves = runs.map_or_else(Vec::new, |r| {
            r.list[r.carried.min(cut)..cut]
                .iter()
                .filter_map(|u| self.leaf(u, ix))
                .collect()
        });
        if let Some(r) = self.runs.get_mut(&a.run) {
            r.carried = r.carried.max(cut);
        }
        Some(Plan {
            ticket,
            version,
            row,
            types,
            run: a.run,
            leaves,
            cut: cut as u64,
            parent,
            inputs,
        })
    }

    fn leaf(&self, u: &Use, of: NodeIx) -> Option<Leaf> {
        let named = &self.nodes[u.node];
        let real = self.real(u.node);
        let node = &self.nodes[real];
        // Used when its opener had closed it, and then written on by a heir: it was unfinished after all.
        // Or when somebody had it open for writing, who then wrote nothing: it was what it had been before.
        let open = u.open && u.node == real || real == of || !node.settled();
        Some(Leaf {
            node: if u.node == real {
                named.id?
            } else {
                node.id.or(named.id)?
            },
            digests: if open { None } else { node.digests },
            manifest: if open {
                None
            } else {
                node.manifest.map(|m| m.sha256)
            },
            kind: u.kind,
            state: if open { State::Open } else { node.state() },
            process: u.process,
            tree: u.tree,
        })
    }

    fn nearest(&self, ix: NodeIx) -> Vec<Input> {
        let Some(a) = &self.nodes[ix].authored else {
            return Vec::new();
        };
        let mut best: HashMap<NodeIx, (Grade, Kind, bool, usize)> = HashMap::new();
        let mut offer = |node: NodeIx, grade: Grade, kind: Kind, open: bool, at: usize| {
            let entry = best.entry(node).or_insert((grade, kind, open, at));
            entry.0 = entry.0.min(grade);
            entry.1 = entry.1.min(kind);
            entry.2 &= open;
            entry.3 = entry.3.max(at);
        };
        for c in &a.copied {
            let c = self.real(*c);
            offer(
                c,
                Grade::Copied,
                Kind::Read,
                !self.nodes[c].settled(),
                usize::MAX,
            );
        }
        if let Some(uses) = self.runs.get(&a.run) {
            let cut = usize::try_from(a.inputs)
                .unwrap_or(usize::MAX)
                .min(uses.list.len());
            // A run of an earlier life has nothing near; and of a cut long ago all that is near may have come later.
            let few = a.near.len() < CANDIDATES;
            let latest = cut.saturating_sub(if few { LATEST } else { 0 })..cut;
            for at in a.near.iter().copied().filter(|at| *at < cut).chain(latest) {
                let u = &uses.list[at];
                let node = self.real(u.node);
                let grade = if u.process == a.process {
                    Grade::SameProcess
                } else if u.tree == a.tree {
                    Grade::ProcessTree
                } else {
                    Grade::Run
                };
                offer(node, grade, u.kind, u.open && u.node == node, at);
            }
        }
        let parent = a.parent.map(|p| self.real(p));
        let mut order: Vec<_> = best
            .into_iter()
            .filter(|(n, _)| *n != ix && Some(*n) != parent)
            .collect();
        // Code last, then nearness; what has a manifest of its own before what has none; the latest first.
        order.sort_by_key(|(n, (grade, kind, open, at))| {
            let node: &Node = &self.nodes[*n];
            (
                *kind == Kind::Code,
                *open,
                *grade,
                node.manifest.is_none(),
                *kind,
                std::cmp::Reverse(*at),
            )
        });
        order
            .into_iter()
            .take(CANDIDATES)
            .filter_map(|(n, (grade, kind, open, _))| self.input(n, kind, grade, open))
            .collect()
    }

    fn input(&self, ix: NodeIx, kind: Kind, grade: Grade, open: bool) -> Option<Input> {
        let node = &self.nodes[self.real(ix)];
        Some(Input {
            node: node.id?,
            title: Some(String::from_utf8_lossy(node.path.base_name()).into_owned()),
            digests: if open { None } else { node.digests },
            manifest: if open { None } else { node.manifest },
            media_type: node
                .media_type
                .clone()
                .unwrap_or_else(|| "application/octet-stream".to_owned()),
            kind,
            grade,
            state: if open { State::Open } else { node.state() },
        })
    }
}

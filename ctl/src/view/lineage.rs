//! A lineage as a tree that a person wants to read: newest first, directories of inputs as one line, repeated branches shown once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use atlas_manifests::bytes::unbase64;
use atlas_manifests::graph::{Lineage, Node, Run};
use atlas_manifests::id::{NodeRef, RunId};
use atlas_manifests::vocabulary::{Grade, Kind};
use jiff::Timestamp;

use crate::view::paint::Paint;
use crate::view::{amount, escape, row, tree};

/// So many files of one directory are shown one by one; more become one line.
const FEW: usize = 3;
/// So many directories are shown below one version; the deepest are joined until there are no more.
const DIRECTORIES: usize = 12;

/// How a lineage is drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// Edges are followed from inputs to outputs.
    pub downstream: bool,
    /// Collapse nothing.
    pub all: bool,
    /// What time it is.
    pub now: Timestamp,
    /// Colours.
    pub paint: Paint,
}

/// Draws the tree of each root.
pub(crate) fn draw(lineage: &Lineage, look: Look) -> String {
    let mut picture = Picture::new(lineage, look);
    let mut text = String::new();
    for root in &lineage.roots {
        let item = Item {
            nodes: vec![*root],
            dir: None,
            edges: BTreeSet::new(),
            above: None,
            belongs: false,
        };
        text.push_str(&tree::draw(item, |item| picture.visit(&item)));
    }
    text
}

/// One line of the tree: a version, or the versions of one directory.
#[derive(Debug, Clone)]
struct Item {
    nodes: Vec<NodeRef>,
    dir: Option<Vec<u8>>,
    edges: BTreeSet<(Kind, Grade)>,
    /// The run of the version above, which is not named twice.
    above: Option<RunId>,
    /// What is above are members of the set that this is.
    belongs: bool,
}

struct Picture<'a> {
    look: Look,
    nodes: HashMap<NodeRef, (&'a Node, Vec<u8>)>,
    runs: HashMap<RunId, &'a Run>,
    next: HashMap<NodeRef, Vec<(NodeRef, Kind, Grade)>>,
    opened: HashSet<NodeRef>,
}

impl<'a> Picture<'a> {
    fn new(lineage: &'a Lineage, look: Look) -> Self {
        let mut next: HashMap<_, Vec<_>> = HashMap::new();
        for e in &lineage.edges {
            let (near, far) = if look.downstream {
                (e.to, e.from)
            } else {
                (e.from, e.to)
            };
            next.entry(near).or_default().push((far, e.kind, e.grade));
        }
        Self {
            look,
            nodes: lineage
                .nodes
                .iter()
                .map(|n| (n.id, (n, exact_path(n))))
                .collect(),
            runs: lineage.runs.iter().map(|r| (r.id, r)).collect(),
            next,
            opened: HashSet::new(),
        }
    }

    fn visit(&mut self, item: &Item) -> (Vec<String>, Vec<Item>) {
        let run = self.common_run(&item.nodes);
        let again = item
            .nodes
            .iter()
            .all(|n| self.opened.contains(n) && self.next.contains_key(n));
        let mut lines = vec![match (&item.dir, &item.nodes[..]) {
            (Some(dir), nodes) => self.directory(dir, nodes, &item.edges),
            (None, [node, ..]) if item.belongs => {
                let paint = self.look.paint;
                format!(
                    "{}  {}",
                    self.version(*node, &BTreeSet::new()),
                    paint.dim("the set that it belongs to")
                )
            }
            (None, [node, ..]) => self.version(*node, &item.edges),
            (None, []) => String::new(),
        }];
        if again {
            lines[0].push_str(&self.look.paint.dim("  (shown above)"));
            return (lines, Vec::new());
        }
        self.opened.extend(&item.nodes);
        if let Some(run) = run.filter(|id| item.above != Some(*id)) {
            lines.extend(self.runs.get(&run).map(|r| self.by(r)));
        }
        let below = self.below(&item.nodes, run);
        (lines, below)
    }

    /// What hangs below these versions, collapsed.
    fn below(&self, nodes: &[NodeRef], run: Option<RunId>) -> Vec<Item> {
        let own: HashSet<_> = nodes.iter().collect();
        let mut far: BTreeMap<NodeRef, BTreeSet<(Kind, Grade)>> = BTreeMap::new();
        for (node, kind, grade) in nodes
            .iter()
            .flat_map(|n| self.next.get(n).into_iter().flatten())
        {
            if !own.contains(node) {
                far.entry(*node).or_default().insert((*kind, *grade));
            }
        }
        if !self.look.all {
            // What a registered set attests is counted in that set's line.
            let sets: HashSet<_> = far
                .keys()
                .copied()
                .filter(|n| self.set_size(*n).is_some())
                .collect();
            far.retain(|node, _| {
                sets.contains(node) || !self.sets_of(*node).any(|set| sets.contains(&set))
            });
        }
        let members =
            !self.look.downstream && nodes.iter().all(|n| matches!(n, NodeRef::Content(_)));
        let single = |node: NodeRef, edges| {
            let belongs = members && self.set_size(node).is_some();
            Item {
                nodes: vec![node],
                dir: None,
                edges,
                above: run,
                belongs,
            }
        };
        let mut items = Vec::new();
        for (dir, members) in self.directories(far) {
            if self.look.all || members.len() <= FEW {
                items.extend(members.into_iter().map(|(node, edges)| single(node, edges)));
            } else {
                let edges = members
                    .iter()
                    .flat_map(|(_, e)| e.iter().copied())
                    .collect();
                let nodes = members.into_iter().map(|(node, _)| node).collect();
                items.push(Item {
                    nodes,
                    dir: Some(dir),
                    edges,
                    above: run,
                    belongs: false,
                });
            }
        }
        // What has a history of its own first, newest first; then by name.
        items.sort_by_cached_key(|item| {
            let newest = item
                .nodes
                .iter()
                .filter_map(|n| self.nodes.get(n)?.0.sealed_at.clone())
                .max();
            let leaf = !item.nodes.iter().any(|n| self.next.contains_key(n));
            (
                leaf,
                std::cmp::Reverse(newest.filter(|_| !leaf)),
                self.path(item.nodes.first()),
            )
        });
        items
    }

    /// Groups what may share a line: files of one directory that have no history of their own, or were all made by one run.
    fn directories(
        &self,
        far: BTreeMap<NodeRef, BTreeSet<(Kind, Grade)>>,
    ) -> Vec<(Vec<u8>, Members)> {
        let mut groups: BTreeMap<(Option<RunId>, Vec<u8>), Members> = BTreeMap::new();
        for (node, edges) in far {
            let history = self.next.contains_key(&node);
            let run = self
                .nodes
                .get(&node)
                .and_then(|(n, _)| n.run)
                .filter(|_| history);
            let dir = parent(&self.path(Some(&node))).to_vec();
            groups.entry((run, dir)).or_default().push((node, edges));
        }
        while !self.look.all && groups.len() > DIRECTORIES {
            let depth = |dir: &[u8]| {
                dir.iter().filter(|b| **b == b'/').count() + usize::from(!dir.is_empty())
            };
            let Some(key) = groups
                .keys()
                .max_by_key(|(_, dir)| depth(dir))
                .filter(|(_, dir)| !dir.is_empty())
                .cloned()
            else {
                break;
            };
            let members = groups.remove(&key).unwrap_or_default();
            let up = parent(&key.1).to_vec();
            groups.entry((key.0, up)).or_default().extend(members);
        }
        groups
            .into_iter()
            .map(|((_, dir), members)| (dir, members))
            .collect()
    }

    fn version(&self, id: NodeRef, edges: &BTreeSet<(Kind, Grade)>) -> String {
        let paint = self.look.paint;
        let Some((node, path)) = self.nodes.get(&id) else {
            return escape::line(&id.to_string());
        };
        let name = match (&node.path, node.digest) {
            (Some(_), _) => row::name(path),
            (None, Some(d)) => row::content(&d, node.title.as_deref()),
            (None, None) => id.to_string(),
        };
        let mut parts = vec![
            paint.strong(&name),
            paint.state(node.state.as_str(), node.state),
        ];
        match node.members {
            Some(members) => parts.push(self.set(id, members)),
            None => parts.extend(node.size.map(amount::size)),
        }
        parts.extend(node.digest.map(|d| paint.dim(amount::prefix(&d.hex()))));
        parts.extend(
            node.sealed_at
                .as_deref()
                .map(|at| paint.dim(&amount::age(at, self.look.now))),
        );
        if node.gone {
            parts.push(paint.dim("deleted or replaced since"));
        }
        if let Some(closed) = node
            .closed
            .filter(|c| *c == atlas_manifests::vocabulary::Closed::Killed)
        {
            parts.push(paint.bad(&row::closed(closed, None)));
        }
        parts.extend(relation(edges, paint));
        parts.join("  ")
    }

    /// A registered set: how many files it has, and how many of those stand in this lineage.
    fn set(&self, id: NodeRef, members: u64) -> String {
        let used = self
            .nodes
            .keys()
            .filter(|n| self.sets_of(**n).any(|set| set == id))
            .count() as u64;
        let size = amount::counted(members, "file", "files");
        if used == 0 {
            format!("set of {size}")
        } else {
            format!("set of {size}, {} of them used", amount::count(used))
        }
    }

    fn set_size(&self, node: NodeRef) -> Option<u64> {
        self.nodes.get(&node)?.0.members
    }

    /// The sets that a content belongs to. Downstream the edges lead the other way, and every member is shown.
    fn sets_of(&self, node: NodeRef) -> impl Iterator<Item = NodeRef> {
        let content = matches!(node, NodeRef::Content(_)) && !self.look.downstream;
        let edges = self.next.get(&node).filter(|_| content);
        edges
            .into_iter()
            .flatten()
            .filter(|(_, kind, _)| *kind == Kind::Set)
            .map(|(set, _, _)| *set)
    }

    fn directory(&self, dir: &[u8], nodes: &[NodeRef], edges: &BTreeSet<(Kind, Grade)>) -> String {
        let paint = self.look.paint;
        let known: Vec<_> = nodes.iter().filter_map(|n| self.nodes.get(n)).collect();
        let size = known
            .iter()
            .filter_map(|(n, _)| n.size)
            .fold(0u64, u64::saturating_add);
        let bare = known.iter().filter(|(n, _)| !n.attested).count() as u64;
        let name = if dir.is_empty() {
            "./".to_owned()
        } else {
            format!("{}/", escape::name(dir))
        };
        let mut text = format!(
            "{}  {}, {}",
            paint.strong(&name),
            amount::counted(nodes.len() as u64, "file", "files"),
            amount::size(size)
        );
        if bare > 0 {
            let of = if bare == nodes.len() as u64 {
                "all".to_owned()
            } else {
                amount::count(bare)
            };
            text.push_str(&format!(", {}", paint.warn(&format!("{of} unattested"))));
        }
        if let Some(relation) = relation(edges, paint) {
            text.push_str(&format!("  {relation}"));
        }
        text
    }

    fn by(&self, run: &Run) -> String {
        let paint = self.look.paint;
        let command = escape::argv(run.argv.iter().map(|a| &a.0[..]));
        let command = match (command.is_empty(), &run.exe) {
            (false, _) => command,
            (true, Some(exe)) => escape::name(&exe.0),
            (true, None) => "(command withheld)".to_owned(),
        };
        let name = run.name.as_deref().map_or(String::new(), |n| {
            format!("{}: ", escape::short(&escape::line(n), 60))
        });
        let mut text = paint.dim(&format!("by {name}{}", escape::short(&command, 100)));
        if run.exit.is_some_and(|code| code != 0) {
            text.push_str(&format!(
                "  {}",
                paint.bad(&row::exit(run.ended.is_some(), run.exit))
            ));
        }
        if run.code > 0 {
            let files = amount::counted(run.code, "program file", "program files");
            text.push_str(&paint.dim(&format!("  with {files} (--kind code)")));
        }
        text
    }

    fn common_run(&self, nodes: &[NodeRef]) -> Option<RunId> {
        let mut runs = nodes
            .iter()
            .map(|n| self.nodes.get(n).and_then(|(n, _)| n.run));
        let first = runs.next().flatten()?;
        runs.all(|r| r == Some(first)).then_some(first)
    }

    fn path(&self, node: Option<&NodeRef>) -> Vec<u8> {
        node.and_then(|n| self.nodes.get(n))
            .map(|(_, path)| path.clone())
            .unwrap_or_default()
    }
}

type Members = Vec<(NodeRef, BTreeSet<(Kind, Grade)>)>;

/// Why and how near, as one dim phrase; nothing for a root.
fn relation(edges: &BTreeSet<(Kind, Grade)>, paint: Paint) -> Option<String> {
    let used = || edges.iter().filter(|(kind, _)| *kind != Kind::Parent);
    let uses = used().map(|(_, grade)| *grade).max().map(|farthest| {
        if farthest == Grade::Copied {
            // How it was read says no more than that.
            return row::grade(farthest).to_owned();
        }
        let kinds: BTreeSet<_> = used().map(|(kind, _)| *kind).collect();
        let kinds: Vec<_> = kinds.into_iter().map(row::kind).collect();
        format!("{} {}", kinds.join(" or "), row::grade(farthest))
    });
    let replaced = edges.iter().any(|(kind, _)| *kind == Kind::Parent);
    let replaced = replaced.then(|| row::kind(Kind::Parent).to_owned());
    let all: Vec<_> = uses.into_iter().chain(replaced).collect();
    (!all.is_empty()).then(|| paint.dim(&all.join(", ")))
}

fn exact_path(node: &Node) -> Vec<u8> {
    match (&node.path_b64, &node.path) {
        (Some(b64), _) => unbase64(b64).unwrap_or_default(),
        (None, Some(path)) => path.clone().into_bytes(),
        (None, None) => Vec::new(),
    }
}

fn parent(path: &[u8]) -> &[u8] {
    let at = path.iter().rposition(|b| *b == b'/').unwrap_or(0);
    &path[..at]
}

#[cfg(test)]
mod tests;

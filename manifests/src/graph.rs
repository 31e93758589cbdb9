//! What came from what: the lineage of some versions, upstream or downstream, as CONTRACTS 7 writes it. Not whether it is true: see `verify`.

mod edges;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use self::edges::{Collector, Edges};
use crate::bytes::PathBytes;
use crate::digest::{Blake3, Sha256};
use crate::id::{NodeRef, RunId};
use crate::rows::{RunRow, VersionRow};
use crate::shelf::{Catalogue, ShelfError};
use crate::vocabulary::{Closed, Grade, Kind, State};

/// What to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// At most so many steps from a root; `None` for all.
    pub depth: Option<usize>,
    /// What was made from the roots, instead of what they were made from.
    pub downstream: bool,
    /// Only edges of this grade or a nearer one.
    pub min_grade: Grade,
    /// Only edges of these kinds; empty for every kind but `code`.
    pub kinds: Vec<Kind>,
    /// Ephemeral versions, code, and edges of every grade too.
    pub all: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            depth: None,
            downstream: false,
            min_grade: Grade::ProcessTree,
            kinds: Vec::new(),
            all: false,
        }
    }
}

impl Options {
    fn shows(&self, kind: Kind, grade: Grade) -> bool {
        let kind_fits = if self.kinds.is_empty() {
            self.all || kind != Kind::Code
        } else {
            self.kinds.contains(&kind)
        };
        // How near they were says nothing of a version and the one that it replaced.
        kind_fits && (self.all || kind == Kind::Parent || grade <= self.min_grade)
    }
}

/// A node of the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub id: NodeRef,
    /// BLAKE3 of its content.
    pub digest: Option<Blake3>,
    /// SHA-256 of its content.
    pub sha256: Option<Sha256>,
    /// Last known path below SOURCE, lossily.
    pub path: Option<String>,
    /// Exactly, when it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path_b64: Option<String>,
    /// The base name by which a manifest calls it, where no path is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// What has become of it.
    pub state: State,
    /// How its writer let go.
    pub closed: Option<Closed>,
    /// The run that wrote it.
    pub run: Option<RunId>,
    /// RFC 3339, UTC.
    pub sealed_at: Option<String>,
    /// Whether it has a manifest of its own.
    pub attested: bool,
    /// True when the file was unlinked or replaced since.
    pub gone: bool,
    /// For a registered set: how many members it has.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub members: Option<u64>,
}

/// An edge of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Edge {
    /// The output.
    pub from: NodeRef,
    /// The input.
    pub to: NodeRef,
    /// Why it is one.
    pub kind: Kind,
    /// How near reader and writer were.
    pub grade: Grade,
}

/// A run that wrote a node of the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// The name given to it.
    pub name: Option<String>,
    /// Arguments of its first process.
    pub argv: Vec<PathBytes>,
    /// Executable of its first process.
    pub exe: Option<PathBytes>,
    /// RFC 3339, UTC.
    pub started: String,
    /// RFC 3339, UTC.
    pub ended: Option<String>,
    /// Exit status.
    pub exit: Option<i32>,
    /// How many program files, libraries and scripts were left out of the graph.
    pub code: u64,
}

impl From<RunRow> for Run {
    fn from(row: RunRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            argv: row.argv,
            exe: row.exe,
            started: row.started,
            ended: row.ended,
            exit: row.exit,
            code: 0,
        }
    }
}

/// What `lineage --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// The first of `roots`; `None` when nothing was asked.
    pub root: Option<NodeRef>,
    /// What was asked.
    pub roots: Vec<NodeRef>,
    /// Roots first, then as they were come upon.
    pub nodes: Vec<Node>,
    /// In the order of `nodes`.
    pub edges: Vec<Edge>,
    /// Of the nodes, oldest first.
    pub runs: Vec<Run>,
    /// True when `depth` cut something off.
    pub cut: bool,
}

/// Follows the edges from `roots`. Ends on any rows, also ones that contradict each other; the result never has a cycle.
pub fn lineage(
    cat: &dyn Catalogue,
    roots: &[NodeRef],
    options: &Options,
) -> Result<Lineage, ShelfError> {
    let mut collector = Collector::new(cat, options);
    let mut order: Vec<NodeRef> = Vec::new();
    let mut seen: HashSet<NodeRef> = HashSet::new();
    let mut frontier: Vec<NodeRef> = roots.iter().copied().filter(|r| seen.insert(*r)).collect();
    let roots = frontier.clone();
    let mut adjacent: HashMap<NodeRef, Edges> = HashMap::new();
    let mut steps = 0;
    let mut cut = false;
    while !frontier.is_empty() {
        order.extend(&frontier);
        collector.fetch(&frontier)?;
        let mut next = Vec::new();
        for node in frontier {
            let edges = collector.from(node)?;
            if options.depth.is_some_and(|depth| steps >= depth) {
                cut |= !edges.is_empty();
                continue;
            }
            next.extend(edges.keys().copied().filter(|n| seen.insert(*n)));
            adjacent.insert(node, edges);
        }
        frontier = next;
        steps += 1;
    }
    break_cycles(&roots, &mut adjacent);
    let mut edges = Vec::new();
    for near in &order {
        for (far, tie) in adjacent.get(near).into_iter().flatten() {
            let (from, to) = if options.downstream {
                (*far, *near)
            } else {
                (*near, *far)
            };
            edges.extend(tie.each().map(|(kind, grade)| Edge {
                from,
                to,
                kind,
                grade,
            }));
        }
    }
    let mut runs: BTreeSet<RunId> = BTreeSet::new();
    let nodes: Vec<Node> = order
        .iter()
        .map(|id| {
            let mut node = collector.row(*id).map_or_else(|| unknown(*id), node);
            if let Some(path) = collector.path(*id).filter(|_| node.path.is_none()) {
                node.path = Some(path.lossy());
                node.path_b64 = path.b64_if_needed();
                node.title = None;
            }
            runs.extend(node.run);
            node
        })
        .collect();
    Ok(Lineage {
        root: roots.first().copied(),
        roots,
        nodes,
        edges,
        runs: collector.runs(&runs)?,
        cut,
    })
}

fn node(row: &VersionRow) -> Node {
    Node {
        id: row.node,
        digest: row.digests.map(|d| d.blake3),
        sha256: row.digests.map(|d| d.sha256),
        path: row.path.as_ref().map(PathBytes::lossy),
        path_b64: row.path.as_ref().and_then(PathBytes::b64_if_needed),
        title: row.title.clone().filter(|_| row.path.is_none()),
        size: row.digests.map(|d| d.size),
        state: row.state,
        closed: row.closed,
        run: row.run,
        sealed_at: row.sealed_at.clone(),
        attested: row.manifest.is_some(),
        gone: row.gone,
        members: row.members.map(|set| set.size),
    }
}

/// A node that some use names and no row describes.
fn unknown(id: NodeRef) -> Node {
    let digest = match id {
        NodeRef::Content(digest) => Some(digest),
        NodeRef::Version(_) => None,
    };
    Node {
        id,
        digest,
        sha256: None,
        path: None,
        path_b64: None,
        title: None,
        size: None,
        state: if digest.is_some() {
            State::Unattested
        } else {
            State::Incomplete
        },
        closed: None,
        run: None,
        sealed_at: None,
        attested: false,
        gone: false,
        members: None,
    }
}

/// Takes away every edge that leads back to where a walk from the roots has come from. Two versions that were open at once may each have
/// been read by the other's writer, and a hostile catalogue may say anything.
fn break_cycles(roots: &[NodeRef], adjacent: &mut HashMap<NodeRef, Edges>) {
    enum Step {
        Enter(NodeRef),
        Leave(NodeRef),
    }
    let mut done: HashSet<NodeRef> = HashSet::new();
    let mut above: HashSet<NodeRef> = HashSet::new();
    for root in roots {
        let mut steps = vec![Step::Enter(*root)];
        while let Some(step) = steps.pop() {
            match step {
                Step::Leave(node) => {
                    above.remove(&node);
                    done.insert(node);
                }
                Step::Enter(node) => {
                    if done.contains(&node) || !above.insert(node) {
                        continue;
                    }
                    steps.push(Step::Leave(node));
                    if let Some(edges) = adjacent.get_mut(&node) {
                        edges.retain(|to, _| !above.contains(to));
                        steps.extend(edges.keys().rev().map(|to| Step::Enter(*to)));
                    }
                }
            }
        }
    }
}

/// By run, what was left out.
type CodeCounts = BTreeMap<RunId, BTreeSet<NodeRef>>;

#[cfg(test)]
mod tests;

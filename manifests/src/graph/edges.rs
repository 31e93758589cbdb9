//! The edges of single nodes, out of rows: nearest grade, strongest kind, ephemerals replaced. Not the walk over them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{CodeCounts, Options, Run};
use crate::bytes::PathBytes;
use crate::history::first_started_first;
use crate::id::{NodeRef, RunId};
use crate::rows::{UseRow, VersionRow};
use crate::shelf::{Catalogue, ShelfError};
use crate::vocabulary::{Grade, Kind};

/// The neighbours of one node, each with what ties it to them.
pub(super) type Edges = BTreeMap<NodeRef, Tie>;

/// What ties a version to another content. To have used it and to have replaced it are two things, and both may be true.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tie {
    used: Option<(Kind, Grade)>,
    replaced: Option<Grade>,
}

impl Tie {
    /// One for each edge.
    pub(super) fn each(self) -> impl Iterator<Item = (Kind, Grade)> {
        let replaced = self.replaced.map(|grade| (Kind::Parent, grade));
        self.used.into_iter().chain(replaced)
    }

    /// A node may be used often: the nearest grade counts, and a read that was seen more than an open.
    fn add(&mut self, kind: Kind, grade: Grade) {
        if kind == Kind::Parent {
            self.replaced = Some(self.replaced.map_or(grade, |g| g.min(grade)));
        } else {
            let (k, g) = self.used.unwrap_or((kind, grade));
            self.used = Some((k.min(kind), g.min(grade)));
        }
    }
}

/// Finds edges, and remembers rows so that each is asked for once.
pub(super) struct Collector<'a> {
    cat: &'a dyn Catalogue,
    options: &'a Options,
    rows: HashMap<NodeRef, Option<VersionRow>>,
    /// By run: the uses below a bound, and the bound.
    uses: HashMap<RunId, (u64, Vec<UseRow>)>,
    code: CodeCounts,
    /// Where a node was when it was used, for those whose rows do not say.
    paths: HashMap<NodeRef, PathBytes>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(cat: &'a dyn Catalogue, options: &'a Options) -> Self {
        Self {
            cat,
            options,
            rows: HashMap::new(),
            uses: HashMap::new(),
            code: CodeCounts::new(),
            paths: HashMap::new(),
        }
    }

    /// Asks for all of these rows at once.
    pub(super) fn fetch(&mut self, nodes: &[NodeRef]) -> Result<(), ShelfError> {
        let new: Vec<NodeRef> = nodes
            .iter()
            .copied()
            .filter(|n| !self.rows.contains_key(n))
            .collect();
        if !new.is_empty() {
            let rows = self.cat.versions(&new)?;
            self.rows.extend(
                new.iter()
                    .copied()
                    .zip(rows.into_iter().chain(std::iter::repeat(None))),
            );
        }
        Ok(())
    }

    pub(super) fn row(&self, node: NodeRef) -> Option<&VersionRow> {
        self.rows.get(&node)?.as_ref()
    }

    /// Its last known path, or else where it was when it was used.
    pub(super) fn path(&self, node: NodeRef) -> Option<&PathBytes> {
        let known = self.row(node).and_then(|row| row.path.as_ref());
        known.or_else(|| self.paths.get(&node))
    }

    /// The edges that lead away from the roots.
    pub(super) fn from(&mut self, node: NodeRef) -> Result<Edges, ShelfError> {
        let mut edges = Edges::new();
        // What an ephemeral is replaced by may be one itself. Each is opened once, so this ends.
        let mut opened: HashSet<NodeRef> = HashSet::from([node]);
        let mut pending = vec![(node, Grade::Copied)];
        while let Some((here, farthest)) = pending.pop() {
            let found = if self.options.downstream {
                self.outputs(here)?
            } else {
                self.inputs(here)?
            };
            let nodes: Vec<NodeRef> = found.keys().copied().collect();
            self.fetch(&nodes)?;
            for (other, tie) in found {
                // What was used is replaced by its own inputs. What was only replaced is part of the history, however long it was there.
                let hidden = !self.options.all
                    && tie.used.is_some()
                    && self.row(other).is_some_and(|r| r.ephemeral);
                for (kind, grade) in tie.each() {
                    let grade = grade.max(farthest);
                    if hidden && self.options.min_grade >= grade {
                        if opened.insert(other) {
                            pending.push((other, grade));
                        }
                    } else if other != node && !hidden && self.options.shows(kind, grade) {
                        edges.entry(other).or_default().add(kind, grade);
                    }
                }
            }
        }
        Ok(edges)
    }

    /// What a version was made from.
    fn inputs(&mut self, node: NodeRef) -> Result<Edges, ShelfError> {
        self.fetch(&[node])?;
        let Some(row) = self.row(node).cloned() else {
            return Ok(Edges::new());
        };
        let mut edges = Edges::new();
        if let Some(run) = row.run {
            self.fetch_uses(run, row.inputs)?;
            let uses = self.uses.get(&run).map_or(&[][..], |(_, uses)| uses);
            for used in uses
                .iter()
                .filter(|u| u.order < row.inputs && u.node != node)
            {
                if used.kind == Kind::Code {
                    self.code.entry(run).or_default().insert(used.node);
                }
                if let Some(path) = &used.path {
                    self.paths.entry(used.node).or_insert_with(|| path.clone());
                }
                merge(
                    &mut edges,
                    used.node,
                    used.kind,
                    used.grade(row.process, row.tree),
                );
            }
        }
        for copied in row.copied.iter().filter(|n| **n != node) {
            merge(&mut edges, *copied, Kind::Read, Grade::Copied);
        }
        if let Some(parent) = row.parent.filter(|p| *p != node) {
            merge(&mut edges, parent, succession(&row), Grade::SameProcess);
        }
        Ok(edges)
    }

    /// What was made from a version.
    fn outputs(&mut self, node: NodeRef) -> Result<Edges, ShelfError> {
        let mut edges = Edges::new();
        let mut by_run: BTreeMap<RunId, Vec<UseRow>> = BTreeMap::new();
        for used in self.cat.users(node)? {
            by_run.entry(used.run).or_default().push(used);
        }
        for (run, uses) in by_run {
            for row in self
                .cat
                .written_by(run)?
                .into_iter()
                .filter(|r| r.node != node)
            {
                for used in uses.iter().filter(|u| u.order < row.inputs) {
                    if used.kind == Kind::Code {
                        self.code.entry(run).or_default().insert(node);
                    }
                    let grade = used.grade(row.process, row.tree);
                    merge(&mut edges, row.node, used.kind, grade);
                }
                if row.copied.contains(&node) {
                    merge(&mut edges, row.node, Kind::Read, Grade::Copied);
                }
                self.rows.entry(row.node).or_insert(Some(row));
            }
        }
        // The version that replaced it lies at the same path.
        self.fetch(&[node])?;
        if let Some(path) = self.row(node).and_then(|r| r.path.clone()) {
            for row in self.cat.by_path(path.as_path())? {
                if row.parent == Some(node) && row.node != node {
                    merge(&mut edges, row.node, succession(&row), Grade::SameProcess);
                }
            }
        }
        Ok(edges)
    }

    fn fetch_uses(&mut self, run: RunId, below: u64) -> Result<(), ShelfError> {
        if self.uses.get(&run).is_none_or(|(bound, _)| *bound < below) {
            let uses = self.cat.uses(run, below)?;
            self.uses.insert(run, (below, uses));
        }
        Ok(())
    }

    /// The runs' rows, oldest first, each with what was left out of it.
    pub(super) fn runs(&self, ids: &BTreeSet<RunId>) -> Result<Vec<Run>, ShelfError> {
        let mut rows = Vec::new();
        for id in ids {
            rows.extend(self.cat.run(*id)?);
        }
        let shown = self.options.shows(Kind::Code, Grade::Copied);
        let runs = first_started_first(rows).into_iter().map(|row| {
            let code = self
                .code
                .get(&row.id)
                .filter(|_| !shown)
                .map_or(0, |c| c.len() as u64);
            Run {
                code,
                ..Run::from(row)
            }
        });
        Ok(runs.collect())
    }
}

/// What leads from a row to its `parent`: content that a set attests belongs to that set, a version replaces another one.
fn succession(row: &VersionRow) -> Kind {
    match row.node {
        NodeRef::Content(_) => Kind::Set,
        NodeRef::Version(_) => Kind::Parent,
    }
}

fn merge(edges: &mut Edges, to: NodeRef, kind: Kind, grade: Grade) {
    edges.entry(to).or_default().add(kind, grade);
}

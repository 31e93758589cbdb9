//! Walks from one manifest to everything it descends from, checking each ancestor against what was recorded of it. Not the bytes of files.
//!
//! Iterative, with no limit of depth. Ancestors are named by the hash of their manifests, so that what was checked once holds for
//! every file that descends from it.

mod checked;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::Terms;
use crate::bytes::PathBytes;
use crate::digest::{Digests, Sha256};
use crate::evidence::appraise::Appraisal;
use crate::id::{InstanceId, NodeRef, RunId};
use crate::set::{self, Leaf, MemberList, SetError, SetTree};
use crate::shelf::{Object, Shelf};
use crate::statement::{ManifestRef, Origin, SetHead, Statement};
use crate::vocabulary::{Closed, State};
use checked::{Checked, Trouble, load};

/// What a manifest or an input set says of one input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Claim {
    node: NodeRef,
    digests: Option<Digests>,
    manifest: Option<Sha256>,
    /// Only ingredients say it.
    size: Option<u64>,
    state: State,
}

/// What was found about everything that a manifest descends from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ancestry {
    /// The first ancestor that cannot be verified, and why.
    pub(super) culprit: Option<Culprit>,
    /// Ancestors whose manifests were checked, each once.
    pub(super) checked: u64,
    /// Inputs of the file or of its ancestors that nobody sealed, each once.
    pub(super) unattested: u64,
    /// Inputs that somebody still wrote, or that were not sealed yet, when they were used.
    pub(super) open: u64,
    /// Ancestors whose writer was killed.
    pub(super) killed: u64,
    /// Ancestors whose evidence is a simulator's.
    pub(super) simulated: u64,
}

/// Where verification of the ancestors stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Culprit {
    /// From the file's own node to the one that cannot be verified.
    pub(super) path: Vec<NodeRef>,
    /// What is wrong with it.
    pub(super) why: String,
    /// Reading failed, which says nothing about the ancestor.
    pub(super) io: bool,
    /// Its manifest is whole, and its evidence is not good.
    pub(super) evidence: bool,
}

/// What was checked already, for use across files. Good for one shelf and one set of terms only.
#[derive(Debug, Default)]
pub struct Memo {
    /// By the binding's digest.
    pub(super) evidence: HashMap<Sha256, Arc<Appraisal>>,
    /// For which life of a daemon each key signed.
    pub(super) keys: HashMap<Sha256, InstanceId>,
    /// What was found out about logs.
    pub(super) logs: super::transparency::Known,
    manifests: HashMap<Sha256, Result<Arc<Checked>, Trouble>>,
    sets: HashMap<RunId, Set>,
    members: HashMap<Sha256, Option<Arc<Members>>>,
}

/// The member list of a registered set.
#[derive(Debug)]
struct Members {
    list: MemberList,
    contents: HashSet<Digests>,
}

/// What a registered set says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    /// A member has this content.
    Member,
    /// None has, or the one with this path has another.
    Foreign,
    /// The member list is not here, or is not the one that was signed.
    Unknown,
}

/// The longest input set seen of a run. Shorter ones are its beginnings, which the tree can prove.
#[derive(Debug)]
struct Set {
    tree: SetTree,
    leaves: Arc<Leaves>,
}

/// An input set, with the first place of each node that has a manifest there.
#[derive(Debug)]
struct Leaves {
    list: Vec<Leaf>,
    sealed: HashMap<NodeRef, usize>,
}

impl From<Vec<Leaf>> for Leaves {
    fn from(list: Vec<Leaf>) -> Self {
        let mut sealed = HashMap::new();
        for (at, leaf) in list
            .iter()
            .enumerate()
            .filter(|(_, l)| l.manifest.is_some())
        {
            sealed.entry(leaf.node).or_insert(at);
        }
        Self { list, sealed }
    }
}

/// How far each set was looked at in one walk: all versions of a run share its beginning, which is looked at once.
#[derive(Debug, Default)]
struct Progress {
    /// By the set's address.
    sets: HashMap<usize, Looked>,
}

/// What was looked at of one set.
#[derive(Debug)]
struct Looked {
    /// Kept, so that no other can come to lie at its address.
    _leaves: Arc<Leaves>,
    /// All places below this, but for those that were passed over.
    done: usize,
    /// Places that a version passed over because they are itself, unfinished. To others they are inputs.
    passed: Vec<usize>,
}

/// Checks everything that `root` descends from. `root` itself has been checked by the caller.
pub(super) fn walk(
    shelf: &dyn Shelf,
    terms: &Terms,
    root: &Statement,
    memo: &mut Memo,
) -> Ancestry {
    let mut found = Ancestry::default();
    let first = NodeRef::Version(root.version);
    let mut from: HashMap<NodeRef, NodeRef> = HashMap::new();
    let mut seen: HashSet<Claim> = HashSet::new();
    let mut visited: HashSet<Sha256> = HashSet::new();
    let mut queue: VecDeque<Arc<Checked>> = VecDeque::new();
    let mut progress = Progress::default();
    let mut here = Arc::new(Checked {
        statement: root.clone(),
        size: 0,
        simulated: false,
    });
    loop {
        let node = NodeRef::Version(here.statement.version);
        let claims = match claims(shelf, &here.statement, memo, &mut progress) {
            Ok(claims) => claims,
            Err(trouble) => return stop(found, &from, first, node, trouble),
        };
        for claim in claims {
            if claim.node == node {
                let why = Trouble::new("it names itself as its own input");
                return stop(found, &from, first, node, why);
            }
            if seen.contains(&claim) {
                continue;
            }
            if claim.node != first {
                from.entry(claim.node).or_insert(node);
            }
            match check(shelf, terms, &claim, memo) {
                Ok(Some((name, checked))) => {
                    if visited.insert(name) {
                        found.checked += 1;
                        found.killed += u64::from(checked.statement.closed == Closed::Killed);
                        found.simulated += u64::from(checked.simulated);
                        queue.push_back(checked);
                    }
                }
                Ok(None) => match claim.state {
                    State::Open | State::Held | State::Digesting | State::Waiting => {
                        found.open += 1;
                    }
                    _ if vouched(terms, &claim) => {}
                    _ => found.unattested += 1,
                },
                Err(trouble) => return stop(found, &from, first, claim.node, trouble),
            }
            seen.insert(claim);
        }
        match queue.pop_front() {
            Some(next) => here = next,
            None => return found,
        }
    }
}

/// Whether the content of an input that nobody sealed is a reference value.
fn vouched(terms: &Terms, claim: &Claim) -> bool {
    let known = |d: &Digests| terms.appraiser.references.artifact(d).is_some();
    claim.digests.as_ref().is_some_and(known)
}

fn stop(
    mut found: Ancestry,
    from: &HashMap<NodeRef, NodeRef>,
    first: NodeRef,
    at: NodeRef,
    trouble: Trouble,
) -> Ancestry {
    let mut path = vec![at];
    let mut here = at;
    // Each node was entered once, from one that was there before it, so this ends at the file's own; the bound is for the reader.
    while let Some(next) = from
        .get(&here)
        .filter(|_| here != first && path.len() <= from.len())
    {
        path.push(*next);
        here = *next;
    }
    path.reverse();
    found.culprit = Some(Culprit {
        path,
        why: trouble.why,
        io: trouble.io,
        evidence: trouble.evidence,
    });
    found
}

/// Every input that a statement names and that was not looked at in this walk: its ingredients, and the leaves of the set it commits to.
fn claims(
    shelf: &dyn Shelf,
    statement: &Statement,
    memo: &mut Memo,
    progress: &mut Progress,
) -> Result<Vec<Claim>, Trouble> {
    let direct = statement
        .inputs
        .iter()
        .chain(&statement.parent)
        .map(|input| Claim {
            node: input.node,
            digests: input.digests,
            manifest: input.manifest.map(|m: ManifestRef| m.sha256),
            size: input.manifest.map(|m| m.size),
            state: input.state,
        });
    let leaves = leaves(shelf, statement, memo)?;
    let count = usize::try_from(statement.input_set.size)
        .unwrap_or(usize::MAX)
        .min(leaves.list.len());
    // A version that another process of its run read before it was finished stands in the run's set, and so in its own beginning of
    // that set: as still open, without a manifest. That says nothing of where it came from. With one it would be its own ancestor.
    let own = NodeRef::Version(statement.version);
    if leaves.sealed.get(&own).is_some_and(|at| *at < count) {
        return Err(Trouble::new("it names itself as its own input"));
    }
    let set = progress.next(&leaves, count, own).into_iter().map(|at| {
        let leaf = &leaves.list[at];
        Claim {
            node: leaf.node,
            digests: leaf.digests,
            manifest: leaf.manifest,
            size: None,
            state: leaf.state,
        }
    });
    Ok(direct.chain(set).collect())
}

impl Progress {
    /// The places below `count` that were not looked at before, without those of `own`.
    fn next(&mut self, leaves: &Arc<Leaves>, count: usize, own: NodeRef) -> Vec<usize> {
        let looked = self
            .sets
            .entry(Arc::as_ptr(leaves) as usize)
            .or_insert_with(|| Looked {
                _leaves: Arc::clone(leaves),
                done: 0,
                passed: Vec::new(),
            });
        let is_own = |at: &usize| leaves.list[*at].node == own;
        let fresh = looked.done..count.max(looked.done);
        looked.done = fresh.end;
        let (itself, mut places): (Vec<usize>, Vec<usize>) = fresh.partition(is_own);
        let owed = looked
            .passed
            .extract_if(.., |at| *at < count && !is_own(at));
        places.extend(owed);
        looked.passed.extend(itself);
        places
    }
}

/// The leaves of the set that the statement commits to, and perhaps later ones of the same run.
fn leaves(
    shelf: &dyn Shelf,
    statement: &Statement,
    memo: &mut Memo,
) -> Result<Arc<Leaves>, Trouble> {
    let head: SetHead = statement.input_set;
    let run = match &statement.origin {
        Origin::Run(run) => Some(run.id),
        Origin::Registered { .. } => None,
    };
    if let Some(set) = run.and_then(|r| memo.sets.get(&r))
        && set.tree.head_at(head.size) == Some(head)
    {
        return Ok(Arc::clone(&set.leaves));
    }
    let fetch = |root: &Sha256| shelf.object(Object::Inputs, root);
    let leaves = set::collect(head, &fetch).map_err(|e| match e {
        SetError::Shelf(e) => Trouble::from(e),
        other => Trouble::new(format!("its input set cannot be verified: {other}")),
    })?;
    let leaves = Arc::new(Leaves::from(leaves));
    if let Some(run) = run {
        let mut tree = SetTree::new();
        for leaf in &leaves.list {
            tree.push(leaf);
        }
        let set = Set {
            tree,
            leaves: Arc::clone(&leaves),
        };
        if memo
            .sets
            .get(&run)
            .is_none_or(|old| old.tree.len() < set.tree.len())
        {
            memo.sets.insert(run, set);
        }
    }
    Ok(leaves)
}

/// Checks one input against its manifest; `None` when it has none.
fn check(
    shelf: &dyn Shelf,
    terms: &Terms,
    claim: &Claim,
    memo: &mut Memo,
) -> Result<Option<(Sha256, Arc<Checked>)>, Trouble> {
    if let (NodeRef::Content(content), Some(d)) = (claim.node, claim.digests)
        && content != d.blake3
    {
        return Err(Trouble::new(
            "its name and its recorded digest are of different content",
        ));
    }
    let Some(name) = claim.manifest else {
        return Ok(None);
    };
    let checked = match memo.manifests.get(&name) {
        Some(known) => known.clone(),
        None => {
            let loaded = load(shelf, terms, &name, memo);
            memo.manifests.insert(name, loaded.clone());
            loaded
        }
    }?;
    let said = &checked.statement;
    if claim.size.is_some_and(|size| size != checked.size) {
        return Err(Trouble::new("its manifest is not as long as was recorded"));
    }
    if let Some(content) = claim.digests.filter(|d| *d != said.asset.digests) {
        let why = match (said.members, membership(shelf, said, None, &content, memo)) {
            (Some(_), Membership::Member) => None,
            (Some(_), Membership::Foreign) => Some("no member of its set has the recorded content"),
            (Some(_), Membership::Unknown) => {
                Some("the member list of its set is missing or damaged")
            }
            (None, _) => Some("its manifest is about other content than was recorded"),
        };
        if let Some(why) = why {
            return Err(Trouble::new(why));
        }
    }
    if let NodeRef::Version(v) = claim.node
        && v != said.version
    {
        return Err(Trouble::new(format!(
            "its manifest is about another version, {}",
            said.version
        )));
    }
    Ok(Some((name, checked)))
}

/// Whether a registered set has a member with this content. Of a file whose path below SOURCE is known, and ends like the path of a
/// member, that member is meant and no other.
pub(super) fn membership(
    shelf: &dyn Shelf,
    set: &Statement,
    path: Option<&PathBytes>,
    content: &Digests,
    memo: &mut Memo,
) -> Membership {
    let name = set.asset.digests.sha256;
    let load = || {
        let bytes = shelf.object(Object::Members, &name).ok()??;
        let list = (Sha256::of(&bytes) == name).then(|| MemberList::decode(&bytes).ok())??;
        let contents = list.members().iter().map(|m| m.digests).collect();
        (set.members == Some(list.head())).then(|| Arc::new(Members { list, contents }))
    };
    let Some(members) = memo.members.entry(name).or_insert_with(load) else {
        return Membership::Unknown;
    };
    let own = path.and_then(|path| {
        let starts = path.0.iter().enumerate().filter(|(_, b)| **b == b'/');
        let ends = starts.map(|(at, _)| PathBytes(path.0[at + 1..].to_vec()));
        // The whole path first: the set may be SOURCE itself.
        let ends = std::iter::once(path.clone()).chain(ends);
        ends.filter_map(|end| members.list.get(&end)).next()
    });
    let fits = match own {
        Some(member) => member.digests == *content,
        None => members.contents.contains(content),
    };
    if fits {
        Membership::Member
    } else {
        Membership::Foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Blake3;
    use crate::vocabulary::Kind;

    #[test]
    fn each_leaf_of_a_shared_set_is_looked_at_once_and_none_is_left_out() {
        let node = |i: u8| NodeRef::Content(Blake3([i; 32]));
        let leaf = |i: u8| Leaf {
            node: node(i),
            digests: None,
            manifest: None,
            kind: Kind::Opened,
            state: State::Open,
            process: 0,
            tree: 0,
        };
        let leaves = Arc::new(Leaves::from((0..6).map(leaf).collect::<Vec<_>>()));
        let mut progress = Progress::default();
        assert_eq!(progress.next(&leaves, 4, node(2)), [0, 1, 3]);
        assert_eq!(progress.next(&leaves, 3, node(2)), [0; 0], "itself, still");
        assert_eq!(progress.next(&leaves, 2, node(9)), [0; 0], "not its input");
        assert_eq!(progress.next(&leaves, 6, node(5)), [4, 2]);
        assert_eq!(progress.next(&leaves, 6, node(0)), [5]);
        assert_eq!(progress.next(&leaves, 6, node(1)), [0; 0]);
    }
}

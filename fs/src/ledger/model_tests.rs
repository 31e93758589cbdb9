//! The ledger against a model that knows only files, contents and runs: whatever happens in whatever order, the same inputs come out.

use std::collections::{BTreeMap, BTreeSet};

use atlas_manifests::digest::{Blake3, Digests};
use atlas_manifests::id::NodeRef;
use proptest::prelude::*;

use super::testing::{Bench, CREATE, REWRITE, UPDATE, who};
use crate::caller::Who;
use crate::vfs::observer::HandleId;

const FILES: u64 = 4;

#[derive(Debug, Clone)]
enum Op {
    Read {
        file: u64,
        run: u64,
        process: u32,
    },
    OpenWrite {
        file: u64,
        run: u64,
        process: u32,
        how: u8,
        keep: bool,
    },
    DigestKept,
    Store {
        open: usize,
        content: u8,
    },
    Close {
        open: usize,
    },
    Digest {
        at: usize,
    },
    Touch {
        file: u64,
    },
    Seal,
    Rest,
}

fn op() -> impl Strategy<Value = Op> {
    let place = || (0..FILES, 1..4u64, 0..3u32);
    prop_oneof![
        4 => place().prop_map(|(file, run, process)| Op::Read { file, run, process }),
        3 => (place(), 0..3u8, any::<bool>()).prop_map(|((file, run, process), how, keep)| Op::OpenWrite { file, run, process, how, keep }),
        1 => Just(Op::DigestKept),
        4 => (any::<usize>(), 1..250u8).prop_map(|(open, content)| Op::Store { open, content }),
        4 => any::<usize>().prop_map(|open| Op::Close { open }),
        3 => any::<usize>().prop_map(|at| Op::Digest { at }),
        1 => (0..FILES).prop_map(|file| Op::Touch { file }),
        2 => Just(Op::Seal),
        1 => Just(Op::Rest),
    ]
}

/// What the model knows of one version that ended.
#[derive(Debug)]
struct Ended {
    content: Vec<u8>,
    /// Contents that its run had used, as far as they had ended by then.
    inputs: BTreeSet<Blake3>,
    /// What the file held before.
    replaced: Option<Vec<u8>>,
    /// Contents of its run's inputs that were overwritten before anybody could digest them are missing from the manifest, never wrong in it.
    run: u64,
}

struct Writer {
    file: u64,
    handle: HandleId,
    by: Who,
    stored: bool,
    replaces: Option<Vec<u8>>,
}

fn blake(content: &[u8]) -> Blake3 {
    Blake3::of(content)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn no_input_is_invented_and_none_that_was_digested_is_missing(ops in prop::collection::vec(op(), 1..80)) {
        let mut b = Bench::new();
        let mut counter = 0u32;
        let mut fresh = |tag: u8| { counter += 1; let mut c = counter.to_le_bytes().to_vec(); c.push(tag); c };
        for file in 0..FILES / 2 {
            let content = fresh(0);
            b.given(file, &content);
        }
        let mut writers: Vec<Writer> = Vec::new();
        // Contents that a run may name: what it opened, and what files it had open turned into.
        let mut used: BTreeMap<u64, BTreeSet<Blake3>> = BTreeMap::new();
        let mut ended: Vec<Ended> = Vec::new();
        let mut kept: BTreeSet<Blake3> = BTreeSet::new();
        let busy = |writers: &[Writer], file: u64| writers.iter().any(|w| w.file == file);
        for op in ops {
            match op {
                Op::Read { file, run, process } => {
                    if let Some((_, content)) = b.files.get(&file).cloned() {
                        if !busy(&writers, file) && !content.is_empty() {
                            used.entry(run).or_default().insert(blake(&content));
                        }
                        // While somebody writes it, the reader uses what it becomes, if it ends in another run before the output does.
                        if !busy(&writers, file) {
                            b.read_file(file, who(run, process));
                        }
                    }
                }
                Op::OpenWrite { file, run, process, how, keep } => {
                    if busy(&writers, file) {
                        continue;
                    }
                    if keep && b.keep(file) {
                        kept.insert(blake(&b.files[&file].1));
                    }
                    let by = who(run, process);
                    let access = match (b.files.contains_key(&file), how) {
                        (false, _) => CREATE,
                        (true, 0) => REWRITE,
                        (true, _) => UPDATE,
                    };
                    if access == UPDATE {
                        let content = b.files[&file].1.clone();
                        if !content.is_empty() {
                            used.entry(run).or_default().insert(blake(&content));
                        }
                    }
                    let replaces = b.files.get(&file).map(|f| f.1.clone()).filter(|c| !c.is_empty());
                    let handle = b.open(file, access, by);
                    writers.push(Writer { file, handle, by, stored: access != UPDATE, replaces });
                }
                Op::Store { open, content } => {
                    if writers.is_empty() {
                        continue;
                    }
                    let n = open % writers.len();
                    let w = &mut writers[n];
                    w.stored = true;
                    let content = fresh(content);
                    b.store(w.file, &content);
                }
                Op::Close { open } => {
                    if writers.is_empty() {
                        continue;
                    }
                    let w = writers.swap_remove(open % writers.len());
                    let content = b.files[&w.file].1.clone();
                    if w.stored && !content.is_empty() {
                        let inputs = used.get(&w.by.run.n).cloned().unwrap_or_default();
                        ended.push(Ended { content, inputs, replaced: w.replaces, run: w.by.run.n });
                    }
                    b.close(w.handle, w.file, w.by);
                }
                Op::Digest { at } => {
                    // The pool is told off before a file is opened for writing.
                    let quiet: Vec<usize> =
                        b.digests.iter().enumerate().filter(|(_, (_, f, _))| !busy(&writers, *f)).map(|(i, _)| i).collect();
                    if !quiet.is_empty() {
                        b.digest_one(quiet[at % quiet.len()]);
                    }
                }
                // Not while somebody stores: whether the times are those of the store or of the touch, only bytes can tell then.
                Op::Touch { file } if b.files.contains_key(&file) && !writers.iter().any(|w| w.file == file && w.stored) => {
                    b.touch(file);
                }
                Op::Touch { .. } => {}
                Op::DigestKept => {
                    if !b.kept.is_empty() {
                        b.digest_kept(0);
                    }
                }
                Op::Rest => b.ledger.rest(),
                Op::Seal => {
                    if !b.plans.is_empty() {
                        b.seal_one();
                    }
                }
            }
        }
        while let Some(w) = writers.pop() {
            let content = b.files[&w.file].1.clone();
            if w.stored && !content.is_empty() {
                let inputs = used.get(&w.by.run.n).cloned().unwrap_or_default();
                ended.push(Ended { content, inputs, replaced: w.replaces, run: w.by.run.n });
            }
            b.close(w.handle, w.file, w.by);
        }
        b.settle();

        // Nothing that ended is still on its way.
        prop_assert!(b.ledger.unsettled().is_empty());
        let wrong = b.inconsistencies();
        prop_assert!(wrong.is_empty(), "{wrong:#?}");
        for (plan, leaves) in &b.sealed {
            let digests = plan.row.digests.unwrap();
            // A manifest names only bytes that the file had at a close.
            let model = ended.iter().find(|e| Digests::of(&e.content) == digests);
            let model = model.ok_or_else(|| TestCaseError::fail("sealed bytes that no close left"))?;
            prop_assert_eq!(plan.run.n, model.run);
            prop_assert!(plan.parent.is_some() || model.replaced.is_none(), "it replaced something");
            // One that was overwritten undigested, or was empty, has none.
            if let Some(said) = plan.parent.as_ref().and_then(|p| p.digests) {
                prop_assert_eq!(Some(said), model.replaced.as_deref().map(Digests::of), "it replaced something else");
            }
            let named: BTreeSet<Blake3> = leaves.iter().filter_map(|l| l.digests.map(|d| d.blake3)).collect();
            prop_assert!(named.is_subset(&model.inputs), "invented: {:?} not in {:?}", named, model.inputs);
            // What is missing was overwritten undigested, and its leaf says so.
            let nameless = leaves.iter().filter(|l| l.digests.is_none()).count();
            prop_assert!(model.inputs.len() - named.len() <= nameless, "missing inputs without a leaf");
            for leaf in leaves {
                prop_assert_ne!(leaf.node, NodeRef::Version(plan.version), "a self-loop");
                // What was lost undigested is named when it is lost; it has no inputs, so it closes no circle.
                if let (NodeRef::Version(v), Some(_)) = (leaf.node, leaf.digests) {
                    prop_assert!(v.n < plan.version.n, "an edge to a later version");
                }
            }
        }
        // Every version that ended is sealed, or was overwritten before its digest with no copy taken.
        for e in &ended {
            let sealed = b.sealed.iter().any(|(p, _)| p.row.digests == Some(Digests::of(&e.content)));
            let overwritten = !b.files.values().any(|(_, c)| *c == e.content);
            let lost = overwritten && !kept.contains(&blake(&e.content));
            prop_assert!(sealed || lost, "an ended version was forgotten");
        }
    }
}

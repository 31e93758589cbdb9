//! Whether what stands in a log can be true together: instances begin once and end, counts are right, keys have one owner. Leaves are read in
//! their order; memory grows with instances, not with leaves. Not whether the tree holds: that is `reader`.

use std::collections::HashMap;

use super::leaf::Leaf;
use super::reader::{LogError, LogReader, Source};
use super::tile::WIDTH;
use crate::digest::Sha256;
use crate::id::InstanceId;

/// A rule that a leaf breaks, or a place where the tree does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Which leaf; the first of its bundle when that cannot be believed.
    pub index: u64,
    /// What is wrong.
    pub what: String,
}

/// What was read so far.
#[derive(Debug, Default)]
pub struct Audit {
    next: u64,
    instances: HashMap<InstanceId, Instance>,
    keys: HashMap<Sha256, InstanceId>,
    counts: Counts,
}

/// How many leaves of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Manifests.
    pub manifests: u64,
    /// Heads of runs' inputs.
    pub inputs: u64,
    /// Instances that began.
    pub instances: u64,
    /// Anchors.
    pub anchors: u64,
    /// Revocations.
    pub revocations: u64,
}

/// A life of a daemon, as the log tells it.
#[derive(Debug, Default)]
struct Instance {
    manifests: u64,
    anchors: u64,
    ended: bool,
    evidence: bool,
}

impl Audit {
    /// How many leaves of each kind were read.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The next leaf cannot be had, so counts mean nothing from here on for any instance.
    pub fn skip(&mut self, leaves: u64) {
        self.next += leaves;
    }

    /// Reads the next leaf; what it breaks.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Breach> {
        let index = self.next;
        self.next += 1;
        let broken = match Leaf::decode(bytes) {
            Ok(leaf) => self.rules(&leaf),
            Err(e) => vec![format!("is no leaf: {e}")],
        };
        let breach = |what| Breach { index, what };
        broken.into_iter().map(breach).collect()
    }

    fn rules(&mut self, leaf: &Leaf) -> Vec<String> {
        let mut broken = Vec::new();
        match leaf {
            Leaf::Instance {
                instance,
                evidence,
                seal_key,
                log_key,
            } => {
                self.counts.instances += 1;
                if self.instances.contains_key(instance) {
                    broken.push(format!("instance {instance} begins a second time"));
                }
                let born = self.instances.entry(*instance).or_default();
                born.evidence = evidence.is_some();
                if log_key.is_some() && evidence.is_none() {
                    broken.push("has a key of its memory, and no evidence for it".to_owned());
                }
                for key in [Some(seal_key), log_key.as_ref()].into_iter().flatten() {
                    let owner = self.keys.insert(*key, *instance);
                    if let Some(owner) = owner {
                        broken.push(format!("key {key} is that of instance {owner} already"));
                    }
                }
            }
            Leaf::Manifest { instance, .. } => {
                self.counts.manifests += 1;
                if let Some(known) = self.living(instance, &mut broken) {
                    known.manifests += 1;
                }
            }
            Leaf::Inputs { run, .. } => {
                self.counts.inputs += 1;
                self.living(&run.instance, &mut broken);
            }
            Leaf::Anchor {
                instance,
                seq,
                manifests,
                evidence,
                last,
            } => {
                self.counts.anchors += 1;
                if let Some(known) = self.living(instance, &mut broken) {
                    if *seq != known.anchors {
                        let expected = known.anchors;
                        broken.push(format!("anchor {seq} stands where {expected} belongs"));
                    }
                    if *manifests != known.manifests {
                        let counted = known.manifests;
                        broken.push(format!(
                            "counts {manifests} manifests of its instance, and the log has {counted}"
                        ));
                    }
                    if evidence.is_some() && !known.evidence {
                        broken.push("has evidence, and its instance began without".to_owned());
                    }
                    // One that is wrong is told once.
                    known.anchors = seq.saturating_add(1);
                    known.manifests = *manifests;
                    known.ended |= *last;
                }
            }
            Leaf::Revocation { .. } => self.counts.revocations += 1,
        }
        broken
    }

    fn living(&mut self, id: &InstanceId, broken: &mut Vec<String>) -> Option<&mut Instance> {
        let Some(known) = self.instances.get_mut(id) else {
            broken.push(format!("instance {id} never began"));
            return None;
        };
        if known.ended {
            broken.push(format!("stands after the last anchor of instance {id}"));
        }
        Some(known)
    }
}

/// Reads a whole log at its checkpoint: each bundle against the tiles, each tile against the root, each leaf against the rules. `tell` hears of
/// each breach; counts are of what could be read.
///
/// # Errors
/// When the source itself fails: what could not be asked for is not called damaged.
pub fn audit<S: Source>(
    log: &LogReader<S>,
    mut tell: impl FnMut(Breach),
) -> Result<Counts, LogError> {
    let (size, mut audit) = (log.head().size, Audit::default());
    for number in 0..size.div_ceil(WIDTH) {
        match log.leaves(number) {
            Ok(bundle) => {
                for leaf in bundle.iter() {
                    audit.read(leaf).into_iter().for_each(&mut tell);
                }
            }
            Err(e @ LogError::Source(_)) => return Err(e),
            Err(e) => {
                let index = number * WIDTH;
                tell(Breach {
                    index,
                    what: e.to_string(),
                });
                audit.skip((size - index).min(WIDTH));
            }
        }
    }
    Ok(audit.counts())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RunId;
    use crate::log::leaf::{Reason, Revoked};
    use crate::log::reader::Directory;
    use crate::log::testing::{Files, TestKey};
    use crate::statement::SetHead;

    fn id(n: u8) -> InstanceId {
        InstanceId([n; 16])
    }

    fn begin(n: u8, key: u8) -> Leaf {
        Leaf::Instance {
            instance: id(n),
            evidence: None,
            seal_key: Sha256([key; 32]),
            log_key: None,
        }
    }

    fn sealed(n: u8) -> Leaf {
        Leaf::Manifest {
            manifest: Sha256::of(&[n]),
            instance: id(n),
        }
    }

    fn anchor(n: u8, seq: u64, manifests: u64, last: bool) -> Leaf {
        Leaf::Anchor {
            instance: id(n),
            seq,
            manifests,
            evidence: None,
            last,
        }
    }

    fn inputs(n: u8) -> Leaf {
        let head = SetHead {
            size: 1,
            root: Sha256([1; 32]),
        };
        let run = RunId {
            instance: id(n),
            n: 1,
        };
        Leaf::Inputs { run, head }
    }

    fn told(leaves: &[Leaf]) -> Vec<String> {
        let mut audit = Audit::default();
        leaves
            .iter()
            .flat_map(|l| audit.read(&l.encode()))
            .map(|b| format!("{} {}", b.index, b.what))
            .collect()
    }

    #[test]
    fn a_log_that_can_be_true_breaks_no_rule() {
        let revoked = Leaf::Revocation {
            what: Revoked::Instance(id(9)),
            reason: Reason::Wrong,
        };
        let leaves = [
            begin(1, 1),
            inputs(1),
            sealed(1),
            anchor(1, 0, 1, false),
            begin(2, 2),
            sealed(2),
            sealed(1),
            anchor(1, 1, 2, true),
            anchor(2, 0, 1, true),
            revoked,
        ];
        assert_eq!(told(&leaves), Vec::<String>::new());
    }

    #[test]
    fn each_rule_is_kept() {
        for (leaves, what) in [
            (
                vec![sealed(1)],
                "0 instance 01010101010101010101010101010101 never began",
            ),
            (vec![inputs(1)], "never began"),
            (vec![anchor(1, 0, 0, false)], "never began"),
            (
                vec![begin(1, 1), begin(1, 2)],
                "1 instance 01010101010101010101010101010101 begins a second time",
            ),
            (vec![begin(1, 1), begin(2, 1)], "is that of instance"),
            (
                vec![begin(1, 1), anchor(1, 1, 0, false)],
                "anchor 1 stands where 0 belongs",
            ),
            (
                vec![begin(1, 1), anchor(1, 0, 1, false)],
                "counts 1 manifests",
            ),
            (
                vec![begin(1, 1), sealed(1), anchor(1, 0, 0, false)],
                "2 counts 0 manifests",
            ),
            (
                vec![begin(1, 1), anchor(1, 0, 0, true), sealed(1)],
                "after the last anchor",
            ),
            (
                vec![begin(1, 1), anchor(1, 0, 0, true), inputs(1)],
                "after the last anchor",
            ),
            (
                vec![begin(1, 1), anchor(1, 0, 0, true), anchor(1, 1, 0, true)],
                "after the last anchor",
            ),
        ] {
            let told = told(&leaves);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].contains(what), "{told:?}");
        }
        let mut audit = Audit::default();
        assert_eq!(audit.read(b"garbage").len(), 1);
    }

    #[test]
    fn each_file_that_was_touched_is_told_of_and_the_rest_is_still_read() {
        let dir = tempfile::tempdir().unwrap();
        let key = TestKey::log("log.example/1", 1);
        let leaf = |n: u64| match n {
            0 => begin(1, 1).encode(),
            _ => sealed(1).encode(),
        };
        Files::new(dir.path()).write(&key, 700, leaf);
        let look = || {
            let log = LogReader::open(Directory::new(dir.path())).unwrap();
            let mut told = Vec::new();
            let counts = audit(&log, |b| told.push(b.index)).unwrap();
            (told, counts.manifests)
        };
        assert_eq!(look(), (vec![], 699));
        let bundle = dir.path().join("tile/entries/001");
        let good = std::fs::read(&bundle).unwrap();
        let mut bad = good.clone();
        bad[100] ^= 1;
        std::fs::write(&bundle, bad).unwrap();
        assert_eq!(look(), (vec![256], 699 - 256));
        std::fs::write(&bundle, good).unwrap();
        let tile = dir.path().join("tile/0/000");
        let mut bytes = std::fs::read(&tile).unwrap();
        bytes[7] ^= 1;
        std::fs::write(&tile, bytes).unwrap();
        // The instance began in what cannot be believed.
        assert_eq!(look().0.len(), 1 + 700 - 256);
    }
}

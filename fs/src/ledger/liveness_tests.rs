//! Whatever order opens, closes, releases, cancelled digests and timers come in: nothing stays on its way for ever.

use atlas_manifests::vocabulary::Closed;
use proptest::prelude::*;

use super::testing::{APPEND, Bench, CREATE, READ, REWRITE, UPDATE, who};
use super::{Ticket, Undigested};
use crate::caller::Who;
use crate::vfs::observer::HandleId;

#[derive(Debug, Clone)]
enum Op {
    Open {
        file: u64,
        run: u64,
        how: u8,
        late: bool,
        keep: bool,
    },
    DigestKept,
    Store {
        at: usize,
    },
    Flush {
        at: usize,
    },
    Release {
        at: usize,
    },
    Read {
        file: u64,
        run: u64,
    },
    Touch {
        file: u64,
    },
    Tick,
    Digest {
        at: usize,
    },
    CallOff {
        at: usize,
    },
    Seal,
    Rest,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0..2u64, 1..3u64, 0..3u8, prop::bool::weighted(0.1), any::<bool>()).prop_map(|(file, run, how, late, keep)| Op::Open { file, run, how, late, keep }),
        2 => Just(Op::DigestKept),
        5 => any::<usize>().prop_map(|at| Op::Store { at }),
        5 => any::<usize>().prop_map(|at| Op::Flush { at }),
        5 => any::<usize>().prop_map(|at| Op::Release { at }),
        2 => (0..2u64, 1..3u64).prop_map(|(file, run)| Op::Read { file, run }),
        1 => (0..2u64).prop_map(|file| Op::Touch { file }),
        2 => Just(Op::Tick),
        4 => any::<usize>().prop_map(|at| Op::Digest { at }),
        4 => any::<usize>().prop_map(|at| Op::CallOff { at }),
        2 => Just(Op::Seal),
        1 => Just(Op::Rest),
    ]
}

struct Writer {
    file: u64,
    handle: HandleId,
    by: Who,
    flushed: bool,
}

/// The pool's side: jobs that a writable open called off, and that will say so later.
struct World {
    b: Bench,
    writers: Vec<Writer>,
    called_off: Vec<(Ticket, u64)>,
    stored: u32,
}

impl World {
    fn call_off(&mut self, file: u64) {
        let all = std::mem::take(&mut self.b.digests);
        for job in all {
            if job.1 == file {
                self.called_off.push((job.0, job.1));
            } else {
                self.b.digests.push(job);
            }
        }
    }

    fn say_off(&mut self, at: usize) {
        let (ticket, file) = self.called_off.remove(at);
        let now = self.b.identity(file);
        self.b.ledger.undigested(ticket, Undigested::Changed(now));
        self.b.collect();
    }

    fn tick(&mut self) {
        for ticket in std::mem::take(&mut self.b.holds) {
            self.b.ledger.still_held(ticket);
        }
        self.b.collect();
    }

    fn flush(&mut self, at: usize) {
        let w = &mut self.writers[at];
        w.flushed = true;
        let (handle, file, by) = (w.handle, w.file, w.by);
        self.b.flush(handle, file, by, Closed::Explicit);
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Open {
                file,
                run,
                how,
                late,
                keep,
            } => {
                if keep && !self.writers.iter().any(|w| w.file == file) {
                    self.b.keep(file);
                }
                self.call_off(file);
                let access = match (self.b.files.contains_key(&file), how) {
                    (false, _) => CREATE,
                    (true, 0) => REWRITE,
                    (true, 1) => UPDATE,
                    (true, _) => APPEND,
                };
                let by = who(run, u32::try_from(self.writers.len()).unwrap_or(0));
                if late {
                    // Changed with nobody seen to write.
                    self.b.shift(file);
                }
                let handle = self.b.open(file, access, by);
                self.writers.push(Writer {
                    file,
                    handle,
                    by,
                    flushed: false,
                });
            }
            Op::Store { at } if !self.writers.is_empty() => {
                let file = self.writers[at % self.writers.len()].file;
                self.stored += 1;
                let content = vec![7; 1 + self.stored as usize % 5];
                self.b.store(file, &content);
            }
            Op::Flush { at } if !self.writers.is_empty() => self.flush(at % self.writers.len()),
            Op::Release { at } if !self.writers.is_empty() => {
                let at = at % self.writers.len();
                if !self.writers[at].flushed {
                    self.flush(at);
                }
                let w = self.writers.swap_remove(at);
                self.b.release(w.handle, w.file);
            }
            Op::Read { file, run } if self.b.files.contains_key(&file) => {
                let by = who(run, 9);
                let handle = self.b.open(file, READ, by);
                self.b.release(handle, file);
            }
            Op::Touch { file } if self.b.files.contains_key(&file) => self.b.touch(file),
            Op::Tick => self.tick(),
            Op::Digest { at } => {
                // A lease is not to be had while somebody writes.
                let writers = &self.writers;
                let free = |f: u64| !writers.iter().any(|w| w.file == f);
                let quiet: Vec<usize> = self
                    .b
                    .digests
                    .iter()
                    .enumerate()
                    .filter(|(_, j)| free(j.1))
                    .map(|(i, _)| i)
                    .collect();
                if !quiet.is_empty() {
                    self.b.digest_one(quiet[at % quiet.len()]);
                }
            }
            Op::CallOff { at } if !self.called_off.is_empty() => {
                self.say_off(at % self.called_off.len());
            }
            Op::DigestKept if !self.b.kept.is_empty() => self.b.digest_kept(0),
            Op::Rest => self.b.ledger.rest(),
            Op::Seal if !self.b.plans.is_empty() => self.b.seal_one(),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8192, ..ProptestConfig::default() })]

    #[test]
    fn nothing_stays_on_its_way_for_ever(ops in prop::collection::vec(op(), 1..60)) {
        let mut w = World { b: Bench::new(), writers: Vec::new(), called_off: Vec::new(), stored: 0 };
        w.b.given(0, b"given");
        for op in &ops {
            w.apply(op);
        }
        while !w.writers.is_empty() {
            w.apply(&Op::Release { at: 0 });
        }
        while !w.called_off.is_empty() {
            w.say_off(0);
        }
        w.tick();
        w.b.settle();
        let stuck: Vec<_> = w.b.ledger.unsettled().into_iter().map(|n| format!("{n:?} {:?}", w.b.ledger.nodes[n])).collect();
        prop_assert!(stuck.is_empty(), "{stuck:#?}");
        let wrong = w.b.inconsistencies();
        prop_assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

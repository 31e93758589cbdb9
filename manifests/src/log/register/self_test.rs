//! Whether a store really compares before it swaps, tried on keys that hold nothing else. Not whether it keeps what it stored.
//!
//! Some stores of objects take the headers of a conditional write and overwrite all the same; others compare, and then write in a second
//! step. Neither gives an error, and a log on either forks when two daemons sign for it.

use std::sync::Barrier;
use std::thread;

use super::{Register, RegisterError, Swapped};

/// Opens a register of its own, with connections of its own, at the probe of this number: `0..PROBES`. A probe holds nothing before.
pub type OpenProbe<'a> = dyn Fn(usize) -> Result<Box<dyn Register>, RegisterError> + Sync + 'a;

/// How many keys `self_test` wants. Whoever calls it removes them afterwards.
pub const PROBES: usize = 4;

/// More than any log has writers.
const WRITERS: usize = 16;
/// Of one value after another, on each key that is raced for: what compares in one step and writes in the next gives itself away in one.
const RACES: usize = 4;

/// Tries creation, stale swaps, swaps by value, and races, each of which must have exactly one winner.
///
/// # Errors
/// `Unfit`, with the reason in one line, when the store does not compare and swap; otherwise whatever a probe answered.
pub fn self_test(open: &OpenProbe<'_>) -> Result<(), RegisterError> {
    one_after_another(open)?;
    (1..PROBES).try_for_each(|probe| all_at_once(open, probe))
}

fn one_after_another(open: &OpenProbe<'_>) -> Result<(), RegisterError> {
    let (one, two) = (open(0)?, open(0)?);
    let refuse = |why: &str| {
        let why = format!("{why}: a log on it would fork, so use another store");
        Err(RegisterError::unfit(one.name(), why))
    };
    let holds = |value: &[u8]| Ok(two.load()?.as_deref() == Some(value));
    if two.load()?.is_some() {
        return refuse("a key that nobody wrote has a value");
    }
    if one.swap(None, b"first")? != Swapped::Done {
        return refuse("it does not create a value where there is none");
    }
    if two.swap(None, b"second")? != Swapped::Lost || !holds(b"first")? {
        return refuse(
            "it creates a value over one that is there (the second of two conditional creates won)",
        );
    }
    if one.swap(Some(b"stale"), b"third")? != Swapped::Lost || !holds(b"first")? {
        return refuse("it swaps a value that it does not hold");
    }
    // By whoever did not write it: what one of them remembers must not be what decides.
    if two.swap(Some(b"first"), b"fourth")? != Swapped::Done || !holds(b"fourth")? {
        return refuse("it does not swap a value that it holds");
    }
    if one.swap(Some(b"first"), b"fifth")? != Swapped::Lost || !holds(b"fourth")? {
        return refuse("it swaps a value that another replaced (a stale swap won)");
    }
    Ok(())
}

fn all_at_once(open: &OpenProbe<'_>, probe: usize) -> Result<(), RegisterError> {
    let writers = on_each(0..WRITERS, |_| open(probe))?;
    let mut held: Option<Vec<u8>> = None;
    for race in 0..RACES {
        let start = Barrier::new(WRITERS);
        let values: Vec<_> = (0..WRITERS)
            .map(|writer| format!("race {race}, writer {writer}").into_bytes())
            .collect();
        let won = on_each(writers.iter().zip(&values), |(writer, value)| {
            start.wait();
            writer.swap(held.as_deref(), value)
        })?;
        let winners: Vec<_> = (0..WRITERS)
            .filter(|&w| won.get(w) == Some(&Swapped::Done))
            .collect();
        let [winner] = winners.as_slice() else {
            let why = format!(
                "{} of {WRITERS} writers won one race: it does not compare and swap in one step, and a log on it would fork, so use \
                 another store",
                winners.len()
            );
            return Err(name_of(&writers, why));
        };
        let value = values.into_iter().nth(*winner);
        for writer in writers.iter().take(2) {
            if writer.load()? != value {
                let why = "what won a race is not what it holds: it answers with old values, and a log on it would fork, so use another \
                           store";
                return Err(name_of(&writers, why));
            }
        }
        held = value;
    }
    Ok(())
}

fn name_of(writers: &[Box<dyn Register>], why: impl ToString) -> RegisterError {
    RegisterError::unfit(writers.first().map(|w| w.name()).unwrap_or_default(), why)
}

/// Does it for all of them at once; the first error, when there is one, after all are done.
fn on_each<I: Send, O: Send>(
    items: impl Iterator<Item = I>,
    f: impl Fn(I) -> Result<O, RegisterError> + Sync,
) -> Result<Vec<O>, RegisterError> {
    let f = &f;
    thread::scope(|scope| {
        let threads: Vec<_> = items.map(|item| scope.spawn(move || f(item))).collect();
        threads
            .into_iter()
            .map(|t| {
                t.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// What a test's store does wrong.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Lie {
        None,
        Creates,
        Swaps,
        TwoSteps,
        StaleReads,
    }

    struct Memory {
        lie: Lie,
        held: Arc<Mutex<Option<Vec<u8>>>>,
        seen: Mutex<Option<Vec<u8>>>,
    }

    impl Register for Memory {
        fn name(&self) -> String {
            "memory".to_owned()
        }

        fn load(&self) -> Result<Option<Vec<u8>>, RegisterError> {
            let now = self.held.lock().unwrap().clone();
            let mut seen = self.seen.lock().unwrap();
            if self.lie == Lie::StaleReads && seen.is_some() {
                return Ok(seen.clone());
            }
            seen.clone_from(&now);
            Ok(now)
        }

        fn swap(&self, old: Option<&[u8]>, new: &[u8]) -> Result<Swapped, RegisterError> {
            let mut held = self.held.lock().unwrap();
            let blind = match old {
                None => self.lie == Lie::Creates,
                Some(_) => self.lie == Lie::Swaps,
            };
            if held.as_deref() != old && !blind {
                return Ok(Swapped::Lost);
            }
            if self.lie == Lie::TwoSteps {
                drop(held);
                thread::sleep(Duration::from_millis(1));
                held = self.held.lock().unwrap();
            }
            *held = Some(new.to_vec());
            Ok(Swapped::Done)
        }
    }

    fn tried(lie: Lie) -> Result<(), RegisterError> {
        let held: Vec<_> = (0..PROBES).map(|_| Arc::default()).collect();
        self_test(&|probe| {
            Ok(Box::new(Memory {
                lie,
                held: Arc::clone(&held[probe]),
                seen: Mutex::default(),
            }))
        })
    }

    #[test]
    fn a_store_that_compares_and_swaps_is_not_refused() {
        tried(Lie::None).unwrap();
    }

    #[test]
    fn a_store_that_lies_is_refused_with_what_it_did() {
        for (lie, why) in [
            (Lie::Creates, "the second of two conditional creates won"),
            (Lie::Swaps, "it swaps a value that it does not hold"),
            (Lie::TwoSteps, "writers won one race"),
            (Lie::StaleReads, "does not swap a value that it holds"),
        ] {
            let told = tried(lie).unwrap_err();
            assert!(matches!(told, RegisterError::Unfit { .. }), "{lie:?}");
            assert!(told.to_string().contains(why), "{lie:?}: {told}");
        }
    }
}

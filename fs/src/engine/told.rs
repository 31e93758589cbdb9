//! How much of each run has been written down, by each of those who write it down: the journal, the index, the private records. A run's
//! processes are written once each and not again with every file that one of them made.

use std::collections::HashMap;

use atlas_manifests::id::RunId;
use atlas_manifests::rows::RunRow;

use super::{Engine, lock};
use crate::caller::Callers;

/// One writer's memory. What it is told is to be added to what it was told before.
#[derive(Debug, Default)]
pub(super) struct Told {
    places: HashMap<RunId, usize>,
}

impl Told {
    /// A run that lives, or has not been forgotten, with what is new of its processes.
    pub(super) fn news(&mut self, callers: &Callers, run: RunId) -> Option<RunRow> {
        // One that was absorbed answers as the one that has it.
        let id = callers.row_id(run)?;
        let place = self.places.entry(id).or_default();
        let (row, next) = callers.row_since(id, *place)?;
        *place = next;
        Some(row)
    }

    /// The same of any run, with what others than the callers know of it; `earlier` are those of earlier lives.
    pub(super) fn of(
        &mut self,
        engine: &Engine,
        earlier: &HashMap<RunId, RunRow>,
        run: RunId,
    ) -> Option<RunRow> {
        match self.news(&engine.callers, run) {
            Some(row) => Some(engine.as_told(row)),
            None => Some(self.rest(earlier.get(&run)?)),
        }
    }

    /// What is new of a run, and its process of this number in any case.
    pub(super) fn with_own(
        &mut self,
        engine: &Engine,
        earlier: &HashMap<RunId, RunRow>,
        run: RunId,
        number: u32,
    ) -> Option<RunRow> {
        let mut row = self.of(engine, earlier, run)?;
        if row.processes.iter().all(|p| p.number != number) {
            let known = || {
                earlier
                    .get(&run)?
                    .processes
                    .iter()
                    .find(|p| p.number == number)
            };
            let own = engine.callers.process(run, number);
            row.processes.extend(own.or_else(|| known().cloned()));
        }
        Some(row)
    }

    /// What is new of a run of an earlier life, of which all is known that ever will be.
    fn rest(&mut self, all: &RunRow) -> RunRow {
        let place = self.places.entry(all.id).or_default();
        let processes = all.processes.get(*place..).unwrap_or_default().to_vec();
        *place = all.processes.len();
        RunRow {
            processes,
            ..all.clone()
        }
    }

    /// Nothing more will be written of it; or what was written was lost, and is to be written again.
    pub(super) fn forget(&mut self, run: RunId) {
        self.places.remove(&run);
    }
}

impl Engine {
    /// All that is known of a run that has not been forgotten.
    pub(crate) fn run_row(&self, run: RunId) -> Option<RunRow> {
        self.callers.row(run).map(|row| self.as_told(row))
    }

    /// A row with what others than the callers know of it.
    pub(super) fn as_told(&self, mut row: RunRow) -> RunRow {
        row.uses = lock(&self.ledger).uses_of(row.id);
        row.confined = self.confined(row.confined);
        row
    }
}

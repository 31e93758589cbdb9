//! What is told of runs: rows as the index keeps them. Not what is decided by them.

use atlas_manifests::id::RunId;
use atlas_manifests::rows::{ProcessRow, RunRow};

use super::Callers;

impl Callers {
    /// What is known of a run, as the index keeps it. An absorbed run answers as the one that has it.
    pub fn row(&self, run: RunId) -> Option<RunRow> {
        self.row_since(run, 0).map(|(row, _)| row)
    }

    /// The same with only those processes that came or changed since the place that an earlier call gave, and the place to go on from.
    pub fn row_since(&self, run: RunId, place: usize) -> Option<(RunRow, usize)> {
        let registry = self.registry();
        let run = registry.run(run)?;
        let (processes, place) = run.processes.since(place);
        let head = run.row.clone();
        Some((RunRow { processes, ..head }, place))
    }

    /// The run that a run has become: itself, unless another one absorbed it.
    pub fn row_id(&self, run: RunId) -> Option<RunId> {
        self.registry().run(run).map(|r| r.row.id)
    }

    /// One process of a run.
    pub fn process(&self, run: RunId, number: u32) -> Option<ProcessRow> {
        let registry = self.registry();
        let all = registry.run(run)?.processes.all();
        all.get(number as usize).cloned()
    }

    /// Changes a run's row: `uses`, and what `program` found out of its first process.
    pub fn amend(&self, run: RunId, change: impl FnOnce(&mut RunRow)) {
        if let Some(found) = self.registry().run_mut(run) {
            change(&mut found.row);
        }
    }
}

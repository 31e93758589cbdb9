//! Runs put together from rows that each tell of some of their processes. In memory; where the rows come from is not known here.

use std::collections::BTreeMap;

use crate::id::RunId;
use crate::rows::{ProcessRow, RunRow};

/// Rows by name.
#[derive(Debug, Clone, Default)]
pub struct Runs {
    /// Without processes.
    heads: BTreeMap<RunId, RunRow>,
    processes: BTreeMap<(RunId, u32), ProcessRow>,
}

impl Runs {
    /// Adds a row that knows better than what is here.
    pub fn add(&mut self, mut row: RunRow) {
        for p in std::mem::take(&mut row.processes) {
            self.processes.insert((row.id, p.number), p);
        }
        self.heads.insert(row.id, row);
    }

    /// A run but for its processes.
    pub fn head(&self, id: RunId) -> Option<&RunRow> {
        self.heads.get(&id)
    }

    /// A run with all its processes.
    pub fn get(&self, id: RunId) -> Option<RunRow> {
        let head = self.heads.get(&id)?;
        let of = self.processes.range((id, 0)..=(id, u32::MAX));
        Some(RunRow {
            processes: of.map(|(_, p)| p.clone()).collect(),
            ..head.clone()
        })
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = RunRow> + '_ {
        self.heads.keys().filter_map(|id| self.get(*id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::InstanceId;
    use crate::scan::tests::run_row;

    fn row(uses: u64, processes: &[(u32, i32)]) -> RunRow {
        let id = RunId {
            instance: InstanceId([1; 16]),
            n: 1,
        };
        let process = |(number, pid): &(u32, i32)| ProcessRow {
            number: *number,
            tree: 0,
            pid: *pid,
            exe: None,
            argv: Vec::new(),
        };
        RunRow {
            uses,
            processes: processes.iter().map(process).collect(),
            ..run_row(id)
        }
    }

    #[test]
    fn parts_are_the_whole_and_the_newest_word_stands() {
        let (first, second) = (row(1, &[(0, 10), (1, 11)]), row(5, &[(1, 99), (2, 12)]));
        let whole = row(5, &[(0, 10), (1, 99), (2, 12)]);
        let mut runs = Runs::default();
        runs.add(first.clone());
        runs.add(second.clone());
        assert_eq!(runs.get(first.id), Some(whole.clone()));
        assert_eq!(runs.all().collect::<Vec<_>>(), [whole]);
        assert_eq!(runs.head(first.id).map(|r| r.uses), Some(5));
    }
}

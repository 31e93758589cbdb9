//! Which task a free worker takes next. Pure order: no threads, no files, no descriptors.

use std::collections::{BTreeMap, HashMap};

use super::work::Task;
use crate::vfs::observer::FileKey;

/// While both wait, one task in this many is an input (see the module `digest` for why ended versions go first).
const INPUT_EVERY: u32 = 4;

/// Tasks that no worker has taken, each lane in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Queue {
    ended: BTreeMap<u64, Task>,
    inputs: BTreeMap<u64, Task>,
    /// Where each file's tasks are: a writer's open asks for them and may not wait for a search.
    by_file: HashMap<FileKey, Vec<u64>>,
    next: u64,
    /// Ended versions taken since the last input.
    since_input: u32,
}

impl Queue {
    /// Puts a task at the end of its lane.
    pub(super) fn push(&mut self, task: Task) {
        let place = self.next;
        self.next += 1;
        // What is digested from a copy is in no writer's way.
        if task.snapshot.is_none() {
            self.by_file.entry(task.file).or_default().push(place);
        }
        self.lane(task.ended).insert(place, task);
    }

    /// Takes the next task.
    pub(super) fn pop(&mut self) -> Option<Task> {
        let input_turn = self.ended.is_empty() || self.since_input + 1 >= INPUT_EVERY;
        let (place, task) = if input_turn && !self.inputs.is_empty() {
            self.since_input = 0;
            self.inputs.pop_first()?
        } else {
            self.since_input = self.since_input.saturating_add(1);
            self.ended.pop_first()?
        };
        if let Some(places) = self.by_file.get_mut(&task.file) {
            places.retain(|p| *p != place);
            if places.is_empty() {
                self.by_file.remove(&task.file);
            }
        }
        Some(task)
    }

    /// Takes out every task on a file itself.
    pub(super) fn remove(&mut self, file: FileKey) -> Vec<Task> {
        let places = self.by_file.remove(&file).unwrap_or_default();
        places
            .into_iter()
            .filter_map(|p| self.ended.remove(&p).or_else(|| self.inputs.remove(&p)))
            .collect()
    }

    /// True while the task waits here. Walks the queue.
    pub(super) fn contains(&self, ticket: u64) -> bool {
        self.ended
            .values()
            .chain(self.inputs.values())
            .any(|task| task.ticket == ticket)
    }

    pub(super) fn len(&self) -> usize {
        self.ended.len() + self.inputs.len()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn lane(&mut self, ended: bool) -> &mut BTreeMap<u64, Task> {
        if ended {
            &mut self.ended
        } else {
            &mut self.inputs
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Job;

    fn task(ticket: u64, ino: u64, ended: bool) -> Task {
        Task::new(Job {
            ticket,
            file: FileKey {
                dev: 1,
                ino,
                born: 0,
            },
            ended,
            tree: None,
            expect: None,
            snapshot: None,
        })
    }

    #[test]
    fn ended_versions_go_first_and_do_not_starve_inputs() {
        let mut queue = Queue::default();
        for ticket in 0..3 {
            queue.push(task(ticket, ticket, false));
        }
        for ticket in 10..18 {
            queue.push(task(ticket, ticket, true));
        }
        let order: Vec<u64> = std::iter::from_fn(|| queue.pop())
            .map(|t| t.ticket)
            .collect();
        assert_eq!(order, [10, 11, 12, 0, 13, 14, 15, 1, 16, 17, 2]);
        assert!(queue.by_file.is_empty());
    }

    #[test]
    fn a_file_s_tasks_are_taken_out_and_no_others() {
        let mut queue = Queue::default();
        for (ticket, ino, ended) in [(1, 7, true), (2, 8, true), (3, 7, false), (4, 8, false)] {
            queue.push(task(ticket, ino, ended));
        }
        let file = task(0, 7, true).file;
        let mut gone: Vec<u64> = queue.remove(file).iter().map(|t| t.ticket).collect();
        gone.sort_unstable();
        assert_eq!(gone, [1, 3]);
        assert!(queue.remove(file).is_empty());
        assert!(queue.contains(2) && queue.contains(4) && !queue.contains(1));
        assert_eq!(queue.len(), 2);
    }
}

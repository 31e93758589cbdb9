//! The processes of a run by number, and in which order they became what they are: whoever was told of some is told of the rest. No look at /proc.

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::rows::ProcessRow;

/// A script of thousands of commands is one run: nobody can write all its processes down for each file that one of them made.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    rows: Vec<ProcessRow>,
    /// Numbers, as they were added and as they became other programs.
    log: Vec<u32>,
}

impl Processes {
    /// The number that the next one gets.
    pub(crate) fn next(&self) -> u32 {
        u32::try_from(self.rows.len()).unwrap_or(u32::MAX)
    }

    /// One more, whose number is `next`.
    pub(crate) fn push(&mut self, row: ProcessRow) {
        self.log.push(row.number);
        self.rows.push(row);
    }

    /// It runs another program now.
    pub(crate) fn becomes(&mut self, number: u32, exe: Option<&PathBytes>, argv: &[PathBytes]) {
        let Some(row) = self.rows.get_mut(number as usize) else {
            return;
        };
        if row.exe.as_ref() != exe || row.argv != argv {
            row.exe = exe.cloned();
            row.argv = argv.to_vec();
            self.log.push(number);
        }
    }

    /// All of them, by number.
    pub(crate) fn all(&self) -> &[ProcessRow] {
        &self.rows
    }

    /// Those that came or changed since the place that an earlier call gave, each once, and the place to go on from.
    pub(crate) fn since(&self, place: usize) -> (Vec<ProcessRow>, usize) {
        let mut numbers = self.log.get(place..).unwrap_or_default().to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        let rows = numbers.iter().filter_map(|n| self.rows.get(*n as usize));
        (rows.cloned().collect(), self.log.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u32, exe: &str) -> ProcessRow {
        ProcessRow {
            number,
            tree: 0,
            pid: 1,
            exe: Some(exe.into()),
            argv: vec![exe.into()],
        }
    }

    #[test]
    fn whoever_was_told_of_some_is_told_of_the_rest_and_of_what_became_of_them() {
        let mut processes = Processes::default();
        assert_eq!(processes.since(0), (Vec::new(), 0));
        processes.push(row(0, "sh"));
        processes.push(row(1, "cp"));
        let (told, place) = processes.since(0);
        assert_eq!(told, [row(0, "sh"), row(1, "cp")]);
        assert_eq!(processes.since(place), (Vec::new(), place));
        processes.becomes(0, Some(&"sh".into()), &["sh".into()]);
        assert_eq!(processes.since(place), (Vec::new(), place), "as before");
        processes.becomes(0, Some(&"env".into()), &["env".into()]);
        processes.becomes(0, Some(&"tar".into()), &["tar".into()]);
        processes.push(row(2, "mv"));
        let (told, place) = processes.since(place);
        assert_eq!(told, [row(0, "tar"), row(2, "mv")]);
        assert_eq!(processes.all().len(), 3);
        assert_eq!(processes.since(place + 7).0, Vec::new());
    }
}

//! Medians, and ratios between neighbours in time: on a machine with other work only those mean anything.

use std::time::Duration;

/// Durations of one workload: one row for each round, one column for each contestant; the first column is the yardstick.
#[derive(Debug, Default)]
pub struct Rounds {
    rows: Vec<Vec<f64>>,
}

impl Rounds {
    /// Adds a round.
    pub fn push(&mut self, row: Vec<Duration>) {
        self.rows
            .push(row.iter().map(Duration::as_secs_f64).collect());
    }

    /// The median time of a contestant, in seconds.
    pub fn time(&self, column: usize) -> f64 {
        median(self.rows.iter().map(|row| row[column]).collect())
    }

    /// The median, over the rounds, of the yardstick's time through a contestant's: 1 is as fast, 0.5 half as fast.
    pub fn ratio(&self, column: usize) -> f64 {
        median(self.rows.iter().map(|row| row[0] / row[column]).collect())
    }
}

/// The middle of a list; of an even number the mean of the two in the middle; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[half],
        _ => values[half - 1].midpoint(values[half]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_disturbed_round_does_not_move_the_ratio() {
        let mut rounds = Rounds::default();
        for (native, mount) in [(10, 11), (10, 11), (10, 900), (50, 55), (10, 11)] {
            rounds.push(vec![
                Duration::from_millis(native),
                Duration::from_millis(mount),
            ]);
        }
        assert!((rounds.ratio(1) - 10.0 / 11.0).abs() < 1e-9);
        assert!((rounds.time(0) - 0.010).abs() < 1e-9);
    }
}

//! Speed through the mount as a ratio to the backing directory, in both I/O modes, in interleaved rounds.
//!
//! `cargo run --release -p atlas-benches --bin ratios` as root; `TMPDIR` chooses the disk. Background sealing is waited for between
//! the measurements, not during them: what a job feels is what is measured.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use atlas_benches::rounds::Rounds;
use atlas_benches::{Scale, load};
use atlas_tests::{Io, Lab, Mount, Options, files};

/// A workload: given a directory with the large file `large`, and a number that is new each time.
type Load<'a> = (&'a str, Box<dyn Fn(&Path, usize) -> Result<Duration> + 'a>);

fn main() -> Result<()> {
    let scale = Scale::from_args()?;
    let labs = [Lab::new(), Lab::new(), Lab::new()];
    for lab in &labs {
        load::prepare(&lab.behind("large"), scale.large)?;
        lab.put("small", &files::noise(3, 4096));
    }
    let mounts = [
        labs[1].mount(Options::new(Io::Passthrough)),
        labs[2].mount(Options::new(Io::Inline)),
    ];
    let places = [labs[0].behind(""), mounts[0].path(""), mounts[1].path("")];

    println!(
        "{:32} {:>10} {:>13} {:>13}",
        "", "native", "passthrough", "inline"
    );
    for (name, work) in workloads(&scale) {
        let mut rounds = Rounds::default();
        // One round to warm up, whose numbers are dropped.
        for round in 0..=scale.rounds {
            let mut row = vec![Duration::ZERO; places.len()];
            // Nobody is always the first after the disturbance before.
            for turn in 0..places.len() {
                let who = (turn + round) % places.len();
                row[who] = work(&places[who], round)?;
                mounts.iter().for_each(Mount::sync);
            }
            if round > 0 || scale.rounds == 1 {
                rounds.push(row);
            }
        }
        println!(
            "{name:32} {:>8.2}ms {:>13.2} {:>13.2}",
            rounds.time(0) * 1e3,
            rounds.ratio(1),
            rounds.ratio(2)
        );
    }
    println!(
        "\nmedians of {} interleaved rounds; 1.00 is as fast as the backing directory",
        scale.rounds
    );
    Ok(())
}

fn workloads(scale: &Scale) -> Vec<Load<'_>> {
    let Scale {
        large,
        reads,
        small,
        ..
    } = *scale;
    vec![
        (
            "sequential read, cold",
            Box::new(|dir, _| {
                load::forget().and_then(|()| load::sequential_read(&dir.join("large")))
            }),
        ),
        (
            "sequential read, warm",
            Box::new(|dir, _| load::sequential_read(&dir.join("large"))),
        ),
        (
            "mapped read, cold",
            Box::new(|dir, _| load::forget().and_then(|()| load::mapped_read(&dir.join("large")))),
        ),
        (
            "mapped read, warm",
            Box::new(|dir, _| load::mapped_read(&dir.join("large"))),
        ),
        (
            "random 4 KiB read, warm",
            Box::new(move |dir, _| load::random_read(&dir.join("large"), reads)),
        ),
        (
            "sequential write",
            Box::new(move |dir, round| {
                let path = dir.join(format!("new-{round}"));
                let took = load::sequential_write(&path, large)?;
                std::fs::remove_file(path)?;
                Ok(took)
            }),
        ),
        (
            "open to read, close",
            Box::new(move |dir, _| load::open_close(&dir.join("small"), small, false)),
        ),
        (
            "open to write, close",
            Box::new(move |dir, _| load::open_close(&dir.join("small"), small, true)),
        ),
        (
            "create, write, close of 4 KiB",
            Box::new(move |dir, round| {
                load::small_files(&dir.join(format!("small-{round}")), small)
            }),
        ),
    ]
}

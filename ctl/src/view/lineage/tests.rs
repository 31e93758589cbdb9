//! What a person sees of hand-made histories.

use super::*;
use crate::view::sample;
use atlas_manifests::graph::{Options, lineage};
use atlas_manifests::history::History;
use atlas_manifests::rows::VersionRow;

fn look() -> Look {
    Look {
        downstream: false,
        all: false,
        now: "2026-11-21T12:00:00Z".parse().unwrap(),
        paint: Paint::PLAIN,
    }
}

/// Run 1 used all of `inputs` and then wrote version 100.
fn model(inputs: &[VersionRow]) -> (History, VersionRow) {
    let mut h = History::new();
    let mut out = sample::version(100, "out/model.pt");
    out.inputs = inputs.len() as u64;
    h.add_run(sample::run(1));
    for (order, row) in (0..).zip(inputs) {
        h.add_version(row.clone());
        h.add_use(sample::used(order, row, Kind::Read));
    }
    h.add_version(out.clone());
    (h, out)
}

fn drawn(h: &History, root: &VersionRow, look: Look) -> String {
    let options = Options {
        all: look.all,
        downstream: look.downstream,
        ..Options::default()
    };
    draw(&lineage(h, &[root.node], &options).unwrap(), look)
}

#[test]
fn a_data_set_of_many_files_is_one_line() {
    let mut inputs: Vec<_> = (0..1437)
        .map(|n| sample::content(&format!("data/{n:04}.npy")))
        .collect();
    inputs.push(sample::content("labels.csv"));
    let (h, out) = model(&inputs);
    let shown = drawn(&h, &out, look());
    let digest = amount::prefix(&out.digests.unwrap().blake3.hex()).to_owned();
    let labels = amount::prefix(&inputs[1437].digests.unwrap().blake3.hex()).to_owned();
    let expected = format!(
        "\
out/model.pt  sealed  12 B  {digest}  1 h ago
\u{2502}  by train-1: python train.py '--lr=1\\x1b[2J'
\u{251c}\u{2500} data/  1,437 files, 19 kB, all unattested  read by its writer
\u{2514}\u{2500} labels.csv  unattested  10 B  {labels}  read by its writer
"
    );
    assert_eq!(shown, expected);
    let all = drawn(
        &h,
        &out,
        Look {
            all: true,
            ..look()
        },
    );
    assert_eq!(all.lines().count(), 2 + 1438);
}

#[test]
fn a_branch_that_two_versions_share_is_drawn_once() {
    let raw = sample::content("raw");
    let (mut h, out) = model(&[]);
    // raw -> base -> (a, b) -> model, each written by a run of its own.
    let mut made = |n: u64, path: &str, from: &[&VersionRow]| {
        let mut row = sample::version(n, path);
        let mut run = sample::run(n);
        run.argv = vec![path.into()];
        row.run = Some(run.id);
        row.inputs = from.len() as u64;
        for (order, input) in (0..).zip(from) {
            let mut used = sample::used(order, input, Kind::Opened);
            used.run = run.id;
            h.add_use(used);
        }
        h.add_run(run);
        h.add_version(row.clone());
        row
    };
    let base = made(2, "base", &[&raw]);
    let (a, b) = (made(3, "a", &[&base]), made(4, "b", &[&base]));
    let last = made(5, "model", &[&a, &b]);
    h.add_version(raw);
    let shown = drawn(&h, &last, look());
    assert_eq!(shown.matches("raw").count(), 1, "{shown}");
    assert_eq!(shown.matches("shown above").count(), 1, "{shown}");
    let first = shown.find("base").unwrap();
    assert!(first < shown.find("shown above").unwrap(), "{shown}");
    let down = drawn(
        &h,
        &base,
        Look {
            downstream: true,
            ..look()
        },
    );
    assert!(
        down.starts_with("base") && down.contains("a  sealed") && down.contains("model  sealed"),
        "{down}"
    );
    drop(out);
}

#[test]
fn many_directories_are_joined_until_they_can_be_read() {
    let inputs: Vec<_> = (0..300)
        .map(|n| sample::content(&format!("data/{:03}/{n}", n / 5)))
        .collect();
    let (h, out) = model(&inputs);
    let shown = drawn(&h, &out, look());
    assert!(shown.lines().count() <= 2 + DIRECTORIES, "{shown}");
    let files: usize = shown
        .lines()
        .filter_map(|l| {
            l.split("  ")
                .nth(1)?
                .strip_suffix(" B, all unattested")
                .or(l.split("  ").nth(1))?
                .split(' ')
                .next()?
                .parse::<usize>()
                .ok()
        })
        .sum();
    assert_eq!(files, 300, "none is lost: {shown}");
}

#[test]
fn shards_that_one_run_made_share_a_line_and_keep_their_history() {
    let raw = sample::content("raw.tar");
    let mut h = History::new();
    let prep = sample::run(2);
    let mut shards = Vec::new();
    for n in 0..50 {
        let mut shard = sample::version(n, &format!("shards/{n}"));
        (shard.run, shard.inputs) = (Some(prep.id), 1);
        shards.push(shard);
    }
    let mut used = sample::used(0, &raw, Kind::Read);
    used.run = prep.id;
    h.add_use(used);
    h.add_run(prep);
    h.add_version(raw);
    let (train, out) = model(&shards);
    let (versions, uses, runs) = train.into_rows();
    versions.into_iter().for_each(|v| h.add_version(v));
    uses.into_iter().for_each(|u| h.add_use(u));
    runs.into_iter().for_each(|r| h.add_run(r));
    let shown = drawn(&h, &out, look());
    assert!(shown.contains("shards/  50 files"), "{shown}");
    assert!(shown.contains("by train-2"), "{shown}");
    assert_eq!(shown.matches("raw.tar").count(), 1, "{shown}");
    assert_eq!(shown.lines().count(), 5, "{shown}");
}

#[test]
fn names_in_a_lineage_cannot_draw_on_the_screen() {
    let mut evil = sample::content("data/\x1b[2J\n\u{202e}x");
    evil.path = Some(atlas_manifests::bytes::PathBytes(
        b"d\xff\x1b[2J/\n".to_vec(),
    ));
    let (h, out) = model(&[evil]);
    let shown = drawn(&h, &out, look());
    assert!(
        !shown
            .chars()
            .any(|c| c != '\n' && escape::unsafe_to_show(c)),
        "{shown:?}"
    );
    assert!(shown.contains(r"d\xff\x1b[2J/\n"), "{shown}");
}

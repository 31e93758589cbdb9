use std::fs;

use proptest::prelude::*;

use super::*;
use crate::digest::{DigestPrefix, Digests};
use crate::history::History;
use crate::id::{InstanceId, NodeRef, RunId, VersionId};
use crate::layout::Layout;
use crate::rows::ProcessRow;
use crate::scan::tests::{run_row, version_row};
use crate::shelf::Catalogue;
use crate::vocabulary::Kind;

fn node(n: u64) -> NodeRef {
    NodeRef::Version(VersionId {
        node: NodeId([1; 16]),
        n,
    })
}

fn run(n: u64) -> RunId {
    RunId {
        instance: InstanceId([2; 16]),
        n,
    }
}

fn version(n: u64, path: &str) -> VersionRow {
    let mut row = version_row(node(n));
    row.path = Some(path.into());
    row.digests = Some(Digests::of(path.as_bytes()));
    row.run = Some(run(n % 3));
    row
}

fn batch(versions: Vec<VersionRow>) -> Batch {
    Batch {
        versions,
        ..Batch::default()
    }
}

#[test]
fn a_run_that_is_told_in_parts_has_all_its_processes() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.redb")).unwrap();
    let part = |numbers: &[u32], uses| {
        let mut row = run_row(run(1));
        row.uses = uses;
        row.processes = numbers
            .iter()
            .map(|number| ProcessRow {
                number: *number,
                tree: 0,
                pid: 7,
                exe: None,
                argv: vec![format!("{uses}").as_str().into()],
            })
            .collect();
        row
    };
    for row in [part(&[0, 1], 1), part(&[], 2), part(&[1, 2], 3)] {
        let runs = vec![row, run_row(run(2))];
        index
            .write(&Batch {
                runs,
                ..Batch::default()
            })
            .unwrap();
    }
    let found = index.run(run(1)).unwrap().unwrap();
    let known = found
        .processes
        .iter()
        .map(|p| (p.number, p.argv[0].lossy()));
    let known: Vec<_> = known.collect();
    let wanted = [(0, "1"), (1, "3"), (2, "3")].map(|(n, by)| (n, by.to_owned()));
    assert_eq!((found.uses, known), (3, wanted.to_vec()));
    assert_eq!(index.runs().unwrap()[0].processes.len(), 3);
    assert!(index.run(run(2)).unwrap().unwrap().processes.is_empty());
}

fn full(index: &Index) {
    let uses = (0..50).map(|i| UseRow {
        run: run(i % 3),
        order: i,
        node: node(i),
        kind: Kind::Read,
        process: 0,
        tree: 0,
        path: None,
    });
    let rows = Batch {
        versions: (0..50).map(|n| version(n, &format!("d/f{n}"))).collect(),
        uses: uses.collect(),
        runs: (0..3).map(|n| run_row(run(n))).collect(),
    };
    index.write(&rows).unwrap();
    index.sync().unwrap();
}

fn paths(index: &Index, dir: &str) -> Vec<String> {
    let rows = index.under(Path::new(dir)).unwrap();
    rows.iter()
        .map(|r| r.path.clone().unwrap_or_default().lossy())
        .collect()
}

#[test]
fn a_directory_that_moves_takes_its_versions_along_and_its_namesakes_stay() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("i")).unwrap();
    let rows = ["d/a", "d/b/c", "dd/a", "d-a"];
    index
        .write(&batch(
            (1..).zip(rows).map(|(n, p)| version(n, p)).collect(),
        ))
        .unwrap();
    index.rename(Path::new("d"), Path::new("e")).unwrap();
    assert_eq!(paths(&index, "e"), ["e/a", "e/b/c"]);
    assert_eq!(paths(&index, ""), ["d-a", "dd/a", "e/a", "e/b/c"]);
    index.exchange(Path::new("e"), Path::new("dd")).unwrap();
    assert_eq!(paths(&index, ""), ["d-a", "dd/a", "dd/b/c", "e/a"]);
}

#[test]
fn an_index_of_the_format_before_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("i");
    let index = Index::open(&path).unwrap();
    let gone = VersionRow {
        gone: true,
        ..version(1, "d/a")
    };
    index
        .write(&batch(vec![gone, version(2, "d/a"), version(3, "d/b")]))
        .unwrap();
    index
        .change(true, |tables| {
            tables.present.retain(|_, ()| false)?;
            tables.meta.insert("format", 1)?;
            Ok(())
        })
        .unwrap();
    index.close();
    let index = Index::open(&path).unwrap();
    index.rename(Path::new("d"), Path::new("e")).unwrap();
    assert_eq!(paths(&index, "e"), ["e/a", "e/b"]);
    assert_eq!(index.by_path(Path::new("d/a")).unwrap().len(), 1);
}

#[test]
fn a_file_renamed_over_another_replaces_it() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("i")).unwrap();
    index
        .write(&batch(vec![version(1, "model.pt"), version(2, "tmp")]))
        .unwrap();
    index
        .rename(Path::new("tmp"), Path::new("model.pt"))
        .unwrap();
    let rows = index.by_path(Path::new("model.pt")).unwrap();
    assert_eq!(
        rows.iter().map(|r| (r.node, r.gone)).collect::<Vec<_>>(),
        [(node(1), true), (node(2), false)]
    );
    index.gone(Path::new("model.pt")).unwrap();
    assert!(paths(&index, "").is_empty());
}

#[test]
fn no_version_number_is_given_out_twice_even_when_nothing_was_synced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("i");
    let index = Index::open(&path).unwrap();
    let first: Vec<u64> = (0..3).map(|_| index.next_version().unwrap()).collect();
    // The file as a crash would leave it.
    let copy = dir.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    let after = Index::open(&copy).unwrap().next_version().unwrap();
    assert!(first.iter().all(|n| *n < after), "{first:?} {after}");
}

#[test]
fn a_second_owner_is_told_and_not_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path(), None).unwrap();
    let lock = layout.claim().unwrap();
    let path = layout.index(lock.node());
    let _index = Index::open(&path).unwrap();
    for second in [Index::open(&path), Index::open_read_only(&path)] {
        let e = second.unwrap_err();
        assert!(
            matches!(e, IndexError::Locked { pid: Some(p), .. } if p == std::process::id()),
            "{e}"
        );
    }
    assert!(
        layout
            .claim()
            .unwrap_err()
            .to_string()
            .contains(&std::process::id().to_string())
    );
}

#[test]
fn a_damaged_file_is_refused_or_answers_and_never_panics() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("i");
    full(&Index::open(&path).unwrap());
    let honest = fs::read(&path).unwrap();
    let bad = dir.path().join("bad");
    // Every page is hit at another place; what is not used is not noticed.
    let flips = (0..honest.len()).step_by(4099).chain(0..320).map(|at| {
        let mut bytes = honest.clone();
        bytes[at] ^= 0x55;
        bytes
    });
    let cuts =
        [0, 1, 100, 4096, honest.len() / 2, honest.len() - 1].map(|len| honest[..len].to_vec());
    let mut refused = 0;
    for bytes in flips.chain(cuts) {
        fs::write(&bad, &bytes).unwrap();
        let answers = Index::open_read_only(&bad).and_then(|index| {
            index.counts()?;
            index.under(Path::new(""))?;
            index.runs()?;
            index.uses(run(1), 99)?;
            index.users(node(7))?;
            Ok(())
        });
        refused += u32::from(answers.is_err());
        if let Ok(index) = Index::open(&bad) {
            let _ = index.write(&batch(vec![version(99, "new")]));
            let _ = index.sync();
        }
    }
    assert!(refused > 0);
    let e = Index::open_read_only(&bad)
        .err()
        .map(|e| e.to_string())
        .unwrap_or_default();
    assert!(e.is_empty() || e.contains("doctor --rebuild"), "{e}");
}

/// Valid JSON that says something else: only a checksum tells.
#[test]
fn a_row_that_says_something_else_is_refused_and_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("i");
    let index = Index::open(&path).unwrap();
    index.write(&batch(vec![version(7, "shard-A")])).unwrap();
    index.sync().unwrap();
    drop(index);
    let honest = fs::read(&path).unwrap();
    let row = serde_json::to_vec(&version(7, "shard-A")).unwrap();
    let at = honest.windows(row.len()).rposition(|w| w == row).unwrap();
    let digit = row.iter().position(u8::is_ascii_digit).unwrap();
    let mut bytes = honest;
    bytes[at + digit] = if bytes[at + digit] == b'1' {
        b'2'
    } else {
        b'1'
    };
    fs::write(&path, &bytes).unwrap();
    let index = Index::open_read_only(&path).unwrap();
    let answer = index.versions(&[node(7)]);
    let e = answer.expect_err("a changed row was believed").to_string();
    assert!(e.contains("damaged"), "{e}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_index_answers_as_rows_in_memory_do(
        rows in prop::collection::vec((1u64..12, prop::sample::select(vec!["a", "a/b", "a/c", "b"]), any::<bool>()), 1..40),
        used in prop::collection::vec((0u64..3, 0u64..6, 1u64..12), 0..20),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("i")).unwrap();
        let mut model = History::new();
        for (n, path, gone) in rows {
            let mut row = version(n, path);
            row.gone = gone;
            model.add_version(row.clone());
            index.write(&batch(vec![row])).unwrap();
        }
        for (r, order, n) in used {
            let row = UseRow { run: run(r), order, node: node(n), kind: Kind::Opened, process: 1, tree: 1, path: None };
            model.add_use(row.clone());
            index.write(&Batch { uses: vec![row], ..Batch::default() }).unwrap();
        }
        for path in ["", "a", "a/b", "b", "c"] {
            prop_assert_eq!(index.under(Path::new(path)).unwrap(), model.under(Path::new(path)).unwrap());
            prop_assert_eq!(index.by_path(Path::new(path)).unwrap(), model.by_path(Path::new(path)).unwrap());
        }
        for content in ["a", "b"] {
            let hex = Digests::of(content.as_bytes()).sha256.hex()[..9].to_owned();
            let prefix: DigestPrefix = hex.parse().unwrap();
            prop_assert_eq!(index.by_digest(&prefix).unwrap(), model.by_digest(&prefix).unwrap());
        }
        for r in 0..3 {
            prop_assert_eq!(index.written_by(run(r)).unwrap(), model.written_by(run(r)).unwrap());
            prop_assert_eq!(index.uses(run(r), 4).unwrap(), model.uses(run(r), 4).unwrap());
        }
        for n in 0..12 {
            prop_assert_eq!(index.users(node(n)).unwrap(), model.users(node(n)).unwrap());
            prop_assert_eq!(index.versions(&[node(n)]).unwrap(), model.versions(&[node(n)]).unwrap());
        }
    }
}

//! A lost index made anew from a store with a real sealed history: what comes back, and what is not invented.

use super::*;
use crate::digest::Digests;
use crate::id::{NodeRef, RunId};
use crate::layout::Layout;
use crate::private::PrivateRecord;
use crate::scan::StoreScan;
use crate::scan::tests::{run_row, version_row};
use crate::shelf::{Catalogue, Shelf as _};
use crate::statement::Origin;
use crate::store::{Item, Store};
use crate::verify::chain::{Chain, DEPTH, content, node};
use crate::verify::{Content, ManifestChoice, Memo, Subject, verify};

/// The chain in a store on disk, with private records that say where each version lay.
fn kept(chain: &Chain, store: &Store) {
    let mut items = Vec::new();
    for link in &chain.links {
        let name = link.sealed.reference.sha256;
        items.push(Item::manifest(&link.sealed, &link.statement));
        if link.statement.input_set.size > 0 {
            let bytes = chain
                .shelf
                .object(crate::shelf::Object::Inputs, &link.set)
                .unwrap();
            items.push(Item::inputs(link.set, bytes.unwrap()));
        }
        let mut row = version_row(NodeRef::Version(link.statement.version));
        row.path = Some(
            format!("ckpt/{}.pt", link.statement.version.n)
                .as_str()
                .into(),
        );
        // What the index remembers is not signed: where a manifest says something else, the manifest is right.
        row.digests = Some(Digests::of(b"forged"));
        let run = run_of(&link.statement).map(run_row);
        let record = PrivateRecord {
            manifest: name,
            fields: Default::default(),
            row,
            run,
        };
        items.push(Item::private(name, record.encode()));
    }
    store.put_many(&items).unwrap();
}

fn run_of(s: &crate::statement::Statement) -> Option<RunId> {
    match &s.origin {
        Origin::Run(run) => Some(run.id),
        Origin::Registered { .. } => None,
    }
}

#[test]
fn a_rebuilt_index_knows_every_sealed_version_its_run_its_uses_and_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path(), None).unwrap();
    let store = Store::open(&layout);
    let chain = Chain::new();
    kept(&chain, &store);
    let path = dir.path().join("index.redb");
    // What is there is damaged, and is not looked at.
    std::fs::write(&path, b"no index").unwrap();
    let index = Index::rebuild(&path, &store).unwrap();
    let scan = StoreScan::open(&store).unwrap();
    assert!(scan.passed_over().is_empty(), "{:?}", scan.passed_over());
    for (n, link) in (1..=DEPTH).zip(&chain.links) {
        let at = format!("ckpt/{n}.pt");
        let row = index.by_path(Path::new(&at)).unwrap().pop().unwrap();
        assert_eq!(row.node, node(n));
        assert_eq!(
            row.digests,
            Some(Digests::of(&content(n))),
            "the manifest, not the record"
        );
        assert_eq!(row.manifest, Some(link.sealed.reference));
        assert_eq!(row.inputs, u64::from(n > 1));
        let run = run_of(&link.statement).unwrap();
        let uses = index.uses(run, row.inputs).unwrap();
        assert_eq!(
            uses.iter().map(|u| u.node).collect::<Vec<_>>(),
            if n > 1 { vec![node(n - 1)] } else { vec![] }
        );
        assert!(index.run(run).unwrap().is_some());
        assert_eq!(
            scan.versions(&[row.node]).unwrap(),
            [Some(row)],
            "a reader without an index sees the same"
        );
    }
    assert!(
        index.next_version().unwrap() > DEPTH,
        "no number is given out twice"
    );
    let row = index.by_path(Path::new("ckpt/12.pt")).unwrap().pop();
    let subject = Subject {
        path: "ckpt/12.pt".into(),
        content: Content::Digests(Digests::of(&content(DEPTH))),
    };
    let choice = ManifestChoice {
        row,
        ..ManifestChoice::default()
    };
    let v = verify(
        &store,
        &chain.terms,
        subject,
        &choice,
        &mut Memo::default(),
        &|_, _| {},
    );
    assert_eq!((v.code.number(), v.ancestors), (0, DEPTH - 1), "{v:?}");
}

#[test]
fn what_cannot_be_parsed_is_passed_over_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&Layout::create(dir.path(), None).unwrap());
    let chain = Chain::new();
    kept(&chain, &store);
    let bad = chain.links[4].sealed.reference.sha256;
    let file = dir
        .path()
        .join("store/manifests/sha256")
        .join(&bad.hex()[..2])
        .join(format!("{}.c2pa", &bad.hex()[2..]));
    std::fs::write(file, b"noise").unwrap();
    let scan = StoreScan::open(&store).unwrap();
    assert!(
        matches!(scan.passed_over(), [line] if line.contains(&bad.hex()[2..])),
        "{:?}",
        scan.passed_over()
    );
    let index = Index::rebuild(&dir.path().join("index.redb"), &store).unwrap();
    assert!(index.by_path(Path::new("ckpt/5.pt")).unwrap().is_empty());
    assert_eq!(index.by_path(Path::new("ckpt/6.pt")).unwrap().len(), 1);
}

/// Read-only readers must find the index closed although some thread still holds it, and nobody else may read it.
#[test]
fn a_closed_index_can_be_read_while_it_is_still_held_and_only_by_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.redb");
    let held = Index::open(&path).unwrap();
    held.write(&Batch {
        versions: vec![version_row(node(1))],
        ..Batch::default()
    })
    .unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    held.close();
    let read = Index::open_read_only(&path).unwrap();
    assert_eq!(read.counts().unwrap(), (1, 0, 0));
    assert!(held.counts().is_err() && held.sync().is_err());
}

#[test]
fn an_index_whose_owner_was_killed_is_unclosed_and_not_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("index.redb"), dir.path().join("copy.redb"));
    let held = Index::open(&path).unwrap();
    held.write(&Batch {
        versions: vec![version_row(node(1))],
        ..Batch::default()
    })
    .unwrap();
    held.sync().unwrap();
    // What lies on disk now is what a killed owner leaves.
    std::fs::copy(&path, &copy).unwrap();
    assert!(matches!(
        Index::open_read_only(&copy),
        Err(IndexError::Unclosed(_))
    ));
    Index::open(&copy).unwrap().close();
    assert_eq!(
        Index::open_read_only(&copy).unwrap().counts().unwrap(),
        (1, 0, 0)
    );
}

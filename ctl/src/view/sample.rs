//! Hand-made rows for the tests of views. Not part of the program.

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::digest::{Digests, Sha256};
use atlas_manifests::id::{InstanceId, NodeId, NodeRef, RunId, VersionId};
use atlas_manifests::rows::{RunRow, UseRow, VersionRow};
use atlas_manifests::statement::{ManifestRef, SetHead};
use atlas_manifests::vocabulary::{Closed, Confined, Cut, Kind, Quiet, RunHow, State};

/// The `n`th run: a training job of one hour, with an argument that a terminal must not see.
pub(crate) fn run(n: u64) -> RunRow {
    RunRow {
        id: RunId {
            instance: InstanceId([9; 16]),
            n,
        },
        name: Some(format!("train-{n}")),
        meta: vec![("seed".to_owned(), "1".to_owned())],
        how: RunHow::Declared,
        uid: 1000,
        host: Some("host".to_owned()),
        cwd: Some(PathBytes::from("/home/u")),
        exe: Some(PathBytes::from("/usr/bin/python3")),
        argv: ["python", "train.py", "--lr=1\x1b[2J"]
            .map(PathBytes::from)
            .into(),
        script: None,
        git: None,
        python: None,
        confined: Confined::Confined,
        started: "2026-11-21T10:00:00Z".to_owned(),
        ended: Some("2026-11-21T11:00:00Z".to_owned()),
        exit: Some(0),
        uses: 1437,
        processes: Vec::new(),
    }
}

/// The `n`th version: sealed, with `path` as its content, written by run 1.
pub(crate) fn version(n: u64, path: &str) -> VersionRow {
    let digests = Digests::of(path.as_bytes());
    VersionRow {
        node: NodeRef::Version(VersionId {
            node: NodeId([7; 16]),
            n,
        }),
        path: Some(PathBytes::from(path)),
        title: None,
        gone: false,
        digests: Some(digests),
        state: State::Sealed,
        reason: None,
        closed: Some(Closed::Explicit),
        status: None,
        quiet: Some(Quiet::Proven),
        cut: Some(Cut::Close),
        run: Some(run(1).id),
        process: 0,
        tree: 0,
        inputs: 2,
        parent: None,
        copied: Vec::new(),
        ephemeral: false,
        manifest: Some(ManifestRef {
            sha256: Sha256::of(b"manifest"),
            size: 4096,
        }),
        input_set: Some(SetHead {
            size: 2,
            root: Sha256::of(b"set"),
        }),
        members: None,
        media_type: Some("application/octet-stream".to_owned()),
        ended_at: Some("2026-11-21T10:59:00Z".to_owned()),
        sealed_at: Some("2026-11-21T10:59:01Z".to_owned()),
        identity: None,
    }
}

/// Content that nobody sealed.
pub(crate) fn content(path: &str) -> VersionRow {
    let digests = Digests::of(path.as_bytes());
    VersionRow {
        node: NodeRef::Content(digests.blake3),
        state: State::Unattested,
        closed: None,
        quiet: None,
        cut: None,
        run: None,
        inputs: 0,
        manifest: None,
        input_set: None,
        ended_at: None,
        sealed_at: None,
        ..version(0, path)
    }
}

/// Run 1 opened this.
pub(crate) fn used(order: u64, row: &VersionRow, kind: Kind) -> UseRow {
    UseRow {
        run: run(1).id,
        order,
        node: row.node,
        kind,
        process: 0,
        tree: 0,
        path: row.path.clone(),
    }
}

//! Statements to seal: a plain one, the largest one, and any. Not tests.

use atlas_manifests::digest::{Blake3, Digests, Sha256};
use atlas_manifests::id::{InstanceId, NodeId, NodeRef, RunId, VersionId};
use atlas_manifests::statement::{
    Asset, Git, Input, ManifestRef, Origin, Python, RunStatement, SetHead, Statement, Withheld,
};
use atlas_manifests::vocabulary::{
    Closed, Confined, Cut, Grade, Hardware, Kind, Quiet, RunHow, State,
};
use proptest::prelude::*;

const NODE: NodeId = NodeId([0x5a; 16]);

/// The SDK writes no larger number, and no file is longer.
const MAX: u64 = i64::MAX as u64;

pub(crate) fn plain() -> Statement {
    Statement {
        version: VersionId { node: NODE, n: 100 },
        title: Some("model.safetensors".to_owned()),
        asset: Asset {
            digests: Digests::of(b"a model"),
            media_type: "application/vnd.safetensors".to_owned(),
            types: vec!["c2pa.types.model".to_owned()],
        },
        sealed_at: "2026-11-21T08:00:00.123456789Z".to_owned(),
        closed: Closed::Explicit,
        status: None,
        quiet: Quiet::Proven,
        cut: Cut::Close,
        parent: None,
        inputs: vec![input(7)],
        input_set: SetHead {
            size: 1,
            root: Sha256([3; 32]),
        },
        members: None,
        origin: Origin::Run(run()),
        withheld: ["path", "argv", "cwd", "host", "user", "exe"]
            .map(|field| Withheld {
                field: field.to_owned(),
                sha256: Sha256::of(field.as_bytes()),
            })
            .to_vec(),
        config: Sha256([4; 32]),
        instance: InstanceId([1; 16]),
        hardware: Hardware::None,
        evidence: None,
    }
}

pub(crate) fn input(n: u64) -> Input {
    Input {
        node: NodeRef::Version(VersionId { node: NODE, n }),
        title: Some(format!("shard-{n:05}.parquet")),
        digests: Some(Digests::of(&n.to_be_bytes())),
        manifest: Some(ManifestRef {
            sha256: Sha256::of(b"its manifest"),
            size: 5000,
        }),
        media_type: "application/vnd.apache.parquet".to_owned(),
        kind: Kind::Opened,
        grade: Grade::ProcessTree,
        state: State::Sealed,
    }
}

fn run() -> RunStatement {
    RunStatement {
        id: RunId {
            instance: InstanceId([1; 16]),
            n: 3,
        },
        name: Some("demo".to_owned()),
        meta: vec![("lr".to_owned(), "3e-4".to_owned())],
        how: RunHow::Declared,
        started: "2026-11-21T07:59:00Z".to_owned(),
        process: 1,
        tree: 0,
        program: "python3.13".to_owned(),
        program_digest: Some(Blake3::of(b"python")),
        confined: Confined::Confined,
        git: Some(Git {
            commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            dirty: Some(true),
        }),
        python: Some(Python {
            count: 41,
            sha256: Sha256([6; 32]),
        }),
    }
}

/// Everything there is, as long as it can be and longer.
pub(crate) fn hostile() -> Statement {
    let long = |c: &str| c.repeat(10_000 / c.len());
    let mut s = plain();
    s.title = Some(long("\u{1b}[31m\u{0}\n"));
    s.asset.media_type = long("x");
    s.asset.types = vec![long("\u{e9}"); 40];
    s.sealed_at = long("9");
    s.status = Some(i32::MIN);
    s.closed = Closed::Killed;
    s.version.n = MAX;
    s.asset.digests.size = MAX;
    s.members = Some(s.input_set);
    let mut one = input(MAX);
    one.title = Some(long("\u{1f600}"));
    one.media_type = format!("application/{}", long("y"));
    s.parent = Some(one.clone());
    s.inputs = vec![one; 8];
    s.withheld = (0..100)
        .map(|i| Withheld {
            field: format!("{i}{}", long("f")),
            sha256: Sha256([7; 32]),
        })
        .collect();
    let mut r = run();
    r.name = Some(long("\u{202e}"));
    r.program = long("p");
    r.started = long("8");
    r.meta = (0..100)
        .map(|i| (format!("{i}{}", long("k")), long("v")))
        .collect();
    r.git = Some(Git {
        commit: long("c"),
        dirty: None,
    });
    s.origin = Origin::Run(r);
    s
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "\\PC{0,40}",
        4 => prop::collection::vec(any::<char>(), 0..300).prop_map(|c| c.into_iter().collect()),
        1 => any::<char>().prop_map(|c| c.to_string().repeat(10_000)),
    ]
}

fn media() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,12}/[a-z0-9.+-]{1,30}",
        Just("png".to_owned()),
        Just("image/jpeg".to_owned()),
        text()
    ]
}

fn digests() -> impl Strategy<Value = Digests> {
    (any::<[u8; 32]>(), any::<[u8; 32]>(), 1..=MAX).prop_map(|(b, s, size)| Digests {
        blake3: Blake3(b),
        sha256: Sha256(s),
        size,
    })
}

fn head() -> impl Strategy<Value = SetHead> {
    (0..=MAX, any::<[u8; 32]>()).prop_map(|(size, root)| SetHead {
        size,
        root: Sha256(root),
    })
}

fn any_input() -> impl Strategy<Value = Input> {
    (
        prop::option::of((any::<[u8; 16]>(), 0..=MAX)),
        prop::option::of(text()),
        prop::option::of(digests()),
        prop::option::of((any::<[u8; 32]>(), 0..=MAX)),
        media(),
        prop::sample::select(Kind::ALL),
        prop::sample::select(Grade::ALL),
        prop::sample::select(State::ALL),
    )
        .prop_map(
            |(version, title, digests, manifest, media_type, kind, grade, state)| Input {
                node: match (version, digests) {
                    (Some((node, n)), _) => NodeRef::Version(VersionId {
                        node: NodeId(node),
                        n,
                    }),
                    (None, Some(d)) => NodeRef::Content(d.blake3),
                    (None, None) => NodeRef::Content(Blake3([8; 32])),
                },
                title,
                digests,
                manifest: manifest.map(|(sha256, size)| ManifestRef {
                    sha256: Sha256(sha256),
                    size,
                }),
                media_type,
                kind,
                grade,
                state,
            },
        )
}

fn any_origin() -> impl Strategy<Value = Origin> {
    let run = (
        prop::option::of(text()),
        prop::collection::vec((text(), text()), 0..20),
        prop::sample::select(RunHow::ALL),
        text(),
        any::<[u32; 2]>(),
        prop::option::of(any::<[u8; 32]>()),
        prop::sample::select(Confined::ALL),
        prop::option::of((text(), prop::option::of(any::<bool>()))),
        prop::option::of((any::<u32>(), any::<[u8; 32]>())),
    )
        .prop_map(
            |(name, meta, how, program, [process, tree], digest, confined, git, python)| {
                Origin::Run(RunStatement {
                    name,
                    meta,
                    how,
                    program,
                    process,
                    tree,
                    program_digest: digest.map(Blake3),
                    confined,
                    git: git.map(|(commit, dirty)| Git { commit, dirty }),
                    python: python.map(|(count, d)| Python {
                        count,
                        sha256: Sha256(d),
                    }),
                    ..run()
                })
            },
        );
    prop_oneof![
        3 => run,
        1 => (prop::option::of(text()), prop::option::of(text()))
            .prop_map(|(name, author)| Origin::Registered { name, author }),
    ]
}

pub(crate) fn any_statement() -> impl Strategy<Value = Statement> {
    let asset = (digests(), media(), prop::collection::vec(text(), 0..6)).prop_map(
        |(digests, media_type, types)| Asset {
            digests,
            media_type,
            types,
        },
    );
    let how = (
        prop::sample::select(Closed::ALL),
        prop::option::of(any::<i32>()),
        prop::sample::select(Quiet::ALL),
        prop::sample::select(Cut::ALL),
    );
    let withheld = prop::collection::vec((text(), any::<[u8; 32]>()), 0..20);
    (
        (prop::option::of(text()), asset, text(), how),
        (
            prop::option::of(any_input()),
            prop::collection::vec(any_input(), 0..10),
        ),
        (head(), prop::option::of(head()), any_origin(), withheld),
    )
        .prop_map(
            |(
                (title, asset, sealed_at, how),
                (parent, inputs),
                (input_set, members, origin, withheld),
            )| {
                let (closed, status, quiet, cut) = how;
                Statement {
                    title,
                    asset,
                    sealed_at,
                    closed,
                    status,
                    quiet,
                    cut,
                    parent,
                    inputs,
                    input_set,
                    members,
                    origin,
                    withheld: withheld
                        .into_iter()
                        .map(|(field, d)| Withheld {
                            field,
                            sha256: Sha256(d),
                        })
                        .collect(),
                    ..plain()
                }
            },
        )
}

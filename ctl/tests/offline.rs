//! The program on a real state directory without any daemon: sealed by the real sealer, kept in the real store and index.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use atlas_manifests::authority::Authority;
use atlas_manifests::bytes::PathBytes;
use atlas_manifests::digest::{Digests, Sha256};
use atlas_manifests::id::{InstanceId, NodeId, NodeRef, RunId, VersionId};
use atlas_manifests::index::{Batch, Index};
use atlas_manifests::layout::Layout;
use atlas_manifests::private::{PrivateRecord, withhold};
use atlas_manifests::rows::{RunRow, UseRow, VersionRow};
use atlas_manifests::seal::Sealer;
use atlas_manifests::set::{Leaf, Segment, SetTree};
use atlas_manifests::statement::{
    Asset, Input, ManifestRef, Origin, RunStatement, SetHead, Statement,
};
use atlas_manifests::store::{Item, Store};
use atlas_manifests::vocabulary::{
    Closed, Confined, Cut, Grade, Hardware, Kind, Quiet, RunHow, State,
};
use serde_json::Value;

const INSTANCE: InstanceId = InstanceId([9; 16]);
const SEALED: &str = "2026-11-21T08:00:00Z";

/// A backing directory: run 1 made `clean.csv` from `raw.csv`, run 2 made `model.pt` from `clean.csv`; `empty` and `new` are there too.
struct World {
    dir: tempfile::TempDir,
    source: PathBuf,
    anchor: PathBuf,
    authority: Authority,
    layout: Layout,
    node: NodeId,
    model: Sha256,
}

fn run_row(n: u64) -> RunRow {
    RunRow {
        id: RunId {
            instance: INSTANCE,
            n,
        },
        name: Some(format!("job-{n}")),
        meta: vec![],
        how: RunHow::Declared,
        uid: 0,
        host: None,
        cwd: None,
        exe: None,
        argv: ["python", "train.py"].map(PathBytes::from).into(),
        script: None,
        git: None,
        python: None,
        confined: Confined::Confined,
        started: SEALED.to_owned(),
        ended: Some(SEALED.to_owned()),
        exit: Some(if n == 1 { 0 } else { 137 }),
        uses: 1,
        processes: vec![],
    }
}

fn bare(node: NodeRef, path: &str, digests: Digests, state: State) -> VersionRow {
    VersionRow {
        node,
        path: Some(path.into()),
        title: None,
        gone: false,
        digests: Some(digests),
        state,
        reason: None,
        closed: None,
        status: None,
        quiet: None,
        cut: None,
        run: None,
        process: 0,
        tree: 0,
        inputs: 0,
        parent: None,
        copied: vec![],
        ephemeral: false,
        manifest: None,
        input_set: None,
        members: None,
        media_type: None,
        ended_at: None,
        sealed_at: None,
        identity: None,
    }
}

impl World {
    fn new(with_index: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().canonicalize().unwrap().join("source");
        fs::create_dir(&source).unwrap();
        for (name, text) in [
            ("raw.csv", "1,2"),
            ("clean.csv", "3"),
            ("model.pt", "weights"),
            ("empty", ""),
            ("new", "?"),
        ] {
            fs::write(source.join(name), text).unwrap();
        }
        let layout = Layout::create(&source.join(".atlas"), None).unwrap();
        let lock = layout.claim().unwrap();
        let authority = Authority::create(&dir.path().join("authority")).unwrap();
        let anchor = dir.path().join("ca.pem");
        fs::write(&anchor, authority.certificate_pem()).unwrap();
        let mut world = Self {
            source,
            anchor,
            authority,
            node: lock.node(),
            layout,
            model: Sha256([0; 32]),
            dir,
        };

        let raw = Digests::of(b"1,2");
        let raw = bare(
            NodeRef::Content(raw.blake3),
            "raw.csv",
            raw,
            State::Unattested,
        );
        let clean = world.seal(1, "clean.csv", b"3", &raw);
        let model = world.seal(2, "model.pt", b"weights", &clean);
        world.model = model.manifest.unwrap().sha256;
        let empty = NodeRef::Version(VersionId {
            node: world.node,
            n: 3,
        });
        let empty = bare(empty, "empty", Digests::of(b""), State::Empty);
        if with_index {
            let index = Index::open(&world.layout.index(world.node)).unwrap();
            let used = |n: u64, row: &VersionRow| UseRow {
                run: run_row(n).id,
                order: 0,
                node: row.node,
                kind: Kind::Read,
                process: 0,
                tree: 0,
                path: row.path.clone(),
            };
            let batch = Batch {
                uses: vec![used(1, &raw), used(2, &clean)],
                versions: vec![raw, clean, model, empty],
                runs: vec![run_row(1), run_row(2)],
            };
            index.write(&batch).unwrap();
            index.sync().unwrap();
        }
        drop(lock);
        for entry in ["", ".atlas"] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(world.source.join(entry), mode).unwrap();
        }
        fs::set_permissions(
            world.dir.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        world
    }

    /// Run `n` read `from` and wrote this file, which is version `n`.
    fn seal(&self, n: u64, path: &str, bytes: &[u8], from: &VersionRow) -> VersionRow {
        let leaf = Leaf {
            node: from.node,
            digests: from.digests,
            manifest: from.manifest.map(|m| m.sha256),
            kind: Kind::Read,
            state: from.state,
            process: 0,
            tree: 0,
        };
        let before = SetTree::new().head();
        let mut tree = SetTree::new();
        tree.push(&leaf);
        let segment = Segment {
            prev: before,
            leaves: vec![leaf],
        };
        let argv = ("argv".to_owned(), Value::from(vec!["python", "train.py"]));
        let (withheld, fields) = withhold([argv]).unwrap();
        let said = self.statement(n, path, bytes, from, tree.head(), withheld);
        let sealed = Sealer::new(self.authority.issue(INSTANCE).unwrap())
            .unwrap()
            .seal(&said)
            .unwrap();
        let row = VersionRow {
            closed: Some(Closed::Explicit),
            quiet: Some(Quiet::Proven),
            cut: Some(Cut::Close),
            run: Some(run_row(n).id),
            inputs: 1,
            manifest: Some(ManifestRef { ..sealed.reference }),
            input_set: Some(tree.head()),
            media_type: Some("text/csv".to_owned()),
            sealed_at: Some(SEALED.to_owned()),
            ..bare(
                NodeRef::Version(said.version),
                path,
                said.asset.digests,
                State::Sealed,
            )
        };
        let record = PrivateRecord {
            manifest: sealed.reference.sha256,
            fields,
            row: row.clone(),
            run: Some(run_row(n)),
        };
        let items = [
            Item::manifest(&sealed, &said),
            Item::inputs(tree.head().root, segment.encode()),
            Item::private(sealed.reference.sha256, record.encode()),
        ];
        Store::open(&self.layout).put_many(&items).unwrap();
        row
    }

    fn statement(
        &self,
        n: u64,
        path: &str,
        bytes: &[u8],
        from: &VersionRow,
        set: SetHead,
        withheld: Vec<atlas_manifests::statement::Withheld>,
    ) -> Statement {
        let run = run_row(n);
        Statement {
            version: VersionId { node: self.node, n },
            title: Some(path.to_owned()),
            asset: Asset {
                digests: Digests::of(bytes),
                media_type: "text/csv".to_owned(),
                types: vec![],
            },
            sealed_at: SEALED.to_owned(),
            closed: Closed::Explicit,
            status: None,
            quiet: Quiet::Proven,
            cut: Cut::Close,
            parent: None,
            inputs: vec![Input {
                node: from.node,
                title: from.path.as_ref().map(PathBytes::lossy),
                digests: from.digests,
                manifest: from.manifest,
                media_type: "text/csv".to_owned(),
                kind: Kind::Read,
                grade: Grade::SameProcess,
                state: from.state,
            }],
            input_set: set,
            members: None,
            origin: Origin::Run(RunStatement {
                id: run.id,
                name: run.name,
                meta: vec![],
                how: run.how,
                started: run.started,
                process: 0,
                tree: 0,
                program: "python3".to_owned(),
                program_digest: None,
                confined: run.confined,
                git: None,
                python: None,
            }),
            withheld,
            config: Sha256([4; 32]),
            instance: INSTANCE,
            hardware: Hardware::None,
            evidence: None,
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atlasctl"));
        let home = self.dir.path();
        command
            .args(args)
            .current_dir(&self.source)
            .env("HOME", home)
            .env_remove("XDG_CONFIG_HOME");
        command.env("XDG_RUNTIME_DIR", home).env_remove("NO_COLOR");
        command
    }

    fn atlasctl(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn verify(&self, args: &[&str]) -> Output {
        self.atlasctl(&[&["verify", "--trust", self.anchor.to_str().unwrap()], args].concat())
    }
}

fn stdout(out: &Output) -> String {
    String::from_utf8(out.stdout.clone()).unwrap()
}

fn json(out: &Output) -> Value {
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}"))
}

#[test]
fn lineage_is_the_same_from_the_index_and_from_the_bare_store() {
    for with_index in [true, false] {
        let w = World::new(with_index);
        let out = w.atlasctl(&["lineage", "model.pt"]);
        let text = stdout(&out);
        assert_eq!(out.status.code(), Some(0), "{out:?}");
        let at = |name: &str| {
            text.find(name)
                .unwrap_or_else(|| panic!("{name} in {text}"))
        };
        assert!(
            at("model.pt  sealed") < at("by job-2: python train.py"),
            "{text}"
        );
        // Where what nobody sealed lay stands in the index only; the store knows its digest, and what its user's manifest calls it.
        let raw = if with_index {
            "raw.csv".to_owned()
        } else {
            format!("{} called raw.csv", raw())
        };
        assert!(
            at("clean.csv  sealed") < at(&format!("{raw}  unattested")),
            "{text}"
        );
        let out = json(&w.atlasctl(&["lineage", "model.pt", "--json"]));
        assert_eq!(out["root"], format!("urn:atlas:v:{}:2", w.node));
        assert_eq!(out["edges"][0]["grade"], "same-process");
        assert_eq!(out["runs"][0]["argv"][1], "train.py");
        let digest = Digests::of(b"1,2").sha256.hex();
        let down = stdout(&w.atlasctl(&["lineage", "--downstream", &digest[..10]]));
        assert!(down.contains(&raw) && down.contains("model.pt"), "{down}");
    }
}

#[test]
fn a_file_is_verified_by_path_by_digest_and_beside_a_sidecar() {
    let w = World::new(true);
    let out = w.verify(&["--json", "model.pt"]);
    let said = json(&out);
    assert_eq!(
        (out.status.code(), &said["verdict"]),
        (Some(0), &Value::from("pass")),
        "{said}"
    );
    let file = &said["files"][0];
    assert_eq!(file["checks"]["lineage"], "affirming");
    assert_eq!(file["checks"]["hardware"], "none");
    assert_eq!(file["checks"].as_object().unwrap().len(), 12);
    assert!(stdout(&w.verify(&["model.pt"])).contains("no TDX"));

    fs::copy(w.source.join("model.pt"), w.source.join("copy.pt")).unwrap();
    assert_eq!(
        w.verify(&["copy.pt"]).status.code(),
        Some(0),
        "state by digest"
    );

    let away = w.dir.path().join("away.pt");
    fs::copy(w.source.join("model.pt"), &away).unwrap();
    let away = away.to_str().unwrap();
    assert_eq!(w.verify(&[away]).status.code(), Some(3));
    let sidecar = format!("{away}.c2pa");
    assert_eq!(
        w.atlasctl(&["export", "model.pt", "-o", &sidecar])
            .status
            .code(),
        Some(0)
    );
    let out = w.verify(&[away]);
    assert_eq!(
        out.status.code(),
        Some(8),
        "the ancestors are not here: {}",
        stdout(&out)
    );
    let state = w.source.join(".atlas");
    let out = w.verify(&["--state", state.to_str().unwrap(), away]);
    assert_eq!(out.status.code(), Some(0), "{}", stdout(&out));
}

#[test]
fn a_bundle_is_all_that_an_auditor_needs() {
    let w = World::new(true);
    let (bundle, away) = (w.dir.path().join("m.atlas"), w.dir.path().join("m.pt"));
    let (bundle, away) = (bundle.to_str().unwrap(), away.to_str().unwrap());
    fs::copy(w.source.join("model.pt"), away).unwrap();
    let out = w.atlasctl(&["export", "model.pt", "--bundle", bundle]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert_eq!(
        w.atlasctl(&["export", "model.pt", "--bundle", bundle])
            .status
            .code(),
        Some(1),
        "it is there already"
    );
    fs::rename(&w.source, w.dir.path().join("hidden")).unwrap();
    let mut verify = w.command(&[
        "verify",
        "--trust",
        w.anchor.to_str().unwrap(),
        "--manifest",
        bundle,
        away,
    ]);
    let out = verify.current_dir("/").output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", stdout(&out));
    fs::write(away, "Weights").unwrap();
    assert_eq!(verify.output().unwrap().status.code(), Some(4));
}

#[test]
fn what_was_tampered_with_is_refused_with_the_code_of_the_contract() {
    let w = World::new(true);
    fs::write(w.source.join("clean.csv"), "4").unwrap();
    assert_eq!(
        w.verify(&["clean.csv"]).status.code(),
        Some(4),
        "a flipped byte"
    );
    assert_eq!(
        w.verify(&["model.pt"]).status.code(),
        Some(0),
        "an ancestor's bytes are not needed"
    );
    assert_eq!(
        w.atlasctl(&["verify", "model.pt"]).status.code(),
        Some(5),
        "nobody is trusted unless pinned or given"
    );
    assert_eq!(w.verify(&["new"]).status.code(), Some(3), "never sealed");
    assert_eq!(w.verify(&["empty"]).status.code(), Some(0), "skipped");
    assert_eq!(w.verify(&["gone"]).status.code(), Some(1));
    assert_eq!(
        w.verify(&["."]).status.code(),
        Some(2),
        "a directory needs --recursive"
    );
    let out = w.verify(&["--json", "-r", "."]);
    assert_eq!(out.status.code(), Some(4));
    assert_eq!(json(&out)["files"].as_array().unwrap().len(), 5);

    let store = Store::open(&w.layout);
    let manifest = store.path(atlas_manifests::shelf::Object::Manifest, &w.model);
    let mut bytes = fs::read(&manifest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&manifest).unwrap();
    fs::write(&manifest, bytes).unwrap();
    assert_eq!(
        w.verify(&["model.pt"]).status.code(),
        Some(5),
        "a flipped byte of the manifest"
    );
    let out = w.atlasctl(&["doctor", "--json"]);
    assert_eq!(out.status.code(), Some(1));
    let findings = json(&out)["findings"].as_array().unwrap().clone();
    assert!(
        findings
            .iter()
            .any(|f| f["what"] == "manifests" && f["health"] == "fail"),
        "{findings:?}"
    );
    fs::remove_file(&manifest).unwrap();
    let out = w.atlasctl(&["doctor"]);
    assert!(stdout(&out).contains("one is missing"), "{out:?}");
    assert_eq!(out.status.code(), Some(1));
}

#[test]
fn an_ordinary_user_sees_what_is_public_and_no_withheld_value() {
    let w = World::new(true);
    assert!(stdout(&w.atlasctl(&["show", "model.pt"])).contains("withheld from the manifest"));
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // As after sudo: a home that is somebody else's, and closed. Nobody is trusted for that, and nothing fails.
    let home = w.dir.path().join("closed");
    fs::create_dir_all(home.join(".config/atlas/trust")).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    let as_nobody = |args: &[&str]| {
        let mut command = w.command(args);
        command.env("HOME", &home).uid(65534).gid(65534);
        command.output().unwrap()
    };
    let out = as_nobody(&["show", &w.model_digest()]);
    let text = stdout(&out);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert!(
        text.contains("withheld") && !text.contains("train.py"),
        "{text}"
    );
    let out = as_nobody(&["verify", "--trust", w.anchor.to_str().unwrap(), "model.pt"]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert_eq!(
        as_nobody(&["lineage", &w.model_digest()]).status.code(),
        Some(0)
    );
}

impl World {
    fn model_digest(&self) -> String {
        Digests::of(b"weights").blake3.to_string()
    }
}

#[test]
fn lists_say_states_and_failed_runs() {
    let w = World::new(true);
    let text = stdout(&w.atlasctl(&["ls"]));
    let line = |name: &str| text.lines().find(|l| l.ends_with(name)).unwrap().to_owned();
    assert!(
        line("model.pt").starts_with("sealed")
            && line("new").starts_with('-')
            && line("empty").starts_with("empty"),
        "{text}"
    );
    assert!(!text.contains(".atlas"));
    let runs = json(&w.atlasctl(&["runs", "--failed", "--json"]));
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1);
    assert!(stdout(&w.atlasctl(&["show", "job-2"])).contains("killed SIGKILL"));
    assert!(stdout(&w.atlasctl(&["show", "empty"])).contains("no manifest"));
}

#[test]
fn without_a_daemon_what_needs_one_is_code_9() {
    let w = World::new(true);
    for args in [&["sync"][..], &["register", "new"], &["status", "."]] {
        let out = w.atlasctl(args);
        assert_eq!(out.status.code(), Some(9), "{args:?}: {out:?}");
        assert_eq!(String::from_utf8(out.stderr).unwrap().lines().count(), 1);
    }
}

#[test]
fn a_damaged_index_is_passed_over_and_can_be_made_again() {
    let w = World::new(true);
    let index = w.layout.index(w.node);
    fs::write(&index, vec![0xff; 8192]).unwrap();
    let out = w.atlasctl(&["lineage", "model.pt"]);
    assert!(stdout(&out).contains(&raw()), "{out:?}");
    assert_eq!(w.atlasctl(&["doctor"]).status.code(), Some(1));
    let out = w.atlasctl(&["doctor", "--rebuild"]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert!(Path::new(&index).exists());
    assert!(stdout(&w.atlasctl(&["lineage", "model.pt"])).contains(&raw()));
}

/// The raw data as the store alone knows them.
fn raw() -> String {
    format!("content {}", &Digests::of(b"1,2").blake3.hex()[..12])
}

#[test]
fn a_closed_pipe_is_quiet_and_never_success() {
    let w = World::new(true);
    let script = format!(
        "{} completions bash | head -c1 >/dev/null; true",
        env!("CARGO_BIN_EXE_atlasctl")
    );
    let out = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(out.stderr.is_empty(), "{out:?}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let out = w
        .command(&["lineage", "model.pt"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(
        (out.status.code(), out.stderr.len()),
        (Some(141), 0),
        "{out:?}"
    );
}

//! `verify` and `export` on a state directory with a log, and on bundles of it, without any daemon.

#[path = "../../manifests/tests/statements/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of manifests")]
mod statements;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use atlas_manifests::authority::Authority;
use atlas_manifests::digest::{Digests, Sha256};
use atlas_manifests::evidence::LogHead;
use atlas_manifests::id::NodeId;
use atlas_manifests::layout::Layout;
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::leaf::{Leaf, Reason, Revoked};
use atlas_manifests::log::operator::{LogKey, usual_origin};
use atlas_manifests::log::tile::{Bundle, Resource, encode_hashes};
use atlas_manifests::merkle::{self, Subtrees, leaf_hash, node_hash};
use atlas_manifests::seal::Sealer;
use atlas_manifests::set::empty_head;
use atlas_manifests::statement::{SetHead, Statement};
use atlas_manifests::store::{Item, Store};
use serde_json::Value;
use statements::plain;

struct Tree(Vec<Vec<u8>>);

impl Subtrees for Tree {
    type Error = std::convert::Infallible;

    fn subtree(&self, level: u32, index: u64) -> Result<Sha256, Self::Error> {
        if level == 0 {
            return Ok(leaf_hash(&self.0[index as usize]));
        }
        Ok(node_hash(
            &self.subtree(level - 1, index * 2)?,
            &self.subtree(level - 1, index * 2 + 1)?,
        ))
    }
}

/// A backing directory with one sealed file, and its node's log.
struct World {
    dir: tempfile::TempDir,
    source: PathBuf,
    layout: Layout,
    node: NodeId,
    log: LogKey,
    manifest: Sha256,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().canonicalize().unwrap().join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("model.pt"), "weights").unwrap();
        let layout = Layout::create(&source.join(".atlas"), None).unwrap();
        let node = layout.claim().unwrap().node();
        let home = dir.path().join("authority");
        let authority = Authority::create(&home).unwrap();
        fs::write(dir.path().join("ca.pem"), authority.certificate_pem()).unwrap();
        let log = LogKey::open_or_create(&authority, &home, node, &usual_origin(node)).unwrap();
        let mut said = Statement {
            inputs: Vec::new(),
            input_set: empty_head(),
            ..plain()
        };
        said.version.node = node;
        said.asset.digests = Digests::of(b"weights");
        let sealer = Sealer::new(authority.issue(said.instance).unwrap()).unwrap();
        let sealed = sealer.seal(&said).unwrap();
        let store = Store::open(&layout);
        store.put(&Item::manifest(&sealed, &said)).unwrap();
        Self {
            dir,
            source,
            layout,
            node,
            log,
            manifest: sealed.reference.sha256,
        }
    }

    fn leaf(&self, manifest: Sha256) -> Leaf {
        Leaf::Manifest {
            manifest,
            instance: plain().instance,
        }
    }

    /// The log's files with these leaves, the manifest's first.
    fn publish(&self, more: &[Leaf]) {
        let mut tree = Tree(vec![self.leaf(self.manifest).encode()]);
        tree.0.extend(more.iter().map(Leaf::encode));
        let (size, width) = (tree.0.len() as u64, tree.0.len() as u16);
        let head = SetHead {
            size,
            root: merkle::root(&tree, size).unwrap(),
        };
        let origin = usual_origin(self.node);
        let mut checkpoint = Checkpoint::of(LogHead { origin, head }).unwrap();
        let line = self.log.sign(checkpoint.note.text.as_bytes());
        let key = self.log.verifier_key();
        checkpoint.note.add(key.line(line.to_vec()));
        let mut bundle = Bundle::default();
        tree.0.iter().for_each(|l| bundle.push(l).unwrap());
        let hashes: Vec<Sha256> = tree.0.iter().map(|l| leaf_hash(l)).collect();
        let tile = Resource::Tile {
            level: 0,
            index: 0,
            width,
        };
        let entries = Resource::Entries { index: 0, width };
        let dir = self.layout.log(self.node);
        let put = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        put(&tile.path(), &encode_hashes(&hashes));
        put(&entries.path(), bundle.bytes());
        put("certificate.pem", self.log.certificate_pem().as_bytes());
        put("keys", format!("{key}\n").as_bytes());
        put("checkpoint", &checkpoint.encode());
    }

    fn atlasctl(&self, args: &[&str], at: &Path) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atlasctl"));
        let home = self.dir.path();
        command.args(args).current_dir(at);
        command.env("HOME", home).env("XDG_RUNTIME_DIR", home);
        command
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_STATE_HOME");
        command.output().unwrap()
    }

    fn verify(&self, args: &[&str]) -> Output {
        let anchor = self.dir.path().join("ca.pem");
        let begin = ["verify", "--trust", anchor.to_str().unwrap()];
        self.atlasctl(&[&begin[..], args].concat(), &self.source)
    }

    /// Exit code, and the one file's verdict.
    fn verdict(&self, args: &[&str]) -> (i32, Value) {
        let out = self.verify(&[args, &["--json"]].concat());
        let code = out.status.code().unwrap();
        let json: Value =
            serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}"));
        (code, json["files"][0].clone())
    }

    fn heads(&self) -> PathBuf {
        self.dir.path().join(".local/state/atlas/heads")
    }

    /// A bundle of the file, named by its content: no index knows its path.
    fn export(&self) -> String {
        let bundle = self.dir.path().join("b.atlas").display().to_string();
        let content = Digests::of(b"weights").blake3.to_string();
        let args = ["export", &content, "--bundle", &bundle];
        let made = self.atlasctl(&args, &self.source);
        assert!(made.status.success(), "{made:?}");
        bundle
    }

    fn more(&self) -> Leaf {
        self.leaf(Sha256([1; 32]))
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

#[test]
fn a_file_in_its_log_says_where_and_its_head_is_remembered() {
    let w = World::new();
    w.publish(&[w.more()]);
    let out = w.verify(&["model.pt"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(0), "{text}");
    let line = "    transparency  affirming  in the log at 0 of 2, cosigned by no witness\n";
    assert!(text.contains(line), "{text}");
    let origin = usual_origin(w.node);
    assert!(
        text.contains(&format!("    log           {origin}\n")),
        "{text}"
    );
    assert_eq!(fs::read_dir(w.heads()).unwrap().count(), 2, "head and lock");
    let (code, file) = w.verdict(&["model.pt"]);
    assert_eq!(
        (code, &file["checks"]["transparency"]),
        (0, &"affirming".into())
    );
    let said = &file["transparency"];
    assert_eq!(said["origin"], origin);
    assert_eq!((&said["index"], &said["size"]), (&0.into(), &2.into()));
    assert_eq!(said["signers"], serde_json::json!([origin]));
}

#[test]
fn without_a_log_nothing_is_said_and_nothing_is_remembered() {
    let w = World::new();
    let (code, file) = w.verdict(&["model.pt"]);
    assert_eq!((code, &file["checks"]["transparency"]), (0, &"none".into()));
    assert!(file.get("transparency").is_none());
    assert!(!w.heads().exists());
    let policy = w.write("policy.toml", "[log]\nrequire = true\n");
    let (code, _) = w.verdict(&["--policy", &policy, "model.pt"]);
    assert_eq!(code, 6);
}

#[test]
fn a_log_that_was_set_back_is_refused_and_both_heads_are_printed() {
    let w = World::new();
    w.publish(&[w.more(), w.more()]);
    assert_eq!(w.verdict(&["model.pt"]).0, 0);
    w.publish(&[w.more()]);
    let out = w.verify(&["model.pt"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(6), "{text}");
    for size in [2, 3] {
        let head = format!("      {}\n      {size}\n", usual_origin(w.node));
        assert!(text.contains(&head), "{text}");
    }
    assert_eq!(text.matches("      \u{2014} ").count(), 2, "{text}");
    let (_, file) = w.verdict(&["model.pt"]);
    assert_eq!(file["transparency"]["conflict"]["what"], "rollback");
    assert_eq!(w.verdict(&["--heads", "none", "model.pt"]).0, 0);
    let other = w.dir.path().join("other").display().to_string();
    assert_eq!(w.verdict(&["--heads", &other, "model.pt"]).0, 0);
    assert!(Path::new(&other).exists());
}

#[test]
fn a_home_that_cannot_be_written_is_a_warning() {
    let w = World::new();
    w.publish(&[w.more()]);
    w.write(".local", "a file");
    let (code, file) = w.verdict(&["model.pt"]);
    assert_eq!(
        (code, &file["checks"]["transparency"]),
        (0, &"affirming".into())
    );
    let said = file["reasons"].to_string();
    assert!(said.contains("cannot be remembered"), "{said}");
}

#[test]
fn a_bundle_is_verified_with_its_log_where_nothing_else_is() {
    let w = World::new();
    w.publish(&[w.more()]);
    let bundle = w.export();
    let policy = w.write("policy.toml", "[log]\nrequire = true\n");
    let model = w.write("copy.pt", "weights");
    fs::remove_dir_all(w.source.join(".atlas")).unwrap();
    let args = ["--policy", &policy, "--manifest", &bundle, &model];
    let (code, file) = w.verdict(&args);
    assert_eq!(
        (code, &file["checks"]["transparency"]),
        (0, &"affirming".into())
    );
}

#[test]
fn an_older_bundle_than_what_was_seen_passes_and_says_so() {
    let w = World::new();
    w.publish(&[w.more()]);
    let bundle = w.export();
    w.publish(&[w.more(), w.more()]);
    assert_eq!(w.verdict(&["model.pt"]).0, 0);
    let (code, file) = w.verdict(&["--manifest", &bundle, "model.pt"]);
    assert_eq!(code, 0);
    let why = file["transparency"]["uncompared"].as_str().unwrap();
    assert!(why.contains("later head"), "{why}");
}

#[test]
fn a_revoked_file_is_refused_with_the_remedy() {
    let w = World::new();
    w.publish(&[Leaf::Revocation {
        what: Revoked::Manifest(w.manifest),
        reason: Reason::Wrong,
    }]);
    let (code, file) = w.verdict(&["model.pt"]);
    assert_eq!(
        (code, &file["checks"]["transparency"]),
        (6, &"contraindicated".into())
    );
    let said = file["reasons"].to_string();
    assert!(said.contains("revoked in the log, as wrong"), "{said}");
}

#[test]
fn a_policy_of_witnesses_is_read_from_a_file_or_inline_and_a_wrong_one_is_refused() {
    let w = World::new();
    w.publish(&[w.more()]);
    let key = atlas_manifests::log::note::VerifierKey::new(
        "w.example",
        atlas_manifests::log::note::KeyKind::Cosignature,
        [3; 32],
    );
    let witnesses = format!("witness w {}\nquorum w\n", key.unwrap());
    w.write("witnesses.policy", &witnesses);
    for given in [
        "\"witnesses.policy\"".to_owned(),
        format!("'''\n{witnesses}'''"),
    ] {
        let text = format!("[log]\nrequire = true\nwitnesses = {given}\n");
        let policy = w.write("policy.toml", &text);
        let (code, file) = w.verdict(&["--policy", &policy, "model.pt"]);
        assert_eq!(
            (code, &file["checks"]["transparency"]),
            (6, &"warning".into())
        );
        let checked = w.atlasctl(&["policy", "check", &policy], &w.source);
        let text = String::from_utf8(checked.stdout).unwrap();
        assert!(
            text.contains("1 witness named: enough of them must"),
            "{text}"
        );
    }
    w.write("witnesses.policy", "quorum w\n");
    let policy = w.write("policy.toml", "[log]\nwitnesses = \"witnesses.policy\"\n");
    for args in [
        &["verify", "--policy", &policy, "model.pt"][..],
        &["policy", "check", &policy],
    ] {
        let refused = w.atlasctl(args, &w.source);
        assert!(!refused.status.success());
        let text = String::from_utf8(refused.stderr).unwrap();
        assert!(text.contains("no witness or group"), "{text}");
    }
}

//! `atlasctl reference` and `policy` as an ordinary user with a home of their own: nothing of the machine is touched. No evidence is judged.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use atlas_manifests::authority::Authority;
use atlas_manifests::digest::{Digests, Sha256};
use atlas_manifests::evidence::Evidence;
use atlas_tdx_sim::{Shape, Td, World};
use serde_json::Value;

/// Root would pin for everybody on the machine.
const NOBODY: u32 = 65534;

/// A home, with a signing key in `key.pem` and its certificate in `ca.pem`.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(&dir.path().join("authority")).unwrap();
        let home = Self(dir);
        home.put("ca.pem", authority.certificate_pem());
        let key = fs::read(home.path("authority/key.pem")).unwrap();
        home.put("key.pem", key);
        home.own(home.0.path());
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
        self.own(&self.path(name));
    }

    fn own(&self, path: &Path) {
        if rustix::process::geteuid().is_root() {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    fn ctl(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atlasctl"));
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.args(args).current_dir(self.0.path());
        command
            .env("HOME", self.0.path())
            .env_remove("XDG_CONFIG_HOME");
        command.output().unwrap()
    }

    /// Standard output of a command that ends with 0.
    fn ok(&self, args: &[&str]) -> String {
        let out = self.ctl(args);
        assert_eq!(out.status.code(), Some(0), "{args:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// The one line of a command that ends with this code and prints nothing.
    fn refused(&self, code: i32, args: &[&str]) -> String {
        let out = self.ctl(args);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {out:?}");
        let text = String::from_utf8(out.stderr).unwrap();
        assert_eq!((out.stdout.len(), text.lines().count()), (0, 1), "{text}");
        text
    }

    /// What this user pinned; the machine may have pins of its own.
    fn pinned(&self) -> Vec<Value> {
        let all = self.json(&["reference", "list"]);
        let home = self.0.path().to_str().unwrap();
        let all = all["references"].as_array().unwrap().iter();
        all.filter(|r| r["file"].as_str().unwrap().starts_with(home))
            .cloned()
            .collect()
    }

    /// `draft.json`: two files of a data set.
    fn draft(&self) -> String {
        self.put("a.csv", "1,2");
        self.put("b.csv", "3");
        let text = self.ok(&[
            "reference",
            "draft",
            "--name",
            "set 1",
            "--artifact",
            "a.csv",
            "b.csv",
        ]);
        self.put("draft.json", &text);
        text
    }
}

/// A version 4 quote of which each register holds its own byte; one bit in it was changed after it was signed.
fn quote() -> Vec<u8> {
    let td = Td {
        mrtd: [1; 48],
        rtmr: [[2; 48], [3; 48], [4; 48], [0; 48]],
        mrconfigid: [5; 48],
        mrowner: [6; 48],
        mrownerconfig: [7; 48],
        ..Td::default()
    };
    let world = World::new(1_795_694_400).unwrap();
    let mut quote = world.quote(Shape::V4, &td, &[0; 64]).unwrap();
    quote[48 + 520] ^= 1;
    quote
}

#[test]
fn values_are_signed_added_listed_and_removed() {
    let home = Home::new();
    home.draft();
    let sign = ["reference", "sign", "draft.json", "--key", "key.pem"];
    home.ok(&[&sign[..], &["-o", "set.json"]].concat());
    let text = home.refused(1, &[&sign[..], &["-o", "set.json"]].concat());
    assert!(text.contains("--force"), "{text}");
    home.ok(&[&sign[..], &["-o", "set.json", "--force"]].concat());
    for needed in ["draft.json", "key.pem"] {
        home.refused(1, &[&sign[..], &["-o", needed, "--force"]].concat());
    }
    let envelope = fs::read(home.path("set.json")).unwrap();
    assert_eq!(home.ok(&sign).as_bytes(), envelope, "the same without -o");

    let text = home.refused(5, &["reference", "add", "set.json"]);
    assert!(text.contains("--signer"), "{text}");
    home.refused(5, &["reference", "add", "set.json", "--unsigned"]);
    home.ok(&["reference", "add", "set.json", "--signer", "ca.pem"]);
    home.ok(&["reference", "add", "set.json"]);
    let pinned = home.pinned();
    assert_eq!(pinned.len(), 1);
    let fingerprint = Sha256::of(&envelope);
    assert_eq!(pinned[0]["fingerprint"], fingerprint.to_string());
    assert_eq!(pinned[0]["artifacts"], 2);
    assert!(pinned[0]["signer"].is_string());
    let table = home.ok(&["reference", "list"]);
    assert!(table.contains(&fingerprint.hex()) && table.contains("2 artifacts"));

    home.refused(1, &["reference", "rm", "1234567"]);
    home.ok(&["reference", "rm", &fingerprint.hex()[..8]]);
    home.refused(1, &["reference", "rm", &fingerprint.hex()[..8]]);
    assert!(home.pinned().is_empty());
    home.refused(5, &["reference", "add", "set.json"]);
}

#[test]
fn an_envelope_that_was_changed_or_signed_by_another_is_refused() {
    let home = Home::new();
    home.draft();
    home.ok(&[
        "reference",
        "sign",
        "draft.json",
        "--key",
        "key.pem",
        "-o",
        "set.json",
    ]);
    let envelope: Value =
        serde_json::from_slice(&fs::read(home.path("set.json")).unwrap()).unwrap();
    let mut changed = envelope;
    let payload = changed["payload"].as_str().unwrap();
    let (head, tail) = payload.split_at(payload.len() / 2);
    let other = if tail.starts_with('A') { "B" } else { "A" };
    changed["payload"] = format!("{head}{other}{}", &tail[1..]).into();
    home.put("changed.json", changed.to_string());
    let add = |file| ["reference", "add", file, "--signer", "ca.pem"];
    home.refused(5, &add("changed.json"));
    let stranger = Authority::create(&home.path("stranger")).unwrap();
    home.put("stranger.pem", stranger.certificate_pem());
    home.refused(
        5,
        &["reference", "add", "set.json", "--signer", "stranger.pem"],
    );
    assert!(home.pinned().is_empty());

    // Changed after it was pinned: nothing may be built on what is left.
    home.ok(&add("set.json"));
    let pin = PathBuf::from(home.pinned()[0]["file"].as_str().unwrap());
    fs::write(&pin, changed.to_string()).unwrap();
    home.refused(5, &["reference", "list"]);
    let now = Sha256::of(changed.to_string().as_bytes());
    home.ok(&["reference", "rm", &now.to_string()]);
    assert!(home.pinned().is_empty());
}

#[test]
fn what_nobody_signed_is_believed_only_when_that_is_said() {
    let home = Home::new();
    home.draft();
    let text = home.refused(5, &["reference", "add", "draft.json"]);
    assert!(text.contains("--unsigned"), "{text}");
    home.ok(&["reference", "add", "draft.json", "--unsigned"]);
    assert!(home.ok(&["reference", "list"]).contains("unsigned"));
    assert_eq!(home.pinned()[0]["signer"], Value::Null);
    home.put(
        "evil.json",
        r#"{"v":1,"name":"\u001b[31mx\n","artifacts":[]}"#,
    );
    home.refused(1, &["reference", "add", "evil.json", "--unsigned"]);
    let sha = Digests::of(b"x").sha256;
    let evil = format!(r#"{{"v":1,"name":"\u001b[31mx\n","artifacts":[{{"sha256":"{sha}"}}]}}"#);
    home.put("evil.json", evil);
    let out = home.ctl(&["reference", "add", "evil.json", "--unsigned"]);
    assert!(!out.stderr.contains(&0x1b), "{out:?}");
    assert!(!home.ok(&["reference", "list"]).contains('\x1b'));
}

#[test]
fn a_draft_holds_what_the_files_and_the_evidence_hold() {
    let home = Home::new();
    let said: Value = serde_json::from_str(&home.draft()).unwrap();
    assert_eq!(said["artifacts"][0]["name"], "a.csv");
    let digests = Digests::of(b"1,2");
    assert_eq!(said["artifacts"][0]["sha256"], digests.sha256.to_string());
    assert_eq!(said["artifacts"][0]["blake3"], digests.blake3.to_string());
    home.refused(1, &["reference", "draft", "--name", "x", "--artifact", "."]);

    let record = Evidence {
        binding: vec![1],
        quote: quote(),
        events: None,
        ccel: None,
        gpu: None,
        collateral: None,
    };
    // As some clouds do, with zeros after it.
    home.put("quote", [quote(), vec![0; 100]].concat());
    home.put("record", record.encode());
    for file in ["quote", "record"] {
        let out = home.ctl(&["reference", "draft", file, "--name", "image"]);
        let said: Value = serde_json::from_slice(&out.stdout).unwrap();
        let registers = said["measurements"][0].as_object().unwrap();
        for (name, byte) in [
            ("mrtd", "01"),
            ("rtmr0", "02"),
            ("rtmr1", "03"),
            ("rtmr2", "04"),
            ("mrconfigid", "05"),
            ("mrowner", "06"),
            ("mrownerconfig", "07"),
        ] {
            assert_eq!(registers[name], byte.repeat(48), "{name}");
        }
        let text = String::from_utf8(out.stderr).unwrap();
        assert!(text.contains("not that it is good"), "{text}");
        assert!(text.contains("damaged or made up"), "{text}");
    }
    home.put("other", "no evidence");
    home.refused(1, &["reference", "draft", "other", "--name", "x"]);
    home.refused(1, &["reference", "sign", "record", "--key", "key.pem"]);
    home.refused(1, &["reference", "sign", "draft.json", "--key", "ca.pem"]);
}

#[test]
fn a_wrong_policy_is_refused_with_its_line_and_field() {
    let home = Home::new();
    home.put("p.toml", "[tcb]\naccept = [\"Revoked\"]\n");
    let text = home.refused(2, &["policy", "check", "p.toml"]);
    assert!(text.contains("line 2: tcb.accept: "), "{text}");
    home.refused(2, &["policy", "show", "p.toml"]);
    home.refused(1, &["policy", "check", "gone.toml"]);
    home.refused(1, &["policy", "check", "."]);

    // The example, with the files that it names.
    let example = include_str!("../../manifests/tests/policy.example.toml");
    home.put("p.toml", example);
    let text = home.refused(1, &["policy", "check", "p.toml"]);
    assert!(text.contains("vendor.pem"), "{text}");
    home.put("vendor.pem", fs::read(home.path("ca.pem")).unwrap());
    home.put("simulator.pem", fs::read(home.path("ca.pem")).unwrap());
    home.put("image.json", home.draft());
    home.put("witnesses.policy", "quorum none\n");
    home.refused(5, &["policy", "check", "p.toml"]);
    home.ok(&[
        "reference",
        "sign",
        "draft.json",
        "--key",
        "key.pem",
        "-o",
        "image.json",
        "--force",
    ]);
    let text = home.ok(&["policy", "check", "p.toml"]);
    assert!(
        text.contains("SWHardeningNeeded") && text.contains("2 artifacts"),
        "{text}"
    );
    let said = home.json(&["policy", "check", "p.toml"]);
    assert_eq!(said["demands"].as_array().unwrap().len(), 10);
}

#[test]
fn a_policy_is_shown_whole_and_fits_the_schema() {
    let home = Home::new();
    let shown = home.ok(&["policy", "show"]);
    home.put("shown.toml", &shown);
    assert_eq!(home.ok(&["policy", "show", "shown.toml"]), shown);
    assert_eq!(
        home.json(&["policy", "show"])["tcb"]["accept"][0],
        "UpToDate"
    );
    let schema = home.ok(&["policy", "schema"]);
    assert_eq!(schema, include_str!("../../manifests/policy.schema.json"));

    // By somebody else's reading of the schema, where there is one.
    home.put("schema.json", schema);
    home.put(
        "example.toml",
        include_str!("../../manifests/tests/policy.example.toml"),
    );
    home.put("wrong.toml", "[evidence]\nrequired = \"file\"\n");
    let program = "import sys, json, tomllib, jsonschema
schema = jsonschema.Draft202012Validator(json.load(open('schema.json')))
sys.exit(not schema.is_valid(tomllib.load(open(sys.argv[1], 'rb'))))";
    let python = |args: &[&str]| {
        let mut python = Command::new("python3");
        python.args(args).current_dir(home.0.path());
        python.output().is_ok_and(|out| out.status.success())
    };
    if !python(&[
        "-c",
        "import tomllib; from jsonschema import Draft202012Validator",
    ]) {
        return;
    }
    for (file, fits) in [
        ("example.toml", true),
        ("shown.toml", true),
        ("wrong.toml", false),
    ] {
        assert_eq!(python(&["-c", program, file]), fits, "{file}");
    }
}

#[test]
fn a_pin_is_readable_by_everybody_and_keeps_only_the_key_of_its_signer() {
    let home = Home::new();
    home.draft();
    home.ok(&[
        "reference",
        "sign",
        "draft.json",
        "--key",
        "key.pem",
        "-o",
        "set.json",
    ]);
    // A file with the secret half too: that must not be published.
    let both = ["ca.pem", "key.pem"].map(|f| fs::read_to_string(home.path(f)).unwrap());
    home.put("both.pem", both.concat());
    home.ok(&["reference", "add", "set.json", "--signer", "both.pem"]);
    let pins = home.path(".config/atlas/reference");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&pins), mode(&pins.join("signers"))), (0o755, 0o755));
    for entry in fs::read_dir(pins.join("signers")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o644);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("-----BEGIN PUBLIC KEY-----"), "{text}");
        assert!(!text.contains("PRIVATE"));
    }
}

//! `atlasctl log` as a program: logs that grow, go back and split, proofs, audits, servers that are killed. Not their HTTP: that is tested in atlas-net.

#[path = "../../manifests/net/tests/lab/mod.rs"]
mod lab;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use atlas_manifests::digest::Sha256;
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::cosignature::{Witnessed, cosign, witnessed};
use atlas_manifests::log::note::{KeyKind, Signature, VerifierKey};
use lab::{Log, ORIGIN, http};
use serde_json::Value;

struct Lab {
    dir: tempfile::TempDir,
    log: Log,
}

/// A program that is killed also when the test fails.
struct Server {
    child: Child,
    said: Value,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn of(&self, key: &str) -> String {
        self.said[key].as_str().unwrap().to_owned()
    }

    fn signal(&mut self, signal: rustix::process::Signal) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "it does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new(ORIGIN, 1);
        Self { dir, log }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atlasctl"));
        command.args(args).current_dir(self.dir.path());
        command.env("HOME", self.dir.path()).stdin(Stdio::null());
        command
    }

    fn ctl(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Standard output of a command that ends with this code.
    fn says(&self, code: i32, args: &[&str]) -> String {
        let out = self.ctl(args);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    fn json(&self, code: i32, args: &[&str]) -> Value {
        let text = self.says(code, &[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    fn watch(&self, code: i32, at: &str) -> Value {
        let key = self.log.key.to_string();
        self.json(
            code,
            &[
                "log", "watch", at, "--once", "--state", "heads", "--key", &key,
            ],
        )
    }

    fn serve(&self, mut command: Command) -> Server {
        command.arg("--json").stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let said = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        Server { child, said }
    }

    fn witness(&self) -> Server {
        let key = self.log.key.to_string();
        self.serve(self.command(&[
            "log",
            "witness",
            "--state",
            "w",
            "--name",
            "w.example/1",
            "--log",
            &key,
            "--listen",
            "127.0.0.1:0",
        ]))
    }
}

fn post(url: &str, body: &str) -> (u16, String) {
    let url = format!("{url}/add-checkpoint");
    let reply = http()
        .post(&url, "text/plain", body.as_bytes(), 1 << 20)
        .unwrap();
    (reply.status, String::from_utf8(reply.body).unwrap())
}

#[test]
fn a_log_that_grows_goes_back_or_splits_is_told_apart() {
    let lab = Lab::new();
    let (log, fork) = (lab.path("log"), Log::forked(1, 200));
    let verdict = |code, at: &str, word: &str| {
        let said = lab.watch(code, at);
        assert_eq!(said["verdict"], word, "{said}");
        said
    };
    lab.log.write(&log, 150);
    verdict(0, "log", "first");
    verdict(0, "log", "same");
    lab.log.write(&log, 700);
    assert_eq!(verdict(0, "log", "grown")["was"], 150);

    // Signed by the same key: an older head, another of the same size, and one that grew from another history.
    for (other, size, word) in [
        (&lab.log, 600, "rollback"),
        (&fork, 700, "split"),
        (&fork, 900, "split"),
    ] {
        let place = format!("other-{word}-{size}");
        other.write(&lab.path(&place), size);
        let said = verdict(6, &place, word);
        let evidence = &said["evidence"];
        let (old, new) = (
            lab.log.checkpoint(700).encode(),
            other.checkpoint(size).encode(),
        );
        for (key, at, bytes) in [("remembered", 0, old), ("shown", 1, new)] {
            assert_eq!(evidence[key].as_str().unwrap().as_bytes(), bytes);
            let file = evidence["files"][at].as_str().unwrap();
            assert_eq!(fs::read(lab.path(file)).unwrap(), bytes);
        }
        let key = lab.log.key.to_string();
        let text = lab.says(
            6,
            &[
                "log", "watch", &place, "--once", "--state", "heads", "--key", &key,
            ],
        );
        for checkpoint in [lab.log.checkpoint(700), other.checkpoint(size)] {
            assert!(text.contains(&checkpoint.note.text), "{text}");
        }
    }
    // Nothing of that is remembered.
    verdict(0, "log", "same");
    assert_eq!(fs::read_dir(lab.path("heads/evidence")).unwrap().count(), 6);
    // Without its tiles it does not prove that it grew: an error, and no evidence against it.
    lab.log.write(&log, 800);
    fs::remove_dir_all(log.join("tile")).unwrap();
    let key = lab.log.key.to_string();
    lab.says(
        1,
        &[
            "log", "watch", "log", "--once", "--state", "heads", "--key", &key,
        ],
    );
}

#[test]
fn a_log_is_watched_over_http_and_held_to_the_key_it_began_with() {
    let lab = Lab::new();
    lab.log.write(&lab.path("log"), 300);
    let mut server = lab.serve(lab.command(&["log", "serve", "log", "--listen", "127.0.0.1:0"]));
    let url = server.of("url");
    let look = |code| lab.json(code, &["log", "watch", &url, "--once", "--state", "heads"]);
    assert_eq!(look(0)["verdict"], "first");
    lab.log.write(&lab.path("log"), 513);
    assert_eq!(look(0)["verdict"], "grown");
    // Another key, which the log names itself.
    Log::new(ORIGIN, 2).write(&lab.path("log"), 600);
    assert_eq!(look(5)["error"]["code"], 5);
    let stranger = Log::new(ORIGIN, 2).key.to_string();
    lab.says(
        5,
        &[
            "log",
            "watch",
            &url,
            "--once",
            "--state",
            "h2",
            "--key",
            &lab.log.key.to_string(),
        ],
    );
    lab.says(
        0,
        &[
            "log", "watch", &url, "--once", "--state", "h2", "--key", &stranger,
        ],
    );
    assert_eq!(server.signal(rustix::process::Signal::TERM), Some(0));
    let gone = lab.json(1, &["log", "watch", &url, "--once", "--state", "heads"]);
    assert!(
        gone["error"]["text"].as_str().unwrap().contains(&url),
        "{gone}"
    );
}

#[test]
fn an_audit_finds_each_byte_that_was_changed() {
    let lab = Lab::new();
    let log = lab.path("log");
    lab.log.write(&log, 700);
    let key = lab.log.key.to_string();
    let check = |code| lab.says(code, &["log", "check", "log", "--key", &key]);
    assert!(check(0).contains("699 manifests"));
    let said = lab.json(0, &["log", "check", "log", "--key", &key]);
    assert_eq!(
        (&said["counts"]["manifests"], &said["size"]),
        (&699.into(), &700.into())
    );
    // Nobody says whom to believe, or somebody else.
    lab.says(5, &["log", "check", "log"]);
    let other = Log::new(ORIGIN, 2).key.to_string();
    lab.says(5, &["log", "check", "log", "--key", &other]);
    lab.says(2, &["log", "check", "log", "--key", "x"]);
    for file in [
        "tile/entries/000",
        "tile/entries/002.p/188",
        "tile/0/001",
        "tile/0/002.p/188",
        "tile/1/000.p/2",
        "checkpoint",
    ] {
        let good = fs::read(log.join(file)).unwrap();
        let mut bad = good.clone();
        // In a checkpoint that is the origin.
        bad[5] ^= 1;
        fs::write(log.join(file), bad).unwrap();
        let out = lab.ctl(&["log", "check", "log", "--key", &key]);
        assert!(
            [Some(5), Some(6)].contains(&out.status.code()),
            "{file}: {out:?}"
        );
        fs::write(log.join(file), good).unwrap();
    }
    assert!(check(0).contains("every leaf"));
}

#[test]
fn too_few_witnesses_are_too_few() {
    let lab = Lab::new();
    lab.log.write(&lab.path("log"), 10);
    let (key, pair) = lab::key("w.example/1", KeyKind::Cosignature, 5);
    let policy = format!("log {}\nwitness w {key}\nquorum w\n", lab.log.key);
    fs::write(lab.path("policy"), policy).unwrap();
    let check = |code| lab.says(code, &["log", "check", "log", "--policy", "policy"]);
    assert!(check(6).contains("too few witnesses"));
    let cosigned = |time: u64| {
        let mut checkpoint = lab.log.checkpoint(10);
        let line = cosign(&key, &checkpoint, time, |m| {
            pair.sign(m).as_ref().try_into().unwrap()
        });
        checkpoint.note.add(line);
        fs::write(lab.path("log/checkpoint"), checkpoint.encode()).unwrap();
    };
    cosigned(1_700_000_000);
    check(0);
    let shown = lab.json(0, &["log", "show", "log", "--policy", "policy"]);
    assert_eq!(shown["quorum"], true, "{shown}");
    assert_eq!(shown["signatures"][1]["by"], "a witness of the policy");
    cosigned(10_000_000_000);
    assert!(check(6).contains("cosigned at 2286"));
    fs::write(lab.path("policy"), "quorum x\n").unwrap();
    check(2);
}

#[test]
fn a_proof_stands_alone_and_proves_one_manifest() {
    let lab = Lab::new();
    lab.log.write(&lab.path("log"), 600);
    let (manifest, key) = (lab.log.manifest(300), lab.log.key.to_string());
    let named = manifest.to_string();
    lab.says(
        0,
        &["log", "prove", &named, "--log", "log", "-o", "p.tlog-proof"],
    );
    let check = |code, manifest: &str| {
        lab.says(
            code,
            &[
                "log",
                "check",
                "p.tlog-proof",
                "--key",
                &key,
                "--manifest",
                manifest,
            ],
        )
    };
    check(0, &named);
    check(6, &lab.log.manifest(301).to_string());
    // By the manifest's file: here the 16 bytes that the lab hashes.
    fs::write(lab.path("m.c2pa"), [300u64.to_be_bytes(), [0; 8]].concat()).unwrap();
    check(0, "m.c2pa");
    lab.says(2, &["log", "check", "p.tlog-proof", "--key", &key]);
    lab.says(5, &["log", "check", "p.tlog-proof", "--manifest", &named]);
    let id = lab::INSTANCE.to_string();
    let with = |code, id: &str| {
        let args = [
            "log",
            "check",
            "p.tlog-proof",
            "--key",
            &key,
            "--manifest",
            &named,
        ];
        lab.says(code, &[&args[..], &["--instance", id]].concat())
    };
    with(0, &id);
    with(6, &"2".repeat(32));
    let absent = Sha256::of(b"absent").to_string();
    lab.says(3, &["log", "prove", &absent, "--log", "log", "-o", "q"]);
    assert!(!lab.path("q").exists());

    let server = lab.serve(lab.command(&["log", "serve", "log", "--listen", "127.0.0.1:0"]));
    let url = server.of("url");
    lab.says(
        0,
        &["log", "prove", &named, "--log", &url, "-o", "r.tlog-proof"],
    );
    assert_eq!(
        fs::read(lab.path("r.tlog-proof")).unwrap(),
        fs::read(lab.path("p.tlog-proof")).unwrap()
    );
    lab.says(3, &["log", "prove", &absent, "--log", &url, "-o", "q"]);
    lab.says(0, &["log", "check", &url, "--key", &key]);

    let leaf = lab.json(0, &["log", "show", "log", "--leaf", "300"]);
    assert_eq!(
        (&leaf["kind"], &leaf["manifest"]),
        (&"manifest".into(), &named.into())
    );
    lab.says(1, &["log", "show", "log", "--leaf", "600"]);
    let shown = lab.says(0, &["log", "show", &url]);
    assert!(
        shown.contains("600 leaves") && shown.contains("a key that the log names"),
        "{shown}"
    );
}

#[test]
fn a_witness_that_is_killed_forgets_nothing() {
    let lab = Lab::new();
    let mut size = 0;
    for round in 1..=5 {
        let mut witness = lab.witness();
        let (url, key) = (witness.of("url"), witness.of("key"));
        let key: VerifierKey = key.parse().unwrap();
        let next = size + round;
        let (status, line) = post(&url, &lab.log.request(size, next));
        assert_eq!(status, 200, "{line}");
        let mut with = lab.log.checkpoint(next);
        with.note
            .signatures
            .extend(Signature::parse_all(&line).unwrap());
        assert!(matches!(witnessed(&with, &key), Witnessed::At(_)));
        size = next;
        // Another one on the same state does not start, and says why.
        let logs = lab.log.key.to_string();
        let second = lab.json(
            1,
            &[
                "log",
                "witness",
                "--state",
                "w",
                "--log",
                &logs,
                "--listen",
                "127.0.0.1:0",
            ],
        );
        assert!(
            second["error"]["text"]
                .as_str()
                .unwrap()
                .contains("another witness")
        );
        if round == 5 {
            assert_eq!(witness.signal(rustix::process::Signal::INT), Some(0));
        } else {
            witness.signal(rustix::process::Signal::KILL);
        }
    }
    let witness = lab.witness();
    let url = witness.of("url");
    assert_eq!(
        post(&url, &lab.log.request(0, 99)),
        (409, format!("{size}\n"))
    );
    let fork = Log::forked(1, 0);
    assert_eq!(post(&url, &fork.request(size, size)).0, 422);
    assert_eq!(post(&url, &lab.log.request(size, 99)).0, 200);
}

#[test]
fn a_witness_whose_disk_takes_no_more_cosigns_nothing() {
    let lab = Lab::new();
    let first = lab.witness();
    assert_eq!(post(&first.of("url"), &lab.log.request(0, 5)).0, 200);
    drop(first);
    // Told that a file may not grow it goes on, as on a full disk.
    let with = |limit: &str| {
        let mut command = Command::new("sh");
        let script = format!("trap '' XFSZ; {limit} exec \"$0\" \"$@\"");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_atlasctl")])
            .args(["log", "witness", "--state", "w", "--listen", "127.0.0.1:0"])
            .args(["--log", &lab.log.key.to_string()])
            .current_dir(lab.dir.path());
        command
    };
    let refused = with("ulimit -f 0;").output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let again = lab.serve(with(""));
    let origin = Sha256::of(ORIGIN.as_bytes()).hex();
    let shown = http()
        .get(&format!("{}/{origin}/checkpoint", again.of("url")), 1 << 16)
        .unwrap();
    let shown = Checkpoint::parse(&shown.body).unwrap();
    assert_eq!(shown.head.head, lab.log.head(5));
    limit(&again.child);
    let (status, body) = post(&again.of("url"), &lab.log.request(5, 9));
    assert_eq!((status, body.contains('\u{2014}')), (500, false), "{body}");
    let kept = fs::read(lab.path(&format!("w/heads/{origin}.checkpoint"))).unwrap();
    assert_eq!(Checkpoint::parse(&kept).unwrap().head.head, lab.log.head(5));
}

/// No file of a running program may grow any more.
fn limit(child: &Child) {
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Fsize, none).unwrap();
}

#[test]
fn a_path_that_belongs_to_no_log_is_said_to() {
    let lab = Lab::new();
    fs::create_dir(lab.path("d")).unwrap();
    for args in [
        &["log", "show", "d"][..],
        &["log", "serve", "d"],
        &["log", "check", "d"],
    ] {
        let out = lab.ctl(args);
        assert_eq!(out.status.code(), Some(3), "{out:?}");
    }
    // A node's log, by any path below its directory.
    let node = "0123456789abcdef0123456789abcdef";
    fs::create_dir_all(lab.path("src/.atlas/nodes").join(node)).unwrap();
    fs::write(lab.path("src/.atlas/FORMAT"), "atlas 1\n").unwrap();
    let log: &Path = &lab.path("src/.atlas/nodes").join(node).join("log");
    lab.log.write(log, 3);
    assert_eq!(lab.json(0, &["log", "show", "src/any/file"])["size"], 3);
    lab.says(2, &["log", "witness", "--log", &lab.log.key.to_string()]);
}

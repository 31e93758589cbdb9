//! The transparency log of a real mount: what is sealed is in it, once, whatever happens; who forks it is refused; others can check it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use atlas_tests::ctl::{self, Answer};
use atlas_tests::{Io, Lab, Mount, Options, both, files, sandbox, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The only node's log, behind the mount.
fn log_dir(lab: &Lab) -> PathBuf {
    let nodes = lab.behind(".atlas/nodes");
    let mut dirs = fs::read_dir(nodes).unwrap().map(|d| d.unwrap().path());
    dirs.next().unwrap().join("log")
}

/// The log's own key.
fn vkey(lab: &Lab) -> String {
    let keys = fs::read_to_string(log_dir(lab).join("keys")).unwrap();
    keys.lines().next().unwrap().to_owned()
}

fn size(mount: &Mount) -> u64 {
    mount.status()["log"]["size"].as_u64().unwrap()
}

/// The log is whole, by our own audit.
fn audit(lab: &Lab) -> Answer {
    let dir = log_dir(lab);
    ctl::ctl(
        Path::new("/"),
        &["log", "check", dir.to_str().unwrap(), "--key", &vkey(lab)],
    )
    .expect(0)
}

fn transparency(v: &Value) -> &str {
    v["files"][0]["checks"]["transparency"].as_str().unwrap()
}

/// How many leaves name a manifest.
fn leaves_of(lab: &Lab, manifest: &[u8]) -> usize {
    let bundles = files::find(&log_dir(lab).join("tile/entries"), "");
    // A full bundle stands beside the partial ones that it came from.
    let mut newest = std::collections::BTreeMap::new();
    for path in bundles {
        let name = path.to_string_lossy().into_owned();
        let stem = name.split(".p/").next().unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        let known: &mut Vec<u8> = newest.entry(stem).or_default();
        if bytes.len() > known.len() {
            *known = bytes;
        }
    }
    let all: Vec<u8> = newest.into_values().flatten().collect();
    all.windows(32).filter(|w| *w == manifest).count()
}

/// SHA-256 of each manifest in the store.
fn manifests(lab: &Lab) -> Vec<Vec<u8>> {
    let found = files::find(&lab.behind(".atlas/store/manifests/sha256"), ".c2pa");
    let hex = |p: &PathBuf| {
        let dir = p
            .parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        dir + p.file_stem().unwrap().to_str().unwrap()
    };
    let bytes = |h: String| {
        let pair = |i: usize| u8::from_str_radix(&h[i..i + 2], 16).unwrap();
        (0..h.len()).step_by(2).map(pair).collect()
    };
    // A name with a dot in front is what a crash left.
    let whole = found.iter().map(hex).filter(|h| h.len() == 64);
    whole.map(bytes).collect()
}

/// Past the capture of tests that pass: the scripts tell what was skipped.
fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}");
}

/// A server of ours that ends with the test.
struct Server {
    child: Child,
    said: String,
}

impl Server {
    /// Starts `atlasctl` and waits for a line with its address.
    fn start(args: &[&str]) -> Self {
        let mut command = ctl::command(&sandbox::program("atlasctl"), Path::new("/"));
        command.args(args).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        std::io::BufRead::read_line(&mut out, &mut said).expect("it says where it listens");
        Self { child, said }
    }

    /// `http://127.0.0.1:PORT`.
    fn url(&self) -> String {
        let at = self
            .said
            .find("http://")
            .unwrap_or_else(|| panic!("{}", self.said));
        self.said[at..]
            .split_whitespace()
            .next()
            .unwrap()
            .trim_end_matches('/')
            .to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(raw) = i32::try_from(self.child.id())
            && let Some(pid) = Pid::from_raw(raw)
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

both! {
    /// Each file that a job closes is a leaf, verify says so, and somebody else's code proves it.
    fn every_seal_is_a_leaf_that_others_can_prove(io) {
        let lab = Lab::new();
        lab.put("in", b"input");
        // Over the state itself: what the log says is then read through the mount.
        let mount = lab.mount(Options::new(io).in_place());
        let before = size(&mount);
        mount.sh("for i in $(seq 1 300); do cat in > out$i; echo $i >> out$i; done").ok();
        mount.sync();
        assert!(size(&mount) >= before + 300, "{}", mount.status());
        mount.await_state("out300", "logged");
        let v = mount.verify("out300", 0);
        assert_eq!(transparency(&v), "affirming", "{v}");
        mount.ctl(&["log", "check", "."]).expect(0);
        audit(&lab);
        for manifest in manifests(&lab) {
            assert_eq!(leaves_of(&lab, &manifest), 1);
        }
        let Some(check) = std::env::var_os("ATLAS_TEST_TLOGCHECK") else {
            skipped("tlogcheck: Go's own reader of such logs is not installed");
            return;
        };
        let mut others = Command::new(check);
        others.arg(log_dir(&lab)).arg(vkey(&lab));
        Answer::of(others).expect(0);
    }

    /// Killed again and again in the middle of work: each file is in the log, no manifest twice, and the log is one history.
    fn crashes_keep_no_file_out_of_the_log_and_none_is_in_it_twice(io) {
        let lab = Lab::new();
        let mut heads: Vec<Vec<u8>> = Vec::new();
        for round in 0..5 {
            let mount = lab.mount(Options::new(io));
            mount.sh(&format!("for i in 1 2 3 4 5 6 7 8; do head -c 3000 /dev/urandom > r{round}-$i; done")).ok();
            if round % 2 == 1 {
                mount.sync();
            }
            heads.push(fs::read(log_dir(&lab).join("checkpoint")).unwrap());
            mount.crash();
        }
        let mount = lab.mount(Options::new(io));
        mount.sync();
        audit(&lab);
        for manifest in manifests(&lab) {
            // One that a crash kept from being found is sealed again, and stands beside its successor in the store: no name leads to it.
            assert!(leaves_of(&lab, &manifest) <= 1);
        }
        let demand = lab.scratch().join("policy.toml");
        fs::write(&demand, "[log]\nrequire = true\n").unwrap();
        mount.ctl(&["verify", "--recursive", ".", "--policy", demand.to_str().unwrap()]).expect(0);
        if let Some(check) = std::env::var_os("ATLAS_TEST_TLOGCHECK") {
            for (i, head) in heads.iter().enumerate() {
                let old = lab.scratch().join(format!("old{i}"));
                fs::write(&old, head).unwrap();
                let mut others = Command::new(&check);
                others.arg(log_dir(&lab)).arg(vkey(&lab)).arg(old);
                Answer::of(others).expect(0);
            }
        } else {
            skipped("tlogcheck: Go's own reader of such logs is not installed");
        }
    }
}

/// Restored data, and an authority that remembers more: a daemon would sign a second history.
#[test]
fn a_state_that_was_restored_from_a_copy_is_not_written_on() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.sh("echo one > one").ok();
    mount.sync();
    mount.unmount();
    let copy = lab.scratch().join("copy");
    files::copy_tree(&lab.behind(".atlas"), &copy);
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.sh("echo two > two").ok();
    mount.sync();
    mount.unmount();
    fs::remove_dir_all(lab.behind(".atlas")).unwrap();
    files::copy_tree(&copy, &lab.behind(".atlas"));
    let refused = lab.mount_refused(&Options::new(Io::Passthrough)).expect(1);
    assert!(
        refused.stderr.contains("older than the register"),
        "{}",
        refused.stderr
    );
    // What was sealed before is still verified.
    lab.ctl(&["verify", lab.source().join("one").to_str().unwrap()])
        .expect(0);
}

/// A witness cosigns while a mount works; and when the whole machine was restored, it alone knows better.
#[test]
fn a_witness_cosigns_and_stops_a_daemon_on_a_restored_disk() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.sh("echo one > one").ok();
    mount.sync();
    mount.unmount();
    let heads = lab.scratch().join("witness");
    let witness = Server::start(&[
        "log",
        "witness",
        "--state",
        heads.to_str().unwrap(),
        "--name",
        "witness.test",
        "--log",
        &vkey(&lab),
        "--listen",
        "127.0.0.1:0",
    ]);
    let key = fs::read_to_string(heads.join("witness.vkey")).unwrap();
    let policy = lab.scratch().join("witnesses");
    let text = format!("witness w {} {}\nquorum w\n", key.trim(), witness.url());
    fs::write(&policy, text).unwrap();
    let options = Options::new(Io::Passthrough)
        .flag("--witnesses")
        .flag(policy.to_str().unwrap());

    // The machine as it was before the witness was first asked.
    let (state, authority) = (lab.scratch().join("state"), lab.scratch().join("keys"));
    files::copy_tree(&lab.behind(".atlas"), &state);
    files::copy_tree(&lab.authority(), &authority);
    let mount = lab.mount(options.clone());
    mount.sh("echo two > two").ok();
    mount.sync();
    wait::until("the witness cosigned", || {
        let status = mount.status();
        let seen = status["log"]["witnesses"][0]["size"].as_u64();
        (seen == status["log"]["size"].as_u64()).then_some(())
    });
    let demand = lab.scratch().join("policy.toml");
    fs::write(
        &demand,
        format!(
            "[log]\nrequire = true\nwitnesses = \"\"\"\n{}\"\"\"\n",
            fs::read_to_string(&policy).unwrap()
        ),
    )
    .unwrap();
    let v = mount
        .ctl(&[
            "verify",
            "two",
            "--json",
            "--policy",
            demand.to_str().unwrap(),
        ])
        .expect(0)
        .json();
    assert_eq!(transparency(&v), "affirming", "{v}");
    mount.unmount();

    fs::remove_dir_all(lab.behind(".atlas")).unwrap();
    files::copy_tree(&state, &lab.behind(".atlas"));
    fs::remove_dir_all(lab.authority()).unwrap();
    files::copy_tree(&authority, &lab.authority());
    let refused = lab.mount_refused(&options).expect(1);
    assert!(
        refused.stderr.contains("the witness w has"),
        "{}",
        refused.stderr
    );
}

/// What is revoked does not verify any more, with the reason; what was logged before its instance was revoked still does.
#[test]
fn what_is_revoked_in_the_log_is_refused() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.sh("echo good > good; echo bad > bad").ok();
    mount.sync();
    mount.verify("bad", 0);
    mount
        .ctl(&["log", "revoke", "bad", "--reason", "wrong"])
        .expect(0);
    let v = mount.verify("bad", 6);
    assert_eq!(transparency(&v), "contraindicated", "{v}");
    assert_eq!(transparency(&mount.verify("good", 0)), "affirming");
    audit(&lab);
}

/// The proof travels: a bundle has what `transparency` needs, and nothing else has to be there.
#[test]
fn a_bundle_proves_its_place_in_the_log_offline() {
    let lab = Lab::new();
    lab.put("in", b"input");
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.sh("cat in > a").ok();
    mount.sh("cat a > b; echo more >> b").ok();
    mount.sync();
    let (bundle, file) = (lab.scratch().join("b.atlas"), lab.scratch().join("b"));
    mount
        .ctl(&["export", "b", "--bundle", bundle.to_str().unwrap()])
        .expect(0);
    fs::copy(mount.path("b"), &file).unwrap();
    mount.unmount();
    fs::remove_dir_all(lab.behind(".atlas")).unwrap();
    let v = ctl::ctl(
        Path::new("/"),
        &[
            "verify",
            file.to_str().unwrap(),
            "--manifest",
            bundle.to_str().unwrap(),
            "--json",
        ],
    );
    let v = v.expect(0).json();
    assert_eq!(transparency(&v), "affirming", "{v}");
}

/// A log over HTTP: the same audit, and a proof for one file.
#[test]
fn a_log_that_is_served_is_checked_like_one_on_disk() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount
        .sh("for i in $(seq 1 40); do echo $i > f$i; done")
        .ok();
    mount.sync();
    let dir = log_dir(&lab);
    let server = Server::start(&[
        "log",
        "serve",
        dir.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ]);
    let key = vkey(&lab);
    ctl::ctl(
        Path::new("/"),
        &["log", "check", &server.url(), "--key", &key],
    )
    .expect(0);
    let heads = lab.scratch().join("heads");
    let watch = [
        "log",
        "watch",
        &server.url(),
        "--state",
        heads.to_str().unwrap(),
        "--key",
        &key,
        "--once",
    ];
    ctl::ctl(Path::new("/"), &watch).expect(0);
    mount.sh("echo more > more").ok();
    mount.sync();
    ctl::ctl(Path::new("/"), &watch).expect(0);
}

/// A register that does not answer holds up neither jobs nor seals nor the end; what waited is logged by the next mount.
#[test]
fn a_register_that_hangs_holds_up_nobody_and_loses_nothing() {
    let Some(etcd) = std::env::var_os("ATLAS_TEST_ETCD") else {
        skipped("etcd: not installed (ATLAS_TEST_ETCD): a register that hangs is not tried");
        return;
    };
    let lab = Lab::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let url = format!("http://127.0.0.1:{port}");
    let mut command = Command::new(etcd);
    command.arg("--data-dir").arg(lab.scratch().join("etcd"));
    command.args([
        "--listen-client-urls",
        &url,
        "--advertise-client-urls",
        &url,
    ]);
    command.args([
        "--listen-peer-urls",
        "http://127.0.0.1:0",
        "--log-level",
        "error",
    ]);
    let etcd = Server {
        child: command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
        said: url,
    };
    let pid = Pid::from_raw(i32::try_from(etcd.child.id()).unwrap()).unwrap();
    let register = format!("etcd://127.0.0.1:{port}/log");
    let options = Options::new(Io::Passthrough)
        .flag("--log-register")
        .flag(&register);
    wait::until("etcd listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    // A log that began with a register of its own moves to the new one.
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.sh("echo 0 > f0").ok();
    mount.sync();
    mount.unmount();
    let mount = lab.mount(options.clone());
    mount.sh("echo 1 > f1").ok();
    mount.sync();
    kill_process(pid, Signal::STOP).unwrap();
    mount
        .sh("for i in $(seq 2 40); do echo $i > f$i; done")
        .ok();
    mount.sync();
    assert_eq!(
        mount.attribute("f40", "user.atlas.state").as_deref(),
        Some("sealed")
    );
    let began = std::time::Instant::now();
    mount.unmount();
    assert!(
        began.elapsed().as_secs() < 60,
        "unmounting took {:?}",
        began.elapsed()
    );
    kill_process(pid, Signal::CONT).unwrap();
    let mount = lab.mount(options);
    mount.sync();
    wait::until("all of it is logged", || {
        let state = mount.attribute("f40", "user.atlas.state");
        (state.as_deref() == Some("logged")).then_some(())
    });
    for i in [0, 1, 2, 40] {
        assert_eq!(
            transparency(&mount.verify(&format!("f{i}"), 0)),
            "affirming"
        );
    }
    mount.unmount();
    // Without the register that it has moved to, nobody can tell whether the log is the newest.
    let refused = lab.mount_refused(&Options::new(Io::Passthrough)).expect(1);
    assert!(
        refused.stderr.contains("give it again"),
        "{}",
        refused.stderr
    );
}

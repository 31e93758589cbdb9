//! The machine-readable contract of verify, lineage and the exit codes (CONTRACTS 5 and 7), field by field.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use atlas_tests::ctl::{self, Answer};
use atlas_tests::{Io, Lab, Options, both, files, sandbox, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const CHECKS: [&str; 12] = [
    "artifact",
    "signature",
    "lineage",
    "inputs",
    "completeness",
    "hardware",
    "tcb",
    "measurements",
    "key-binding",
    "runtime-log",
    "freshness",
    "transparency",
];

fn well_formed(json: &Value) {
    assert!(
        json["verdict"] == "pass" || json["verdict"] == "fail",
        "{json}"
    );
    assert_eq!(json["verdict"] == "pass", json["code"] == 0, "{json}");
    for file in json["files"].as_array().expect("`files`") {
        assert!(file["path"].is_string() && file["code"].is_i64(), "{file}");
        assert!(
            file["digest"].is_string() || file["digest"].is_null(),
            "{file}"
        );
        let checks = file["checks"].as_object().expect("`checks`");
        for name in CHECKS {
            let word = checks
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_else(|| panic!("no check {name} in {file}"));
            assert!(
                ["affirming", "warning", "contraindicated", "none"].contains(&word),
                "{name}: {word}"
            );
        }
        for reason in file["reasons"].as_array().expect("`reasons`") {
            assert!(
                reason["text"].is_string()
                    && reason.get("remedy").is_some()
                    && reason.get("code").is_some(),
                "{reason}"
            );
        }
        if file["code"] != 0 {
            assert!(
                !file["reasons"].as_array().unwrap().is_empty(),
                "a failure says why: {file}"
            );
        }
    }
}

both! {
    /// Scripts read these fields: each one is there, for passes and for failures.
    fn verify_json_has_every_field_for_passes_and_failures(io) {
        let lab = Lab::new();
        lab.put("raw", b"unattested");
        let mount = lab.mount(Options::new(io));
        mount.sh("tr a-z A-Z < raw > good").ok();
        mount.sync();
        let good = mount.verify("good", 0);
        well_formed(&good);
        assert_eq!(good["files"].as_array().unwrap().len(), 1);
        let checks = &good["files"][0]["checks"];
        assert_eq!((&checks["artifact"], &checks["signature"], &checks["completeness"]), (&"affirming".into(), &"affirming".into(), &"affirming".into()));
        assert_ne!(checks["hardware"], "affirming", "there is no hardware behind the key, and no tick for it");
        assert_eq!(checks["transparency"], "affirming");
        let none = mount.verify("raw", 3);
        well_formed(&none);
        files::flip(&lab.behind("good"), 0);
        well_formed(&mount.verify("good", 4));
    }

    /// For several findings the first of the order counts: scripts switch on it.
    fn several_findings_give_the_gravest_code(io) {
        let lab = Lab::new();
        lab.put("raw", b"unattested");
        let mount = lab.mount(Options::new(io));
        mount.sh("echo a > a; echo b > b").ok();
        mount.python("import os\nf = open('killed', 'w'); f.write('x'); f.flush(); os.kill(os.getpid(), 9)").run().expect(137);
        mount.sync();
        mount.ctl(&["verify", "a", "b"]).expect(0);
        mount.ctl(&["verify", "a", "raw"]).expect(3);
        mount.ctl(&["verify", "raw", "killed"]).expect(7);
        mount.sh("cat killed > copy").ok();
        mount.sync();
        mount.ctl(&["verify", "killed"]).expect(7); // though the same bytes were sealed whole since
        files::flip(&lab.behind("b"), 0);
        let json = mount.ctl(&["verify", "--json", "a", "raw", "killed", "b"]).expect(4).json();
        well_formed(&json);
        assert_eq!(json["files"].as_array().unwrap().len(), 4);
        assert_eq!(json["files"][0]["code"], 0);
    }
}

/// `code` 2 is the user's mistake; it is never mixed up with a finding.
#[test]
fn usage_errors_are_code_2_everywhere() {
    let lab = Lab::new();
    for args in [
        &["verify"][..],
        &["lineage"],
        &["verify", "--no-such-flag", "x"],
        &["export", "x"],
        &["no-such-verb"],
    ] {
        assert_eq!(lab.ctl(args).code, 2, "{args:?}");
    }
}

/// Without a daemon: what needs one says 9, what does not works.
#[test]
fn what_needs_a_daemon_says_9_without_one() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.sh("echo x > f").ok();
    mount.sync();
    mount.unmount();
    let at = |name: &str| lab.source().join(name).to_str().unwrap().to_owned();
    lab.ctl(&["sync", &at("")]).refusal(9, "");
    lab.ctl(&["register", &at("f")]).refusal(9, "");
    lab.ctl(&["status", &at("")]).refusal(9, "");
    for args in [
        &["verify", &at("f")][..],
        &["lineage", &at("f")],
        &["show", &at("f")],
        &["ls", &at("")],
        &["runs", &at("")],
        &["doctor", &at("")],
    ] {
        lab.ctl(args).expect(0);
    }
}

/// A pipe that closes early is no error worth a message, and no panic.
#[test]
fn a_closed_pipe_ends_quietly() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.sh("for i in $(seq 300); do echo $i > f$i; done").ok();
    mount.sync();
    let program = sandbox::program("atlasctl");
    let done = mount.sh(&format!(
        "cd {}; {} ls . 2>err | head -n 1; test ! -s err",
        mount.path("").display(),
        program.display()
    ));
    done.by(atlas_tests::User::Root).ok();
}

/// Completions, man pages and versions exist and name what they should.
#[test]
fn help_man_pages_and_completions_are_there() {
    let lab = Lab::new();
    let version = lab.ctl(&["--version"]).expect(0).stdout;
    assert!(version.contains("FORMAT 1"), "{version}");
    assert!(
        lab.ctl(&["completions", "bash"])
            .expect(0)
            .stdout
            .contains("lineage")
    );
    // One line, with quotes that close: else man shows the rest of it above the page.
    let page = lab.ctl(&["man"]).expect(0).stdout;
    let title = page.lines().find(|l| l.starts_with(".TH"));
    let quotes = title.expect("a title").matches('"').count();
    assert_eq!(quotes % 2, 0, "{title:?}");
    for verb in [
        "run", "runs", "show", "ls", "lineage", "verify", "register", "export", "sync", "status",
        "trust", "doctor",
    ] {
        assert!(
            lab.ctl(&[verb, "--help"])
                .expect(0)
                .stdout
                .contains("Usage"),
            "{verb}"
        );
    }
    let pages = lab.scratch().join("man");
    fs::create_dir(&pages).unwrap();
    lab.ctl(&["man", pages.to_str().unwrap()]).expect(0);
    assert!(pages.join("atlasctl.1").exists());
}

/// A program that asked for JSON gets JSON: also when the answer is a failure, and also when its own command line makes no sense.
#[test]
fn a_failure_is_a_json_document_too() {
    let lab = Lab::new();
    lab.put("raw", b"unattested");
    let mount = lab.mount(Options::new(Io::Passthrough));
    let refused: [(&[&str], i64); 8] = [
        (&["show", "--json", "nothing-like-that"], 1),
        (&["--json", "lineage", "raw"], 3),
        (&["lineage", "--json", "raw", "--kind", "none"], 2),
        (&["verify", "--json", "raw", "--manifest", "nothing"], 1),
        (&["export", "--json", "raw", "-o", "out.c2pa"], 3),
        (&["register", "--json", "nothing"], 1),
        (&["trust", "rm", "--json", "0123456789"], 1),
        (&["ls", "--json", "raw"], 1),
    ];
    for (args, code) in refused {
        let answer = mount.ctl(args);
        let error = &answer.json()["error"];
        assert_eq!(i64::from(answer.code), code, "{args:?}: {answer:?}");
        assert_eq!(error["code"], code, "{args:?}: {answer:?}");
        let text = error["text"].as_str().unwrap_or_default();
        assert_eq!(answer.stderr.trim_end(), format!("atlasctl: {text}"));
    }
    let run = mount.ctl(&["run", "--json", "--no-such-flag"]).expect(125);
    assert!(
        run.stdout.is_empty(),
        "its stdout is the command's: {run:?}"
    );
}

/// Holds a daemon, and lets it go whatever happens: else nothing on its mount would ever end.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: u32) -> Self {
        let pid = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        kill_process(pid, Signal::STOP).expect("own child");
        // A thread that still takes a request with it into its stop would leave whoever asked unkillable: the kernel's FUSE waits for
        // what was read.
        let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
        wait::until("every thread has stopped", || {
            let stopped = |task: fs::DirEntry| {
                let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                stat.rsplit(") ")
                    .next()
                    .is_some_and(|rest| rest.starts_with('T'))
            };
            let mut all = fs::read_dir(&tasks).ok()?.flatten();
            all.all(stopped).then_some(())
        });
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// A daemon that hangs answers nobody: what asks it says so after a while instead of waiting for ever, and Ctrl-C is obeyed.
#[test]
fn a_daemon_that_hangs_is_named_and_waiting_for_it_can_be_interrupted() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough).in_place());
    mount.sh("echo a > a").ok();
    mount.sync();
    let path = mount.path("a");
    let held = Stopped::new(mount.pid());
    for verb in ["verify", "status"] {
        let asked = [OsStr::new(verb), path.as_os_str()];
        lab.ctl(&asked).refusal(9, "does not answer");
    }
    let mut interrupted = ctl::command(Path::new("timeout"), &lab.scratch());
    interrupted.args(["--preserve-status", "--signal=INT", "1"]);
    interrupted.arg(sandbox::program("atlasctl"));
    interrupted.arg("verify").arg(&path);
    Answer::of(interrupted).expect(130);
    drop(held);
    mount.verify("a", 0);
}

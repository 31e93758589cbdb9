//! `atlasctl run` as a process: exit codes, signals, and what is said on the wire. The daemon here only answers; the real one is in `tests/`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use serde_json::{Value, json};

const RUN: &str = "urn:atlas:r:07070707070707070707070707070707:1";

/// Listens where atlasctl looks for daemons, answers what `run` asks, and hands on every request.
struct Wire {
    dir: tempfile::TempDir,
    asked: Receiver<Value>,
}

impl Wire {
    fn listen(refuse: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("atlas")).unwrap();
        let socket = dir.path().join("atlas/one.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (send, asked) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (send, socket) = (send.clone(), socket.clone());
                thread::spawn(move || answer(&stream.unwrap(), &socket, refuse, &send));
            }
        });
        Self { dir, asked }
    }

    fn atlasctl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atlasctl"));
        command
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .current_dir("/")
            .args(args);
        command
    }

    fn run(&self, command: &[&str]) -> Output {
        self.atlasctl(&[&["run", "--name", "n", "--"], command].concat())
            .output()
            .unwrap()
    }

    /// The exit code that the daemon was told.
    fn finished(&self) -> Value {
        self.asked.iter().find(|ask| ask["op"] == "finish").unwrap()["exit"].clone()
    }
}

fn answer(stream: &UnixStream, socket: &Path, refuse: bool, send: &Sender<Value>) {
    let mut to = stream;
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let ask: Value = serde_json::from_str(&line).unwrap();
        let say = match ask["op"].as_str().unwrap() {
            "status" => status(socket),
            "declare" if refuse => {
                json!({"v": 1, "re": "error", "text": "draining: mount again", "code": 9})
            }
            "declare" => json!({"v": 1, "re": "run", "run": RUN}),
            _ => json!({"v": 1, "re": "done"}),
        };
        let _ = send.send(ask);
        let _ = writeln!(to, "{say}");
    }
}

fn status(socket: &Path) -> Value {
    let id = "07".repeat(16);
    json!({"v": 1, "re": "status", "version": "0", "pid": 1, "source": "/s", "mountpoint": "/m", "state": "/s/.atlas",
        "node_state": "/s/.atlas/nodes/x", "socket": socket, "node": id, "instance": id, "io": "inline", "io_reason": "",
        "read_only": false, "hardware": "none", "authority": format!("sha256:{}", "0".repeat(64)),
        "mounted_at": "2026-01-01T00:00:00Z", "open": 0, "pending": 0, "sealed": 0, "behind": 0, "warnings": []})
}

fn stderr(out: &Output) -> String {
    String::from_utf8(out.stderr.clone()).unwrap()
}

#[test]
fn the_commands_own_code_comes_back_and_is_recorded() {
    let wire = Wire::listen(false);
    let out = wire.run(&["sh", "-c", "echo data; exit 3"]);
    assert_eq!(
        (out.status.code(), out.stdout.as_slice()),
        (Some(3), &b"data\n"[..])
    );
    let declared = wire
        .asked
        .iter()
        .find(|ask| ask["op"] == "declare")
        .unwrap();
    assert_eq!(declared["name"], "n");
    assert_eq!(declared["argv"], json!(["sh", "-c", "echo data; exit 3"]));
    assert_eq!(wire.finished(), 3);
}

#[test]
fn a_killed_command_is_recorded_with_its_signal() {
    let wire = Wire::listen(false);
    let out = wire.run(&["sh", "-c", "kill -9 $$"]);
    assert_eq!(out.status.code(), Some(137));
    assert_eq!(wire.finished(), 137);
}

#[test]
fn a_command_that_cannot_start_is_126_or_127_and_recorded() {
    let wire = Wire::listen(false);
    for (command, code) in [
        ("/nonexistent/command", 127),
        ("no-such-command-here", 127),
        ("/etc/passwd", 126),
        ("/", 126),
    ] {
        let out = wire.run(&[command]);
        assert_eq!(out.status.code(), Some(code), "{command}: {}", stderr(&out));
        assert_eq!(stderr(&out).lines().count(), 1);
        assert_eq!(wire.finished(), code);
    }
}

#[test]
fn nothing_is_run_without_a_daemon_or_after_its_refusal() {
    let empty = tempfile::tempdir().unwrap();
    let witness = empty.path().join("ran");
    let touch = ["run", "--", "touch", witness.to_str().unwrap()];
    let wire = Wire::listen(true);
    let out = wire.atlasctl(&touch).output().unwrap();
    assert_eq!(
        (out.status.code(), stderr(&out).as_str()),
        (Some(125), "atlasctl: draining: mount again\n")
    );
    let out = wire
        .atlasctl(&touch)
        .env("XDG_RUNTIME_DIR", empty.path())
        .output()
        .unwrap();
    if !Path::new("/run/atlas").exists() {
        assert_eq!(out.status.code(), Some(125));
        assert!(stderr(&out).contains("atlas-fs mount"), "{}", stderr(&out));
    }
    let out = wire
        .atlasctl(&["run", "--nmae", "x", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(
        out.status.code(),
        Some(125),
        "a caller would take 2 for the command's code"
    );
    assert!(!witness.exists());
}

/// Starts a command that says `ready`, and returns when it has said so.
fn started(wire: &Wire, script: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = wire
        .atlasctl(&["run", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, from)
}

fn send(signal: &str, pid: u32) {
    assert!(
        Command::new("kill")
            .args([signal, &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_signal_sent_to_atlasctl_reaches_the_command_once() {
    let wire = Wire::listen(false);
    let script = "trap 'echo got; n=$((n+1))' TERM; echo ready; while [ -z \"$n\" ]; do sleep 0.05; done; sleep 0.2; exit $n";
    let (mut child, mut from) = started(&wire, script);
    send("-TERM", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut from, &mut rest).unwrap();
    assert_eq!(rest, "got\n");
    assert_eq!(wire.finished(), 1);
}

#[test]
fn a_daemonised_heir_does_not_hold_up_the_end_and_is_adopted_meanwhile() {
    let wire = Wire::listen(false);
    // The grandchild's parent ends at once; its new parent must be atlasctl, the nearest subreaper.
    let script = "sh -c 'sleep 1000 >/dev/null 2>&1 & echo $!' > $OUT; read pid < $OUT; \
                  ps -o ppid= -p $pid 2>/dev/null || sed 's/.*) . //' /proc/$pid/stat | cut -d' ' -f1; exit 4";
    let out_file: PathBuf = wire.dir.path().join("pid");
    let child = wire
        .atlasctl(&["run", "--", "sh", "-c", script])
        .env("OUT", &out_file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let atlasctl = child.id();
    let out = child.wait_with_output().unwrap();
    let heir: u32 = std::fs::read_to_string(&out_file)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    send("-KILL", heir);
    assert_eq!(out.status.code(), Some(4));
    assert_eq!(
        String::from_utf8(out.stdout).unwrap().trim(),
        atlasctl.to_string()
    );
    assert_eq!(wire.finished(), 4);
}

#[test]
fn signals_that_were_ignored_stay_ignored_and_nothing_is_left_blocked() {
    let wire = Wire::listen(false);
    let atlasctl = env!("CARGO_BIN_EXE_atlasctl");
    let script =
        format!("trap '' INT; exec {atlasctl} run -- grep -E 'SigBlk|SigIgn' /proc/self/status");
    let out = Command::new("sh")
        .args(["-c", &script])
        .env("XDG_RUNTIME_DIR", wire.dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let mask = |key: &str| {
        let line = text.lines().find(|l| l.starts_with(key)).unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    assert_eq!(mask("SigBlk"), 0);
    assert_eq!(mask("SigIgn") & 0b10, 0b10, "SIGINT");
    assert_eq!(
        mask("SigIgn") >> 12 & 1,
        0,
        "SIGPIPE ends the command as usual"
    );
}

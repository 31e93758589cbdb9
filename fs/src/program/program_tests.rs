//! Facts of real processes.

use std::process::{Child, Command, Stdio};

use super::*;
use crate::caller::{Callers, RunsMode};
use crate::vfs::observer::{Caller, Tid};
use atlas_manifests::id::InstanceId;

struct Job(Child);

impl Drop for Job {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn programs() -> Programs {
    Programs::new(
        Path::new("/nowhere/at/all"),
        Box::new(|_| None),
        Box::new(|_| None),
    )
}

/// What is seen of a process that runs until the job is dropped.
fn seen(command: &mut Command) -> (Job, Arc<Seen>) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It has executed its program when it has written its line.
    let mut line = [0; 1];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut line)
        .unwrap();
    let caller = Caller {
        tid: Tid(child.id().cast_signed()),
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    };
    let callers = Callers::new(InstanceId([3; 16]), RunsMode::Tree);
    let who = callers.resolve(caller, false);
    (Job(child), callers.seen(&who[0]).unwrap())
}

#[test]
fn a_script_its_interpreter_and_its_environment_are_found_and_no_value_is() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    std::fs::write(top.join("job.sh"), "echo x; read y\n").unwrap();
    let mut command = Command::new("bash");
    command
        .args(["-u", "job.sh", "--token", "s3cr3t"])
        .current_dir(&top)
        .env("HF_TOKEN", "s3cr3t");
    let (_job, seen) = seen(&mut command);
    let facts = programs().facts(&seen);
    assert_eq!(facts.script, Some(PathBytes::from(top.join("job.sh"))));
    assert_eq!(facts.cwd, Some(PathBytes::from(top.as_path())));
    assert_eq!(facts.program, "bash");
    let exe = std::fs::read(facts.exe.as_ref().unwrap().as_path()).unwrap();
    assert_eq!(facts.exe_digest, Some(Blake3::of(&exe)));
    assert!(facts.env_names.iter().any(|n| n == "HF_TOKEN"));
    assert!(!format!("{facts:?}").contains("s3cr3t"));
    assert_eq!((&facts.git, &facts.python), (&None, &None));
}

#[test]
fn another_file_at_the_executables_path_is_not_digested_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let exe = dir.path().canonicalize().unwrap().join("copy");
    std::fs::copy("/bin/sh", &exe).unwrap();
    let (_job, seen) = seen(Command::new(&exe).args(["-c", "echo x; read y"]));
    let fresh = dir.path().join("fresh");
    std::fs::copy("/bin/sh", &fresh).unwrap();
    std::fs::rename(&fresh, &exe).unwrap();
    assert_eq!(programs().facts(&seen).exe_digest, None);
}

#[test]
fn a_virtual_environments_distributions_are_those_of_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let venv = dir.path().canonicalize().unwrap().join("venv");
    let site = venv.join("lib/python3.11/site-packages");
    for name in ["numpy-1.26.4.dist-info", "My_Tool-0.1.dist-info", "numpy"] {
        std::fs::create_dir_all(site.join(name)).unwrap();
    }
    std::fs::create_dir_all(venv.join("bin")).unwrap();
    std::fs::write(venv.join("pyvenv.cfg"), "home = /usr/bin\n").unwrap();
    // Any program will do: what counts is where it lies and what it is called.
    let real = dir.path().canonicalize().unwrap().join("python3.11");
    std::fs::copy("/bin/sh", &real).unwrap();
    std::os::unix::fs::symlink(&real, venv.join("bin/python")).unwrap();
    let line = ["-c", "echo x; read y"];
    for mut command in [
        {
            let mut c = Command::new("/usr/bin/env");
            c.args(["python", line[0], line[1]]).env(
                "PATH",
                format!("{}:/usr/bin:/bin", venv.join("bin").display()),
            );
            c
        },
        {
            let mut c = Command::new(venv.join("bin/python"));
            c.args(line);
            c
        },
    ] {
        let (_job, seen) = seen(&mut command);
        let facts = programs().facts(&seen);
        let (python, lines) = facts.python.as_ref().unwrap();
        assert_eq!(lines, &["my-tool==0.1", "numpy==1.26.4"]);
        assert_eq!(python.count, 2);
    }
}

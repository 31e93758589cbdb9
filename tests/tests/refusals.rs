//! Bad input: one line that names the thing and the remedy, the code of the table, nothing changed.

use std::fs;
use std::path::Path;
use std::process::Command;

use atlas_tests::ctl::{self, Answer};
use atlas_tests::{Io, Lab, Options, both, files, sandbox};

fn mount(args: &[&str]) -> Answer {
    let mut command = ctl::command(&sandbox::program("atlas-fs"), Path::new("/"));
    Answer::of({
        command.arg("mount").args(args);
        command
    })
}

#[test]
fn a_missing_source_is_named_and_not_made() {
    let lab = Lab::new();
    let nowhere = lab.scratch().join("nowhere");
    mount(&[
        nowhere.to_str().unwrap(),
        lab.mountpoint().to_str().unwrap(),
    ])
    .refusal(1, "nowhere");
    assert!(!nowhere.exists());
}

#[test]
fn a_missing_mount_point_and_a_file_as_source_are_named() {
    let lab = Lab::new();
    let file = lab.put("file", b"x");
    let gone = lab.scratch().join("gone");
    mount(&[lab.source().to_str().unwrap(), gone.to_str().unwrap()]).refusal(1, "gone");
    mount(&[file.to_str().unwrap(), lab.mountpoint().to_str().unwrap()]).refusal(1, "file");
    assert!(!lab.source().join(".atlas").exists(), "nothing was made");
}

#[test]
fn a_mount_point_with_files_in_it_is_refused() {
    let lab = Lab::new();
    fs::write(lab.mountpoint().join("precious"), "x").unwrap();
    lab.mount_refused(&Options::new(Io::Passthrough))
        .refusal(1, "mnt");
    assert!(lab.mountpoint().join("precious").exists() && !lab.source().join(".atlas").exists());
}

#[test]
fn a_state_of_an_unknown_format_is_refused_and_left_alone() {
    let lab = Lab::new();
    lab.mount(Options::new(Io::Passthrough)).unmount();
    fs::write(lab.source().join(".atlas/FORMAT"), "atlas 9\n").unwrap();
    let line = lab
        .mount_refused(&Options::new(Io::Passthrough))
        .refusal(1, "FORMAT");
    assert!(line.contains("atlas 9") || line.contains('9'), "{line}");
    assert_eq!(
        fs::read(lab.source().join(".atlas/FORMAT")).unwrap(),
        b"atlas 9\n"
    );
    lab.ctl(&["lineage", lab.source().join("x").to_str().unwrap()])
        .refusal(1, "");
}

#[test]
fn a_key_that_is_not_the_authoritys_is_refused() {
    let lab = Lab::new();
    lab.mount(Options::new(Io::Passthrough)).unmount();
    fs::write(
        lab.authority().join("key.pem"),
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    lab.mount_refused(&Options::new(Io::Passthrough))
        .refusal(1, "key.pem");
}

#[test]
fn nested_source_and_mount_point_are_refused() {
    let lab = Lab::new();
    lab.put("inner/x", b"x");
    fs::remove_file(lab.source().join("inner/x")).unwrap();
    let (source, inner) = (lab.source(), lab.source().join("inner"));
    let (source, inner) = (source.to_str().unwrap(), inner.to_str().unwrap());
    mount(&[source, inner]).refusal(1, "inner");
    mount(&[inner, source]).refusal(1, "inner");
}

#[test]
fn a_second_mount_of_one_state_is_refused_and_names_the_first() {
    let lab = Lab::new();
    let first = lab.mount(Options::new(Io::Passthrough));
    let other = lab.scratch().join("other");
    fs::create_dir(&other).unwrap();
    let line = mount(&[
        lab.source().to_str().unwrap(),
        other.to_str().unwrap(),
        "--authority",
        lab.authority().to_str().unwrap(),
    ])
    .refusal(1, &first.pid().to_string());
    assert!(line.contains("data") || line.contains(".atlas"), "{line}");
    first.sh("echo still here > f").ok();
}

#[test]
fn a_dead_mount_is_replaced_saying_so() {
    let lab = Lab::new();
    lab.mount(Options::new(Io::Passthrough)).crash();
    assert!(fs::read_dir(lab.mountpoint()).is_err(), "ENOTCONN");
    let again = lab.mount(Options::new(Io::Passthrough));
    assert!(
        again.log().contains("detach") || again.log().contains("dead"),
        "{}",
        again.log()
    );
    again.sh("echo x > f").ok();
}

#[test]
fn a_mount_outside_the_initial_pid_namespace_is_refused() {
    let lab = Lab::new();
    let mut command = ctl::command(Path::new("unshare"), Path::new("/"));
    command
        .args(["--pid", "--fork", "--mount-proc"])
        .arg(sandbox::program("atlas-fs"));
    command.arg("mount").arg(lab.source()).arg(lab.mountpoint());
    Answer::of(command).refusal(1, "pid namespace");
}

/// Two mounts of two directories on one machine know nothing of each other.
#[test]
fn two_mounts_live_side_by_side() {
    let (one, two) = (Lab::new(), Lab::new());
    let (first, second) = (
        one.mount(Options::new(Io::Passthrough)),
        two.mount(Options::new(Io::Inline)),
    );
    first.sh("echo 1 > f").ok();
    second.sh("echo 2 > f").ok();
    first
        .job(&["cp", "f", second.path("from-first").to_str().unwrap()])
        .ok();
    first.sync();
    second.sync();
    first.verify("f", 0);
    second.ctl(&["verify", "f", "from-first"]).expect(0);
    let both = one.ctl(&["status", "--json"]).expect(0).stdout;
    assert!(
        both.contains(&first.pid().to_string()) && both.contains(&second.pid().to_string()),
        "{both}"
    );
}

#[test]
fn a_path_without_a_proof_is_code_3_and_a_missing_one_code_1() {
    let lab = Lab::new();
    lab.put("raw", b"x");
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.ctl(&["verify", "raw"]).expect(3);
    mount.ctl(&["verify", "missing"]).expect(1);
    mount.ctl(&["lineage", "missing"]).refusal(1, "missing");
    mount.ctl(&["show", "missing"]).refusal(1, "missing");
    mount
        .ctl(&["lineage", "blake3:0123456789abcdef"])
        .refusal(3, "0123456789abcdef");
}

#[test]
fn manifests_that_are_none_are_refused_by_name() {
    let lab = Lab::new();
    let file = lab.put("f", b"x");
    for (name, bytes) in [
        ("empty.c2pa", vec![]),
        ("noise.c2pa", files::noise(9, 5000)),
        ("text.c2pa", b"hello\n".to_vec()),
    ] {
        let path = lab.scratch().join(name);
        fs::write(&path, bytes).unwrap();
        let answer = lab.ctl(&[
            "verify",
            file.to_str().unwrap(),
            "--manifest",
            path.to_str().unwrap(),
        ]);
        assert_eq!(answer.code, 5, "{answer:?}");
        assert!(
            format!("{}{}", answer.stdout, answer.stderr).contains(name),
            "{answer:?}"
        );
    }
    lab.ctl(&[
        "verify",
        file.to_str().unwrap(),
        "--trust",
        lab.scratch().join("empty.c2pa").to_str().unwrap(),
    ])
    .refusal(1, "empty.c2pa");
}

both! {
    /// Arguments of ten thousand characters: refused in one line, of a length that a person can read.
    fn ten_thousand_characters_are_refused_in_one_short_line(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        let long = "x".repeat(10_000);
        for args in [["verify", &long], ["lineage", &long], ["show", &long], ["ls", &long]] {
            let answer = mount.ctl(&args);
            assert!(answer.code == 1 || answer.code == 3, "{}: {}", args[0], answer.code);
            assert!(answer.stderr.trim_end().lines().count() <= 1, "{}: {}", args[0], answer.stderr);
        }
        let made = rustix::fs::mkdir(mount.path(&"y".repeat(256)), rustix::fs::Mode::RWXU);
        assert_eq!(made, Err(rustix::io::Errno::NAMETOOLONG));
        // A job may well have such an argument: it is recorded, and the manifest stays small.
        mount.job(&["sh", "-c", "echo done > out", &long]).ok();
        mount.sync();
        mount.verify("out", 0);
        let manifest = files::find(&lab.behind(".atlas/store/manifests"), ".c2pa").remove(0);
        assert!(fs::metadata(manifest).unwrap().len() < 8192);
    }
}

/// An ordinary user without rights is told so; nothing is half made.
#[test]
fn an_ordinary_user_who_cannot_mount_is_told_why() {
    let lab = Lab::new();
    let public = lab.scratch().join("atlas-fs");
    fs::copy(sandbox::program("atlas-fs"), &public).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid=nobody",
            "--regid=nogroup",
            "--clear-groups",
            "--inh-caps=-all",
            "--",
        ])
        .arg(public);
    command
        .arg("mount")
        .arg(lab.source())
        .arg(lab.mountpoint())
        .env("HOME", "/nonexistent")
        .env_remove("XDG_RUNTIME_DIR");
    let answer = Answer::of(command);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert_eq!(answer.stderr.trim_end().lines().count(), 1, "{answer:?}");
}

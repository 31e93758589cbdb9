//! Command lines, and what they mean.

use super::*;

fn command(line: &[&str]) -> Result<Command, Refused> {
    parse(line.iter().map(OsString::from))
}

fn mount(line: &[&str]) -> MountOptions {
    match command(line) {
        Ok(Command::Mount(options)) => *options,
        other => panic!("{line:?}: {other:?}"),
    }
}

fn refusal(line: &[&str]) -> (i32, String) {
    match command(line) {
        Err(Refused::Clap(e)) => (e.exit_code(), e.to_string()),
        Err(Refused::Failure(f)) => (f.code, f.to_string()),
        Ok(c) => panic!("{line:?} was accepted: {c:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    use clap::CommandFactory as _;
    Cli::command().debug_assert();
}

#[test]
fn defaults_are_those_of_the_contract() {
    let m = mount(&["atlas-fs", "mount", "/a", "/b"]);
    assert_eq!((m.source, m.mountpoint), ("/a".into(), "/b".into()));
    assert_eq!(m.drain, Duration::from_secs(60));
    assert_eq!(
        (m.io, m.runs, m.log_level),
        (Io::Auto, Runs::Auto, LogLevel::Info)
    );
    assert!(!m.foreground && !m.read_only && !m.allow_other && !m.sidecar);
    assert_eq!(m.kernel, KernelFlags::default());
}

#[test]
fn every_flag_of_the_issue_is_understood() {
    let m = mount(&[
        "atlas-fs",
        "mount",
        "--foreground",
        "--state",
        "/s",
        "--node-state",
        "/n",
        "--io",
        "inline",
        "--read-only",
        "--allow-other",
        "--digest-threads",
        "3",
        "--runs",
        "tree",
        "--sidecar",
        "--drain",
        "5",
        "--log-level",
        "debug",
        "--log-file",
        "/l",
        "--any-pid-namespace",
        "--authority",
        "/k",
        "/a",
        "/b",
    ]);
    assert!(m.foreground && m.read_only && m.allow_other && m.sidecar && m.any_pid_namespace);
    assert_eq!(m.place.state, Some("/s".into()));
    assert_eq!(m.place.node_state, Some("/n".into()));
    assert_eq!(m.place.authority, Some("/k".into()));
    assert_eq!((m.io, m.runs), (Io::Inline, Runs::Tree));
    assert_eq!(m.digest_threads, NonZeroUsize::new(3));
    assert_eq!(m.drain, Duration::from_secs(5));
    assert_eq!(m.log_level, LogLevel::Debug);
    assert_eq!(m.log_file, Some("/l".into()));
}

#[test]
fn mount_8_calls_the_helper_as_util_linux_does() {
    let m = mount(&[
        "/sbin/mount.fuse.atlas",
        "/srv",
        "/atlas",
        "-o",
        "rw,allow_other,io=inline,_netdev,x-systemd.automount,nosuid",
    ]);
    assert_eq!((m.source, m.mountpoint), ("/srv".into(), "/atlas".into()));
    assert!(m.allow_other && !m.read_only && m.kernel.nosuid && !m.foreground);
    assert_eq!(m.io, Io::Inline);
    let m = mount(&[
        "mount.fuse.atlas",
        "-sn",
        "-o",
        "ro",
        "-t",
        "fuse.atlas",
        "-v",
        "/-srv",
        "/atlas",
    ]);
    assert!(m.read_only);
    assert_eq!(m.source, Path::new("/-srv"));
    assert!(matches!(
        command(&["mount.fuse.atlas", "/a", "/b", "-f"]),
        Ok(Command::Nothing)
    ));
}

#[test]
fn a_helper_that_is_called_wrongly_says_how() {
    for line in [
        &["mount.fuse.atlas"][..],
        &["mount.fuse.atlas", "/a"],
        &["mount.fuse.atlas", "/a", "/b", "/c"],
        &["mount.fuse.atlas", "/a", "/b", "-o"],
        &["mount.fuse.atlas", "/a", "/b", "--io=inline"],
        &["mount.fuse.atlas", "/a", "/b", "-o", "io=fast"],
        &["mount.fuse.atlas", "/a", "/b", "-o", "nonsense"],
    ] {
        assert_eq!(refusal(line).0, 2, "{line:?}");
    }
}

#[test]
fn an_option_wins_over_an_o_string_and_the_last_word_over_the_first() {
    let m = mount(&[
        "atlas-fs",
        "mount",
        "/a",
        "/b",
        "--io",
        "inline",
        "-o",
        "io=passthrough,ro,rw",
    ]);
    assert_eq!(m.io, Io::Inline);
    assert!(!m.read_only);
    let m = mount(&[
        "atlas-fs",
        "mount",
        "-o",
        "rw,drain=1",
        "-o",
        "ro,drain=2",
        "/a",
        "/b",
    ]);
    assert!(m.read_only);
    assert_eq!(m.drain, Duration::from_secs(2));
    let m = mount(&["atlas-fs", "mount", "-o", "nodev,noexec,exec", "/a", "/b"]);
    assert!(m.kernel.nodev && !m.kernel.noexec);
}

#[test]
fn set_user_id_and_devices_work_only_when_asked_for() {
    let m = mount(&["atlas-fs", "mount", "/a", "/b"]);
    assert!(m.kernel.nosuid && m.kernel.nodev);
    let m = mount(&["atlas-fs", "mount", "-o", "suid,dev", "/a", "/b"]);
    assert!(!m.kernel.nosuid && !m.kernel.nodev);
    let m = mount(&["atlas-fs", "mount", "-o", "suid,nosuid", "/a", "/b"]);
    assert!(m.kernel.nosuid && m.kernel.nodev);
}

#[test]
fn every_long_option_has_its_spelling_after_o() {
    use clap::CommandFactory as _;
    let cli = Cli::command();
    let mount = cli.find_subcommand("mount").unwrap();
    let long = mount
        .get_arguments()
        .filter(|a| !a.is_hide_set())
        .filter_map(|a| Some((a.get_long()?, a.get_action().takes_values())));
    let mut seen = 0;
    for (name, value) in long {
        if name == "foreground" {
            // mount(8) waits for its helper to return.
            continue;
        }
        let word = match (name, value) {
            (_, false) => name.to_owned(),
            ("io", _) => "io=inline".into(),
            ("tdx", _) => "tdx=require".into(),
            // One excludes the other.
            ("gpu-evidence-command", _) => "gpu-evidence-command=true".into(),
            // Neither is anything without the other.
            ("rekor", _) => "rekor=1,rekor-key=1".into(),
            ("rekor-key", _) => "rekor-key=1,rekor=1".into(),
            ("runs", _) => "runs=tree".into(),
            ("titles", _) => "titles=none".into(),
            ("log-level", _) => "log-level=warn".into(),
            _ => format!("{name}=1"),
        };
        let line = ["atlas-fs", "mount", "-o", &word, "/a", "/b"];
        assert!(command(&line).is_ok(), "-o {word}: {:?}", command(&line));
        seen += 1;
    }
    assert!(seen > 10, "only {seen} options");
}

#[test]
fn the_version_names_the_formats_that_are_spoken() {
    let (code, text) = refusal(&["atlas-fs", "--version"]);
    assert_eq!(code, 0);
    let wire = atlas_manifests::wire::VERSION;
    assert_eq!(
        text.trim(),
        format!(
            "atlas-fs {} (state format 1, wire {wire})",
            env!("CARGO_PKG_VERSION")
        )
    );
}

#[test]
fn usage_errors_have_the_code_of_the_contract() {
    for line in [
        &["atlas-fs"][..],
        &["atlas-fs", "fly"],
        &["atlas-fs", "mount", "/a"],
        &["atlas-fs", "mount", "/a", "/b", "--drain", "soon"],
        &["atlas-fs", "mount", "/a", "/b", "--digest-threads", "0"],
        &[
            "atlas-fs",
            "mount",
            "/a",
            "/b",
            "--digest-threads",
            "99999999",
        ],
        &["atlas-fs", "umount"],
        &["atlas-fs", "init"],
    ] {
        assert_eq!(refusal(line).0, 2, "{line:?}");
    }
}

#[test]
fn umount_and_init_are_understood() {
    let Ok(Command::Umount(u)) = command(&["atlas-fs", "umount", "/m", "--force", "--drain", "3"])
    else {
        panic!("umount");
    };
    assert!(u.force);
    assert_eq!(u.drain, Some(3));
    let Ok(Command::Init(i)) = command(&["atlas-fs", "init", "/s", "--state", "/t"]) else {
        panic!("init");
    };
    assert_eq!(i.place.state, Some("/t".into()));
}

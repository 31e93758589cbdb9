//! The cases. Each has directories of its own, and leaves no mount and no process.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use atlas_fs::control::{Peer, socket_path};
use atlas_fs::mount::mountinfo;
use atlas_manifests::authority::Authority;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::parts::text;

pub(crate) const ALL: &[(&str, fn())] = &[
    (
        "mount returns when it answers, and umount when it is gone",
        round_trip,
    ),
    ("a second mount is refused with the pid", second_mount),
    (
        "umount is refused while somebody writes, and force is not",
        busy,
    ),
    ("SIGTERM refuses opens and waits for the writer", sigterm),
    ("a dead mount is cleared away by the next one", dead),
    (
        "a mount in place shows its files and lets them go",
        in_place,
    ),
    (
        "a mount in place over a mount of the user's own leaves that one",
        in_place_over_another,
    ),
    ("a plain umount(8) ends the daemon", plain_umount),
    ("a failure of the daemon is the command's failure", failures),
    (
        "systemd hears when it is ready, and SIGINT ends it well",
        foreground,
    ),
    ("init of what is not there is refused", init),
];

/// One pair of directories, with an authority that is known already: a new one would be pinned for the whole machine.
struct Site {
    dir: tempfile::TempDir,
    source: PathBuf,
    point: PathBuf,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(dir.path()).unwrap();
        let (source, point) = (top.join("s"), top.join("m"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&point).unwrap();
        fs::write(source.join("data"), "data").unwrap();
        Authority::create(&top.join("authority")).unwrap();
        Self { dir, source, point }
    }

    fn mount_command(&self, point: &Path, more: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "mount",
            "--authority",
            text(&self.dir.path().join("authority")),
        ]);
        command.args(more).arg(&self.source).arg(point);
        command
    }

    fn mount(&self) {
        good(&self.mount_command(&self.point, &[]).output().unwrap());
    }

    fn umount(&self, more: &[&str]) -> Output {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .arg("umount")
            .args(more)
            .arg(&self.point)
            .output()
            .unwrap()
    }

    fn daemon(&self) -> Pid {
        let socket = socket_path(&self.source.join(".atlas"));
        let peer = Peer::of(&UnixStream::connect(socket).unwrap()).unwrap();
        Pid::from_raw(peer.pid).unwrap()
    }

    fn mounted(&self, point: &Path) -> bool {
        mountinfo::at(&mountinfo::mounts().unwrap(), point).is_some()
    }

    /// Until the daemon has let go of everything; the deadline is for a daemon that never does.
    fn wait_until_gone(&self, point: &Path) {
        let socket = socket_path(&self.source.join(".atlas"));
        for _ in 0..1000 {
            if !self.mounted(point) && !socket.exists() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("still mounted at {}", point.display());
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for point in [&self.point, &self.source] {
            // Nothing is there when the case went well.
            let _ = unmount(point, UnmountFlags::DETACH);
        }
    }
}

fn good(output: &Output) {
    assert!(
        output.status.success(),
        "{}: {}",
        output.status,
        err(output)
    );
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn round_trip() {
    let site = Site::new();
    for _ in 0..2 {
        site.mount();
        assert_eq!(fs::read(site.point.join("data")).unwrap(), b"data");
        good(&site.umount(&[]));
        assert!(!site.mounted(&site.point));
        assert!(!site.point.join("data").exists());
    }
    let again = site.umount(&[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        err(&again).contains("nothing is mounted"),
        "{}",
        err(&again)
    );
}

fn second_mount() {
    let site = Site::new();
    site.mount();
    let pid = site.daemon();
    let other = site.dir.path().join("m2");
    fs::create_dir(&other).unwrap();
    for point in [&other, &site.point] {
        let second = site.mount_command(point, &[]).output().unwrap();
        assert_eq!(second.status.code(), Some(1));
        let said = err(&second);
        assert!(
            said.contains(&format!("process {}", pid.as_raw_nonzero())),
            "{said}"
        );
    }
    assert_eq!(fs::read(site.point.join("data")).unwrap(), b"data");
    good(&site.umount(&[]));
}

fn busy() {
    let site = Site::new();
    site.mount();
    let mut file = File::create(site.point.join("model")).unwrap();
    file.write_all(b"half").unwrap();
    let refused = site.umount(&[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = err(&refused);
    assert!(
        said.contains("model") && said.contains(&std::process::id().to_string()),
        "{said}"
    );
    assert!(site.mounted(&site.point));
    File::create(site.point.join("other")).expect("opens work again");
    let stands = Command::new("sleep")
        .arg("600")
        .current_dir(&site.point)
        .spawn();
    let mut stands: Child = stands.unwrap();
    drop(file);
    let refused = site.umount(&[]);
    stands.kill().unwrap();
    stands.wait().unwrap();
    assert!(err(&refused).contains("cwd"), "{}", err(&refused));
    let _writes = File::create(site.point.join("model")).unwrap();
    good(&site.umount(&["--force"]));
    assert!(!site.mounted(&site.point));
    site.wait_until_gone(&site.point);
}

fn sigterm() {
    let site = Site::new();
    site.mount();
    let mut file = File::create(site.point.join("model")).unwrap();
    kill_process(site.daemon(), Signal::TERM).unwrap();
    let refused = (0..1000).find_map(|n| {
        sleep(Duration::from_millis(if n == 0 { 0 } else { 20 }));
        File::create(site.point.join("late")).err()
    });
    assert_eq!(refused.unwrap().raw_os_error(), Some(libc::ESHUTDOWN));
    file.write_all(b"whole").unwrap();
    assert!(site.mounted(&site.point));
    drop(file);
    site.wait_until_gone(&site.point);
    assert_eq!(fs::read(site.source.join("model")).unwrap(), b"whole");
}

fn dead() {
    let site = Site::new();
    site.mount();
    kill_process(site.daemon(), Signal::KILL).unwrap();
    let gone = (0..1000).any(|_| {
        sleep(Duration::from_millis(20));
        fs::metadata(&site.point).is_err()
    });
    assert!(gone);
    let again = site.mount_command(&site.point, &[]).output().unwrap();
    good(&again);
    assert!(
        err(&again).contains("detached the dead mount"),
        "{}",
        err(&again)
    );
    assert_eq!(fs::read(site.point.join("data")).unwrap(), b"data");
    good(&site.umount(&[]));
}

fn in_place() {
    let mut site = Site::new();
    site.point = site.source.clone();
    site.mount();
    assert_eq!(fs::read(site.source.join("data")).unwrap(), b"data");
    assert!(
        !site.source.join(".atlas/FORMAT").exists(),
        "the state shows through the mount"
    );
    fs::write(site.source.join("new"), "new").unwrap();
    let second = site.mount_command(&site.source, &[]).output().unwrap();
    assert!(
        err(&second).contains("mounted already by process"),
        "{}",
        err(&second)
    );
    good(&site.umount(&[]));
    assert_eq!(fs::read(site.source.join("new")).unwrap(), b"new");
    assert!(site.source.join(".atlas/FORMAT").exists());
}

fn in_place_over_another() {
    let mut site = Site::new();
    let none = MountFlags::empty();
    mount("mine", &site.source, "tmpfs", none, None::<&CStr>).unwrap();
    site.point = site.source.clone();
    fs::write(site.source.join("data"), "below").unwrap();
    site.mount();
    assert_eq!(fs::read(site.source.join("data")).unwrap(), b"below");
    good(&site.umount(&[]));
    let mounts = mountinfo::mounts().unwrap();
    let left = mountinfo::at(&mounts, &site.source).map(|m| m.fs_type.as_str());
    assert_eq!(left, Some("tmpfs"));
    assert_eq!(fs::read(site.source.join("data")).unwrap(), b"below");
    unmount(&site.source, UnmountFlags::empty()).unwrap();
}

fn plain_umount() {
    let site = Site::new();
    site.mount();
    unmount(&site.point, UnmountFlags::empty()).unwrap();
    site.wait_until_gone(&site.point);
    site.mount();
    good(&site.umount(&[]));
}

fn failures() {
    let site = Site::new();
    for foreground in [&[][..], &["--foreground"]] {
        let mut command = site.mount_command(&site.point, foreground);
        let failed = command.env("LIFE_TEST", "fail").output().unwrap();
        let said = err(&failed);
        assert_eq!(failed.status.code(), Some(6), "{said}");
        assert_eq!(said.matches("told to\\nfail").count(), 1, "{said}");
        assert!(!site.mounted(&site.point));
    }
    let mut command = site.mount_command(&site.point, &[]);
    let died = command.env("LIFE_TEST", "die").output().unwrap();
    assert_eq!(died.status.code(), Some(1));
    assert!(err(&died).contains("killed by signal 6"), "{}", err(&died));
}

fn foreground() {
    let site = Site::new();
    let socket = site.dir.path().join("notify");
    let heard = UnixDatagram::bind(&socket).unwrap();
    let mut command = site.mount_command(&site.point, &["--foreground"]);
    command.env("NOTIFY_SOCKET", &socket).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut buffer = [0u8; 64];
    let n = heard.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..n], b"READY=1");
    assert_eq!(fs::read(site.point.join("data")).unwrap(), b"data");
    assert_eq!(
        site.daemon().as_raw_nonzero().get().unsigned_abs(),
        child.id()
    );
    kill_process(site.daemon(), Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!site.mounted(&site.point));
}

fn init() {
    let site = Site::new();
    let trust = site.dir.path().join("config");
    let run = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "init",
            "--authority",
            text(&site.dir.path().join("authority")),
        ]);
        command
            .arg(site.source.join("none"))
            .env("XDG_CONFIG_HOME", &trust)
            .output()
            .unwrap()
    };
    let refused = run();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        err(&refused).contains("does not exist"),
        "{}",
        err(&refused)
    );
}

//! What keeps the tests apart from the machine and from each other: a private mount namespace for each test thread. No processes.

use std::cell::Cell;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Where root's programs keep what outlives a mount. Each is an empty tmpfs inside the sandbox.
const OWN: [&str; 3] = ["/etc/atlas", "/var/lib/atlas", "/run/atlas"];

thread_local! {
    static ENTERED: Cell<bool> = const { Cell::new(false) };
}

/// Moves the calling thread, and what it starts from now on, into a mount namespace with empty `/etc/atlas`, `/var/lib/atlas` and
/// `/run/atlas`. Mounts made in it end with its last process. A second call changes nothing.
pub fn enter() {
    if ENTERED.replace(true) {
        return;
    }
    assert!(
        rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists(),
        "end-to-end tests mount a filesystem: run them as root on a machine with /dev/fuse (scripts/test says what is missing)"
    );
    // SAFETY: only the mount namespace (and, with it, the working directory and umask) stops being shared with the other threads
    // of the test program; no descriptor table and no memory is affected.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.expect("root may make a mount namespace");
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .expect("mounts can be made private");
    for dir in OWN {
        fs::create_dir_all(dir).expect("a place to mount on");
        let options = CString::new("mode=755,size=64m").expect("no NUL in it");
        mount(
            "atlas-test",
            dir,
            "tmpfs",
            MountFlags::empty(),
            Some(options.as_c_str()),
        )
        .expect("root may mount a tmpfs");
    }
}

/// Mounts a tmpfs of `bytes` at `dir`, which is made when it is not there. It ends with the sandbox.
pub fn small_disk(dir: &Path, bytes: u64) {
    enter();
    fs::create_dir_all(dir).expect("a place to mount on");
    let options = CString::new(format!("mode=755,size={bytes}")).expect("no NUL in it");
    mount(
        "atlas-small",
        dir,
        "tmpfs",
        MountFlags::empty(),
        Some(options.as_c_str()),
    )
    .expect("root may mount a tmpfs");
}

/// Makes `dir` readable only, as a mounted read-only disk would be.
pub fn read_only(dir: &Path) {
    enter();
    mount(dir, dir, "", MountFlags::BIND, None).expect("root may bind");
    rustix::mount::mount_remount(dir, MountFlags::BIND | MountFlags::RDONLY, "")
        .expect("root may remount");
}

/// The program under test: `$ATLAS_TEST_BIN/NAME`, else from the build that this program is of.
pub fn program(name: &str) -> PathBuf {
    let dir = std::env::var_os("ATLAS_TEST_BIN").map_or_else(
        || {
            let this = std::env::current_exe().expect("a running program has a path");
            let dir = this.parent().expect("a program lies in a directory");
            // Cargo puts test programs one level below the others.
            if dir.ends_with("deps") {
                dir.join("..")
            } else {
                dir.to_path_buf()
            }
        },
        PathBuf::from,
    );
    let path = dir.join(name);
    assert!(
        path.exists(),
        "{path:?} is not there: cargo build --workspace first"
    );
    path
}

/// The virtual environment of `scripts/setup`, at a place where ordinary users can read it.
pub fn venv() -> PathBuf {
    let path = std::env::var_os("ATLAS_TEST_VENV").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv"),
        PathBuf::from,
    );
    assert!(
        path.join("bin/python").exists(),
        "{path:?} has no Python: run scripts/setup"
    );
    path
}

/// The reference verifier, as `scripts/setup` built it.
pub fn c2patool() -> PathBuf {
    let path = std::env::var_os("ATLAS_TEST_C2PATOOL").map_or_else(
        || {
            let home = std::env::var_os("HOME").expect("a home for the tools");
            Path::new(&home).join(".cache/atlas-tools/bin/c2patool")
        },
        PathBuf::from,
    );
    assert!(path.exists(), "{path:?} is not there: run scripts/setup");
    path
}

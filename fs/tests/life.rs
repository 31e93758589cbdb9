//! Mounts from the outside: daemonising, second and dead mounts, busy unmounts, signals, over the real filesystem with nobody observing it.
//! Called with a verb, this program is `atlas-fs` with those parts; without one it is the test.

#![allow(
    clippy::print_stdout,
    reason = "a test without a harness reports by itself"
)]

#[path = "life/cases.rs"]
mod cases;
#[path = "life/parts.rs"]
mod parts;

use std::process::ExitCode;

fn main() -> ExitCode {
    let verb = std::env::args().nth(1).unwrap_or_default();
    if matches!(verb.as_str(), "mount" | "umount" | "init") {
        return atlas_fs::command::run(std::env::args_os(), &parts::Unobserved);
    }
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/dev/fuse").exists() {
        println!("skipped: needs root and /dev/fuse");
        return ExitCode::SUCCESS;
    }
    // What cargo passes after `--` chooses cases by a part of their name; its own options mean nothing here.
    let chosen = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    for (name, case) in cases::ALL {
        if chosen
            .as_ref()
            .is_none_or(|part| name.contains(part.as_str()))
        {
            println!("{name} ...");
            case();
        }
    }
    println!("ok");
    ExitCode::SUCCESS
}

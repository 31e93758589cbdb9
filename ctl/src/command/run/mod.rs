//! `atlasctl run`: declares a run to the daemon, then executes the command in it, and tells how it ended.

mod cgroup;
mod signals;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::id::RunId;
use atlas_manifests::wire::{Ask, Say, Status};
use rustix::process::{Pid, Signal as Number, WaitOptions};
use serde::Serialize;

use crate::cli::RunArgs;
use crate::client::Client;
use crate::exit::{Code, Failure, reason};
use crate::place::{self, Place};
use crate::view::{json, out};
use cgroup::Cgroup;
use signals::{Signal, Signals};

/// What `--json` prints when the command has ended: on standard error, because standard output is the command's.
#[derive(Serialize)]
struct Ended {
    run: RunId,
    exit: u8,
}

/// Runs the command and returns its code. Every failure of our own is `Code::RUN_FAILED`.
pub(crate) fn run(args: &RunArgs, as_json: bool) -> Result<Code, Failure> {
    let own = |f: Failure| Failure::new(Code::RUN_FAILED, f.text);
    let socket = daemon(args).map_err(own)?;
    let client = Client::connect(&socket).map_err(|e| own(e.into()))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|e| own(Failure::io("run: child subreaper", &e.into())))?;
    let cgroup = Cgroup::enter();
    let run = declare(&client, args, cgroup.as_ref()).map_err(own)?;
    drop(client);

    let executed = execute(&args.command);
    let code = executed.as_ref().map_or(Code::RUN_FAILED, |code| *code);
    finish(&socket, run, code);
    drop(cgroup);
    if as_json {
        let ended = Ended { run, exit: code.0 };
        out::say(&json::line(&ended).map_err(|e| own(Failure::error(e.to_string())))?);
    }
    executed
}

fn declare(client: &Client, args: &RunArgs, cgroup: Option<&Cgroup>) -> Result<RunId, Failure> {
    let say = client.ask(Ask::Declare {
        name: args.name.clone(),
        meta: args.meta.clone(),
        argv: args
            .command
            .iter()
            .map(|a| PathBytes::from(a.as_os_str()))
            .collect(),
        cgroup: cgroup.map(|c| c.path.clone()),
    })?;
    match say {
        Say::Run { run } => Ok(run),
        _ => Err(client.unexpected().into()),
    }
}

/// Tells the daemon how it ended. The command is over, so its code counts whatever becomes of this.
fn finish(socket: &Path, run: RunId, code: Code) {
    let ask = Ask::Finish {
        run,
        exit: code.0.into(),
    };
    if let Err(e) = Client::connect(socket).and_then(|c| c.ask(ask)) {
        out::say(&format!(
            "atlasctl: run: its end could not be recorded: {e}"
        ));
    }
}

/// The socket of the daemon to tell.
fn daemon(args: &RunArgs) -> Result<PathBuf, Failure> {
    if let Some(mount) = &args.mount {
        return mounted(mount)?.ok_or_else(|| {
            let mount = mount.display();
            Failure::error(format!(
                "{mount}: not a live mount: start it with atlas-fs mount SOURCE {mount}"
            ))
        });
    }
    if let Some(socket) = mounted(Path::new("."))? {
        return Ok(socket);
    }
    for path in args.command.iter().flat_map(|a| named(a)) {
        if let Ok(Some(socket)) = mounted(&path) {
            return Ok(socket);
        }
    }
    only(
        place::daemons()
            .into_iter()
            .map(|(_, status)| status)
            .collect(),
    )
}

fn mounted(path: &Path) -> Result<Option<PathBuf>, Failure> {
    Ok(match place::locate(path)?.place {
        Place::Live { status, .. } => Some(status.socket.as_path().to_owned()),
        Place::Backing { .. } | Place::Loose => None,
    })
}

/// The paths that an argument may be: itself, or what follows `--flag=`. Only absolute ones and ones with a slash: others are
/// below the working directory, which was looked at already.
fn named(argument: &OsStr) -> Vec<PathBuf> {
    let bytes = argument.as_bytes();
    let value = bytes
        .iter()
        .position(|b| *b == b'=')
        .map(|at| &bytes[at + 1..]);
    [Some(bytes), value]
        .into_iter()
        .flatten()
        .filter(|b| b.contains(&b'/') && b.len() < 4096)
        .map(|b| PathBuf::from(OsStr::from_bytes(b)))
        .collect()
}

fn only(live: Vec<Status>) -> Result<PathBuf, Failure> {
    match live.as_slice() {
        [one] => Ok(one.socket.as_path().to_owned()),
        [] => Err(Failure::error(
            "run: no daemon is running, so nothing was run: start one with atlas-fs mount SOURCE MOUNTPOINT",
        )),
        several => {
            let mounts: Vec<_> = several.iter().map(|s| s.mountpoint.lossy()).collect();
            Err(Failure::error(format!(
                "run: several mounts are live ({}): name one with --mount",
                mounts.join(", ")
            )))
        }
    }
}

/// Executes the command in our process group, so that the terminal treats both alike, and waits for it.
fn execute(command: &[std::ffi::OsString]) -> Result<Code, Failure> {
    let own = |e: &io::Error| Failure::new(Code::RUN_FAILED, format!("run: {}", reason(e)));
    let Some((program, rest)) = command.split_first() else {
        return Err(Failure::new(
            Code::RUN_FAILED,
            "run: no command: give one after --",
        ));
    };
    let signals = Signals::block().map_err(|e| own(&e))?;
    let mut command = Command::new(program);
    command.args(rest);
    signals.not_inherited_by(&mut command);
    match command.spawn() {
        Ok(child) => wait(&child, &signals).map(code_of).map_err(|e| own(&e)),
        Err(e) => {
            // The run is declared already: it is recorded with this code.
            let there = program.as_bytes().contains(&b'/') && Path::new(program).exists();
            let (code, why) = match e.kind() {
                io::ErrorKind::NotFound if there => {
                    (Code::CANNOT_EXEC, "its interpreter is missing".to_owned())
                }
                io::ErrorKind::NotFound => (Code::NOT_FOUND, "command not found".to_owned()),
                _ => (Code::CANNOT_EXEC, format!("cannot execute: {}", reason(&e))),
            };
            out::say(&format!(
                "atlasctl: {}: {why}",
                Path::new(program).display()
            ));
            Ok(code)
        }
    }
}

/// Waits for the command itself; orphans that end before it are reaped, those that outlive it are left alone.
fn wait(child: &Child, signals: &Signals) -> io::Result<ExitStatus> {
    let main = Pid::from_child(child);
    loop {
        match signals.next()? {
            Signal::FromTerminal => {}
            Signal::Forward(number) => {
                // It may have ended in this moment: then there is nobody to tell.
                if let Some(signal) = Number::from_named_raw(number) {
                    let _ = rustix::process::kill_process(main, signal);
                }
            }
            Signal::Child => {
                while let Some((pid, status)) = reap()? {
                    if pid == main {
                        return Ok(ExitStatus::from_raw(status.as_raw()));
                    }
                }
            }
        }
    }
}

fn reap() -> io::Result<Option<(Pid, rustix::process::WaitStatus)>> {
    match rustix::process::wait(WaitOptions::NOHANG) {
        Ok(ended) => Ok(ended),
        Err(rustix::io::Errno::CHILD) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn code_of(status: ExitStatus) -> Code {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => return Code::RUN_FAILED,
    };
    u8::try_from(code).map_or(Code::RUN_FAILED, Code)
}

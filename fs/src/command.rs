//! `atlas-fs` as a command: reads its arguments, does what they say, and tells a failure in one line. Not what the verbs do.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::failure::{Failure, plain};
use crate::mount::{Parts, serve, state, umount};
use crate::options::{Command, Refused, parse};

/// Runs the command line. `parts` makes a mount. Starts no thread before `mount` has split the process.
pub fn run(args: impl IntoIterator<Item = OsString>, parts: &dyn Parts) -> ExitCode {
    let command = match parse(args) {
        Ok(command) => command,
        Err(Refused::Clap(e)) => {
            // A closed pipe is no reason to complain.
            let _ = e.print();
            return code(e.exit_code());
        }
        Err(Refused::Failure(failure)) => return fail(&failure),
    };
    let done = match command {
        Command::Mount(options) => serve::mount(*options, parts, &mut say),
        Command::Umount(options) => umount::umount(&options, &mut say).map(|()| ExitCode::SUCCESS),
        Command::Init(options) => state::init(&options, &mut say).map(|()| ExitCode::SUCCESS),
        Command::Nothing => Ok(ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|failure| fail(&failure))
}

/// A message for the person who waits. When nobody can hear it, nothing is lost.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "atlas-fs: {}", plain(text));
}

fn fail(failure: &Failure) -> ExitCode {
    say(&failure.to_string());
    code(failure.code)
}

fn code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

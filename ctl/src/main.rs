//! Asks, shows, verifies and wraps. Reads the command line and hands over; decides nothing itself.

mod cli;
mod client;
mod command;
mod evidence;
mod exit;
mod find;
mod place;
mod target;
mod terms;
mod usage;
mod view;
mod walk;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use clap::Parser as _;
use signal_hook::consts::SIGINT;

use crate::cli::{Cli, LogVerb, Verb};
use crate::exit::Code;
use crate::view::out::{self, Out};
use crate::view::paint::Paint;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::refuse(&error, std::env::args_os()),
    };
    let own = matches!(
        cli.verb,
        Verb::Run(_) | Verb::Log(LogVerb::Serve(_) | LogVerb::Witness(_))
    );
    let code = if own {
        // A run leaves Ctrl-C to its command, and wants to be the only thread; servers end in order.
        work(&cli)
    } else {
        interruptible(cli)
    };
    ExitCode::from(code.0)
}

/// Ctrl-C ends it at once with the code of the contract. The work has a thread of its own, because no handler runs in one that waits
/// for a mount whose daemon hangs; this thread is there to be interrupted.
fn interruptible(cli: Cli) -> Code {
    let on = Arc::new(AtomicBool::new(true));
    let code = i32::from(Code::INTERRUPTED.0);
    if let Err(e) = signal_hook::flag::register_conditional_shutdown(SIGINT, code, on) {
        out::say(&format!("atlasctl: SIGINT: {}", exit::reason(&e)));
    }
    match thread::Builder::new().spawn(move || work(&cli)) {
        // A panic has said on standard error what it was.
        Ok(worker) => worker.join().unwrap_or(Code::ERROR),
        Err(e) => {
            out::say(&format!("atlasctl: no thread: {}", exit::reason(&e)));
            Code::ERROR
        }
    }
}

fn work(cli: &Cli) -> Code {
    let mut out = Out::new(Paint::for_stdout(cli.global.color));
    let done = command::dispatch(cli, &mut out);
    // Standard output is that of the command when there is one.
    let tell = cli.global.json && !matches!(cli.verb, Verb::Run(_));
    if let Err(failure) = &done {
        failure.report(if tell { Some(&mut out) } else { None });
    }
    // What was printed before a failure is data too, unless nobody reads it any more.
    match (done, out.flush()) {
        (Ok(code), Ok(())) => code,
        (Err(failure), _) => failure.code,
        (Ok(_), Err(failure)) => {
            failure.report(None);
            failure.code
        }
    }
}

//! Asks, shows, verifies and wraps. Reads the command line and hands over; decides nothing itself.

mod cli;
mod client;
mod command;
mod evidence;
mod exit;
mod find;
mod place;
mod usage;
mod view;
mod walk;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser as _;
use signal_hook::consts::SIGINT;

use crate::cli::{Cli, Verb};
use crate::exit::{Code, Failure};
use crate::view::out::{self, Out};
use crate::view::paint::Paint;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::refuse(&error, std::env::args_os()),
    };
    if !matches!(cli.verb, Verb::Run(_)) {
        // Ends at once with the code of the contract, whatever the command waits for. `run` leaves Ctrl-C to its command.
        let on = Arc::new(AtomicBool::new(true));
        let code = i32::from(Code::INTERRUPTED.0);
        if let Err(e) = signal_hook::flag::register_conditional_shutdown(SIGINT, code, on) {
            out::say(&format!("atlasctl: SIGINT: {}", exit::reason(&e)));
        }
    }
    let mut out = Out::new(Paint::for_stdout(cli.global.color));
    let done = command::dispatch(&cli, &mut out);
    // What was printed before a failure is data too, unless nobody reads it any more.
    let flushed = out.flush();
    let code = match (done, flushed) {
        (Ok(code), Ok(())) => code,
        (Err(failure), _) | (Ok(_), Err(failure)) => report(&failure),
    };
    ExitCode::from(code.0)
}

fn report(failure: &Failure) -> Code {
    if let Some(line) = failure.line() {
        out::say(&line);
    }
    failure.code
}

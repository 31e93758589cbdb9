//! `atlasctl completions` and `atlasctl man`: both come from the same tree as the help.

use std::fs;

use clap::CommandFactory as _;

use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::exit::{Code, Failure};
use crate::view::out::Out;

/// Prints a completion script.
pub(crate) fn completions(args: &CompletionsArgs, out: &mut Out) -> Result<Code, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "atlasctl", &mut script);
    out.text(&String::from_utf8_lossy(&script))?;
    Ok(Code::OK)
}

/// The tree with a version of one line: in the first line of a page nothing else is understood.
fn pages() -> clap::Command {
    Cli::command().version(env!("CARGO_PKG_VERSION"))
}

/// Prints atlasctl.1, or writes it and a page for each verb to a directory.
pub(crate) fn man(args: &ManArgs, out: &mut Out) -> Result<Code, Failure> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(pages())
            .render(&mut page)
            .map_err(|e| Failure::io("manual page", &e))?;
        out.text(&String::from_utf8_lossy(&page))?;
        return Ok(Code::OK);
    };
    fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(pages(), dir))
        .map_err(|e| Failure::io(dir.display(), &e))?;
    Ok(Code::OK)
}

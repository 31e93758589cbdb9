//! What clap says to a command line that makes no sense, in one safe line. Help and version are passed on as they are.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use crate::cli::{Cli, Color};
use crate::exit::{Code, Failure};
use crate::view::escape;
use crate::view::out::Out;
use crate::view::paint::Paint;

/// Prints help or version on standard output, or one line about the mistake on standard error; says what to end with.
pub(crate) fn refuse(error: &clap::Error, args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args.collect();
    let verb = verb(args.iter().cloned());
    // A caller of `run` takes our code for that of its command.
    let run = verb.as_deref() == Some("run");
    let code = if run { Code::RUN_FAILED } else { Code::USAGE };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            return match error.print() {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::from(Code::CLOSED_PIPE.0),
            };
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
        }
        _ => {
            let text = one_line(&error.render().to_string(), verb.as_deref());
            let asked = args
                .iter()
                .take_while(|a| *a != "--")
                .any(|a| a == "--json");
            let mut out = Out::new(Paint::for_stdout(Color::Never));
            Failure::new(code, text).report(Some(&mut out).filter(|_| asked && !run));
            // Nobody may read there any more; the code says it all the same.
            let _ = out.flush();
        }
    }
    ExitCode::from(code.0)
}

/// Clap's paragraphs (what is wrong, tips, usage, pointer to help) without the usage, joined and kept short.
fn one_line(rendered: &str, verb: Option<&str>) -> String {
    let mut parts = Vec::new();
    for paragraph in rendered.split("\n\n") {
        let words: Vec<_> = paragraph.split_whitespace().collect();
        let text = words.join(" ");
        let aside = ["Usage: ", "For more information"];
        if !text.is_empty() && !aside.iter().any(|a| text.starts_with(a)) {
            parts.push(text.strip_prefix("error: ").unwrap_or(&text).to_owned());
        }
    }
    let about = verb.map_or(String::new(), |verb| format!(" {verb}"));
    let what = escape::short(&parts.join("; "), 300);
    format!("{what}: see 'atlasctl{about} --help'")
}

/// The first argument that is a verb, wherever the flags stand.
fn verb(args: impl Iterator<Item = OsString>) -> Option<String> {
    let command = Cli::command();
    args.skip(1).find_map(|a| {
        let a = a.to_str()?;
        command.find_subcommand(a).map(|c| c.get_name().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn said(args: &[&str]) -> String {
        let rendered = Cli::try_parse_from(args).unwrap_err().render().to_string();
        let text = one_line(&rendered, verb(args.iter().map(OsString::from)).as_deref());
        Failure::new(Code::USAGE, text).line().unwrap()
    }

    #[test]
    fn a_mistake_is_one_safe_line_that_names_it() {
        let text = said(&["atlasctl", "\x1b[31mlineag\nx"]);
        assert!(!text.chars().any(escape::unsafe_to_show), "{text:?}");
        let text = said(&["atlasctl", "linage", "x"]);
        assert!(
            text.contains("'linage'") && text.contains("lineage"),
            "{text}"
        );
        let text = said(&["atlasctl", "verify"]);
        assert!(text.ends_with("see 'atlasctl verify --help'"), "{text}");
        let text = said(&["atlasctl", "lineage", "x", "--kind", &"k".repeat(10_000)]);
        assert!(text.len() < 400, "{}", text.len());
    }

    #[test]
    fn the_verb_is_found_behind_flags() {
        let of = |args: &[&str]| verb(args.iter().map(OsString::from));
        assert_eq!(
            of(&["atlasctl", "--json", "run", "--bad"]),
            Some("run".to_owned())
        );
        assert_eq!(of(&["atlasctl", "nothing"]), None);
    }
}

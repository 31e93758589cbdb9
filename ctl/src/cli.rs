//! The command line as clap sees it: verbs, flags, help. Not what the verbs do.

mod attest;
mod demand;
mod log;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::terms::EvidenceArgs;
use atlas_manifests::vocabulary::{Grade, Kind};
use clap::builder::styling::{AnsiColor, Styles};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

pub(crate) use attest::{AttestArgs, AttestVerb, AttestVerifyArgs, Nonce};
pub(crate) use demand::{DraftArgs, PolicyVerb, ReferenceVerb, SignArgs};
pub(crate) use log::{
    LogCheckArgs, LogProveArgs, LogRevokeArgs, LogServeArgs, LogShowArgs, LogVerb, LogWatchArgs,
    LogWitnessArgs,
};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// What `--version` prints: the program, and the formats that it reads and writes.
pub(crate) const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nstate     FORMAT 1\nmanifest  C2PA claim v2, org.atlasfs assertions\nchannel   v1\nbundle    1"
);

const EXIT_CODES: &str = "\
Exit codes (for several findings the first of this order):
    2  usage                    130  interrupted
    1  any other error            5  signature or certificate not trusted
    6  evidence refused           4  content differs
    7  incomplete                 8  an ancestor cannot be verified
   10  evidence is simulated      3  no manifest
    9  daemon not reachable       0  ok
`run` ends with the code of its command; 125, 126 and 127 when the command could not be run.";

/// Where files came from, and whether that can be proven.
#[derive(Debug, Parser)]
#[command(name = "atlasctl", version = VERSION, styles = STYLES, after_long_help = EXIT_CODES)]
#[command(
    max_term_width = 100,
    infer_long_args = false,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    /// Flags that every verb takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags that every verb takes; in each verb's help they come after its own.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Print JSON on standard output instead of text; a failure too is told there, as {"error": {"code": N, "text": "..."}}
    #[arg(long, global = true)]
    pub json: bool,
    /// When to use colours: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    #[arg(hide_possible_values = true)]
    pub color: Color,
    /// State directory, when it is not SOURCE/.atlas
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub state: Option<PathBuf>,
    /// Directory of the node's own state, when it is not below the state directory
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub node_state: Option<PathBuf>,
}

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a command as one run with a name, and record it whatever becomes of it
    Run(RunArgs),
    /// List runs, newest first
    Runs(RunsArgs),
    /// Show all that is known of a file, a content or a run
    Show(ShowArgs),
    /// List a directory's files with their state and digest
    Ls(LsArgs),
    /// Show what a file was made from, or what was made from it
    Lineage(LineageArgs),
    /// Check files and everything they were made from; needs no daemon
    Verify(VerifyArgs),
    /// Seal files that were there already, or a directory as one set
    Register(RegisterArgs),
    /// Write a manifest, or a bundle that can be verified elsewhere, to a file
    Export(ExportArgs),
    /// Wait until everything that was closed by now is sealed
    Sync(SyncArgs),
    /// Show what the daemons are doing
    Status(StatusArgs),
    /// Show the hardware evidence behind a daemon's keys, ask for a fresh quote, or check what another one gave
    Attest(AttestArgs),
    /// Manage the authorities whose signatures are believed
    #[command(subcommand)]
    Trust(TrustVerb),
    /// Check and print what a verifier demands of hardware evidence
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Manage the measurements and contents that somebody vouches for
    #[command(subcommand)]
    Reference(ReferenceVerb),
    /// Show, prove, check, watch, serve and witness transparency logs
    #[command(subcommand)]
    Log(LogVerb),
    /// Check this machine and a state directory, and say how to mend them
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write all pages to a directory
    Man(ManArgs),
}

/// `atlasctl run`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Everything the command and its descendants read and write on the mount belongs to one run, also when it \
fails or is killed. The daemon is told before the command starts; without a daemon nothing is run.

The mount is the one given by --mount, else the one that holds the working directory, else one that an \
argument names, else the only one there is.

Exit codes: that of the command; 128 + n when signal n ended it; 125 when atlasctl itself failed, \
126 when the command cannot be executed, 127 when it is not found.

Example: atlasctl run --name resnet50 --meta seed=1 -- python train.py --epochs 3")]
pub(crate) struct RunArgs {
    /// Name of the run
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A fact to keep with the run; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub meta: Vec<(String, String)>,
    /// The mount whose daemon is told
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub mount: Option<PathBuf>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    #[arg(value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// `atlasctl runs`.
#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// Only runs that ended with another code than 0
    #[arg(long)]
    pub failed: bool,
    /// A path on the mount or in the backing directory; the working directory unless given
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub at: Option<PathBuf>,
}

/// `atlasctl show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// A path, a digest (or 8 and more of its hex digits), or a run's id or name
    #[arg(value_name = "PATH|DIGEST|RUN", value_hint = ValueHint::AnyPath)]
    pub what: OsString,
}

/// `atlasctl ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// The directory
    #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
}

/// `atlasctl lineage`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Shown are inputs of grade process-tree and better; --all also shows those that only ran in the same run, \
files that the run made and deleted, and each program file by itself.

Kinds: read, its bytes were seen to go; opened, whether it was read cannot be told; parent, the version that \
it replaced; set, some member of a registered set; code, a program.
Grades, nearest first: copied by the kernel; same-process that wrote; process-tree of that process; \
elsewhere in the run.")]
pub(crate) struct LineageArgs {
    /// A path, or a digest (or 8 and more of its hex digits)
    #[arg(value_name = "PATH|DIGEST", value_hint = ValueHint::AnyPath)]
    pub what: OsString,
    /// How many steps to follow; all unless given
    #[arg(long, value_name = "N")]
    pub depth: Option<u32>,
    /// Show what was made from it instead
    #[arg(long)]
    pub downstream: bool,
    /// Only inputs of this grade or a nearer one
    #[arg(long, value_name = "GRADE", value_parser = grades())]
    pub min_grade: Option<Grade>,
    /// Only inputs of this kind; may be given several times
    #[arg(long, value_name = "KIND", value_parser = kinds())]
    pub kind: Vec<Kind>,
    /// Hide and collapse nothing
    #[arg(long)]
    pub all: bool,
}

/// `atlasctl verify`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The bytes are hashed now. The manifest is looked for in the live mount, in the state directory by path, \
there by digest, and beside the file as PATH.c2pa. Trusted are the authorities in /etc/atlas/trust and \
~/.config/atlas/trust and those given by --trust; never a certificate that lies beside the data.

A directory that was registered is checked as a set: each member, none missing, none more.

The check `transparency` is about the log of the node that sealed the file: that the manifest is in it, under \
a head that the log signed, by a key that a trusted authority certified; that enough witnesses cosigned it, \
where the policy names some ([log] in its file); and that the log does not revoke it. What is found in the \
state directory or in a bundle is judged offline. Heads that were seen are remembered in --heads, so that a \
log that was set back, or shows two histories, is refused (code 6) and both heads are printed. A bundle's head \
cannot be compared with one of another size, and its verdict says so.

A check says affirming, warning, contraindicated or none; none means that there was nothing to check.")]
pub(crate) struct VerifyArgs {
    /// Files, or directories that were registered or are walked with --recursive
    #[arg(required = true, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    /// Verify all files below a directory
    #[arg(long, short)]
    pub recursive: bool,
    /// Believe this authority, for this command only; may be given several times
    #[arg(long, value_name = "CA.pem", value_hint = ValueHint::FilePath)]
    pub trust: Vec<PathBuf>,
    /// Check against this manifest or bundle, and look nowhere else
    #[arg(long, value_name = "FILE.c2pa|BUNDLE.atlas", value_hint = ValueHint::FilePath)]
    pub manifest: Option<PathBuf>,
    /// Seconds to wait for a file that is still being sealed
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub timeout: u64,
    // `--state` is taken: it names the state directory of Atlas.
    /// Where the heads of logs are remembered, or `none` [default: atlas/heads in ~/.local/state]
    #[arg(long, value_name = "DIR|none", value_hint = ValueHint::DirPath)]
    pub heads: Option<PathBuf>,
    #[command(flatten)]
    pub evidence: EvidenceArgs,
}

/// `atlasctl register`.
#[derive(Debug, Args)]
pub(crate) struct RegisterArgs {
    /// Files or directories on a live mount; a directory becomes one set
    #[arg(required = true, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    /// A name for what is registered
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Who made it
    #[arg(long, value_name = "AUTHOR")]
    pub author: Option<String>,
}

/// `atlasctl export`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["output", "bundle"]))]
pub(crate) struct ExportArgs {
    /// The file whose manifest is exported
    #[arg(value_name = "PATH|DIGEST", value_hint = ValueHint::AnyPath)]
    pub what: OsString,
    /// Write the manifest alone to this file
    #[arg(long, short, value_name = "FILE.c2pa", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Write the manifest with those of all ancestors and their input sets to this file
    #[arg(long, value_name = "FILE.atlas", value_hint = ValueHint::FilePath)]
    pub bundle: Option<PathBuf>,
    /// Withheld fields to disclose in the bundle, or `all`; none unless given
    #[arg(
        long,
        value_name = "FIELD,...",
        value_delimiter = ',',
        conflicts_with = "output"
    )]
    pub disclose: Vec<String>,
    /// Replace the file if it is there
    #[arg(long)]
    pub force: bool,
}

/// `atlasctl sync`.
#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// A path on the mount; the working directory unless given
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub at: Option<PathBuf>,
    /// Seconds to wait
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub timeout: u64,
}

/// `atlasctl status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// A path on one mount; all live mounts unless given
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub at: Option<PathBuf>,
}

/// `atlasctl trust`.
#[derive(Debug, Subcommand)]
pub(crate) enum TrustVerb {
    /// Believe an authority from now on
    Add {
        /// Its certificate
        #[arg(value_name = "CA.pem", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// List the authorities that are believed
    List,
    /// Believe an authority no longer
    Rm {
        /// The SHA-256 of its certificate, or 8 and more of its hex digits
        #[arg(value_name = "FINGERPRINT")]
        fingerprint: String,
    },
}

/// `atlasctl doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The backing directory, its mount, or a path in either; the working directory unless given
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub at: Option<PathBuf>,
    /// Build the index again from the store; no daemon may be running
    #[arg(long)]
    pub rebuild: bool,
    /// Hash every object of the store again instead of a sample
    #[arg(long)]
    pub full: bool,
}

/// `atlasctl completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `atlasctl man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write atlasctl.1 and one page for each verb here, instead of printing the first
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

// With their words known to clap, a shell can complete them.
fn grades() -> impl TypedValueParser<Value = Grade> {
    let words = Grade::ALL.iter().map(|g| g.as_str());
    PossibleValuesParser::new(words).try_map(|text| text.parse::<Grade>())
}

fn kinds() -> impl TypedValueParser<Value = Kind> {
    let words = Kind::ALL.iter().map(|k| k.as_str());
    PossibleValuesParser::new(words).try_map(|text| text.parse::<Kind>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_tree_of_flags_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_the_command_belongs_to_the_command() {
        let cli = Cli::try_parse_from([
            "atlasctl", "run", "--name", "n", "--meta", "a=b=c", "--", "env", "--json", "--name",
        ])
        .unwrap();
        assert!(!cli.global.json);
        let Verb::Run(run) = cli.verb else {
            panic!("not run");
        };
        assert_eq!(run.command, ["env", "--json", "--name"]);
        assert_eq!(run.meta, [("a".to_owned(), "b=c".to_owned())]);
        let of = |args: &[&str]| Cli::try_parse_from([&["atlasctl", "run"], args].concat());
        assert!(of(&["ls", "-l", "--name", "x"]).is_ok());
        assert!(
            of(&["--nmae", "x", "--", "ls"]).is_err(),
            "a misspelt flag is no command"
        );
    }

    #[test]
    fn a_manifest_alone_cannot_disclose_anything() {
        let of = |args: &[&str]| Cli::try_parse_from([&["atlasctl", "export", "f"], args].concat());
        assert!(of(&["-o", "x", "--disclose", "all"]).is_err());
        assert!(of(&["--bundle", "x", "--disclose", "path,argv"]).is_ok());
        assert!(of(&[]).is_err(), "one target is required");
    }

    #[test]
    fn every_verb_takes_json_and_has_help() {
        for verb in Cli::command().get_subcommands() {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
        }
        assert!(
            Cli::try_parse_from(["atlasctl", "trust", "list", "--json"])
                .unwrap()
                .global
                .json
        );
    }
}

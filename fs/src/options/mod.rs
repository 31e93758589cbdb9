//! The command line of `atlas-fs`, and of `mount.fuse.atlas`, as typed values. Checks nothing on disk.

mod strings;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::failure::Failure;

/// What `--version` adds to the program's own version: the formats it reads and writes.
const FORMATS: &str = concat!(env!("CARGO_PKG_VERSION"), " (state format 1, wire 1)");

/// What was asked for.
#[derive(Debug)]
pub enum Command {
    /// `mount`, or `mount.fuse.atlas`.
    Mount(Box<MountOptions>),
    /// `umount`.
    Umount(UmountOptions),
    /// `init`.
    Init(InitOptions),
    /// `mount.fuse.atlas -f`: mount(8) only wanted to see whether it would be tried.
    Nothing,
}

/// Why there is no command.
#[derive(Debug)]
pub enum Refused {
    /// Help, the version, or a usage error: knows how to print itself and its exit code.
    Clap(clap::Error),
    /// A usage error of ours.
    Failure(Failure),
}

/// Who moves the bytes (DESIGN 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Io {
    /// Passthrough where it works, else inline.
    #[default]
    Auto,
    /// The kernel; refused where it does not work.
    Passthrough,
    /// The daemon.
    Inline,
}

/// How runs are found (DESIGN 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Runs {
    /// Declared runs, cgroups made for one job, process trees.
    #[default]
    Auto,
    /// Declared runs and process trees.
    Tree,
}

/// What a manifest says of a file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Titles {
    /// Its base name.
    #[default]
    Base,
    /// Nothing: the name is a salted digest like the rest of the path.
    None,
}

/// What is logged: this and everything graver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// Switches of mount(2) that hold for the mount, whatever the files say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelFlags {
    /// Set-user-id bits have no effect. As on every FUSE mount unless `-o suid` is said.
    pub nosuid: bool,
    /// Device files cannot be opened. As on every FUSE mount unless `-o dev` is said.
    pub nodev: bool,
    /// Nothing can be executed.
    pub noexec: bool,
    /// Reading changes no access times.
    pub noatime: bool,
    /// Writes wait for the disk.
    pub sync: bool,
    /// Changes of directories wait for the disk.
    pub dirsync: bool,
}

impl Default for KernelFlags {
    fn default() -> Self {
        Self {
            nosuid: true,
            nodev: true,
            noexec: false,
            noatime: false,
            sync: false,
            dirsync: false,
        }
    }
}

/// Everything that `mount` can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// The backing directory, as typed.
    pub source: PathBuf,
    /// The mount point, as typed.
    pub mountpoint: PathBuf,
    /// Stay in the foreground.
    pub foreground: bool,
    /// Where the state lies.
    pub place: Place,
    /// Who moves the bytes.
    pub io: Io,
    /// Writes are refused.
    pub read_only: bool,
    /// Other users may use the mount.
    pub allow_other: bool,
    /// Digest workers; `None`: the daemon decides.
    pub digest_threads: Option<NonZeroUsize>,
    /// How runs are found.
    pub runs: Runs,
    /// Manifests are also written beside the data.
    pub sidecar: bool,
    /// What manifests say of file names.
    pub titles: Titles,
    /// How long sealing may take when the mount ends.
    pub drain: Duration,
    /// What is logged.
    pub log_level: LogLevel,
    /// Where to; `None`: stderr, or the node's own directory when there is no terminal to write to.
    pub log_file: Option<PathBuf>,
    /// Mount although callers' pids cannot be seen.
    pub any_pid_namespace: bool,
    /// Hardware evidence.
    pub evidence: Evidence,
    /// The transparency log.
    pub log: Log,
    /// Switches of mount(2).
    pub kernel: KernelFlags,
}

/// Whether there is to be hardware evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Tdx {
    /// Where there is Intel TDX; else every verdict says `hardware: none`.
    #[default]
    Auto,
    /// Without it there is no mount.
    Require,
    /// Never.
    Off,
}

/// How hardware evidence is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Evidence")]
pub struct Evidence {
    /// Prove with Intel TDX where the key was born: where there is TDX, always (or do not mount), or never
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub tdx: Tdx,
    /// Keep Intel's collateral of this platform (*.json in this directory) with the evidence; it is never fetched
    #[arg(long, value_name = "DIR")]
    pub collateral: Option<PathBuf>,
    /// Bind this file with a GPU's evidence
    #[arg(long, value_name = "FILE", conflicts_with = "gpu_evidence_command")]
    pub gpu_evidence: Option<PathBuf>,
    /// Bind what this command (of sh) writes; it finds what the GPU may sign in ATLAS_GPU_NONCE
    #[arg(long, value_name = "COMMAND")]
    pub gpu_evidence_command: Option<OsString>,
    /// Give files like this (as in .gitignore) a quote of their own, which takes up to a second each; may be given several times
    #[arg(long, value_name = "PATTERN", action = ArgAction::Append)]
    pub explicit_quotes: Vec<String>,
    /// What was booted, as the evidence is to call it
    #[arg(long, value_name = "TEXT")]
    pub image: Option<String>,
    /// The kernel's configfs-tsm, when it is elsewhere (bound as part of the configuration)
    #[arg(long, value_name = "DIR")]
    pub tsm_root: Option<PathBuf>,
    /// The kernel's TDX measurements, when they are elsewhere (bound as part of the configuration)
    #[arg(long, value_name = "DIR")]
    pub mr_root: Option<PathBuf>,
    /// The firmware's event log, when it is elsewhere (bound as part of the configuration)
    #[arg(long, value_name = "FILE")]
    pub ccel: Option<PathBuf>,
    /// The event log that explains RTMR3, for all daemons of this machine [default: /run/atlas/tdx]
    #[arg(long, value_name = "DIR")]
    pub event_log: Option<PathBuf>,
}

/// How the transparency log is kept, and who is told of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Transparency log")]
pub struct Log {
    /// Name the log so; only when it begins [default: atlasfs.org/log/NODE]
    #[arg(long, value_name = "NAME")]
    pub log_origin: Option<String>,
    /// Keep the log's newest checkpoint in a register that compares before it swaps: postgres://..., etcd://HOST:PORT/KEY or
    /// s3://BUCKET/KEY?endpoint=URL, with credentials from the environment [default: a file beside the authority's key]
    #[arg(long, value_name = "ADDRESS")]
    pub log_register: Option<String>,
    /// Show checkpoints to the witnesses of this policy (C2SP tlog-policy, with their URLs), and stop when one knows more than we do
    #[arg(long, value_name = "FILE")]
    pub witnesses: Option<PathBuf>,
    /// Put the checkpoint's digest into this public log (Rekor v2)
    #[arg(long, value_name = "URL", requires = "rekor_key")]
    pub rekor: Option<String>,
    /// That log's key, as NAME+ID+KEY
    #[arg(long, value_name = "VKEY", requires = "rekor")]
    pub rekor_key: Option<String>,
    /// Do so every so many seconds, if there is a new checkpoint
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub rekor_interval: u64,
}

/// Where state and authority lie, when not at their usual places.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "State")]
pub struct Place {
    /// Keep the state here instead of SOURCE/.atlas
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Keep this node's index, journal and transparency log here (a local disk, when SOURCE is shared)
    #[arg(long, value_name = "DIR")]
    pub node_state: Option<PathBuf>,
    /// Keep the authority's key here; never below SOURCE
    #[arg(long, value_name = "DIR")]
    pub authority: Option<PathBuf>,
}

/// Everything that `umount` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct UmountOptions {
    /// A directory that atlas-fs mounted
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,
    /// Detach although somebody still uses it: their open files break, and what they wrote is marked incomplete
    #[arg(long)]
    pub force: bool,
    /// Seal what is queued for at most so many seconds [default: as mounted]
    #[arg(long, value_name = "SECONDS")]
    pub drain: Option<u64>,
}

/// Everything that `init` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct InitOptions {
    /// The directory to make ready
    #[arg(value_name = "SOURCE")]
    pub source: PathBuf,
    /// Where the state lies.
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Parser)]
#[command(name = "atlas-fs", version = FORMATS, about = "Mounts a directory so that every file a job closes carries a signed statement of what went into it", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Mount SOURCE at MOUNTPOINT (which may be SOURCE itself)
    Mount(Box<MountArgs>),
    /// Seal what is queued and detach a mount
    Umount(UmountOptions),
    /// Make the state, the authority and its pinned trust for SOURCE; mount does the same on first use
    Init(InitOptions),
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
struct MountArgs {
    /// The directory that holds the data
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// An empty directory, or SOURCE itself
    #[arg(value_name = "MOUNTPOINT")]
    mountpoint: PathBuf,
    /// Stay in the foreground (for systemd: Type=notify)
    #[arg(long)]
    foreground: bool,
    /// Options as mount(8) and fstab write them: KEY[=VALUE],... with any long option of this command as KEY, and those of the kernel (nosuid
    /// and nodev are in force unless `suid` and `dev` are said, and SOURCE's own mount allows them)
    #[arg(short = 'o', value_name = "OPTIONS", action = ArgAction::Append)]
    o: Vec<OsString>,
    /// Refuse writes
    #[arg(long, overrides_with = "read_write")]
    read_only: bool,
    #[arg(long, hide = true, overrides_with = "read_only")]
    read_write: bool,
    /// Let other users use the mount (as a user: needs user_allow_other in /etc/fuse.conf)
    #[arg(long)]
    allow_other: bool,
    /// Who moves the bytes: the kernel, or the daemon
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    io: Io,
    /// Digest with so many threads [default: the number of processors, at most 8]
    #[arg(long, value_name = "N", value_parser = digest_threads)]
    digest_threads: Option<NonZeroUsize>,
    /// How processes are grouped to runs, beside `atlasctl run`
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    runs: Runs,
    /// Also write each manifest beside its file
    #[arg(long)]
    sidecar: bool,
    /// What manifests say of file names: the base name, or none
    #[arg(long, value_enum, default_value_t, value_name = "WHICH")]
    titles: Titles,
    /// When the mount ends, seal what is queued for at most so many seconds; the next mount does the rest
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    drain: u64,
    /// Log this and everything graver
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    log_level: LogLevel,
    /// Log to this file (opened again on SIGHUP) [default: stderr, or daemon.log in the node's state]
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Mount although the daemon is not in the initial pid namespace: callers outside its own cannot be told apart
    #[arg(long)]
    any_pid_namespace: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    evidence: Evidence,
    #[command(flatten)]
    log: Log,
    #[arg(long, value_enum, hide = true, action = ArgAction::Append)]
    kernel_flag: Vec<Flag>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Flag {
    Suid,
    Nosuid,
    Dev,
    Nodev,
    Exec,
    Noexec,
    Atime,
    Noatime,
    Sync,
    Async,
    Dirsync,
}

/// Reads a command line; its first word is the name the program was called by.
///
/// # Errors
/// `Refused`, also for `--help` and `--version`.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Refused> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let called = args
        .first()
        .and_then(|a| Path::new(a).file_name())
        .map(|n| n.to_string_lossy().into_owned());
    if called.is_some_and(|name| name.starts_with("mount.")) {
        match strings::helper(&args[1..]).map_err(Refused::Failure)? {
            Some(rest) => {
                args = vec!["atlas-fs".into(), "mount".into()];
                args.extend(rest);
            }
            None => return Ok(Command::Nothing),
        }
    }
    match cli(&args)? {
        Verb::Mount(first) if first.o.is_empty() => Ok(Command::Mount(first.finish())),
        Verb::Mount(first) => {
            // What -o says comes first, so that an explicit option wins, wherever it stands.
            let said = strings::as_arguments(&first.o).map_err(Refused::Failure)?;
            args.splice(2..2, said);
            match cli(&args)? {
                Verb::Mount(all) => Ok(Command::Mount(all.finish())),
                Verb::Umount(_) | Verb::Init(_) => Err(Refused::Failure(Failure::usage(
                    "-o cannot change the command",
                ))),
            }
        }
        Verb::Umount(options) => Ok(Command::Umount(options)),
        Verb::Init(options) => Ok(Command::Init(options)),
    }
}

fn cli(args: &[OsString]) -> Result<Verb, Refused> {
    Cli::try_parse_from(args)
        .map(|cli| cli.verb)
        .map_err(Refused::Clap)
}

impl MountArgs {
    fn finish(self) -> Box<MountOptions> {
        let mut kernel = KernelFlags::default();
        for flag in self.kernel_flag {
            match flag {
                Flag::Suid => kernel.nosuid = false,
                Flag::Nosuid => kernel.nosuid = true,
                Flag::Dev => kernel.nodev = false,
                Flag::Nodev => kernel.nodev = true,
                Flag::Exec => kernel.noexec = false,
                Flag::Noexec => kernel.noexec = true,
                Flag::Atime => kernel.noatime = false,
                Flag::Noatime => kernel.noatime = true,
                Flag::Sync => kernel.sync = true,
                Flag::Async => kernel.sync = false,
                Flag::Dirsync => kernel.dirsync = true,
            }
        }
        Box::new(MountOptions {
            source: self.source,
            mountpoint: self.mountpoint,
            foreground: self.foreground,
            place: self.place,
            io: self.io,
            read_only: self.read_only,
            allow_other: self.allow_other,
            digest_threads: self.digest_threads,
            runs: self.runs,
            sidecar: self.sidecar,
            titles: self.titles,
            drain: Duration::from_secs(self.drain),
            log_level: self.log_level,
            log_file: self.log_file,
            any_pid_namespace: self.any_pid_namespace,
            evidence: self.evidence,
            log: self.log,
            kernel,
        })
    }
}

/// More threads than this only take from the job; a slip of the finger would take all that the machine has.
const MOST_DIGEST_THREADS: usize = 1024;

fn digest_threads(text: &str) -> Result<NonZeroUsize, String> {
    let n: NonZeroUsize = text
        .parse()
        .map_err(|e: std::num::ParseIntError| e.to_string())?;
    if n.get() > MOST_DIGEST_THREADS {
        return Err(format!("at most {MOST_DIGEST_THREADS}"));
    }
    Ok(n)
}

#[cfg(test)]
mod tests;

//! Rows in words: states, ends, runs and paths as a person says them, and the pieces of JSON that several verbs share.

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::digest::Blake3;
use atlas_manifests::id::{NodeRef, RunId};
use atlas_manifests::rows::{RunRow, VersionRow};
use atlas_manifests::vocabulary::{Closed, Cut, Grade, Kind, Quiet, State};
use serde::Serialize;

use crate::view::{amount, escape};

/// A path as CONTRACTS 1 has it in JSON.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct JsonPath {
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_b64: Option<String>,
}

impl From<Option<&PathBytes>> for JsonPath {
    fn from(path: Option<&PathBytes>) -> Self {
        Self {
            path: path.map(PathBytes::lossy),
            path_b64: path.and_then(PathBytes::b64_if_needed),
        }
    }
}

/// A path below SOURCE, or what stands for it when it is withheld.
pub(crate) fn path(path: Option<&PathBytes>) -> String {
    match path {
        Some(p) => name(&p.0),
        None => "(path withheld)".to_owned(),
    }
}

/// A path below SOURCE; that of SOURCE itself is empty, which nobody could see.
pub(crate) fn name(path: &[u8]) -> String {
    if path.is_empty() {
        ".".to_owned()
    } else {
        escape::name(path)
    }
}

/// A node's name in a few characters: its path, else its content.
pub(crate) fn node(row: &VersionRow) -> String {
    match (&row.path, row.node) {
        (Some(p), _) => name(&p.0),
        (None, NodeRef::Content(c)) => content(&c, row.title.as_deref()),
        (None, NodeRef::Version(v)) => match row.digests {
            Some(d) => content(&d.blake3, row.title.as_deref()),
            None => format!("version {}", v.n),
        },
    }
}

/// Content of which no path is known, with the base name that a manifest gives it.
pub(crate) fn content(digest: &Blake3, title: Option<&str>) -> String {
    let digest = digest.hex();
    match title {
        Some(title) => format!(
            "content {} called {}",
            amount::prefix(&digest),
            escape::name(title.as_bytes())
        ),
        None => format!("content {}", amount::prefix(&digest)),
    }
}

/// A run's id in a form short enough for a table, which `show` takes too.
pub(crate) fn run_id(id: RunId) -> String {
    let instance = id.instance.to_string();
    format!("{}:{}", &instance[..8], id.n)
}

/// What a run is called: its name, else its command.
pub(crate) fn run_title(run: &RunRow) -> String {
    match &run.name {
        Some(name) => escape::short(&escape::line(name), 60),
        None => escape::short(&command(run), 60),
    }
}

/// The command of a run, as it would be typed; what stands for it when it is withheld.
pub(crate) fn command(run: &RunRow) -> String {
    if !run.argv.is_empty() {
        return escape::argv(run.argv.iter().map(|a| &a.0[..]));
    }
    match &run.exe {
        Some(exe) => escape::name(&exe.0),
        None => "(command withheld)".to_owned(),
    }
}

/// How a run ended, in one or two words.
pub(crate) fn outcome(run: &RunRow) -> String {
    exit(run.ended.is_some(), run.exit)
}

/// As `outcome`, of what is known.
pub(crate) fn exit(ended: bool, exit: Option<i32>) -> String {
    match (ended, exit) {
        (_, Some(0)) => "ok".to_owned(),
        (_, Some(code @ 129..=192)) => format!("killed {}", signal(code - 128)),
        (_, Some(code)) => format!("exit {code}"),
        (true, None) => "ended".to_owned(),
        (false, None) => "running".to_owned(),
    }
}

/// True when a run is known to have ended badly.
pub(crate) fn failed(run: &RunRow) -> bool {
    run.exit.is_some_and(|code| code != 0)
}

/// How a version's writer let go of it, in words.
pub(crate) fn closed(closed: Closed, status: Option<i32>) -> String {
    match (closed, status) {
        (Closed::Explicit, _) => "closed by its writer".to_owned(),
        (Closed::Exit, Some(code)) => format!("left open by its writer, which exited with {code}"),
        (Closed::Exit, None) => "left open by its writer, which exited".to_owned(),
        (Closed::Killed, Some(n)) => format!("its writer was killed by {}", signal(n)),
        (Closed::Killed, None) => "its writer was killed".to_owned(),
    }
}

/// Why an input is an input, in words.
pub(crate) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Read => "read",
        Kind::Opened => "opened",
        Kind::Parent => "replaced by it",
        Kind::Set => "some member used",
        Kind::Code => "run as code",
    }
}

/// How near reader and writer were, in words.
pub(crate) fn grade(grade: Grade) -> &'static str {
    match grade {
        Grade::Copied => "copied by the kernel",
        Grade::SameProcess => "by its writer",
        Grade::ProcessTree => "in its process tree",
        Grade::Run => "elsewhere in the run",
    }
}

/// A state in a sentence, for those who meet it the first time.
pub(crate) fn state(state: State) -> &'static str {
    match state {
        State::Open => "open: someone is writing it",
        State::Held => "held: closed by its writer, but someone can still write it",
        State::Digesting => "digesting: its digest is queued or running",
        State::Waiting => "waiting: for the digest or the seal of an input",
        State::Sealed => "sealed: signed and stored",
        State::Logged => "logged: signed, stored, and in the transparency log",
        State::Incomplete => "incomplete: it could not be sealed",
        State::Superseded => {
            "superseded: written again before its digest was done; there is no manifest"
        }
        State::Unattested => "unattested: seen as an input, nobody sealed it",
        State::Excluded => "excluded: left out by configuration, never sealed",
        State::Empty => "empty: no bytes, so there is an entry here and no manifest",
    }
}

/// Whether anybody could have written while it was digested, in words.
pub(crate) fn quiet(quiet: Quiet) -> &'static str {
    match quiet {
        Quiet::Proven => "proven: nobody could write it while it was digested",
        Quiet::Held => "held: someone had it open for writing, and was not seen to write",
    }
}

/// Where the line between earlier and later inputs was drawn, in words.
pub(crate) fn cut(cut: Cut) -> &'static str {
    match cut {
        Cut::Write => "inputs opened before its last write",
        Cut::Close => "inputs opened before it was closed (may name too many)",
    }
}

/// Signal names of signal(7) that end programs; others by number.
fn signal(n: i32) -> String {
    let name = match n {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => return format!("signal {n}"),
    };
    name.to_owned()
}

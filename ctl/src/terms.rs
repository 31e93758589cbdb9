//! What a verdict of this command rests on: pinned authorities and reference values, the policy, collateral, the clock. Reads files, decides nothing.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use atlas_manifests::evidence::appraise::{Appraiser, Clock};
use atlas_manifests::evidence::collateral::{Collateral, MAX_COLLATERAL};
use atlas_manifests::evidence::policy::Policy;
use atlas_manifests::evidence::reference;
use atlas_manifests::given::{self, GivenError};
use atlas_manifests::log::quorum::Quorum;
use atlas_manifests::trust::{self, Anchors};
use atlas_manifests::verify::{LogTerms, Terms};
use clap::{Args, ValueHint};

use crate::exit::{Code, Failure};
use crate::view::out;

/// Where root keeps the policy for everybody on the machine.
const SYSTEM_POLICY: &str = "/etc/atlas/policy.toml";

/// What is demanded of hardware evidence.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Evidence")]
pub(crate) struct EvidenceArgs {
    /// What is demanded of hardware evidence and of logs [default: policy.toml in ~/.config/atlas, else in /etc/atlas, else nothing]
    #[arg(long, value_name = "FILE.toml", value_hint = ValueHint::FilePath)]
    pub policy: Option<PathBuf>,
    /// Intel's collateral, or a directory of it: beside what was captured with the evidence; may be given several times
    #[arg(long, value_name = "FILE.json|DIR", value_hint = ValueHint::AnyPath)]
    pub collateral: Vec<PathBuf>,
    /// Look at a simulator's evidence too, under this root; the verdict says SIMULATED
    #[arg(long, value_name = "ROOT.pem", value_hint = ValueHint::FilePath)]
    pub simulated_root: Option<PathBuf>,
    /// Let simulated evidence pass (else its exit code is 10)
    #[arg(long)]
    pub allow_simulated: bool,
}

/// Everything that `verify` rests on. `heads`: see `VerifyArgs`.
pub(crate) fn terms(
    trusted: &[PathBuf],
    args: &EvidenceArgs,
    heads: Option<&Path>,
) -> Result<Terms, Failure> {
    let anchors = Anchors::load(&trust::default_dirs(), trusted)
        .map_err(|e| Failure::error(e.to_string()))?;
    let (appraiser, witnesses) = demands(args)?;
    let heads = match heads {
        Some(none) if none == Path::new("none") => None,
        Some(dir) => Some(dir.to_owned()),
        None => usual_heads(),
    };
    Ok(Terms {
        anchors,
        appraiser,
        log: LogTerms { witnesses, heads },
    })
}

/// `$XDG_STATE_HOME/atlas/heads`, else in `~/.local/state`; `None` without a home, which is not made for this.
pub(crate) fn usual_heads() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    absolute("XDG_STATE_HOME")
        .or_else(|| {
            let home = absolute("HOME").filter(|h| h.is_dir());
            home.map(|h| h.join(".local/state"))
        })
        .map(|s| s.join("atlas/heads"))
}

/// What evidence is held against.
pub(crate) fn appraiser(args: &EvidenceArgs) -> Result<Appraiser, Failure> {
    demands(args).map(|(appraiser, _)| appraiser)
}

/// The same, and the witnesses that the policy names.
fn demands(args: &EvidenceArgs) -> Result<(Appraiser, Option<Quorum>), Failure> {
    let mut policy = match &args.policy {
        Some(file) => read_policy(file)?,
        None => match usual_policy() {
            Some(file) => {
                out::say(&format!("By the policy in {}.", file.display()));
                read_policy(&file)?
            }
            None => Policy::default(),
        },
    };
    if let Some(root) = &args.simulated_root {
        policy.simulated.root = Some(root.clone());
    }
    policy.simulated.allow |= args.allow_simulated;
    let named = policy
        .files(&reference::default_dirs())
        .map_err(|e| Failure::error(e.to_string()))?;
    let mut collateral = Vec::new();
    for place in &args.collateral {
        for file in files(place)? {
            let parsed = read(&file, MAX_COLLATERAL).and_then(|bytes| {
                Collateral::parse(&bytes)
                    .map_err(|e| Failure::error(format!("{}: {e}", file.display())))
            });
            match parsed {
                Ok(parsed) => collateral.push(parsed),
                // Of a directory what is something else is passed over, and told.
                Err(e) if file != *place => out::say(&format!("passed over: {}", e.text)),
                Err(e) => return Err(e),
            }
        }
    }
    // A clock before 1970 makes everything invalid, which is right.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let appraiser = Appraiser {
        policy,
        references: named.references,
        simulated_root: named.simulated_root,
        collateral,
        clock: Clock(now),
    };
    Ok((appraiser, named.witnesses))
}

/// One that cannot be read is an error; one that is wrong is like a wrong command line.
pub(crate) fn read_policy(file: &Path) -> Result<Policy, Failure> {
    let text = Policy::text(file).map_err(|e| Failure::error(format!("policy {e}")))?;
    Policy::parse(&text, file).map_err(|e| Failure::new(Code::USAGE, e.to_string()))
}

/// The user's, else the machine's; `None` when there is neither. One that cannot be reached is there all the same: reading it then says why.
fn usual_policy() -> Option<PathBuf> {
    let own = trust::user_dir().and_then(|d| Some(d.parent()?.join("policy.toml")));
    let missing = |p: &Path| match fs::symlink_metadata(p) {
        // A home that is closed to this user (sudo) holds no policy of his.
        Err(e) if own.as_deref() == Some(p) => {
            matches!(
                e.kind(),
                ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::NotADirectory
            )
        }
        Err(e) => e.kind() == ErrorKind::NotFound,
        Ok(_) => false,
    };
    own.iter()
        .cloned()
        .chain([PathBuf::from(SYSTEM_POLICY)])
        .find(|p| !missing(p))
}

/// The file, or every `*.json` of the directory.
fn files(place: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !place.is_dir() {
        return Ok(vec![place.to_owned()]);
    }
    let failed = |e: std::io::Error| Failure::io(place.display(), &e);
    let mut files = Vec::new();
    for entry in fs::read_dir(place).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let shown = file.display();
    given::read(file, limit).map_err(|e| match e {
        GivenError::Io(e) => Failure::io(shown, &e),
        GivenError::NotAFile => Failure::error(format!("{shown}: is no regular file")),
        GivenError::TooLong(_) => Failure::error(format!("{shown}: is too long")),
    })
}

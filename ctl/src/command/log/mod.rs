//! `atlasctl log`: transparency logs of ours and of others. What is true of a log is decided in `atlas_manifests::log`.

mod at;
mod check;
mod prove;
mod revoke;
mod serve;
mod show;
mod watch;
mod witness;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use atlas_manifests::given;
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::memory::MemoryError;
use atlas_manifests::log::note::{Signed, VerifierKey};
use atlas_manifests::log::quorum::{MAX_POLICY, Quorum, Says};
use atlas_manifests::log::reader::LogError;
use jiff::Timestamp;

use crate::cli::{Global, LogVerb};
use crate::exit::{Code, Failure};
use crate::view::out::Out;

/// How far a witness' clock may be ahead of ours, in seconds.
const SKEW: u64 = 300;
/// What was signed cannot be believed (CONTRACTS 5: evidence refused).
const REFUSED: Code = Code(6);

/// Does what the command line says.
pub(crate) fn log(verb: &LogVerb, global: &Global, out: &mut Out) -> Result<Code, Failure> {
    match verb {
        LogVerb::Show(args) => show::show(args, global, out),
        LogVerb::Prove(args) => prove::prove(args, global, out),
        LogVerb::Check(args) => check::check(args, global, out),
        LogVerb::Watch(args) => watch::watch(args, global, out),
        LogVerb::Revoke(args) => revoke::revoke(args, global, out),
        LogVerb::Serve(args) => serve::serve(args, global, out),
        LogVerb::Witness(args) => witness::witness(args, global, out),
    }
}

/// A policy of logs and witnesses.
fn policy(file: Option<&Path>) -> Result<Quorum, Failure> {
    let Some(file) = file else {
        return Ok(Quorum::none());
    };
    let shown = file.display();
    let bytes = given::read(file, MAX_POLICY as u64)
        .map_err(|e| Failure::error(format!("{shown}: {e}")))?;
    Quorum::parse(&bytes).map_err(|e| Failure::new(Code::USAGE, format!("{shown}: {e}")))
}

/// The key that signed a checkpoint, among those that are believed: given, or in the policy.
fn signer(
    checkpoint: &Checkpoint,
    given: &[VerifierKey],
    policy: &Quorum,
) -> Result<VerifierKey, Failure> {
    let origin = &checkpoint.head.origin;
    let refused = |why: &str| Err(Failure::new(Code::NOT_TRUSTED, format!("{origin}: {why}")));
    let known = || given.iter().chain(policy.logs().iter().map(|l| &l.key));
    if known().next().is_none() {
        return refused(
            "nobody who is trusted says whose key it is: give --key VKEY or --policy FILE, or pin its authority with atlasctl trust add",
        );
    }
    if known().any(|k| checkpoint.signed_by_log(k) == Signed::Forged) {
        return refused(
            "a signature is not by the key that it names: believe nothing of this checkpoint",
        );
    }
    match known().find(|k| checkpoint.signed_by_log(k) == Signed::Yes) {
        Some(key) => Ok(key.clone()),
        None => refused("no key that was given signed its checkpoint: ask the log's operator"),
    }
}

/// Why the witnesses of a policy are not enough; `None`: they are.
fn witnesses(checkpoint: &Checkpoint, policy: &Quorum) -> Option<String> {
    let judged = policy.judge(checkpoint, Some(now()), SKEW);
    if judged.met {
        return None;
    }
    let mut why = vec!["too few witnesses cosigned".to_owned()];
    for (witness, says) in policy.witnesses().iter().zip(&judged.witnesses) {
        let name = witness.label();
        match says {
            Says::Nothing | Says::Cosigned(_) => {}
            Says::Forged => why.push(format!("a line of {name} is forged")),
            Says::Future(time) => why.push(format!("{name} cosigned at {}", moment(*time))),
            Says::Undated => why.push(format!("{name} cosigned without a time")),
        }
    }
    Some(why.join("; "))
}

/// What cannot be read is no evidence against a log; what is damaged is.
fn failed(what: &str, error: &LogError) -> Failure {
    let code = match error {
        LogError::Empty(_) => Code::NO_MANIFEST,
        LogError::Damaged { .. } | LogError::Checkpoint(_) => REFUSED,
        LogError::Source(_) | LogError::Beyond { .. } => Code::ERROR,
    };
    Failure::new(code, format!("{what}: {error}"))
}

fn forgotten(error: &MemoryError) -> Failure {
    let code = match error {
        MemoryError::Unsigned { .. } => Code::NOT_TRUSTED,
        _ => Code::ERROR,
    };
    Failure::new(code, error.to_string())
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// A time as people read it.
fn moment(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|s| Timestamp::from_second(s).ok())
        .map_or_else(|| format!("second {seconds}"), |t| t.to_string())
}

//! The command line of `log`: a transparency log shown, proven, checked, watched, served and witnessed. Not what the verbs do.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use atlas_manifests::id::InstanceId;
use atlas_manifests::log::leaf::Reason;
use atlas_manifests::log::note::{KeyKind, VerifierKey};
use clap::{Args, Subcommand, ValueHint};

/// `atlasctl log`.
#[derive(Debug, Subcommand)]
pub(crate) enum LogVerb {
    /// Show a log's newest checkpoint and who signed it, or one of its leaves
    Show(LogShowArgs),
    /// Write the proof that a file's manifest is in a log
    Prove(LogProveArgs),
    /// Check a proof, or every leaf and every hash of a log
    #[command(after_long_help = "\
A proof is checked with what it proves: --manifest FILE.c2pa, or its digest. Of a log everything is read: each leaf against its hash, each \
hash against the checkpoint's root, and whether the leaves can be true together: an instance begins once, nothing of it follows its last \
anchor, anchors count right, no key has two owners. Each breach is one line.

The log's key is given by --key, or stands in the policy (C2SP tlog-policy; Ed25519 keys); without either it is the one that an authority pinned \
here certified. What the log says of its own key is no reason to believe it.

Exit codes: 5 when no key that was given signed it; 6 when a proof does not hold, a rule is broken, or too few witnesses cosigned; 0 when \
all is well.")]
    Check(LogCheckArgs),
    /// Remember a log's heads, and find out when it takes something back or shows another history
    #[command(after_long_help = "\
Heads are remembered below --state, else in ~/.local/state/atlas/heads, as those that verify saw. The log must prove that it grew from \
what is remembered. If it shows a smaller head, or one that does not extend what is remembered, both checkpoints are printed in full and \
kept in `evidence` there: signed by one key they convict it.

Without --key and --policy the key is believed that an authority pinned here certified, else the one that the log named first.

Exit codes: 6 when the log does not fit to what is remembered; 5 when its key did not sign; 1 when it cannot be read.")]
    Watch(LogWatchArgs),
    /// Have a mount's daemon say in its log that a manifest, or all that an instance seals, is not to be believed any more
    #[command(after_long_help = "\
Nothing is taken out of the log. A revoked manifest is void. Of a revoked instance everything is void that is logged after the revocation, or not \
at all. Only root and the daemon's own user may, and it cannot be taken back.")]
    Revoke(LogRevokeArgs),
    /// Serve a log to others, read-only (C2SP tlog-tiles)
    #[command(after_long_help = "\
Served are checkpoint, tiles, entries, keys and certificate.pem as they lie in the log's directory, and proof/HEX for a manifest's SHA-256. \
There is no TLS: put a proxy before it where others than this machine are to reach it.")]
    Serve(LogServeArgs),
    /// Run a witness: cosign what extends what was cosigned before (C2SP tlog-witness)
    #[command(after_long_help = "\
The witness lives in the directory --state: its key (witness.key, made at the first start, with --name), its public key (witness.vkey), and \
the last head of each log. Lost heads are lost trust: never restore an old copy of them. Logs that are not named are refused.

It signs with Ed25519 (cosignature/v1); ML-DSA-44 is not there yet. There is no TLS: put a proxy before it.

Example: atlasctl log witness --state /var/lib/witness --name example.org/w1 --policy logs.policy")]
    Witness(LogWitnessArgs),
}

/// `atlasctl log show`.
#[derive(Debug, Args)]
pub(crate) struct LogShowArgs {
    /// A log's directory or URL, or a path on a mount or in a backing directory; the working directory unless given
    #[arg(value_name = "PATH|URL|DIR", value_hint = ValueHint::AnyPath)]
    pub log: Option<OsString>,
    /// Show this leaf, counted from 0
    #[arg(long, value_name = "N")]
    pub leaf: Option<u64>,
    /// Whose signatures count: a policy in the format of C2SP tlog-policy
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub policy: Option<PathBuf>,
}

/// `atlasctl log prove`.
#[derive(Debug, Args)]
pub(crate) struct LogProveArgs {
    /// A file that was sealed, a content's digest, or a manifest's sha256:HEX
    #[arg(value_name = "PATH|DIGEST", value_hint = ValueHint::AnyPath)]
    pub what: OsString,
    /// Write the proof to this file
    #[arg(long, short, value_name = "FILE.tlog-proof", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// The log's directory or URL, when it is not the node's own
    #[arg(long, value_name = "DIR|URL", value_hint = ValueHint::AnyPath)]
    pub log: Option<OsString>,
    /// Replace the file if it is there
    #[arg(long)]
    pub force: bool,
}

/// `atlasctl log check`.
#[derive(Debug, Args)]
pub(crate) struct LogCheckArgs {
    /// A proof, or a log's directory or URL
    #[arg(value_name = "PROOF|DIR|URL", value_hint = ValueHint::AnyPath)]
    pub what: OsString,
    /// The log's key; may be given several times
    #[arg(long, value_name = "VKEY", value_parser = log_key)]
    pub key: Vec<VerifierKey>,
    /// The logs that are believed, and how many witnesses must have cosigned (C2SP tlog-policy)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub policy: Option<PathBuf>,
    /// What a proof must prove
    #[arg(long, value_name = "FILE.c2pa|sha256:HEX", value_hint = ValueHint::FilePath)]
    pub manifest: Option<OsString>,
    /// Which instance sealed it, when the proof does not bring the leaf along
    #[arg(long, value_name = "ID", requires = "manifest")]
    pub instance: Option<InstanceId>,
}

/// `atlasctl log watch`.
#[derive(Debug, Args)]
pub(crate) struct LogWatchArgs {
    /// A log's directory or URL
    #[arg(value_name = "DIR|URL", value_hint = ValueHint::AnyPath)]
    pub log: OsString,
    /// The log's key; may be given several times
    #[arg(long, value_name = "VKEY", value_parser = log_key)]
    pub key: Vec<VerifierKey>,
    /// The logs that are believed, and how many witnesses must have cosigned (C2SP tlog-policy)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub policy: Option<PathBuf>,
    /// Seconds from one look to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub interval: u64,
    /// Look once
    #[arg(long)]
    pub once: bool,
}

/// `atlasctl log revoke`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("revoked").required(true).args(["what", "instance"]))]
pub(crate) struct LogRevokeArgs {
    /// A file that was sealed, a content's digest, or a manifest's sha256:HEX
    #[arg(value_name = "PATH|DIGEST", value_hint = ValueHint::AnyPath)]
    pub what: Option<OsString>,
    /// A life of a daemon that is over, as leaves and manifests name it
    #[arg(long, value_name = "ID")]
    pub instance: Option<InstanceId>,
    /// Why
    #[arg(long, value_name = "REASON", value_parser = Reason::ALL.map(Reason::as_str))]
    pub reason: String,
    /// The mount whose daemon says it, when it is not the file's
    #[arg(long, value_name = "MOUNTPOINT", value_hint = ValueHint::DirPath)]
    pub at: Option<PathBuf>,
}

/// `atlasctl log serve`.
#[derive(Debug, Args)]
pub(crate) struct LogServeArgs {
    /// A log's directory, or a path on a mount or in a backing directory; the working directory unless given
    #[arg(value_name = "PATH|DIR", value_hint = ValueHint::AnyPath)]
    pub log: Option<OsString>,
    /// Where to listen; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8790")]
    pub listen: SocketAddr,
}

/// `atlasctl log witness`.
#[derive(Debug, Args)]
pub(crate) struct LogWitnessArgs {
    /// The key of a log to cosign; may be given several times
    #[arg(long = "log", value_name = "VKEY", value_parser = log_key)]
    pub logs: Vec<VerifierKey>,
    /// Cosign the logs of this policy too (its `log` lines)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub policy: Option<PathBuf>,
    /// What a new witness is called, as in example.org/w1
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Where to listen; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8791")]
    pub listen: SocketAddr,
}

/// A vkey of a log: its name is the origin.
fn log_key(text: &str) -> Result<VerifierKey, String> {
    let key: VerifierKey = text.parse().map_err(|_| {
        "expected NAME+ID+KEY, a log's Ed25519 verifier key (C2SP signed-note)".to_owned()
    })?;
    match key.kind() {
        KeyKind::Ed25519 => Ok(key),
        KeyKind::Cosignature => Err("is the key of a witness, not of a log".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Verb};
    use clap::Parser as _;

    #[test]
    fn a_witness_key_is_no_log_key_and_the_state_is_the_one_of_every_verb() {
        let log = VerifierKey::new("l.example", KeyKind::Ed25519, [7; 32]).unwrap();
        let witness = VerifierKey::new("w.example", KeyKind::Cosignature, [7; 32]).unwrap();
        let of = |key: &VerifierKey| {
            Cli::try_parse_from([
                "atlasctl",
                "log",
                "witness",
                "--state",
                "d",
                "--log",
                &key.to_string(),
            ])
        };
        assert!(of(&witness).is_err());
        let cli = of(&log).unwrap();
        assert_eq!(cli.global.state, Some("d".into()));
        let Verb::Log(LogVerb::Witness(args)) = cli.verb else {
            panic!("not a witness");
        };
        assert_eq!(args.logs, [log]);
        assert!(args.listen.ip().is_loopback());
    }
}

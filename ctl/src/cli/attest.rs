//! The command line of `attest`: evidence shown, asked for, written and checked. Not what the verb does.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use atlas_manifests::digest::{hex, unhex};
use atlas_manifests::evidence::binding::MAX_NONCE;
use clap::{Args, Subcommand, ValueHint};

use crate::terms::EvidenceArgs;

/// `atlasctl attest`.
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
#[command(after_long_help = "\
What is shown is what the evidence says; nothing of it is checked. An auditor checks it elsewhere, against a nonce of their own:

    atlasctl attest --nonce HEX -o FILE.atlas            where the daemon runs
    atlasctl attest verify FILE.atlas --nonce HEX        anywhere else

Without --nonce it is the evidence that there is already: of a daemon that of its instance and its newest anchor, of a state \
directory without a daemon all that was kept. -o writes the newest, with everything it builds on.

Exit codes: 3 when there is no evidence; 9 when no daemon answers and one is needed.")]
pub(crate) struct AttestArgs {
    /// What else there is to do.
    #[command(subcommand)]
    pub verb: Option<AttestVerb>,
    /// A mount, a path on it, or a backing directory; the working directory unless given
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub at: Option<PathBuf>,
    /// Ask for a fresh quote that answers these 1 to 64 bytes in hex, or 32 random ones for `random`; takes seconds
    #[arg(long, value_name = "HEX|random")]
    pub nonce: Option<Nonce>,
    /// Write what an auditor needs to this file: the record, the records before it, and their collateral
    #[arg(long, short, value_name = "FILE.atlas", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long, requires = "output")]
    pub force: bool,
}

/// What else `atlasctl attest` does.
#[derive(Debug, Subcommand)]
pub(crate) enum AttestVerb {
    /// Check evidence that another machine gave; needs no daemon
    #[command(after_long_help = "\
Each check of evidence must come to something: what was booted is known only by reference values (atlasctl reference), and that the \
evidence is fresh only by a nonce.

Exit codes: 6 when it is refused, or something that is demanded is missing; 10 when it is a simulator's; 0 when it is good.")]
    Verify(AttestVerifyArgs),
}

/// `atlasctl attest verify`.
#[derive(Debug, Args)]
pub(crate) struct AttestVerifyArgs {
    /// What `atlasctl attest -o` wrote, or a record alone
    #[arg(value_name = "EVIDENCE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// What it must answer, in hex
    #[arg(long, value_name = "HEX", value_parser = given)]
    pub nonce: Option<Nonce>,
    /// What it is held against.
    #[command(flatten)]
    pub evidence: EvidenceArgs,
}

/// A verifier's nonce, or the wish for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Nonce {
    /// These bytes.
    Given(Vec<u8>),
    /// Any.
    Random,
}

impl FromStr for Nonce {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "random" => Ok(Self::Random),
            text => given(text),
        }
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(bytes) => f.write_str(&hex(bytes)),
            Self::Random => f.write_str("random"),
        }
    }
}

/// Bytes in hex, in either case.
fn given(text: &str) -> Result<Nonce, String> {
    unhex(&text.to_ascii_lowercase())
        .filter(|b| (1..=MAX_NONCE).contains(&b.len()))
        .map(Nonce::Given)
        .ok_or_else(|| format!("expected 1 to {MAX_NONCE} bytes in hex"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Verb};
    use clap::Parser as _;

    fn parsed(args: &[&str]) -> Option<AttestArgs> {
        match Cli::try_parse_from([&["atlasctl", "attest"], args].concat()) {
            Ok(Cli {
                verb: Verb::Attest(args),
                ..
            }) => Some(args),
            _ => None,
        }
    }

    #[test]
    fn a_nonce_that_no_quote_can_answer_is_refused_before_anybody_is_asked() {
        for bad in ["", "0", "0g", "zz", "0x00", &"00".repeat(65)] {
            assert!(bad.parse::<Nonce>().is_err(), "{bad:?}");
        }
        assert_eq!("00Ff".parse(), Ok(Nonce::Given(vec![0, 0xff])));
        assert_eq!("00Ff".parse::<Nonce>().unwrap().to_string(), "00ff");
        assert!("ab".repeat(64).parse::<Nonce>().is_ok());
        assert_eq!("random".parse(), Ok(Nonce::Random));
        let verify = |nonce| parsed(&["verify", "f", "--nonce", nonce]);
        assert!(verify("00").is_some());
        assert!(
            verify("random").is_none(),
            "nothing answers a nonce that is made up now"
        );
    }

    #[test]
    fn a_path_and_the_verb_that_checks_are_told_apart() {
        let shown = parsed(&["dir", "-o", "f", "--force", "--nonce", "random"]).unwrap();
        assert!(shown.verb.is_none() && shown.force);
        assert_eq!(shown.at, Some("dir".into()));
        let checked = parsed(&["--json", "verify", "f", "--allow-simulated"]).unwrap();
        assert!(matches!(checked.verb, Some(AttestVerb::Verify(_))));
        assert!(checked.at.is_none());
        assert!(parsed(&["verify"]).is_none(), "what?");
        assert!(parsed(&["--force"]).is_none(), "force what?");
    }
}

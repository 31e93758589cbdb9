//! The command line of `policy` and `reference`: what a verifier demands of hardware evidence. Not what the verbs do.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

/// `atlasctl policy`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Check a policy and every file that it names, and say what it demands
    #[command(after_long_help = "\
Exit codes: 2 when the policy itself is wrong (the line and the field are named); 1 when a file that it names cannot be used, \
5 when nobody known signed that; 0 when it can be used.")]
    Check {
        /// The policy, in TOML
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Print a policy with every field, also those that it leaves out
    Show {
        /// The policy, in TOML; the default one unless given
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Print the JSON schema of policies
    Schema,
}

/// `atlasctl reference`.
#[derive(Debug, Subcommand)]
pub(crate) enum ReferenceVerb {
    /// Believe what a file vouches for from now on
    #[command(after_long_help = "\
Pinned for everybody in /etc/atlas/reference by root, else in ~/.config/atlas/reference. With --signer the key is pinned too: what the \
same person signs later needs no --signer any more.")]
    Add {
        /// Signed reference values (see `atlasctl reference sign`)
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Whose signature it must be: an Ed25519 public key, or a certificate with one
        #[arg(long, value_name = "KEY.pem", value_hint = ValueHint::FilePath)]
        signer: Option<PathBuf>,
        /// Believe it although nobody signed it
        #[arg(long, conflicts_with = "signer")]
        unsigned: bool,
    },
    /// List the reference values that are believed
    List,
    /// Believe reference values no longer
    Rm {
        /// The SHA-256 of the file, or 8 and more of its hex digits
        #[arg(value_name = "FINGERPRINT")]
        fingerprint: String,
    },
    /// Sign a draft
    Sign(SignArgs),
    /// Draft reference values from evidence, or from files as they are now
    Draft(DraftArgs),
}

/// `atlasctl reference sign`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
What is written is a DSSE envelope. Whoever adds it needs the public key: openssl pkey -in KEY.pem -pubout")]
pub(crate) struct SignArgs {
    /// What is vouched for (see `atlasctl reference draft`)
    #[arg(value_name = "DRAFT.json", value_hint = ValueHint::FilePath)]
    pub draft: PathBuf,
    /// The Ed25519 private key, PKCS #8 in PEM (openssl genpkey -algorithm ed25519)
    #[arg(long, value_name = "KEY.pem", value_hint = ValueHint::FilePath)]
    pub key: PathBuf,
    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long, requires = "output")]
    pub force: bool,
}

/// `atlasctl reference draft`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("from").required(true).multiple(true).args(["evidence", "artifact"]))]
#[command(after_long_help = "\
Printed is what was booted, or what the files hold now. That it is good is for you to say: compare it with what the image's or the data's \
maker publishes, then sign it with atlasctl reference sign.

Example: atlasctl reference draft --name 'MNIST 1.0' --artifact train.csv test.csv > mnist.json")]
pub(crate) struct DraftArgs {
    /// Evidence whose measurements are written down: what atlasctl attest -o wrote, a record alone, or a TDX quote
    #[arg(value_name = "EVIDENCE", value_hint = ValueHint::FilePath)]
    pub evidence: Option<PathBuf>,
    /// What it is called: an image and its version, a data set
    #[arg(long, value_name = "NAME", required = true)]
    pub name: String,
    /// Files whose contents are written down
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = ValueHint::FilePath)]
    pub artifact: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use crate::cli::Cli;
    use clap::Parser as _;

    #[test]
    fn a_slip_in_a_command_about_belief_is_refused() {
        let fits = |args: &[&str]| {
            Cli::try_parse_from([&["atlasctl", "reference"], args].concat()).is_ok()
        };
        assert!(fits(&["draft", "--artifact", "a", "b", "--name", "n"]));
        assert!(fits(&["draft", "evidence", "--name", "n"]));
        assert!(!fits(&["draft", "--name", "n"]), "nothing to draft from");
        assert!(!fits(&["draft", "evidence"]), "a draft without a name");
        assert!(!fits(&["add", "f", "--signer", "k", "--unsigned"]));
        assert!(!fits(&["sign", "f"]), "no key");
        assert!(
            !fits(&["sign", "f", "--key", "k", "--force"]),
            "force what?"
        );
    }
}

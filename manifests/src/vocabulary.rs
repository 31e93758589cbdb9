//! The words of DESIGN section 2 as types: states, kinds, grades. Plain data, no behaviour beyond order and spelling.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),* }

        impl $name {
            /// Every variant, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// The word as it is written everywhere.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|w| w.as_str() == text).ok_or_else(|| {
                    let all: Vec<_> = Self::ALL.iter().map(|w| w.as_str()).collect();
                    format!("{text:?} is not one of {}", all.join(", "))
                })
            }
        }
    };
}

words!(
    /// What has become of a version (CONTRACTS 3).
    State {
        /// Someone holds it open for writing.
        Open = "open",
        /// Closed by its writer, but someone can still write it.
        Held = "held",
        /// Its digest is queued or running.
        Digesting = "digesting",
        /// Digested; waits for the digest or the seal of an input.
        Waiting = "waiting",
        /// Signed and durably stored.
        Sealed = "sealed",
        /// Sealed, and a leaf of the transparency log.
        Logged = "logged",
        /// Could not be sealed: its bytes could not be read, or the daemon stopped before it could.
        Incomplete = "incomplete",
        /// Written again before its digest was done: record and edges are kept, no manifest.
        Superseded = "superseded",
        /// Digested as an input; nobody sealed it.
        Unattested = "unattested",
        /// Left out by configuration; tracked as an input, never sealed.
        Excluded = "excluded",
        /// No bytes: an entry in the index and no manifest.
        Empty = "empty",
    }
);

words!(
    /// How a version's writer let go of it. None of these says that the content is complete.
    Closed {
        /// By close(2).
        Explicit = "explicit",
        /// By the writer's exit.
        Exit = "exit",
        /// By a signal that killed the writer.
        Killed = "killed",
    }
);

words!(
    /// Whether anybody could write a version while it was digested.
    Quiet {
        /// Nobody could.
        Proven = "proven",
        /// Someone held it open for writing; it was watched, and nobody did.
        Held = "held",
    }
);

words!(
    /// Where the line between earlier and later inputs of a version was drawn.
    Cut {
        /// Before its last observed write.
        Write = "write",
        /// Before the event that ended it: over-approximates.
        Close = "close",
    }
);

words!(
    /// Why an input is an input (CONTRACTS 7).
    Kind {
        /// Its bytes were seen to go to the reader.
        Read = "read",
        /// Opened for reading; a mapped file cannot be told from an unread one.
        Opened = "opened",
        /// The version that the output replaces.
        Parent = "parent",
        /// Some member of a registered set.
        Set = "set",
        /// A program file, library or script that a process executed or imported.
        Code = "code",
    }
);

words!(
    /// How near reader and writer were: smaller is nearer, so `g <= Grade::ProcessTree` is "process-tree or better".
    Grade {
        /// The kernel copied or cloned the bytes.
        Copied = "copied",
        /// One process did both.
        SameProcess = "same-process",
        /// A common ancestor inside the run, or a shared pipe.
        ProcessTree = "process-tree",
        /// Anything else in the run.
        Run = "run",
    }
);

words!(
    /// One finding of a verdict (AR4SI trust vector).
    Tier {
        /// Checked, and good.
        Affirming = "affirming",
        /// Checked, and something a reader should know.
        Warning = "warning",
        /// Checked, and bad.
        Contraindicated = "contraindicated",
        /// Nothing there to check. Never a tick.
        None = "none",
    }
);

words!(
    /// How processes came to be one run.
    RunHow {
        /// `atlasctl run` declared it.
        Declared = "declared",
        /// A cgroup made for one job.
        Cgroup = "cgroup",
        /// A process tree.
        Tree = "tree",
    }
);

words!(
    /// Whether the job could have reached the backing files except through the daemon.
    Confined {
        /// It held no capability that leads around the mount.
        Confined = "confined",
        /// It ran with capabilities that lead around the mount.
        Root = "root",
        /// SOURCE is reachable beside the mount point (not mounted in place), or it could not be told.
        Open = "open",
    }
);

words!(
    /// What stands behind the signing key.
    Hardware {
        /// A locally held key, nothing else.
        None = "none",
        /// A key born in an Intel TDX guest, bound by a quote.
        Tdx = "tdx",
        /// The same by a simulator: proves nothing.
        Simulated = "simulated",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nearer_grade_is_smaller_so_a_minimum_can_be_asked_for() {
        assert!(
            Grade::Copied < Grade::SameProcess
                && Grade::SameProcess < Grade::ProcessTree
                && Grade::ProcessTree < Grade::Run
        );
    }

    #[test]
    fn a_word_reads_back_and_an_unknown_one_names_the_known() {
        assert_eq!("process-tree".parse(), Ok(Grade::ProcessTree));
        assert!(
            "near"
                .parse::<Grade>()
                .unwrap_err()
                .contains("same-process")
        );
    }
}

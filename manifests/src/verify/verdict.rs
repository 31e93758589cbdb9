//! What verification says (CONTRACTS 5 and 7): checks, reasons, exit codes and their order. Not how it comes to say so.

use serde::{Deserialize, Serialize};

use crate::bytes::PathBytes;
use crate::digest::{Blake3, Sha256};
use crate::evidence::appraise::Facts;
use crate::vocabulary::Tier;

use super::transparency::LogFacts;

/// Exit codes of CONTRACTS 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i32)]
pub enum Code {
    /// All is well.
    Ok = 0,
    /// Something else went wrong: a file cannot be read, or changed meanwhile.
    Other = 1,
    /// Usage.
    Usage = 2,
    /// There is no manifest.
    NoManifest = 3,
    /// The content is not what the manifest says.
    Differs = 4,
    /// Signature or certificate not trusted.
    Untrusted = 5,
    /// Evidence refused.
    Evidence = 6,
    /// The writer was killed, or a set's member is missing or extra.
    Incomplete = 7,
    /// An ancestor cannot be verified.
    Ancestor = 8,
    /// The daemon cannot be reached.
    Daemon = 9,
    /// The evidence is simulated.
    Simulated = 10,
    /// Interrupted.
    Interrupted = 130,
}

impl Code {
    /// The order of CONTRACTS 5: of several findings, the first here is the exit code.
    pub const ORDER: [Self; 12] = [
        Self::Usage,
        Self::Interrupted,
        Self::Other,
        Self::Untrusted,
        Self::Evidence,
        Self::Differs,
        Self::Incomplete,
        Self::Ancestor,
        Self::Simulated,
        Self::NoManifest,
        Self::Daemon,
        Self::Ok,
    ];

    /// As a process exits with it.
    pub const fn number(self) -> i32 {
        self as i32
    }

    fn rank(self) -> usize {
        Self::ORDER.iter().position(|c| *c == self).unwrap_or(0)
    }

    /// Of two findings, the one to exit with.
    pub fn worst(self, other: Self) -> Self {
        if self.rank() <= other.rank() {
            self
        } else {
            other
        }
    }

    /// The code with this number; anything unknown is `Other`, which is a failure.
    pub fn from_number(n: i32) -> Self {
        Self::ORDER
            .into_iter()
            .find(|c| c.number() == n)
            .unwrap_or(Self::Other)
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_i32(self.number())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        i32::deserialize(d).map(Self::from_number)
    }
}

/// Pass, fail, or nothing to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every check that there is was made, and none failed.
    Pass,
    /// A check failed, or could not be made.
    Fail,
    /// The file is empty or excluded: nothing was sealed, and nothing was checked. Only of single files.
    Skipped,
}

/// The checks of CONTRACTS 7, all always there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checks {
    /// The bytes are those that were sealed.
    pub artifact: Tier,
    /// The manifest is whole and signed by somebody trusted.
    pub signature: Tier,
    /// Every ancestor's manifest is there, whole, trusted, and about what was recorded.
    pub lineage: Tier,
    /// Every input is known by a manifest of its own.
    pub inputs: Tier,
    /// How the writer let go.
    pub completeness: Tier,
    /// What stands behind the key.
    pub hardware: Tier,
    /// The platform's patch level.
    pub tcb: Tier,
    /// What was booted.
    pub measurements: Tier,
    /// That the key belongs to what was booted.
    pub key_binding: Tier,
    /// What RTMR3 was extended by until the evidence was made. What came after is in later evidence.
    pub runtime_log: Tier,
    /// That all this is of its time.
    pub freshness: Tier,
    /// That the manifest is in a public log.
    pub transparency: Tier,
}

impl Checks {
    /// Nothing checked.
    pub const NONE: Self = Self {
        artifact: Tier::None,
        signature: Tier::None,
        lineage: Tier::None,
        inputs: Tier::None,
        completeness: Tier::None,
        hardware: Tier::None,
        tcb: Tier::None,
        measurements: Tier::None,
        key_binding: Tier::None,
        runtime_log: Tier::None,
        freshness: Tier::None,
        transparency: Tier::None,
    };
}

/// Why a check is not affirming.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The exit code that it stands for; 0 for a warning.
    pub code: Code,
    /// One line. May hold names from untrusted sources, escaped.
    pub text: String,
    /// What to do; empty when there is nothing to do.
    pub remedy: String,
}

/// What was found about one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileVerdict {
    /// As asked for, lossily.
    pub path: String,
    /// Exactly, when it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path_b64: Option<String>,
    /// What the bytes are now; `None` when they could not be read.
    pub digest: Option<Blake3>,
    /// In a word.
    pub verdict: Outcome,
    /// The exit code.
    pub code: Code,
    /// Every check.
    pub checks: Checks,
    /// Failures first.
    pub reasons: Vec<Reason>,
    /// The manifest that was checked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub manifest: Option<Sha256>,
    /// Who signed it, as the certificate says; only when trusted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signer: Option<String>,
    /// What the evidence behind its key says; only when there is some.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evidence: Option<Facts>,
    /// Where it stands in its node's log; only when a proof was read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub transparency: Option<LogFacts>,
    /// Who vouches for the content itself, by reference values.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reference: Option<String>,
    /// How many ancestors were checked by their manifests.
    pub ancestors: u64,
    /// For a file that is attested as a member of a registered set, and passes: that set in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub member_of: Option<String>,
}

impl FileVerdict {
    /// Nothing found yet.
    pub(super) fn new(path: &PathBytes) -> Self {
        Self {
            path: path.lossy(),
            path_b64: path.b64_if_needed(),
            digest: None,
            verdict: Outcome::Pass,
            code: Code::Ok,
            checks: Checks::NONE,
            reasons: Vec::new(),
            manifest: None,
            signer: None,
            evidence: None,
            transparency: None,
            reference: None,
            ancestors: 0,
            member_of: None,
        }
    }

    /// A verdict that no check was reached for, for example because the file cannot be opened.
    pub fn failed(path: &PathBytes, code: Code, text: String, remedy: &str) -> Self {
        Self::new(path).fail(code, text, remedy)
    }

    /// A file that was never to be sealed: says so, and neither passes nor fails.
    pub fn skipped(path: &PathBytes, text: &str) -> Self {
        let mut v = Self::new(path).warn(text.to_owned(), "");
        v.verdict = Outcome::Skipped;
        v
    }

    pub(super) fn fail(mut self, code: Code, text: String, remedy: &str) -> Self {
        self.add_failure(code, text, remedy);
        self
    }

    pub(super) fn add_failure(&mut self, code: Code, text: String, remedy: &str) {
        self.verdict = Outcome::Fail;
        self.code = self.code.worst(code);
        let remedy = remedy.to_owned();
        self.reasons.push(Reason { code, text, remedy });
        self.reasons.sort_by_key(|r| r.code.rank());
    }

    pub(super) fn warn(mut self, text: String, remedy: &str) -> Self {
        self.add_warning(text, remedy);
        self
    }

    pub(super) fn add_warning(&mut self, text: String, remedy: &str) {
        self.reasons.push(Reason {
            code: Code::Ok,
            text,
            remedy: remedy.to_owned(),
        });
    }
}

/// What `verify --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// `pass` when no file fails, and at least one passes or is skipped.
    pub verdict: Outcome,
    /// The exit code of the whole.
    pub code: Code,
    /// One for each file.
    pub files: Vec<FileVerdict>,
}

impl Report {
    /// Of these files. Without any there is nothing that could pass.
    pub fn of(files: Vec<FileVerdict>) -> Self {
        let none = if files.is_empty() {
            Code::NoManifest
        } else {
            Code::Ok
        };
        let code = files.iter().fold(none, |c, f| c.worst(f.code));
        Self {
            verdict: if code == Code::Ok {
                Outcome::Pass
            } else {
                Outcome::Fail
            },
            code,
            files,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_findings_the_exit_code_is_the_first_of_the_contract() {
        let order = [2, 130, 1, 5, 6, 4, 7, 8, 10, 3, 9, 0];
        for (i, a) in order.into_iter().enumerate() {
            for (j, b) in order.into_iter().enumerate() {
                let worst = Code::from_number(a).worst(Code::from_number(b));
                assert_eq!(worst.number(), order[i.min(j)], "{a} and {b}");
            }
        }
        assert_eq!(Code::from_number(77), Code::Other, "unknown is a failure");
    }

    #[test]
    fn all_twelve_checks_stand_in_the_json_under_their_names() {
        let json = serde_json::to_value(FileVerdict::new(&"a".into())).unwrap();
        let names: Vec<_> = json["checks"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        let mut want = [
            "artifact",
            "signature",
            "lineage",
            "inputs",
            "completeness",
            "hardware",
            "tcb",
            "measurements",
            "key-binding",
            "runtime-log",
            "freshness",
            "transparency",
        ];
        want.sort_unstable();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, want);
    }

    #[test]
    fn nothing_verified_is_not_a_pass() {
        assert_eq!(Report::of(Vec::new()).verdict, Outcome::Fail);
    }
}

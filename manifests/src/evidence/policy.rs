//! What a verifier demands of evidence, each allowance by name (`policy.toml`, FORMAT.md 7.6). Text to values only: it judges nothing.

mod files;
mod place;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::unhex;

pub use files::PolicyFiles;

/// A verifier's policy for hardware evidence. Every field has a default; an unknown field is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(title = "Atlas verification policy")]
pub struct Policy {
    /// Whether there must be evidence at all.
    pub evidence: Demand,
    /// What the processor may be.
    pub platform: PlatformPolicy,
    /// What the trust domain may be.
    pub td: TdPolicy,
    /// Which patch levels are accepted.
    pub tcb: TcbPolicy,
    /// What must have been booted.
    pub measurements: MeasurementPolicy,
    /// What may have extended RTMR3.
    pub runtime_log: RuntimeLogPolicy,
    /// How old evidence may be.
    pub freshness: FreshnessPolicy,
    /// Whether a simulator's evidence is looked at.
    pub simulated: SimulatedPolicy,
    /// What is known of contents.
    pub artifacts: ArtifactPolicy,
    /// What the transparency log must show.
    pub log: LogPolicy,
}

/// Whether there must be evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Demand {
    /// Whose evidence must be good: nobody's (what is there must still not be bad), the file's own, or also that of every ancestor.
    pub require: Require,
}

/// Whose evidence must be good.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Require {
    /// Nobody's: without evidence a verdict says `hardware: none` and may pass.
    #[default]
    Nothing,
    /// That of the file that is verified.
    File,
    /// That of the file and of every ancestor that has a manifest.
    Lineage,
}

/// What the processor may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct PlatformPolicy {
    /// Hyperthreading may be on.
    pub allow_smt: bool,
    /// Packages may be added to the platform later, as on almost every server.
    pub allow_dynamic_platform: bool,
    /// Intel may keep the platform's root keys, as on almost every server.
    pub allow_cached_keys: bool,
    /// Only these platforms, by PPID in hex; all when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppid: Option<Vec<String>>,
}

impl Default for PlatformPolicy {
    fn default() -> Self {
        Self {
            allow_smt: true,
            allow_dynamic_platform: true,
            allow_cached_keys: true,
            ppid: None,
        }
    }
}

/// What the trust domain may be. Profiling, migration and visible EPT violations are never accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TdPolicy {
    /// The host may look into it. Everything that such a TD says is worthless.
    pub allow_debug: bool,
    /// Service TDs (for example for migration) may be bound to it.
    pub allow_service_td: bool,
}

/// Which patch levels are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TcbPolicy {
    /// Intel's words. All but `UpToDate` are a warning at best.
    pub accept: Vec<TcbWord>,
    /// The lowest tcbEvaluationDataNumber of the collateral.
    pub min_evaluation_data_number: u32,
    /// Advisories that must not be open, for example `INTEL-SA-00960`.
    pub reject_advisories: Vec<String>,
    /// It must also be good today: collateral that is valid now must be given. When it is left out: wherever evidence is demanded, because the time at
    /// which a quote was made is its daemon's word, and the host sets that clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_today: Option<bool>,
}

impl Default for TcbPolicy {
    fn default() -> Self {
        Self {
            accept: vec![TcbWord::UpToDate],
            min_evaluation_data_number: 0,
            reject_advisories: Vec::new(),
            require_today: None,
        }
    }
}

/// Intel's words for a patch level. `Revoked` is never accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "Intel's words")]
pub enum TcbWord {
    UpToDate,
    #[serde(rename = "SWHardeningNeeded")]
    SwHardeningNeeded,
    ConfigurationNeeded,
    #[serde(rename = "ConfigurationAndSWHardeningNeeded")]
    ConfigurationAndSwHardeningNeeded,
    OutOfDate,
    OutOfDateConfigurationNeeded,
    #[serde(rename = "TDRelaunchAdvised")]
    TdRelaunchAdvised,
    #[serde(rename = "TDRelaunchAdvisedConfigurationNeeded")]
    TdRelaunchAdvisedConfigurationNeeded,
}

impl TcbWord {
    /// As Intel writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::TdRelaunchAdvised => "TDRelaunchAdvised",
            Self::TdRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
        }
    }
}

/// What must have been booted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MeasurementPolicy {
    /// Files with reference values, beside those that are pinned with `atlasctl reference add`. Relative to this file.
    pub reference: Vec<PathBuf>,
    /// Whose signatures on reference values count (Ed25519 public keys in PEM). When there are any, unsigned values do not count. Relative
    /// to this file.
    pub signers: Vec<PathBuf>,
    /// There must be a firmware event log (CCEL) that explains RTMR0 to 2.
    pub require_ccel: bool,
    /// Where evidence is demanded, reference values may leave out MRTD, RTMR0 to 2 or MRCONFIGID.
    pub allow_partial: bool,
}

/// What may have extended RTMR3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RuntimeLogPolicy {
    /// There must be an event log, where evidence is required: Linux before 6.16 cannot extend RTMR3.
    pub require: bool,
    /// Others may have extended RTMR3 too: what they did is not known.
    pub allow_foreign: bool,
    /// Values (96 hex digits) that RTMR3 may have had before the first event, beside the one after a reset.
    pub base: Vec<String>,
}

impl Default for RuntimeLogPolicy {
    fn default() -> Self {
        Self {
            require: true,
            allow_foreign: false,
            base: Vec::new(),
        }
    }
}

/// How old evidence may be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct FreshnessPolicy {
    /// The oldest that a quote may be, in seconds, by the time that its daemon gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u64>,
    /// It must answer a nonce (`atlasctl attest --nonce`).
    pub require_nonce: bool,
}

/// Whether a simulator's evidence is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SimulatedPolicy {
    /// The simulator's root certificate in PEM, relative to this file. Verdicts under it say SIMULATED.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// Such a verdict may pass: without this its code is 10.
    pub allow: bool,
}

/// What is known of contents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ArtifactPolicy {
    /// The file's content must be among the reference values.
    pub require_reference: bool,
}

/// What the transparency log must show. What it shows must never be bad.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LogPolicy {
    /// A file must be proven to be in its node's log, under a checkpoint that enough witnesses cosigned, where `witnesses` says how many. Without
    /// this, too few are a warning.
    pub require: bool,
    /// Which witnesses count, and how many must have cosigned (C2SP tlog-policy): a file, relative to this one, or the text itself when it has more
    /// than one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witnesses: Option<PathBuf>,
    /// The oldest that a cosignature may be, in seconds, to count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cosignature_age_seconds: Option<u64>,
    /// Where evidence stands behind a manifest's key, a key that a quote binds must have signed the checkpoint too. Without this, it is a warning.
    pub bound_key: bool,
}

/// Why a policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy {path:?}: {what}")]
pub struct PolicyError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it, in one line.
    pub what: String,
}

impl Policy {
    /// Reads a policy. Relative paths in it become relative to `file`.
    ///
    /// # Errors
    /// Syntax, an unknown field, a value that cannot be meant.
    pub fn parse(text: &str, file: &Path) -> Result<Self, PolicyError> {
        let wrong = |what: String| PolicyError {
            path: file.to_owned(),
            what,
        };
        let mut policy: Self = toml::from_str(text).map_err(|e| {
            let message = e.message().replace('\n', ", ");
            wrong(placed(text, e.span().map(|s| s.start), &message))
        })?;
        policy.sensible().map_err(|(field, what)| {
            let at = place::start(text, field);
            wrong(placed(text, at, &format!("{field}: {what}")))
        })?;
        let here = file.parent().unwrap_or(Path::new("."));
        let places = policy
            .measurements
            .reference
            .iter_mut()
            .chain(&mut policy.measurements.signers)
            .chain(&mut policy.simulated.root);
        for path in places {
            *path = here.join(&*path);
        }
        if let Some(path) = policy.log.witnesses.as_mut().filter(|p| !is_text(p)) {
            *path = here.join(&*path);
        }
        Ok(policy)
    }

    /// The first field whose value cannot be meant, and why.
    fn sensible(&self) -> Result<(), (&'static str, String)> {
        for base in &self.runtime_log.base {
            if unhex(base).is_none_or(|b| b.len() != 48) {
                let what = format!("{base:?} is not 96 lowercase hex digits");
                return Err(("runtime-log.base", what));
            }
        }
        for ppid in self.platform.ppid.iter().flatten() {
            if unhex(&ppid.to_ascii_lowercase()).is_none_or(|b| b.len() != 16) {
                return Err(("platform.ppid", format!("{ppid:?} is not 32 hex digits")));
            }
        }
        if self.tcb.accept.is_empty() {
            let what = "no platform could pass: leave it out for UpToDate";
            return Err(("tcb.accept", what.to_owned()));
        }
        Ok(())
    }

    /// Fields (`freshness.max-age-seconds`) that have no value, which TOML cannot write.
    pub fn unset(&self) -> Vec<String> {
        let schema = Self::schema();
        let said = serde_json::to_value(self).unwrap_or_default();
        let sections = schema["properties"].as_object().into_iter().flatten();
        let mut unset = Vec::new();
        for (section, of) in sections {
            let name = of["$ref"].as_str().and_then(|r| r.rsplit('/').next());
            let fields = name.and_then(|n| schema["$defs"][n]["properties"].as_object());
            let absent = fields.into_iter().flat_map(|f| f.keys());
            let absent = absent.filter(|key| said[section].get(key).is_none());
            unset.extend(absent.map(|key| format!("{section}.{key}")));
        }
        unset
    }

    /// Whether the patch level must be known for today.
    pub fn requires_today(&self) -> bool {
        let demanded = self.evidence.require > Require::Nothing;
        self.tcb.require_today.unwrap_or(demanded)
    }

    /// The JSON schema of the file (draft 2020-12).
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }

    /// As TOML, every field written out.
    ///
    /// # Errors
    /// Never for a policy that was parsed; a bug if it does.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// Whether a field holds a file's text in the place of its path.
fn is_text(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().contains(&b'\n')
}

/// A message with the line, and the field where the message does not name it.
fn placed(text: &str, at: Option<usize>, message: &str) -> String {
    let Some(at) = at else {
        return message.to_owned();
    };
    let line = place::line(text, at);
    match place::field(text, at) {
        Some(field) if !message.starts_with(&field) => format!("line {line}: {field}: {message}"),
        _ => format!("line {line}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Policy, PolicyError> {
        Policy::parse(text, Path::new("/etc/atlas/policy.toml"))
    }

    #[test]
    fn an_empty_policy_is_the_default_and_the_default_reads_back() {
        assert_eq!(parse(""), Ok(Policy::default()));
        let text = Policy::default().to_toml().unwrap();
        assert_eq!(parse(&text), Ok(Policy::default()), "{text}");
    }

    #[test]
    fn a_slip_of_the_pen_never_makes_a_policy_weaker_unseen() {
        for (text, place, word) in [
            (
                "[evidence]\nrequired = \"file\"",
                "line 2: evidence.required: ",
                "expected `require`",
            ),
            (
                "\n[evidence]\nrequire = \"files\"",
                "line 3: evidence.require: ",
                "files",
            ),
            ("[tcb]\naccept = []", "line 2: tcb.accept: ", "no platform"),
            (
                "tcb.accept = [\n\"Revoked\"]",
                "line 2: tcb.accept: ",
                "Revoked",
            ),
            (
                "[runtime-log]\n\nbase = [\"00\"]",
                "line 3: runtime-log.base: ",
                "96",
            ),
            (
                "[platform]\nppid = [\"x\"]",
                "line 2: platform.ppid: ",
                "32",
            ),
            ("evidence = 1", "line 1: evidence: ", "integer"),
            ("\n[tcb\n", "line 2: ", "]"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.what.starts_with(place), "{error}");
            assert!(error.what.contains(word), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_schema_in_the_repository_is_that_of_the_code() {
        let text = serde_json::to_string_pretty(&Policy::schema()).unwrap();
        assert!(
            text + "\n" == include_str!("../../policy.schema.json"),
            "write it again: atlasctl policy schema > manifests/policy.schema.json"
        );
    }

    #[test]
    fn the_example_leaves_no_field_out_and_fits_the_code() {
        let policy = parse(include_str!("../../tests/policy.example.toml")).unwrap();
        assert_eq!(policy.unset(), Vec::<String>::new());
        let mut absent = Policy::default().unset();
        absent.sort();
        assert_eq!(
            absent,
            [
                "freshness.max-age-seconds",
                "log.max-cosignature-age-seconds",
                "log.witnesses",
                "platform.ppid",
                "simulated.root",
                "tcb.require-today"
            ]
        );
        // Parsing fills in what a file leaves out: the file itself must name them all.
        let text = include_str!("../../tests/policy.example.toml");
        let fields = |text: &str| {
            let table: toml::Table = text.parse().unwrap();
            let keys = table.into_iter().flat_map(|(section, of)| {
                let of: toml::Table = of.try_into().unwrap();
                of.into_iter()
                    .map(move |(key, _)| format!("{section}.{key}"))
            });
            keys.collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(fields(text), fields(&policy.to_toml().unwrap()));
    }

    #[test]
    fn paths_are_meant_from_the_policy_file() {
        let policy = parse("[simulated]\nroot = \"sim.pem\"").unwrap();
        assert_eq!(policy.simulated.root, Some("/etc/atlas/sim.pem".into()));
        let policy = parse("[measurements]\nsigners = [\"/a.pem\", \"b.pem\"]").unwrap();
        let expected: [PathBuf; 2] = ["/a.pem".into(), "/etc/atlas/b.pem".into()];
        assert_eq!(policy.measurements.signers, expected);
    }

    proptest! {
        #[test]
        fn no_text_panics_the_parser(text in "[\\[\\]a-z\\-= \"\n.0-9{}]{0,80}") {
            let _ = parse(&text);
        }
    }
}

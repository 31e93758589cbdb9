//! What an appraisal says: tiers, reasons, facts. Plain data.

use serde::{Deserialize, Serialize};

use super::super::reference::Measurements;
use crate::digest::Sha256;
use crate::id::InstanceId;
use crate::vocabulary::{Hardware, Tier};

/// The checks of evidence, in the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// What stands behind the key.
    Hardware,
    /// The platform's patch level.
    Tcb,
    /// What was booted.
    Measurements,
    /// That the key belongs to what was booted.
    KeyBinding,
    /// What RTMR3 was extended by until the evidence was made.
    RuntimeLog,
    /// That all this is of its time.
    Freshness,
}

impl Check {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Hardware,
        Self::Tcb,
        Self::Measurements,
        Self::KeyBinding,
        Self::RuntimeLog,
        Self::Freshness,
    ];

    /// As CONTRACTS 7 writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Tcb => "tcb",
            Self::Measurements => "measurements",
            Self::KeyBinding => "key-binding",
            Self::RuntimeLog => "runtime-log",
            Self::Freshness => "freshness",
        }
    }
}

/// Why a check is what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which check.
    pub check: Check,
    /// What it made of it.
    pub tier: Tier,
    /// One line.
    pub text: String,
    /// What to do; empty when there is nothing to do.
    pub remedy: &'static str,
}

/// What evidence says, as far as it was read. `hardware` says how far it may be believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Facts {
    /// `tdx` and `simulated` only when the quote's signatures lead to that root.
    pub hardware: Hardware,
    /// Names the evidence: SHA-256 of its binding.
    pub id: Sha256,
    /// The life of the daemon.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub instance: Option<InstanceId>,
    /// Why it was made: `instance`, `anchor`, `answer`, `manifest`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub purpose: Option<String>,
    /// When, by the daemon's clock.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub made: Option<String>,
    /// SHA-256 of the daemon's executable, and of its configuration: its own word, inside of what was booted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub program: Option<Sha256>,
    /// See `program`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub config: Option<Sha256>,
    /// What the operator calls what was booted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image: Option<String>,
    /// The kind of platform.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fmspc: Option<String>,
    /// Which platform.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ppid: Option<String>,
    /// Its patch level by two clocks.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tcb: Option<TcbFacts>,
    /// What was booted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub measurements: Option<Measurements>,
    /// The reference values that it matches.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reference: Option<String>,
    /// Entries of the event log that RTMR3 was replayed from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub events: Option<u64>,
}

/// Patch level, in Intel's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TcbFacts {
    /// When the quote was made, by the daemon's clock and collateral of then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub when_made: Option<String>,
    /// Now, by the verifier's clock and collateral of now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub today: Option<String>,
    /// Open advisories.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub advisories: Vec<String>,
    /// tcbEvaluationDataNumber of the collateral.
    pub evaluation: u32,
}

/// What was found about one piece of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appraisal {
    tiers: [Tier; 6],
    /// Reasons, in the order in which they were found.
    pub findings: Vec<Finding>,
    /// What it says.
    pub facts: Facts,
    /// The keys it binds, by what they may sign.
    pub(crate) seal_key: Option<Sha256>,
    /// See `seal_key`.
    pub(crate) log_key: Option<Sha256>,
    /// The reference values that fit leave out what they must not.
    pub(super) partial: bool,
    /// A quote of its own that is named and proves nothing.
    pub(super) unproven: bool,
    /// The partial claim that it binds, when it was made for one manifest.
    pub(crate) claim: Option<Sha256>,
}

impl Appraisal {
    /// Nothing is found yet.
    pub(crate) fn new(id: Sha256) -> Self {
        Self {
            tiers: [Tier::None; 6],
            findings: Vec::new(),
            facts: Facts {
                hardware: Hardware::None,
                id,
                instance: None,
                purpose: None,
                made: None,
                program: None,
                config: None,
                image: None,
                fmspc: None,
                ppid: None,
                tcb: None,
                measurements: None,
                reference: None,
                events: None,
            },
            seal_key: None,
            log_key: None,
            partial: false,
            unproven: false,
            claim: None,
        }
    }

    /// With what was found about a second piece of evidence for the same thing: of each check the worse.
    pub(crate) fn join(&mut self, other: Self) {
        for check in Check::ALL {
            self.set(check, other.tier(check));
        }
        // What both have in common is said once.
        let new: Vec<_> = other
            .findings
            .into_iter()
            .filter(|f| !self.findings.contains(f))
            .collect();
        self.findings.extend(new.into_iter().map(|f| Finding {
            text: format!("its own quote: {}", f.text),
            ..f
        }));
        match other.facts.hardware {
            Hardware::Simulated => self.facts.hardware = Hardware::Simulated,
            Hardware::Tdx => {}
            Hardware::None => {
                self.unproven = true;
                let text =
                    "the quote that was made for this file alone is missing, or cannot be checked";
                self.find(Check::KeyBinding, Tier::Warning, text, "");
            }
        }
    }

    /// One check.
    pub fn tier(&self, check: Check) -> Tier {
        self.tiers[check as usize]
    }

    /// Sets a check, unless it is worse already.
    pub(crate) fn set(&mut self, check: Check, tier: Tier) {
        let bad = |t: Tier| match t {
            Tier::None => 0,
            Tier::Affirming => 1,
            Tier::Warning => 2,
            Tier::Contraindicated => 3,
        };
        let now = &mut self.tiers[check as usize];
        if bad(tier) > bad(*now) {
            *now = tier;
        }
    }

    pub(crate) fn find(
        &mut self,
        check: Check,
        tier: Tier,
        text: impl Into<String>,
        remedy: &'static str,
    ) {
        self.set(check, tier);
        self.findings.push(Finding {
            check,
            tier,
            text: text.into(),
            remedy,
        });
    }

    /// What was only good if the hardware is: without it, nothing is proven.
    pub(super) fn withdraw(&mut self) {
        for check in Check::ALL {
            let tier = &mut self.tiers[check as usize];
            if check != Check::Hardware && *tier != Tier::Contraindicated {
                *tier = Tier::None;
            }
        }
        self.findings.retain(|f| {
            f.check == Check::Hardware || f.tier == Tier::Contraindicated || f.tier == Tier::None
        });
    }

    /// Whether there is less for a check than a demand is content with.
    pub fn lacks(&self, check: Check) -> bool {
        self.tier(check) == Tier::None
            || (check == Check::Measurements && self.partial)
            || (check == Check::KeyBinding && self.unproven)
    }

    /// Whether anything in it is bad.
    pub fn refused(&self) -> bool {
        self.tiers.contains(&Tier::Contraindicated)
    }

    /// Whether its root is a simulator's.
    pub fn simulated(&self) -> bool {
        self.facts.hardware == Hardware::Simulated
    }
}

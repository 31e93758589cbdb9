//! Appraises one piece of evidence (RATS): the six checks of CONTRACTS 7 that are about it, each with its reason. No I/O, no clock of its own.

mod finding;
mod level;

pub use finding::{Appraisal, Check, Facts, Finding, TcbFacts};

use super::binding::{Beacon, Binding, KeyUse, Purpose};
use super::ccel;
use super::chain::{self, Runtime};
use super::collateral::{Collateral, seconds};
pub use super::dcap::Root;
use super::dcap::{self, Platform};
use super::event::Rtmr;
use super::policy::{Policy, Require};
use super::quote::{Quote, attribute};
use super::record::Evidence;
use super::reference::{Match, Measurements, References};
use crate::digest::{Sha256, hex};
use crate::vocabulary::{Hardware, Tier};

/// A daemon's clock may be ahead of the verifier's by so much, in seconds.
const SKEW: u64 = 300;

/// The verifier's clock, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock(pub u64);

/// What a verdict about evidence rests on. Good for many pieces of evidence.
#[derive(Debug, Clone, Default)]
pub struct Appraiser {
    /// What is demanded.
    pub policy: Policy,
    /// What is vouched for.
    pub references: References,
    /// A simulator's root certificate, in DER: only when it was named.
    pub simulated_root: Option<Vec<u8>>,
    /// Collateral that the verifier has, beside what lies with the evidence.
    pub collateral: Vec<Collateral>,
    /// Now.
    pub clock: Clock,
}

/// One piece of evidence, and what belongs to it.
pub struct Presented<'a> {
    /// The evidence.
    pub evidence: &'a Evidence,
    /// Finds evidence that its event log goes on from.
    pub earlier: &'a dyn Fn(&Sha256) -> Option<Evidence>,
    /// The collateral that was captured with it, in its bytes.
    pub collateral: Option<&'a [u8]>,
    /// What it must answer.
    pub nonce: Option<&'a [u8]>,
}

/// What a quote's signatures came to by one clock.
type Vouched = Result<(Platform, Hardware), String>;

impl Appraiser {
    /// Whether evidence of the file itself must be good.
    pub fn demands(&self) -> bool {
        self.policy.evidence.require >= Require::File
    }

    /// Whether evidence of ancestors must be good too.
    pub fn demands_lineage(&self) -> bool {
        self.policy.evidence.require == Require::Lineage
    }

    /// Checks of which there must be more than nothing where evidence is demanded.
    pub fn demanded(&self) -> Vec<Check> {
        let mut checks = vec![
            Check::Hardware,
            Check::Tcb,
            Check::Measurements,
            Check::KeyBinding,
        ];
        if self.policy.runtime_log.require {
            checks.push(Check::RuntimeLog);
        }
        checks
    }

    /// Appraises.
    pub fn appraise(&self, presented: &Presented<'_>) -> Appraisal {
        let evidence = presented.evidence;
        let mut a = Appraisal::new(evidence.id());
        let binding = match evidence.bound() {
            Ok(binding) => binding,
            Err(e) => {
                a.find(Check::KeyBinding, Tier::Contraindicated, e.to_string(), "");
                return a;
            }
        };
        a.facts.instance = Some(binding.instance);
        a.facts.purpose = Some(binding.purpose.as_str().to_owned());
        a.facts.made = Some(binding.made.clone());
        a.facts.program = Some(binding.program);
        a.facts.config = Some(binding.config);
        a.facts.image.clone_from(&binding.image);
        a.seal_key = binding.key(KeyUse::Seal);
        a.log_key = binding.key(KeyUse::Log);
        a.claim = binding.claim;
        let quote = match Quote::parse(&evidence.quote) {
            Ok(quote) => quote,
            Err(e) => {
                a.find(Check::Hardware, Tier::Contraindicated, e.to_string(), "");
                return a;
            }
        };
        a.facts.fmspc = dcap::fmspc(quote.bytes);
        a.facts.measurements = Some(Measurements::of(&quote));
        self.hardware(&mut a, presented, &binding, &quote);
        self.measurements(&mut a, evidence, &binding, &quote);
        key_binding(&mut a, evidence, &binding, &quote);
        self.runtime(&mut a, presented, &binding, &quote);
        self.freshness(&mut a, &binding, presented.nonce);
        if a.facts.hardware == Hardware::None {
            a.withdraw();
        }
        a
    }

    /// `hardware` and `tcb`: both clocks.
    fn hardware(
        &self,
        a: &mut Appraisal,
        presented: &Presented<'_>,
        binding: &Binding,
        quote: &Quote<'_>,
    ) {
        if quote.attributes() & attribute::DEBUG != 0 && !self.policy.td.allow_debug {
            let text = "a debug TD: its host can read and change everything in it";
            a.find(Check::Hardware, Tier::Contraindicated, text, "");
            return;
        }
        let stored = presented.collateral.map(Collateral::parse);
        if let Some(Err(e)) = &stored {
            let text = format!("the collateral beside it: {e}");
            a.find(Check::Tcb, Tier::Warning, text, "");
        }
        let stored = stored.and_then(Result::ok);
        let fits = |c: &&Collateral| c.tee == "TDX" && Some(&c.fmspc) == a.facts.fmspc.as_ref();
        let beside: Vec<&Collateral> = stored.iter().filter(fits).collect();
        let own: Vec<&Collateral> = self.collateral.iter().filter(fits).collect();
        if beside.is_empty() && own.is_empty() {
            let kind = a.facts.fmspc.as_deref().unwrap_or("unknown");
            let text = format!(
                "there is no collateral for its kind of platform (FMSPC {kind}): it cannot be checked"
            );
            let remedy = "give Intel's collateral with --collateral";
            a.find(Check::Hardware, Tier::None, text, remedy);
            return;
        }
        let made = seconds(&binding.made).unwrap_or(0);
        let now = self.clock.0;
        let today = self.vouched(quote, &own, &beside, now);
        let all = own.iter().chain(&beside);
        // Signatures do not change with the clock: where the same collateral speaks for both days, so does what it says.
        let same = all.clone().all(|c| c.valid_at(made) == c.valid_at(now));
        let when_made = if same {
            today.clone()
        } else {
            self.vouched(quote, &own, &beside, made)
        };
        let (when_made, today) = match (when_made, today) {
            (None, None) => {
                let text = "its collateral is not valid, neither when it was made nor now: it cannot be checked";
                let remedy = "give Intel's collateral of one of these days with --collateral";
                a.find(Check::Hardware, Tier::None, text, remedy);
                return;
            }
            (_, Some(Err(e))) | (Some(Err(e)), None) => {
                a.find(Check::Hardware, Tier::Contraindicated, e, "");
                return;
            }
            // What lay beside the data does not speak against what the verifier has.
            (Some(Err(_)) | None, Some(Ok(today))) => (None, Some(today)),
            (Some(Ok(made)), None) => (Some(made), None),
            (Some(Ok(made)), Some(Ok(today))) => (Some(made), Some(today)),
        };
        let simulated = [&when_made, &today]
            .into_iter()
            .flatten()
            .any(|(_, h)| *h == Hardware::Simulated);
        if simulated {
            a.facts.hardware = Hardware::Simulated;
            let text = "SIMULATED: the quote comes from a simulator, and proves nothing";
            a.find(Check::Hardware, Tier::Warning, text, "");
        } else {
            a.facts.hardware = Hardware::Tdx;
            a.set(Check::Hardware, Tier::Affirming);
        }
        if quote.attributes() & attribute::DEBUG != 0 {
            let text = "a debug TD, which the policy allows: its host can read and change everything in it";
            a.find(Check::Hardware, Tier::Warning, text, "");
        }
        if today.is_none() {
            let text = "Intel's word for it is of the time that its daemon gives: what was revoked since is not known";
            let remedy = "give collateral of today with --collateral";
            a.find(Check::Hardware, Tier::Warning, text, remedy);
        }
        let made = when_made.map(|(p, _)| p);
        let today = today.map(|(p, _)| p);
        self.tcb(a, made.as_ref(), today.as_ref());
    }

    /// By collateral that is valid at that second; `None` when there is none. What the verifier has comes before what lies with the evidence: older
    /// collateral stays valid for weeks, and does not know what was revoked since. All of it must vouch; the newest says how well.
    fn vouched<'c>(
        &self,
        quote: &Quote<'_>,
        own: &[&'c Collateral],
        beside: &[&'c Collateral],
        second: u64,
    ) -> Option<Vouched> {
        let valid = |all: &[&'c Collateral]| -> Vec<&'c Collateral> {
            let valid = all.iter().filter(|c| c.valid_at(second));
            valid.copied().collect()
        };
        let mut pool = valid(own);
        if pool.is_empty() {
            pool = valid(beside);
        }
        pool.sort_by_key(|c| c.window.0);
        let mut newest = None;
        for collateral in pool {
            match self.vouched_by(quote, collateral, second) {
                Ok(good) => {
                    let older = newest.replace(good);
                    // Issued later may still say less: a higher evaluation number does not become lower.
                    newest = match (older, newest) {
                        (Some(o), Some(n)) if o.0.evaluation > n.0.evaluation => Some(o),
                        (_, n) => n,
                    };
                }
                Err(e) => return Some(Err(e)),
            }
        }
        newest.map(Ok)
    }

    fn vouched_by(&self, quote: &Quote<'_>, collateral: &Collateral, second: u64) -> Vouched {
        let by = |root: &Root| dcap::verify(quote.bytes, collateral, root, second, &self.policy);
        let refused = match by(&Root::Intel) {
            Ok(platform) => return Ok((platform, Hardware::Tdx)),
            Err(e) => e,
        };
        if let Some(root) = &self.simulated_root {
            return by(&Root::Simulated(root.clone()))
                .map(|p| (p, Hardware::Simulated))
                .map_err(|e| {
                    format!("neither Intel nor the simulator that was named vouches for it: {e}")
                });
        }
        Err(if !dcap::names_intel(quote) {
            "its certificates do not lead to Intel's root".to_owned()
        } else {
            format!("Intel does not vouch for it: {refused}")
        })
    }

    fn measurements(
        &self,
        a: &mut Appraisal,
        evidence: &Evidence,
        binding: &Binding,
        quote: &Quote<'_>,
    ) {
        let check = Check::Measurements;
        match &evidence.ccel {
            Some(bytes) => match ccel::replay(bytes) {
                Ok(log) if (0..3).all(|i| log.rtmr[i] == quote.rtmr(i)) => {}
                Ok(_) => {
                    let text = "the firmware's event log does not replay to RTMR0, 1 and 2";
                    a.find(check, Tier::Contraindicated, text, "");
                }
                Err(e) => a.find(check, Tier::Contraindicated, e.to_string(), ""),
            },
            // Anchors and quotes for one manifest go on from evidence that has it.
            None if self.policy.measurements.require_ccel && stands_alone(binding.purpose) => {
                let text = "there is no firmware event log, and the policy wants one";
                a.find(check, Tier::Contraindicated, text, "");
            }
            None => {}
        }
        match self.references.compare(&Measurements::of(quote)) {
            Match::Full(name) => {
                a.facts.reference = Some(name);
                a.set(check, Tier::Affirming);
            }
            Match::Partial(name, missing) => {
                a.partial = !self.policy.measurements.allow_partial;
                let text = format!(
                    "what was booted fits {name:?}, which does not say {}",
                    missing.join(", ")
                );
                a.facts.reference = Some(name);
                a.find(check, Tier::Warning, text, "complete the reference values");
            }
            Match::Differs(name, registers) => {
                let text = format!(
                    "what was booted is not known: nearest is {name:?}, which differs in {}",
                    registers.join(", ")
                );
                let remedy =
                    "if this image is good, add its reference values with atlasctl reference add";
                a.find(check, Tier::Contraindicated, text, remedy);
            }
            Match::Nothing => {
                let text = "there are no reference values: some trust domain holds the key, and what was booted in it is not known";
                let remedy = "add those of your image with atlasctl reference add";
                a.find(check, Tier::None, text, remedy);
            }
        }
    }

    fn runtime(
        &self,
        a: &mut Appraisal,
        presented: &Presented<'_>,
        binding: &Binding,
        quote: &Quote<'_>,
    ) {
        let check = Check::RuntimeLog;
        let rtmr3 = quote.rtmr(3);
        match chain::replay(presented.evidence, binding, rtmr3, presented.earlier) {
            Err(e) => a.find(check, Tier::Contraindicated, e, ""),
            Ok(None) => {
                let text =
                    "it has no event log: its kernel cannot extend RTMR3 (Linux before 6.16)";
                a.find(check, Tier::None, text, "");
            }
            Ok(Some(Runtime {
                count,
                base,
                foreign,
            })) => {
                a.facts.events = Some(count);
                a.set(check, Tier::Affirming);
                if base != Rtmr::ZERO && !self.policy.runtime_log.base.contains(&hex(&base.0)) {
                    let text =
                        format!("RTMR3 had been extended before the first event, to {base:?}");
                    let remedy =
                        "if you know what did it, name that value in the policy (runtime-log.base)";
                    a.find(check, Tier::Contraindicated, text, remedy);
                }
                if foreign > 0 {
                    let tier = if self.policy.runtime_log.allow_foreign {
                        Tier::Warning
                    } else {
                        Tier::Contraindicated
                    };
                    let text = format!(
                        "others extended RTMR3 beside it, {foreign} times: what they did is not known"
                    );
                    a.find(
                        check,
                        tier,
                        text,
                        "the policy can allow it (runtime-log.allow-foreign)",
                    );
                }
            }
        }
    }

    fn freshness(&self, a: &mut Appraisal, binding: &Binding, nonce: Option<&[u8]>) {
        let check = Check::Freshness;
        let made = seconds(&binding.made).unwrap_or(0);
        if made > self.clock.0.saturating_add(SKEW) {
            let text = format!("it was made in the future: {}", binding.made);
            a.find(check, Tier::Contraindicated, text, "check both clocks");
        }
        if let Some(most) = self.policy.freshness.max_age_seconds
            && made.saturating_add(most) < self.clock.0
        {
            let text = format!("it was made {}, more than {most} s ago", binding.made);
            a.find(
                check,
                Tier::Contraindicated,
                text,
                "ask for new evidence with atlasctl attest --nonce",
            );
        }
        match (nonce, &binding.beacon) {
            (Some(asked), Some(Beacon::Nonce(answered))) if asked == answered => {
                a.set(check, Tier::Affirming);
            }
            (Some(_), _) => {
                let text = "it does not answer the nonce that was asked";
                a.find(
                    check,
                    Tier::Contraindicated,
                    text,
                    "ask for new evidence with atlasctl attest --nonce",
                );
            }
            (None, _) if self.policy.freshness.require_nonce => {
                let text = "the policy wants the answer to a nonce, and none was given to compare";
                a.find(check, Tier::Contraindicated, text, "give --nonce");
            }
            // Nothing shows when it was made, but for its daemon's clock.
            (None, _) => {}
        }
    }
}

/// What is to carry everything: an instance's first evidence, and answers.
fn stands_alone(purpose: Purpose) -> bool {
    matches!(purpose, Purpose::Instance | Purpose::Answer)
}

/// The quote is about the binding, and the binding about what lies with it. Whose manifest it is, is compared where that is known.
fn key_binding(a: &mut Appraisal, evidence: &Evidence, binding: &Binding, quote: &Quote<'_>) {
    let check = Check::KeyBinding;
    if quote.report_data() != super::binding::report_data(&evidence.binding) {
        let text = "the quote is about something else than this binding of keys";
        a.find(check, Tier::Contraindicated, text, "");
        return;
    }
    a.set(check, Tier::Affirming);
    let gpu = evidence.gpu.as_deref().map(Sha256::of);
    match (binding.gpu, gpu) {
        (bound, found) if bound == found => {}
        (Some(_), None) => {
            let text = "GPU evidence is bound, and is not here";
            a.find(check, Tier::Warning, text, "");
        }
        _ => {
            let text = "the GPU evidence beside it is not the one that was bound";
            a.find(check, Tier::Contraindicated, text, "");
        }
    }
    if binding.key(KeyUse::Seal).is_none() {
        let text = "no key that seals is bound";
        a.find(check, Tier::Contraindicated, text, "");
    }
}

//! What an appraisal comes to in a verdict: checks, reasons, exit codes. Not the appraisal.

use super::standing::Standing;
use super::{Code, FileVerdict};
use crate::bytes::PathBytes;
use crate::digest::Digests;
use crate::evidence::appraise::{Appraisal, Appraiser, Check, Presented};
use crate::vocabulary::Tier;

/// Verifies a piece of evidence by itself. Each demanded check must come to something, whatever the policy says of files.
pub fn verify_evidence(
    appraiser: &Appraiser,
    path: &PathBytes,
    presented: &Presented<'_>,
) -> FileVerdict {
    let mut v = FileVerdict::new(path);
    let a = appraiser.appraise(presented);
    evidence(&mut v, appraiser, &a);
    let lacking: Vec<Check> = appraiser
        .demanded()
        .into_iter()
        .filter(|c| a.lacks(*c))
        .collect();
    if !lacking.is_empty() {
        v.add_failure(Code::Evidence, not_enough(&lacking), "");
    }
    v
}

fn not_enough(lacking: &[Check]) -> String {
    let names: Vec<&str> = lacking.iter().map(|c| c.as_str()).collect();
    format!(
        "evidence is demanded, and there is not enough for {}",
        names.join(", ")
    )
}

/// Whether somebody vouches for the content itself.
pub(super) fn reference(v: &mut FileVerdict, appraiser: &Appraiser, digests: &Digests) {
    v.reference = appraiser.references.artifact(digests);
    if v.reference.is_none() && appraiser.policy.artifacts.require_reference {
        v.add_failure(
            Code::Evidence,
            "its content is not among the reference values, and the policy wants that".to_owned(),
            "if it is good, add it with atlasctl reference add",
        );
    }
}

/// Takes what the evidence says into the verdict.
pub(super) fn hardware(v: &mut FileVerdict, appraiser: &Appraiser, standing: &Standing) {
    if let Standing::Appraised(a) = standing {
        evidence(v, appraiser, a);
    }
    let lacking = standing.lacking(appraiser);
    if appraiser.demands() && v.code != Code::Evidence && !lacking.is_empty() {
        v.add_failure(Code::Evidence, not_enough(&lacking), "");
    }
}

/// Checks, reasons and facts of one appraisal.
fn evidence(v: &mut FileVerdict, appraiser: &Appraiser, a: &Appraisal) {
    let c = &mut v.checks;
    for (check, tier) in [
        (Check::Hardware, &mut c.hardware),
        (Check::Tcb, &mut c.tcb),
        (Check::Measurements, &mut c.measurements),
        (Check::KeyBinding, &mut c.key_binding),
        (Check::RuntimeLog, &mut c.runtime_log),
        (Check::Freshness, &mut c.freshness),
    ] {
        *tier = a.tier(check);
    }
    for f in &a.findings {
        let text = format!("{}: {}", f.check.as_str(), f.text);
        match f.tier {
            Tier::Contraindicated => v.add_failure(Code::Evidence, text, f.remedy),
            _ => v.add_warning(text, f.remedy),
        }
    }
    if a.simulated() && !appraiser.policy.simulated.allow {
        v.add_failure(
            Code::Simulated,
            "the evidence is SIMULATED".to_owned(),
            "for tests, say --allow-simulated",
        );
    }
    v.evidence = Some(a.facts.clone());
}

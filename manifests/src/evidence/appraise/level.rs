//! The platform's patch level, by one clock or two, held against the policy. Not who vouches for it.

use super::super::dcap::Platform;
use super::{Appraisal, Appraiser, Check, TcbFacts};
use crate::vocabulary::Tier;

impl Appraiser {
    pub(super) fn tcb(&self, a: &mut Appraisal, made: Option<&Platform>, today: Option<&Platform>) {
        let Some(best) = today.or(made) else { return };
        a.facts.ppid = Some(best.ppid.clone());
        a.facts.tcb = Some(TcbFacts {
            when_made: made.map(|p| p.status.clone()),
            today: today.map(|p| p.status.clone()),
            advisories: best.advisories.clone(),
            evaluation: best.evaluation,
        });
        for what in &best.refused {
            let text = format!("the policy does not allow its platform: {what}");
            a.find(Check::Hardware, Tier::Contraindicated, text, "");
        }
        match (made, today) {
            (_, Some(today)) => self.level(a, today, "today"),
            (Some(made), None) => {
                self.level(a, made, "when it was made");
                let text = "its patch level was looked up for the time that its daemon gives: whether it is good today is not known";
                let tier = if self.policy.requires_today() {
                    Tier::Contraindicated
                } else {
                    Tier::Warning
                };
                a.find(
                    Check::Tcb,
                    tier,
                    text,
                    "give collateral of today with --collateral",
                );
            }
            (None, None) => {}
        }
    }

    fn level(&self, a: &mut Appraisal, platform: &Platform, when: &str) {
        let policy = &self.policy.tcb;
        let accepted = policy.accept.iter().any(|w| w.as_str() == platform.status);
        let open = match platform.advisories.as_slice() {
            [] => String::new(),
            ids => format!(" ({})", ids.join(", ")),
        };
        let text = format!("its patch level is {} {when}{open}", platform.status);
        if !accepted {
            let remedy = "update the platform, or name this level in the policy (tcb.accept)";
            a.find(Check::Tcb, Tier::Contraindicated, text, remedy);
        } else if platform.status == "UpToDate" {
            a.set(Check::Tcb, Tier::Affirming);
        } else {
            a.find(Check::Tcb, Tier::Warning, text, "");
        }
        let rejected = |id: &&String| {
            policy
                .reject_advisories
                .iter()
                .any(|r| r.eq_ignore_ascii_case(id))
        };
        if let Some(id) = platform.advisories.iter().find(rejected) {
            let text = format!("advisory {id} is open {when}");
            a.find(Check::Tcb, Tier::Contraindicated, text, "");
        }
        if platform.evaluation < policy.min_evaluation_data_number {
            let text = format!(
                "its collateral has evaluation number {}, below {}",
                platform.evaluation, policy.min_evaluation_data_number
            );
            a.find(Check::Tcb, Tier::Contraindicated, text, "");
        }
    }
}

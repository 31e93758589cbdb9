//! A verdict as a person reads it: one line that says it, then what was checked, what was not, and what to do. Decides nothing.

use atlas_manifests::verify::{Checks, FileVerdict, Outcome, Reason, Report};
use atlas_manifests::vocabulary::{Hardware, Tier};

use crate::view::paint::Paint;
use crate::view::{amount, escape, facts, log};

/// The checks that evidence by itself can pass.
const ABOUT_EVIDENCE: [&str; 6] = [
    "hardware",
    "tcb",
    "measurements",
    "key-binding",
    "runtime-log",
    "freshness",
];

/// One file. `whole` shows its checks even when there is nothing to remark.
pub(crate) fn file(v: &FileVerdict, whole: bool, paint: Paint) -> String {
    let mut text = headline(v, paint);
    if let Some(digest) = v.digest {
        text.push_str(&format!("  {}", paint.dim(amount::prefix(&digest.hex()))));
    }
    if let (Outcome::Pass, Some(signer)) = (v.verdict, &v.signer) {
        text.push_str(&format!(
            "  signed by {}",
            escape::short(&escape::line(signer), 60)
        ));
        if v.ancestors > 0 {
            text.push_str(&format!(
                ", with {}",
                amount::counted(v.ancestors, "ancestor", "ancestors")
            ));
        }
    }
    if let Some(name) = &v.reference {
        text.push_str(&format!(
            ", a reference value of {}",
            escape::short(&escape::line(name), 80)
        ));
    }
    if let Some(set) = &v.member_of {
        text.push_str(&format!(
            ", a member of {}",
            escape::short(&escape::line(set), 80)
        ));
    }
    text.push('\n');
    if whole || v.verdict == Outcome::Fail {
        text.push_str(&checks(v, paint, &[]));
        if let Some(facts) = &v.evidence {
            text.push_str(&facts::brief(facts, paint));
        }
        if let Some(facts) = &v.transparency {
            text.push_str(&log::brief(facts, paint));
        }
    }
    reasons(&mut text, v, paint);
    if let Some(conflict) = v.transparency.as_ref().and_then(|t| t.conflict.as_ref()) {
        text.push_str(&log::conflict(conflict));
    }
    text
}

/// Evidence by itself: only the checks that are about it, and everything that it says.
pub(crate) fn evidence(v: &FileVerdict, paint: Paint) -> String {
    let mut text = headline(v, paint);
    text.push('\n');
    if let Some(facts) = &v.evidence {
        text.push_str(&checks(v, paint, &ABOUT_EVIDENCE));
        text.push_str(&facts::whole(facts, paint));
    }
    reasons(&mut text, v, paint);
    text
}

fn reasons(text: &mut String, v: &FileVerdict, paint: Paint) {
    for r in &v.reasons {
        text.push_str(&reason(r, v.verdict, paint));
    }
}

/// The word, of what, and whether it is of a simulator.
fn headline(v: &FileVerdict, paint: Paint) -> String {
    let word = match v.verdict {
        Outcome::Pass => paint.good("verified"),
        Outcome::Fail => paint.bad("NOT VERIFIED"),
        Outcome::Skipped => paint.dim("skipped"),
    };
    let mut text = format!("{word}  {}", paint.strong(&escape::line(&v.path)));
    if hardware(v) == Hardware::Simulated {
        text.push_str(&format!("  {}", paint.bad("SIMULATED")));
    }
    text
}

/// The last line of several files.
pub(crate) fn summary(report: &Report, passed_over: u64) -> String {
    let of = |outcome| report.files.iter().filter(|f| f.verdict == outcome).count() as u64;
    let mut parts = vec![format!("{} verified", amount::count(of(Outcome::Pass)))];
    let failed = of(Outcome::Fail);
    if failed > 0 {
        parts.push(format!("{} not verified", amount::count(failed)));
    }
    let skipped = of(Outcome::Skipped);
    if skipped > 0 {
        parts.push(format!(
            "{} skipped (empty or excluded)",
            amount::count(skipped)
        ));
    }
    if passed_over > 0 {
        parts.push(format!(
            "{} passed over (links, sidecars, special files)",
            amount::count(passed_over)
        ));
    }
    let total = amount::counted(report.files.len() as u64, "file", "files");
    format!("{total}: {}\n", parts.join(", "))
}

fn reason(r: &Reason, outcome: Outcome, paint: Paint) -> String {
    let text = escape::line(&r.text);
    let said = match (r.code.number(), outcome) {
        (0, Outcome::Skipped) => text,
        (0, _) => paint.warn(&format!("warning: {text}")),
        (code, _) => paint.bad(&format!("code {code}: {text}")),
    };
    if r.remedy.is_empty() {
        format!("    {said}\n")
    } else {
        format!("    {said}\n      {}\n", escape::line(&r.remedy))
    }
}

/// What was found to stand behind the key.
fn hardware(v: &FileVerdict) -> Hardware {
    v.evidence.as_ref().map_or(Hardware::None, |e| e.hardware)
}

/// Every check (or only these) with a finding, and one line that names those without.
fn checks(v: &FileVerdict, paint: Paint, only: &[&str]) -> String {
    let c: &Checks = &v.checks;
    let all = [
        ("artifact", c.artifact),
        ("signature", c.signature),
        ("lineage", c.lineage),
        ("inputs", c.inputs),
        ("completeness", c.completeness),
        ("hardware", c.hardware),
        ("tcb", c.tcb),
        ("measurements", c.measurements),
        ("key-binding", c.key_binding),
        ("runtime-log", c.runtime_log),
        ("freshness", c.freshness),
        ("transparency", c.transparency),
    ];
    let (none, found): (Vec<_>, Vec<_>) = all
        .into_iter()
        .filter(|(name, _)| only.is_empty() || only.contains(name))
        .partition(|(_, tier)| *tier == Tier::None);
    let mut text = String::new();
    for (name, tier) in found {
        let word = paint.tier(tier.as_str(), tier);
        let what = match (name, hardware(v)) {
            ("hardware", Hardware::Simulated) => "  SIMULATED".to_owned(),
            ("hardware", Hardware::Tdx) => "  Intel TDX".to_owned(),
            ("transparency", _) => v.transparency.as_ref().map_or(String::new(), log::place),
            _ => String::new(),
        };
        text.push_str(&format!("    {name:<13} {word}{what}\n"));
    }
    if !none.is_empty() {
        // Only a manifest whose signature holds says what stands behind its key.
        let local = c.signature == Tier::Affirming && v.evidence.is_none();
        let names = none.iter().map(|(name, _)| match *name {
            "hardware" if local => "hardware (signed by a locally held key, no TDX)",
            name => name,
        });
        let names: Vec<_> = names.collect();
        text.push_str(&format!(
            "    {}\n",
            paint.dim(&format!("{:<13} {}", "none", names.join(", ")))
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use atlas_manifests::bytes::PathBytes;
    use atlas_manifests::verify::Code;

    fn failed(name: &str) -> FileVerdict {
        FileVerdict::failed(
            &PathBytes::from(name),
            Code::Differs,
            "its content differs".to_owned(),
            "restore it",
        )
    }

    #[test]
    fn what_was_not_checked_is_never_shown_as_good() {
        let mut v = failed("m.pt");
        (v.verdict, v.code) = (Outcome::Pass, Code::Ok);
        v.reasons.clear();
        v.checks.artifact = Tier::Affirming;
        v.checks.signature = Tier::Affirming;
        v.signer = Some("Atlas\x1b[2J".to_owned());
        v.ancestors = 1;
        assert_eq!(
            file(&v, true, Paint::PLAIN),
            "\
verified  m.pt  signed by Atlas\\x1b[2J, with 1 ancestor
    artifact      affirming
    signature     affirming
    none          lineage, inputs, completeness, hardware (signed by a locally held key, no TDX), tcb, measurements, \
key-binding, runtime-log, freshness, transparency
"
        );
        assert_eq!(file(&v, false, Paint::PLAIN).lines().count(), 1);
    }

    #[test]
    fn a_refusal_says_its_code_the_reason_and_the_remedy() {
        let shown = file(&failed("a\nb"), false, Paint::PLAIN);
        assert!(shown.starts_with("NOT VERIFIED  a\\nb\n"), "{shown}");
        assert!(
            shown.ends_with("    code 4: its content differs\n      restore it\n"),
            "{shown}"
        );
    }

    #[test]
    fn the_summary_counts_every_file_once() {
        let report = Report::of(vec![
            failed("a"),
            FileVerdict::skipped(&PathBytes::from("b"), "it is empty"),
        ]);
        assert_eq!(
            summary(&report, 2),
            "2 files: 0 verified, 1 not verified, 1 skipped (empty or excluded), 2 passed over (links, sidecars, special files)\n"
        );
    }
}

//! What an appraisal found out from evidence, under the checks of a verdict: at length where the evidence is the subject, else in two lines.

use atlas_manifests::digest::hex;
use atlas_manifests::evidence::Measurements;
use atlas_manifests::evidence::appraise::{Facts, TcbFacts};
use atlas_manifests::vocabulary::Hardware;

use crate::view::paint::Paint;
use crate::view::{amount, escape};

/// No name that somebody gave is shown longer, in characters.
const NAME: usize = 80;

/// Everything.
pub(crate) fn whole(f: &Facts, paint: Paint) -> String {
    let mut block = Block::new(paint);
    if f.hardware == Hardware::None {
        block.row("says", &paint.warn("what follows, and nothing proves it"));
    }
    block.row("evidence", &f.id.hex());
    block.maybe("instance", f.instance.map(|i| i.to_string()));
    let made = f.made.as_deref().map(escape::line);
    block.maybe("made", made.map(|m| format!("{m}, by the daemon's clock")));
    let purpose = f.purpose.as_deref().map(escape::line);
    block.maybe("purpose", purpose);
    let ppid = f.ppid.as_deref().map_or(String::new(), |p| {
        format!(", PPID {}", escape::short(&escape::line(p), 32))
    });
    let kind = f.fmspc.as_deref().map(escape::line);
    block.maybe("platform", kind.map(|k| format!("FMSPC {k}{ppid}")));
    if let Some(tcb) = &f.tcb {
        let evaluation = tcb.evaluation;
        let text = format!("{} (evaluation number {evaluation})", level(tcb));
        block.row("patch level", &text);
        if !tcb.advisories.is_empty() {
            block.row("advisories", &paint.warn(&advisories(tcb)));
        }
    }
    block.maybe("booted", f.reference.as_deref().map(name));
    block.maybe("measured", f.measurements.as_ref().and_then(short));
    let events = f.events.map(|n| amount::counted(n, "event", "events"));
    block.maybe(
        "event log",
        events.map(|n| format!("RTMR3 replays from {n}, until it was made")),
    );
    block.text
}

/// In short, for a file whose key it stands behind. Nothing where it proves nothing.
pub(crate) fn brief(f: &Facts, paint: Paint) -> String {
    let mut block = Block::new(paint);
    if f.hardware == Hardware::None {
        return block.text;
    }
    let id = f.id.hex();
    let mut text = amount::prefix(&id).to_owned();
    if let Some(made) = &f.made {
        text.push_str(&format!(", made {}", escape::line(made)));
    }
    if let Some(reference) = &f.reference {
        text.push_str(&format!(", booted {}", name(reference)));
    }
    block.row("evidence", &text);
    if let Some(kind) = &f.fmspc {
        let mut text = format!("FMSPC {}", escape::line(kind));
        if let Some(tcb) = &f.tcb {
            text.push_str(&format!(", {}", level(tcb)));
            if !tcb.advisories.is_empty() {
                text.push_str(&format!(": {}", advisories(tcb)));
            }
        }
        block.row("platform", &text);
    }
    block.text
}

struct Block {
    text: String,
    paint: Paint,
}

impl Block {
    fn new(paint: Paint) -> Self {
        let text = String::new();
        Self { text, paint }
    }

    fn row(&mut self, key: &str, value: &str) {
        let key = self.paint.dim(&format!("{key:<13}"));
        self.text.push_str(&format!("    {key} {value}\n"));
    }

    fn maybe(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.row(key, &value);
        }
    }
}

/// Somebody's name for what was booted.
fn name(text: &str) -> String {
    escape::short(&escape::line(text), NAME)
}

/// By the two clocks.
fn level(tcb: &TcbFacts) -> String {
    let said = |word: &Option<String>| word.as_deref().map(escape::line);
    match (said(&tcb.when_made), said(&tcb.today)) {
        (Some(made), Some(today)) if made == today => format!("{made} when made and today"),
        (Some(made), Some(today)) => format!("{made} when made, {today} today"),
        (Some(made), None) => format!("{made} when made, unknown today"),
        (None, Some(today)) => format!("{today} today, unknown when made"),
        (None, None) => "unknown".to_owned(),
    }
}

fn advisories(tcb: &TcbFacts) -> String {
    escape::short(&escape::line(&tcb.advisories.join(", ")), 300)
}

/// Registers that hold something, each by its first digits.
fn short(measured: &Measurements) -> Option<String> {
    let registers = measured.registers().into_iter();
    let set = registers.filter_map(|(name, value)| {
        let value = value.filter(|v| v.0 != [0; 48])?;
        Some(format!("{name} {}", amount::prefix(&hex(&value.0))))
    });
    let set: Vec<_> = set.collect();
    (!set.is_empty()).then(|| set.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts(hardware: &str) -> Facts {
        let evil = "\x1b[2J\n";
        serde_json::from_value(json!({
            "hardware": hardware,
            "id": format!("sha256:{}", "ab".repeat(32)),
            "made": "2026-11-26T12:00:00Z",
            "purpose": "answer",
            "fmspc": evil,
            "ppid": evil,
            "reference": evil,
            "tcb": {"when-made": "UpToDate", "today": "OutOfDate", "advisories": [evil, "INTEL-SA-00001"], "evaluation": 17},
            "measurements": {"mrtd": "01".repeat(48), "mrowner": "00".repeat(48)},
            "events": 2,
        }))
        .unwrap()
    }

    #[test]
    fn nothing_that_evidence_says_reaches_the_terminal_unescaped() {
        for shown in [
            whole(&facts("tdx"), Paint::PLAIN),
            brief(&facts("simulated"), Paint::PLAIN),
        ] {
            let bad = shown
                .chars()
                .find(|c| *c != '\n' && escape::unsafe_to_show(*c));
            assert_eq!(bad, None, "{shown}");
            assert!(shown.lines().all(|l| l.starts_with("    ")), "{shown}");
            assert!(shown.contains("UpToDate when made, OutOfDate today"));
            assert!(shown.contains("INTEL-SA-00001"), "{shown}");
        }
    }

    /// What a quote says that nobody vouches for could have been written by anybody.
    #[test]
    fn facts_of_a_quote_that_proves_nothing_never_look_proven() {
        assert_eq!(brief(&facts("none"), Paint::PLAIN), "");
        let shown = whole(&facts("none"), Paint::PLAIN);
        assert!(shown.contains("nothing proves it"), "{shown}");
        assert!(!whole(&facts("tdx"), Paint::PLAIN).contains("nothing proves it"));
    }

    #[test]
    fn a_register_that_holds_nothing_is_not_shown_as_measured() {
        let shown = whole(&facts("tdx"), Paint::PLAIN);
        assert!(shown.contains("mrtd 010101010101\n"), "{shown}");
    }

    #[test]
    fn an_unknown_patch_level_of_today_is_not_taken_for_a_good_one() {
        let tcb = TcbFacts {
            when_made: Some("UpToDate".to_owned()),
            ..TcbFacts::default()
        };
        assert_eq!(level(&tcb), "UpToDate when made, unknown today");
    }
}

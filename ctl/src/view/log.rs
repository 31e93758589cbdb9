//! A file's place in its node's log, under the checks of a verdict. Decides nothing.

use atlas_manifests::verify::{Conflict, LogFacts};

use crate::view::paint::Paint;
use crate::view::{amount, escape};

/// No name that somebody gave is shown longer, in characters.
const NAME: usize = 80;

/// Behind the check's word: where, and how many witnesses.
pub(crate) fn place(f: &LogFacts) -> String {
    let at = amount::count(f.index);
    let of = amount::count(f.size);
    let witnesses = match f.witnesses.len() as u64 {
        0 => "no witness".to_owned(),
        n => amount::counted(n, "witness", "witnesses"),
    };
    let bound = match f.signers.len() {
        0 | 1 => "",
        _ => ", signed by a key that a quote binds",
    };
    format!("  in the log at {at} of {of}, cosigned by {witnesses}{bound}")
}

/// Which log and which witnesses, and why its head was not compared.
pub(crate) fn brief(f: &LogFacts, paint: Paint) -> String {
    let name = |text: &str| escape::short(&escape::line(text), NAME);
    let row = |key: &str, value: &str| {
        let key = paint.dim(&format!("{key:<13}"));
        format!("    {key} {value}\n")
    };
    let mut text = row("log", &name(&f.origin));
    if !f.witnesses.is_empty() {
        let said = f.witnesses.iter();
        let said: Vec<_> = said
            .map(|w| format!("{} {}", name(&w.name), escape::line(&w.time)))
            .collect();
        text.push_str(&row("witnesses", &said.join(", ")));
    }
    if let Some(why) = &f.uncompared {
        text.push_str(&row("not compared", &escape::line(why)));
    }
    text
}

/// Both heads, whole: whoever has them can show what the log did.
pub(crate) fn conflict(c: &Conflict) -> String {
    let mut text = String::new();
    for (what, head) in [("seen before", &c.remembered), ("shown now", &c.shown)] {
        text.push_str(&format!("    {what}:\n"));
        for line in head.lines() {
            text.push_str(&format!("      {}\n", escape::line(line)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use atlas_manifests::digest::Sha256;
    use atlas_manifests::verify::Witness;

    fn facts() -> LogFacts {
        LogFacts {
            origin: "log.example/a\u{1b}[2J".to_owned(),
            index: 4,
            size: 17,
            root: Sha256([0; 32]),
            signers: vec!["log.example/a".to_owned()],
            witnesses: Vec::new(),
            uncompared: None,
            conflict: None,
        }
    }

    #[test]
    fn a_place_says_how_many_witnesses_there_were_and_no_name_reaches_the_terminal() {
        let mut f = facts();
        assert_eq!(place(&f), "  in the log at 4 of 17, cosigned by no witness");
        f.witnesses.push(Witness {
            name: "w\n".to_owned(),
            time: "2026-11-26T12:00:00Z".to_owned(),
        });
        f.signers.push("log.example/a/00".to_owned());
        assert!(place(&f).ends_with("cosigned by 1 witness, signed by a key that a quote binds"));
        let brief = brief(&f, Paint::PLAIN);
        assert!(!brief.contains('\u{1b}'), "{brief:?}");
        assert!(brief.contains("w\\n 2026-11-26T12:00:00Z"), "{brief}");
    }

    #[test]
    fn two_heads_are_shown_whole() {
        let head = "log.example/a\n3\nCsUY=\n\n\u{2014} log.example/a Az3grl==\n";
        let shown = conflict(&Conflict {
            what: "split".to_owned(),
            remembered: head.to_owned(),
            shown: head.to_owned(),
        });
        assert_eq!(shown.matches("\u{2014} log.example/a Az3grl==").count(), 2);
        assert_eq!(shown.lines().count(), 12);
    }
}

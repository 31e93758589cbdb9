//! Bounds on what a statement says, so that its manifest stays small whatever a job calls its files. Cuts are visible; nothing else is changed.

use crate::kind::UNKNOWN;
use crate::statement::{Input, MAX_DIRECT_INPUTS, Origin, RunStatement, Statement};

/// Ends every text that was cut. The whole value belongs into the private record.
pub const CUT_MARK: &str = "...[cut]";

/// Bytes of a title, a program's or a run's name. A file name of a Linux file system fits.
const NAME: usize = 255;
/// Bytes of an input's title: eight of them must fit beside everything else.
const INPUT_NAME: usize = 96;
/// Bytes of anything that has a fixed form: times, media types, types, field names, commits.
const WORD: usize = 80;
/// Bytes of all `--meta` keys and values together, with 4 counted for each pair.
const META: usize = 1024;
/// Bytes of the name of a withheld field.
const FIELD: usize = 24;
/// Asset types in one manifest.
const TYPES: usize = 4;
/// Commitments in one manifest.
const WITHHELD: usize = 16;

/// What will be said of a statement: long texts are cut and marked, lists are shortened. Trimming twice changes nothing more.
pub fn trim(s: &Statement) -> Statement {
    let mut out = s.clone();
    cut_option(&mut out.title, NAME);
    cut(&mut out.sealed_at, WORD);
    media_type(&mut out.asset.media_type);
    out.asset.types.truncate(TYPES);
    out.asset.types.retain(|t| t != super::TYPE_DATA);
    for t in &mut out.asset.types {
        cut(t, WORD);
    }
    out.withheld.truncate(WITHHELD);
    for w in &mut out.withheld {
        cut(&mut w.field, FIELD);
    }
    let room = MAX_DIRECT_INPUTS - usize::from(out.parent.is_some());
    out.inputs.truncate(room);
    out.parent.iter_mut().chain(&mut out.inputs).for_each(input);
    match &mut out.origin {
        Origin::Run(r) => run(r),
        Origin::Registered { name, author } => {
            cut_option(name, NAME);
            cut_option(author, NAME);
        }
    }
    out
}

fn input(i: &mut Input) {
    cut_option(&mut i.title, INPUT_NAME);
    media_type(&mut i.media_type);
}

fn run(r: &mut RunStatement) {
    cut_option(&mut r.name, NAME);
    cut(&mut r.program, NAME);
    cut(&mut r.started, WORD);
    if let Some(git) = &mut r.git {
        cut(&mut git.commit, WORD);
    }
    meta(&mut r.meta);
}

/// Keeps the first pairs that fit, and says how many are missing in a last pair whose key is the mark.
fn meta(pairs: &mut Vec<(String, String)>) {
    let cost = |(k, v): &(String, String)| k.len() + v.len() + 4;
    for (k, v) in pairs.iter_mut() {
        cut(k, WORD);
        cut(v, NAME);
    }
    if pairs.iter().map(cost).sum::<usize>() <= META {
        return;
    }
    let all = pairs.len();
    let note = |missing: usize| (CUT_MARK.to_owned(), format!("{missing} more"));
    let mut left = META - cost(&note(all));
    let fit = pairs
        .iter()
        .take_while(|p| {
            let fits = cost(p) <= left;
            left -= if fits { cost(p) } else { 0 };
            fits
        })
        .count();
    pairs.truncate(fit);
    pairs.push(note(all - fit));
}

fn cut_option(text: &mut Option<String>, max: usize) {
    if let Some(text) = text {
        cut(text, max);
    }
}

/// Cuts at a character's end, so that at most `max` bytes are left with the mark.
fn cut(text: &mut String, max: usize) {
    if text.len() <= max {
        return;
    }
    text.truncate(text.floor_char_boundary(max - CUT_MARK.len()));
    text.push_str(CUT_MARK);
}

/// Anything that is not `type/subtype` in plain ASCII would be rewritten or refused further down.
fn media_type(text: &mut String) {
    let part = |p: &str| {
        !p.is_empty()
            && p.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-._".contains(&b))
    };
    let good = text.len() <= WORD
        && text
            .split_once('/')
            .is_some_and(|(t, s)| part(t) && part(s));
    if !good {
        UNKNOWN.clone_into(text);
    }
}

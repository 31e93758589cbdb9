//! `atlasctl log watch`: remembers what a log showed, and tells when it shows something else. It mends nothing.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::memory::{Both, Judged, Memory};
use atlas_manifests::log::note::VerifierKey;
use atlas_manifests::log::quorum::Quorum;
use atlas_manifests::log::reader::{LogReader, Source as _};
use atlas_manifests::log::tile::Resource;
use serde::Serialize;

use super::at::At;
use super::{REFUSED, forgotten, policy, signer, witnesses};
use crate::cli::{Global, LogWatchArgs};
use crate::exit::{Code, Failure};
use crate::terms::usual_heads;
use crate::view::escape;
use crate::view::json;
use crate::view::out::{self, Out};

#[derive(Serialize)]
struct Document<'a> {
    origin: &'a str,
    size: u64,
    root: String,
    was: Option<u64>,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
}

#[derive(Serialize)]
struct Evidence {
    remembered: String,
    shown: String,
    files: [PathBuf; 2],
}

/// Looks, once or again and again.
pub(super) fn watch(args: &LogWatchArgs, global: &Global, out: &mut Out) -> Result<Code, Failure> {
    let policy = policy(args.policy.as_deref())?;
    let dir = match &global.state {
        Some(dir) => dir.clone(),
        None => {
            usual_heads().ok_or_else(|| Failure::error("no home directory: give --state DIR"))?
        }
    };
    let memory = Memory::open(&dir).map_err(|e| forgotten(&e))?;
    loop {
        match look(args, global, &policy, &memory, out) {
            Ok(Code::OK) => {}
            Ok(code) => return Ok(code),
            // One that is not reached now may be reached later; anything else is for a person.
            Err(e) if e.code == Code::ERROR && !args.once => e.report(None),
            Err(e) => return Err(e),
        }
        out.flush()?;
        if args.once {
            return Ok(Code::OK);
        }
        thread::sleep(Duration::from_secs(args.interval));
    }
}

fn look(
    args: &LogWatchArgs,
    global: &Global,
    policy: &Quorum,
    memory: &Memory,
    out: &mut Out,
) -> Result<Code, Failure> {
    let at = At::find(Some(&args.log), global)?;
    let name = at.name();
    let bytes = at
        .get(&Resource::Checkpoint)
        .map_err(|e| Failure::error(e.to_string()))?
        .ok_or_else(|| {
            Failure::error(format!(
                "{name}: has no checkpoint: nothing is logged there"
            ))
        })?;
    let shown =
        Checkpoint::parse(&bytes).map_err(|e| Failure::new(REFUSED, format!("{name}: {e}")))?;
    let key = believed(&at, &shown, args, policy)?;
    if let Some(why) = witnesses(&shown, policy) {
        return Err(Failure::new(REFUSED, format!("{name}: {why}")));
    }
    let judged = memory
        .observe(&shown, &key, |old, new| {
            // Its tiles lead to the root that is shown, or there is no proof: what a server garbles on the way convicts no log.
            let log = LogReader::at(&at, shown.clone()).map_err(|e| e.to_string())?;
            log.consistency(old.size, new.size)
                .map_err(|e| e.to_string())
        })
        .map_err(|e| forgotten(&e))?;
    tell(&shown, &judged, memory, global.json, out)
}

/// The key to believe: one that was given, else one that a pinned authority certified, else the one that the log names first, which its memory then
/// holds it to.
fn believed(
    at: &At,
    shown: &Checkpoint,
    args: &LogWatchArgs,
    policy: &Quorum,
) -> Result<VerifierKey, Failure> {
    if !args.key.is_empty() || !policy.logs().is_empty() {
        return signer(shown, &args.key, policy);
    }
    if let Some(certified) = at.certified()? {
        return signer(shown, &[certified], policy);
    }
    let own = at.keys()?.into_iter().next().ok_or_else(|| {
        let text = format!("{}: names no key: give --key VKEY", at.name());
        Failure::new(Code::NOT_TRUSTED, text)
    })?;
    signer(shown, &[own], policy)
}

fn tell(
    shown: &Checkpoint,
    judged: &Judged,
    memory: &Memory,
    json: bool,
    out: &mut Out,
) -> Result<Code, Failure> {
    let head = &shown.head.head;
    let (verdict, was, both) = match judged {
        Judged::First => ("first", None, None),
        Judged::Same => ("same", Some(head.size), None),
        Judged::Grown { from } => ("grown", Some(from.size), None),
        Judged::Rollback(both) => ("rollback", Some(both.remembered.head.head.size), Some(both)),
        Judged::Split(both) => ("split", Some(both.remembered.head.head.size), Some(both)),
    };
    let evidence = both.map(|b| keep(b, memory)).transpose()?;
    let origin = escape::line(&shown.head.origin);
    if json {
        let line = json::line(&Document {
            origin: &shown.head.origin,
            size: head.size,
            root: head.root.hex(),
            was,
            verdict,
            evidence,
        });
        out.line(&line.map_err(|e| Failure::error(format!("JSON: {e}")))?)?;
    } else if let Some(evidence) = &evidence {
        let what = match judged {
            Judged::Rollback(_) => "shows a smaller head than before: something was taken back",
            _ => "shows a history that does not extend the one before: the view is split",
        };
        out.line(&out.paint.bad(&format!("{origin}: {what}")))?;
        for (name, text) in [("before", &evidence.remembered), ("now", &evidence.shown)] {
            out.line(&format!("\n{name}:"))?;
            for line in text.lines() {
                out.line(&escape::line(line))?;
            }
        }
        let [old, new] = &evidence.files;
        out::say(&format!("kept in {} and {}", old.display(), new.display()));
    } else {
        let grew = match judged {
            Judged::Grown { from } => format!(", grown from {}", from.size),
            Judged::First => ", seen for the first time".to_owned(),
            _ => String::new(),
        };
        out.line(&format!(
            "{origin}: {} {}{grew}",
            head.size,
            head.root.hex()
        ))?;
    }
    Ok(match both {
        Some(_) => REFUSED,
        None => Code::OK,
    })
}

fn keep(both: &Both, memory: &Memory) -> Result<Evidence, Failure> {
    let text = |c: &Checkpoint| String::from_utf8_lossy(&c.encode()).into_owned();
    let files = memory.keep(both).map_err(|e| forgotten(&e))?;
    Ok(Evidence {
        remembered: text(&both.remembered),
        shown: text(&both.shown),
        files,
    })
}

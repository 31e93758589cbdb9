//! `atlasctl log show`: a log's newest head and who signed it, or one leaf. What is shown is read against the root; whom to believe is for `check`.

use atlas_manifests::digest::hex;
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::leaf::{Leaf, Revoked};
use atlas_manifests::log::note::{KeyKind, Signature, Signed, VerifierKey};
use atlas_manifests::log::quorum::{Quorum, Says};
use atlas_manifests::log::reader::LogReader;
use atlas_manifests::log::tile::WIDTH;
use atlas_manifests::merkle::leaf_hash;
use serde::Serialize;

use super::at::At;
use super::{SKEW, failed, moment, now, policy};
use crate::cli::{Global, LogShowArgs};
use crate::exit::{Code, Failure};
use crate::view::amount;
use crate::view::escape;
use crate::view::out::Out;
use crate::view::sheet::Sheet;

/// How many bundles are looked through for the newest anchor.
const LOOK: u64 = 16;

#[derive(Serialize)]
struct Document {
    log: String,
    origin: String,
    size: u64,
    root: String,
    signatures: Vec<Line>,
    witnesses: Vec<WitnessLine>,
    quorum: Option<bool>,
    anchor: Option<LeafDocument>,
}

#[derive(Serialize)]
struct Line {
    name: String,
    id: String,
    by: &'static str,
}

#[derive(Serialize)]
struct WitnessLine {
    name: String,
    key: String,
    says: String,
}

/// A leaf as it is shown.
#[derive(Serialize)]
struct LeafDocument {
    index: u64,
    kind: &'static str,
    hash: String,
    #[serde(flatten)]
    facts: serde_json::Map<String, serde_json::Value>,
}

/// Shows it.
pub(super) fn show(args: &LogShowArgs, global: &Global, out: &mut Out) -> Result<Code, Failure> {
    let at = At::find(args.log.as_deref(), global)?;
    let policy = policy(args.policy.as_deref())?;
    let (name, keys) = (at.name(), at.keys()?);
    let log = LogReader::open(at).map_err(|e| failed(&name, &e))?;
    if let Some(index) = args.leaf {
        let bytes = log.leaf(index).map_err(|e| failed(&name, &e))?;
        let leaf = document(index, &bytes);
        if global.json {
            out.json(&leaf)?;
        } else {
            out.text(&leaf.sheet(out).text)?;
        }
        return Ok(Code::OK);
    }
    let checkpoint = log.checkpoint();
    let judged = policy.judge(checkpoint, Some(now()), SKEW);
    let head = &checkpoint.head;
    let shown = Document {
        log: name.clone(),
        origin: head.origin.clone(),
        size: head.head.size,
        root: head.head.root.hex(),
        signatures: lines(checkpoint, &keys, &policy),
        witnesses: witnesses(&policy, &judged.witnesses),
        quorum: policy.demands().then_some(judged.met),
        anchor: newest_anchor(&log).map_err(|e| failed(&name, &e))?,
    };
    if global.json {
        out.json(&shown)?;
    } else {
        out.text(&shown.sheet(out))?;
    }
    Ok(Code::OK)
}

fn newest_anchor(
    log: &LogReader<At>,
) -> Result<Option<LeafDocument>, atlas_manifests::log::reader::LogError> {
    let bundles = log.head().size.div_ceil(WIDTH);
    for number in (0..bundles).rev().take(LOOK as usize) {
        let bundle = log.leaves(number)?;
        for at in (0..bundle.len()).rev() {
            let bytes = bundle.get(at).unwrap_or_default();
            if matches!(Leaf::decode(bytes), Ok(Leaf::Anchor { .. })) {
                return Ok(Some(document(number * WIDTH + at as u64, bytes)));
            }
        }
    }
    Ok(None)
}

/// Who made each line, as far as the keys that are known here say: those that the log names, which nobody vouches for, and the policy's.
fn lines(checkpoint: &Checkpoint, named: &[VerifierKey], policy: &Quorum) -> Vec<Line> {
    let believed = || policy.logs().iter().map(|l| &l.key);
    let by = |line: &Signature| {
        let signed = |k: &VerifierKey| {
            k.kind() == KeyKind::Ed25519
                && k.made(line)
                && checkpoint.note.signed_by(k) == Signed::Yes
        };
        let claims = |k: &VerifierKey| k.made(line);
        if believed().any(signed) {
            "a log of the policy"
        } else if policy.witnesses().iter().any(|w| w.key.made(line)) {
            "a witness of the policy"
        } else if named.iter().any(signed) {
            "a key that the log names"
        } else if named.iter().chain(believed()).any(claims) {
            "nobody: it is forged"
        } else {
            "a key that is not known here"
        }
    };
    let line = |s: &Signature| Line {
        name: s.name.clone(),
        id: format!("{:08x}", s.id),
        by: by(s),
    };
    checkpoint.note.signatures.iter().map(line).collect()
}

fn witnesses(policy: &Quorum, says: &[Says]) -> Vec<WitnessLine> {
    let line = |(w, says): (&atlas_manifests::log::quorum::KnownWitness, &Says)| WitnessLine {
        name: w.label(),
        key: w.key.to_string(),
        says: match says {
            Says::Nothing => "nothing".to_owned(),
            Says::Cosigned(time) => format!("cosigned at {}", moment(*time)),
            Says::Forged => "nothing: its line is forged".to_owned(),
            Says::Future(time) => format!("cosigned at {}, which is to come", moment(*time)),
            Says::Undated => "cosigned without a time".to_owned(),
        },
    };
    policy.witnesses().iter().zip(says).map(line).collect()
}

impl Document {
    fn sheet(&self, out: &Out) -> String {
        let mut sheet = Sheet::new(&escape::line(&self.origin), out.paint);
        sheet.row("log", &escape::line(&self.log));
        sheet.row("size", &amount::counted(self.size, "leaf", "leaves"));
        sheet.row("root", &self.root);
        for line in &self.signatures {
            let (name, id) = (escape::line(&line.name), &line.id);
            sheet.row("signed", &format!("{name} {id}, by {}", line.by));
        }
        for witness in &self.witnesses {
            let (name, says) = (escape::line(&witness.name), &witness.says);
            sheet.row("witness", &format!("{name}: {says}"));
        }
        if let Some(met) = self.quorum {
            let text = match met {
                true => out.paint.good("enough witnesses cosigned"),
                false => out.paint.bad("too few witnesses cosigned"),
            };
            sheet.row("quorum", &text);
        }
        if let Some(anchor) = &self.anchor {
            let of = |key: &str| anchor.facts.get(key).map(word).unwrap_or_default();
            let text = format!(
                "leaf {}: number {} of instance {}, {} manifests",
                anchor.index,
                of("seq"),
                of("instance"),
                of("manifests")
            );
            sheet.row("anchor", &text);
        }
        sheet.text
    }
}

impl LeafDocument {
    fn sheet(&self, out: &Out) -> Sheet {
        let title = format!("leaf {}: {}", self.index, self.kind);
        let mut sheet = Sheet::new(&title, out.paint);
        for (key, value) in &self.facts {
            sheet.row(key, &escape::line(&word(value)));
        }
        sheet.row("hash", &self.hash);
        sheet
    }
}

fn word(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}

fn document(index: u64, bytes: &[u8]) -> LeafDocument {
    let mut facts = serde_json::Map::new();
    let mut put = |key: &str, value: serde_json::Value| {
        facts.insert(key.to_owned(), value);
    };
    let decoded = Leaf::decode(bytes);
    match &decoded {
        Err(e) => {
            put("trouble", e.to_string().into());
            put("bytes", hex(bytes).into());
        }
        Ok(Leaf::Manifest { manifest, instance }) => {
            put("manifest", manifest.to_string().into());
            put("instance", instance.to_string().into());
        }
        Ok(Leaf::Inputs { run, head }) => {
            put("run", run.to_string().into());
            put("size", head.size.into());
            put("root", head.root.hex().into());
        }
        Ok(Leaf::Instance {
            instance,
            evidence,
            seal_key,
            log_key,
        }) => {
            put("instance", instance.to_string().into());
            put("evidence", evidence.map(|d| d.to_string()).into());
            put("seal_key", seal_key.to_string().into());
            put("log_key", log_key.map(|d| d.to_string()).into());
        }
        Ok(Leaf::Anchor {
            instance,
            seq,
            manifests,
            evidence,
            last,
        }) => {
            put("instance", instance.to_string().into());
            put("seq", (*seq).into());
            put("manifests", (*manifests).into());
            put("evidence", evidence.map(|d| d.to_string()).into());
            put("last", (*last).into());
        }
        Ok(Leaf::Revocation { what, reason }) => {
            let (of, id) = match what {
                Revoked::Manifest(digest) => ("manifest", digest.to_string()),
                Revoked::Instance(id) => ("instance", id.to_string()),
            };
            put(of, id.into());
            put("reason", reason.as_str().into());
        }
    }
    LeafDocument {
        index,
        kind: decoded.map_or("unknown", |l| l.kind()),
        hash: leaf_hash(bytes).hex(),
        facts,
    }
}

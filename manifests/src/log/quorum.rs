//! Which logs are believed, and how many witnesses must have cosigned (C2SP tlog-policy). Not how they are asked: `atlas_net::witness`. Keys are
//! Ed25519 (kinds 1 and 4): a policy that names an ML-DSA-44 witness is refused, not read without it.

use std::collections::{HashMap, HashSet};

use super::checkpoint::{Checkpoint, decimal};
use super::cosignature::{Witnessed, witnessed};
use super::note::{KeyKind, Signed, VerifierKey};

/// No policy file is longer, in bytes.
pub const MAX_POLICY: usize = 256 << 10;
/// No policy has more logs, nor more witnesses, nor more groups.
pub const MAX_LINES: usize = 256;
/// The name that asks for no cosignature.
const NONE: &[u8] = b"none";

/// Why bytes are no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a policy of logs and witnesses: line {line}: {why}")]
pub struct QuorumError {
    /// Counted from 1; one past the last when something is missing.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

/// A log that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownLog {
    /// Its key, whose name is its origin.
    pub key: VerifierKey,
    /// Where it is, if the policy says so.
    pub url: Option<String>,
}

/// A witness that may count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownWitness {
    /// What the policy calls it: octets, as in the file.
    pub name: Vec<u8>,
    /// Its key.
    pub key: VerifierKey,
    /// Where it is asked (C2SP tlog-witness: the submission prefix), if the policy says so. What is not UTF-8 in it was replaced.
    pub url: Option<String>,
}

impl KnownWitness {
    /// Its name for people. Escape it before a terminal sees it.
    pub fn label(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}

/// A policy: logs, witnesses, and which of these must have cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    logs: Vec<KnownLog>,
    witnesses: Vec<KnownWitness>,
    /// In the order of the file: members stand before whoever names them.
    nodes: Vec<Node>,
    /// `None`: no cosignature is needed.
    goal: Option<usize>,
}

/// What a quorum is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    /// Which of the witnesses.
    Witness(usize),
    /// At least so many of these nodes.
    Group { least: usize, members: Vec<usize> },
}

/// What one witness of the policy says of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Nothing.
    Nothing,
    /// It cosigned at this time, in seconds since 1970.
    Cosigned(u64),
    /// A line says that it cosigned, and it did not: the whole checkpoint is not to be believed.
    Forged,
    /// It cosigned, at a time that has not come yet: this counts for nothing.
    Future(u64),
    /// It cosigned without a time: this counts for nothing.
    Undated,
}

/// What a policy says of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Which of the policy's logs signed it, by its place there.
    pub log: Option<usize>,
    /// A line says that a log of the policy signed, and it did not.
    pub log_forged: bool,
    /// What each witness says, in the order of the policy.
    pub witnesses: Vec<Says>,
    /// Enough of them cosigned, and no line of a known log or witness is forged.
    pub met: bool,
}

impl Judgement {
    /// Whether a line of a known key was not made by it: the whole note is not to be believed.
    pub fn forged(&self) -> bool {
        self.log_forged || self.witnesses.contains(&Says::Forged)
    }

    /// How many cosignatures count.
    pub fn cosigned(&self) -> usize {
        let counts = |s: &&Says| matches!(s, Says::Cosigned(_));
        self.witnesses.iter().filter(counts).count()
    }
}

impl Quorum {
    /// No logs, no witnesses, nothing demanded.
    pub fn none() -> Self {
        Self {
            logs: Vec::new(),
            witnesses: Vec::new(),
            nodes: Vec::new(),
            goal: None,
        }
    }

    /// Reads a policy file.
    ///
    /// # Errors
    /// When it is not exactly one policy of keys that are known here.
    pub fn parse(bytes: &[u8]) -> Result<Self, QuorumError> {
        let mut reading = Reading::default();
        let fail = |line, why: String| QuorumError { line, why };
        if bytes.len() > MAX_POLICY {
            return Err(fail(
                1,
                format!("the file is longer than {MAX_POLICY} bytes"),
            ));
        }
        let lines = bytes.strip_suffix(b"\n");
        let count = bytes.iter().filter(|b| **b == b'\n').count();
        let Some(lines) = lines else {
            return Err(fail(count + 1, "it does not end in a newline".to_owned()));
        };
        for (at, line) in lines.split(|b| *b == b'\n').enumerate() {
            reading.line(line).map_err(|why| fail(at + 1, why))?;
        }
        let goal = reading.goal.ok_or_else(|| {
            let why = "no quorum line: say `quorum NAME` or `quorum none`";
            fail(count + 1, why.to_owned())
        })?;
        Ok(Self {
            logs: reading.logs,
            witnesses: reading.witnesses,
            nodes: reading.nodes,
            goal,
        })
    }

    /// The logs that are believed, in the order of the file.
    pub fn logs(&self) -> &[KnownLog] {
        &self.logs
    }

    /// The witnesses, in the order of the file.
    pub fn witnesses(&self) -> &[KnownWitness] {
        &self.witnesses
    }

    /// Whether any cosignature is needed.
    pub fn demands(&self) -> bool {
        self.goal.is_some()
    }

    /// Whether these witnesses are enough: one answer for each, in the order of the file.
    pub fn met_by(&self, counts: impl Fn(usize) -> bool) -> bool {
        let mut met: Vec<bool> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            met.push(match node {
                Node::Witness(which) => counts(*which),
                Node::Group { least, members } => {
                    members.iter().filter(|m| met[**m]).count() >= *least
                }
            });
        }
        self.goal.is_none_or(|goal| met[goal])
    }

    /// What the policy says of a checkpoint. `now` in seconds since 1970: a cosignature may be dated up to `skew` seconds later. Without it no
    /// time is too late.
    pub fn judge(&self, checkpoint: &Checkpoint, now: Option<u64>, skew: u64) -> Judgement {
        let (mut log, mut log_forged) = (None, false);
        for (at, known) in self.logs.iter().enumerate() {
            match checkpoint.signed_by_log(&known.key) {
                Signed::No => {}
                Signed::Yes => log = log.or(Some(at)),
                Signed::Forged => log_forged = true,
            }
        }
        let latest = now.map_or(u64::MAX, |now| now.saturating_add(skew));
        let says = |w: &KnownWitness| match witnessed(checkpoint, &w.key) {
            Witnessed::No => Says::Nothing,
            Witnessed::Forged => Says::Forged,
            Witnessed::At(0) => Says::Undated,
            Witnessed::At(time) if time > latest => Says::Future(time),
            Witnessed::At(time) => Says::Cosigned(time),
        };
        let witnesses: Vec<_> = self.witnesses.iter().map(says).collect();
        let enough = self.met_by(|w| matches!(witnesses[w], Says::Cosigned(_)));
        let mut judged = Judgement {
            log,
            log_forged,
            witnesses,
            met: false,
        };
        judged.met = enough && !judged.forged();
        judged
    }
}

/// A policy while it is read.
#[derive(Default)]
struct Reading {
    logs: Vec<KnownLog>,
    witnesses: Vec<KnownWitness>,
    nodes: Vec<Node>,
    names: HashMap<Vec<u8>, usize>,
    log_keys: HashSet<[u8; 32]>,
    witness_keys: HashSet<[u8; 32]>,
    grouped: HashSet<usize>,
    groups: usize,
    goal: Option<Option<usize>>,
}

impl Reading {
    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        let allowed = |b: &u8| matches!(b, b'\t' | 0x20..=0x7e | 0x80..);
        if let Some(bad) = line.iter().find(|b| !allowed(b)) {
            return Err(format!("the control character 0x{bad:02x} is not allowed"));
        }
        let words: Vec<&[u8]> = line
            .split(|b| matches!(b, b' ' | b'\t'))
            .filter(|w| !w.is_empty())
            .collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", vkey] => self.log(vkey, None),
            [b"log", vkey, url] => self.log(vkey, Some(url)),
            [b"witness", name, vkey] => self.witness(name, vkey, None),
            [b"witness", name, vkey, url] => self.witness(name, vkey, Some(url)),
            [b"group", name, least, members @ ..] => self.group(name, least, members),
            [b"quorum", name] => self.quorum(name),
            [b"log", ..] => Err("expected log VKEY [URL]".to_owned()),
            [b"witness", ..] => Err("expected witness NAME VKEY [URL]".to_owned()),
            [b"group", ..] => Err("expected group NAME all|any|K NAME...".to_owned()),
            [b"quorum", ..] => Err("expected quorum NAME|none".to_owned()),
            [other, ..] => Err(format!(
                "{:?} is none of log, witness, group, quorum",
                String::from_utf8_lossy(other)
            )),
        }
    }

    fn log(&mut self, vkey: &[u8], url: Option<&&[u8]>) -> Result<(), String> {
        let key = key(vkey, KeyKind::Ed25519, "a log's key is of kind 1")?;
        room(self.logs.len(), "logs")?;
        if !self.log_keys.insert(*key.public()) {
            return Err("this log's public key stands in a line before".to_owned());
        }
        let url = url.map(|u| text(u));
        self.logs.push(KnownLog { key, url });
        Ok(())
    }

    fn witness(&mut self, name: &[u8], vkey: &[u8], url: Option<&&[u8]>) -> Result<(), String> {
        let wrong = "a witness' key is of kind 4 (cosignature/v1)";
        let key = key(vkey, KeyKind::Cosignature, wrong)?;
        room(self.witnesses.len(), "witnesses")?;
        // Otherwise one witness would count twice.
        if !self.witness_keys.insert(*key.public()) {
            return Err("this witness' public key stands in a line before".to_owned());
        }
        self.define(name, Node::Witness(self.witnesses.len()))?;
        self.witnesses.push(KnownWitness {
            name: name.to_vec(),
            key,
            url: url.map(|u| text(u)),
        });
        Ok(())
    }

    fn group(&mut self, name: &[u8], least: &[u8], members: &[&[u8]]) -> Result<(), String> {
        room(self.groups, "groups")?;
        if members.is_empty() {
            return Err("a group has at least one member".to_owned());
        }
        let nodes = members
            .iter()
            .map(|m| self.known(m))
            .collect::<Result<Vec<_>, _>>()?;
        for (node, member) in nodes.iter().zip(members) {
            if !self.grouped.insert(*node) {
                let member = text(member);
                return Err(format!("{member:?} is a member of a group already"));
            }
        }
        let n = nodes.len();
        let least = match least {
            b"all" => n,
            b"any" => 1,
            k => std::str::from_utf8(k)
                .ok()
                .and_then(decimal)
                .and_then(|k| usize::try_from(k).ok())
                .filter(|k| (1..=n).contains(k))
                .ok_or_else(|| format!("expected all, any, or a number from 1 to {n}"))?,
        };
        self.groups += 1;
        self.define(
            name,
            Node::Group {
                least,
                members: nodes,
            },
        )
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), String> {
        let goal = match name {
            NONE => None,
            name => Some(self.known(name)?),
        };
        match self.goal.replace(goal) {
            None => Ok(()),
            Some(_) => Err("a second quorum line".to_owned()),
        }
    }

    fn define(&mut self, name: &[u8], node: Node) -> Result<(), String> {
        if name == NONE {
            return Err("the name none has a meaning already".to_owned());
        }
        if self.names.contains_key(name) {
            return Err(format!("the name {:?} stands in a line before", text(name)));
        }
        self.names.insert(name.to_vec(), self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    fn known(&self, name: &[u8]) -> Result<usize, String> {
        self.names.get(name).copied().ok_or_else(|| {
            let name = text(name);
            format!("no witness or group {name:?} stands in a line before")
        })
    }
}

fn key(vkey: &[u8], kind: KeyKind, wrong: &str) -> Result<VerifierKey, String> {
    let vkey = std::str::from_utf8(vkey).map_err(|_| "the key is not UTF-8".to_owned())?;
    let key: VerifierKey = vkey
        .parse()
        .map_err(|e: super::note::NoteError| e.0.to_owned())?;
    if key.kind() == kind {
        Ok(key)
    } else {
        Err(wrong.to_owned())
    }
}

fn room(have: usize, what: &str) -> Result<(), String> {
    if have < MAX_LINES {
        Ok(())
    } else {
        Err(format!("more than {MAX_LINES} {what}"))
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[cfg(test)]
#[path = "quorum_tests.rs"]
mod tests;

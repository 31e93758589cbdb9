//! `atlasctl log check`: a proof that stands alone, or a whole log. The rules are those of `atlas_manifests::log`.

use std::ffi::OsStr;
use std::path::Path;

use atlas_manifests::digest::Sha256;
use atlas_manifests::given;
use atlas_manifests::log::audit::{Breach, Counts, audit};
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::leaf::Leaf;
use atlas_manifests::log::note::VerifierKey;
use atlas_manifests::log::proof::{MAX_FILE, Proof};
use atlas_manifests::log::quorum::Quorum;
use atlas_manifests::log::reader::LogReader;
use serde::Serialize;

use super::at::{At, is_url};
use super::{REFUSED, failed, policy, prove, signer, witnesses};
use crate::cli::{Global, LogCheckArgs};
use crate::exit::{Code, Failure};
use crate::view::amount::counted;
use crate::view::escape;
use crate::view::out::Out;

/// No manifest is longer, in bytes.
const MAX_MANIFEST: u64 = 1 << 20;
/// Breaches that are told one by one.
const MOST: usize = 1000;

#[derive(Serialize)]
struct Document {
    origin: String,
    size: u64,
    root: String,
    key: Option<String>,
    index: Option<u64>,
    counts: Option<Numbers>,
    breaches: Vec<Told>,
    code: u8,
}

#[derive(Serialize)]
struct Numbers {
    manifests: u64,
    inputs: u64,
    instances: u64,
    anchors: u64,
    revocations: u64,
}

#[derive(Serialize)]
struct Told {
    leaf: Option<u64>,
    text: String,
}

/// What was found so far.
struct Findings {
    document: Document,
    more: usize,
}

/// Checks it.
pub(super) fn check(args: &LogCheckArgs, global: &Global, out: &mut Out) -> Result<Code, Failure> {
    let policy = policy(args.policy.as_deref())?;
    let path = Path::new(&args.what);
    let is_proof = !args.what.to_str().is_some_and(is_url) && path.is_file();
    let found = if is_proof {
        proof(path, args, &policy)?
    } else {
        log(args, global, &policy)?
    };
    found.show(global, out)
}

fn proof(path: &Path, args: &LogCheckArgs, policy: &Quorum) -> Result<Findings, Failure> {
    let shown = path.display();
    let bytes =
        given::read(path, MAX_FILE as u64).map_err(|e| Failure::error(format!("{shown}: {e}")))?;
    let proof = Proof::parse(&bytes).map_err(|e| Failure::new(REFUSED, format!("{shown}: {e}")))?;
    let Some(manifest) = &args.manifest else {
        return Err(Failure::new(
            Code::USAGE,
            format!("{shown}: a proof of what? give --manifest FILE.c2pa or --manifest sha256:HEX"),
        ));
    };
    let manifest = digest(manifest)?;
    let mut found = Findings::of(&proof.checkpoint, &args.key, policy);
    found.document.index = Some(proof.index);
    let leaf = match args.instance {
        Some(instance) => Some(Leaf::Manifest { manifest, instance }.hash()),
        None => prove::leaf(&proof, &manifest),
    };
    match leaf {
        Some(leaf) if proof.holds(&leaf) => {}
        Some(_) => found.refuse(None, format!("it does not prove the manifest {manifest}")),
        None => found.refuse(
            None,
            format!("it brings no leaf of the manifest {manifest}: give --instance if it should"),
        ),
    }
    Ok(found)
}

fn log(args: &LogCheckArgs, global: &Global, policy: &Quorum) -> Result<Findings, Failure> {
    if args.manifest.is_some() {
        let text = "--manifest is for a proof: see atlasctl log prove";
        return Err(Failure::new(Code::USAGE, text));
    }
    let at = At::find(Some(&args.what), global)?;
    let name = at.name();
    let mut keys = args.key.clone();
    if keys.is_empty() && policy.logs().is_empty() {
        keys.extend(at.certified()?);
    }
    let log = LogReader::open(at).map_err(|e| failed(&name, &e))?;
    let mut found = Findings::of(log.checkpoint(), &keys, policy);
    let counts = audit(&log, |Breach { index, what }| {
        found.refuse(Some(index), what);
    })
    .map_err(|e| failed(&name, &e))?;
    found.document.counts = Some(Numbers::of(counts));
    Ok(found)
}

/// A manifest's digest, given as such or as its file.
fn digest(given: &OsStr) -> Result<Sha256, Failure> {
    if let Some(digest) = given.to_str().and_then(|t| t.parse().ok()) {
        return Ok(digest);
    }
    let path = Path::new(given);
    let bytes = given::read(path, MAX_MANIFEST)
        .map_err(|e| Failure::error(format!("{}: {e}", path.display())))?;
    Ok(Sha256::of(&bytes))
}

impl Numbers {
    fn of(c: Counts) -> Self {
        Self {
            manifests: c.manifests,
            inputs: c.inputs,
            instances: c.instances,
            anchors: c.anchors,
            revocations: c.revocations,
        }
    }
}

impl Findings {
    fn of(checkpoint: &Checkpoint, keys: &[VerifierKey], policy: &Quorum) -> Self {
        let head = &checkpoint.head;
        let mut found = Self {
            document: Document {
                origin: head.origin.clone(),
                size: head.head.size,
                root: head.head.root.hex(),
                key: None,
                index: None,
                counts: None,
                breaches: Vec::new(),
                code: Code::OK.0,
            },
            more: 0,
        };
        match signer(checkpoint, keys, policy) {
            Ok(key) => found.document.key = Some(key.to_string()),
            Err(e) => found.tell(e.code, None, e.text),
        }
        if let Some(why) = witnesses(checkpoint, policy) {
            found.refuse(None, why);
        }
        found
    }

    fn refuse(&mut self, leaf: Option<u64>, text: String) {
        self.tell(REFUSED, leaf, text);
    }

    fn tell(&mut self, code: Code, leaf: Option<u64>, text: String) {
        // Of several codes the first of the contract's order: 5 before 6.
        if self.document.code != Code::NOT_TRUSTED.0 {
            self.document.code = code.0;
        }
        if self.document.breaches.len() < MOST {
            self.document.breaches.push(Told { leaf, text });
        } else {
            self.more += 1;
        }
    }

    fn show(&self, global: &Global, out: &mut Out) -> Result<Code, Failure> {
        let d = &self.document;
        let code = Code(d.code);
        if global.json {
            out.json(d)?;
            return Ok(code);
        }
        let origin = escape::line(&d.origin);
        for breach in &d.breaches {
            let text = escape::line(&breach.text);
            match breach.leaf {
                Some(leaf) => out.line(&format!("{origin}: leaf {leaf}: {text}"))?,
                None => out.line(&format!("{origin}: {text}"))?,
            }
        }
        if self.more > 0 {
            out.line(&format!("{origin}: and {} breaches more", self.more))?;
        }
        if code == Code::OK {
            let what = match (&d.counts, d.index) {
                (Some(c), _) => format!(
                    "{}, {}: every leaf and every hash is right",
                    counted(d.size, "leaf", "leaves"),
                    counted(c.manifests, "manifest", "manifests")
                ),
                (None, index) => format!(
                    "leaf {} of {} is this manifest",
                    index.unwrap_or_default(),
                    d.size
                ),
            };
            out.line(&format!("{origin}: {}", out.paint.good(&what)))?;
        }
        Ok(code)
    }
}

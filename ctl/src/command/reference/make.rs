//! `atlasctl reference draft` and `sign`: reference values written down, and vouched for. Not believed by that: see `add`.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use atlas_manifests::evidence::Measurements;
use atlas_manifests::evidence::quote::{Quote, attribute};
use atlas_manifests::evidence::record::MAX_RECORD;
use atlas_manifests::evidence::reference::{Artifact, Document};
use atlas_manifests::verify;
use jiff::{Timestamp, Unit};
use serde::Serialize;

use crate::cli::{DraftArgs, SignArgs};
use crate::command::attest::file::{self, Held};
use crate::exit::{Code, Failure};
use crate::target;
use crate::view::amount;
use crate::view::out::{self, Out};
use crate::view::progress::Progress;

#[derive(Serialize)]
struct Signed {
    file: String,
    name: String,
    size: u64,
}

/// Writes the envelope.
pub(super) fn sign(args: &SignArgs, json: bool, out: &mut Out) -> Result<Code, Failure> {
    let draft = args.draft.display();
    let bytes = read(&args.draft)?;
    let document = Document::parse(&bytes).map_err(|e| {
        Failure::error(format!(
            "{draft}: {e}: give a draft as atlasctl reference draft prints it"
        ))
    })?;
    let key = fs::read_to_string(&args.key).map_err(|e| Failure::io(args.key.display(), &e))?;
    let envelope = document
        .sign(&key)
        .map_err(|e| Failure::error(format!("{}: {e}", args.key.display())))?;
    let Some(to) = &args.output else {
        out.line(&envelope)?;
        return Ok(Code::OK);
    };
    let needed = [
        (&*args.draft, "is the draft itself"),
        (&*args.key, "is the key"),
    ];
    target::refuse(to, &needed)?;
    let envelope = envelope + "\n";
    target::write(to, envelope.as_bytes(), args.force)?;
    let file = to.display().to_string();
    if json {
        let (name, size) = (document.name, envelope.len() as u64);
        out.json(&Signed { file, name, size })?;
    } else {
        out::say(&format!("{file}: {} signed", document.name));
    }
    Ok(Code::OK)
}

/// Prints a document that nobody signed.
pub(super) fn draft(args: &DraftArgs, out: &mut Out) -> Result<Code, Failure> {
    let booted = args.evidence.as_deref().map(measured).transpose()?;
    let artifacts = args.artifact.iter().map(|f| hashed(f));
    let now = Timestamp::now().round(Unit::Second);
    let document = Document {
        v: 1,
        name: args.name.clone(),
        issued: now.ok().map(|t| t.to_string()),
        measurements: booted.into_iter().collect(),
        artifacts: artifacts.collect::<Result<_, _>>()?,
    };
    out.json(&document)?;
    Ok(Code::OK)
}

/// What was booted, from evidence of Atlas or from a quote alone.
fn measured(file: &Path) -> Result<Measurements, Failure> {
    let shown = file.display();
    let quote = match file::read(file)? {
        Held::Evidence(given) => given.evidence.quote,
        Held::Other(record, bytes) => {
            if let Err(quote) = Quote::parse(&bytes) {
                return Err(Failure::error(format!(
                    "{shown}: neither evidence of Atlas nor a quote: {record}; {quote}"
                )));
            }
            bytes
        }
    };
    let quote = Quote::parse(&quote).map_err(|e| Failure::error(format!("{shown}: {e}")))?;
    // Anybody can make a quote that fits itself: one that does not even do that is not worth a draft without a word.
    if let Err(e) = quote.consistent() {
        out::say(&format!("{shown}: warning: damaged or made up: {e}"));
    }
    if quote.attributes() & attribute::DEBUG != 0 {
        out::say(&format!(
            "{shown}: warning: of a debug TD, whose host can change everything in it"
        ));
    }
    out::say(&format!(
        "{shown}: this is what was booted, not that it is good: compare it with what the image's maker publishes before you sign it"
    ));
    Ok(Measurements::of(&quote))
}

fn hashed(path: &Path) -> Result<Artifact, Failure> {
    let shown = path.display();
    let failed = |e: io::Error| Failure::io(&shown, &e);
    // Opening a pipe would wait for somebody to write to it.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Failure::error(format!(
            "{shown}: not a regular file: give files, each by its name"
        )));
    }
    let mut file = File::open(path).map_err(failed)?;
    let progress = RefCell::new(Progress::new());
    let tell = |done: u64, of: u64| {
        let far = || format!("{shown}: {} of {}", amount::size(done), amount::size(of));
        progress.borrow_mut().set(far);
    };
    let digests = verify::digests(&mut file, &tell);
    drop(progress);
    let digests = digests.map_err(|e| Failure::error(format!("{shown}: {e}")))?;
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
    Ok(Artifact {
        name,
        sha256: Some(digests.sha256),
        blake3: Some(digests.blake3),
    })
}

/// No more than the largest record has: a wrong name may be that of a model.
fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |e: io::Error| Failure::io(file.display(), &e);
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(failed)?;
    let most = MAX_RECORD as u64 + 1;
    opened.take(most).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

//! `atlasctl attest`: shows the evidence that there is, asks for a fresh quote, writes both down. Checks nothing: see `attest verify`.

pub(super) mod file;
mod verify;

use std::path::Path;
use std::time::Duration;

use atlas_manifests::bundle::write_evidence;
use atlas_manifests::bytes::unbase64;
use atlas_manifests::digest::{Sha256, hex};
use atlas_manifests::evidence::Evidence as Attested;
use atlas_manifests::private::random;
use atlas_manifests::shelf::{Object, Shelf};
use atlas_manifests::store::Store;
use atlas_manifests::wire::{Ask, EvidenceStatus, Say, Status};
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::{AttestArgs, AttestVerb, Global, Nonce};
use crate::client::Client;
use crate::evidence::Evidence;
use crate::exit::{Code, Failure};
use crate::place;
use crate::target;
use crate::view::out::{self, Out};
use crate::view::paint::Paint;
use crate::view::record::Record;
use crate::view::sheet::Sheet;
use crate::view::table::{Cell, table};
use crate::view::{amount, escape};

/// A daemon may be busy with another quote, and the kernel gives up after half a minute.
const QUOTING: Duration = Duration::from_secs(120);
/// How long a daemon may take to say who it is.
const HELLO: Duration = Duration::from_secs(10);
/// Bytes of a random nonce.
const RANDOM: usize = 32;
const UNVERIFIED: &str =
    "no: write it with atlasctl attest -o FILE, and check that with atlasctl attest verify FILE";

/// What is printed, and which of it is written to a file.
struct Found {
    /// Newest first.
    records: Vec<Record>,
    /// What a bundle is about.
    newest: Attested,
    daemon: Option<Daemon>,
}

/// What a daemon says beside the evidence.
#[derive(Debug, Serialize)]
struct Daemon {
    hardware: String,
    anchors: u64,
    /// The configuration that is bound, as text.
    config: String,
    #[serde(skip)]
    title: String,
    #[serde(skip)]
    first: Sha256,
}

#[derive(Serialize)]
struct Document<'a> {
    /// Nothing of it was checked.
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    daemon: Option<&'a Daemon>,
    evidence: &'a [Record],
    /// What was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<usize>,
}

/// Shows, asks, writes or verifies.
pub(crate) fn attest(args: &AttestArgs, global: &Global, out: &mut Out) -> Result<Code, Failure> {
    if let Some(AttestVerb::Verify(given)) = &args.verb {
        if args.at.is_some() || args.nonce.is_some() || args.output.is_some() {
            let text = "attest: what is checked, and the nonce, come after the word verify: see 'atlasctl attest verify --help'";
            return Err(Failure::new(Code::USAGE, text));
        }
        return verify::verify(given, global.json, out);
    }
    let place = args.at.as_deref().unwrap_or(Path::new("."));
    let from = match &args.at {
        Some(path) => Evidence::at(&place::locate(path)?, global)?,
        None => Evidence::here(global)?,
    };
    let nonce = args.nonce.as_ref().map(nonce).transpose()?;
    let found = match (&from, &nonce) {
        (Evidence::Daemon(client), Some(nonce)) => fresh(client, nonce)?,
        (Evidence::Daemon(client), None) => standing(client)?,
        (Evidence::State { .. }, Some(_)) => {
            let text = "no daemon is running here, and only a daemon can ask for a quote: start it with atlas-fs mount";
            return Err(no_daemon(place, text));
        }
        (Evidence::State { store, .. }, None) => kept(store, place)?,
        (Evidence::Mount(..), _) => {
            let text = "the socket of its daemon is out of reach: ask as the user who mounted it";
            return Err(no_daemon(place, text));
        }
        (Evidence::Nothing(_) | Evidence::Bundle(..), _) => {
            let text = "no mount and no state directory: name one with atlasctl attest PATH";
            return Err(no_daemon(place, text));
        }
    };
    let nonce = nonce.map(|n| hex(&n));
    let written = match &args.output {
        Some(to) => Some((to, write(to, &found.newest, from.shelf(), args.force)?)),
        None => None,
    };
    if global.json {
        out.json(&Document {
            verified: false,
            daemon: found.daemon.as_ref(),
            evidence: &found.records,
            nonce,
            file: written.map(|(to, _)| to.display().to_string()),
            size: written.map(|(_, size)| size),
        })?;
    } else if let Some((to, size)) = written {
        let (to, size) = (to.display(), amount::size(size as u64));
        let asked = nonce
            .as_ref()
            .map_or(String::new(), |n| format!(" --nonce {n}"));
        out::say(&format!(
            "{to}: {size}, not verified: check it with atlasctl attest verify {to}{asked}"
        ));
        // What nobody knows yet is what a script needs.
        if let (Some(Nonce::Random), Some(nonce)) = (&args.nonce, &nonce) {
            out.line(nonce)?;
        }
    } else {
        out.text(&describe(&found, Timestamp::now(), out.paint))?;
    }
    Ok(Code::OK)
}

fn no_daemon(place: &Path, text: &str) -> Failure {
    Failure::new(Code::NO_DAEMON, format!("{}: {text}", place.display()))
}

/// The bytes that are asked with.
fn nonce(asked: &Nonce) -> Result<Vec<u8>, Failure> {
    match asked {
        Nonce::Given(bytes) => Ok(bytes.clone()),
        Nonce::Random => random::<RANDOM>()
            .map(Vec::from)
            .map_err(|e| Failure::io("random bytes", &e)),
    }
}

/// The bundle, in its file; how many bytes.
fn write(to: &Path, about: &Attested, shelf: &dyn Shelf, force: bool) -> Result<usize, Failure> {
    target::refuse(to, &[])?;
    let mut bytes = Vec::new();
    write_evidence(shelf, about, &mut bytes).map_err(|e| Failure::error(e.to_string()))?;
    target::write(to, &bytes, force)?;
    Ok(bytes.len())
}

/// A daemon, and its evidence; without any there is nothing to show and nothing to ask.
fn daemon(client: &Client) -> Result<(Status, EvidenceStatus), Failure> {
    let mut status = client.status(HELLO)?;
    let Some(evidence) = status.evidence.take() else {
        return Err(Failure::new(Code::NO_MANIFEST, without(&status)));
    };
    Ok((status, evidence))
}

/// Why a daemon has none.
fn without(status: &Status) -> String {
    let source = escape::name(&status.source.0);
    let said = status
        .warnings
        .iter()
        .find(|w| w.contains("hardware evidence"));
    let why = said.map_or(
        "there is no hardware evidence: it is mounted outside of Intel TDX, or with --tdx off",
        String::as_str,
    );
    format!("{source}: {why}")
}

/// What a daemon has already.
fn standing(client: &Client) -> Result<Found, Failure> {
    let (status, said) = daemon(client)?;
    let fetched = |id: &Sha256| fetch(client, id);
    let newest = fetched(&said.last)?;
    let mut records = vec![Record::of(&newest, client)];
    if said.first != said.last {
        records.push(Record::of(&fetched(&said.first)?, client));
    }
    Ok(Found {
        records,
        newest,
        daemon: Some(Daemon::of(&status, said)),
    })
}

/// The answer to a nonce.
fn fresh(client: &Client, nonce: &[u8]) -> Result<Found, Failure> {
    let (status, said) = daemon(client)?;
    let ask = Ask::Attest { nonce: hex(nonce) };
    let Say::Bytes { b64: Some(b64) } = client.ask_for(ask, QUOTING, |_, _, _| ())? else {
        return Err(client.unexpected().into());
    };
    let bytes = unbase64(&b64).ok_or_else(|| client.unexpected())?;
    let newest = Attested::decode(&bytes)
        .map_err(|e| Failure::error(format!("what the daemon answered: {e}")))?;
    Ok(Found {
        records: vec![Record::of(&newest, client)],
        newest,
        daemon: Some(Daemon::of(&status, said)),
    })
}

fn fetch(shelf: &dyn Shelf, id: &Sha256) -> Result<Attested, Failure> {
    let bytes = shelf.object(Object::Evidence, id)?.ok_or_else(|| {
        Failure::error(format!(
            "evidence {id}: missing from the store: restore the state directory from a copy"
        ))
    })?;
    Attested::decode(&bytes).map_err(|e| Failure::error(format!("evidence {id}: {e}")))
}

/// All that a state directory holds. Damage to one hides no other.
fn kept(store: &Store, place: &Path) -> Result<Found, Failure> {
    let mut all: Vec<Record> = Vec::new();
    for id in store.names(Object::Evidence)? {
        match fetch(store, &id) {
            Ok(evidence) => all.push(Record::of(&evidence, store)),
            Err(f) => f.report(None),
        }
    }
    all.sort_by_key(|r| std::cmp::Reverse(r.age()));
    // One for a single manifest says less than what its instance has.
    let general = |r: &&Record| r.bound.as_ref().is_some_and(|b| b.purpose != "manifest");
    let Some(newest) = all.iter().find(general).or(all.first()) else {
        let place = place.display();
        let text = format!(
            "{place}: there is no hardware evidence: nothing was sealed here in an Intel TDX guest"
        );
        return Err(Failure::new(Code::NO_MANIFEST, text));
    };
    let newest = fetch(store, &newest.id)?;
    Ok(Found {
        records: all,
        newest,
        daemon: None,
    })
}

impl Daemon {
    fn of(status: &Status, said: EvidenceStatus) -> Self {
        let name = |p: &atlas_manifests::bytes::PathBytes| escape::name(&p.0);
        Self {
            hardware: status.hardware.clone(),
            anchors: said.anchors,
            config: said.config,
            title: format!("{} on {}", name(&status.source), name(&status.mountpoint)),
            first: said.first,
        }
    }

    fn sheet(&self, records: &[Record], paint: Paint) -> Sheet {
        let mut sheet = Sheet::new(&self.title, paint);
        let hardware = escape::line(&self.hardware);
        sheet.row("hardware", &format!("{hardware}, as the daemon says"));
        sheet.row("verified", &paint.warn(UNVERIFIED));
        sheet.row("first", &self.first.hex());
        sheet.row("anchors", &amount::count(self.anchors));
        let bound = records.iter().filter_map(|r| r.bound.as_ref());
        let (config, mut key) = (Sha256::of(self.config.as_bytes()), "config");
        for line in self.config.lines() {
            sheet.row(key, &escape::short(&escape::line(line), 200));
            key = "";
        }
        if bound.into_iter().any(|b| b.config != config) {
            let text = "this configuration is not the one that is bound";
            sheet.row("trouble", &paint.bad(text));
        }
        sheet
    }
}

fn describe(found: &Found, now: Timestamp, paint: Paint) -> String {
    let mut text = String::new();
    if let Some(daemon) = &found.daemon {
        text.push_str(&daemon.sheet(&found.records, paint).text);
        for record in &found.records {
            text.push('\n');
            text.push_str(&record.sheet(now, paint).text);
        }
        return text;
    }
    let newest = found.newest.id();
    for record in found.records.iter().filter(|r| r.id == newest) {
        let mut sheet = record.sheet(now, paint);
        sheet.row("verified", &paint.warn(UNVERIFIED));
        text.push_str(&sheet.text);
    }
    if found.records.len() > 1 {
        text.push('\n');
        text.push_str(&listed(&found.records, paint));
    }
    text
}

fn listed(records: &[Record], paint: Paint) -> String {
    let rows: Vec<_> = records
        .iter()
        .map(|r| {
            let bound = r.bound.as_ref();
            let or_none = |text: Option<String>| Cell::new(text.unwrap_or("-".to_owned()));
            let made = bound.map(|b| escape::line(&b.made));
            [
                Cell::new(amount::prefix(&r.id.hex())).painted(|t| paint.strong(t)),
                or_none(bound.map(|b| b.purpose.to_owned())),
                or_none(bound.map(|b| b.instance.to_string())),
                or_none(bound.map(|b| b.seq.to_string())),
                or_none(made),
            ]
        })
        .collect();
    table(
        ["EVIDENCE", "PURPOSE", "INSTANCE", "NUMBER", "MADE"],
        &rows,
        paint,
    )
}

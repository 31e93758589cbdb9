//! A record of evidence as a person or a program reads it: what it says. Nothing of it is checked here.

use atlas_manifests::digest::{Sha256, hex};
use atlas_manifests::evidence::collateral::Collateral;
use atlas_manifests::evidence::quote::{Quote, attribute};
use atlas_manifests::evidence::{Beacon, Binding, EventLog, Evidence, Measurements, fmspc};
use atlas_manifests::id::InstanceId;
use atlas_manifests::shelf::{Object, Shelf};
use jiff::Timestamp;
use serde::Serialize;

use crate::view::paint::Paint;
use crate::view::sheet::Sheet;
use crate::view::{amount, escape};

/// What one record says.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    /// SHA-256 of its binding.
    pub id: Sha256,
    /// What the quote is said to bind; absent when that cannot be read.
    #[serde(flatten)]
    pub bound: Option<Bound>,
    /// What the quote says; absent when that cannot be read.
    pub quote: Option<Quoted>,
    events: Option<Events>,
    firmware_log: bool,
    gpu_evidence: bool,
    collateral: Option<Captured>,
    /// Bytes of the record.
    size: u64,
    /// Why there is less than there should be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trouble: Vec<String>,
}

/// A binding.
#[derive(Debug, Serialize)]
pub(crate) struct Bound {
    /// Why it was made.
    pub purpose: &'static str,
    /// The life of the daemon.
    pub instance: InstanceId,
    /// Its number within that.
    pub seq: u64,
    /// When, by the daemon's clock.
    pub made: String,
    previous: Option<Sha256>,
    keys: Vec<Key>,
    log: Option<Log>,
    /// In hex.
    nonce: Option<String>,
    checkpoint: Option<Sha256>,
    /// SHA-256 of the daemon's configuration.
    pub config: Sha256,
    program: Sha256,
    image: Option<String>,
    gpu: Option<Sha256>,
    claim: Option<Sha256>,
}

#[derive(Debug, Serialize)]
struct Key {
    r#use: &'static str,
    spki: Sha256,
}

#[derive(Debug, Serialize)]
struct Log {
    origin: String,
    size: u64,
    root: Sha256,
}

/// What a quote says.
#[derive(Debug, Serialize)]
pub(crate) struct Quoted {
    version: u16,
    debug: bool,
    fmspc: Option<String>,
    measurements: Measurements,
    rtmr3: String,
}

#[derive(Debug, Serialize)]
struct Events {
    /// Entries before this record's.
    from: u64,
    /// With this record's.
    count: u64,
    /// What they lead to.
    rtmr3: String,
    /// How often somebody else was found to have extended it.
    foreign: usize,
}

#[derive(Debug, Serialize)]
struct Captured {
    name: Sha256,
    here: bool,
    /// First and last second at which it is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

impl Record {
    /// Reads it, and looks for its collateral on this shelf.
    pub(crate) fn of(evidence: &Evidence, shelf: &dyn Shelf) -> Self {
        let mut trouble = Vec::new();
        let bound = evidence.bound();
        let bound = bound.map_err(|e| trouble.push(e.to_string())).ok();
        let quote = Quote::parse(&evidence.quote);
        let quote = quote.map_err(|e| trouble.push(e.to_string())).ok();
        let captured = |name| captured(shelf, name, &mut trouble);
        Self {
            id: evidence.id(),
            bound: bound.map(Bound::from),
            quote: quote.map(|q| Quoted::of(&q)),
            events: evidence.events.as_ref().map(Events::of),
            firmware_log: evidence.ccel.is_some(),
            gpu_evidence: evidence.gpu.is_some(),
            collateral: evidence.collateral.map(captured),
            size: evidence.encode().len() as u64,
            trouble,
        }
    }

    /// When it was made, for sorting: what cannot be read is the oldest.
    pub(crate) fn age(&self) -> (Option<Timestamp>, u64) {
        let bound = self.bound.as_ref();
        (
            bound.and_then(|b| b.made.parse().ok()),
            bound.map_or(0, |b| b.seq),
        )
    }

    /// All of it, under a title.
    pub(crate) fn sheet(&self, now: Timestamp, paint: Paint) -> Sheet {
        let mut sheet = Sheet::new(&format!("evidence {}", self.id.hex()), paint);
        if let Some(bound) = &self.bound {
            bound.show(&mut sheet, now);
        }
        if let Some(events) = &self.events {
            events.show(&mut sheet);
        } else {
            sheet.row("event log", "none: the kernel cannot extend RTMR3");
        }
        if let Some(quote) = &self.quote {
            quote.show(&mut sheet);
        }
        if self.firmware_log {
            sheet.row("boot log", "the firmware's event log is in it");
        }
        let collateral = match &self.collateral {
            Some(c) => c.text(),
            None => "none was captured: give Intel's to whoever checks it".to_owned(),
        };
        sheet.row("collateral", &collateral);
        sheet.row("size", &amount::size(self.size));
        for what in &self.trouble {
            sheet.row("trouble", &paint.bad(&escape::line(what)));
        }
        sheet
    }
}

impl From<Binding> for Bound {
    fn from(b: Binding) -> Self {
        let (nonce, checkpoint) = match b.beacon {
            Some(Beacon::Nonce(nonce)) => (Some(hex(&nonce)), None),
            Some(Beacon::Checkpoint(hash)) => (None, Some(hash)),
            None => (None, None),
        };
        let keys = b.keys.iter().map(|k| Key {
            r#use: k.purpose.as_str(),
            spki: k.spki,
        });
        Self {
            purpose: b.purpose.as_str(),
            instance: b.instance,
            seq: b.seq,
            previous: b.previous,
            keys: keys.collect(),
            log: b.log.map(|l| Log {
                origin: l.origin,
                size: l.head.size,
                root: l.head.root,
            }),
            nonce,
            checkpoint,
            config: b.config,
            program: b.program,
            image: b.image,
            gpu: b.gpu,
            claim: b.claim,
            made: b.made,
        }
    }
}

impl Bound {
    fn show(&self, sheet: &mut Sheet, now: Timestamp) {
        let purpose = match self.purpose {
            "instance" => "the first of its instance",
            "anchor" => "an anchor of its instance",
            "answer" => "the answer to a nonce",
            _ => "for one manifest",
        };
        sheet.row("purpose", &format!("{purpose}, number {}", self.seq));
        sheet.row("instance", &self.instance.to_string());
        let made = escape::line(&self.made);
        let age = amount::age(&self.made, now);
        sheet.row("made", &format!("{age} ({made}, by the daemon's clock)"));
        sheet.maybe("nonce", self.nonce.clone());
        sheet.maybe("checkpoint", self.checkpoint.map(|c| c.hex()));
        sheet.maybe("before it", self.previous.map(|p| p.hex()));
        for key in &self.keys {
            sheet.row(&format!("{} key", key.r#use), &key.spki.hex());
        }
        sheet.maybe("claim", self.claim.map(|c| c.hex()));
        sheet.maybe(
            "log",
            self.log.as_ref().map(|l| {
                let origin = escape::short(&escape::line(&l.origin), 100);
                let size = amount::counted(l.size, "leaf", "leaves");
                format!("{origin}, {size}, {}", amount::prefix(&l.root.hex()))
            }),
        );
        let image = self.image.as_deref().map(escape::line);
        sheet.maybe("image", image.map(|i| escape::short(&i, 100)));
        sheet.row("program", &self.program.hex());
        sheet.row("config", &self.config.hex());
        sheet.maybe("gpu", self.gpu.map(|g| g.hex()));
    }
}

impl Quoted {
    fn of(quote: &Quote<'_>) -> Self {
        Self {
            version: quote.version,
            debug: quote.attributes() & attribute::DEBUG != 0,
            fmspc: fmspc(quote.bytes),
            measurements: Measurements::of(quote),
            rtmr3: hex(&quote.rtmr(3).0),
        }
    }

    fn show(&self, sheet: &mut Sheet) {
        let kind = self.fmspc.as_deref().unwrap_or("unknown");
        let version = self.version;
        sheet.row(
            "platform",
            &format!("FMSPC {kind}, quote version {version}"),
        );
        if self.debug {
            let text = "a debug TD: its host can read and change everything in it";
            let text = sheet.paint.bad(text);
            sheet.row("debug", &text);
        }
        for (name, value) in self.measurements.registers() {
            sheet.maybe(name, value.filter(|v| v.0 != [0; 48]).map(|v| hex(&v.0)));
        }
        sheet.row("rtmr3", &self.rtmr3);
    }
}

impl Events {
    fn of(log: &EventLog) -> Self {
        let head = log.head();
        Self {
            from: log.from,
            count: head.count,
            rtmr3: hex(&head.rtmr3.0),
            foreign: log.foreign(),
        }
    }

    fn show(&self, sheet: &mut Sheet) {
        let count = amount::counted(self.count, "entry", "entries");
        let head = amount::prefix(&self.rtmr3);
        let mut text = format!("RTMR3 is {head} after {count}");
        if self.from > 0 {
            let from = amount::count(self.from);
            text.push_str(&format!(", {from} of them in the evidence before it"));
        }
        if self.foreign > 0 {
            let times = amount::counted(self.foreign as u64, "time", "times");
            text.push_str(&format!("; others extended it {times}"));
        }
        sheet.row("event log", &text);
    }
}

impl Captured {
    fn text(&self) -> String {
        let name = self.name.hex();
        let name = amount::prefix(&name);
        match (&self.until, self.here) {
            (Some(until), _) => format!("{name}, valid until {until}"),
            (None, true) => name.to_owned(),
            (None, false) => format!("{name}, which is not here"),
        }
    }
}

fn captured(shelf: &dyn Shelf, name: Sha256, trouble: &mut Vec<String>) -> Captured {
    let bytes = shelf.object(Object::Collateral, &name);
    let bytes = bytes
        .map_err(|e| trouble.push(e.to_string()))
        .ok()
        .flatten();
    let parsed = bytes.as_deref().map(Collateral::parse).transpose();
    let parsed = parsed
        .map_err(|e| trouble.push(e.to_string()))
        .ok()
        .flatten();
    // A date beyond what a clock can show is as good as none.
    let date = |second: u64| {
        Some(
            Timestamp::from_second(second.try_into().ok()?)
                .ok()?
                .to_string(),
        )
    };
    Captured {
        name,
        here: bytes.is_some(),
        from: parsed.as_ref().and_then(|c| date(c.window.0)),
        until: parsed.as_ref().and_then(|c| date(c.window.1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atlas_manifests::digest::Digests;
    use atlas_manifests::shelf::ShelfError;

    /// Everything that it has is damaged, and says so in words of its own.
    struct Damaged;

    impl Shelf for Damaged {
        fn object(&self, _: Object, _: &Sha256) -> Result<Option<Vec<u8>>, ShelfError> {
            Err(ShelfError::Damaged("\x1b[2J\n".to_owned()))
        }

        fn manifests_of(&self, _: &Digests) -> Result<Vec<Sha256>, ShelfError> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn a_record_of_which_nothing_can_be_read_is_shown_by_its_name_and_its_troubles() {
        let evidence = Evidence {
            binding: vec![0xff; 10],
            quote: vec![4; 100],
            events: None,
            ccel: None,
            gpu: None,
            collateral: Some(Sha256([1; 32])),
        };
        let record = Record::of(&evidence, &Damaged);
        assert_eq!(record.age(), (None, 0));
        let now = "2026-11-26T12:00:00Z".parse().unwrap();
        let shown = record.sheet(now, Paint::PLAIN).text;
        assert!(shown.starts_with(&format!("evidence {}\n", evidence.id().hex())));
        assert!(shown.contains("which is not here"), "{shown}");
        assert_eq!(shown.matches("trouble").count(), 3, "{shown}");
        let bad = shown
            .chars()
            .find(|c| *c != '\n' && escape::unsafe_to_show(*c));
        assert_eq!(bad, None, "{shown}");
        assert!(serde_json::to_string(&record).is_ok());
    }
}

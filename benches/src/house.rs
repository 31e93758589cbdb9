//! A simulated trust domain whose evidence is honest, a store in memory, and manifests sealed there. For measurements and for fuzzing; it judges nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use atlas_manifests::authority::{Authority, InstanceKey};
use atlas_manifests::digest::{Digests, Sha256};
use atlas_manifests::evidence::appraise::Appraiser;
use atlas_manifests::evidence::{
    Binding, BoundKey, Entry, Event, EventBody, EventLog, Evidence, KeyUse,
};
use atlas_manifests::id::{InstanceId, NodeId, RunId, VersionId};
use atlas_manifests::seal::Sealer;
use atlas_manifests::set::empty_head;
use atlas_manifests::shelf::{Object, Shelf, ShelfError};
use atlas_manifests::statement::{Asset, Origin, RunStatement, SetHead, Statement, Withheld};
use atlas_manifests::store::Item;
use atlas_manifests::trust::Anchors;
use atlas_manifests::verify::Terms;
use atlas_manifests::vocabulary::{Closed, Confined, Cut, Hardware, Quiet, RunHow};

use crate::lab::{INSTANCE, Lab, start};

/// What every sealed file here holds.
pub const CONTENT: &[u8] = b"a model";

/// A store in memory.
#[derive(Debug, Default)]
struct Heap(RefCell<BTreeMap<(u8, Sha256), Vec<u8>>>);

const fn tag(kind: Object) -> u8 {
    match kind {
        Object::Manifest => 0,
        Object::Inputs => 1,
        Object::Members => 2,
        Object::Private => 3,
        Object::Evidence => 4,
        Object::Collateral => 5,
    }
}

impl Shelf for Heap {
    fn object(&self, kind: Object, name: &Sha256) -> Result<Option<Vec<u8>>, ShelfError> {
        Ok(self.0.borrow().get(&(tag(kind), *name)).cloned())
    }

    fn manifests_of(&self, _: &Digests) -> Result<Vec<Sha256>, ShelfError> {
        Ok(Vec::new())
    }
}

/// Whose key seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// An instance in the trust domain: its certificate names its evidence.
    Attested,
    /// One without evidence.
    Local,
}

/// The trust domain and what it left behind.
pub struct House {
    lab: Lab,
    authority: Authority,
    attested: Sealer,
    local: Sealer,
    evidence: Evidence,
    collateral: Vec<u8>,
    shelf: Heap,
}

impl House {
    /// Boots it: another false Intel and other keys each time.
    ///
    /// # Errors
    /// When no temporary directory can be written.
    pub fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let authority = Authority::create(dir.path())?;
        let key = InstanceKey::generate()?;
        let mut lab = Lab::new();
        lab.binding.keys[0] = BoundKey::of(KeyUse::Seal, &key.public());
        // Somebody else's event, as its own instance sees it, and a batch that was sealed.
        let other = Event {
            instance: InstanceId([9; 16]),
            seq: 0,
            body: EventBody::End { total: 0 },
        };
        let sealed = Event {
            instance: INSTANCE,
            seq: 1,
            body: EventBody::Seal {
                total: 1,
                batch: SetHead {
                    size: 1,
                    root: Sha256([3; 32]),
                },
                log: None,
            },
        };
        lab.entries = vec![
            Entry::Digest(other.digest()),
            Entry::Event(start(&lab.binding).encode()),
            Entry::Event(sealed.encode()),
        ];
        lab.gpu = Some(b"nothing yet".to_vec());
        let collateral = lab.collateral().into_bytes();
        let mut evidence = lab.evidence();
        evidence.collateral = Some(Sha256::of(&collateral));
        let named = authority.certify(key, INSTANCE, Some(evidence.id()))?;
        let house = Self {
            attested: Sealer::new(named)?,
            local: Sealer::new(authority.issue(INSTANCE)?)?,
            authority,
            lab,
            shelf: Heap::default(),
            evidence,
            collateral,
        };
        let item = Item::evidence(&house.evidence);
        house.put(item.object, item.name, item.bytes);
        let name = Sha256::of(&house.collateral);
        house.put(Object::Collateral, name, house.collateral.clone());
        Ok(house)
    }

    fn put(&self, kind: Object, name: Sha256, bytes: Vec<u8>) {
        self.shelf.0.borrow_mut().insert((tag(kind), name), bytes);
    }

    /// Seals version `n` of a file that holds [`CONTENT`], and keeps the manifest.
    ///
    /// # Errors
    /// Never; a bug if it does.
    pub fn seal(&self, who: Who, n: u64) -> Result<Vec<u8>> {
        let mut said = plain();
        said.version.n = n;
        let sealer = match who {
            Who::Attested => {
                said.hardware = Hardware::Simulated;
                &self.attested
            }
            Who::Local => &self.local,
        };
        let sealed = sealer.seal(&said).context("an honest statement")?;
        let name = sealed.reference.sha256;
        self.put(Object::Manifest, name, sealed.manifest.clone());
        Ok(sealed.manifest)
    }

    /// The instance's evidence.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Evidence of another binding and log, by the same trust domain: it quotes whatever somebody in it asks for, after extending RTMR3.
    ///
    /// # Errors
    /// When the quote cannot be made.
    pub fn attest(&self, mut binding: Binding, log: EventLog) -> Result<Evidence> {
        let mut td = self.lab.td.clone();
        td.rtmr[3] = log.head().rtmr3.0;
        binding.events = Some(log.head());
        let quote = self
            .lab
            .world
            .quote(self.lab.shape, &td, &binding.report_data())?;
        Ok(Evidence {
            quote,
            binding: binding.encode(),
            events: Some(log),
            ..self.evidence.clone()
        })
    }

    /// What Intel's stand-in says of the platform.
    pub fn collateral(&self) -> &[u8] {
        &self.collateral
    }

    /// Believes the simulator, and takes what it booted for good.
    pub fn appraiser(&self) -> Appraiser {
        self.lab.appraiser()
    }

    /// Trusts the authority here, and the simulator.
    ///
    /// # Errors
    /// Never; a bug if it does.
    pub fn terms(&self) -> Result<Terms> {
        Ok(Terms {
            anchors: Anchors::from_pem(self.authority.certificate_pem())
                .map_err(|e| anyhow::anyhow!("{e}"))?,
            appraiser: self.appraiser(),
            log: Default::default(),
        })
    }

    /// Everything that was sealed and collected.
    pub fn shelf(&self) -> &dyn Shelf {
        &self.shelf
    }
}

/// What a run's first file says of itself, without inputs.
pub(crate) fn plain() -> Statement {
    Statement {
        version: VersionId {
            node: NodeId([0x5a; 16]),
            n: 100,
        },
        title: Some("model.safetensors".to_owned()),
        asset: Asset {
            digests: Digests::of(CONTENT),
            media_type: "application/vnd.safetensors".to_owned(),
            types: vec!["c2pa.types.model".to_owned()],
        },
        sealed_at: "2026-11-21T08:00:00.123456789Z".to_owned(),
        closed: Closed::Explicit,
        status: None,
        quiet: Quiet::Proven,
        cut: Cut::Close,
        parent: None,
        inputs: Vec::new(),
        input_set: empty_head(),
        members: None,
        origin: Origin::Run(RunStatement {
            id: RunId {
                instance: INSTANCE,
                n: 3,
            },
            name: Some("demo".to_owned()),
            meta: vec![("lr".to_owned(), "3e-4".to_owned())],
            how: RunHow::Declared,
            started: "2026-11-21T07:59:00Z".to_owned(),
            process: 1,
            tree: 0,
            program: "python3.13".to_owned(),
            program_digest: None,
            confined: Confined::Confined,
            git: None,
            python: None,
        }),
        withheld: ["path", "argv", "cwd", "host", "user", "exe"]
            .map(|field| Withheld {
                field: field.to_owned(),
                sha256: Sha256::of(field.as_bytes()),
            })
            .to_vec(),
        config: Sha256([4; 32]),
        instance: INSTANCE,
        hardware: Hardware::None,
        evidence: None,
    }
}

//! A simulated trust domain with an honest attester in it, and a verifier. Tests spoil one thing each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::appraise::{Appraisal, Appraiser, Check, Clock, Presented};
use atlas_manifests::evidence::policy::Policy;
use atlas_manifests::evidence::quote::Quote;
use atlas_manifests::evidence::reference::{Document, Measurements, References, Vouched};
use atlas_manifests::evidence::{
    Binding, BoundKey, Entry, Event, EventBody, EventLog, Evidence, KeyUse, Purpose, Rtmr,
};
use atlas_manifests::id::InstanceId;
use atlas_manifests::vocabulary::Tier;
use atlas_tdx_sim::{CollateralSpec, Shape, Td, World, WorldOptions};

/// 2026-11-26, noon.
pub(crate) const NOW: i64 = 1_795_694_400;
pub(crate) const DAY: u64 = 86_400;
pub(crate) const INSTANCE: InstanceId = InstanceId([1; 16]);
pub(crate) const SEAL_KEY: [u8; 32] = [0x51; 32];
pub(crate) const LOG_KEY: [u8; 32] = [0x52; 32];

static WORLD: LazyLock<World> = LazyLock::new(|| World::new(NOW).unwrap());

/// What an attester has, and what a verifier has.
pub(crate) struct Lab {
    pub(crate) world: &'static World,
    pub(crate) td: Td,
    pub(crate) shape: Shape,
    pub(crate) binding: Binding,
    pub(crate) base: Rtmr,
    pub(crate) entries: Vec<Entry>,
    pub(crate) spec: CollateralSpec,
    pub(crate) ccel: Option<Vec<u8>>,
    pub(crate) gpu: Option<Vec<u8>>,
    pub(crate) policy: Policy,
    /// The measurements that are vouched for.
    pub(crate) references: Vec<Measurements>,
    pub(crate) nonce: Option<Vec<u8>>,
    pub(crate) now: u64,
    /// The verifier knows the simulator's root.
    pub(crate) root: bool,
    pub(crate) earlier: BTreeMap<Sha256, Evidence>,
    signed: RefCell<Option<(String, String)>>,
}

pub(crate) fn start(binding: &Binding) -> Event {
    Event {
        instance: binding.instance,
        seq: 0,
        body: EventBody::Start {
            seal_key: binding.key(KeyUse::Seal).unwrap(),
            log_key: binding.key(KeyUse::Log).unwrap(),
            config: binding.config,
            program: binding.program,
        },
    }
}

impl Lab {
    /// Everything is as it should be.
    pub(crate) fn new() -> Self {
        let binding = Binding {
            purpose: Purpose::Instance,
            instance: INSTANCE,
            seq: 0,
            made: "2026-11-26T12:00:00Z".to_owned(),
            previous: None,
            keys: vec![
                BoundKey::of(KeyUse::Seal, &SEAL_KEY),
                BoundKey::of(KeyUse::Log, &LOG_KEY),
            ],
            log: None,
            events: None,
            config: Sha256([4; 32]),
            program: Sha256([5; 32]),
            image: None,
            gpu: None,
            beacon: None,
            claim: None,
        };
        let td = Td::default();
        let events = atlas_tdx_sim::ccel::boot_events();
        let mut lab = Self {
            world: &WORLD,
            shape: Shape::V4,
            base: Rtmr::ZERO,
            entries: vec![Entry::Event(start(&binding).encode())],
            binding,
            spec: CollateralSpec::at(NOW),
            ccel: Some(atlas_tdx_sim::ccel::log(&events)),
            gpu: None,
            policy: Policy::default(),
            references: Vec::new(),
            nonce: None,
            now: NOW as u64 + 60,
            root: true,
            td,
            earlier: BTreeMap::new(),
            signed: RefCell::default(),
        };
        lab.policy.simulated.allow = true;
        let quote = lab.quote(&[0; 64]);
        lab.references = vec![Measurements::of(&Quote::parse(&quote).unwrap())];
        lab
    }

    /// A platform of another kind, for good.
    pub(crate) fn with(options: WorldOptions) -> Self {
        let world = World::with(options, NOW).unwrap();
        Self {
            world: Box::leak(Box::new(world)),
            ..Self::new()
        }
    }

    pub(crate) fn quote(&self, report_data: &[u8; 64]) -> Vec<u8> {
        self.world.quote(self.shape, &self.td, report_data).unwrap()
    }

    pub(crate) fn log(&self) -> EventLog {
        EventLog {
            from: 0,
            base: self.base,
            entries: self.entries.clone(),
        }
    }

    /// What an honest attester makes of it: RTMR3 is extended, the binding names the head, the quote is about the binding.
    pub(crate) fn evidence(&mut self) -> Evidence {
        let log = self.log();
        self.binding.events = Some(log.head());
        self.td.rtmr[3] = log.head().rtmr3.0;
        self.binding.gpu = self.gpu.as_deref().map(Sha256::of);
        let binding = self.binding.encode();
        Evidence {
            quote: self.quote(&self.binding.report_data()),
            binding,
            events: Some(log),
            ccel: self.ccel.clone(),
            gpu: self.gpu.clone(),
            collateral: None,
        }
    }

    /// Signed once: ECDSA gives other bytes each time.
    pub(crate) fn collateral(&self) -> String {
        let mut signed = self.signed.borrow_mut();
        match &*signed {
            Some((spec, json)) if *spec == format!("{:?}", self.spec) => json.clone(),
            _ => {
                let json = self.world.collateral(&self.spec).unwrap();
                *signed = Some((format!("{:?}", self.spec), json.clone()));
                json
            }
        }
    }

    pub(crate) fn appraiser(&self) -> Appraiser {
        let documents = self.references.iter().map(|m| Vouched {
            fingerprint: Sha256([0; 32]),
            document: Document {
                v: 1,
                name: "image 1".to_owned(),
                issued: None,
                measurements: vec![m.clone()],
                artifacts: Vec::new(),
            },
            signer: None,
            file: "image.json".into(),
        });
        Appraiser {
            policy: self.policy.clone(),
            references: References {
                documents: documents.collect(),
            },
            simulated_root: self.root.then(|| self.world.root_der()),
            collateral: Vec::new(),
            clock: Clock(self.now),
        }
    }

    pub(crate) fn appraise(&self, evidence: &Evidence) -> Appraisal {
        self.appraise_with(evidence, Some(self.collateral().as_bytes()))
    }

    pub(crate) fn appraise_with(
        &self,
        evidence: &Evidence,
        collateral: Option<&[u8]>,
    ) -> Appraisal {
        self.appraiser().appraise(&Presented {
            evidence,
            earlier: &|name| self.earlier.get(name).cloned(),
            collateral,
            nonce: self.nonce.as_deref(),
        })
    }

    /// Honest evidence, appraised.
    pub(crate) fn verdict(&mut self) -> Appraisal {
        let evidence = self.evidence();
        self.appraise(&evidence)
    }
}

/// The check is refused, with these words, and no other reason hides it.
pub(crate) fn refused(a: &Appraisal, check: Check, words: &str) {
    assert_eq!(a.tier(check), Tier::Contraindicated, "{:#?}", a.findings);
    let said = a
        .findings
        .iter()
        .any(|f| f.check == check && f.tier == Tier::Contraindicated && f.text.contains(words));
    assert!(said, "{words:?} is not in {:#?}", a.findings);
}

/// Nothing is refused and nothing missing, but for what a simulator and a quote by itself cannot show.
pub(crate) fn good(a: &Appraisal) {
    assert!(!a.refused() && a.simulated(), "{:#?}", a.findings);
    for check in Check::ALL {
        let want = match check {
            Check::Hardware => Tier::Warning,
            Check::Freshness => Tier::None,
            _ => Tier::Affirming,
        };
        assert_eq!(a.tier(check), want, "{check:?}: {:#?}", a.findings);
    }
}

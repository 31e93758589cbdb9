//! Honest examples for each target: without them a fuzzer spends its life at the first length.

use anyhow::Result;
use atlas_manifests::bundle::{Disclose, write};
use atlas_manifests::digest::{Digests, Sha256};
use atlas_manifests::evidence::policy::Policy;
use atlas_manifests::evidence::reference::{Document, Measurements, ReferenceSigner};
use atlas_manifests::evidence::{Beacon, Entry, Event, EventBody, Purpose, quote::Quote};
use atlas_manifests::id::{InstanceId, NodeId, NodeRef, VersionId};
use atlas_manifests::set::{Leaf, Member, MemberList, Segment, empty_head};
use atlas_manifests::vocabulary::{Kind, State};
use atlas_tdx_sim::{CollateralSpec, Shape, TcbStatus, Td, World};

use crate::house::{House, Who};
use crate::lab::NOW;

/// An authority and a manifest of it, the same on every machine: what is found with them can be run again.
pub const MANIFEST: &[u8] = include_bytes!("../../../manifests/tests/frozen/format-1.c2pa");
/// The certificate of that authority.
pub const ANCHORS: &str = include_str!("../../../manifests/tests/frozen/format-1.authority.pem");
const POLICY: &str = include_str!("../../../manifests/tests/policy.example.toml");

/// Every target, and what it begins with.
///
/// # Errors
/// When the simulator cannot make one.
pub fn all() -> Result<Vec<(&'static str, Vec<Vec<u8>>)>> {
    let house = House::new()?;
    let world = World::new(NOW)?;
    let evidence = house.evidence();
    let mut anchor = evidence.bound()?;
    anchor.purpose = Purpose::Anchor;
    anchor.seq = 1;
    anchor.previous = Some(evidence.id());
    anchor.beacon = Some(Beacon::Nonce(vec![7; 32]));
    anchor.image = Some("image".to_owned());
    let td = Td::default();
    let quotes = [Shape::V4, Shape::V5Td10, Shape::V5Td15, Shape::V5Td15ex]
        .map(|shape| world.quote(shape, &td, &[0x42; 64]))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let mut log = atlas_tdx_sim::ccel::log(&atlas_tdx_sim::ccel::boot_events());
    // Its fill is long and says nothing.
    let end = log.iter().rposition(|b| *b != 0xff).map_or(0, |at| at + 1);
    log.truncate(end + 16);
    let entries = evidence.events.as_ref().map(|l| l.entries.clone());
    let mut events: Vec<Vec<u8>> = entries.iter().flatten().map(Entry::encode).collect();
    events.extend(entries.into_iter().flatten().filter_map(|e| match e {
        Entry::Event(bytes) => Some(bytes),
        _ => None,
    }));
    for body in [
        EventBody::Anchor {
            seq: 1,
            previous: evidence.id(),
        },
        EventBody::End { total: 1 },
    ] {
        let instance = InstanceId([1; 16]);
        let event = Event {
            instance,
            seq: 2,
            body,
        };
        events.push(event.encode());
    }
    // The kernel's and the firmware's logs are most of a record, and have targets of their own.
    let mut short = evidence.clone();
    short.ccel = Some(log.clone());
    let document = document(&quotes[0])?;
    let manifest = house.seal(Who::Attested, 1)?;
    let mut bundle = vec![0];
    let name = Sha256::of(&manifest);
    write(house.shelf(), &name, &Disclose::Nothing, &mut bundle)?;
    let collateral = [TcbStatus::UpToDate, TcbStatus::OutOfDate]
        .map(|status| world.collateral(&CollateralSpec::at(NOW).status(status)))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let raw = |bytes: &[u8]| [&[0], bytes].concat();
    Ok(vec![
        (
            "appraise",
            vec![vec![0; 8], vec![1; 200], (0..=255).collect()],
        ),
        ("binding", vec![evidence.binding.clone(), anchor.encode()]),
        ("bundle", vec![bundle, vec![1; 64]]),
        ("ccel", vec![log]),
        (
            "collateral",
            collateral.into_iter().map(String::into_bytes).collect(),
        ),
        ("event", events),
        ("log", logs()),
        ("manifest", vec![raw(MANIFEST), raw(&manifest), vec![1; 64]]),
        (
            "policy",
            vec![POLICY.into(), Policy::default().to_toml()?.into_bytes()],
        ),
        ("quote", quotes),
        ("record", vec![short.encode()]),
        (
            "reference",
            vec![
                serde_json::to_vec(&document)?,
                document
                    .sign(&private())
                    .map_err(anyhow::Error::msg)?
                    .into_bytes(),
                public().into_bytes(),
                ANCHORS.into(),
            ],
        ),
        ("segment", sets()?),
    ])
}

/// Each is led by the number of its parser.
fn logs() -> Vec<Vec<u8>> {
    let leaf = atlas_manifests::log::leaf::Leaf::Manifest {
        manifest: Sha256([1; 32]),
        instance: InstanceId([1; 16]),
    };
    let key = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    let line = "\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    let checkpoint =
        format!("example.com/foo\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n{line}");
    let proof = format!("c2sp.org/tlog-proof@v1\nextra YQ==\nindex 0\n\n{checkpoint}");
    let policy = format!("log {key} http://log\nwitness w {key}\ngroup g any w\nquorum g\n");
    let texts = [
        (0, format!("text\n\n{line}")),
        (1, checkpoint),
        (2, proof),
        (4, policy),
        (5, key.to_owned()),
        (6, "tile/entries/x001/234.p/7".to_owned()),
    ];
    let mut all: Vec<Vec<u8>> = texts
        .into_iter()
        .map(|(which, text)| [&[which], text.as_bytes()].concat())
        .collect();
    all.push([&[3][..], &leaf.encode()].concat());
    all.push(vec![7, 0, 1, 9]);
    all
}

/// Reference values that the key below signs.
///
/// # Errors
/// When the quote cannot be read.
pub fn document(quote: &[u8]) -> Result<Document> {
    Ok(Document {
        v: 1,
        name: "image 1".to_owned(),
        issued: Some("2026-11-26T12:00:00Z".to_owned()),
        measurements: vec![Measurements::of(&Quote::parse(quote)?)],
        artifacts: Vec::new(),
    })
}

/// Whom the target `reference` knows.
///
/// # Panics
/// Never.
pub fn signer() -> ReferenceSigner {
    ReferenceSigner::from_pem(&public()).expect("a public key")
}

/// The key whose seed is all ones: everybody knows it.
fn private() -> String {
    let head = "302e020100300506032b657004220420";
    pem("PRIVATE KEY", &[&unhex(head)[..], &[1; 32]].concat())
}

fn public() -> String {
    let head = "302a300506032b6570032100";
    let key = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
    pem("PUBLIC KEY", &[unhex(head), unhex(key)].concat())
}

fn unhex(text: &str) -> Vec<u8> {
    atlas_manifests::digest::unhex(text).expect("a constant")
}

fn pem(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}

fn sets() -> Result<Vec<Vec<u8>>> {
    let leaf = |n: u64, manifest| Leaf {
        node: NodeRef::Version(VersionId {
            node: NodeId([5; 16]),
            n,
        }),
        digests: Some(Digests::of(b"x")),
        manifest,
        kind: Kind::Opened,
        state: State::Sealed,
        process: 1,
        tree: 0,
    };
    let leaves = vec![leaf(1, None), leaf(2, Some(Sha256([6; 32])))];
    let list = MemberList::new(vec![Member {
        path: "a/b".into(),
        digests: Digests::of(b"x"),
    }])?;
    Ok(vec![
        leaves[1].encode(),
        Segment {
            prev: empty_head(),
            leaves,
        }
        .encode(),
        list.encode(),
    ])
}

//! Bundles: as bytes, and as archives of any entries under a list that fits them.
#![no_main]

use std::collections::BTreeMap;

use atlas_fuzz::seeds::MANIFEST;
use atlas_manifests::bundle::Bundle;
use atlas_manifests::digest::{Digests, Sha256};
use atlas_manifests::evidence::Evidence;
use atlas_manifests::shelf::Shelf as _;
use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;

/// What lies in an archive beside a manifest.
#[derive(Debug, Arbitrary)]
struct Built {
    entries: Vec<(Kind, Vec<u8>)>,
    disclosed: Vec<(String, String)>,
    unlisted: bool,
    list: Option<Vec<u8>>,
}

#[derive(Debug, Arbitrary)]
enum Kind {
    Manifest,
    Inputs,
    Members,
    Evidence,
    Collateral,
    Link,
    Named(String),
}

fuzz_target!(|input: &[u8]| {
    let Some((how, bytes)) = input.split_first() else {
        return;
    };
    if how % 2 == 0 {
        check(bytes);
    } else if let Ok(built) = Built::arbitrary(&mut Unstructured::new(bytes)) {
        check(&built.archive());
    }
});

fn check(bytes: &[u8]) {
    let Ok(bundle) = Bundle::read(bytes) else {
        return;
    };
    let manifest = bundle.manifest().expect("it was read");
    assert_eq!(Sha256::of(manifest), bundle.root());
    let _ = (bundle.node(), bundle.disclosed(), bundle.catalogue());
    let _ = bundle.manifests_of(&Digests::of(b""));
    // What was not looked at is shown to people.
    assert!(bundle.ignored().iter().all(|n| n.is_ascii()));
}

impl Built {
    fn archive(&self) -> Vec<u8> {
        let mut files: BTreeMap<String, (Vec<u8>, bool)> = BTreeMap::new();
        let root = Sha256::of(MANIFEST);
        let path = format!("manifests/{root}.c2pa");
        files.insert(path, (MANIFEST.to_vec(), true));
        for (kind, bytes) in &self.entries {
            let name = match kind {
                Kind::Evidence => Evidence::decode(bytes).map(|e| e.id()),
                _ => Ok(Sha256::of(bytes)),
            };
            let name = name.unwrap_or(Sha256([0; 32]));
            let path = match kind {
                Kind::Manifest => format!("manifests/{name}.c2pa"),
                Kind::Inputs => format!("inputs/{name}.cbor"),
                Kind::Members => format!("members/{name}.cbor"),
                Kind::Evidence => format!("evidence/{name}.cbor"),
                Kind::Collateral => format!("collateral/{name}.json"),
                Kind::Link => format!("evidence/{}.cbor", Sha256([1; 32])),
                Kind::Named(path) => path.clone(),
            };
            files.insert(path, (bytes.clone(), !matches!(kind, Kind::Link)));
        }
        let listed = files.iter().take(files.len() - usize::from(self.unlisted));
        let listed: BTreeMap<_, _> = listed
            .filter(|(_, (_, file))| *file)
            .map(|(path, (bytes, _))| (path, Sha256::of(bytes).hex()))
            .collect();
        let opening = |(field, value): &(String, String)| {
            let opening = serde_json::json!({ "salt": "00".repeat(16), "value": value });
            (field.clone(), opening)
        };
        let disclosed: BTreeMap<_, _> = self.disclosed.iter().map(opening).collect();
        let list = serde_json::json!({
            "format": "atlas-bundle 1",
            "root": root.hex(),
            "entries": listed,
            "disclosed": { root.hex(): disclosed },
        });
        let list = self
            .list
            .clone()
            .unwrap_or_else(|| list.to_string().into_bytes());
        let mut tar = tar::Builder::new(Vec::new());
        let files = files.iter().map(|(p, (b, file))| (p.as_str(), b, *file));
        for (path, bytes, file) in [("bundle.json", &list, true)].into_iter().chain(files) {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            if !file {
                header.set_entry_type(tar::EntryType::Symlink);
            }
            // A path that a tar cannot hold is left out.
            let _ = tar.append_data(&mut header, path, &bytes[..]);
        }
        tar.into_inner().expect("in memory")
    }
}

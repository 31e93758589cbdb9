//! Bundles as an attacker writes them: changed bytes, entries twice, too large, and with names that lead elsewhere.

use serde_json::json;

use super::*;
use crate::digest::Digests;
use crate::private::{PrivateRecord, withhold};
use crate::scan::tests::version_row;
use crate::verify::chain::{Chain, DEPTH, content, node};
use crate::verify::{Content, ManifestChoice, Memo, Subject, verify};

fn code(v: &crate::verify::FileVerdict) -> i32 {
    v.code.number()
}

fn exported(chain: &Chain) -> Vec<u8> {
    let mut tar = Vec::new();
    let root = chain.head().sealed.reference.sha256;
    write(&chain.shelf, &root, &Disclose::Nothing, &mut tar).unwrap();
    tar
}

/// The honest bundle with one entry more at its end. The name is written raw: our own writer would refuse some.
fn with_entry(chain: &Chain, name: &[u8], size: u64, bytes: &[u8]) -> Vec<u8> {
    let mut tar = exported(chain);
    tar.truncate(tar.len() - 1024);
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.extend_from_slice(bytes);
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    tar
}

#[test]
fn an_entry_that_stands_twice_is_refused() {
    let chain = Chain::new();
    let name = entry_name(Object::Manifest, &chain.links[3].sealed.reference.sha256);
    let bytes = &chain.links[3].sealed.manifest;
    let twice = with_entry(&chain, name.as_bytes(), bytes.len() as u64, bytes);
    assert!(
        Bundle::read(&twice[..])
            .unwrap_err()
            .to_string()
            .contains("twice")
    );
    let list = with_entry(&chain, b"bundle.json", 2, b"{}");
    assert!(
        Bundle::read(&list[..])
            .unwrap_err()
            .to_string()
            .contains("twice")
    );
}

#[test]
fn an_entry_that_claims_to_be_huge_is_refused_before_it_is_read() {
    let chain = Chain::new();
    let name = entry_name(Object::Manifest, &Sha256::of(b"huge"));
    let huge = with_entry(&chain, name.as_bytes(), 1 << 32, b"x");
    assert!(
        Bundle::read(&huge[..])
            .unwrap_err()
            .to_string()
            .contains("too large")
    );
    let short = with_entry(&chain, name.as_bytes(), 1 << 20, b"x");
    assert!(
        Bundle::read(&short[..]).is_err(),
        "less is there than it says"
    );
}

/// A sparse file of four gigabytes costs its maker nothing.
#[test]
fn an_extended_header_is_passed_over_and_never_read_into_memory() {
    let chain = Chain::new();
    for kind in [b'L', b'K', b'x', b'g', b'S', b'2', b'1', b'5', b'3'] {
        let mut tar = with_entry(&chain, b"manifests/x", 1 << 20, &[b'a'; 1 << 20]);
        let at = tar.len() - 1024 - (1 << 20) - 512;
        tar[at + 156] = kind;
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes().copy_from_slice(&tar[at..at + 512]);
        header.set_cksum();
        tar[at..at + 512].copy_from_slice(header.as_bytes());
        let bundle = Bundle::read(&tar[..]).unwrap();
        assert_eq!(bundle.ignored().len(), 1, "{}", char::from(kind));
    }
}

#[test]
fn names_that_lead_elsewhere_are_passed_over_and_nothing_is_written() {
    let chain = Chain::new();
    let hex = Sha256::of(b"x").hex();
    let names = [
        "../evil".to_owned(),
        "/etc/evil".to_owned(),
        format!("manifests/../manifests/{hex}.c2pa"),
        format!("private/{hex}.json"),
    ];
    for name in names {
        let bundle = Bundle::read(&with_entry(&chain, name.as_bytes(), 1, b"x")[..]).unwrap();
        assert_eq!(bundle.ignored(), [name]);
        assert_eq!(
            bundle.object(Object::Manifest, &Sha256::of(b"x")).unwrap(),
            None
        );
    }
    // An unlisted object is not evidence, and one under another's name is an error only where it is listed.
    let unlisted = with_entry(&chain, format!("manifests/{hex}.c2pa").as_bytes(), 1, b"x");
    let bundle = Bundle::read(&unlisted[..]).unwrap();
    assert_eq!(
        bundle.object(Object::Manifest, &Sha256::of(b"x")).unwrap(),
        None
    );
}

/// A disclosed value is believed only when the manifest commits to it, in the store and in a bundle alike.
#[test]
fn a_changed_private_record_discloses_nothing() {
    let (withheld, fields) = withhold([("argv".to_owned(), json!(["train", "--lr=1"]))]).unwrap();
    let chain = Chain::with(|s| s.withheld.clone_from(&withheld));
    let root = chain.head().sealed.reference.sha256;
    let mut record = PrivateRecord {
        manifest: root,
        fields,
        row: version_row(node(DEPTH)),
        run: None,
    };
    let export = |record: &PrivateRecord, what: &Disclose| {
        chain.shelf.put(Object::Private, root, record.encode());
        let mut tar = Vec::new();
        write(&chain.shelf, &root, what, &mut tar).map(|()| tar)
    };
    let honest = export(&record, &Disclose::All).unwrap();
    let said = Bundle::read(&honest[..]).unwrap().disclosed().unwrap();
    assert_eq!(said["argv"], json!(["train", "--lr=1"]));
    // In the bundle: another value of the same length, the rest left alone.
    let at = honest.windows(6).position(|w| w == b"--lr=1").unwrap();
    let mut bad = honest.clone();
    bad[at + 5] = b'9';
    assert!(Bundle::read(&bad[..]).unwrap().disclosed().is_err());
    // In the store.
    record.fields.get_mut("argv").unwrap().value = json!(["train", "--lr=9"]);
    assert!(export(&record, &Disclose::All).is_err());
    assert!(export(&record, &Disclose::Nothing).is_ok());
    let opening = record.fields["argv"].clone();
    record.fields.insert("host".to_owned(), opening);
    assert!(
        export(&record, &Disclose::Fields(vec!["host".to_owned()])).is_err(),
        "nothing was committed to"
    );
}

#[test]
fn a_bundle_verifies_without_the_store_and_not_when_it_was_changed() {
    let chain = Chain::new();
    let root = chain.head().sealed.reference.sha256;
    let mut tar = Vec::new();
    write(&chain.shelf, &root, &Disclose::Nothing, &mut tar).unwrap();
    let mut again = Vec::new();
    write(&chain.shelf, &root, &Disclose::Nothing, &mut again).unwrap();
    assert_eq!(tar, again, "the same store gives the same bytes");
    let judge = |bundle: &Bundle| {
        let choice = ManifestChoice {
            given: bundle.manifest().map(<[u8]>::to_vec),
            ..ManifestChoice::default()
        };
        let subject = Subject {
            path: "model.pt".into(),
            content: Content::Digests(Digests::of(&content(DEPTH))),
        };
        code(&verify(
            bundle,
            &chain.terms,
            subject,
            &choice,
            &mut Memo::default(),
            &|_, _| {},
        ))
    };
    assert_eq!(judge(&Bundle::read(&tar[..]).unwrap()), 0);
    for at in (0..tar.len()).step_by(509) {
        let mut bad = tar.clone();
        bad[at] ^= 4;
        // What the change did not reach, for example padding, may still pass; nothing may panic, and no object may be another.
        if let Ok(bundle) = Bundle::read(&bad[..]) {
            assert!(
                bundle
                    .manifest()
                    .is_none_or(|m| Sha256::of(m) == bundle.root())
            );
        }
    }
    assert!(Bundle::read(&tar[..tar.len() / 2]).is_err());
}

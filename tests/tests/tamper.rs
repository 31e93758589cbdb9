//! Every row of the table of tampering that earlier tools let pass, against the state directory as an attacker with write access
//! to the disk would change it. Each must be caught, by its own code.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use atlas_tests::ctl::Answer;
use atlas_tests::{Io, Lab, Options, files};

/// in -> gen0 -> gen1 -> ... -> gen(n-1), each made by a job of its own, then unmounted.
fn chain(lab: &Lab, length: usize) -> Vec<Vec<u8>> {
    lab.put("in", &files::noise(21, 3000));
    let mount = lab.mount(Options::new(Io::Passthrough));
    let mut manifests = Vec::new();
    for i in 0..length {
        let from = if i == 0 {
            "in".to_owned()
        } else {
            format!("gen{}", i - 1)
        };
        mount.sh(&format!("(cat {from}; echo {i}) > gen{i}")).ok();
        mount.sync();
        manifests.push(mount.manifest(&format!("gen{i}")));
    }
    mount.unmount();
    manifests
}

/// Where the store keeps these bytes.
fn stored(lab: &Lab, manifest: &[u8]) -> PathBuf {
    files::find(&lab.source().join(".atlas/store/manifests"), ".c2pa")
        .into_iter()
        .find(|path| fs::read(path).unwrap() == manifest)
        .expect("each manifest lies in the store")
}

fn writable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

fn verify(lab: &Lab, path: &str) -> Answer {
    lab.ctl(&[
        "verify",
        "--json",
        lab.source().join(path).to_str().unwrap(),
    ])
}

/// Where `needle` begins in `bytes`.
fn position(bytes: &[u8], needle: &[u8]) -> usize {
    bytes
        .windows(needle.len())
        .position(|w| w == needle)
        .unwrap_or_else(|| panic!("{needle:?} is not in the manifest"))
}

#[test]
fn an_honest_chain_passes_with_and_without_the_first_bytes() {
    let lab = Lab::new();
    chain(&lab, 3);
    assert_eq!(
        verify(&lab, "gen2").expect(0).json()["files"][0]["checks"]["lineage"],
        "affirming"
    );
    fs::remove_file(lab.source().join("gen0")).unwrap();
    verify(&lab, "gen2").expect(0);
}

#[test]
fn a_modified_file_is_refused_as_differing() {
    let lab = Lab::new();
    chain(&lab, 1);
    for offset in [0, 1500, 3001] {
        files::flip(&lab.source().join("gen0"), offset);
        let json = verify(&lab, "gen0").expect(4).json();
        assert_eq!(
            json["files"][0]["checks"]["artifact"], "contraindicated",
            "{json}"
        );
        files::flip(&lab.source().join("gen0"), offset);
    }
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(lab.source().join("gen0"))
        .unwrap();
    std::io::Write::write_all(&mut file, b"x").unwrap();
    verify(&lab, "gen0").expect(4);
}

#[test]
fn a_file_of_equal_size_and_time_is_still_hashed() {
    let lab = Lab::new();
    chain(&lab, 1);
    let path = lab.source().join("gen0");
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    files::flip(&path, 10);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(before)
        .unwrap();
    verify(&lab, "gen0").expect(4);
}

#[test]
fn a_deleted_file_is_an_error_and_not_a_pass() {
    let lab = Lab::new();
    chain(&lab, 1);
    fs::remove_file(lab.source().join("gen0")).unwrap();
    assert_eq!(verify(&lab, "gen0").code, 1);
}

/// Any bit of a manifest: no place is unsigned.
#[test]
fn a_flipped_bit_anywhere_in_a_manifest_is_refused() {
    let lab = Lab::new();
    let manifest = chain(&lab, 1).remove(0);
    let path = lab.source().join("gen0");
    let bad = lab.scratch().join("bad.c2pa");
    let verify = |bytes: &[u8]| {
        fs::write(&bad, bytes).unwrap();
        let answer = lab.ctl(&[
            "verify",
            path.to_str().unwrap(),
            "--manifest",
            bad.to_str().unwrap(),
        ]);
        assert!(!answer.stderr.contains("panicked"), "{answer:?}");
        answer.code
    };
    assert_eq!(verify(&manifest), 0);
    for offset in (0..manifest.len()).step_by(manifest.len() / 120) {
        let mut bytes = manifest.clone();
        bytes[offset] ^= 1;
        assert_ne!(
            verify(&bytes),
            0,
            "byte {offset} of {} may be changed",
            manifest.len()
        );
    }
    for len in [0, 1, 8, 100, manifest.len() / 2, manifest.len() - 1] {
        assert_ne!(verify(&manifest[..len]), 0, "{len} bytes of it");
    }
}

#[test]
fn an_edited_claim_with_a_replaced_signature_is_refused() {
    let lab = Lab::new();
    let manifest = chain(&lab, 1).remove(0);
    let mut bytes = manifest.clone();
    let title = position(&bytes, b"gen0");
    bytes[title..title + 4].copy_from_slice(b"gen9");
    let signature = position(&bytes, b"c2pa.signature") + 64;
    for byte in &mut bytes[signature..signature + 64] {
        *byte = b'A';
    }
    let path = stored(&lab, &manifest);
    writable(&path);
    fs::write(&path, &bytes).unwrap();
    verify(&lab, "gen0").expect(5);
}

#[test]
fn a_manifest_of_another_file_is_refused_as_differing() {
    let lab = Lab::new();
    chain(&lab, 2);
    let manifests = files::find(&lab.source().join(".atlas/store/manifests"), ".c2pa");
    assert_eq!(manifests.len(), 2);
    let codes: Vec<_> = manifests
        .iter()
        .map(|m| {
            lab.ctl(&[
                "verify",
                lab.source().join("gen0").to_str().unwrap(),
                "--manifest",
                m.to_str().unwrap(),
            ])
            .code
        })
        .collect();
    assert!(codes.contains(&0) && codes.contains(&4), "{codes:?}");
}

/// The parent's manifest edited, one hop up and nine hops up: only tools that walk the whole chain see the second.
#[test]
fn an_edited_ancestor_is_found_however_far_up_it_is() {
    let lab = Lab::new();
    let manifests = chain(&lab, 10);
    for ancestor in [8, 4, 0] {
        let path = stored(&lab, &manifests[ancestor]);
        writable(&path);
        let mut bytes = manifests[ancestor].clone();
        let at = position(&bytes, format!("gen{ancestor}").as_bytes());
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        verify(&lab, "gen9").expect(8);
        fs::write(&path, &manifests[ancestor]).unwrap();
        verify(&lab, "gen9").expect(0);
    }
}

#[test]
fn a_deleted_manifest_in_the_middle_of_the_chain_is_found() {
    let lab = Lab::new();
    let manifests = chain(&lab, 6);
    fs::remove_file(stored(&lab, &manifests[2])).unwrap();
    verify(&lab, "gen5").expect(8);
    verify(&lab, "gen1").expect(0);
}

/// The attacker who can compute hashes: an edited ancestor under the name of its new digest, put where the old one was.
#[test]
fn an_ancestor_swapped_for_another_valid_manifest_is_found() {
    let lab = Lab::new();
    let manifests = chain(&lab, 4);
    let path = stored(&lab, &manifests[1]);
    writable(&path);
    fs::write(&path, &manifests[0]).unwrap();
    verify(&lab, "gen3").expect(8);
}

/// The whole `.atlas` replaced by one made under another authority, for the same bytes: consistent in itself, and not trusted.
#[test]
fn a_state_directory_of_another_authority_is_not_trusted() {
    let lab = Lab::new();
    chain(&lab, 2);
    let forger = Lab::new();
    // Made where nobody looks: its pin is taken away again.
    let pins = || files::find(Path::new("/etc/atlas/trust"), ".pem");
    let honest = pins();
    chain(&forger, 2);
    for pin in pins() {
        if !honest.contains(&pin) {
            fs::remove_file(pin).unwrap();
        }
    }
    fs::rename(lab.source().join(".atlas"), lab.scratch().join("honest")).unwrap();
    files::copy_tree(
        &forger.source().join(".atlas"),
        &lab.source().join(".atlas"),
    );
    let json = verify(&lab, "gen1").expect(5).json();
    assert_ne!(
        json["files"][0]["checks"]["signature"], "affirming",
        "{json}"
    );
    fs::remove_dir_all(lab.source().join(".atlas")).unwrap();
    verify(&lab, "gen1").expect(3);
    fs::rename(lab.scratch().join("honest"), lab.source().join(".atlas")).unwrap();
    verify(&lab, "gen1").expect(0);
}

/// The index is a cache: what it says is never evidence, and without it verify still finds everything.
#[test]
fn a_lost_or_damaged_index_changes_no_verdict() {
    let lab = Lab::new();
    chain(&lab, 3);
    let index = files::find(&lab.source().join(".atlas/nodes"), "index.redb").remove(0);
    let whole = fs::read(&index).unwrap();
    fs::write(&index, &whole[..whole.len() / 2]).unwrap();
    verify(&lab, "gen2").expect(0);
    fs::remove_file(&index).unwrap();
    verify(&lab, "gen2").expect(0);
    files::flip(&lab.source().join("gen2"), 5);
    assert!(
        [3, 4].contains(&verify(&lab, "gen2").code),
        "by path it differs, by digest there is none"
    );
}

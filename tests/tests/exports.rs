//! The proof that travels: manifests and bundles, checked where there is no daemon, no state and no mount.

use std::fs;
use std::path::{Path, PathBuf};

use atlas_tests::ctl::{self, Answer};
use atlas_tests::{Io, Lab, Options, files, sandbox};

struct Elsewhere {
    dir: tempfile::TempDir,
    anchor: PathBuf,
}

/// Another machine: the model and its proof in an empty directory, an authority's certificate, and nothing pinned.
fn elsewhere(disclose: &[&str]) -> Elsewhere {
    let lab = Lab::new();
    lab.put("in.bin", &files::noise(11, 5000));
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.sh("cat in.bin > step1.bin").ok();
    mount.sh("cat step1.bin in.bin > model.safetensors").ok();
    mount.sync();
    let dir = tempfile::tempdir().unwrap();
    let to = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    mount
        .ctl(&["export", "model.safetensors", "-o", &to("model.c2pa")])
        .expect(0);
    let bundle = to("model.atlas");
    mount
        .ctl(
            &[
                &["export", "model.safetensors", "--bundle", &bundle],
                disclose,
            ]
            .concat(),
        )
        .expect(0);
    fs::copy(
        mount.path("model.safetensors"),
        dir.path().join("model.safetensors"),
    )
    .unwrap();
    let anchor = dir.path().join("authority.pem");
    fs::copy(lab.authority().join("authority.pem"), &anchor).unwrap();
    drop(mount);
    for pinned in files::find(Path::new("/etc/atlas/trust"), ".pem") {
        fs::remove_file(pinned).unwrap();
    }
    Elsewhere { dir, anchor }
}

impl Elsewhere {
    fn ctl(&self, args: &[&str]) -> Answer {
        let mut command = ctl::command(&sandbox::program("atlasctl"), self.dir.path());
        command.args(args).env("HOME", self.dir.path());
        Answer::of(command)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// A bundle holds all that an auditor needs: every ancestor, offline.
#[test]
fn a_bundle_verifies_with_nothing_but_an_anchor() {
    let there = elsewhere(&[]);
    let anchor = there.anchor.to_str().unwrap();
    let answer = there
        .ctl(&[
            "verify",
            "--json",
            "model.safetensors",
            "--manifest",
            "model.atlas",
            "--trust",
            anchor,
        ])
        .expect(0);
    assert_eq!(
        answer.json()["files"][0]["checks"]["lineage"],
        "affirming",
        "{}",
        answer.stdout
    );
    there
        .ctl(&["verify", "model.safetensors", "--manifest", "model.atlas"])
        .expect(5);
    files::flip(&there.path("model.safetensors"), 77);
    there
        .ctl(&[
            "verify",
            "model.safetensors",
            "--manifest",
            "model.atlas",
            "--trust",
            anchor,
        ])
        .expect(4);
}

/// One manifest alone proves the file; its ancestors cannot be checked from it, and that must be said rather than passed over.
#[test]
fn a_lone_manifest_proves_the_bytes_and_does_not_claim_the_ancestors() {
    let there = elsewhere(&[]);
    let anchor = there.anchor.to_str().unwrap();
    let args = [
        "verify",
        "--json",
        "model.safetensors",
        "--manifest",
        "model.c2pa",
        "--trust",
        anchor,
    ];
    let json = there.ctl(&args).json();
    let checks = &json["files"][0]["checks"];
    assert_eq!(
        (&checks["artifact"], &checks["signature"]),
        (&"affirming".into(), &"affirming".into()),
        "{json}"
    );
    assert_ne!(checks["lineage"], "affirming", "{json}");
}

/// Side by side as PATH.c2pa the manifest is found; the certificate beside it is not believed.
#[test]
fn a_manifest_beside_the_file_is_found_and_a_certificate_beside_it_is_not_believed() {
    let there = elsewhere(&[]);
    fs::rename(
        there.path("model.c2pa"),
        there.path("model.safetensors.c2pa"),
    )
    .unwrap();
    let trusting = there.ctl(&[
        "verify",
        "--json",
        "model.safetensors",
        "--trust",
        there.anchor.to_str().unwrap(),
    ]);
    assert_eq!(
        trusting.json()["files"][0]["checks"]["artifact"],
        "affirming"
    );
    there.ctl(&["verify", "model.safetensors"]).expect(5);
    there
        .ctl(&["trust", "add", there.anchor.to_str().unwrap()])
        .expect(0);
    assert_ne!(
        there.ctl(&["verify", "model.safetensors"]).code,
        5,
        "pinned now"
    );
}

/// Each object of a bundle is untrusted: a flipped bit anywhere in it must never pass, nor crash the reader.
#[test]
fn a_flipped_bit_anywhere_in_a_bundle_never_panics_and_never_vouches_for_other_bytes() {
    let there = elsewhere(&[]);
    let anchor = there.anchor.to_str().unwrap();
    let whole = fs::read(there.path("model.atlas")).unwrap();
    let step = whole.len() / 60;
    for offset in (0..whole.len()).step_by(step) {
        let mut bytes = whole.clone();
        bytes[offset] ^= 0x10;
        fs::write(there.path("bad.atlas"), &bytes).unwrap();
        let answer = there.ctl(&[
            "verify",
            "--json",
            "model.safetensors",
            "--manifest",
            "bad.atlas",
            "--trust",
            anchor,
        ]);
        assert!(
            [0, 1, 3, 4, 5, 8].contains(&answer.code),
            "offset {offset}: {answer:?}"
        );
        assert!(
            !answer.stderr.contains("panicked"),
            "offset {offset}: {answer:?}"
        );
    }
    for len in [0, 1, 511, 512, whole.len() / 2, whole.len() - 1025] {
        fs::write(there.path("bad.atlas"), &whole[..len]).unwrap();
        let answer = there.ctl(&[
            "verify",
            "model.safetensors",
            "--manifest",
            "bad.atlas",
            "--trust",
            anchor,
        ]);
        assert!(
            answer.code != 0 && !answer.stderr.contains("panicked"),
            "{len} bytes of it: {answer:?}"
        );
    }
}

/// Paths and arguments are withheld unless asked for, and open when they were disclosed.
#[test]
fn withheld_fields_are_in_a_bundle_only_when_disclosed() {
    let contains = |there: &Elsewhere, word: &str| {
        let bytes = fs::read(there.path("model.atlas")).unwrap();
        bytes.windows(word.len()).any(|w| w == word.as_bytes())
    };
    let closed = elsewhere(&[]);
    assert!(
        !contains(&closed, "cat step1.bin in.bin"),
        "argv is withheld"
    );
    let open = elsewhere(&["--disclose", "argv"]);
    assert!(contains(&open, "step1.bin"), "argv is disclosed");
}

/// A bundle is a plain tar: an auditor opens it without Atlas.
#[test]
fn a_bundle_is_a_plain_tar_with_the_documented_names() {
    let there = elsewhere(&[]);
    let mut tar = std::process::Command::new("tar");
    tar.arg("-tf").arg(there.path("model.atlas"));
    let listed = Answer::of(tar).expect(0).stdout;
    assert!(
        listed.lines().any(|l| l.ends_with("bundle.json")),
        "{listed}"
    );
    assert!(
        listed.lines().any(|l| l.contains("manifests/"))
            && listed.lines().any(|l| l.contains("inputs/")),
        "{listed}"
    );
}

/// An export never overwrites by surprise.
#[test]
fn an_export_onto_an_existing_file_is_refused() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.sh("echo x > f").ok();
    mount.sync();
    let to = lab.scratch().join("taken");
    fs::write(&to, "precious").unwrap();
    mount
        .ctl(&["export", "f", "-o", to.to_str().unwrap()])
        .refusal(1, "taken");
    assert_eq!(fs::read(&to).unwrap(), b"precious");
    mount
        .ctl(&[
            "export",
            "nothing",
            "-o",
            lab.scratch().join("n").to_str().unwrap(),
        ])
        .refusal(1, "nothing");
}

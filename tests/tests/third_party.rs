//! `c2patool`, the reference verifier, judges our manifests: a format that only its author can read is no format.

use std::fs;
use std::path::Path;
use std::process::Command;

use atlas_tests::ctl::Answer;
use atlas_tests::{Io, Lab, Options, files, sandbox};
use serde_json::Value;

/// What c2patool says. It exits 0 for `Invalid` too: only its JSON counts.
fn judge(asset: &Path, manifest: &Path, anchor: Option<&Path>) -> Value {
    let mut tool = Command::new(sandbox::c2patool());
    tool.arg(asset).arg("--external-manifest").arg(manifest);
    if let Some(anchor) = anchor {
        tool.args(["trust", "--trust_anchors"]).arg(anchor);
    }
    Answer::of(tool).expect(0).json()
}

fn codes(json: &Value) -> String {
    json["validation_status"].to_string()
}

#[test]
fn c2patool_trusts_our_manifests_and_refuses_a_flipped_byte() {
    let lab = Lab::new();
    lab.put("in.npy", &files::noise(41, 2000));
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.python(
        "import numpy, zipfile\nfrom safetensors.numpy import save_file\nraw = open('in.npy', 'rb').read()\n\
         save_file({'w': numpy.frombuffer(raw, dtype='u1').copy()}, 'm.safetensors')\n\
         z = zipfile.ZipFile('m.pt', 'w', zipfile.ZIP_STORED); z.writestr('archive/data.pkl', raw); z.writestr('archive/version', '3\\n'); z.close()\n\
         open('d.parquet', 'wb').write(b'PAR1' + raw + b'PAR1')\nopen('noextension', 'wb').write(raw)",
    ).ok();
    mount.sync();
    let anchor = lab.authority().join("authority.pem");
    for name in ["m.safetensors", "m.pt", "d.parquet", "noextension"] {
        let manifest = lab.scratch().join(format!("{name}.c2pa"));
        mount
            .ctl(&["export", name, "-o", manifest.to_str().unwrap()])
            .expect(0);
        // c2patool wants some extension; any does.
        let asset = lab.scratch().join(if name.contains('.') {
            name.to_owned()
        } else {
            format!("{name}.bin")
        });
        fs::copy(mount.path(name), &asset).unwrap();

        let json = judge(&asset, &manifest, Some(&anchor));
        assert_eq!(json["validation_state"], "Trusted", "{name}: {json}");
        let active = json["active_manifest"].as_str().unwrap();
        assert!(
            json["manifests"][active]["ingredients"]
                .to_string()
                .contains("in.npy"),
            "{name}: {json}"
        );
        let unpinned = judge(&asset, &manifest, None);
        assert_eq!(unpinned["validation_state"], "Valid", "{name}: {unpinned}");
        assert!(
            codes(&unpinned).contains("signingCredential.untrusted"),
            "{name}: {unpinned}"
        );

        files::flip(&asset, 1000);
        let json = judge(&asset, &manifest, Some(&anchor));
        assert_eq!(json["validation_state"], "Invalid", "{name}: {json}");
        assert!(
            codes(&json).contains("assertion.dataHash.mismatch"),
            "{name}: {json}"
        );
    }
}

/// A signature that c2patool accepts from one authority must not satisfy it under another.
#[test]
fn c2patool_does_not_trust_us_under_another_anchor() {
    let lab = Lab::new();
    let other = Lab::new();
    let mount = lab.mount(Options::new(Io::Inline));
    let stranger = other.mount(Options::new(Io::Inline));
    mount.sh("echo weights > m.bin").ok();
    mount.sync();
    let manifest = lab.scratch().join("m.c2pa");
    mount
        .ctl(&["export", "m.bin", "-o", manifest.to_str().unwrap()])
        .expect(0);
    let json = judge(
        &lab.behind("m.bin"),
        &manifest,
        Some(&other.authority().join("authority.pem")),
    );
    assert_eq!(
        json["validation_state"], "Valid",
        "intact, and signed by nobody it knows: {json}"
    );
    drop(stranger);
}

//! Google's `check` of go-tdx-guest judges the quote of our evidence: what it binds is worked out here by hand, as FORMAT.md says it.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use atlas_manifests::digest::hex;
use atlas_manifests::evidence::Evidence;
use atlas_manifests::evidence::quote::Quote;
use sha2::{Digest as _, Sha512};

use super::lab::Lab;

/// The program, or nothing after saying so.
fn check() -> Option<OsString> {
    let path = std::env::var_os("ATLAS_TEST_TDX_CHECK");
    if path.is_none() {
        let _ = writeln!(
            io::stderr(),
            "SKIPPED evidence google: ATLAS_TEST_TDX_CHECK does not name go-tdx-guest's check"
        );
    }
    path
}

/// Whether it takes the quote for one of this trust domain with that report data.
fn accepts(program: &OsString, lab: &Lab, evidence: &Evidence, report_data: &[u8]) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let (root, quote) = (dir.path().join("root.pem"), dir.path().join("quote"));
    std::fs::write(&root, lab.world.root_pem()).unwrap();
    std::fs::write(&quote, &evidence.quote).unwrap();
    // RTMR3 as the event log says, from zero: what the quote says of itself proves nothing.
    let rtmr = [0, 1, 2].map(|i| lab.td.rtmr[i]).map(|r| hex(&r)).join(",");
    let rtmr3 = hex(&evidence.events.as_ref().unwrap().head().rtmr3.0);
    let mut check = Command::new(program);
    check
        .args(["-inform=bin", "-in"])
        .arg(&quote)
        .arg(format!("-trusted_roots={}", root.display()))
        .arg(format!("-mr_td={}", hex(&lab.td.mrtd)))
        .arg(format!("-rtmrs={rtmr},{rtmr3}"))
        .arg(format!("-report_data={}", hex(report_data)));
    let silent = check.stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().unwrap().success()
}

#[test]
fn googles_check_finds_the_binding_in_the_quote() {
    let Some(program) = check() else { return };
    let mut lab = Lab::new();
    let evidence = lab.evidence();
    let hashed = |domain: &[u8], binding: &[u8]| {
        let mut hash = Sha512::new();
        hash.update(domain);
        hash.update(binding);
        hash.finalize().to_vec()
    };
    let domain = b"atlas/tdx-binding/v1\0";
    let right = hashed(domain, &evidence.binding);
    assert!(accepts(&program, &lab, &evidence, &right), "ours");

    let mut changed = evidence.binding.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    for wrong in [
        hashed(domain, &changed),
        hashed(b"", &evidence.binding),
        hashed(&domain[..domain.len() - 1], &evidence.binding),
    ] {
        assert!(!accepts(&program, &lab, &evidence, &wrong));
    }
    // Another log than the one that extended RTMR3.
    let mut other = evidence.clone();
    other.events.as_mut().unwrap().entries.clear();
    assert!(!accepts(&program, &lab, &other, &right));
    assert_eq!(
        Quote::parse(&evidence.quote).unwrap().report_data()[..],
        right
    );
}

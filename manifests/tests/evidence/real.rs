//! Intel's own quotes and collateral, as they are shipped inside the dcap-qvl package: found by cargo, nothing is copied here.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use atlas_manifests::evidence::Evidence;
use atlas_manifests::evidence::appraise::{Appraisal, Appraiser, Check, Clock, Presented};
use atlas_manifests::evidence::quote::Quote;
use atlas_manifests::vocabulary::{Hardware, Tier};

static SAMPLES: LazyLock<PathBuf> = LazyLock::new(|| {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let meta: serde_json::Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)));
    let packages = meta["packages"].as_array().unwrap();
    let found = packages.iter().find(|p| p["name"] == "dcap-qvl").unwrap();
    PathBuf::from(found["manifest_path"].as_str().unwrap()).with_file_name("sample")
});

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(SAMPLES.join(name)).unwrap()
}

/// By Intel's root alone. The binding is none of ours, so key binding must fail, and says nothing about the platform.
fn appraise(quote: &str, collateral: &str, now: u64) -> Appraisal {
    let mut evidence = super::lab::Lab::new().evidence();
    evidence.quote = sample(quote);
    if quote.ends_with(".hex") {
        let text = String::from_utf8(evidence.quote).unwrap();
        let digits = text.trim().trim_start_matches("0x").to_lowercase();
        evidence.quote = atlas_manifests::digest::unhex(&digits).unwrap();
    }
    evidence.ccel = None;
    let appraiser = Appraiser {
        clock: Clock(now),
        ..Appraiser::default()
    };
    appraiser.appraise(&Presented {
        evidence: &evidence,
        earlier: &|_| None::<Evidence>,
        collateral: Some(&sample(collateral)),
        nonce: None,
    })
}

#[test]
fn quotes_of_real_platforms_are_vouched_for_by_intel_at_their_time() {
    for (quote, collateral, now, version) in [
        ("tdx_quote", "tdx_quote_collateral.json", 1_751_500_000, 4),
        (
            "tdx_quote_td15ex",
            "tdx_quote_td15ex_collateral.json",
            1_792_500_000,
            5,
        ),
    ] {
        let a = appraise(quote, collateral, now);
        assert_eq!(
            a.facts.hardware,
            Hardware::Tdx,
            "{quote}: {:#?}",
            a.findings
        );
        assert_eq!(a.tier(Check::Hardware), Tier::Affirming);
        assert_eq!(a.tier(Check::Tcb), Tier::Affirming);
        assert_eq!(
            a.facts.tcb.as_ref().unwrap().today.as_deref(),
            Some("UpToDate")
        );
        assert_eq!(a.tier(Check::KeyBinding), Tier::Contraindicated);
        assert_eq!(a.tier(Check::Measurements), Tier::None);
        let bytes = sample(quote);
        let read = Quote::parse(&bytes).unwrap();
        assert_eq!(read.version, version);
        read.consistent().unwrap();
        assert_eq!(read.attributes() & 1, 0);
    }
}

#[test]
fn they_are_not_at_another_time() {
    for now in [1_600_000_000, 1_900_000_000] {
        let a = appraise("tdx_quote", "tdx_quote_collateral.json", now);
        assert_eq!(a.facts.hardware, Hardware::None);
        assert!(
            a.findings
                .iter()
                .any(|f| f.text.contains("its collateral is not valid"))
        );
    }
}

#[test]
fn quotes_of_an_outdated_platform_are_not_vouched_for() {
    for (quote, collateral, now) in [
        (
            "tdx_quote_outdated",
            "tdx_quote_outdated_collateral.json",
            1_772_500_000,
        ),
        (
            "quote-from-tappd.hex",
            "tdx_quote_collateral.json",
            1_751_500_000,
        ),
        ("tdx-quote.hex", "tdx_quote_collateral.json", 1_751_500_000),
    ] {
        let a = appraise(quote, collateral, now);
        assert_eq!(a.facts.hardware, Hardware::None, "{quote}");
        super::lab::refused(&a, Check::Hardware, "Intel does not vouch for it");
    }
}

#[test]
fn an_sgx_quote_is_no_tdx_quote() {
    let a = appraise("sgx_quote", "sgx_quote_collateral.json", 1_751_500_000);
    assert_eq!(a.facts.hardware, Hardware::None);
    assert!(a.refused());
}

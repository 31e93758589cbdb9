//! Attacks on quote, platform, measurements, binding and age (rows 1 to 16, 31, 32 and 34 of the trust facts).

use atlas_manifests::evidence::Beacon;
use atlas_manifests::evidence::appraise::{Check, Presented};
use atlas_manifests::evidence::collateral::Collateral;
use atlas_manifests::evidence::policy::{Require, TcbWord};
use atlas_manifests::evidence::quote::Quote;
use atlas_manifests::vocabulary::{Hardware, Tier};
use atlas_tdx_sim::{CollateralSpec, Fmspc, Shape, TcbStatus, Tee, World, WorldOptions};
use sha2::Digest as _;

use super::lab::{DAY, Lab, NOW, good, refused};

/// Spoils one thing.
type Change = fn(&mut Lab);

#[test]
fn honest_evidence_of_every_shape_is_good_and_says_that_it_is_simulated() {
    for shape in Shape::ALL {
        let mut lab = Lab::new();
        lab.shape = shape;
        good(&lab.verdict());
    }
}

#[test]
fn row_1_a_debug_or_profiled_td_is_refused_however_well_it_is_signed() {
    for bit in [0, 4, 5, 6, 7] {
        let mut lab = Lab::new();
        lab.td.attributes |= 1 << bit;
        let a = lab.verdict();
        refused(&a, Check::Hardware, if bit == 0 { "debug TD" } else { "" });
        assert_eq!(a.facts.hardware, Hardware::None);
    }
    let mut lab = Lab::new();
    lab.td.attributes |= 1;
    lab.policy.td.allow_debug = true;
    assert!(!lab.verdict().refused());
}

#[test]
fn row_2_visible_ept_violations_migration_and_service_tds_are_refused() {
    let mut lab = Lab::new();
    lab.td.attributes &= !(1 << 28);
    refused(&lab.verdict(), Check::Hardware, "");
    let mut lab = Lab::new();
    lab.td.attributes |= 1 << 29;
    refused(&lab.verdict(), Check::Hardware, "");
    let mut lab = Lab::new();
    (lab.shape, lab.td.mr_servicetd) = (Shape::V5Td15, [1; 48]);
    refused(&lab.verdict(), Check::Hardware, "");
    lab.policy.td.allow_service_td = true;
    assert!(!lab.verdict().refused());
}

#[test]
fn row_3_an_old_patch_level_is_never_plainly_good() {
    for (status, word) in [
        (TcbStatus::OutOfDate, TcbWord::OutOfDate),
        (TcbStatus::ConfigurationNeeded, TcbWord::ConfigurationNeeded),
        (TcbStatus::SWHardeningNeeded, TcbWord::SwHardeningNeeded),
        (
            TcbStatus::OutOfDateConfigurationNeeded,
            TcbWord::OutOfDateConfigurationNeeded,
        ),
    ] {
        let mut lab = Lab::new();
        lab.spec = lab.spec.status(status);
        let a = lab.verdict();
        refused(&a, Check::Tcb, word.as_str());
        let tcb = a.facts.tcb.clone().unwrap();
        assert_eq!(tcb.today.as_deref(), Some(word.as_str()));
        assert!(!tcb.advisories.is_empty());
        // Named in the policy it passes, as a warning with its advisories, unless one of them is named too.
        lab.policy.tcb.accept.push(word);
        let a = lab.verdict();
        assert_eq!(a.tier(Check::Tcb), Tier::Warning);
        assert!(
            a.findings
                .iter()
                .any(|f| f.text.contains(&tcb.advisories[0]))
        );
        lab.policy.tcb.reject_advisories = vec![tcb.advisories[0].to_lowercase()];
        refused(&lab.verdict(), Check::Tcb, "is open");
    }
}

#[test]
fn row_3_old_collateral_does_not_hide_a_newer_evaluation() {
    let mut lab = Lab::new();
    lab.policy.tcb.min_evaluation_data_number = lab.spec.tcb_evaluation_data_number + 1;
    refused(&lab.verdict(), Check::Tcb, "evaluation number");
}

#[test]
fn row_4_a_revoked_level_or_platform_is_refused_whatever_the_policy_says() {
    let mut lab = Lab::new();
    lab.policy.tcb.accept.push(TcbWord::OutOfDate);
    lab.spec = lab.spec.status(TcbStatus::Revoked);
    refused(&lab.verdict(), Check::Hardware, "");
    let mut lab = Lab::new();
    lab.spec.revoke_pck = true;
    refused(&lab.verdict(), Check::Hardware, "");
}

#[test]
fn row_5_without_collateral_of_its_time_nothing_is_proven() {
    let mut lab = Lab::new();
    let evidence = lab.evidence();
    let a = lab.appraise_with(&evidence, None);
    assert!(!a.refused());
    assert_eq!(a.facts.hardware, Hardware::None);
    for check in Check::ALL {
        assert_eq!(a.tier(check), Tier::None, "{check:?}");
    }
    assert!(
        a.findings
            .iter()
            .any(|f| f.text.contains("no collateral") && f.remedy.contains("--collateral"))
    );
    // Of another time, both ways.
    for (issued, next) in [
        (NOW - 90 * 86400, NOW - 60 * 86400),
        (NOW + 86400, NOW + 30 * 86400),
    ] {
        (lab.spec.issued, lab.spec.next_update) = (issued, next);
        let a = lab.appraise(&evidence);
        assert_eq!(a.facts.hardware, Hardware::None);
        assert!(
            a.findings
                .iter()
                .any(|f| f.text.contains("neither when it was made nor now"))
        );
    }
    lab.spec = CollateralSpec::at(NOW);
    lab.spec.crl_expired = true;
    assert_eq!(lab.appraise(&evidence).facts.hardware, Hardware::None);
}

#[test]
fn two_clocks_good_when_made_and_not_known_today() {
    let mut lab = Lab::new();
    let evidence = lab.evidence();
    lab.now = NOW as u64 + 60 * DAY;
    let a = lab.appraise(&evidence);
    assert!(!a.refused());
    assert_eq!(a.tier(Check::Tcb), Tier::Warning);
    let tcb = a.facts.tcb.clone().unwrap();
    assert_eq!(
        (tcb.when_made.as_deref(), tcb.today),
        (Some("UpToDate"), None)
    );
    lab.policy.tcb.require_today = Some(true);
    refused(&lab.appraise(&evidence), Check::Tcb, "today");
    // With collateral of that day both are known; and what is revoked since is refused.
    let mut later = CollateralSpec::at(lab.now as i64);
    let with = |lab: &Lab, spec: &CollateralSpec| {
        let mut appraiser = lab.appraiser();
        let json = lab.world.collateral(spec).unwrap();
        appraiser.collateral = vec![Collateral::parse(json.as_bytes()).unwrap()];
        appraiser.appraise(&Presented {
            evidence: &evidence,
            earlier: &|_| None,
            collateral: Some(lab.collateral().as_bytes()),
            nonce: None,
        })
    };
    let a = with(&lab, &later);
    assert_eq!(a.tier(Check::Tcb), Tier::Affirming);
    let tcb = a.facts.tcb.clone().unwrap();
    assert_eq!(
        (tcb.when_made.as_deref(), tcb.today.as_deref()),
        (Some("UpToDate"), Some("UpToDate"))
    );
    later = later.status(TcbStatus::OutOfDate);
    refused(&with(&lab, &later), Check::Tcb, "OutOfDate today");
    later.revoke_pck = true;
    refused(&with(&lab, &later), Check::Hardware, "");
}

/// Older collateral stays valid for weeks, and whoever holds the store can leave it there.
#[test]
fn row_4_what_the_verifier_has_is_not_overruled_by_older_collateral_beside_the_data() {
    let mut lab = Lab::new();
    let evidence = lab.evidence();
    let beside = lab.collateral();
    let with = |lab: &Lab, specs: &[CollateralSpec]| {
        let mut appraiser = lab.appraiser();
        let read = |s: &CollateralSpec| {
            Collateral::parse(lab.world.collateral(s).unwrap().as_bytes()).unwrap()
        };
        appraiser.collateral = specs.iter().map(read).collect();
        appraiser.appraise(&Presented {
            evidence: &evidence,
            earlier: &|_| None,
            collateral: Some(beside.as_bytes()),
            nonce: None,
        })
    };
    let good_then = CollateralSpec::at(NOW);
    let mut newer = CollateralSpec::at(NOW);
    newer.issued += 60;
    let mut revoked = newer.clone();
    revoked.revoke_pck = true;
    let outdated = newer.status(TcbStatus::OutOfDate);
    refused(
        &with(&lab, std::slice::from_ref(&outdated)),
        Check::Tcb,
        "OutOfDate",
    );
    refused(
        &with(&lab, std::slice::from_ref(&revoked)),
        Check::Hardware,
        "",
    );
    // Also beside an older one of the verifier's own, in either order.
    refused(
        &with(&lab, &[good_then.clone(), outdated.clone()]),
        Check::Tcb,
        "OutOfDate",
    );
    refused(
        &with(&lab, &[outdated, good_then.clone()]),
        Check::Tcb,
        "OutOfDate",
    );
    refused(&with(&lab, &[good_then, revoked]), Check::Hardware, "");
}

#[test]
fn row_16_reference_values_that_leave_out_the_image_are_not_enough_where_evidence_is_demanded() {
    let mut lab = Lab::new();
    lab.policy.evidence.require = Require::File;
    lab.policy.tcb.require_today = Some(false);
    lab.references[0].rtmr1 = None;
    let a = lab.verdict();
    assert_eq!(a.tier(Check::Measurements), Tier::Warning);
    assert!(a.lacks(Check::Measurements));
    lab.policy.measurements.allow_partial = true;
    assert!(!lab.verdict().lacks(Check::Measurements));
}

#[test]
fn without_collateral_of_today_hardware_is_a_warning_and_refused_where_evidence_is_demanded() {
    let mut lab = Lab::new();
    let evidence = lab.evidence();
    lab.now = NOW as u64 + 60 * DAY;
    assert!(!lab.appraise(&evidence).refused());
    lab.policy.evidence.require = Require::File;
    refused(&lab.appraise(&evidence), Check::Tcb, "today");
    lab.policy.tcb.require_today = Some(false);
    assert!(!lab.appraise(&evidence).refused());
}

#[test]
fn row_6_a_simulators_quote_is_refused_under_intels_root() {
    let mut lab = Lab::new();
    lab.root = false;
    let a = lab.verdict();
    refused(&a, Check::Hardware, "do not lead to Intel's root");
    assert_eq!(a.facts.hardware, Hardware::None);
}

#[test]
fn row_7_collateral_of_another_platform_root_or_tee_is_none() {
    let mut lab = Lab::new();
    let evidence = lab.evidence();
    lab.spec.fmspc = Some("00906ED50000".parse::<Fmspc>().unwrap());
    let a = lab.appraise(&evidence);
    assert_eq!(a.facts.hardware, Hardware::None);
    assert!(a.findings.iter().any(|f| f.text.contains("b0c06f000000")));
    lab.spec = CollateralSpec::at(NOW);
    lab.spec.tee = Tee::Sgx;
    assert_eq!(lab.appraise(&evidence).facts.hardware, Hardware::None);
    let other = World::new(NOW).unwrap();
    let json = other.collateral(&CollateralSpec::at(NOW)).unwrap();
    let lab = Lab::new();
    refused(
        &lab.appraise_with(&evidence, Some(json.as_bytes())),
        Check::Hardware,
        "vouches",
    );
}

#[test]
fn platforms_that_the_policy_does_not_allow_are_refused_by_name() {
    let options = WorldOptions {
        smt: true,
        dynamic_platform: true,
        cached_keys: true,
        ..WorldOptions::default()
    };
    let mut lab = Lab::with(options);
    good(&lab.verdict());
    let ppid = lab.verdict().facts.ppid.unwrap();
    let mut forbid: [(&str, Change); 4] = [
        ("SMT", |l| l.policy.platform.allow_smt = false),
        ("dynamic", |l| {
            l.policy.platform.allow_dynamic_platform = false;
        }),
        ("cached", |l| l.policy.platform.allow_cached_keys = false),
        ("is not one of those allowed", |l| {
            l.policy.platform.ppid = Some(vec!["00".repeat(16)]);
        }),
    ];
    for (word, change) in &mut forbid {
        let before = lab.policy.clone();
        change(&mut lab);
        refused(&lab.verdict(), Check::Hardware, word);
        lab.policy = before;
    }
    lab.policy.platform.ppid = Some(vec![ppid.to_uppercase()]);
    good(&lab.verdict());
}

#[test]
fn row_9_padding_changes_neither_the_verdict_nor_the_name() {
    let mut lab = Lab::new();
    let evidence = lab.evidence();
    let mut padded = evidence.clone();
    padded.quote.resize(8000, 0);
    good(&lab.appraise(&padded));
    assert_eq!(padded.id(), evidence.id());
    assert_eq!(Quote::parse(&padded.quote).unwrap().bytes, evidence.quote);
}

#[test]
fn row_10_quotes_of_other_versions_tees_and_lengths_are_refused_by_name() {
    let mut lab = Lab::new();
    let evidence = lab.evidence();
    let spoil = |change: &dyn Fn(&mut Vec<u8>), word: &str| {
        let mut other = evidence.clone();
        change(&mut other.quote);
        refused(&lab.appraise(&other), Check::Hardware, word);
    };
    spoil(&|q| q[0] = 3, "version 3");
    spoil(&|q| q[0] = 6, "version 6");
    spoil(&|q| *q = vec![0xd2, 0x84, 0x43, 0xa1], "not");
    spoil(&|q| q[4] = 0, "TEE type 0x0");
    spoil(&|q| q[2] = 3, "key type 3");
    spoil(&Vec::clear, "cut short");
    spoil(&|q| q.truncate(700), "cut short");
    spoil(&|q| q[632..636].fill(0xff), "cut short");
    lab.shape = Shape::V5Td15;
    let evidence = lab.evidence();
    let mut other = evidence;
    other.quote[50] = 0xff;
    refused(
        &lab.appraise(&other),
        Check::Hardware,
        "not as long as its type says",
    );
    other.quote[48] = 9;
    refused(&lab.appraise(&other), Check::Hardware, "type 9");
}

#[test]
fn row_11_and_32_a_quote_about_other_data_binds_nothing() {
    let mut lab = Lab::new();
    let mut evidence = lab.evidence();
    evidence.quote = lab.quote(&[7; 64]);
    refused(
        &lab.appraise(&evidence),
        Check::KeyBinding,
        "something else",
    );
    // The keys of another binding, with the quote of this one.
    let mut lab = Lab::new();
    let honest = lab.evidence();
    let mut thief = Lab::new();
    thief.binding.keys[0].spki.0[0] ^= 1;
    let mut stolen = thief.evidence();
    stolen.quote = honest.quote;
    refused(&lab.appraise(&stolen), Check::KeyBinding, "something else");
}

#[test]
fn row_12_report_data_of_another_protocol_is_not_ours() {
    let mut lab = Lab::new();
    let mut evidence = lab.evidence();
    // The bare digest, and that of a protocol for certificates.
    for data in [
        sha2::Sha512::digest(&evidence.binding),
        sha2::Sha512::digest([b"ratls-cert:", &evidence.binding[..]].concat()),
    ] {
        evidence.quote = lab.quote(&data.into());
        refused(
            &lab.appraise(&evidence),
            Check::KeyBinding,
            "something else",
        );
    }
}

#[test]
fn row_15_an_old_quote_and_one_that_answers_nobody_are_refused_where_that_matters() {
    let mut lab = Lab::new();
    let evidence = lab.evidence();
    lab.policy.freshness.max_age_seconds = Some(30);
    refused(
        &lab.appraise(&evidence),
        Check::Freshness,
        "more than 30 s ago",
    );
    lab.policy.freshness.max_age_seconds = Some(90);
    assert!(!lab.appraise(&evidence).refused());
    lab.policy.freshness.require_nonce = true;
    refused(&lab.appraise(&evidence), Check::Freshness, "nonce");
    lab.nonce = Some(vec![9; 32]);
    refused(
        &lab.appraise(&evidence),
        Check::Freshness,
        "does not answer",
    );
    lab.binding.beacon = Some(Beacon::Nonce(vec![9; 32]));
    assert_eq!(lab.verdict().tier(Check::Freshness), Tier::Affirming);
    lab.nonce = Some(vec![9; 31]);
    refused(&lab.verdict(), Check::Freshness, "does not answer");
    let mut lab = Lab::new();
    lab.binding.made = "2026-11-26T13:00:00Z".to_owned();
    refused(&lab.verdict(), Check::Freshness, "in the future");
}

#[test]
fn row_16_a_td_of_which_nothing_is_known_is_never_affirmed() {
    let mut lab = Lab::new();
    let references = std::mem::take(&mut lab.references);
    let a = lab.verdict();
    assert_eq!(a.tier(Check::Measurements), Tier::None);
    assert!(!a.refused());
    lab.references = references;
    let mut spoil: [(&str, Change); 5] = [
        ("mrtd", |l| l.td.mrtd[0] ^= 1),
        ("rtmr0", |l| l.td.rtmr[0][47] ^= 1),
        ("rtmr1", |l| l.td.rtmr[1][0] ^= 1),
        ("rtmr2", |l| l.td.rtmr[2][0] ^= 1),
        ("mrconfigid", |l| l.td.mrconfigid[0] ^= 1),
    ];
    for (register, change) in &mut spoil {
        let before = lab.td.clone();
        change(&mut lab);
        lab.ccel = None;
        refused(&lab.verdict(), Check::Measurements, register);
        lab.td = before;
    }
    good(&lab.verdict());
    lab.references[0].mrconfigid = None;
    assert_eq!(lab.verdict().tier(Check::Measurements), Tier::Warning);
}

#[test]
fn a_firmware_log_that_does_not_explain_the_registers_is_refused() {
    let mut lab = Lab::new();
    lab.td.rtmr[1][0] ^= 1;
    lab.references.clear();
    refused(&lab.verdict(), Check::Measurements, "does not replay");
    let mut lab = Lab::new();
    lab.ccel.as_mut().unwrap()[40] ^= 0xff;
    refused(&lab.verdict(), Check::Measurements, "");
    let mut lab = Lab::new();
    lab.ccel = None;
    good(&lab.verdict());
    lab.policy.measurements.require_ccel = true;
    refused(&lab.verdict(), Check::Measurements, "policy wants one");
}

#[test]
fn row_34_gpu_evidence_of_another_machine_is_refused() {
    let mut lab = Lab::new();
    lab.gpu = Some(b"a GPU's report".to_vec());
    let mut evidence = lab.evidence();
    good(&lab.appraise(&evidence));
    evidence.gpu = Some(b"another GPU's report".to_vec());
    refused(&lab.appraise(&evidence), Check::KeyBinding, "GPU");
    evidence.gpu = None;
    assert_eq!(
        lab.appraise(&evidence).tier(Check::KeyBinding),
        Tier::Warning
    );
    let mut lab = Lab::new();
    let mut evidence = lab.evidence();
    evidence.gpu = Some(b"not bound".to_vec());
    refused(&lab.appraise(&evidence), Check::KeyBinding, "GPU");
}

#[test]
fn what_is_demanded_is_more_than_the_default() {
    let mut lab = Lab::new();
    assert!(!lab.appraiser().demands());
    lab.policy.evidence.require = Require::Lineage;
    assert!(lab.appraiser().demands() && lab.appraiser().demands_lineage());
    assert!(lab.appraiser().demanded().contains(&Check::RuntimeLog));
    lab.policy.runtime_log.require = false;
    assert!(!lab.appraiser().demanded().contains(&Check::RuntimeLog));
}

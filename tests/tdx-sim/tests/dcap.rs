//! What dcap-qvl says of simulated quotes: accepted under the simulated root, refused for each thing that is wrong with one.

use atlas_tdx_sim::td::{DEBUG, MIGRATABLE};
use atlas_tdx_sim::{CollateralSpec, Fmspc, Shape, TcbStatus, Td, Tee, World, WorldOptions};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteCollateralV3, QuotePolicy};

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;
const REPORT_DATA: [u8; 64] = [0x42; 64];

fn parse(json: &str) -> QuoteCollateralV3 {
    serde_json::from_str(json).expect("collateral as dcap-qvl reads it")
}

/// The status that a verifier comes to, or why it refuses.
fn verdict(
    world: &World,
    quote: &[u8],
    collateral: &QuoteCollateralV3,
    now: i64,
) -> Result<String, String> {
    QuoteVerifier::new(world.root_der())
        .verify(quote, collateral, now as u64)
        .map(|report| report.status)
        .map_err(|e| format!("{e:#}"))
}

fn strict(world: &World, quote: &[u8], spec: &CollateralSpec) -> Result<(), String> {
    let collateral = parse(&world.collateral(spec).unwrap());
    QuoteVerifier::new(world.root_der())
        .verify_with_policy(
            quote,
            collateral,
            NOW as u64,
            &QuotePolicy::strict(NOW as u64),
        )
        .map(drop)
        .map_err(|e| format!("{e:#}"))
}

/// A sound quote of this shape changed by `change`, and what a verifier says with sound collateral.
fn changed(shape: Shape, change: impl FnOnce(&mut Td)) -> Result<String, String> {
    let world = World::new(NOW).unwrap();
    let mut td = Td::default();
    change(&mut td);
    let quote = world.quote(shape, &td, &REPORT_DATA).unwrap();
    let collateral = parse(&world.collateral(&CollateralSpec::at(NOW)).unwrap());
    verdict(&world, &quote, &collateral, NOW)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, String>, why: &str) {
    let text = result.expect_err("it has to be refused");
    assert!(text.contains(why), "refused for another reason: {text}");
}

#[test]
fn a_sound_quote_passes_under_the_simulated_root_and_never_under_intels() {
    let world = World::new(NOW).unwrap();
    let spec = CollateralSpec::at(NOW);
    let collateral = parse(&world.collateral(&spec).unwrap());
    for shape in Shape::ALL {
        let quote = world.quote(shape, &Td::default(), &REPORT_DATA).unwrap();
        let status = verdict(&world, &quote, &collateral, NOW);
        assert_eq!(status.as_deref(), Ok("UpToDate"), "{shape}");
        assert_eq!(strict(&world, &quote, &spec), Ok(()), "{shape}");
        let intel = QuoteVerifier::new_prod().verify(&quote, &collateral, NOW as u64);
        assert!(intel.is_err(), "{shape} passes as genuine");
    }
}

#[test]
fn a_world_read_back_from_disk_still_signs_what_its_root_vouches_for() {
    let dir = tempfile::tempdir().unwrap();
    let made = World::create(dir.path(), WorldOptions::default(), NOW).unwrap();
    let read = World::open(dir.path()).unwrap();
    let quote = read.quote(Shape::V4, &Td::default(), &REPORT_DATA).unwrap();
    let collateral = parse(&read.collateral(&CollateralSpec::at(NOW)).unwrap());
    assert!(verdict(&made, &quote, &collateral, NOW).is_ok());
}

#[test]
fn a_guest_that_its_host_can_look_into_or_move_is_refused() {
    for shape in Shape::ALL {
        refused(changed(shape, |td| td.attributes |= DEBUG), "Debug mode");
        refused(changed(shape, |td| td.attributes |= 0x10), "profiling");
        refused(changed(shape, |td| td.attributes = 0), "SEPT_VE_DISABLE");
        refused(
            changed(shape, |td| td.attributes |= MIGRATABLE),
            "migration",
        );
    }
    let service = |td: &mut Td| td.mr_servicetd = [1; 48];
    refused(changed(Shape::V5Td15, service), "service TD");
    refused(changed(Shape::V5Td15ex, service), "service TD");
}

#[test]
fn a_flipped_register_a_missing_end_or_another_world_is_refused() {
    let (world, other) = (World::new(NOW).unwrap(), World::new(NOW).unwrap());
    let spec = CollateralSpec::at(NOW);
    let (mine, others) = (
        parse(&world.collateral(&spec).unwrap()),
        parse(&other.collateral(&spec).unwrap()),
    );
    for shape in Shape::ALL {
        let quote = world.quote(shape, &Td::default(), &REPORT_DATA).unwrap();
        let mut flipped = quote.clone();
        flipped[shape.body_offset() + 472] ^= 1;
        refused(
            verdict(&world, &flipped, &mine, NOW),
            "signature is invalid",
        );
        let short = &quote[..quote.len() - 200];
        refused(verdict(&world, short, &mine, NOW), "decode");
        assert!(verdict(&world, &quote, &others, NOW).is_err());
        assert!(verdict(&other, &quote, &others, NOW).is_err());
        // What some clouds do to quotes changes no verdict.
        let mut padded = quote;
        padded.resize(8000, 0);
        assert!(verdict(&world, &padded, &mine, NOW).is_ok());
    }
}

#[test]
fn collateral_of_another_time_processor_or_kind_is_refused() {
    let world = World::new(NOW).unwrap();
    let quote = world
        .quote(Shape::V4, &Td::default(), &REPORT_DATA)
        .unwrap();
    let sound = CollateralSpec::at(NOW);
    let with = |spec: &CollateralSpec, now| {
        let collateral = parse(&world.collateral(spec).unwrap());
        verdict(&world, &quote, &collateral, now)
    };
    refused(with(&sound, NOW + 60 * DAY), "Expired");
    refused(with(&sound, NOW - 5 * DAY), "future");
    let mut spec = sound.clone();
    spec.crl_expired = true;
    refused(with(&spec, NOW), "CrlExpired");
    let mut spec = sound.clone();
    spec.fmspc = Some(Fmspc([1; 6]));
    refused(with(&spec, NOW), "Fmspc mismatch");
    let mut spec = sound.clone();
    spec.tee = Tee::Sgx;
    assert!(with(&spec, NOW).is_err());
    let mut spec = sound;
    spec.revoke_pck = true;
    refused(with(&spec, NOW), "Revoked");
}

#[test]
fn a_platform_that_is_not_up_to_date_is_named_and_fails_a_strict_policy() {
    let world = World::new(NOW).unwrap();
    let quote = world
        .quote(Shape::V5Td15, &Td::default(), &REPORT_DATA)
        .unwrap();
    for status in TcbStatus::ALL {
        let spec = CollateralSpec::at(NOW).status(status);
        let collateral = parse(&world.collateral(&spec).unwrap());
        let report = QuoteVerifier::new(world.root_der()).verify(&quote, &collateral, NOW as u64);
        match status {
            TcbStatus::Revoked => assert!(report.is_err()),
            _ => {
                let report = report.unwrap();
                assert_eq!(report.status, status.word());
                assert_eq!(report.advisory_ids, spec.advisory_ids);
            }
        }
        let sound = status == TcbStatus::UpToDate;
        assert_eq!(strict(&world, &quote, &spec).is_ok(), sound, "{status}");
    }
}

#[test]
fn a_policy_sees_what_the_certificate_says_of_the_platform() {
    let flags: [fn(&mut WorldOptions); 3] = [
        |o| o.smt = true,
        |o| o.dynamic_platform = true,
        |o| o.cached_keys = true,
    ];
    for set in flags {
        let mut options = WorldOptions::default();
        set(&mut options);
        let world = World::with(options.clone(), NOW).unwrap();
        let quote = world
            .quote(Shape::V4, &Td::default(), &REPORT_DATA)
            .unwrap();
        let spec = CollateralSpec::at(NOW);
        let collateral = parse(&world.collateral(&spec).unwrap());
        assert!(verdict(&world, &quote, &collateral, NOW).is_ok());
        assert!(strict(&world, &quote, &spec).is_err(), "{options:?}");
    }
}

//! Jobs in a simulated trust domain: what their files prove to whom, and what a host, a second daemon and a crash can do to it.

use std::fs;
use std::path::{Path, PathBuf};

use atlas_tests::ctl::{self, Answer};
use atlas_tests::{Io, Lab, Mount, Options, TrustDomain, both, files};
use serde_json::Value;

fn options(td: &TrustDomain, io: Io, tdx: &str) -> Options {
    let mut options = Options::new(io).flag("--tdx").flag(tdx);
    options.flags.extend(td.flags());
    options
}

/// Everything that says where to look, for a verifier that lets a simulator pass.
fn simulated(td: &TrustDomain) -> Vec<String> {
    [
        "--simulated-root".to_owned(),
        td.root(),
        "--allow-simulated".to_owned(),
    ]
    .into()
}

fn verify(mount: &Mount, file: &str, flags: &[String]) -> Answer {
    let mut args = vec!["verify".to_owned(), file.to_owned(), "--json".to_owned()];
    args.extend_from_slice(flags);
    mount.ctl(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

fn verify_behind(lab: &Lab, file: &str, flags: &[String]) -> Answer {
    let mut args = vec!["verify".to_owned(), file.to_owned(), "--json".to_owned()];
    args.extend_from_slice(flags);
    ctl::ctl(&lab.source(), &args)
}

fn check(answer: &Answer, name: &str) -> String {
    let v = answer.json();
    v["files"][0]["checks"][name].as_str().unwrap().to_owned()
}

fn said(answer: &Answer, words: &str) -> bool {
    let v: Value = answer.json();
    let reasons = v["files"][0]["reasons"].as_array().unwrap().clone();
    reasons
        .iter()
        .any(|r| r["text"].as_str().unwrap().contains(words))
}

fn policy(dir: &Path, text: &str) -> Vec<String> {
    let file = dir.join("policy.toml");
    fs::write(&file, text).unwrap();
    ["--policy".to_owned(), file.to_str().unwrap().to_owned()].into()
}

/// Pins what is booted as good.
fn vouch(td: &TrustDomain) {
    let file = td.path("reference.json");
    td.reference(&file);
    ctl::ctl(
        Path::new("/"),
        &["reference", "add", "--unsigned", file.to_str().unwrap()],
    )
    .expect(0);
}

/// There is no mount, and the last line says why.
fn refused(lab: &Lab, options: &Options, words: &str) {
    let answer = lab.mount_refused(options).expect(1);
    let last = answer.stderr.trim_end().lines().next_back().unwrap();
    assert!(last.contains(words), "{last}");
}

fn evidence_in(state: &Path) -> Vec<PathBuf> {
    files::find(&state.join("store/evidence"), ".cbor")
}

both! {
    fn a_job_in_a_trust_domain_is_proven_to_an_auditor_who_has_nothing_but_a_bundle(io) {
        let td = TrustDomain::start(&["--latency", "4ms"]);
        let lab = Lab::new();
        lab.put("in.bin", &files::noise(1, 5000));
        let mount = lab.mount(options(&td, io, "require"));
        assert_eq!(mount.status()["hardware"], "simulated");
        mount.sh("cat in.bin > step.bin").ok();
        mount.sh("cat step.bin in.bin > model.bin").ok();
        mount.sync();
        // Whoever knows no simulator refuses it; whoever knows it is told, and must say that it may pass.
        let intel = verify(&mount, "model.bin", &[]).expect(6);
        assert!(said(&intel, "do not lead to Intel's root"), "{}", intel.stdout);
        let flags = simulated(&td);
        let told = verify(&mount, "model.bin", &flags[..2]).expect(10);
        assert_eq!(told.json()["files"][0]["evidence"]["hardware"], "simulated");
        assert_eq!(check(&verify(&mount, "model.bin", &flags).expect(0), "measurements"), "none");
        vouch(&td);
        let demanding = [flags.clone(), policy(&lab.scratch(), "[evidence]\nrequire = \"file\"\n")].concat();
        let good = verify(&mount, "model.bin", &demanding).expect(0);
        for (name, tier) in [("hardware", "warning"), ("tcb", "affirming"), ("measurements", "affirming"), ("key-binding", "affirming"), ("runtime-log", "affirming")] {
            assert_eq!(check(&good, name), tier, "{name}: {}", good.stdout);
        }
        // The same elsewhere: no mount, no state, nothing pinned but what is given.
        let there = tempfile::tempdir().unwrap();
        let bundle = there.path().join("model.atlas");
        mount.ctl(&["export", "model.bin", "--bundle", bundle.to_str().unwrap()]).expect(0);
        fs::copy(mount.path("model.bin"), there.path().join("model.bin")).unwrap();
        fs::copy(lab.authority().join("authority.pem"), there.path().join("authority.pem")).unwrap();
        fs::copy(td.root(), there.path().join("root.pem")).unwrap();
        drop(mount);
        drop(lab);
        drop(td);
        let alone = ctl::ctl(there.path(), &["verify", "model.bin", "--manifest", "model.atlas", "--trust", "authority.pem", "--simulated-root", "root.pem", "--allow-simulated", "--json"]).expect(0);
        assert_eq!(check(&alone, "measurements"), "affirming");
        assert_eq!(check(&alone, "runtime-log"), "affirming");
    }
}

#[test]
fn a_machine_without_tdx_says_so_everywhere_and_refuses_what_it_cannot_do() {
    let lab = Lab::new();
    let nothing = lab.scratch().join("none");
    let places = [
        "--tsm-root",
        nothing.to_str().unwrap(),
        "--mr-root",
        nothing.to_str().unwrap(),
    ];
    let mut plain = Options::new(Io::Passthrough);
    plain.flags.extend(places.map(str::to_owned));
    refused(
        &lab,
        &plain.clone().flag("--tdx").flag("require"),
        "--tdx off",
    );
    let mount = lab.mount(plain);
    mount.sh("echo x > x").ok();
    mount.sync();
    assert_eq!(mount.status()["hardware"], "none");
    assert!(mount.status()["warnings"].as_array().unwrap().is_empty());
    let answer = verify(&mount, "x", &[]).expect(0);
    for name in [
        "hardware",
        "tcb",
        "measurements",
        "key-binding",
        "runtime-log",
        "freshness",
    ] {
        assert_eq!(check(&answer, name), "none");
    }
    let demand = policy(&lab.scratch(), "[evidence]\nrequire = \"file\"\n");
    verify(&mount, "x", &demand).expect(6);
}

#[test]
fn a_host_that_is_busy_or_slow_only_delays_and_one_that_fails_is_told() {
    let td = TrustDomain::start(&[]);
    td.tell("fail EBUSY 2");
    td.tell("fail EINTR 1");
    td.tell("fail EIO 1");
    let lab = Lab::new();
    let mount = lab.mount(options(&td, Io::Passthrough, "require"));
    assert_eq!(mount.status()["hardware"], "simulated");
    drop(mount);
    // It hands out quotes over other data: never published, whatever is asked.
    td.tell("swap 1000");
    let lab = Lab::new();
    refused(&lab, &options(&td, Io::Passthrough, "require"), "--tdx off");
    let mount = lab.mount(options(&td, Io::Passthrough, "auto"));
    assert_eq!(mount.status()["hardware"], "none");
    let warnings = mount.status()["warnings"].to_string();
    assert!(
        warnings.contains("there is no hardware evidence"),
        "{warnings}"
    );
    mount.sh("echo x > x").ok();
    mount.sync();
    assert_eq!(
        check(&verify(&mount, "x", &[]).expect(0), "hardware"),
        "none"
    );
    assert!(evidence_in(&lab.behind(".atlas")).is_empty());
}

#[test]
fn a_debug_td_an_old_platform_and_an_unknown_image_are_each_refused() {
    for (args, words) in [
        (&["--debug-td"][..], "debug TD"),
        (&["--tcb", "OutOfDate"], "patch level is OutOfDate"),
    ] {
        let td = TrustDomain::start(args);
        let lab = Lab::new();
        let mount = lab.mount(options(&td, Io::Passthrough, "require"));
        mount.sh("echo x > x").ok();
        mount.sync();
        let answer = verify(&mount, "x", &simulated(&td)).expect(6);
        assert!(said(&answer, words), "{}", answer.stdout);
    }
    let good = TrustDomain::start(&[]);
    vouch(&good);
    let file = good.path("other.json");
    let text = fs::read_to_string(good.path("reference.json")).unwrap();
    let other = text.replace(&good.register("mrtd:sha384"), &"ab".repeat(48));
    fs::write(&file, other).unwrap();
    for pinned in files::find(Path::new("/etc/atlas/reference"), ".json") {
        fs::remove_file(pinned).unwrap();
    }
    ctl::ctl(
        Path::new("/"),
        &["reference", "add", "--unsigned", file.to_str().unwrap()],
    )
    .expect(0);
    let lab = Lab::new();
    let mount = lab.mount(options(&good, Io::Passthrough, "require"));
    mount.sh("echo x > x").ok();
    mount.sync();
    let answer = verify(&mount, "x", &simulated(&good)).expect(6);
    assert!(said(&answer, "differs in mrtd"), "{}", answer.stdout);
}

#[test]
fn who_extends_rtmr3_beside_the_daemon_spoils_what_comes_after_and_nothing_before() {
    let td = TrustDomain::start(&[]);
    let lab = Lab::new();
    let mount = lab.mount(options(&td, Io::Passthrough, "require"));
    mount.sh("echo x > before").ok();
    mount.sync();
    td.tell(&format!("extend 3 {}", "5a".repeat(48)));
    drop(mount);
    let mount = lab.mount(options(&td, Io::Passthrough, "require"));
    mount.sh("echo y > after").ok();
    mount.sync();
    let flags = simulated(&td);
    verify(&mount, "before", &flags).expect(0);
    let answer = verify(&mount, "after", &flags).expect(6);
    assert!(said(&answer, "others extended RTMR3"), "{}", answer.stdout);
    let allow = policy(&lab.scratch(), "[runtime-log]\nallow-foreign = true\n");
    let answer = verify(&mount, "after", &[flags, allow].concat()).expect(0);
    assert_eq!(check(&answer, "runtime-log"), "warning");
}

#[test]
fn two_daemons_of_one_machine_share_its_register_and_both_are_good() {
    let td = TrustDomain::start(&[]);
    let (a, b) = (Lab::new(), Lab::new());
    let (first, second) = (
        a.mount(options(&td, Io::Passthrough, "require")),
        b.mount(options(&td, Io::Inline, "require")),
    );
    for mount in [&first, &second] {
        mount.sh("echo x > x").ok();
        mount.sync();
    }
    drop(first);
    let flags = simulated(&td);
    verify(&second, "x", &flags).expect(0);
    drop(second);
    let third = a.mount(options(&td, Io::Passthrough, "require"));
    third.sh("cat x > z").ok();
    third.sync();
    let answer = verify(&third, "z", &flags).expect(0);
    assert_eq!(check(&answer, "runtime-log"), "affirming");
    // Three starts, two seals, two anchors, two ends.
    assert_eq!(
        answer.json()["files"][0]["evidence"]["events"],
        9,
        "{}",
        answer.stdout
    );
    drop(third);
    verify_behind(&b, "x", &flags).expect(0);
}

#[test]
fn evidence_survives_the_daemons_death_and_the_machines_reboot() {
    let td = TrustDomain::start(&[]);
    let lab = Lab::new();
    let flags = simulated(&td);
    let mount = lab.mount(options(&td, Io::Passthrough, "require"));
    mount.sh("echo x > x").ok();
    mount.sync();
    mount.crash();
    let mount = lab.mount(options(&td, Io::Passthrough, "require"));
    mount.sh("cat x > y").ok();
    mount.sync();
    verify(&mount, "x", &flags).expect(0);
    verify(&mount, "y", &flags).expect(0);
    drop(mount);
    td.tell("reboot");
    let mount = lab.mount(options(&td, Io::Passthrough, "require"));
    mount.sh("cat y > z").ok();
    mount.sync();
    let answer = verify(&mount, "z", &flags).expect(0);
    assert_eq!(check(&answer, "runtime-log"), "affirming");
    assert_eq!(answer.json()["files"][0]["evidence"]["events"], 1);
}

#[test]
fn an_anchor_at_the_end_goes_on_where_the_instance_began() {
    let td = TrustDomain::start(&[]);
    let lab = Lab::new();
    let mount = lab.mount(options(&td, Io::Passthrough, "require"));
    mount.sh("echo x > x").ok();
    mount.sync();
    let first = mount.status()["evidence"]["first"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(mount.status()["evidence"]["anchors"], 0);
    let before = td.register("rtmr3:sha384");
    drop(mount);
    assert_ne!(td.register("rtmr3:sha384"), before);
    let all = evidence_in(&lab.behind(".atlas"));
    assert_eq!(all.len(), 2);
    let named = |p: &PathBuf| first.ends_with(p.file_stem().unwrap().to_str().unwrap());
    assert_eq!(all.iter().filter(|p| named(p)).count(), 1);
    // One that was sealed nothing in leaves no anchor.
    let idle = lab.mount(options(&td, Io::Passthrough, "require"));
    drop(idle);
    assert_eq!(evidence_in(&lab.behind(".atlas")).len(), 3);
}

#[test]
fn a_file_that_deserves_it_has_a_quote_of_its_own_and_passes_for_no_other() {
    let td = TrustDomain::start(&[]);
    let lab = Lab::new();
    let with = options(&td, Io::Passthrough, "require")
        .flag("--explicit-quotes")
        .flag("*.gold");
    let mount = lab.mount(with);
    mount.sh("echo gold > a.gold; echo lead > b.lead").ok();
    mount.sync();
    let flags = simulated(&td);
    verify(&mount, "a.gold", &flags).expect(0);
    verify(&mount, "b.lead", &flags).expect(0);
    assert_eq!(evidence_in(&lab.behind(".atlas")).len(), 2);
    // The host fails when it is asked for: the file is sealed without, and that is told.
    td.tell("fail EIO 1000");
    mount.sh("echo more > c.gold").ok();
    mount.sync();
    td.tell("calm");
    verify(&mount, "c.gold", &flags).expect(0);
    let warnings = mount.status()["warnings"].to_string();
    assert!(warnings.contains("no quote of their own"), "{warnings}");
}

#[test]
fn without_its_evidence_a_file_is_not_what_it_was_and_a_policy_notices() {
    let td = TrustDomain::start(&[]);
    let lab = Lab::new();
    let mount = lab.mount(options(&td, Io::Passthrough, "require"));
    mount.sh("echo x > x").ok();
    mount.sync();
    drop(mount);
    let flags = simulated(&td);
    verify_behind(&lab, "x", &flags).expect(0);
    vouch(&td);
    let demand = [
        flags.clone(),
        policy(&lab.scratch(), "[evidence]\nrequire = \"lineage\"\n"),
    ]
    .concat();
    verify_behind(&lab, "x", &demand).expect(0);
    for file in evidence_in(&lab.behind(".atlas")) {
        fs::remove_file(file).unwrap();
    }
    let answer = verify_behind(&lab, "x", &flags).expect(0);
    assert_eq!(check(&answer, "hardware"), "none");
    verify_behind(&lab, "x", &demand).expect(6);
}

#[test]
fn a_kernel_without_registers_has_evidence_and_no_runtime_log() {
    let td = TrustDomain::start(&["--no-rtmr", "--quote", "v5td15", "--pad", "8000"]);
    let lab = Lab::new();
    let mount = lab.mount(options(&td, Io::Passthrough, "require"));
    mount.sh("echo x > x").ok();
    mount.sync();
    let answer = verify(&mount, "x", &simulated(&td)).expect(0);
    assert_eq!(check(&answer, "key-binding"), "affirming");
    assert_eq!(check(&answer, "runtime-log"), "none");
}

#[test]
fn gpu_evidence_is_bound_to_the_instance_that_collected_it() {
    let td = TrustDomain::start(&[]);
    let lab = Lab::new();
    let with = options(&td, Io::Passthrough, "require")
        .flag("--gpu-evidence-command")
        .flag("printf 'gpu says %s' \"$ATLAS_GPU_NONCE\"");
    let mount = lab.mount(with);
    mount.sh("echo x > x").ok();
    mount.sync();
    verify(&mount, "x", &simulated(&td)).expect(0);
    let all = evidence_in(&lab.behind(".atlas"));
    let record = fs::read(&all[0]).unwrap();
    let at = record.windows(9).position(|w| w == b"gpu says ").unwrap();
    assert!(record[at + 9..at + 73].iter().all(u8::is_ascii_hexdigit));
    drop(mount);
    let with = options(&td, Io::Passthrough, "require")
        .flag("--gpu-evidence-command")
        .flag("echo broken >&2; exit 3");
    refused(&lab, &with, "broken");
}

/// A host that answers no more keeps nobody from unmounting, and the next mount finds nothing locked.
#[test]
fn unmounting_ends_although_the_host_gives_no_quote_any_more() {
    let td = TrustDomain::start(&[]);
    let lab = Lab::new();
    let mount = lab.mount(options(&td, Io::Passthrough, "require"));
    mount.sh("echo x > x").ok();
    mount.sync();
    td.tell("fail ETIMEDOUT 100000");
    mount.unmount();
    td.tell("calm");
    let again = lab.mount(options(&td, Io::Passthrough, "require"));
    let flags = simulated(&td);
    verify(&again, "x", &flags).expect(0);
    again.sh("cat x > y").ok();
    again.sync();
    verify(&again, "y", &flags).expect(0);
}

#[test]
fn what_the_daemon_reads_for_its_evidence_does_not_lie_below_its_own_mount() {
    let td = TrustDomain::start(&[]);
    let lab = Lab::new();
    let below = lab.mountpoint().join("events");
    let with = options(&td, Io::Passthrough, "auto")
        .flag("--event-log")
        .flag(below.to_str().unwrap());
    let answer = lab.mount_refused(&with).expect(2);
    assert!(
        answer.stderr.contains("below the mount point"),
        "{}",
        answer.stderr
    );
}

#[test]
fn a_policy_that_is_there_and_cannot_be_read_is_not_no_policy() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough).flag("--tdx").flag("off"));
    mount.sh("echo x > x").ok();
    mount.sync();
    let file = Path::new("/etc/atlas/policy.toml");
    fs::write(file, "[evidence]\nrequire = \"file\"\n").unwrap();
    let demanding = mount.ctl(&["verify", "x"]).expect(6);
    assert!(
        demanding
            .stderr
            .contains("By the policy in /etc/atlas/policy.toml")
    );
    fs::remove_file(file).unwrap();
    std::os::unix::fs::symlink("gone.toml", file).unwrap();
    mount.ctl(&["verify", "x"]).expect(1);
    fs::remove_file(file).unwrap();
    mount.ctl(&["verify", "x"]).expect(0);
}

#[test]
fn a_whole_directory_and_what_is_registered_can_have_quotes_of_their_own() {
    let td = TrustDomain::start(&[]);
    let lab = Lab::new();
    lab.put("gold/old.bin", b"registered");
    lab.put("gold/x", b"");
    let with = options(&td, Io::Passthrough, "require")
        .flag("--explicit-quotes")
        .flag("gold/");
    let mount = lab.mount(with);
    mount
        .sh("echo new > gold/new.bin; echo lead > lead.bin")
        .ok();
    mount.sync();
    assert_eq!(evidence_in(&lab.behind(".atlas")).len(), 2);
    mount.ctl(&["register", "gold/old.bin"]).expect(0);
    assert_eq!(evidence_in(&lab.behind(".atlas")).len(), 3);
    verify(&mount, "gold/old.bin", &simulated(&td)).expect(0);
}

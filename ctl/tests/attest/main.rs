//! `atlasctl attest` as an ordinary user, on a simulator's evidence: from a store or a daemon to a file, and from that to a verdict.

mod daemon;
mod lab;

use std::fs;
use std::process::Command;

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::Purpose;
use lab::{Home, collateral, evidence};

const WRITE: [&str; 4] = ["attest", "source", "-o", "e.atlas"];

#[test]
fn what_a_state_directory_holds_is_shown_newest_first_and_never_as_verified() {
    let (home, first, anchor) = Home::attested();
    let shown = home.ends(0, &["attest", "source"]);
    let newest = format!("evidence {}\n", anchor.id().hex());
    assert!(shown.starts_with(&newest), "{shown}");
    assert!(shown.contains("verified     no: "), "{shown}");
    assert!(shown.contains(r"image\x1b[2J"), "{shown}");
    let (of_anchor, of_first) = (anchor.id().hex(), first.id().hex());
    let at = |id: &str| shown.rfind(&format!("\n{}", &id[..12])).unwrap();
    assert!(at(&of_anchor) < at(&of_first), "{shown}");

    let json = home.json(0, &["attest", "source"]);
    assert_eq!(json["verified"], false);
    let all = json["evidence"].as_array().unwrap();
    let purposes: Vec<_> = all.iter().map(|e| e["purpose"].as_str().unwrap()).collect();
    assert_eq!(purposes, ["anchor", "instance"]);
    assert_eq!(all[0]["previous"], first.id().to_string());
    assert_eq!(all[0]["events"]["count"], 2);
    assert_eq!(all[0]["collateral"]["here"], true);
    assert_eq!(all[1]["firmware_log"], true);
    assert_eq!(all[1]["keys"][0]["use"], "seal");
}

#[test]
fn honest_evidence_passes_for_whom_it_should_and_for_nobody_else() {
    let (home, ..) = Home::attested();
    home.ends(0, &WRITE);
    let text = home.refused(1, &WRITE);
    assert!(text.contains("--force"), "{text}");
    home.ends(0, &[&WRITE[..], &["--force"]].concat());

    let unknown = home.verified(6, "e.atlas", &[]);
    assert!(
        unknown.contains("there is not enough for measurements"),
        "{unknown}"
    );
    home.believe("e.atlas");
    let good = home.verified(0, "e.atlas", &[]);
    assert!(good.starts_with("verified  e.atlas  SIMULATED\n"), "{good}");
    for line in [
        "booted        image 1",
        "UpToDate when made and today",
        "event log     RTMR3 replays from 2 events",
    ] {
        assert!(good.contains(line), "{line}: {good}");
    }
    let file = ["attest", "verify", "e.atlas"];
    let known = [&file[..], &["--simulated-root", "root.pem"]].concat();
    let json = home.json(10, &known);
    assert_eq!(
        (&json["code"], &json["verdict"]),
        (&10.into(), &"fail".into())
    );
    let json = home.json(0, &[&known[..], &["--allow-simulated"]].concat());
    let verdict = &json["files"][0];
    assert_eq!(verdict["checks"]["key-binding"], "affirming");
    assert_eq!(verdict["evidence"]["reference"], "image 1");

    // Whoever knows no simulator believes none, allowed or not; and what it says looks proven nowhere.
    let none = home.ends(6, &[&file[..], &["--allow-simulated"]].concat());
    assert!(none.starts_with("NOT VERIFIED  e.atlas\n"), "{none}");
    assert!(none.contains("nothing proves it"), "{none}");
}

#[test]
fn a_fresh_quote_answers_the_nonce_that_was_asked_and_no_other() {
    let (home, first, anchor) = Home::attested();
    daemon::start(&home, Ok((first.clone(), anchor.clone())));
    let shown = home.ends(0, &["attest", "source"]);
    let titles: Vec<_> = shown
        .lines()
        .filter(|l| l.starts_with("evidence "))
        .collect();
    let named = [&anchor, &first].map(|e| format!("evidence {}", e.id().hex()));
    assert_eq!(titles, named);
    assert!(shown.contains("simulated, as the daemon says"), "{shown}");
    assert!(
        shown.contains(r"name=\x1b[2J") && !shown.contains("trouble"),
        "{shown}"
    );
    let status = home.ends(0, &["status"]);
    assert!(
        status.contains(&format!("{}, 1 anchor", first.id().hex())),
        "{status}"
    );

    let nonce = home.ends(0, &[&WRITE[..], &["--nonce", "random"]].concat());
    let nonce = nonce.trim();
    assert_eq!(nonce.len(), 64, "{nonce}");
    home.believe("e.atlas");
    home.verified(0, "e.atlas", &["--nonce", &nonce.to_ascii_uppercase()]);
    let json = home.verified(0, "e.atlas", &["--nonce", nonce, "--json"]);
    assert!(json.contains("\"freshness\": \"affirming\""), "{json}");
    let other = home.verified(6, "e.atlas", &["--nonce", "00"]);
    assert!(other.contains("does not answer the nonce"), "{other}");

    let json = home.json(0, &["attest", "source", "--nonce", "00Ff"]);
    assert_eq!(json["nonce"], "00ff");
    assert_eq!(json["evidence"][0]["nonce"], "00ff");
    assert_eq!(json["evidence"][0]["purpose"], "answer");
    assert_eq!(json["daemon"]["anchors"], 1);
    let old = ["attest", "source", "-o", "old.atlas"];
    home.ends(0, &old);
    let old = home.verified(6, "old.atlas", &["--nonce", nonce]);
    assert!(old.contains("does not answer the nonce"), "{old}");
}

#[test]
fn where_there_is_no_evidence_or_nobody_to_ask_one_line_says_why() {
    let home = Home::new();
    let text = home.refused(3, &["attest", "source"]);
    assert!(text.contains("no hardware evidence"), "{text}");
    let text = home.refused(9, &["attest", "source", "--nonce", "00"]);
    assert!(text.contains("no daemon is running here"), "{text}");
    home.refused(9, &["attest", "run"]);
    home.refused(2, &["attest", "source", "--nonce", "0"]);
    home.refused(2, &["attest", "--nonce", "00", "verify", "e.atlas"]);
    home.refused(2, &["attest", "source", "verify", "e.atlas"]);
    let why = "there is no hardware evidence: configfs-tsm: permission denied";
    daemon::start(&home, Err(why));
    for more in [&[][..], &["--nonce", "00"]] {
        let text = home.refused(3, &[&["attest", "source"], more].concat());
        assert!(text.contains(why), "{text}");
    }
    let json = home.json(3, &["attest", "source"]);
    assert_eq!(json["error"]["code"], 3);
}

#[test]
fn evidence_without_collateral_of_its_time_is_not_believed_until_somebody_gives_it() {
    for (kept, expired) in [(false, false), (true, true)] {
        let home = Home::new();
        let json = collateral(if expired { -60 } else { 0 });
        let first = evidence(Purpose::Instance, None, None, Some(&json));
        home.keep(&[&first], kept.then_some(&*json));
        home.ends(0, &WRITE);
        home.believe("e.atlas");
        let refused = home.verified(6, "e.atlas", &[]);
        assert!(
            refused.contains("there is not enough for hardware"),
            "{refused}"
        );
        fs::create_dir(home.path("collateral")).unwrap();
        home.put("collateral/1.json", collateral(0));
        home.verified(0, "e.atlas", &["--collateral", "collateral"]);
    }
}

#[test]
fn a_record_alone_is_checked_as_far_as_it_goes_by_itself() {
    let (home, first, anchor) = Home::attested();
    home.put("c.json", collateral(0));
    home.put("first", first.encode());
    home.put("anchor", anchor.encode());
    home.believe("first");
    home.verified(0, "first", &["--collateral", "c.json"]);
    let alone = home.verified(6, "anchor", &["--collateral", "c.json"]);
    assert!(alone.contains("the evidence before it"), "{alone}");
}

#[test]
fn a_flipped_byte_is_refused_wherever_it_stands() {
    let (home, first, _) = Home::attested();
    home.ends(0, &WRITE);
    home.believe("e.atlas");
    home.put("c.json", collateral(0));
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        home.put("bad", bytes);
    };
    let bundle = fs::read(home.path("e.atlas")).unwrap();
    // Past the header of the list: all that follows is listed with its digest, or a header with its sum.
    for at in (600..bundle.len() - 1024).step_by(bundle.len() / 12) {
        if bundle[at] == 0 {
            continue; // Padding to the next block.
        }
        flipped(&bundle, at);
        home.verified(6, "bad", &[]);
    }
    let record = first.encode();
    let quote = record
        .windows(64)
        .position(|w| w == &first.quote[..64])
        .unwrap();
    for at in [0, 40, quote + 100, quote + 48 + 136, quote + 700] {
        flipped(&record, at);
        home.verified(6, "bad", &["--collateral", "c.json"]);
    }
}

#[test]
fn what_is_no_evidence_is_one_verdict_or_one_line_and_never_a_panic() {
    let (home, first, _) = Home::attested();
    home.put("empty", "");
    home.put("text", "evidence\x1b[2J\n".repeat(100));
    home.put("zeros", vec![0; 4096]);
    home.put("cut", &first.encode()[..200]);
    home.put("quote", &first.quote);
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    home.put("tar", tar);
    for file in ["empty", "text", "zeros", "cut", "quote", "tar"] {
        let shown = home.verified(6, file, &[]);
        assert!(shown.starts_with("NOT VERIFIED  "), "{shown}");
        assert!(shown.contains("atlasctl attest -o"), "{shown}");
        let json = home.json(6, &["attest", "verify", file]);
        assert_eq!(json["code"], 6);
    }
    home.refused(1, &["attest", "verify", "nothing"]);
    home.refused(1, &["attest", "verify", "source"]);
}

#[test]
fn a_bundle_about_a_file_and_one_about_evidence_are_never_taken_for_each_other() {
    let (home, ..) = Home::attested();
    let name = Sha256::of(b"manifest");
    let entry = format!("manifests/{}.c2pa", name.hex());
    fs::create_dir(home.path("manifests")).unwrap();
    home.put(&entry, "manifest");
    let list = serde_json::json!({
        "format": "atlas-bundle 1", "root": name, "entries": {&entry: name},
    });
    home.put("bundle.json", list.to_string());
    let mut tar = Command::new("tar");
    tar.args(["--format=ustar", "-cf", "m.atlas", "bundle.json", &entry]);
    assert!(tar.current_dir(home.path("")).status().unwrap().success());
    home.own("m.atlas");
    let text = home.refused(1, &["attest", "verify", "m.atlas"]);
    assert!(text.contains("atlasctl verify FILE --manifest"), "{text}");
    home.ends(0, &WRITE);
    let text = home.refused(1, &["verify", "root.pem", "--manifest", "e.atlas"]);
    assert!(text.contains("atlasctl attest verify"), "{text}");
}

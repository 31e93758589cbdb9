//! A second opinion: Google's `check` of go-tdx-guest, which shares no code with dcap-qvl. Skipped where ATLAS_TEST_TDX_CHECK does not name it.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use atlas_tdx_sim::{Shape, Td, World, hex};

/// The program, or nothing after saying so.
fn check() -> Option<PathBuf> {
    let path = std::env::var_os("ATLAS_TEST_TDX_CHECK").map(PathBuf::from);
    if path.is_none() {
        let _ = writeln!(
            io::stderr(),
            "SKIPPED google: ATLAS_TEST_TDX_CHECK does not name go-tdx-guest's check"
        );
    }
    path
}

struct Case {
    program: PathBuf,
    dir: tempfile::TempDir,
    td: Td,
}

impl Case {
    /// Whether it accepts this quote with these flags, which replace those of the same name.
    fn accepts(&self, quote: &[u8], flags: &[(&str, String)]) -> bool {
        let file = self.dir.path().join("quote.bin");
        fs::write(&file, quote).unwrap();
        let rtmr = self.td.rtmr.map(|register| hex::encode(&register));
        let mut all = vec![
            ("-trusted_roots", self.root("mine")),
            ("-report_data", hex::encode(&[0x42; 64])),
            ("-mr_td", hex::encode(&self.td.mrtd)),
            ("-rtmrs", rtmr.join(",")),
        ];
        all.retain(|(name, _)| flags.iter().all(|(other, _)| other != name));
        all.extend_from_slice(flags);
        let mut check = Command::new(&self.program);
        check.args(["-inform", "bin", "-in"]).arg(&file);
        for (name, value) in all {
            check.arg(format!("{name}={value}"));
        }
        let silent = check.stdout(Stdio::null()).stderr(Stdio::null());
        silent.status().unwrap().success()
    }

    fn root(&self, name: &str) -> String {
        let path = self.dir.path().join(format!("{name}.pem"));
        path.to_str().unwrap().to_owned()
    }
}

#[test]
fn it_accepts_a_sound_quote_and_nothing_that_was_changed() {
    let Some(program) = check() else { return };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = since.unwrap().as_secs() as i64;
    let (world, other) = (World::new(now).unwrap(), World::new(now).unwrap());
    let mut td = Td::default();
    td.extend(3, &[9; 48]);
    let dir = tempfile::tempdir().unwrap();
    let case = Case { program, dir, td };
    fs::write(case.root("mine"), world.root_pem()).unwrap();
    fs::write(case.root("other"), other.root_pem()).unwrap();

    let quote = world.quote(Shape::V4, &case.td, &[0x42; 64]).unwrap();
    assert!(case.accepts(&quote, &[]), "a sound quote is refused");
    let mut padded = quote.clone();
    padded.resize(8000, 0);
    assert!(case.accepts(&padded, &[]), "a padded quote is refused");

    for at in [48 + 136, 48 + 472, 48 + 520, 640, quote.len() - 1200] {
        let mut flipped = quote.clone();
        flipped[at] ^= 1;
        assert!(!case.accepts(&flipped, &[]), "byte {at} is not looked at");
    }
    let mut rtmr = case.td.rtmr.map(|register| hex::encode(&register));
    rtmr[3] = hex::encode(&[0; 48]);
    for wrong in [
        ("-report_data", hex::encode(&[0x43; 64])),
        ("-mr_td", hex::encode(&[0x43; 48])),
        ("-rtmrs", rtmr.join(",")),
        ("-trusted_roots", case.root("other")),
    ] {
        assert!(
            !case.accepts(&quote, std::slice::from_ref(&wrong)),
            "{wrong:?}"
        );
    }
    // It knows Intel's root when it is given none.
    let file = case.dir.path().join("quote.bin");
    fs::write(&file, &quote).unwrap();
    let intel = Command::new(&case.program)
        .args(["-quiet", "-inform", "bin", "-in"])
        .arg(&file)
        .status()
        .unwrap();
    assert!(!intel.success(), "it passes as genuine");

    // Version 0.3.1 reads version 4 only; a later one may do better, and then has to be right.
    for shape in [Shape::V5Td10, Shape::V5Td15, Shape::V5Td15ex] {
        let quote = world.quote(shape, &case.td, &[0x42; 64]).unwrap();
        let word = if case.accepts(&quote, &[]) {
            "accepts"
        } else {
            "refuses"
        };
        let _ = writeln!(io::stderr(), "check {word} quotes of shape {shape}");
    }
}

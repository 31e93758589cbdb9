//! Reference values that root pins for everybody. What they are good for is told by `verify`; formats by the tests of `atlasctl`.

use std::fs;
use std::path::Path;

use atlas_tests::{ctl, files};

/// A pin in root's own home would be believed by nobody else.
#[test]
fn what_root_adds_is_believed_by_everybody_on_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.csv"), "1,2").unwrap();
    let draft = [
        "reference",
        "draft",
        "--name",
        "set 1",
        "--artifact",
        "a.csv",
    ];
    let draft = ctl::ctl(dir.path(), &draft).expect(0).stdout;
    fs::write(dir.path().join("draft.json"), draft).unwrap();
    ctl::ctl(dir.path(), &["reference", "add", "draft.json"]).refusal(5, "--unsigned");
    let add = ["reference", "add", "draft.json", "--unsigned", "--json"];
    let added = ctl::ctl(dir.path(), &add).expect(0).json();
    let pins = files::find(Path::new("/etc/atlas/reference"), ".json");
    assert_eq!(pins.len(), 1);
    let list = ctl::ctl(dir.path(), &["reference", "list", "--json"]);
    assert_eq!(list.expect(0).json(), added);
    let fingerprint = added["references"][0]["fingerprint"].as_str().unwrap();
    ctl::ctl(dir.path(), &["reference", "rm", fingerprint]).expect(0);
    assert!(!pins[0].exists());
}

//! What the control channel tells a user who could not have read it, and what it refuses to do for one.

use atlas_tests::{Io, Lab, Mount, Options};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

/// Asks as `nobody`, one request a connection, and gives the last reply's line.
fn ask(mount: &Mount<'_>, request: &str) -> serde_json::Value {
    let socket = mount.status()["socket"].as_str().unwrap().to_owned();
    let program = format!(
        r#"
import json, socket
s = socket.socket(socket.AF_UNIX)
s.connect({socket:?})
s.sendall({request:?}.encode() + b"\n")
for line in s.makefile():
    if json.loads(line)["re"] != "progress":
        print(line)
        break
"#
    );
    serde_json::from_str(mount.python(&program).ok().stdout.trim()).unwrap()
}

fn private_set() -> Lab {
    let lab = Lab::new();
    lab.put("priv/salaries", b"secret\n");
    lab.put("open/x", b"x\n");
    lab.put("top", b"top\n");
    for (path, mode) in [("priv", 0o700), ("open", 0o755)] {
        let path = lab.source().join(path);
        std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    lab
}

#[test]
fn the_names_in_a_set_that_a_caller_cannot_list_are_not_told_to_it() {
    let lab = private_set();
    let mount = lab.mount(Options::new(Io::Passthrough));
    let list = |dir: &str| {
        let made = mount.ctl(&["register", "--json", dir]).expect(0).json();
        let hex = made["registered"][0]["id"].as_str().unwrap().to_owned();
        let row = ask(
            &mount,
            &format!(r#"{{"v":1,"op":"versions","nodes":["{hex}"]}}"#),
        );
        row["rows"][0]["digests"]["sha256"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let object = |name: &str| {
        ask(
            &mount,
            &format!(r#"{{"v":1,"op":"object","kind":"members","name":"{name}"}}"#),
        )
    };
    assert!(object(&list("priv"))["b64"].is_null(), "names a secret");
    assert!(object(&list("open"))["b64"].is_string(), "may be checked");
    let under = ask(&mount, r#"{"v":1,"op":"under","dir":"priv"}"#);
    assert_eq!(under["rows"].as_array().unwrap().len(), 0, "{under}");
}

#[test]
fn a_set_spelt_with_a_slash_at_its_end_has_whole_names_and_so_has_source_itself() {
    let lab = private_set();
    let mount = lab.mount(Options::new(Io::Passthrough));
    let said = ask(&mount, r#"{"v":1,"op":"register","paths":["open//"]}"#);
    assert_eq!(said["rows"][0]["path"], "open", "{said}");
    mount.verify("open", 0);
    let root = mount.path("");
    let root = root.to_str().unwrap();
    mount.ctl(&["register", root]).expect(0);
    mount.verify(root, 0);
    mount.verify("top", 0);
    mount.unmount();
    // Two members change places: each has the content of a member, and neither its own.
    let [top, x] = ["top", "open/x"].map(|p| lab.source().join(p));
    fs::copy(&x, &top).unwrap();
    lab.ctl(&["verify", top.to_str().unwrap()]).expect(4);
}

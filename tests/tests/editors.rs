//! How editors save, and what follows for lineages: the old version is the input of the new one, wherever it is by then. No terminal.

use std::fs;

use atlas_tests::{Lab, Mount, Options, both};

/// A text that a person wrote, and the same after they changed a word of it.
const OLD: &str = "one\ntwo\n";
const NEW: &str = "one\nTWO\n";

/// vim without anybody's configuration; its swap file lies beside what it edits, as by default.
fn vim(settings: &str) -> String {
    format!(
        "vim -u NONE -i NONE -N -es -c 'set backupskip= updatecount=1 directory=. {settings}' -c '%s/two/TWO/' -c preserve -c wq f </dev/null"
    )
}

/// Emacs marks what is edited with a dangling link, saves what was typed aside, keeps the old file as a backup, and writes the new one.
const EMACS: &str = r##"
import os
os.symlink("somebody@somewhere.1", ".#f")
with open("f") as f: text = f.read()
with open("#f#", "w") as f: f.write(text.replace("two", "TW"))
mode = os.stat("f").st_mode & 0o777
os.rename("f", "f~")
with open("f", "w") as f:
    f.write(text.replace("two", "TWO"))
    f.flush()
    os.fsync(f.fileno())
os.chmod("f", mode)
os.unlink("#f#")
os.unlink(".#f")
"##;

/// Edits `f`, and looks at what it came from: one input, the old text.
fn edited(mount: &Mount<'_>, how: &str, backup: Option<&str>) {
    mount
        .sh("rm -f f f~; printf 'one\\ntwo\\n' > f; chmod 640 f")
        .ok();
    mount.sync();
    let old = mount.lineage("f").root;
    mount.sh(how).ok();
    mount.sync();
    assert_eq!(fs::read_to_string(mount.path("f")).unwrap(), NEW, "{how}");
    let lineage = mount.lineage("f");
    assert_eq!(lineage.root().state, "logged", "{how}: {}", lineage.json);
    let inputs: Vec<_> = lineage
        .edges
        .iter()
        .filter(|e| e.from == lineage.root)
        .collect();
    assert!(!inputs.is_empty(), "{how}: {}", lineage.json);
    assert!(
        inputs.iter().all(|e| e.to == old),
        "{how}: the old version, not a copy of it: {}",
        lineage.json
    );
    assert_eq!(inputs[0].grade, "same-process", "{how}");
    mount.verify("f", 0);
    if let Some(backup) = backup {
        assert_eq!(
            fs::read_to_string(mount.path(backup)).unwrap(),
            OLD,
            "{how}"
        );
        mount.verify(backup, 0);
    }
    let left = mount.sh("ls -A").ok().stdout;
    let expected = backup.map_or_else(|| "f\n".to_owned(), |b| format!("f\n{b}\n"));
    assert_eq!(left.replace(".atlas\n", ""), expected, "{how}");
}

both! {
    /// The old version goes on under the backup's name, and is still the one that was read.
    fn a_save_that_renames_the_old_file_away_has_it_as_its_only_input(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        edited(&mount, &vim("backup backupcopy=no"), Some("f~"));
        edited(&mount, &format!("python -c '{EMACS}'"), Some("f~"));
        edited(&mount, "sed -i~ s/two/TWO/ f", Some("f~"));
        edited(&mount, "perl -pi~ -e s/two/TWO/ f", Some("f~"));
    }

    /// The old version has no name any more, and its proof stays.
    fn a_save_that_renames_the_new_file_over_the_old_one_has_the_old_one_as_its_only_input(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        edited(&mount, "sed -i s/two/TWO/ f", None);
        edited(&mount, "perl -pi -e s/two/TWO/ f", None);
        edited(&mount, &vim("nobackup writebackup backupcopy=no"), None);
    }
}

both! {
    /// Truncated and written again, after a copy was made in case that fails: what it was made from is the old version all the same.
    fn a_save_in_place_has_the_old_version_as_its_only_input(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        edited(&mount, &vim("nobackup writebackup backupcopy=yes"), None);
    }
}

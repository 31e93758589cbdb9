//! Names that are not nice: newlines, terminal escapes, bytes that are no UTF-8. Kept exactly, shown safely, never sent to a terminal.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use atlas_tests::{Lab, Options, both};

/// Clears the screen and sets the title when a terminal gets it raw.
const EVIL: &[u8] = b"a\nb\x1b[2J\x1b]0;owned\x07.pt";
const NOT_UTF8: &[u8] = b"caf\xe9-\xff\xfe.bin";

fn name(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

fn harmless(text: &str) {
    assert!(
        !text.contains('\x1b') && !text.contains('\x07'),
        "raw control characters: {text:?}"
    );
}

both! {
    /// An output named to fool the reader's terminal is shown escaped by every verb, on both streams.
    fn terminal_escapes_in_names_are_shown_and_never_sent(io) {
        let lab = Lab::new();
        lab.put("in", b"i");
        let mount = lab.mount(Options::new(io));
        let evil = name(EVIL);
        mount.job(&[OsStr::new("cp"), OsStr::new("in"), &evil]).ok();
        mount.job(&[OsStr::new("cp"), &evil, OsStr::new("next")]).ok();
        mount.sync();
        assert_eq!(fs::read(lab.behind("").join(&evil)).unwrap(), b"i");
        for verb in ["verify", "lineage", "show"] {
            let answer = mount.ctl(&[OsStr::new(verb), &evil]).expect(0);
            harmless(&answer.stdout);
            harmless(&answer.stderr);
        }
        for args in [&["ls", "."][..], &["lineage", "next"], &["runs"], &["show", "next"], &["lineage", "--all", "--color=never", "next"]] {
            let answer = mount.ctl(args).expect(0);
            harmless(&answer.stdout);
            assert!(!answer.stdout.contains("a\nb"), "a newline in a name breaks the line: {:?}", answer.stdout);
        }
        let json = mount.ctl(&["lineage", "--json", "next"]).expect(0);
        assert!(json.json().to_string().contains("a\\nb\\u001b[2J"), "{}", json.stdout);
        mount.ctl(&[OsStr::new("lineage"), name(b"no\x1b[31mred\nfile").as_os_str()]).refusal(1, "red");
    }

    /// Names are bytes: what is not UTF-8 is kept exactly, and given exactly in JSON.
    fn a_name_that_is_not_utf8_is_kept_exactly(io) {
        let lab = Lab::new();
        lab.put("in", b"i");
        let mount = lab.mount(Options::new(io));
        let odd = name(NOT_UTF8);
        mount.job(&[OsStr::new("cp"), OsStr::new("in"), &odd]).ok();
        mount.sync();
        let listed: Vec<_> = fs::read_dir(lab.behind("")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(listed.contains(&odd), "{listed:?}");
        let answer = mount.ctl(&[OsStr::new("verify"), OsStr::new("--json"), &odd]).expect(0).json();
        assert_eq!(answer["files"][0]["path_b64"], "Y2Fm6S3//i5iaW4=", "{answer}");
        let lineage = mount.ctl(&[OsStr::new("lineage"), OsStr::new("--json"), &odd]).expect(0).json();
        assert!(lineage["nodes"].to_string().contains("Y2Fm6S3//i5iaW4="), "{lineage}");
        mount.ctl(&[OsStr::new("show"), &odd]).expect(0);
        let moved = mount.path("").join(OsStr::from_bytes(b"d\xff"));
        fs::create_dir(&moved).unwrap();
        fs::rename(mount.path("").join(&odd), moved.join(&odd)).unwrap();
        mount.ctl(&[OsStr::new("verify"), moved.join(&odd).as_os_str()]).expect(0);
    }

    /// Arguments reach `runs` and `show` too.
    fn terminal_escapes_in_arguments_are_shown_and_never_sent(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.job(&["sh", "-c", "echo x > out; :", "\x1b[2J\x1b[1;1Hfake prompt\n$ "]).ok();
        mount.sync();
        for args in [&["runs"][..], &["show", "out"], &["lineage", "out"]] {
            harmless(&mount.ctl(args).expect(0).stdout);
        }
        harmless(&mount.log());
    }

    /// A leading dash, a space, a quote: names that scripts get wrong.
    fn awkward_but_legal_names_work_everywhere(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        for awkward in ["-rf", "with space", "quote'\"", "star*", "percent%00", ".hidden", "trailing "] {
            mount.job(&["sh", "-c", "echo x > \"$1\"", "sh", &format!("./{awkward}")]).ok();
        }
        mount.sync();
        mount.ctl(&["verify", "--recursive", "."]).expect(0);
        mount.ctl(&["verify", "--", "-rf"]).expect(0);
    }
}

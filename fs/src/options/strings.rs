//! `-o` strings as mount(8), fstab and mount.fuse.atlas pass them, turned into arguments of `atlas-fs mount`. Knows the words, not their meaning.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use crate::failure::{Failure, plain};

/// Words for mount(8), fstab and systemd, of no concern to a filesystem.
const IGNORED: [&str; 20] = [
    "_netdev",
    "auto",
    "default_permissions",
    "defaults",
    "diratime",
    "group",
    "lazytime",
    "noauto",
    "nodiratime",
    "nofail",
    "nogroup",
    "nolazytime",
    "norelatime",
    "nostrictatime",
    "nouser",
    "owner",
    "relatime",
    "strictatime",
    "user",
    "users",
];
/// Words that are switches of mount(2).
const KERNEL: [&str; 11] = [
    "async", "atime", "dev", "dirsync", "exec", "noatime", "nodev", "noexec", "nosuid", "suid",
    "sync",
];
/// Long options without a value.
const SWITCHES: [&str; 4] = ["allow-other", "any-pid-namespace", "read-only", "sidecar"];
/// Long options with a value.
const VALUES: [&str; 26] = [
    "authority",
    "ccel",
    "collateral",
    "digest-threads",
    "drain",
    "event-log",
    "explicit-quotes",
    "gpu-evidence",
    "gpu-evidence-command",
    "image",
    "io",
    "log-file",
    "log-level",
    "log-origin",
    "log-register",
    "mr-root",
    "node-state",
    "rekor",
    "rekor-interval",
    "rekor-key",
    "runs",
    "state",
    "tdx",
    "titles",
    "tsm-root",
    "witnesses",
];

/// What `-o` strings say, as arguments, in order.
pub(super) fn as_arguments(strings: &[OsString]) -> Result<Vec<OsString>, Failure> {
    let mut out = Vec::new();
    for string in strings {
        for word in split(string.as_bytes()) {
            if let Some(argument) = argument(&word)? {
                out.push(argument);
            }
        }
    }
    Ok(out)
}

/// The arguments of a mount helper, `SOURCE DIR [-sfnv] [-N NAMESPACE] [-t TYPE] [-o OPTIONS]`, as arguments of `mount`.
/// `None` when it is only a trial (`-f`).
pub(super) fn helper(args: &[OsString]) -> Result<Option<Vec<OsString>>, Failure> {
    let mut places = Vec::new();
    let mut options: Vec<OsString> = Vec::new();
    let mut fake = false;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let text = arg.as_bytes();
        if text.len() < 2 || text[0] != b'-' {
            places.push(arg.clone());
            continue;
        }
        for (i, letter) in text.iter().enumerate().skip(1) {
            match letter {
                // mount(8)'s own business: sloppy, no mtab, verbose.
                b's' | b'n' | b'v' => {}
                b'f' => fake = true,
                b'o' | b't' | b'N' => {
                    let value = if i + 1 < text.len() {
                        OsStr::from_bytes(&text[i + 1..]).to_owned()
                    } else {
                        args.next().cloned().ok_or_else(|| {
                            Failure::usage(format!("-{} needs a value", char::from(*letter)))
                        })?
                    };
                    if *letter == b'o' {
                        options.push("-o".into());
                        options.push(value);
                    }
                    break;
                }
                _ => {
                    return Err(Failure::usage(format!(
                        "{}: not an option of a mount helper; filesystem options go after -o",
                        plain(&arg.to_string_lossy())
                    )));
                }
            }
        }
    }
    if places.len() != 2 {
        return Err(Failure::usage(
            "usage: mount.fuse.atlas SOURCE MOUNTPOINT [-o OPTIONS]; it is called by mount(8)",
        ));
    }
    options.push("--".into());
    options.extend(places);
    Ok((!fake).then_some(options))
}

/// Splits at commas; `\,` is a comma and `\\` a backslash. Empty words are dropped.
fn split(string: &[u8]) -> Vec<Vec<u8>> {
    let mut words = vec![Vec::new()];
    let mut bytes = string.iter().peekable();
    while let Some(b) = bytes.next() {
        let escaped = bytes
            .peek()
            .filter(|_| *b == b'\\')
            .filter(|n| matches!(n, b',' | b'\\'))
            .is_some();
        match (b, words.last_mut()) {
            (b',', _) => words.push(Vec::new()),
            (b'\\', Some(word)) if escaped => word.extend(bytes.next()),
            (_, Some(word)) => word.push(*b),
            (_, None) => {}
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// One word as an argument; `None` when it is of no concern.
fn argument(word: &[u8]) -> Result<Option<OsString>, Failure> {
    let (key, value) = match word.iter().position(|b| *b == b'=') {
        Some(at) => (&word[..at], Some(&word[at + 1..])),
        None => (word, None),
    };
    let shown = plain(&String::from_utf8_lossy(key));
    let unknown = || {
        Failure::usage(format!(
            "-o {shown}: not an option of atlas-fs (see `atlas-fs mount --help`)"
        ))
    };
    let key = std::str::from_utf8(key).map_err(|_| unknown())?;
    if key.starts_with("x-")
        || key.starts_with("X-")
        || matches!(key, "comment" | "fsname" | "subtype")
    {
        return Ok(None);
    }
    let dashed = key.replace('_', "-");
    let needs_value = VALUES.contains(&dashed.as_str());
    match value {
        Some(value) if needs_value => {
            let mut argument = format!("--{dashed}=").into_bytes();
            argument.extend_from_slice(value);
            return Ok(Some(OsString::from_vec(argument)));
        }
        None if needs_value => {
            return Err(Failure::usage(format!(
                "-o {shown} needs a value: {shown}=..."
            )));
        }
        Some(_) => {
            let known = IGNORED.contains(&key)
                || KERNEL.contains(&key)
                || SWITCHES.contains(&dashed.as_str())
                || matches!(key, "ro" | "rw");
            return Err(if known {
                Failure::usage(format!("-o {shown} takes no value"))
            } else {
                unknown()
            });
        }
        None => {}
    }
    Ok(match key {
        "ro" => Some("--read-only".into()),
        "rw" => Some("--read-write".into()),
        "remount" => {
            return Err(Failure::usage(
                "-o remount: a mount cannot be changed: unmount it, and mount it again with other options",
            ));
        }
        _ if KERNEL.contains(&key) => Some(format!("--kernel-flag={key}").into()),
        _ if SWITCHES.contains(&dashed.as_str()) => Some(format!("--{dashed}").into()),
        _ if IGNORED.contains(&key) => None,
        _ => return Err(unknown()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(string: &str) -> Result<Vec<String>, Failure> {
        let said = as_arguments(&[string.into()])?;
        Ok(said.into_iter().map(|a| a.into_string().unwrap()).collect())
    }

    #[test]
    fn what_fstab_says_becomes_arguments() {
        for (string, expected) in [
            ("", &[][..]),
            ("rw", &["--read-write"]),
            (
                "ro,nofail,x-systemd.requires=/srv,_netdev",
                &["--read-only"],
            ),
            (
                "defaults,allow_other,io=inline",
                &["--allow-other", "--io=inline"],
            ),
            (
                "allow-other,,node_state=/var/x",
                &["--allow-other", "--node-state=/var/x"],
            ),
            (
                "nosuid,nodev,suid",
                &[
                    "--kernel-flag=nosuid",
                    "--kernel-flag=nodev",
                    "--kernel-flag=suid",
                ],
            ),
            (r"state=/a\,b,ro", &["--state=/a,b", "--read-only"]),
            (r"state=/a\\,ro", &["--state=/a\\", "--read-only"]),
            (r"state=/a\b", &["--state=/a\\b"]),
            ("state=a=b", &["--state=a=b"]),
            ("comment=x,fsname=/srv,subtype=atlas,X-mount.mkdir", &[]),
        ] {
            assert_eq!(said(string).unwrap(), expected, "{string}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (string, word) in [
            ("foo", "foo"),
            ("foo=bar", "foo"),
            ("ro=1", "takes no value"),
            ("allow_other=yes", "takes no value"),
            ("io", "needs a value"),
            ("remount,ro", "remount"),
            ("foreground", "foreground"),
            ("a\u{1b}[2J", "a\\u{1b}[2J"),
        ] {
            let failure = said(string).unwrap_err();
            assert_eq!(failure.code, 2);
            assert!(failure.to_string().contains(word), "{string}: {failure}");
        }
    }

    proptest! {
        #[test]
        fn escaped_values_come_back_byte_for_byte(value in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut string = b"ro,state=".to_vec();
            for b in &value {
                if matches!(b, b',' | b'\\') {
                    string.push(b'\\');
                }
                string.push(*b);
            }
            let said = as_arguments(&[OsString::from_vec(string)]).unwrap();
            let mut expected = b"--state=".to_vec();
            expected.extend(&value);
            prop_assert_eq!(said[1].as_bytes(), &expected[..]);
        }

        #[test]
        fn no_string_panics(string in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = as_arguments(&[OsString::from_vec(string.clone())]);
            let _ = helper(&[OsString::from_vec(string), "a".into()]);
        }
    }
}

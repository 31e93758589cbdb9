//! Installed Python distributions, by the names of their metadata directories. No file of theirs is opened, nothing is imported.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use atlas_manifests::digest::Sha256;
use atlas_manifests::statement::Python;

use super::walk::Found;
use super::{absolute, passwd, small};
use crate::caller::Seen;

/// Entries looked at in one directory.
const MAX_ENTRIES: usize = 20_000;
/// A `pyvenv.cfg` is a few lines.
const MAX_CONFIG: u64 = 64 << 10;

/// The distributions that a Python process can import, and one digest over them; `None` when it is no Python process.
pub(crate) fn installed(
    seen: &Seen,
    open: &dyn Fn(&Path) -> Option<Found>,
) -> Option<(Python, Vec<String>)> {
    let exe = seen.exe.as_ref()?;
    let base = exe.base_name();
    if !(base.starts_with(b"python") || base.starts_with(b"pypy")) {
        return None;
    }
    let mut prefixes = Vec::new();
    let mut system = true;
    // The link in a virtual environment resolves to the system's interpreter: what was asked for stands in the arguments.
    let asked = asked(seen)
        .into_iter()
        .find(|p| open(p).is_some_and(|f| f.is_file()));
    if let Some(prefix) = asked
        .as_deref()
        .and_then(Path::parent)
        .and_then(Path::parent)
        && let Some(config) = open(&prefix.join("pyvenv.cfg")).and_then(|f| small(&f, MAX_CONFIG))
    {
        prefixes.push(prefix.to_owned());
        system = with_system(&config);
    }
    if system {
        if let Some(prefix) = exe.as_path().parent().and_then(Path::parent) {
            prefixes.push(prefix.to_owned());
            if prefix == Path::new("/usr") {
                prefixes.push(PathBuf::from("/usr/local"));
            }
        }
        if let Some(user) = passwd::of(seen.uid) {
            prefixes.push(user.home.join(".local"));
        }
    }
    let version = version(base);
    let mut lines = BTreeSet::new();
    for dir in prefixes
        .iter()
        .flat_map(|p| sites(p, version.as_deref(), open))
    {
        let Some(found) = open(&dir).filter(Found::is_dir) else {
            continue;
        };
        lines.extend(
            found
                .names(MAX_ENTRIES)
                .iter()
                .filter_map(|n| distribution(n)),
        );
    }
    let lines: Vec<String> = lines.into_iter().collect();
    Some((digest(&lines), lines))
}

/// One digest over the sorted `name==version\n` lines.
fn digest(lines: &[String]) -> Python {
    let text: String = lines.iter().flat_map(|l| [l.as_str(), "\n"]).collect();
    Python {
        count: u32::try_from(lines.len()).unwrap_or(u32::MAX),
        sha256: Sha256::of(text.as_bytes()),
    }
}

/// Where the interpreter that was asked for may lie: as named, or along PATH.
fn asked(seen: &Seen) -> Vec<PathBuf> {
    let Some(name) = seen
        .argv
        .first()
        .map(|a| a.0.as_slice())
        .filter(|n| !n.is_empty())
    else {
        return Vec::new();
    };
    let name = Path::new(std::ffi::OsStr::from_bytes(name));
    if name.as_os_str().as_bytes().contains(&b'/') {
        return absolute(seen.cwd.as_ref(), name).into_iter().collect();
    }
    let path = seen.search.as_deref().unwrap_or_default();
    path.split(|b| *b == b':')
        .take(256)
        .map(|d| Path::new(std::ffi::OsStr::from_bytes(d)).join(name))
        .filter(|p| p.is_absolute())
        .collect()
}

/// `include-system-site-packages` of a `pyvenv.cfg`.
fn with_system(config: &[u8]) -> bool {
    String::from_utf8_lossy(config).lines().any(|l| {
        l.split_once('=').is_some_and(|(k, v)| {
            k.trim()
                .eq_ignore_ascii_case("include-system-site-packages")
                && v.trim().eq_ignore_ascii_case("true")
        })
    })
}

/// `3.11` in `python3.11`; `None` when the name does not say the minor version.
fn version(base: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(base).ok()?;
    let digits = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let digits = digits.trim_end_matches(|c: char| !c.is_ascii_digit());
    digits.contains('.').then(|| digits.to_owned())
}

/// Directories with distributions below a prefix.
fn sites(
    prefix: &Path,
    version: Option<&str>,
    open: &dyn Fn(&Path) -> Option<Found>,
) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for lib in ["lib", "lib64"] {
        let lib = prefix.join(lib);
        // lib64 is often a link to lib: the same names then fall together.
        for name in open(&lib).map(|f| f.names(MAX_ENTRIES)).unwrap_or_default() {
            let Some(v) = name
                .strip_prefix(b"python")
                .or_else(|| name.strip_prefix(b"pypy"))
            else {
                continue;
            };
            // Debian keeps packages of all minor versions in python3.
            if v == b"3" || version.is_none_or(|want| v == want.as_bytes()) {
                let dir = lib.join(Path::new(std::ffi::OsStr::from_bytes(&name)));
                out.extend([dir.join("site-packages"), dir.join("dist-packages")]);
            }
        }
    }
    out
}

/// `name==version` of an entry like `Foo_Bar-1.2.dist-info` or `foo-1.2-py3.11.egg-info`, the name as PEP 503 normalises it.
fn distribution(entry: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(entry).ok()?;
    let stem = text
        .strip_suffix(".dist-info")
        .or_else(|| text.strip_suffix(".egg-info"))?;
    let mut parts = stem.splitn(3, '-');
    let (name, version) = (parts.next()?, parts.next()?);
    let plain =
        |t: &str| !t.is_empty() && t.len() <= 200 && t.bytes().all(|b| b.is_ascii_graphic());
    // A leading `~` is what pip leaves behind when it fails to remove something.
    if !plain(name) || !plain(version) || name.starts_with('~') {
        return None;
    }
    let mut normal = String::with_capacity(name.len());
    for c in name.chars() {
        let c = if matches!(c, '_' | '.') {
            '-'
        } else {
            c.to_ascii_lowercase()
        };
        if c != '-' || !normal.ends_with('-') {
            normal.push(c);
        }
    }
    Some(format!("{normal}=={version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_distribution_has_one_line_however_its_directory_is_spelled() {
        for (entry, want) in [
            ("numpy-1.26.4.dist-info", Some("numpy==1.26.4")),
            (
                "Ruamel.Yaml_Clib-0.2.8.dist-info",
                Some("ruamel-yaml-clib==0.2.8"),
            ),
            ("foo-1.0-py3.11.egg-info", Some("foo==1.0")),
            ("torch-2.5.1+cu124.dist-info", Some("torch==2.5.1+cu124")),
            ("~umpy-1.26.4.dist-info", None),
            ("numpy", None),
            ("foo.egg-info", None),
            ("-1.dist-info", None),
            ("a\n-1.dist-info", None),
        ] {
            assert_eq!(distribution(entry.as_bytes()).as_deref(), want, "{entry}");
        }
    }

    #[test]
    fn the_digest_is_over_the_lines_and_nothing_else() {
        let python = digest(&["a==1".to_owned(), "b==2".to_owned()]);
        assert_eq!(
            (python.count, python.sha256),
            (2, Sha256::of(b"a==1\nb==2\n"))
        );
        assert_eq!(digest(&[]).sha256, Sha256::of(b""));
    }

    #[test]
    fn a_virtual_environment_says_whether_the_system_is_in_it() {
        assert!(with_system(
            b"home = /usr/bin\ninclude-system-site-packages = true\n"
        ));
        assert!(!with_system(
            b"home = /usr/bin\ninclude-system-site-packages = false\n"
        ));
        assert!(!with_system(b""));
    }

    #[test]
    fn the_interpreters_name_tells_its_minor_version_or_nothing() {
        assert_eq!(version(b"python3.11").as_deref(), Some("3.11"));
        assert_eq!(version(b"python3.13t").as_deref(), Some("3.13"));
        assert_eq!(version(b"python3"), None);
    }
}

//! Real repositories, made by git, which `scripts/setup test` installs.

use std::os::fd::AsFd as _;
use std::process::Command;

use super::*;
use crate::program::walk::Walker;

/// A repository with one commit.
fn repository() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    std::fs::create_dir(top.join("src")).unwrap();
    std::fs::write(top.join("src/train.py"), "print(1)\n").unwrap();
    std::fs::write(top.join("other"), "x").unwrap();
    git(&top, &["init", "-q", "."]);
    git(&top, &["add", "."]);
    git(&top, &["commit", "-qm", "one"]);
    (dir, top)
}

fn git(top: &Path, args: &[&str]) -> String {
    let out = Command::new("git")
        .current_dir(top)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .args(["-c", "user.name=n", "-c", "user.email=e@example.org"])
        .args(args)
        .output()
        .expect("git is installed");
    assert!(
        out.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn look(top: &Path) -> Option<Git> {
    let walker = Walker::new(
        Path::new("/nowhere/at/all"),
        Box::new(|_| None),
        Box::new(|_| None),
    );
    let root = std::fs::File::open("/").unwrap();
    state(&top.join("src/train.py"), &|p: &Path| {
        walker.find(root.as_fd(), p).ok()
    })
}

#[test]
fn a_clean_work_tree_is_clean_from_loose_objects_and_from_a_pack() {
    let (_dir, top) = repository();
    let want = Some(Git {
        commit: git(&top, &["rev-parse", "HEAD"]),
        dirty: Some(false),
    });
    assert_eq!(look(&top), want);
    git(&top, &["gc", "-q"]);
    git(&top, &["pack-refs", "--all"]);
    assert!(
        std::fs::read_dir(top.join(".git/objects/pack"))
            .unwrap()
            .count()
            > 0
    );
    assert_eq!(look(&top), want);
}

#[test]
fn a_changed_a_staged_and_a_missing_file_make_it_dirty_and_an_untracked_one_does_not() {
    let (_dir, top) = repository();
    let dirty = || look(&top).unwrap().dirty;
    std::fs::write(top.join("new"), "untracked").unwrap();
    assert_eq!(dirty(), Some(false));
    // The same length within the same second: only the bytes tell.
    std::fs::write(top.join("other"), "y").unwrap();
    assert_eq!(dirty(), Some(true));
    git(&top, &["add", "other"]);
    assert_ne!(dirty(), Some(false), "staged");
    git(&top, &["commit", "-qm", "two"]);
    assert_eq!(dirty(), Some(false));
    std::fs::remove_file(top.join("other")).unwrap();
    assert_eq!(dirty(), Some(true));
}

#[test]
fn nothing_that_a_repository_configures_is_run() {
    let (_dir, top) = repository();
    let mark = top.join("ran");
    let touch = format!("touch {}", mark.display());
    for key in [
        "core.fsmonitor",
        "filter.x.clean",
        "filter.x.smudge",
        "filter.x.process",
        "diff.external",
        "core.pager",
    ] {
        std::fs::OpenOptions::new()
            .append(true)
            .open(top.join(".git/config"))
            .and_then(|mut f| {
                let (section, name) = key.rsplit_once('.').unwrap();
                let section = section
                    .split_once('.')
                    .map_or(section.to_owned(), |(a, b)| format!("{a} \"{b}\""));
                std::io::Write::write_all(
                    &mut f,
                    format!("[{section}]\n\t{name} = {touch}\n").as_bytes(),
                )
            })
            .unwrap();
    }
    std::fs::write(top.join(".gitattributes"), "* filter=x\n").unwrap();
    std::fs::write(top.join("other"), "longer than before").unwrap();
    assert!(look(&top).is_some());
    assert!(!mark.exists());
}

#[test]
fn a_linked_work_tree_has_its_own_head_and_the_others_objects() {
    let (dir, top) = repository();
    let second = tempfile::tempdir_in(dir.path().parent().unwrap()).unwrap();
    let at = second.path().canonicalize().unwrap().join("w");
    git(
        &top,
        &["worktree", "add", "-q", "-b", "side", at.to_str().unwrap()],
    );
    std::fs::write(at.join("other"), "z").unwrap();
    git(&at, &["commit", "-qam", "side"]);
    let want = git(&at, &["rev-parse", "HEAD"]);
    assert_eq!(
        look(&at),
        Some(Git {
            commit: want,
            dirty: Some(false)
        })
    );
}

#[test]
fn a_repository_of_rubbish_is_no_repository() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    std::fs::create_dir_all(top.join("src")).unwrap();
    std::fs::write(top.join("src/train.py"), "").unwrap();
    assert_eq!(look(&top), None);
    std::fs::create_dir_all(top.join(".git/refs/heads")).unwrap();
    for head in [
        "",
        "ref: refs/heads/a",
        "ref: ../../../etc/passwd",
        "\u{fffd}",
    ] {
        std::fs::write(top.join(".git/HEAD"), head).unwrap();
        std::fs::write(top.join(".git/refs/heads/a"), "ref: refs/heads/a").unwrap();
        assert_eq!(look(&top), None, "{head:?}");
    }
}

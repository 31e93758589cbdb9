//! Owners, modes, umask, groups, sticky directories, set-id bits and ACLs, for ordinary users and for root.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;

use super::harness::{MODES, Mount, mode_bits};

/// Runs a shell script in `dir` as a user with two supplementary groups; what it says and how it ends.
fn as_user(uid: u32, dir: &Path, script: &str) -> String {
    let output = Command::new("setpriv")
        .args([
            &format!("--reuid={uid}"),
            &format!("--regid={uid}"),
            "--groups=2000,3000",
            "sh",
            "-c",
            script,
        ])
        .current_dir(dir)
        .env("LC_ALL", "C")
        .output()
        .expect("setpriv(1) runs");
    // Paths differ between the two sides; errors are compared by their last words.
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors: Vec<&str> = errors
        .lines()
        .map(|l| l.rsplit(": ").next().unwrap_or(l))
        .collect();
    format!(
        "{:?} {} {errors:?}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout)
    )
}

const STAT: &str = "stat -c '%n %a %u %g' *";

fn prepare(d: &Path) {
    for (name, mode, uid, gid) in [
        ("open", 0o777, 0, 0),
        ("sticky", 0o1777, 0, 0),
        ("group", 0o2775, 0, 2000),
        ("other-group", 0o2777, 0, 4000),
        ("closed", 0o755, 0, 0),
        ("unsearchable", 0o744, 0, 0),
        ("mine", 0o755, 1000, 1000),
    ] {
        let path = d.join(name);
        fs::create_dir(&path).expect("made");
        fs::write(path.join("root-file"), b"x").expect("written");
        chown(&path, Some(uid), Some(gid)).expect("given away");
        fs::set_permissions(&path, mode_bits(mode)).expect("set");
    }
    fs::set_permissions(d, mode_bits(0o755)).expect("set");
}

#[test]
fn an_ordinary_user_may_do_exactly_what_it_may_do_on_the_store() {
    for mode in MODES {
        Mount::new(mode).compare(|d| {
            prepare(d);
            let mut said = Vec::new();
            for dir in [
                "open", "sticky", "group", "other-group", "closed", "unsearchable", "mine",
            ] {
                for script in [
                    "umask 027; echo a > f; mkdir d; mkfifo p; ln -s f l; umask 0; echo b > g; mkdir -m 2755 e",
                    STAT,
                    "cat root-file; echo y >> root-file",
                    "chmod 600 root-file; chown 1000 f; chgrp 2000 f; chgrp 4000 g; chmod 2755 g",
                    STAT,
                    "rm -f root-file; mv f h; rmdir d; ln h k; touch -d @0 h; touch -d @0 root-file",
                    "ls | sort",
                ] {
                    let dir = d.join(dir);
                    // A user cannot enter an unsearchable directory; it then works from above.
                    said.push(format!("{}: {script}: {}", dir.file_name().unwrap_or_default().display(), as_user_in(&dir, script)));
                }
            }
            said.push(as_user(1001, &d.join("sticky"), "rm -f h g; mv g z; echo x > own; rm own"));
            said.push(as_user(1001, &d.join("mine"), "cat g; echo x > g; rm -f g; test -w g; test -r h"));
            said
        });
    }
}

fn as_user_in(dir: &Path, script: &str) -> String {
    let above = dir.parent().expect("below the root");
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    as_user(1000, above, &format!("cd {name} && {{ {script}; }}"))
}

#[test]
fn set_id_bits_go_when_an_ordinary_user_writes_and_stay_out_of_chown() {
    for mode in MODES {
        let mount = Mount::new(mode);
        mount.compare(|d| {
            let mut said = Vec::new();
            for (n, script) in [
                "echo x >> f0",
                ": > f1",
                "truncate -s 3 f2",
                "echo x | dd of=f3 bs=1 conv=notrunc status=none",
                "fallocate -l 9000 f4",
            ]
            .iter()
            .enumerate()
            {
                let path = d.join(format!("f{n}"));
                fs::write(&path, b"abc").expect("written");
                fs::set_permissions(&path, mode_bits(0o6777)).expect("set");
                said.push(as_user(1000, d, script));
                let after = fs::metadata(&path).expect("there").mode();
                said.push(format!("{script}: {after:o}"));
            }
            let path = d.join("owned");
            fs::write(&path, b"abc").expect("written");
            fs::set_permissions(&path, mode_bits(0o6755)).expect("set");
            chown(&path, Some(5), Some(6)).expect("given away");
            said.push(format!("{:o}", fs::metadata(&path).expect("there").mode()));
            // Root keeps S_ISGID for a group it is not in.
            fs::set_permissions(&path, mode_bits(0o2755)).expect("set");
            said.push(format!("{:o}", fs::metadata(&path).expect("there").mode()));
            said
        });
    }
}

#[test]
fn acls_are_kept_inherited_and_obeyed() {
    for mode in MODES {
        let mount = Mount::new(mode);
        mount.compare(|d| {
            let run = |script: &str| {
                let output = Command::new("sh")
                    .args(["-c", script])
                    .current_dir(d)
                    .output()
                    .expect("sh runs");
                format!("{script}: {}", String::from_utf8_lossy(&output.stdout))
            };
            let mut said = vec![
                run("mkdir dir; chmod 700 dir; setfacl -m u:1000:rwx -m d:u:1000:rw -m d:g:3000:r -m d:o::- dir; getfacl -n dir"),
                run("umask 077; echo x > dir/f; mkdir dir/sub; getfacl -n dir/f dir/sub"),
                run("echo x > plain; chmod 600 plain; setfacl -m u:1001:r plain; getfacl -n plain; stat -c %a plain"),
                run("chmod 640 plain; getfacl -n plain; setfacl -b plain; getfacl -n plain"),
            ];
            said.push(as_user(1000, d, "cat dir/f; echo y > dir/g; cat plain; getfacl -n dir/g"));
            said.push(as_user(1001, d, "cat dir/f; cat plain"));
            said.push(run("setfacl -m u:1001:r plain"));
            said.push(as_user(1001, d, "cat plain; setfacl -m u:1001:rw plain"));
            said
        });
    }
}

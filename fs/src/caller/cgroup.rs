//! Which cgroup was made for one job. Pure, but for `populated`, which asks the kernel whether anybody is left in one.

use std::path::{Path, PathBuf};

/// The cgroup path of a process that says most about its job, from /proc/PID/cgroup (cgroups(7)).
///
/// The v2 line is `0::PATH`. On a mixed system that path is often `/` while a v1 hierarchy holds the job, so every line is a candidate.
pub(crate) fn paths(text: &[u8]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for line in text.split(|b| *b == b'\n') {
        let mut parts = line.splitn(3, |b| *b == b':');
        let (Some(id), Some(_), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let path = String::from_utf8_lossy(path).into_owned();
        if !path.starts_with('/') || path == "/" || out.contains(&path) {
            continue;
        }
        if id == b"0" {
            out.insert(0, path);
        } else {
            out.push(path);
        }
    }
    out
}

/// The part of a cgroup path that names one job: everything up to the job's own component.
///
/// Slurm's job, a Kubernetes pod, a container's scope, a `systemd-run` unit. Nothing else: not sessions, user managers or services.
pub(crate) fn job(path: &str) -> Option<&str> {
    let mut end = 0;
    let mut above = "";
    for part in path.split('/') {
        let at = end;
        end += part.len() + usize::from(at + part.len() < path.len());
        if names_a_job(above, part) {
            return Some(path[..at + part.len()].trim_end_matches('/'));
        }
        above = part;
    }
    None
}

fn names_a_job(above: &str, part: &str) -> bool {
    let numbered = |prefix: &str| {
        part.strip_prefix(prefix)
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    if numbered("job_") {
        return true;
    }
    // kubepods-burstable-pod<uid>.slice (systemd driver), /kubepods/burstable/pod<uid> (cgroupfs driver).
    if part.starts_with("kubepods") && part.ends_with(".slice") && part.contains("-pod") {
        return true;
    }
    if part.strip_prefix("pod").is_some_and(is_uid)
        && matches!(
            above,
            "kubepods" | "burstable" | "besteffort" | "guaranteed"
        )
    {
        return true;
    }
    if let Some(name) = part.strip_suffix(".scope") {
        let container = [
            "docker-",
            "crio-",
            "cri-containerd-",
            "containerd-",
            "libpod-",
        ]
        .iter()
        .any(|p| name.strip_prefix(p).is_some_and(is_container_id));
        return container || is_transient(name);
    }
    if let Some(name) = part.strip_suffix(".service") {
        return is_transient(name);
    }
    matches!(
        above,
        "docker" | "libpod" | "libpod_parent" | "containerd" | "crio"
    ) && is_container_id(part)
}

/// 64 hex digits in practice. `libpod-conmon-...` (the monitor, not the container) does not fit.
fn is_container_id(text: &str) -> bool {
    (12..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_uid(text: &str) -> bool {
    text.len() >= 32
        && text
            .bytes()
            .all(|b| b.is_ascii_hexdigit() || b == b'-' || b == b'_')
}

/// The names that systemd-run makes up: `run-r<hex>`, `run-u<n>`, `run-p<pid>-i<n>`, `run-<pid>`.
fn is_transient(name: &str) -> bool {
    name.strip_prefix("run-").is_some_and(|rest| {
        let rest = rest.strip_prefix(['r', 'u', 'p']).unwrap_or(rest);
        !rest.is_empty()
            && rest
                .bytes()
                .all(|b| b.is_ascii_hexdigit() || b == b'-' || b == b'i')
    })
}

/// True when `path` is `group` or below it.
pub(crate) fn within(path: &str, group: &str) -> bool {
    path.strip_prefix(group)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether any process is left in a cgroup, in whichever hierarchy it is found. `None`: found in none.
pub(crate) fn populated(root: &Path, path: &str) -> Option<bool> {
    let below = path.trim_start_matches('/');
    let direct = root.join(below);
    let mut places: Vec<PathBuf> = vec![direct];
    if let Ok(dirs) = std::fs::read_dir(root) {
        places.extend(dirs.flatten().take(32).map(|d| d.path().join(below)));
    }
    let mut found = None;
    for place in places {
        let here = match std::fs::read_to_string(place.join("cgroup.events")) {
            Ok(events) => events.lines().any(|l| l == "populated 1"),
            Err(_) if place.join("cgroup.procs").exists() => v1_populated(&place, 0),
            Err(_) => continue,
        };
        found = Some(found.unwrap_or(false) || here);
    }
    found
}

/// A v1 hierarchy has no `populated`: a job's steps are directories below it.
fn v1_populated(dir: &Path, depth: u8) -> bool {
    if std::fs::read(dir.join("cgroup.procs")).is_ok_and(|p| !p.is_empty()) {
        return true;
    }
    let Ok(dirs) = std::fs::read_dir(dir) else {
        return false;
    };
    // Deeper or wider than any scheduler makes them: assume that it lives.
    depth > 8
        || dirs
            .flatten()
            .filter(|d| d.file_type().is_ok_and(|t| t.is_dir()))
            .any(|d| v1_populated(&d.path(), depth + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "8a9f3c1be0d84d7fa1b2c3d4e5f60718293a4b5c6d7e8f901a2b3c4d5e6f7081";

    #[test]
    fn a_job_is_found_wherever_its_scheduler_put_it() {
        let slurm = "/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0";
        assert_eq!(job(slurm), Some("/system.slice/slurmstepd.scope/job_4711"));
        assert_eq!(
            job("/slurm/uid_1000/job_12/step_batch"),
            Some("/slurm/uid_1000/job_12")
        );
        let pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0c9a_1.slice";
        assert_eq!(job(&format!("{pod}/cri-containerd-{ID}.scope")), Some(pod));
        let pod = "/kubepods/besteffort/pod0c9a1111-2222-3333-4444-555566667777";
        assert_eq!(job(&format!("{pod}/{ID}")), Some(pod));
        for one in [
            format!("/system.slice/docker-{ID}.scope"),
            format!("/docker/{ID}"),
            format!("/machine.slice/libpod-{ID}.scope"),
            "/user.slice/user-1000.slice/user@1000.service/app.slice/run-r3f5a9c.scope".to_owned(),
            "/system.slice/run-u17.service".to_owned(),
            "/system.slice/run-p411-i412.scope".to_owned(),
        ] {
            assert_eq!(job(&one), Some(one.as_str()));
            assert_eq!(job(&format!("{one}/inner")), Some(one.as_str()));
        }
    }

    #[test]
    fn logins_managers_and_daemons_are_nobodys_job() {
        for path in [
            "/",
            "/init.scope",
            "/user.slice/user-1000.slice/session-3.scope",
            "/user.slice/user-1000.slice/user@1000.service/init.scope",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Terminal.slice/vte-spawn-1.scope",
            "/system.slice/cron.service",
            "/system.slice/ssh.service",
            "/system.slice/docker.service",
            "/system.slice/containerd.service",
            "/system.slice/slurmd.service",
            "/system.slice/train.service",
            "/machine.slice/libpod-conmon-8a9f3c1be0d8.scope",
            "/system.slice/runner.service",
            "/kubepods.slice/kubepods-burstable.slice",
            "/jobs/job_",
            "/jobs/job_x1",
        ] {
            assert_eq!(job(path), None, "{path}");
        }
    }

    #[test]
    fn a_mixed_system_keeps_its_job_in_a_v1_hierarchy() {
        let text = b"9:name=systemd:/\n4:memory:/slurm/uid_0/job_7/step_0\n1:cpu:/\n0::/\n";
        assert_eq!(paths(text), ["/slurm/uid_0/job_7/step_0"]);
        let both = b"4:memory:/b\n0::/a\n3:cpu:/b\nrubbish\n";
        assert_eq!(paths(both), ["/a", "/b"]);
        assert!(paths(b"").is_empty());
    }

    #[test]
    fn a_cgroup_is_not_within_one_that_only_begins_like_it() {
        assert!(within("/a/b", "/a/b") && within("/a/b/c", "/a/b"));
        assert!(!within("/a/bc", "/a/b") && !within("/a", "/a/b"));
    }

    #[test]
    fn an_empty_cgroup_is_told_from_a_peopled_and_a_missing_one() {
        let root = tempfile::tempdir().unwrap();
        let v2 = root.path().join("x/job_1");
        std::fs::create_dir_all(&v2).unwrap();
        std::fs::write(v2.join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        assert_eq!(populated(root.path(), "/x/job_1"), Some(true));
        std::fs::write(v2.join("cgroup.events"), "populated 0\nfrozen 0\n").unwrap();
        assert_eq!(populated(root.path(), "/x/job_1"), Some(false));
        assert_eq!(populated(root.path(), "/x/job_2"), None);
        let v1 = root.path().join("memory/y/job_3/step_0");
        std::fs::create_dir_all(&v1).unwrap();
        std::fs::write(v1.parent().unwrap().join("cgroup.procs"), "").unwrap();
        assert_eq!(populated(root.path(), "/y/job_3"), Some(false));
        std::fs::write(v1.join("cgroup.procs"), "17\n").unwrap();
        assert_eq!(populated(root.path(), "/y/job_3"), Some(true));
    }

    proptest::proptest! {
        #[test]
        fn no_cgroup_line_makes_it_panic(bytes: Vec<u8>, path in "[/a-z0-9_.-]{0,60}") {
            paths(&bytes);
            if let Some(found) = job(&path) {
                proptest::prop_assert!(within(&path, found));
            }
        }
    }
}

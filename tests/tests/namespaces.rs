//! Processes in namespaces of their own, and with a root inside the mount, as containers have. Not the rights that they have or lack:
//! `scripts/posix namespaces` compares those.

use std::fs;

use atlas_tests::job::User;
use atlas_tests::lineage::names;
use atlas_tests::{Lab, Mount, Options, both};
use serde_json::Value;

/// A root for a container, with a shell in it, its script and its data.
const ROOT: &str = "mkdir -p root/bin root/data root/old; cp /bin/busybox root/bin/busybox; \
    for p in sh cat sleep sort; do ln -s busybox root/bin/$p; done; echo in > root/data/in; mv job.sh root/data/job.sh";

/// What its shell writes itself, what a command of it writes, and what is redirected; then it waits, and can be looked at.
const JOB: &[u8] = b"read -r x < /data/in; echo $x > /data/own; sort -o /data/sorted /data/in; cat < /data/in > /data/given
: > /data/done; until [ -e /data/go ]; do sleep 0.05; done
";

const CHROOT: &str = "exec chroot root /bin/sh /data/job.sh";

/// Nothing of the host is left in sight, as container runtimes do it.
const CONTAINER: &str = "exec unshare --pid --fork --mount --propagation private --ipc --uts --cgroup sh -euc \
    'mount --bind root root; cd root; pivot_root . old; exec /bin/sh /data/job.sh'";

fn own_requests(mount: &Mount<'_>) -> String {
    let metrics = fs::read_to_string(mount.path(".atlas/metrics")).unwrap();
    let line = metrics
        .lines()
        .find(|l| l.starts_with("atlas_self_requests_total "));
    line.expect("counted").to_owned()
}

/// Who wrote a version, as its manifest says it.
fn origin(mount: &Mount<'_>, path: &str) -> Value {
    let shown = mount.ctl(&["show", "--json", path]).expect(0).json();
    shown["versions"][0]["statement"]["origin"]["Run"].clone()
}

both! {
    /// Whoever looks at such a process' program from its root goes through the mount from the first step on: the daemon asked itself, was
    /// refused, and learned nothing.
    fn a_process_whose_root_lies_on_the_mount_is_looked_at_behind_it(io) {
        for enter in [CHROOT, CONTAINER] {
            let lab = Lab::new();
            lab.put("job.sh", JOB);
            let mount = lab.mount(Options::new(io).flag("-o").flag("suid,dev"));
            mount.sh(ROOT).by(User::Root).ok();
            let job = mount.sh(enter).by(User::Root).start();
            atlas_tests::wait::until("it has written", || mount.path("root/data/done").exists().then_some(()));
            mount.sync();
            let own = origin(&mount, "root/data/own");
            assert_eq!(own["program"], "busybox", "{enter}: {own}");
            assert_eq!(origin(&mount, "root/data/sorted")["program"], "busybox", "{enter}");
            mount.sh(": > root/data/go").by(User::Root).ok();
            job.wait().expect(0);
            let digest = mount.attribute("root/bin/busybox", "user.atlas.digest");
            assert_eq!(own["program_digest"].as_str(), digest.as_deref(), "{enter}: {own}");
            for name in ["own", "sorted", "given"] {
                let path = format!("root/data/{name}");
                let lineage = mount.lineage(&path);
                assert!(lineage.inputs().contains("root/data/in"), "{enter}: {}", lineage.json);
                assert!(!lineage.inputs().contains("root/data/job.sh"), "its script is code: {}", lineage.json);
                mount.verify(&path, 0);
            }
            assert_eq!(own_requests(&mount), "atlas_self_requests_total 0", "{enter}");
        }
    }

    /// Inside it is root, or number one; for the mount it is who and what the host knows.
    fn a_process_in_namespaces_of_its_own_is_one_of_its_run_under_the_hosts_numbers(io) {
        let lab = Lab::new();
        lab.put("in", b"in\n");
        let mount = lab.mount(Options::new(io));
        // The /proc that it sees is the host's: there it has the number that the host has for it.
        let inner = "read -r host rest < /proc/self/stat; echo $host > host; echo $$ > pid; id -u > uid; sort -o out in; tr i I < in > redirected; :";
        mount.job(&["unshare", "--user", "--map-root-user", "--pid", "--fork", "sh", "-euc", inner]).ok();
        mount.sync();
        let text = |name: &str| fs::read_to_string(mount.path(name)).unwrap().trim().to_owned();
        assert_eq!((text("pid"), text("uid")), ("1".to_owned(), "0".to_owned()));
        let runs = ["out", "redirected", "pid"].map(|name| mount.lineage(name).root().run.clone().unwrap());
        assert!(runs.iter().all(|r| *r == runs[0]), "one container, one run: {runs:?}");
        for name in ["out", "redirected"] {
            assert_eq!(mount.lineage(name).inputs(), names(["in"]));
            mount.verify(name, 0);
        }
        let shown = mount.ctl(&["show", "--json", &runs[0]]).expect(0).json();
        let run = &shown["run"];
        assert_eq!(run["uid"].as_u64(), Some(u64::from(atlas_tests::mount::NOBODY)), "{shown}");
        let pids: Vec<_> = run["processes"].as_array().unwrap().iter().map(|p| p["pid"].to_string()).collect();
        assert!(pids.contains(&text("host")), "{pids:?} and not {}", text("host"));
        assert!(!pids.contains(&text("pid")), "{pids:?}");
        assert_eq!(own_requests(&mount), "atlas_self_requests_total 0");
    }

    /// A container's image on the mount: the kernel stacks no more than two filesystems, and what the daemon claims of them for itself is
    /// refused to whoever wants to lay another above.
    fn an_overlay_above_the_mount_is_allowed_and_what_it_reads_is_known(io) {
        let lab = Lab::new();
        lab.put("image/data", b"b\na\n");
        lab.put("image/changed", b"old\n");
        let mount = lab.mount(Options::new(io));
        let upper = lab.scratch().join("upper");
        let container = format!(
            "mkdir {0}; mount -t tmpfs upper {0}; mkdir {0}/up {0}/work {0}/all; \
             mount -t overlay all -o lowerdir=image,upperdir={0}/up,workdir={0}/work {0}/all; \
             sort -o sorted {0}/all/data; echo new >> {0}/all/changed; cat {0}/all/changed",
            upper.to_str().unwrap()
        );
        let said = mount.job(&["unshare", "--mount", "--propagation", "private", "sh", "-euc", &container]).by(User::Root).ok();
        assert_eq!(said.stdout, "old\nnew\n");
        assert_eq!(fs::read(mount.path("image/changed")).unwrap(), b"old\n", "copied up, not written through");
        mount.sync();
        assert_eq!(fs::read(mount.path("sorted")).unwrap(), b"a\nb\n");
        assert_eq!(mount.lineage("sorted").inputs(), names(["image/data"]));
        mount.verify("sorted", 0);
    }
}

//! Real situations as snapshots: who stands above whom, and which run that makes.

use atlas_manifests::id::InstanceId;

use super::*;
use crate::vfs::observer::Tgid;

const ID: &str = "8a9f3c1be0d84d7fa1b2c3d4e5f60718293a4b5c6d7e8f901a2b3c4d5e6f7081";

fn key(pid: i32) -> ProcessKey {
    ProcessKey {
        tgid: Tgid(pid),
        start: u64::from(pid.unsigned_abs()) + 1000,
    }
}

/// `pid:exe` or `pid:exe:comm`, from the caller up; the name is the executable's unless given.
fn chain(text: &str) -> Snapshot {
    let chain = text
        .split(" < ")
        .map(|one| {
            let mut parts = one.splitn(3, ':');
            let pid: i32 = parts.next().unwrap().parse().unwrap();
            let exe = parts.next().unwrap().to_owned();
            let base = exe.rsplit('/').next().unwrap();
            let comm = parts.next().unwrap_or(base).to_owned();
            Ancestor {
                key: key(pid),
                comm: comm.into_bytes(),
                exe: (exe != "?").then(|| exe.into_bytes()),
            }
        })
        .collect();
    Snapshot {
        chain,
        cgroups: Vec::new(),
    }
}

fn tree(text: &str) -> i32 {
    let d = decide(&chain(text), &[], &[], RunsMode::Auto).unwrap();
    assert_eq!(d.source, Source::Tree(d.root));
    d.root.tgid.0
}

const LOGIN: &str = "20:/usr/bin/bash < 19:/usr/sbin/sshd:sshd: me@pts/0 < 5:/usr/sbin/sshd < 1:/usr/lib/systemd/systemd";

#[test]
fn every_rank_and_worker_of_a_training_job_has_the_root_of_the_job() {
    // torchrun gives each rank a session of its own, which changes nothing above it.
    let launcher = format!("100:/usr/bin/python3.11:torchrun < {LOGIN}");
    for below in [
        String::new(),
        "110:/usr/bin/python3.11:pt_main_thread < ".to_owned(),
        "120:/usr/bin/python3.11:pt_data_worker < 110:/usr/bin/python3.11 < ".to_owned(),
        // spawn: through a resource tracker's sibling; forkserver: workers hang below the server.
        "131:/usr/bin/python3.11 < 130:/usr/bin/python3.11 < 110:/usr/bin/python3.11 < ".to_owned(),
        "140:/usr/bin/dash < 110:/usr/bin/python3.11 < ".to_owned(),
    ] {
        assert_eq!(tree(&format!("{below}{launcher}")), 100, "{below}");
    }
}

#[test]
fn a_command_is_its_own_root_whatever_opened_its_shell() {
    for above in [
        LOGIN,
        "20:/usr/bin/zsh < 15:/usr/bin/tmux:tmux: server < 1:/sbin/init",
        "20:/usr/bin/fish < 15:/usr/bin/screen < 1:/sbin/init",
        "20:/bin/sh < 12:/usr/sbin/cron < 11:/usr/sbin/cron < 1:/sbin/init",
        "20:/bin/bash < 19:/usr/bin/sudo < 18:/bin/bash < 17:/usr/lib/openssh/sshd-session < 1:/sbin/init",
        "20:/bin/bash < 19:/usr/bin/su < 18:/bin/bash < 17:/bin/login < 1:/sbin/init",
        "20:/bin/bash < 19:/home/u/.vscode-server/bin/abc/node < 18:/home/u/.vscode-server/bin/abc/node < 1:/sbin/init",
        "20:/bin/sh < 19:/usr/bin/containerd-shim-runc-v2 < 1:/sbin/init",
        "20:/bin/sh < 19:/usr/bin/conmon < 1:/sbin/init",
        "20:/usr/bin/bash < 1:/opt/agent",
        "20:/usr/bin/bash < 19:?:sshd < 1:?:systemd",
        "20:/usr/bin/bash < 19:/usr/bin/python3:supervisord < 1:/sbin/init",
        "20:/usr/bin/bash < 19:/usr/bin/python3:jupyter-lab < 1:/sbin/init",
        "1:/sbin/init",
    ] {
        assert_eq!(
            tree(&format!("100:/usr/bin/python3.11 < {above}")),
            100,
            "{above}"
        );
        let sudo = format!("100:/usr/bin/python3.11 < 99:/usr/bin/sudo < {above}");
        assert_eq!(tree(&sudo), 100, "sudo in {above}");
        let script = format!("100:/usr/bin/python3.11 < 99:/usr/bin/bash:train.sh < {above}");
        assert_eq!(tree(&script), 100, "a script in {above}");
    }
}

#[test]
fn a_program_that_starts_others_is_the_root_of_them_all() {
    assert_eq!(
        tree(&format!(
            "9:/usr/bin/cc1 < 8:/usr/bin/gcc < 7:/bin/sh < 6:/usr/bin/make < {LOGIN}"
        )),
        6
    );
    assert_eq!(
        tree(&format!(
            "9:/usr/bin/gzip < 8:/usr/bin/xargs < 7:/usr/bin/bash < {LOGIN}"
        )),
        8
    );
    assert_eq!(
        tree(&format!(
            "9:/usr/bin/python3 < 8:/usr/bin/sudo < 7:/usr/bin/make < {LOGIN}"
        )),
        7
    );
    assert_eq!(
        tree(&format!("9:/usr/bin/python3 < 8:/usr/bin/time < {LOGIN}")),
        8
    );
}

#[test]
fn a_notebook_kernel_is_a_run_and_its_server_is_not() {
    let server = "30:/usr/bin/python3:jupyter-noteboo < 1:/sbin/init";
    assert_eq!(
        tree(&format!("40:/usr/bin/python3:ipykernel_launc < {server}")),
        40
    );
    assert_eq!(
        tree(&format!(
            "41:/usr/bin/sort < 40:/usr/bin/python3 < {server}"
        )),
        40
    );
}

#[test]
fn a_shell_that_opens_a_file_itself_is_its_own_root() {
    // The child that bash forked for `gzip > out.gz`, before it executes gzip.
    let d = decide(
        &chain(&format!("50:/usr/bin/bash < {LOGIN}")),
        &[],
        &[],
        RunsMode::Auto,
    )
    .unwrap();
    assert_eq!((d.root, d.shells), (key(50), vec![key(20)]));
    assert_eq!(tree(LOGIN), 20);
    // A nested shell is not the root of the one below it.
    assert_eq!(
        tree(&format!("51:/usr/bin/bash < 50:/usr/bin/bash < {LOGIN}")),
        51
    );
}

#[test]
fn pipes_are_sought_at_the_shells_between_the_root_and_the_session() {
    let d = |t: &str| decide(&chain(t), &[], &[], RunsMode::Auto).unwrap().shells;
    assert_eq!(
        d(&format!("60:/usr/bin/sort < 50:/usr/bin/bash < {LOGIN}")),
        [key(50), key(20)]
    );
    assert_eq!(
        d(&format!("60:/usr/bin/tee < 55:/usr/bin/sudo < {LOGIN}")),
        [key(20)]
    );
    assert!(d("60:/usr/bin/python3 < 1:/sbin/init").is_empty());
    assert!(
        d(&format!(
            "60:/usr/bin/cc < 59:/bin/sh < 58:/usr/bin/make < {LOGIN}"
        )) == [key(20)]
    );
}

#[test]
fn a_process_name_chosen_by_the_job_does_not_make_it_a_manager() {
    assert_eq!(
        tree(&format!(
            "61:/usr/bin/cat < 60:/usr/bin/python3:sshd < {LOGIN}"
        )),
        60
    );
}

#[test]
fn schedulers_and_containers_make_one_run_of_all_that_is_in_their_cgroup() {
    let slurm = "/system.slice/slurmstepd.scope/job_77";
    let mut rank = chain("300:/usr/bin/python3 < 299:/usr/bin/slurmstepd < 1:/sbin/init");
    rank.cgroups = vec![format!("{slurm}/step_0/user/task_1")];
    let mut batch = chain(
        "200:/usr/bin/python3 < 199:/bin/bash:slurm_script < 198:/usr/bin/slurmstepd < 1:/sbin/init",
    );
    batch.cgroups = vec![format!("{slurm}/step_batch/user/task_0")];
    let (a, b) = (
        decide(&rank, &[], &[], RunsMode::Auto).unwrap(),
        decide(&batch, &[], &[], RunsMode::Auto).unwrap(),
    );
    assert_eq!(
        (&a.source, &b.source),
        (
            &Source::Job(slurm.to_owned()),
            &Source::Job(slurm.to_owned())
        )
    );
    assert_eq!(
        (a.root, b.root),
        (key(300), key(199)),
        "two trees of one run"
    );

    let mut docker = chain(
        "400:/usr/bin/python3 < 399:/bin/sh < 398:/usr/bin/containerd-shim-runc-v2 < 1:/sbin/init",
    );
    docker.cgroups = vec![format!("/system.slice/docker-{ID}.scope")];
    assert_eq!(
        decide(&docker, &[], &[], RunsMode::Auto).unwrap().source,
        Source::Job(format!("/system.slice/docker-{ID}.scope"))
    );
    assert_eq!(
        decide(&docker, &[], &[], RunsMode::Tree).unwrap().source,
        Source::Tree(key(400))
    );
    // The daemon lives in that very container: so does everybody else.
    assert_eq!(
        decide(&docker, &[], &docker.cgroups, RunsMode::Auto)
            .unwrap()
            .source,
        Source::Tree(key(400))
    );
}

#[test]
fn login_sessions_are_not_jobs() {
    let mut s = chain(&format!("100:/usr/bin/python3 < {LOGIN}"));
    s.cgroups = vec!["/user.slice/user-1000.slice/session-3.scope".to_owned()];
    assert_eq!(
        decide(&s, &[], &[], RunsMode::Auto).unwrap().source,
        Source::Tree(key(100))
    );
}

fn declared(n: u64, by: i32, cgroup: Option<&str>) -> Declaration {
    let instance = InstanceId([7; 16]);
    Declaration {
        run: RunId { instance, n },
        by: key(by),
        cgroup: cgroup.map(str::to_owned),
    }
}

#[test]
fn a_declared_run_has_all_descendants_of_its_declarer_also_orphans_and_comes_before_any_cgroup() {
    let all = [declared(1, 70, None)];
    let run = Source::Declared(all[0].run);
    for below in [
        "",
        "90:/usr/bin/python3 < ",
        "91:/usr/bin/gzip < 90:/usr/bin/bash < ",
    ] {
        let mut s = chain(&format!("{below}70:/usr/bin/atlasctl < {LOGIN}"));
        s.cgroups = vec![format!("/docker/{ID}")];
        assert_eq!(
            decide(&s, &all, &[], RunsMode::Auto).unwrap().source,
            run,
            "{below}"
        );
        assert_eq!(
            decide(&s, &all, &[], RunsMode::Tree).unwrap().source,
            run,
            "{below}"
        );
    }
    // A reused pid is not the declarer.
    let mut other = all.clone();
    other[0].by.start += 1;
    let s = chain(&format!(
        "90:/usr/bin/python3 < 70:/usr/bin/atlasctl < {LOGIN}"
    ));
    assert_eq!(
        decide(&s, &other, &[], RunsMode::Auto).unwrap().source,
        Source::Tree(key(90))
    );
}

#[test]
fn the_steps_of_a_declared_script_are_trees_and_its_declarer_is_not_their_common_ancestor() {
    let all = [declared(1, 70, None)];
    let root = |t: &str| decide(&chain(t), &all, &[], RunsMode::Auto).unwrap().root;
    let script = format!("80:/usr/bin/bash < 70:/opt/anything < {LOGIN}");
    assert_eq!(root(&format!("90:/usr/bin/python3 < {script}")), key(90));
    assert_eq!(
        root(&format!(
            "92:/usr/bin/python3 < 91:/usr/bin/python3 < {script}"
        )),
        key(91)
    );
    assert_eq!(root(&script), key(80));
}

#[test]
fn the_nearest_declaration_wins_and_a_declared_cgroup_finds_those_without_ancestors() {
    let all = [
        declared(1, 70, Some("/atlas/a")),
        declared(2, 85, Some("/atlas/a/b")),
    ];
    let s = chain(&format!(
        "90:/usr/bin/python3 < 85:/usr/bin/atlasctl < 70:/usr/bin/atlasctl < {LOGIN}"
    ));
    assert_eq!(
        decide(&s, &all, &[], RunsMode::Auto).unwrap().source,
        Source::Declared(all[1].run)
    );
    let mut orphan = chain("90:/usr/bin/python3 < 1:/sbin/init");
    orphan.cgroups = vec!["/atlas/a/b/c".to_owned()];
    assert_eq!(
        decide(&orphan, &all, &[], RunsMode::Auto).unwrap().source,
        Source::Declared(all[1].run)
    );
    orphan.cgroups = vec!["/atlas/ab".to_owned()];
    assert_eq!(
        decide(&orphan, &all, &[], RunsMode::Auto).unwrap().source,
        Source::Tree(key(90))
    );
}

#[test]
fn an_empty_snapshot_decides_nothing() {
    assert_eq!(decide(&Snapshot::default(), &[], &[], RunsMode::Auto), None);
}

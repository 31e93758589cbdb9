//! `atlasctl run` and the runs that Atlas finds by itself: what belongs together, how it ended, and what must not be stored.

use std::fs;

use atlas_tests::ctl::Answer;
use atlas_tests::lineage::names;
use atlas_tests::{Io, Lab, Mount, Options, both, files, sandbox};

fn run(mount: &Mount<'_>, args: &[&str]) -> Answer {
    mount.ctl(&[&["run"], args].concat())
}

both! {
    /// The child's code is the code, and the record is kept for failures too.
    fn a_declared_run_ends_with_the_code_of_its_command_and_is_recorded(io) {
        let lab = Lab::new();
        lab.put("in", b"i\n");
        let mount = lab.mount(Options::new(io));
        run(&mount, &["--name", "good", "--meta", "seed=1", "--", "sh", "-c", "cat in > out"]).expect(0);
        run(&mount, &["--name", "bad", "--", "sh", "-c", "echo half > partial; exit 3"]).expect(3);
        run(&mount, &["--name", "shot", "--", "sh", "-c", "kill -TERM $$"]).expect(143);
        mount.sync();
        assert_eq!(mount.lineage("out").inputs(), names(["in"]));
        let all = mount.ctl(&["runs", "--json"]).expect(0).stdout;
        let failed = mount.ctl(&["runs", "--failed", "--json"]).expect(0).stdout;
        assert!(["good", "bad", "shot"].iter().all(|n| all.contains(n)), "{all}");
        assert!(failed.contains("bad") && failed.contains("shot") && !failed.contains("good"), "{failed}");
        let shown = mount.ctl(&["show", "good"]).expect(0).stdout;
        assert!(shown.contains("seed"), "{shown}");
        let shown = mount.ctl(&["show", "--json", "bad"]).expect(0).stdout;
        assert!(shown.contains("\"exit\":3") || shown.contains("\"exit\": 3"), "{shown}");
    }

    /// Two commands of one declared run are one run, although they share no ancestor but the wrapper.
    fn everything_below_a_declared_run_belongs_to_it(io) {
        let lab = Lab::new();
        lab.put("in", b"i\n");
        let mount = lab.mount(Options::new(io));
        run(&mount, &["--name", "both", "--", "sh", "-c", "sh -c 'cat in > /dev/null'; setsid sh -c 'echo made > out'; sleep 0.2"]).expect(0);
        mount.sync();
        let wide = atlas_tests::Lineage::of(mount.ctl(&["lineage", "--json", "--min-grade", "run", "out"]).expect(0).json());
        assert_eq!(wide.inputs(), names(["in"]), "{}", wide.json);
    }
}

/// What a declared command leaves running is still its: also where no cgroup may be made, and after `atlasctl run` has ended.
#[test]
fn what_a_declared_command_leaves_in_the_background_belongs_to_its_run() {
    let lab = Lab::new();
    lab.put("in", b"i\n");
    let mount = lab.mount(Options::new(Io::Passthrough));
    let public = lab.scratch().join("atlasctl");
    fs::copy(sandbox::program("atlasctl"), &public).unwrap();
    let script =
        "(until test -e go; do sleep 0.05; done; cat in > out; : > done) > /dev/null 2>&1 & exit 0";
    mount
        .job(&[
            public.to_str().unwrap(),
            "run",
            "--name",
            "left",
            "--",
            "sh",
            "-c",
            script,
        ])
        .ok();
    mount
        .sh(": > go; until test -e done; do sleep 0.05; done")
        .ok();
    mount.sync();
    let lineage = mount.lineage("out");
    assert_eq!(lineage.inputs(), names(["in"]));
    let run = lineage.root().run.clone();
    let runs = lineage.json["runs"].as_array().unwrap();
    let named = runs.iter().find(|r| r["id"].as_str() == run.as_deref());
    assert_eq!(named.unwrap()["name"], "left", "{}", lineage.json);
}

#[test]
fn a_command_that_cannot_be_run_has_the_shells_codes() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough));
    run(&mount, &["--", "no-such-command-anywhere"]).refusal(127, "no-such-command-anywhere");
    // By a job: a descriptor of this program's own may live on in what another test starts meanwhile, and hold the mount.
    mount.sh("echo not a program > data").ok();
    run(&mount, &["--", "./data"]).refusal(126, "data");
    mount.unmount();
    let nothing = lab.ctl(&[
        "run",
        "--mount",
        lab.mountpoint().to_str().unwrap(),
        "--",
        "touch",
        "ran",
    ]);
    nothing.expect(125);
    assert!(
        !lab.scratch().join("ran").exists(),
        "nothing runs unrecorded"
    );
}

/// A secret on a command line must be nowhere in the state directory.
#[test]
fn secrets_in_arguments_and_urls_are_never_stored() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough));
    let words = ["hunter2hunter2", "s3cr3ts3cr3t", "tok3ntok3n"];
    mount
        .job(&[
            "sh",
            "-c",
            "echo x > out",
            "sh",
            "--api-token",
            words[0],
            &format!("--db-password={}", words[1]),
            &format!("https://user:{}@host/x", words[2]),
        ])
        .env("WANDB_API_KEY", "envs3cret")
        .ok();
    mount.sync();
    mount.verify("out", 0);
    let log = mount.log();
    mount.unmount();
    for file in files::find(&lab.source().join(".atlas"), "") {
        let bytes = fs::read(&file).unwrap();
        for word in words.iter().chain(&["envs3cret"]) {
            assert!(
                !bytes.windows(word.len()).any(|w| w == word.as_bytes()),
                "{word} stands in {file:?}"
            );
            assert!(!log.contains(word), "{word} stands in the log");
        }
    }
}

/// A git work tree's state belongs to the statement: which commit, and whether it was dirty.
#[test]
fn a_script_in_a_work_tree_is_recorded_with_commit_and_dirty_flag() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough));
    let git = "git -c user.name=t -c user.email=t@example.org -c init.defaultBranch=main";
    mount.sh(&format!("mkdir code; cd code; {git} init -q; echo \"open('../out', 'w').write('1')\" > train.py; {git} add .; {git} commit -qm one")).ok();
    let commit = mount
        .sh("cd code; git rev-parse HEAD")
        .ok()
        .stdout
        .trim()
        .to_owned();
    mount.sh("cd code; python train.py").ok();
    mount.sync();
    let shown = mount.ctl(&["show", "--json", "out"]).expect(0).stdout;
    assert!(shown.contains(&commit), "{shown}");
    assert!(
        shown.contains("\"dirty\":false") || shown.contains("\"dirty\": false"),
        "{shown}"
    );
    mount
        .sh("cd code; echo '# changed' >> train.py; python train.py")
        .ok();
    mount.sync();
    let shown = mount.ctl(&["show", "--json", "out"]).expect(0).stdout;
    assert!(
        shown.contains("\"dirty\":true") || shown.contains("\"dirty\": true"),
        "{shown}"
    );
}

fn bytes_below(dir: &std::path::Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|e| match e.metadata() {
        Ok(meta) if meta.is_dir() => bytes_below(&e.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// A script of many commands is one run of many processes. Each file that one of them makes costs what the first did, in the journal and in the
/// store; and after a crash, and from the store alone, all of them are known.
#[test]
fn a_file_of_a_script_with_many_commands_costs_no_more_than_one_of_a_script_with_few() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough));
    let written = || {
        let journals = fs::read_dir(lab.behind(".atlas/nodes")).unwrap().flatten();
        let journals: u64 = journals
            .map(|node| bytes_below(&node.path().join("journal")))
            .sum();
        (journals, bytes_below(&lab.behind(".atlas/store/private")))
    };
    lab.put("in", b"in");
    let mut costs = Vec::new();
    for n in [50, 350] {
        let before = written();
        let script = format!("for i in $(seq {n}); do /bin/cp in {n}.$i; done");
        run(&mount, &["--", "sh", "-c", &script]).expect(0);
        mount.sync();
        let after = written();
        costs.push((after.0 - before.0, after.1 - before.1));
    }
    let (few, many) = (costs[0], costs[1]);
    for (what, few, many) in [
        ("journal", few.0, many.0),
        ("private records", few.1, many.1),
    ] {
        assert!(few > 0, "{what}");
        assert!(
            many < few * 9,
            "{what}: {few} bytes for 50 files, {many} for 350"
        );
    }
    let of = mount.lineage("350.350").root().run.clone().unwrap();
    let processes = |mount: &Mount<'_>| {
        let shown = mount.ctl(&["show", "--json", &of]).expect(0).json();
        shown["run"]["processes"].as_array().unwrap().len()
    };
    let known = processes(&mount);
    assert!(known >= 350, "{known}");
    mount.crash();
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.sync();
    assert_eq!(processes(&mount), known, "after a crash");
    drop(mount);
    let source = lab.source();
    let source = source.to_str().unwrap();
    lab.ctl(&["doctor", "--rebuild", source]).expect(0);
    let state = lab.source().join(".atlas");
    let shown = lab
        .ctl(&["--state", state.to_str().unwrap(), "show", "--json", &of])
        .expect(0)
        .json();
    let rebuilt = shown["run"]["processes"].as_array().unwrap().len();
    assert_eq!(rebuilt, known, "from the store");
}

/// A run that another user started is not shown with what he could not read.
#[test]
fn an_ordinary_user_sees_only_what_he_could_read() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount
        .sh("mkdir -m 700 vault; echo x > vault/sesame; cat vault/sesame > open; chmod 644 open")
        .by(atlas_tests::User::Root)
        .ok();
    mount.sync();
    let public = lab.scratch().join("atlasctl");
    fs::copy(sandbox::program("atlasctl"), &public).unwrap();
    let seen = mount
        .job(&[public.to_str().unwrap(), "lineage", "--json", "open"])
        .run();
    assert!(!seen.stdout.contains("sesame"), "{}", seen.stdout);
    assert!(
        mount
            .ctl(&["lineage", "--json", "open"])
            .expect(0)
            .stdout
            .contains("sesame"),
        "root may know"
    );
}

//! Processes that do random operations on the same few names at once, each as fast as it can. Nobody can say what each operation should
//! have answered; but afterwards the tree is the backing one, and what is sealed is what is there. See `model` for one after the other.
//! `ATLAS_MODEL_SEED` and `ATLAS_CROWD_STEPS` make it another or a longer one.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use atlas_tests::model::chance::Chance;
use atlas_tests::model::crew::Crew;
use atlas_tests::model::trees::{names, tree};
use atlas_tests::{Lab, Options, User, both, files};

const WORKER: &str = env!("CARGO_BIN_EXE_atlas-test-worker");
/// Of each process.
const STEPS: u64 = 2500;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

both! {
    /// Nothing hangs, nothing is lost, and no name is said to lead to what it does not lead to.
    fn what_many_processes_leave_is_the_backing_tree_and_is_sealed_as_it_is(io) {
        let seed = number("ATLAS_MODEL_SEED", 1);
        #[expect(clippy::print_stderr, reason = "shown with the failed test")]
        {
            eprintln!("ATLAS_MODEL_SEED={seed}");
        }
        let steps = number("ATLAS_CROWD_STEPS", STEPS);
        let lab = Lab::new();
        let mut given = BTreeSet::new();
        for (name, len) in [("a", 5000), ("b", 70_000), ("c", 1)] {
            given.insert(files::sha256sum(&lab.put(&format!("w/{name}"), &files::noise(seed + len, len as usize))));
        }
        let mount = lab.mount(Options::new(io));
        let through = mount.path("w");
        let runs = [(User::Nobody, 2), (User::Nobody, 2), (User::Root, 2)];
        let mut crew = Crew::new(Path::new(WORKER), &lab.scratch(), std::slice::from_ref(&through), &runs);
        std::thread::scope(|s| {
            for (n, worker) in crew.workers.iter_mut().enumerate() {
                s.spawn(move || {
                    let mut chance = Chance::new(seed + 1000 * n as u64);
                    for _ in 0..steps {
                        let (used, free) = worker.slots();
                        // Not through maps: a file that another process cuts meanwhile kills who maps it.
                        let line = chance.operation(&used, free, false);
                        worker.ask(&line);
                    }
                    for slot in worker.slots().0 {
                        worker.ask(&format!("close {slot}"));
                    }
                });
            }
        });
        crew.end();
        mount.sync();
        assert_eq!(tree(&through), tree(&lab.behind("w")), "the mount does not show what is there");
        assert_eq!(mount.status()["behind"], 0, "all of it came through the mount");
        let mut wrong = Vec::new();
        let mut sealed = 0;
        for name in names(&through) {
            let behind = lab.behind(&format!("w/{name}"));
            let meta = fs::symlink_metadata(&behind).expect("it is there");
            if !meta.is_file() || meta.size() == 0 {
                continue;
            }
            let path = format!("w/{name}");
            let sum = files::sha256sum(&behind);
            let state = mount.attribute(&path, "user.atlas.state");
            if state.as_deref() == Some("unattested") && given.contains(&sum) {
                continue;
            }
            if state.as_deref() != Some("logged") {
                wrong.push(format!("{name} is {state:?}"));
                continue;
            }
            sealed += 1;
            let verdict = mount.ctl(&["verify", &path]);
            if verdict.code != 0 {
                wrong.push(format!("verify {name}: {}\n{}", verdict.code, verdict.stdout));
            }
            let told = mount.ctl(&["lineage", "--json", "--depth", "1", &path]);
            if told.code != 0 || !told.stdout.contains(&sum) {
                wrong.push(format!("lineage {name}: {} {}", told.code, told.stdout));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(sealed > 0, "nothing is left: nothing is proven");
    }
}

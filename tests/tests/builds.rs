//! Builds, clones, copies of trees and databases: lineages of what everyday tools leave. That they work is `programs`' and `scripts/posix`'s.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use atlas_tests::lineage::names;
use atlas_tests::{Lab, Lineage, Mount, Options, both};

/// Direct inputs that the writing process opened itself.
fn own_inputs(mount: &Mount<'_>, path: &str) -> BTreeSet<String> {
    let said = mount.ctl(&["lineage", "--json", "--min-grade", "same-process", path]);
    Lineage::of(said.expect(0).json()).inputs()
}

/// Every regular file below a directory, by its path below the mount.
fn all_files(mount: &Mount<'_>, below: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![below.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(mount.path(&dir)).unwrap().map(Result::unwrap) {
            let path = format!("{dir}/{}", entry.file_name().to_str().unwrap());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                left.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    found
}

const MAKEFILE: &[u8] = b"all: prog other
prog: main.o a.o
\tcc -o $@ $^
other: other.o b.o
\tcc -o $@ $^
%.o: %.c
\tcc -MMD -c -o $@ $<
";

both! {
    /// make is one run, so everything that it read before belongs to it; what each program of it read itself is told apart.
    fn a_parallel_build_keeps_apart_what_each_of_its_programs_read(io) {
        let lab = Lab::new();
        lab.put("Makefile", MAKEFILE);
        lab.put("one.h", b"#define ONE 1\n");
        lab.put("two.h", b"#define TWO 2\n");
        lab.put("a.c", b"#include \"one.h\"\nint a(void) { return ONE; }\n");
        lab.put("b.c", b"#include \"two.h\"\nint b(void) { return TWO; }\n");
        lab.put("main.c", b"int a(void);\nint main(void) { return a() - 1; }\n");
        lab.put("other.c", b"int b(void);\nint main(void) { return b() - 2; }\n");
        let mount = lab.mount(Options::new(io));
        mount.job(&["make", "-s", "-j2"]).ok();
        mount.sh("./prog && ./other").ok();
        mount.sync();
        // The linker reads the objects; of the other target nothing.
        assert_eq!(own_inputs(&mount, "prog"), names(["a.o", "main.o"]));
        assert_eq!(own_inputs(&mount, "other"), names(["b.o", "other.o"]));
        // The compiler says what it read in a file of its own; the assembler, who writes the object, gets it through a file elsewhere.
        assert_eq!(own_inputs(&mount, "a.d"), names(["a.c", "one.h"]));
        assert_eq!(own_inputs(&mount, "b.d"), names(["b.c", "two.h"]));
        for (object, read) in [("a.o", ["a.c", "one.h"]), ("b.o", ["b.c", "two.h"])] {
            let lineage = mount.lineage(object);
            let inputs = lineage.inputs();
            assert!(read.iter().all(|r| inputs.contains(*r)), "{object}: {}", lineage.json);
            for result in [object, "prog", "other"] {
                assert!(!inputs.contains(result), "{object} was there before {result}: {}", lineage.json);
            }
        }
        let runs: BTreeSet<_> = ["a.o", "b.o", "prog", "other"].iter().map(|f| mount.lineage(f).root().run.clone()).collect();
        assert_eq!(runs.len(), 1, "{runs:?}");
        mount.ctl(&["verify", "prog", "other", "a.o", "b.o"]).expect(0);
    }

    /// A temporary name, then the final one; sealed under it, whoever of rsync's three processes wrote it.
    fn a_tree_that_rsync_copied_comes_file_by_file_from_the_tree_that_it_read(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        let out = lab.scratch().join("out");
        let out = out.to_str().unwrap();
        mount.sh("mkdir -p src/d; for i in 1 2; do seq $i 4000 > src/$i; done; seq 9 > src/d/3; ln src/1 src/d/hard; setfattr -n user.n -v v src/1").ok();
        mount.sh("rsync -aXAH src/ dst").ok();
        mount.sh(&format!("rsync -aXAH src/ {out}; rsync -aXAH {out}/ back")).ok();
        mount.sync();
        for name in ["1", "2", "d/3", "d/hard"] {
            let here = |dir: &str| fs::read(mount.path(dir).join(name)).unwrap();
            assert_eq!(here("dst"), here("src"), "{name}");
            assert_eq!(here("back"), here("src"), "{name}");
            assert_eq!(fs::read(Path::new(out).join(name)).unwrap(), here("src"), "{name}");
            for dir in ["dst", "back"] {
                let path = format!("{dir}/{name}");
                assert_eq!(mount.attribute(&path, "user.atlas.state").as_deref(), Some("logged"), "{path}");
                mount.verify(&path, 0);
            }
        }
        for name in ["2", "d/3"] {
            let lineage = mount.lineage(&format!("dst/{name}"));
            let (original, copy) = (format!("src/{name}"), lineage.root());
            assert_eq!(copy.path, format!("dst/{name}"), "no temporary name: {}", lineage.json);
            assert_eq!(lineage.edge(&original).grade, "process-tree", "one process reads, another writes: {}", lineage.json);
            assert_eq!(lineage.node(&original).1.digest, copy.digest);
            let came_from_outside = mount.lineage(&format!("back/{name}"));
            assert!(came_from_outside.inputs().iter().all(|i| i.starts_with("back/")), "{}", came_from_outside.json);
            assert_eq!(came_from_outside.root().digest, copy.digest);
        }
    }

    /// A clone writes files of a dozen kinds, by links, maps and renames: none may be left in a state that only a writer explains.
    fn every_file_of_a_git_clone_reaches_a_state(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        let git = "git -c user.name=t -c user.email=t@example.org -c init.defaultBranch=main -c safe.directory='*' -c gc.auto=0";
        let outside = lab.scratch().join("origin");
        let outside = outside.to_str().unwrap();
        mount.sh(&format!(
            "{git} init -q {outside}; cd {outside}; mkdir d; for i in $(seq 20); do seq $i 30 > d/$i; done; : > d/none; chmod +x d/1; ln -s d/1 l; {git} add .; {git} commit -qm one"
        )).ok();
        mount.sh(&format!(
            "{git} clone -q --no-local {outside} packed; {git} clone -q packed linked; {git} -C linked gc -q; {git} -C linked fsck --strict; \
             test -z \"$({git} -C linked status --porcelain)\""
        )).ok();
        mount.sync();
        for clone in ["packed", "linked"] {
            let files = all_files(&mount, clone);
            assert!(files.len() > 40, "{files:?}");
            for file in files {
                let state = mount.attribute(&file, "user.atlas.state");
                let expected = match &*file {
                    f if f.contains("/.git/") => "excluded",
                    f if f.ends_with("/none") => "empty",
                    _ => "logged",
                };
                assert_eq!(state.as_deref(), Some(expected), "{file}");
            }
            mount.ctl(&["verify", "--recursive", clone]).expect(0);
        }
        assert_eq!(mount.lineage("packed/d/1").root().run, mount.lineage("packed/d/9").root().run);
        let lineage = mount.lineage("linked/d/1");
        assert!(!lineage.inputs().is_empty(), "the objects of the other clone: {}", lineage.json);
        assert!(lineage.inputs().iter().all(|i| i.contains("/.git/")), "{}", lineage.json);
    }

    /// The last one to close a database checkpoints and deletes its log: a state that waits for either would never be reached.
    fn a_database_with_a_write_ahead_log_is_sealed_when_its_last_user_is_gone(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.sh(
            "sqlite3 w.db 'pragma journal_mode=wal; create table t(a);'; \
             for i in 1 2 3; do sqlite3 w.db \"pragma busy_timeout=60000; insert into t values($i);\" & done; wait; \
             sqlite3 w.db 'select count(*) from t' > answer",
        ).ok();
        mount.sync();
        assert_eq!(fs::read(mount.path("answer")).unwrap(), b"3\n");
        assert!(!mount.path("w.db-wal").exists() && !mount.path("w.db-shm").exists());
        assert_eq!(mount.lineage("w.db").root().state, "logged");
        assert_eq!(mount.lineage("answer").inputs(), names(["w.db"]));
        mount.ctl(&["verify", "w.db", "answer"]).expect(0);
    }

    /// A writer that is killed leaves its log, with a map of the index that nobody unmaps in an orderly way: all three have ended.
    fn a_killed_writers_database_its_log_and_its_index_have_ended_and_recovery_has_them_as_inputs(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.python(
            "import os, signal, sqlite3\ndb = sqlite3.connect('k.db', isolation_level=None)\ndb.execute('pragma journal_mode=wal')\n\
             db.execute('create table t(a)')\ndb.execute('insert into t values (7)')\nos.kill(os.getpid(), signal.SIGKILL)",
        ).run().expect(137);
        mount.sync();
        for name in ["k.db", "k.db-wal", "k.db-shm"] {
            let state = mount.attribute(name, "user.atlas.state").unwrap();
            assert_eq!(state, "logged", "{name}");
            assert_eq!(mount.lineage(name).root().closed.as_deref(), Some("killed"), "{name}");
            mount.verify(name, 7);
        }
        let (db, log) = (mount.lineage("k.db").root, mount.lineage("k.db-wal").root);
        mount.sh("sqlite3 k.db 'select a from t' > answer").ok();
        mount.sync();
        assert_eq!(fs::read(mount.path("answer")).unwrap(), b"7\n");
        let recovered = mount.lineage("k.db");
        for before in [db, log] {
            let found = recovered.edges.iter().any(|e| e.from == recovered.root && e.to == before);
            assert!(found, "{before} is no input of {}", recovered.json);
        }
        mount.verify("k.db", 0);
    }
}

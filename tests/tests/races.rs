//! Races between writers, names and the digests that are running. Whatever happens: no manifest names bytes that a file never had at
//! a close, and what was closed is sealed or says why not. Not random: see `model`.
//!
//! Jobs write down the digest of what a file holds before each close; nothing else may ever be sealed. One digest thread and a large
//! file in front of the queue make the windows wide; pauses of random length make every place in them likely.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use atlas_tests::{Io, Job, Lab, Mount, Options, both, files};
use rustix::process::{Pid, Signal, kill_process};

/// `big(n)`: three megabytes that no other number gives. `held(data)`: a file is about to be closed that holds this.
/// `some()`: a pause in which a digest begins, runs or ends.
const PRELUDE: &str = r"
import fcntl, hashlib, mmap, os, random, sys, time
def big(n, size=3 << 20):
    return hashlib.sha256(str(n).encode()).digest() * (size // 32)
def held(data):
    log = os.open(os.environ['HELD'], os.O_WRONLY | os.O_APPEND)
    os.write(log, ('sha256:' + hashlib.sha256(data).hexdigest() + '\n').encode())
    os.close(log)
def put(name, data, flags=os.O_CREAT | os.O_TRUNC):
    fd = os.open(name, os.O_WRONLY | flags, 0o644)
    at = 0
    while at < len(data):
        at += os.write(fd, data[at:])
    held(data)
    os.close(fd)
def some():
    time.sleep(random.choice([0, 0, 0.002, 0.01, 0.03, 0.1]) * random.random())
def fill():
    put('filler.bin', big('filler' + str(time.time()), 24 << 20))
";

struct Race<'a> {
    lab: &'a Lab,
    mount: Mount<'a>,
    held: PathBuf,
}

impl<'a> Race<'a> {
    fn new(lab: &'a Lab, io: Io) -> Self {
        let held = lab.scratch().join("held");
        fs::write(&held, "").unwrap();
        std::os::unix::fs::chown(&held, Some(65534), Some(65534)).unwrap();
        let mount = lab.mount(Options::new(io).flag("--digest-threads").flag("1"));
        Self { lab, mount, held }
    }

    /// A job that knows the prelude.
    fn job(&self, program: &str) -> Job {
        let program = format!("{PRELUDE}\n{program}");
        self.mount.python(&program).env("HELD", &self.held)
    }

    /// A file that somebody put there behind the mount: it may be named, though nobody closed it.
    fn given(&self, name: &str, bytes: &[u8]) {
        let path = self.lab.put(name, bytes);
        self.also(&files::sha256sum(&path));
    }

    fn also(&self, digest: &str) {
        let mut all = fs::read_to_string(&self.held).unwrap();
        all.push_str(digest);
        all.push('\n');
        fs::write(&self.held, all).unwrap();
    }

    fn held(&self) -> BTreeSet<String> {
        let text = fs::read_to_string(&self.held).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Every content that some manifest of this node is about.
    fn sealed(&self) -> BTreeSet<String> {
        let root = self.lab.behind(".atlas/store/assets/sha256");
        let mut found = BTreeSet::new();
        for part in fs::read_dir(&root).into_iter().flatten().flatten() {
            for rest in fs::read_dir(part.path()).unwrap().flatten() {
                let name = |e: &fs::DirEntry| e.file_name().to_string_lossy().into_owned();
                found.insert(format!("sha256:{}{}", name(&part), name(&rest)));
            }
        }
        found
    }

    /// No manifest, and no input of one, is of bytes that no file had at a close.
    fn nothing_invented(&self) {
        self.mount.sync();
        let (held, sealed) = (self.held(), self.sealed());
        assert!(!sealed.is_empty(), "nothing was sealed: nothing is proven");
        let invented: Vec<_> = sealed.difference(&held).collect();
        assert!(
            invented.is_empty(),
            "sealed, and never held at a close: {invented:?}"
        );
    }

    /// These files are sealed as they are, and only what was at a close is anywhere in what they are made from.
    fn sealed_as_they_are(&self, names: &[&str]) {
        self.nothing_invented();
        for name in names {
            let state = self.mount.attribute(name, "user.atlas.state");
            assert_eq!(state.as_deref(), Some("logged"), "{name}");
            self.mount.verify(name, 0);
            let lineage = self.mount.lineage(name);
            let now = files::sha256sum(&self.lab.behind(name));
            assert_eq!(
                lineage.root().sha256.as_deref(),
                Some(&*now),
                "{name}: {}",
                lineage.json
            );
            let held = self.held();
            for node in lineage.nodes.values() {
                let known = node.sha256.as_ref().is_none_or(|d| held.contains(d));
                assert!(known, "{name}: {node:?} was never held at a close");
                let why = ["superseded", "incomplete", "unattested", "empty"];
                let said = node.sha256.is_some() || why.contains(&&*node.state);
                assert!(said, "{name}: {node:?} does not say why it has no digest");
            }
        }
    }
}

both! {
    /// The digest that runs is of bytes that are about to change.
    fn a_version_that_is_written_again_while_its_digest_runs_is_never_sealed_half_old(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        race.job(
            "for i in range(14):\n    if i % 4 == 0: fill()\n    data = bytearray(big(i)); put('f', data)\n    some()\n    fd = os.open('f', os.O_RDWR)\n    some()\n\
             \x20   if i % 3:\n        at = random.randrange(len(data) - 9); data[at:at + 9] = b'new bytes'; os.pwrite(fd, b'new bytes', at)\n\
             \x20   held(data); os.close(fd)\n    if i % 2: some()",
        ).ok();
        race.sealed_as_they_are(&["f"]);
    }

    /// A store into a mapped page moves no time stamp, and goes on after close().
    fn a_map_that_outlives_its_close_is_sealed_with_its_last_stores(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        race.job(
            "maps = []\nfor i in range(6):\n    data = bytearray(big(i)); name = f'm{i}'; fd = os.open(name, os.O_RDWR | os.O_CREAT); os.write(fd, data)\n\
             \x20   m = mmap.mmap(fd, len(data)); held(data); os.close(fd); maps.append((m, data))\n    some()\n\
             for k in range(3):\n    for m, data in maps:\n        at = random.randrange(len(data) - 5); m[at:at + 5] = data[at:at + 5] = b'late%d' % k\n        held(data); some()\n\
             for m, data in maps:\n    m.close(); some()",
        ).ok();
        race.sealed_as_they_are(&["m0", "m1", "m2", "m3", "m4", "m5"]);
    }

    /// The reader's input is digested for what the reader made; meanwhile somebody else cuts it.
    fn an_input_that_is_truncated_while_it_is_digested_is_named_as_it_was_or_as_lost(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        for i in 0..8 {
            race.given(&format!("in{i}"), &files::noise(100 + i, 3 << 20));
        }
        let reader = race.job(
            "for i in range(8):\n    if i % 4 == 0: fill()\n    data = open(f'in{i}', 'rb').read(1000); print(i, flush=True); put(f'out{i}', data + b'%d' % i); time.sleep(0.05)",
        ).start();
        for i in 0..8 {
            reader.says(&format!("{i}\n"));
            race.job(&format!("some(); data = open('in{i}', 'rb').read()[:{}]; held(data); os.truncate('in{i}', {})", 1000 * i, 1000 * i)).ok();
        }
        reader.wait().expect(0);
        race.sealed_as_they_are(&["out0", "out1", "out2", "out3", "out4", "out5", "out6", "out7", "in1", "in7"]);
    }

    /// The name that a digest was begun for leads to another file when it ends.
    fn a_rename_over_a_file_that_is_being_digested_seals_both_or_says_that_one_is_gone(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        race.job(
            "for i in range(16):\n    if i % 5 == 0: fill()\n    put('tmp', big(i)); some(); os.rename('tmp', 'f'); some()",
        ).ok();
        race.sealed_as_they_are(&["f"]);
        race.mount.ctl(&["verify", "tmp"]).expect(1);
    }

    /// Written through one name, sealed under the other, and one of them is taken away meanwhile.
    fn a_hard_link_that_is_written_through_one_name_is_sealed_under_the_other(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        race.job(
            "for i in range(10):\n    if i % 4 == 0: fill()\n    data = bytearray(big(i)); put(f'a{i}', data); some(); os.link(f'a{i}', f'b{i}'); some()\n\
             \x20   fd = os.open(f'b{i}', os.O_WRONLY); os.pwrite(fd, b'by b', 0); data[0:4] = b'by b'; held(data)\n\
             \x20   if i % 2: os.unlink(f'a{i}')\n    os.close(fd); some()\n    if i % 4 == 0: os.unlink(f'b{i}')",
        ).ok();
        race.sealed_as_they_are(&["a0", "b1", "a2", "b2", "b3", "a4", "b5", "a6", "b6", "b7", "a8", "b9"]);
    }

    /// The parent closed, the child that inherited the descriptor is killed: the file is as the parent left it.
    fn a_file_whose_forked_heir_is_killed_is_sealed_as_its_parent_closed_it(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        race.job(
            "import signal\nfor i in range(8):\n    if i % 4 == 0: fill()\n    data = big(i); fd = os.open(f'f{i}', os.O_WRONLY | os.O_CREAT); os.write(fd, data)\n\
             \x20   pid = os.fork()\n    if pid == 0: time.sleep(60); os._exit(0)\n\
             \x20   held(data); os.close(fd); some(); os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)",
        ).ok();
        race.sealed_as_they_are(&["f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7"]);
    }

    /// The child goes on writing with what it inherited, and the opener is killed: the file says so.
    fn a_file_whose_opener_is_killed_while_a_child_writes_on_says_killed(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        for i in 0..4 {
            let job = race.job(&format!(
                "data = big({i}); fd = os.open('k{i}', os.O_WRONLY | os.O_CREAT); os.write(fd, data); held(data); opener = os.getpid()\nif os.fork() == 0:\n\
                 \x20   while os.getppid() == opener: time.sleep(0.005)\n    some(); os.write(fd, b'child'); held(data + b'child'); os.close(fd); os._exit(0)\n\
                 name = os.path.dirname(os.environ['HELD']) + '/pid{i}'; print(opener, file=open(name + 'x', 'w')); os.rename(name + 'x', name); time.sleep(60)",
            )).start();
            let said = race.lab.scratch().join(format!("pid{i}"));
            let pid = atlas_tests::wait::until("the job says its pid", || {
                fs::read_to_string(&said).ok()?.trim().parse::<i32>().ok()
            });
            kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
            job.wait().expect(137);
        }
        race.nothing_invented();
        for i in 0..4 {
            let name = format!("k{i}");
            atlas_tests::wait::until("the child has written", || {
                (fs::metadata(race.lab.behind(&name)).unwrap().len() == (3 << 20) + 5).then_some(())
            });
            race.mount.sync();
            race.mount.await_state(&name, "logged");
            assert_eq!(race.mount.lineage(&name).root().closed.as_deref(), Some("killed"), "{name}");
            race.mount.verify(&name, 7);
        }
        race.nothing_invented();
    }

    /// Two runs append to one file, close and open it again, and one of them cuts it: under a lock, so that what it holds at a close is known.
    fn two_runs_that_write_one_file_leave_only_versions_that_it_had(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        race.given("both", b"at first\n");
        race.given("lock.lock", b"x");
        let source = race.lab.source();
        let program = format!(
            "lock = open('lock.lock', 'r+')\nfor i in range(25):\n    fcntl.flock(lock, fcntl.LOCK_EX)\n    fd = os.open('both', os.O_WRONLY | os.O_APPEND)\n    os.write(fd, big(me + str(i), 1 << 17))\n\
             \x20   fcntl.flock(lock, fcntl.LOCK_UN); some(); fcntl.flock(lock, fcntl.LOCK_EX)\n    if me == 'a' and i % 6 == 5: os.ftruncate(fd, 1000 * i)\n\
             \x20   if i % 5 == 0: os.write(fd, b'more')\n    held(open('{}/both', 'rb').read()); os.close(fd)\n    fcntl.flock(lock, fcntl.LOCK_UN); some()",
            source.display()
        );
        let (a, b) = (race.job(&format!("me = 'a'\n{program}")).start(), race.job(&format!("me = 'b'\n{program}")).start());
        a.wait().expect(0);
        b.wait().expect(0);
        race.sealed_as_they_are(&["both"]);
    }

    /// Deleted between its close and its seal: who used it is sealed all the same, and names it by digest or as deleted.
    fn a_file_that_is_unlinked_before_its_seal_keeps_nobody_waiting(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        race.job(
            "for i in range(12):\n    if i % 4 == 0: fill()\n    put('part', big(i)); some(); data = open('part', 'rb').read(100); put(f'out{i}', data + b'%d' % i); some(); os.unlink('part')",
        ).ok();
        race.sealed_as_they_are(&["out0", "out5", "out11"]);
        for i in 0..12 {
            let lineage = race.mount.ctl(&["lineage", "--json", "--all", &format!("out{i}")]).expect(0).json();
            let text = lineage.to_string();
            assert!(text.contains("\"part\""), "out{i} does not name what it was made from: {text}");
        }
    }

    /// Both are being digested when their names change places.
    fn an_exchange_of_two_files_that_are_being_digested_swaps_their_versions(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        let exchange = "import ctypes\nlibc = ctypes.CDLL(None)\ndef exchange(a, b):\n    assert libc.renameat2(-100, a.encode(), -100, b.encode(), 2) == 0";
        race.job(&format!(
            "{exchange}\nfor i in range(8):\n    if i % 4 == 0: fill()\n    put(f'a{{i}}', big(i)); put(f'b{{i}}', big(i + 100)); some(); exchange(f'a{{i}}', f'b{{i}}'); some()\n    if i % 2: exchange(f'a{{i}}', f'b{{i}}')",
        )).ok();
        race.sealed_as_they_are(&["a0", "b0", "a1", "b1", "a2", "b2", "a7", "b7"]);
        let held_first = |name: &str, n: u64| {
            let program = format!("print('sha256:' + hashlib.sha256(big({n})).hexdigest())");
            assert_eq!(race.mount.lineage(name).root().sha256.as_deref(), Some(race.job(&program).ok().stdout.trim()));
        };
        held_first("a0", 100);
        held_first("a1", 1);
    }

    /// a, b, c: each name is another file's a moment later.
    fn a_chain_of_renames_under_a_digest_leaves_each_name_its_own_version(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        race.job(
            "for i in range(14):\n    if i % 4 == 0: fill()\n    put('new', big(i)); some()\n    for a, b in [('c', 'd'), ('b', 'c'), ('a', 'b'), ('new', 'a')]:\n        if os.path.exists(a): os.rename(a, b)\n    some()",
        ).ok();
        race.sealed_as_they_are(&["a", "b", "c", "d"]);
    }

    /// The directory moves while what lies below it is digested, and another one takes its name.
    fn a_directory_rename_under_digests_carries_every_version_along(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        race.job(
            "for i in range(6):\n    if i % 3 == 0: fill()\n    os.makedirs('tmp/sub'); put('tmp/a', big(i)); put('tmp/sub/b', big(i + 50)); some(); os.rename('tmp', f'step{i}'); some(); put(f'step{i}/c', big(i + 70))",
        ).ok();
        race.sealed_as_they_are(&["step0/a", "step0/sub/b", "step3/a", "step3/sub/b", "step5/a", "step5/c", "step5/sub/b"]);
    }

    /// An output waits for the digest of its input; then the input is emptied.
    fn an_input_that_is_emptied_while_its_output_waits_does_not_keep_it_waiting(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        race.job(
            "for i in range(10):\n    fill(); put('in', big(i)); data = open('in', 'rb').read(100); put(f'out{i}', data + b'%d' % i); some()\n    fd = os.open('in', os.O_WRONLY | os.O_TRUNC); some(); held(b''); os.close(fd)",
        ).ok();
        race.sealed_as_they_are(&["out0", "out4", "out9"]);
    }

    /// Times that are set while the file gets its final name are changed through the mount, and nobody has changed it behind it.
    fn times_that_are_set_beside_a_rename_are_no_change_behind_the_mount(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        race.job(
            "pid = os.fork()\nif pid == 0:\n    while not os.path.exists('done.lock'):\n        for i in range(150):\n            for n in (f'f{i}', f't{i}'):\n                try: os.utime(n, (i, time.time()))\n                except FileNotFoundError: pass\n    os._exit(0)\n\
             for i in range(150):\n    put(f't{i}', big(i, 1 << 17))\n    for k in range(3): os.rename(f't{i}', f'f{i}'); os.rename(f'f{i}', f't{i}')\n    os.rename(f't{i}', f'f{i}')\n\
             open('done.lock', 'w').close(); assert os.waitpid(pid, 0)[1] == 0",
        ).ok();
        let names: Vec<String> = (0..150).map(|i| format!("f{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).step_by(7).collect();
        race.sealed_as_they_are(&names);
    }

    /// A database opens its file again for writing before it was digested, and keeps it open for days: what was closed is sealed all the same.
    fn a_closed_version_that_a_new_writer_holds_and_does_not_write_is_sealed(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        let job = race.job(
            "fill(); put('f', big(1)); fd = os.open('f', os.O_RDWR); print('open again', flush=True)\nwhile not os.path.exists('go.lock'): time.sleep(0.02)\n\
             os.pwrite(fd, b'more', 0); data = b'more' + big(1)[4:]; held(data); os.close(fd)",
        ).start();
        job.says("open again");
        atlas_tests::wait::until("the first version is sealed", || race.sealed().len().ge(&2).then_some(()));
        race.nothing_invented();
        fs::write(race.mount.path("go.lock"), "").unwrap();
        job.wait().expect(0);
        race.sealed_as_they_are(&["f"]);
        let lineage = race.mount.ctl(&["lineage", "--json", "--all", "f"]).expect(0).json();
        let lineage = atlas_tests::Lineage::of(lineage);
        let mut before = lineage.edges.iter().filter(|e| e.from == lineage.root);
        assert!(before.any(|e| lineage.nodes[&e.to].attested), "what was closed first is known: {}", lineage.json);
    }

    /// The same, but the new writer writes before the digest, slowly: what he has half done is nobody's version, and the old one says that it is lost.
    fn what_a_new_writer_has_half_written_is_not_sealed_as_the_version_before(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        let job = race.job(
            "fill(); put('f', big(1)); fd = os.open('f', os.O_RDWR); time.sleep(0.3); os.pwrite(fd, b'half', 0); print('half', flush=True)\n\
             while not os.path.exists('go.lock'): time.sleep(0.02)\nos.pwrite(fd, b'done', 4); held(b'halfdone' + big(1)[8:]); os.close(fd)",
        ).start();
        job.says("half");
        // Longer than a digest waits for who could still write.
        std::thread::sleep(std::time::Duration::from_secs(6));
        race.nothing_invented();
        fs::write(race.mount.path("go.lock"), "").unwrap();
        job.wait().expect(0);
        race.sealed_as_they_are(&["f"]);
    }

    /// utimensat(2) makes a file look as old as it was. Its bytes are the later writer's all the same, and no input of anybody's is what it was.
    fn a_time_that_is_set_back_hides_no_write(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        race.given("evil", b"evil");
        race.job("fill(); put('f', big(1, 1 << 20))").ok();
        race.job(
            "data = open('evil', 'rb').read(); fd = os.open('f', os.O_RDWR); was = os.fstat(fd).st_mtime_ns; os.pwrite(fd, data, 0); os.utime(fd, ns=(was, was))\n\
             os.utime(fd, ns=(was, was)); os.rename('f', 'g'); time.sleep(6); held(data + big(1, 1 << 20)[4:]); os.close(fd)",
        ).ok();
        race.sealed_as_they_are(&["g"]);
        assert_eq!(race.mount.lineage("g").inputs(), atlas_tests::lineage::names(["evil", "g"]));
        let times = fs::metadata(race.lab.behind("g")).unwrap();
        fs::write(race.lab.behind("g"), vec![1; 1 << 20]).unwrap();
        race.also(&files::sha256sum(&race.lab.behind("g")));
        let back = format!("os.utime('g', ns=({0}, {0})); held(open('g', 'rb').read()); data = open('g', 'rb').read(); put('h', data)", i128::from(times.mtime()) * 1_000_000_000 + i128::from(times.mtime_nsec()));
        race.job(&back).ok();
        race.mount.sync();
        let lineage = race.mount.lineage("h");
        assert!(!lineage.node("g").1.attested, "nobody sealed these bytes: {}", lineage.json);
        race.mount.verify("g", 4);
    }

    /// Nothing tells the daemon of plain writes in passthrough: what was opened after a copy, and before such a write, is an input too.
    fn what_is_opened_between_a_copy_and_a_write_is_an_input(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        race.given("one", &files::noise(1, 8192));
        race.given("two", &files::noise(2, 8192));
        race.job(
            "a = os.open('one', os.O_RDONLY); out = os.open('out', os.O_RDWR | os.O_CREAT); os.copy_file_range(a, out, 8192)\n\
             b = os.open('two', os.O_RDONLY); data = os.read(b, 8192); os.pwrite(out, data, 8192); held(os.pread(out, 16384, 0)); os.close(out)",
        ).ok();
        race.sealed_as_they_are(&["out"]);
        assert_eq!(race.mount.lineage("out").inputs(), atlas_tests::lineage::names(["one", "two"]));
    }

    /// What is copied out of a file that somebody is writing is what it becomes, and not what it held before.
    fn what_is_copied_out_of_a_growing_file_is_not_what_it_held_before(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        race.job("put('log', b'before')").ok();
        race.mount.sync();
        let before = race.mount.lineage("log").root;
        let writer = race.job(
            "fd = os.open('log', os.O_RDWR); os.pwrite(fd, b'growing', 0); print('written', flush=True)\nwhile not os.path.exists('go.lock'): time.sleep(0.02)\nheld(b'growing'); os.close(fd)",
        ).start();
        writer.says("written");
        race.job("a = os.open('log', os.O_RDONLY); out = os.open('out', os.O_WRONLY | os.O_CREAT); assert os.copy_file_range(a, out, 7) == 7; held(b'growing'); os.close(out)").ok();
        fs::write(race.mount.path("go.lock"), "").unwrap();
        writer.wait().expect(0);
        race.sealed_as_they_are(&["log", "out"]);
        let lineage = race.mount.lineage("out");
        assert!(lineage.edges.iter().all(|e| e.from != lineage.root || e.to != before), "{}", lineage.json);
        assert_eq!(lineage.inputs(), atlas_tests::lineage::names(["log"]));
    }

    /// open(O_RDONLY | O_TRUNC) by somebody else writes nothing and takes everything away, while the writer goes on.
    fn an_open_that_only_truncates_does_not_keep_the_writers_file_from_being_sealed(io) {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        race.job(
            "fd = os.open('f', os.O_RDWR | os.O_CREAT); os.pwrite(fd, big(1), 0); os.close(os.open('f', os.O_RDONLY | os.O_TRUNC))\n\
             os.pwrite(fd, b'short', 100); held(bytes(100) + b'short'); os.close(fd)",
        ).ok();
        race.sealed_as_they_are(&["f"]);
    }
}

/// Another file takes the place behind the mount, or bytes change there, while the digest runs: whatever was sealed is not what is there now,
/// and `verify` never says that it is.
#[test]
fn a_file_that_is_replaced_behind_the_mount_while_it_is_digested_never_passes() {
    for io in [Io::Passthrough, Io::Inline] {
        let lab = Lab::new();
        let race = Race::new(&lab, io);
        for i in 0..10u64 {
            let name = format!("f{i}");
            race.job(&format!(
                "if {i} % 3 == 0: fill()\nput('{name}', big({i})); some()"
            ))
            .ok();
            std::thread::sleep(std::time::Duration::from_millis(i * 3));
            let other = files::noise(i, 3 << 20);
            if i % 2 == 0 {
                let aside = lab.put(&format!("aside{i}"), &other);
                fs::rename(aside, lab.behind(&name)).unwrap();
            } else {
                files::flip(&lab.behind(&name), 1000 + i);
            }
        }
        race.mount.sync();
        let behind: BTreeSet<String> = (0..10)
            .map(|i| files::sha256sum(&lab.behind(&format!("f{i}"))))
            .collect();
        assert!(
            race.sealed().is_disjoint(&behind),
            "sealed what nobody closed"
        );
        for i in 0..10 {
            let verdict = race.mount.ctl(&["verify", &format!("f{i}")]);
            assert!(
                [1, 3, 4].contains(&verdict.code),
                "f{i}: {}\n{}",
                verdict.code,
                verdict.stdout
            );
        }
    }
}

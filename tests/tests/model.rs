//! Random operations of several processes on the mount and on a plain directory: what they say, what they leave, and what the
//! lineages say of them, against a model of our own. `ATLAS_MODEL_SEED` and `ATLAS_MODEL_STEPS` make it another or a longer one;
//! `ATLAS_MODEL_LOG` names a file for all operations of one that failed, and `ATLAS_MODEL_REPLAY` one to be executed again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use atlas_tests::model::chance::Chance;
use atlas_tests::model::crew::{Crew, Reply};
use atlas_tests::model::told;
use atlas_tests::model::trees::{names, tree};
use atlas_tests::model::truth::{Opening, Truth};
use atlas_tests::{Io, Lab, Mount, Options, User, both, files};
use rustix::fs::OFlags;

const WORKER: &str = env!("CARGO_BIN_EXE_atlas-test-worker");
/// So many operations take about twenty seconds in a build for tests.
const STEPS: usize = 12_000;
/// All that has ended is sealed so often in between.
const QUIET_EVERY: usize = 400;
/// Longer than anything may stay on its way, on a busy machine.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
/// Times of the two trees are taken one after the other.
const APART: i128 = 60_000_000_000;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn seed() -> u64 {
    let seed = number("ATLAS_MODEL_SEED", 1);
    #[expect(clippy::print_stderr, reason = "shown with the failed test")]
    {
        eprintln!("ATLAS_MODEL_SEED={seed}");
    }
    seed
}

/// The operations of an earlier log, to be made shorter by hand or by a script.
fn replay() -> Option<Vec<(usize, String)>> {
    let text = fs::read_to_string(std::env::var_os("ATLAS_MODEL_REPLAY")?).expect("a log");
    let lines = text.lines().map(|line| {
        let (_, line) = line.split_once(' ').expect("a number");
        let (by, line) = line.split_once(" (run ").expect("a worker");
        let (_, line) = line.split_once("): ").expect("an operation");
        let (line, _) = line.split_once(" ->").expect("a result");
        (by.parse().expect("a worker"), line.to_owned())
    });
    Some(lines.collect())
}

/// The two trees, and what is true of them.
struct World<'a> {
    mount: &'a Mount<'a>,
    /// Below the mount, and the plain one.
    through: PathBuf,
    plain: PathBuf,
    copies: PathBuf,
    copied: usize,
    truth: Truth,
    /// Inodes of the plain tree and of the mount that are one file, with the times they were last seen to have.
    same: BTreeMap<i128, Vec<i128>>,
    done: Vec<String>,
}

/// How a name of the plain tree is before an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Was {
    ino: i128,
    size: u64,
    nlink: u64,
    file: bool,
    link: bool,
}

impl World<'_> {
    fn was(&self, name: &str, follow: bool) -> Option<Was> {
        let path = self.plain.join(name);
        let meta = if follow {
            fs::metadata(path)
        } else {
            fs::symlink_metadata(path)
        };
        let meta = meta.ok()?;
        Some(Was {
            ino: i128::from(meta.ino()),
            size: meta.size(),
            nlink: meta.nlink(),
            file: meta.is_file(),
            link: meta.is_symlink(),
        })
    }

    /// Keeps what a file of the plain tree holds now.
    fn keep(copies: &Path, copied: &mut usize, from: &Path) -> usize {
        *copied += 1;
        let to = copies.join(format!("{copied:06}"));
        fs::copy(from, to).expect("the plain file can be read");
        *copied
    }

    fn fail(&self, why: &str) -> ! {
        if let Some(log) = std::env::var_os("ATLAS_MODEL_LOG") {
            let _ = fs::write(log, self.done.join("\n"));
        }
        let from = self.done.len().saturating_sub(40);
        panic!(
            "{why}\nthe last operations:\n{}",
            self.done[from..].join("\n")
        );
    }

    /// All that has ended is sealed.
    fn quiet(&self) {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let said = fs::read_to_string(self.mount.path(".atlas/sync")).expect("it answers");
            if said.trim() == "ok" {
                return;
            }
            if std::time::Instant::now() > end {
                let listed = self.mount.ctl(&["ls", "--json", "w"]).stdout;
                self.fail(&format!("{said}\n{}\n{listed}", self.mount.status()));
            }
        }
    }

    /// One operation by one worker.
    fn step(&mut self, crew: &mut Crew, by: usize, line: &str) {
        self.truth.tick();
        let words: Vec<&str> = line.split(' ').collect();
        let name = words.get(1).copied().unwrap_or("");
        let slot = name.parse::<u32>().ok();
        let (target, own) = if slot.is_some() {
            let path = if words[0] == "open" { words[2] } else { "" };
            (self.was(path, true), None)
        } else {
            (self.was(name, true), self.was(name, false))
        };
        let replaced = matches!(words[0], "rename")
            .then(|| self.was(words[2], false))
            .flatten();
        // What is there before: an open may be about to take it away.
        let before = target
            .filter(|t| t.file && t.size > 0 && self.truth.current(t.ino).is_none())
            .filter(|_| matches!(words[0], "open"));
        let given = before.map(|_| {
            let path = self.plain.join(words[2]);
            Self::keep(&self.copies, &mut self.copied, &path)
        });
        let closing = (words[0] == "close").then(|| {
            let path = crew.workers[by].behind(slot.expect("a slot"));
            let meta = fs::metadata(&path).expect("an open file");
            meta.is_file()
                .then(|| (path, i128::from(meta.ino()), meta.size()))
        });
        let closing = closing.flatten();
        let kept = closing.as_ref().map(|(path, ..)| {
            let mut any = || Self::keep(&self.copies, &mut self.copied, path);
            any()
        });
        let run = crew.workers[by].run;
        let replies = crew.workers[by].ask(line);
        self.done.push(format!(
            "{} {by} (run {run}): {line} -> {}",
            self.done.len(),
            replies[1].result
        ));
        self.compare(line, &replies);
        let said = &replies[1];
        if let Some((_, _, size)) = closing {
            self.truth
                .closed((by, slot.expect("a slot")), size, &mut || {
                    kept.expect("kept before")
                });
            self.mount.drained();
            return;
        }
        if !said.ok() {
            return;
        }
        self.learn(by, run, &words, said, target, own, replaced, given);
    }

    /// What an operation that worked means.
    #[expect(
        clippy::too_many_arguments,
        reason = "what was there before, in all its parts"
    )]
    fn learn(
        &mut self,
        by: usize,
        run: usize,
        words: &[&str],
        said: &Reply,
        target: Option<Was>,
        own: Option<Was>,
        replaced: Option<Was>,
        given: Option<usize>,
    ) {
        let slot = || words[1].parse::<u32>().expect("a slot");
        let handle = |word: &str| (by, word.parse::<u32>().expect("a slot"));
        match words[0] {
            "open" => {
                let flags: u32 = words[3].parse().expect("flags");
                let has = |flag: OFlags| flags & flag.bits() != 0;
                if !said.seen.starts_with('f') {
                    return;
                }
                let access = flags & 3;
                let opening = Opening {
                    handle: (by, slot()),
                    run,
                    ino: said.own[0],
                    read: access != OFlags::WRONLY.bits(),
                    write: access != OFlags::RDONLY.bits(),
                    truncate: has(OFlags::TRUNC),
                    created: target.is_none(),
                    size: target.map_or(0, |t| t.size),
                };
                self.truth
                    .opened(&opening, &mut || given.expect("kept before"));
            }
            "pwrite" | "write" | "dupwrite" if said.number() > 0 => {
                self.truth.wrote(handle(words[1]));
            }
            "mapwrite" => self.truth.stored(handle(words[1])),
            "ftruncate" | "fallocate" => self.truth.resized(handle(words[1])),
            "copy" if said.number() > 0 => self.truth.copied(handle(words[1]), handle(words[3])),
            "sendfile" if said.number() > 0 => self.truth.wrote(handle(words[3])),
            "truncate" => {
                let t = target.expect("it was there");
                let size = words[2].parse().expect("a size");
                let path = self.plain.join(words[1]);
                let (copies, copied) = (self.copies.clone(), &mut self.copied);
                self.truth
                    .resized_by_name(t.ino, run, size, &mut || Self::keep(&copies, copied, &path));
            }
            "unlink" => {
                let own = own.expect("it was there");
                if own.file && own.nlink == 1 {
                    self.truth.removed(own.ino);
                }
            }
            "rename" => {
                let exchange = words[3] == "2";
                if let Some(over) = replaced
                    && over.file
                    && over.nlink == 1
                    && !exchange
                    && own.is_some_and(|o| o.ino != over.ino)
                {
                    self.truth.removed(over.ino);
                }
            }
            _ => {}
        }
        let _ = own.is_some_and(|o| o.link);
    }

    fn compare(&mut self, line: &str, replies: &[Reply]) {
        let (through, plain) = (&replies[0], &replies[1]);
        let verb = line.split(' ').next().unwrap_or("");
        if verb == "tmpfile" && plain.ok() {
            // SEMANTICS 13.
            if through.result != "E95" {
                self.fail(&format!("{line}: {through:?}, and not EOPNOTSUPP"));
            }
            return;
        }
        if (&through.result, &through.seen) != (&plain.result, &plain.seen)
            && !(verb == "seek" && self.same_holes(line, through, plain))
        {
            self.fail(&format!("{line}\nmount: {through:?}\nplain: {plain:?}"));
        }
        let (t, p) = (&through.own, &plain.own);
        if p.is_empty() {
            return;
        }
        if let Some(known) = self.same.get(&p[0])
            && known[0] != t[0]
            && known[3] == p[2]
        {
            self.fail(&format!(
                "{line}: the mount shows another inode than before"
            ));
        }
        if (t[1] - p[1]).abs() > APART || (t[2] - p[2]).abs() > APART {
            self.fail(&format!("{line}: times differ\nmount: {t:?}\nplain: {p:?}"));
        }
        if let Some(known) = self.same.get(&p[0])
            && known[0] == t[0]
        {
            // mtime, then ctime: they move here when they move there.
            for (at, what) in [(1, "mtime"), (2, "ctime")] {
                let (moved, moves) = (known[at] != t[at], known[at + 2] != p[at]);
                if moved != moves && verb != "mapwrite" {
                    self.fail(&format!(
                        "{line}: {what} moved: {moved} through the mount, {moves} in the plain tree\n{known:?}\nmount: {t:?}\nplain: {p:?}"
                    ));
                }
            }
        }
        self.same.insert(p[0], vec![t[0], t[1], t[2], p[1], p[2]]);
    }

    /// Where a store says that a hole is depends on what it has written out by then; but only zeros may be told differently.
    fn same_holes(&self, line: &str, through: &Reply, plain: &Reply) -> bool {
        let whence = line.split(' ').nth(2);
        if !matches!(whence, Some("3" | "4")) || through.seen != plain.seen {
            return false;
        }
        let ino = plain.own[0];
        let name = names(&self.plain)
            .into_iter()
            .find(|n| self.was(n, false).is_some_and(|w| w.ino == ino));
        let Some(name) = name else {
            return true;
        };
        let bytes = fs::read(self.plain.join(name)).expect("the plain file can be read");
        let at = |reply: &Reply| match reply.ok() {
            true => usize::try_from(reply.number()).expect("an offset"),
            false => bytes.len(),
        };
        let (a, b) = (at(through), at(plain));
        let (from, mut to) = (a.min(b), a.max(b));
        if whence == Some("4") {
            // One tree has a hole here; where it ends is not said.
            to = to.min((from / 4096 + 1) * 4096);
        }
        bytes[from..to.min(bytes.len())].iter().all(|b| *b == 0)
    }
}

both! {
    /// Operations of five processes in three runs, one after the other: each says the same on the mount as on a plain directory, and the
    /// lineages have the inputs that were opened and no others.
    fn random_operations_are_those_of_a_plain_directory_and_their_lineages_are_true(io) {
        let seed = seed();
        let steps = usize::try_from(number("ATLAS_MODEL_STEPS", STEPS as u64)).expect("not so many");
        let lab = Lab::new();
        let (plain, copies) = (lab.scratch().join("plain"), lab.scratch().join("copies"));
        for dir in [&plain, &copies] {
            fs::create_dir(dir).expect("own directory");
        }
        std::os::unix::fs::chown(&plain, Some(65534), Some(65534)).expect("root may chown");
        for (name, len) in [("a", 5000), ("b", 70_000), ("c", 1)] {
            let bytes = files::noise(seed + len, usize::try_from(len).expect("small"));
            lab.put(&format!("w/{name}"), &bytes);
            fs::write(plain.join(name), bytes).expect("own directory");
            std::os::unix::fs::chown(plain.join(name), Some(65534), Some(65534)).expect("root may chown");
        }
        let mount = lab.mount(Options::new(io));
        let through = mount.path("w");
        let runs = [(User::Nobody, 2), (User::Nobody, 1), (User::Root, 2)];
        let mut crew = Crew::new(Path::new(WORKER), &lab.scratch(), &[through.clone(), plain.clone()], &runs);
        let mut world = World {
            mount: &mount,
            through,
            plain,
            copies,
            copied: 0,
            truth: Truth::new(io == Io::Inline),
            same: BTreeMap::new(),
            done: Vec::new(),
        };
        let mut chance = Chance::new(seed);
        let again = replay();
        for step in 0..again.as_ref().map_or(steps, Vec::len) {
            let (by, line) = if let Some(lines) = &again {
                lines[step].clone()
            } else {
                let by = usize::try_from(chance.below(crew.workers.len() as u64)).expect("few");
                let (used, free) = crew.workers[by].slots();
                (by, chance.operation(&used, free, true))
            };
            let slot = line.split(' ').nth(1).and_then(|w| w.parse::<u32>().ok());
            let open = slot.is_some_and(|s| crew.workers[by].open.contains_key(&s));
            if slot.is_some() && open == line.starts_with("open ") {
                // What is left of a replay that was made shorter.
                continue;
            }
            world.step(&mut crew, by, &line);
            if let Some(rest) = line.strip_prefix("dupwrite ") {
                // For a few seconds after the close of a copy nobody can tell whether the other one will be closed soon.
                let slot = rest.split(' ').next().expect("a slot");
                world.step(&mut crew, by, &format!("close {slot}"));
            }
            if step % QUIET_EVERY == QUIET_EVERY - 1 {
                world.quiet();
            }
        }
        for by in 0..crew.workers.len() {
            for slot in crew.workers[by].slots().0 {
                world.step(&mut crew, by, &format!("close {slot}"));
            }
        }
        crew.end();
        world.quiet();
        let (here, there, behind) = (tree(&world.through), tree(&world.plain), tree(&lab.behind("w")));
        assert_eq!(here, there, "the trees differ");
        assert_eq!(behind, there, "the backing tree differs");
        assert_eq!(mount.status()["behind"], 0, "all of it came through the mount");
        if let Err(why) = told::check(&world.truth, &world.copies, &world.plain, &mount) {
            world.fail(&why);
        }
        let all = mount.ctl(&["verify", "--recursive", "."]);
        assert!([0, 3].contains(&all.code), "{}", all.stdout);
    }
}

//! What becomes of the disk below a mount: refusals of its own, the end of its being writable, a reboot. Not what kinds of disk there are:
//! see `stores`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use atlas_tests::lineage::names;
use atlas_tests::{Io, Job, Lab, Options, Store, User, both, files};
use rustix::mount::{MountFlags, UnmountFlags, mount_remount};

fn lab(store: Store) -> Option<Lab> {
    let (input, other) = (files::noise(1, 100_000), files::noise(2, 5000));
    Lab::on(store, &[("in", &input), ("other", &other)])
}

const TRIED: &str = r"
import errno, os
def tried(name, what):
    try:
        what()
        print(name, 'ok')
    except OSError as e:
        print(name, errno.errorcode[e.errno])
";

/// Tries everything that changes something, and says with what it failed.
const TRY_ALL: &str = r"
tried('create', lambda: os.open('new', os.O_WRONLY | os.O_CREAT))
tried('exclusive', lambda: os.open('new', os.O_WRONLY | os.O_CREAT | os.O_EXCL))
tried('write', lambda: os.open('one', os.O_WRONLY))
tried('append', lambda: os.open('one', os.O_WRONLY | os.O_APPEND))
tried('empty', lambda: os.open('one', os.O_WRONLY | os.O_TRUNC))
tried('empty unread', lambda: os.open('one', os.O_RDONLY | os.O_TRUNC))
tried('existing', lambda: os.open('one', os.O_RDWR | os.O_CREAT))
tried('truncate', lambda: os.truncate('one', 1))
tried('mkdir', lambda: os.mkdir('d'))
tried('mkfifo', lambda: os.mkfifo('p'))
tried('symlink', lambda: os.symlink('one', 's'))
tried('link', lambda: os.link('one', 'l'))
tried('rename', lambda: os.rename('one', 'two'))
tried('unlink', lambda: os.unlink('one'))
tried('rmdir', lambda: os.rmdir('dir'))
tried('chmod', lambda: os.chmod('one', 0o600))
tried('chown', lambda: os.chown('one', -1, 65534))
tried('times', lambda: os.utime('one'))
tried('attribute', lambda: os.setxattr('one', 'user.note', b'x'))
print(len(open('one', 'rb').read()))
";

/// `one` cannot be changed, `log` can only grow, `run` is running.
const REFUSED: &str = r"
tried('write', lambda: os.open('one', os.O_WRONLY))
tried('both', lambda: os.open('one', os.O_RDWR))
tried('append', lambda: os.open('one', os.O_WRONLY | os.O_APPEND))
tried('empty', lambda: os.open('one', os.O_WRONLY | os.O_TRUNC))
tried('truncate', lambda: os.truncate('one', 1))
tried('unlink', lambda: os.unlink('one'))
tried('rename', lambda: os.rename('one', 'two'))
tried('link', lambda: os.link('one', 'two'))
tried('chmod', lambda: os.chmod('one', 0o600))
tried('read', lambda: os.open('one', os.O_RDONLY))
tried('log write', lambda: os.open('log', os.O_WRONLY))
tried('log append', lambda: os.open('log', os.O_WRONLY | os.O_APPEND))
tried('log empty', lambda: os.open('log', os.O_WRONLY | os.O_TRUNC))
tried('log truncate', lambda: os.truncate('log', 1))
tried('run', lambda: os.open('run', os.O_WRONLY))
tried('run both', lambda: os.open('run', os.O_RDWR))
tried('run truncate', lambda: os.truncate('run', 1))
";

/// Opens as many files as it may, and says how many and with what the next one failed. Holds them while it does other things.
const MANY: &str = r"
import errno, os
held, failed = [], set()
for i in range(400):
    try:
        held.append(os.open(f'many.{i}', os.O_RDWR | os.O_CREAT))
        os.write(held[-1], b'x%d' % i)
    except OSError as e:
        failed.add(errno.errorcode[e.errno])
os.stat('in')
os.rename('in', 'renamed')
os.mkdir('dir')
os.unlink('other')
os.truncate('renamed', 10)
print(len(held), *failed)
for fd in held:
    os.close(fd)
";

both! {
    /// A daemon that runs out of descriptors must not fail what does not need one more, nor call it the job's own limit.
    fn a_job_that_opens_more_than_the_daemon_can_is_told_so_and_nothing_else_fails(io) {
        let lab = lab(Store::Tmpfs).expect("memory is always there");
        let mut options = Options::new(io);
        options.descriptors = Some(512);
        let mount = lab.mount(options);
        let done = mount.python(MANY).ok();
        let expected = match io {
            // What the kernel opens is none of the daemon's.
            Io::Passthrough => "400",
            Io::Inline => "192 ENFILE",
        };
        assert_eq!(done.stdout.trim(), expected);
        mount.sync();
        mount.ctl(&["verify", "many.0", "many.191", "renamed"]).expect(0);
        mount.sh("cat many.0 many.191 > after").ok();
        mount.sync();
        mount.verify("after", 0);
        let told = mount.status()["warnings"].to_string().contains("LimitNOFILE");
        assert_eq!(told, io == Io::Inline);
    }

    /// Most filesystems have another device number after a reboot: nothing that is known may depend on it.
    fn what_was_closed_before_a_reboot_is_known_and_sealed_after_it(io) {
        let Some(mut lab) = lab(Store::Btrfs) else { return };
        let device = |lab: &Lab| fs::metadata(lab.behind("in")).unwrap().dev();
        let before = device(&lab);
        {
            let mount = lab.mount(Options::new(io));
            mount.sh("cat in > out").ok();
            mount.sync();
            mount.sh("head -c 50000000 /dev/zero > big; cat big > late").ok();
            mount.crash();
            rustix::mount::unmount(lab.mountpoint(), UnmountFlags::DETACH).unwrap();
        }
        lab.reboot();
        // Another test may have had the next number, and given it back.
        while device(&lab) == before {
            lab.reboot();
        }
        let mount = lab.mount(Options::new(io));
        mount.await_state("out", "logged");
        mount.sync();
        assert_eq!(mount.lineage("late").root().state, "logged");
        assert_eq!(mount.lineage("late").inputs(), names(["big"]));
        mount.ctl(&["verify", "out", "big", "late"]).expect(0);
        assert_eq!(mount.status()["behind"], 0);
    }

    /// XFS zeroes what there is and then finds no room for the rest: what failed has changed the file all the same.
    fn an_allocation_that_fails_halfway_is_in_the_digest(io) {
        let Some(lab) = lab(Store::Xfs) else { return };
        let mount = lab.mount(Options::new(io));
        mount.python(
            "import ctypes, errno, os\nfd = os.open('z', os.O_RDWR | os.O_CREAT); os.write(fd, b'a' * (8 << 20)); libc = ctypes.CDLL(None, use_errno=True)\n\
             failed = libc.fallocate(fd, 0x11, ctypes.c_long(0), ctypes.c_long(1 << 40)); assert failed and ctypes.get_errno() == errno.ENOSPC; os.close(fd)",
        ).ok();
        let bytes = mount.sealed_as_it_is("z");
        assert_eq!((bytes.len(), bytes[0]), (8 << 20, 0), "otherwise it proves nothing");
    }

    /// The kernel calls it EIO when it cannot open the backing file itself.
    fn what_the_store_refuses_to_open_is_refused_with_its_own_error(io) {
        let lab = lab(Store::Tmpfs).expect("memory is always there");
        let mount = lab.mount(Options::new(io));
        mount.sh("cat in > one; cat in > log; cp /bin/sleep run; mkdir dir").ok();
        mount.sync();
        let attribute = |how: &str, name: &str| {
            let done = Command::new("chattr").arg(how).arg(lab.behind(name)).status();
            assert!(done.unwrap().success(), "chattr {how}");
        };
        attribute("+i", "one");
        attribute("+a", "log");
        let all = format!("{TRIED}{REFUSED}");
        let running = Command::new(lab.behind("run")).arg("60").spawn();
        let there = Job::new(&lab.source(), &lab.scratch(), &["python", "-c", &all]).by(User::Root).ok();
        let here = mount.python(&all).by(User::Root).ok();
        running.unwrap().kill().unwrap();
        attribute("-i", "one");
        attribute("-a", "log");
        assert_eq!(here.stdout, there.stdout, "{}", here.stderr);
        assert!(here.stdout.contains("write EPERM") && here.stdout.contains("run ETXTBSY"), "{}", here.stdout);
        mount.sync();
        mount.ctl(&["verify", "one", "log", "run"]).expect(0);
    }

    /// A disk that becomes read-only under the mount (the usual end of one that fails): the same errors as without Atlas, what was sealed
    /// stays sealed, and all goes on when it can be written again.
    fn a_store_that_becomes_read_only_says_so_and_takes_nothing_back(io) {
        let lab = lab(Store::Tmpfs).expect("memory is always there");
        let state = lab.scratch().join("state");
        let flags = ["--state", state.to_str().unwrap()];
        let mount = lab.mount(flags.into_iter().fold(Options::new(io), Options::flag));
        mount.sh("cat in > one; mkdir dir").ok();
        mount.sync();
        let remount = |flags| mount_remount(lab.source(), MountFlags::BIND | flags, "").unwrap();
        remount(MountFlags::RDONLY);
        let all = format!("{TRIED}{TRY_ALL}");
        let natively = Job::new(&lab.source(), &lab.scratch(), &["python", "-c", &all]).ok();
        let here = mount.python(&all).ok();
        assert_eq!(here.stdout, natively.stdout, "{}", here.stderr);
        assert!(here.stdout.contains("create EROFS"), "{}", here.stdout);
        mount.sync();
        mount.await_state("one", "logged");
        mount.verify("one", 0);
        remount(MountFlags::empty());
        mount.sh("cat one other > two").ok();
        mount.sync();
        mount.verify("two", 0);
        assert_eq!(mount.lineage("two").inputs(), names(["one", "other"]));
        let status = mount.status();
        assert_eq!((&status["open"], &status["pending"]), (&0.into(), &0.into()));
    }
}

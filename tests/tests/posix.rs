//! What POSIX promises and jobs rely on, seen through the mount. Not a conformance suite: one test per promise of fs/SEMANTICS.md.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown};

use atlas_tests::{Job, Lab, Options, User, both};
use rustix::fs::{FallocateFlags, FlockOperation, SeekFrom, fallocate, flock, seek};

both! {
    /// An unlinked file lives as long as its descriptor.
    fn an_unlinked_open_file_can_still_be_read_and_written(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.python(
            "import os\nf = open('f', 'w+b'); f.write(b'one'); f.flush(); os.unlink('f')\nf.write(b' two'); f.seek(0)\nassert f.read() == b'one two'\nassert os.fstat(f.fileno()).st_nlink == 0",
        ).ok();
    }

    /// Offsets beyond 4 GiB, and the hole before them.
    fn a_file_larger_than_four_gigabytes_keeps_its_end_and_its_hole(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io).flag("--digest-threads").flag("2"));
        let path = mount.path("big.lock"); // excluded from sealing: hashing five gigabytes proves nothing here
        let file = OpenOptions::new().create(true).write(true).read(true).truncate(true).open(&path).unwrap();
        let far = 5 << 30;
        file.write_all_at(b"end", far).unwrap();
        let mut end = [0; 3];
        file.read_exact_at(&mut end, far).unwrap();
        assert_eq!((&end, file.metadata().unwrap().len()), (b"end", far + 3));
        assert!(file.metadata().unwrap().blocks() < 1000, "it stays sparse");
        let data = seek(&file, SeekFrom::Data(0)).unwrap();
        assert!(data > 4 << 30 && data <= far, "SEEK_DATA found {data}");
        assert_eq!(seek(&file, SeekFrom::Hole(0)).unwrap(), 0);
    }

    /// A set-group-id bit where the group may not execute: the store leaves it to the superuser and to the group's members.
    fn set_ids_go_and_stay_as_on_the_store(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        let script = r"
import os, sys
os.umask(0)
def made(owner, mode):
    open('f', 'wb').write(b'bytes'); os.chown('f', *owner); os.chmod('f', mode)
def by(ids, what):
    child = os.fork()
    if child == 0:
        os.setgroups([]); os.setresgid(ids, ids, ids); os.setresuid(ids, ids, ids)
        fd = os.open('f', os.O_RDWR)
        {'truncate': lambda: os.truncate('f', 1), 'ftruncate': lambda: os.ftruncate(fd, 1), 'allocate': lambda: os.posix_fallocate(fd, 0, 4096),
         'open': lambda: os.open('f', os.O_WRONLY | os.O_TRUNC), 'chown': lambda: os.chown('f', -1, ids)}[what]()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, what
    return oct(os.stat('f').st_mode & 0o7777)
for mode in (0o2666, 0o2676, 0o4666, 0o6666, 0o6676, 0o6777):
    for owner in ((0, 0), (65534, 65534), (65534, 0), (0, 65534)):
        for ids in (0, 65534):
            for what in ('truncate', 'ftruncate', 'allocate', 'open', 'chown'):
                if what == 'chown' and owner[0] != ids: continue
                made(owner, mode)
                print(oct(mode), owner, ids, what, by(ids, what))
";
        let plain = lab.scratch().join("plain");
        fs::create_dir(&plain).unwrap();
        let natively = Job::new(&plain, &lab.scratch(), &["python3", "-c", script]).by(User::Root).ok();
        let mounted = mount.python(script).by(User::Root).ok();
        let differ: Vec<_> = natively.stdout.lines().zip(mounted.stdout.lines()).filter(|(n, m)| n != m).collect();
        assert!(differ.is_empty() && natively.stdout.lines().count() > 100, "{differ:#?}");
    }

    /// Preallocation and hole punching are the backing store's.
    fn fallocate_has_the_backing_stores_modes(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        let file = File::options().create(true).truncate(true).write(true).read(true).open(mount.path("f")).unwrap();
        fallocate(&file, FallocateFlags::empty(), 0, 1 << 20).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 1 << 20);
        file.write_all_at(&[7; 8192], 0).unwrap();
        fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 4096).unwrap();
        let mut bytes = [1; 8192];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes[..4096].iter().all(|&b| b == 0) && bytes[4096..].iter().all(|&b| b == 7));
    }

    /// The kernel's FUSE cannot move what lies behind a range: programs see that it is not supported, and nothing has changed.
    fn collapsing_and_inserting_ranges_is_refused_as_not_supported(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        let file = File::options().create(true).truncate(true).write(true).open(mount.path("f")).unwrap();
        file.write_all_at(&[7; 16384], 0).unwrap();
        for flags in [FallocateFlags::COLLAPSE_RANGE, FallocateFlags::INSERT_RANGE] {
            assert_eq!(fallocate(&file, flags, 4096, 4096), Err(rustix::io::Errno::OPNOTSUPP));
        }
        assert_eq!(fs::read(mount.path("f")).unwrap(), [7; 16384]);
    }

    /// Two processes that lock one file on the mount must see each other.
    fn locks_hold_between_processes_and_between_descriptors(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        let one = File::create(mount.path("l")).unwrap();
        let two = File::open(mount.path("l")).unwrap();
        flock(&one, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(flock(&two, FlockOperation::NonBlockingLockShared), Err(rustix::io::Errno::WOULDBLOCK));
        drop(one);
        flock(&two, FlockOperation::NonBlockingLockShared).unwrap();
        mount.python(
            "import fcntl, os, struct\nf = open('posix', 'w'); fcntl.lockf(f, fcntl.LOCK_EX)\nif os.fork() == 0:\n    g = open('posix', 'w')\n    try:\n        fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB); os._exit(1)\n    except OSError:\n        os._exit(0)\nassert os.wait()[1] == 0\n\
             h = open('ofd', 'w'); i = open('ofd', 'w'); lock = struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0)\nfcntl.fcntl(h, 37, lock)\ntry:\n    fcntl.fcntl(i, 37, lock); raise SystemExit('two OFD locks')\nexcept OSError: pass",
        ).ok();
    }

    /// An ACL that the backing store holds decides; a mode alone would let the wrong people in, or keep the right ones out.
    fn access_control_lists_are_kept_and_enforced(io) {
        let lab = Lab::new();
        lab.put("secret", b"s");
        let mount = lab.mount(Options::new(io));
        mount.sh("chown root:root secret; chmod 600 secret; setfacl -m u:nobody:r secret; getfacl -c secret | grep -qx user:nobody:r--").by(User::Root).ok();
        mount.sh("cat secret").ok();
        mount.sh("echo x >> secret").run().expect(2);
        mount.sh("setfacl -b secret").by(User::Root).ok();
        mount.sh("cat secret").run().expect(1);
        mount.sh("mkdir d; setfacl -d -m u:nobody:rwx d; touch d/f; getfacl -c d/f | grep -q ^user:nobody:").by(User::Root).ok();
    }

    /// Permission checks are made as the caller, not as the daemon.
    fn an_ordinary_user_gets_no_more_than_his_own_rights(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.sh("mkdir -m 700 private; echo x > private/f; echo y > readable; chmod 644 readable").by(User::Root).ok();
        mount.sh("cat private/f").run().expect(1);
        mount.sh("cat readable; ! echo z > readable; ! rm -rf private/f; ! chown nobody readable").ok();
        mount.sh("echo s > suid; chmod 6755 suid").ok();
        mount.sh("echo more >> suid").ok();
        assert_eq!(fs::metadata(lab.behind("suid")).unwrap().mode() & 0o7777, 0o755, "a write by an ordinary user clears setuid");
    }

    /// chown(2) to nobody in particular: a backup that goes by the change time would miss it, and a program would stay set-ID.
    fn a_chown_that_names_no_owner_moves_the_change_time_and_clears_set_ids_as_on_a_plain_directory(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io).flag("-o").flag("suid"));
        let plain = lab.scratch().join("plain");
        for file in [&plain, &mount.path("f")] {
            fs::write(file, b"x").unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o6755)).unwrap();
            let before = fs::metadata(file).unwrap();
            // Times as coarse as the clock's tick must differ.
            std::thread::sleep(std::time::Duration::from_millis(20));
            chown(file, None, None).unwrap();
            let after = fs::metadata(file).unwrap();
            assert_eq!(after.mode() & 0o7777, 0o755);
            assert!((after.ctime(), after.ctime_nsec()) > (before.ctime(), before.ctime_nsec()));
        }
    }

    /// Directory streams, symlinks, special files, statfs and times.
    fn names_and_attributes_are_those_of_the_backing_directory(io) {
        let lab = Lab::new();
        for i in 0..3000 {
            lab.put(&format!("many/f{i}"), b"");
        }
        let mount = lab.mount(Options::new(io));
        mount.sh(
            "test $(ls -U many | wc -l) = 3000; test $(ls -U many | sort -u | wc -l) = 3000; ln -s ../x many/link; test \"$(readlink many/link)\" = ../x; \
             mkfifo p; test -p p; touch -d '1999-12-31 23:59:59.123456789' p; stat -c %y p | grep -q '59.123456789'; stat -f . > /dev/null; rmdir many 2>/dev/null && exit 1; true",
        ).ok();
        let (here, there) = (fs::metadata(mount.path("many/f7")).unwrap(), fs::metadata(lab.behind("many/f7")).unwrap());
        assert_eq!((here.ino(), here.nlink(), here.mtime_nsec()), (there.ino(), there.nlink(), there.mtime_nsec()));
        assert_eq!(rustix::fs::statvfs(mount.path("")).unwrap().f_blocks, rustix::fs::statvfs(lab.behind("")).unwrap().f_blocks);
    }

    /// More known files than the daemon may hold descriptors.
    fn more_files_are_known_than_descriptors_are_allowed(io) {
        let lab = Lab::new();
        for i in 0..6000 {
            lab.put(&format!("many/{i}"), b"x");
        }
        let mut options = Options::new(io);
        options.descriptors = Some(1024);
        let mount = lab.mount(options);
        mount.sh("ls -l many > /dev/null; cat many/* | wc -c | grep -qx 6000").ok();
    }

    /// O_APPEND from two processes interleaves and loses nothing.
    fn appends_of_two_processes_lose_nothing(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.sh("for k in a b; do (for i in $(seq 500); do echo $k$i >> log; done) & done; wait; test $(wc -l < log) = 1000; test $(sort -u log | wc -l) = 1000").ok();
        mount.sync();
        mount.verify("log", 0);
        assert_eq!(mount.status()["behind"], 0, "all of it came through the mount");
    }
}

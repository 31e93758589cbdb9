//! Maps that outlive their descriptor: the place where a digest taken at close() would be a lie.

use std::fs;

use atlas_tests::{Io, Lab, Options, both, files};

/// Writes through a shared map, closes the file, and stores again a second later.
const LATE: &str = r"
import mmap, os, sys, time
fd = os.open('late.bin', os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(fd, 1 << 20)
m = mmap.mmap(fd, 1 << 20)
for fd in os.listdir('/proc/self/fd'):
    # mmap keeps a duplicate.
    if os.path.realpath('/proc/self/fd/' + fd).endswith('late.bin'):
        os.close(int(fd))
m[0:5] = b'first'
print('closed', flush=True)
time.sleep(1)
m[4096:4100] = b'late'
m[0:5] = b'again'
if sys.argv[1:] == ['long']:
    time.sleep(8)
    m[8192:8196] = b'last'
m.close()
";

/// Stores into a map, each time so far away that the kernel has to ask the store for another page, and looks at the times after each: open, closed, a while after the close.
const TIMES: &str = r"
import mmap, os, sys, time
def times():
    s = os.stat('t.bin')
    return s.st_mtime_ns, s.st_ctime_ns
seen = [times()]
fd = os.open('t.bin', os.O_RDWR)
m = mmap.mmap(fd, 8 << 20)
def store(at):
    time.sleep(0.05)
    m[at << 21] = 1
    seen.append(times())
store(0)
for fd in os.listdir('/proc/self/fd'):
    # mmap keeps a duplicate.
    if os.path.realpath('/proc/self/fd/' + fd).endswith('t.bin'):
        os.close(int(fd))
store(1)
time.sleep(0.5)
times()
store(2)
assert all(a < b for a, b in zip(seen, seen[1:])), seen
";

/// Opens, maps, stores into and removes the same few files from forty threads of one process.
const CROWD: &str = r"
import mmap, os, threading
failed = []
def use(i):
    try:
        for k in range(20):
            name = 'm%d.lock' % (k % 5)
            fd = os.open(name, os.O_RDWR | os.O_CREAT)
            os.pwrite(fd, b'x' * 100, i * 100)
            os.pread(fd, 100, i * 100)
            if i % 3 == 0:
                os.ftruncate(fd, 20000)
                with mmap.mmap(fd, 4096) as m:
                    m[5:6] = b'y'
            os.close(fd)
            if i % 11 == 0:
                try:
                    os.unlink(name)
                except FileNotFoundError:
                    pass
    except Exception as e:
        failed.append(e)
threads = [threading.Thread(target=use, args=(i,)) for i in range(40)]
for t in threads: t.start()
for t in threads: t.join()
assert not failed, failed
";

both! {
    /// A thread that waits for a mapped page holds the lock of its process's memory, under which the kernel shows the arguments of
    /// that process: a daemon that reads them to answer another thread would wait for itself.
    fn threads_that_map_and_open_at_once_do_not_stop_the_mount(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.python(CROWD).ok();
    }

    /// The same for who looks right after another process stored, closed and was gone: build tools and backups go by times.
    fn times_after_the_writer_of_a_map_is_gone_are_seen_at_once(io) {
        let lab = Lab::new();
        lab.put("t.bin", &vec![0; 4 << 12]);
        let mount = lab.mount(Options::new(io));
        mount.sh(
            r#"
            store='import mmap, os; mmap.mmap(os.open("t.bin", os.O_RDWR), 4096)[0] = 1'
            before=$(stat -c '%y %z' t.bin); sleep 0.05
            python -c "import os; os.stat('t.bin')"; python -c "$store"
            [ "$before" != "$(stat -c '%y %z' t.bin)" ]
            "#,
        ).ok();
    }

    /// Stores into a mapped page after close(), and after a first store, change no timestamp: the sealed digest must still be
    /// that of the file as it stays.
    fn what_is_stored_a_second_after_close_is_in_the_sealed_digest(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.python(LATE).ok();
        let bytes = mount.sealed_as_it_is("late.bin");
        assert_eq!((&bytes[0..5], &bytes[4096..4100]), (&b"again"[..], &b"late"[..]));
    }

    /// A file that its writer has closed and somebody still maps is `held`; when it is sealed all the same, what came after is a
    /// new version, never a silent difference.
    fn a_long_lived_map_never_leaves_a_seal_that_differs_from_the_file(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        fs::write(mount.path("late.py"), LATE).unwrap();
        mount.job(&["python", "late.py", "long"]).ok();
        let bytes = mount.sealed_as_it_is("late.bin");
        assert_eq!(&bytes[8192..8196], b"last");
    }

    /// `numpy.memmap(mode="w+")` faults its own pages in: that is no use of its own output.
    fn a_memmap_that_is_filled_in_place_is_no_input_of_itself(io) {
        let lab = Lab::new();
        lab.put("in.bin", &files::noise(5, 4096));
        let mount = lab.mount(Options::new(io));
        mount.python(
            "import numpy\nd = numpy.fromfile('in.bin', dtype='u1')\nm = numpy.lib.format.open_memmap('out.npy', mode='w+', dtype='u1', shape=d.shape)\n\
             m[:] = d\nm += 1\nm.flush(); del m",
        ).ok();
        mount.sync();
        mount.await_state("out.npy", "logged");
        assert_eq!(mount.lineage("out.npy").inputs(), atlas_tests::lineage::names(["in.bin"]));
        mount.verify("out.npy", 0);
    }
}

/// Only in passthrough mode: inline, a page has no times of its own until the kernel writes it back.
#[test]
fn times_follow_each_store_into_a_map_that_outlives_its_descriptor() {
    let lab = Lab::new();
    lab.put("t.bin", &vec![0; 8 << 20]);
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.python(TIMES).ok();
}

//! The mount against a plain directory: every operation on both, results and errnos compared, in both modes. Needs root and /dev/fuse.

#![expect(
    unreachable_pub,
    reason = "one binary: pub reaches its modules and no further"
)]
#![expect(
    clippy::print_stdout,
    reason = "the daemon process says on stdout that it is ready"
)]

mod posix {
    pub mod harness;
    pub mod recorder;

    mod bytes;
    mod events;
    mod locks;
    mod many;
    mod mounts;
    mod names;
    mod owners;
    mod random;
    mod virtuals;
}

/// Not a test of its own: the process that serves a mount for the others.
#[test]
fn daemon_process() {
    posix::harness::daemon_process();
}

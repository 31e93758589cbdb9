//! A place in memory for a secret key: never swapped out, in no core dump, not in children, wiped when dropped. Not a defence against root, nor
//! against what copies the bytes out; what is computed with a key lies on the stack for that moment.

use std::io;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags};
use zeroize::Zeroize as _;

/// Follows the secret in its page. In a child of fork the page is all zero, this byte too.
const OURS: u8 = 0xa5;

/// `N` secret bytes in pages of their own.
pub struct Vault<const N: usize> {
    held: NonNull<Held<N>>,
}

#[repr(C)]
struct Held<const N: usize> {
    secret: [u8; N],
    ours: u8,
}

// SAFETY: the mapping belongs to the vault alone and is written only while it is made and dropped, when nobody else has it.
unsafe impl<const N: usize> Send for Vault<N> {}
// SAFETY: through a shared reference the mapping is only read.
unsafe impl<const N: usize> Sync for Vault<N> {}

impl<const N: usize> Vault<N> {
    /// Random bytes from the kernel, written straight into the locked pages.
    ///
    /// # Errors
    /// When the memory cannot be had, locked or kept out of dumps, or the kernel gives no random bytes. The text names the remedy.
    pub fn random() -> io::Result<Self> {
        Self::filled(|secret| Ok(getrandom::fill(secret)?))
    }

    /// What `fill` writes straight into the locked pages.
    ///
    /// # Errors
    /// When the memory cannot be had, locked or kept out of dumps, or `fill` fails. The text names the remedy.
    pub fn filled(fill: impl FnOnce(&mut [u8; N]) -> io::Result<()>) -> io::Result<Self> {
        let mut vault = Self::empty()?;
        // SAFETY: `empty` has mapped a zeroed `Held`, which is a valid one; nobody else has it yet.
        let held = unsafe { vault.held.as_mut() };
        fill(&mut held.secret)?;
        held.ours = OURS;
        Ok(vault)
    }

    fn empty() -> io::Result<Self> {
        let bytes = size_of::<Held<N>>();
        // SAFETY: a new mapping where the kernel likes; it overlays nothing.
        let start = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        // Pages are aligned to more than `Held`, whose alignment is 1. From here on dropping it ends the mapping.
        let held = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let vault = Self { held };
        // The kernel rounds a length up to whole pages, and these pages hold nothing else.
        // SAFETY: the range is the mapping just made; locking changes no byte of it.
        unsafe { rustix::mm::mlock(start, bytes) }.map_err(|e| {
            io::Error::new(
                io::Error::from(e).kind(),
                format!("a page for a secret key cannot be locked in memory ({e}): raise RLIMIT_MEMLOCK (`ulimit -l`, LimitMEMLOCK= of systemd)"),
            )
        })?;
        for advice in [Advice::LinuxDontDump, Advice::LinuxWipeOnFork] {
            // SAFETY: the range is the mapping just made; neither advice changes a byte of it in this process.
            unsafe { rustix::mm::madvise(start, bytes, advice) }.map_err(|e| {
                io::Error::new(
                    io::Error::from(e).kind(),
                    format!("a page for a secret key cannot be kept out of core dumps and children ({e}): Linux 4.14 or later is needed"),
                )
            })?;
        }
        Ok(vault)
    }

    /// Calls `f` with the bytes. What `f` copies is no longer guarded.
    ///
    /// # Panics
    /// In a child of fork: the bytes are gone there, and zeroes must not be taken for a key.
    pub fn with<T>(&self, f: impl FnOnce(&[u8; N]) -> T) -> T {
        // SAFETY: the mapping lives as long as `self`, holds a valid `Held`, and is not written before the drop.
        let held = unsafe { self.held.as_ref() };
        assert!(
            held.ours == OURS,
            "a secret key does not go along with fork: make a new one"
        );
        f(&held.secret)
    }
}

impl<const N: usize> Drop for Vault<N> {
    fn drop(&mut self) {
        // SAFETY: nobody borrows the mapping any more. `zeroize` writes in a way that the compiler keeps.
        unsafe { self.held.as_mut() }.secret.zeroize();
        let start = self.held.as_ptr().cast();
        // SAFETY: ends the mapping that `empty` made, of the same length; the lock on it ends with it.
        let _ = unsafe { rustix::mm::munmap(start, size_of::<Held<N>>()) };
    }
}

impl<const N: usize> std::fmt::Debug for Vault<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says of the mapping at an address, in /proc/self/smaps.
    fn mapping(at: usize) -> String {
        let all = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut found = String::new();
        let mut inside = false;
        for line in all.lines() {
            let first = line.split(' ').next().unwrap();
            if let Some((from, to)) = first.split_once('-') {
                let hex = |s| usize::from_str_radix(s, 16).unwrap();
                inside = (hex(from)..hex(to)).contains(&at);
            }
            if inside {
                found.push_str(line);
                found.push('\n');
            }
        }
        found
    }

    #[test]
    fn the_page_is_locked_and_neither_dumped_nor_inherited() {
        let vault = Vault::<32>::random().unwrap();
        let about = mapping(vault.held.as_ptr() as usize);
        let flags = about.lines().find(|l| l.starts_with("VmFlags:")).unwrap();
        for flag in ["lo", "dd", "wf"] {
            assert!(flags.split(' ').any(|f| f == flag), "{flag}: {about}");
        }
        let locked = about.lines().find(|l| l.starts_with("Locked:")).unwrap();
        assert!(!locked.contains(" 0 kB"), "{about}");
    }

    #[test]
    fn two_vaults_hold_two_secrets_and_lose_none_while_they_live() {
        let vaults: Vec<_> = (0..4).map(|_| Vault::<32>::random().unwrap()).collect();
        let first = vaults[0].with(|b| *b);
        assert_ne!(first, [0; 32]);
        assert!(vaults[1..].iter().all(|v| v.with(|b| *b != first)));
        drop(vaults.into_iter().skip(1).collect::<Vec<_>>());
    }

    #[test]
    fn a_dropped_vault_leaves_no_mapping() {
        const BYTES: usize = 200_000;
        // Larger than what the other tests hold together: what another thread maps at the place meanwhile is not taken for it.
        let there = |at: usize| {
            let about = mapping(at + BYTES / 2);
            let size = about.lines().find(|l| l.starts_with("Size:"));
            let size = size.and_then(|l| l.split_whitespace().nth(1)?.parse::<usize>().ok());
            about.contains(" dd ") && size.is_some_and(|kb| kb << 10 >= BYTES)
        };
        let vault = Vault::<BYTES>::random().unwrap();
        vault.with(|b| assert!(b[BYTES - 32..].iter().any(|b| *b != 0)));
        let at = vault.held.as_ptr() as usize;
        assert!(there(at));
        drop(vault);
        assert!(!there(at));
    }

    #[test]
    fn a_child_of_fork_has_zeroes_and_takes_them_for_no_key() {
        let vault = Vault::<32>::random().unwrap();
        let held = vault.held;
        // SAFETY: the child only reads memory of its own and ends by _exit: no allocation, no lock, no destructor.
        let pid = unsafe { fork() };
        if pid == 0 {
            // SAFETY: WIPEONFORK leaves the mapping in place, zero filled.
            let held = unsafe { held.as_ref() };
            let wiped = held.secret.iter().all(|b| *b == 0) && held.ours != OURS;
            // SAFETY: ends this child at once.
            unsafe { _exit(i32::from(!wiped)) }
        }
        let child = rustix::process::Pid::from_raw(pid).unwrap();
        let (_, status) =
            rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty())
                .unwrap()
                .unwrap();
        assert_eq!(status.exit_status(), Some(0));
        vault.with(|b| assert_ne!(*b, [0; 32]));
    }

    unsafe extern "C" {
        fn fork() -> i32;
        fn _exit(code: i32) -> !;
    }
}

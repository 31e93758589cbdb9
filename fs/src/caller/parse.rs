//! What the kernel writes in /proc, as values. Pure: bytes in, values out; reading them is `proc`.

/// `PF_EXITING` in the flags of /proc/TID/stat (include/linux/sched.h).
const PF_EXITING: u64 = 0x4;

/// The fields of /proc/PID/stat that matter here (proc_pid_stat(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Field 2, without its parentheses: at most 15 bytes that the process chose itself.
    pub(crate) comm: Vec<u8>,
    /// Field 3: `Z` for a zombie, `X` for dead.
    pub(crate) state: u8,
    /// Field 4; 0 for processes without a parent in this pid namespace.
    pub(crate) ppid: i32,
    /// Field 9 carries PF_EXITING.
    pub(crate) exiting: bool,
    /// Field 22: clock ticks since boot. Told to tell a reused pid from the old one; survives execve(2).
    pub(crate) start: u64,
    /// Field 52, as wait(2) reports it; 0 where the reader may not see it.
    pub(crate) exit_code: i32,
}

/// Reads one stat line. The name may hold blanks, parentheses and newlines, so it ends at the last parenthesis.
pub(crate) fn stat(line: &[u8]) -> Option<Stat> {
    let open = line.iter().position(|b| *b == b'(')?;
    let close = line.iter().rposition(|b| *b == b')')?;
    let comm = line.get(open + 1..close)?.to_vec();
    let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // `fields[0]` is field 3 of the line.
    let field = |n: usize| fields.get(n - 3).copied();
    Some(Stat {
        comm,
        state: *field(3)?.as_bytes().first()?,
        ppid: field(4)?.parse().ok()?,
        exiting: field(9)?.parse::<u64>().ok()? & PF_EXITING != 0,
        start: field(22)?.parse().ok()?,
        exit_code: field(52).and_then(|f| f.parse().ok()).unwrap_or(0),
    })
}

/// The fields of /proc/PID/status that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// The process that a thread belongs to.
    pub(crate) tgid: i32,
    /// Its parent.
    pub(crate) ppid: i32,
    /// Filesystem user id.
    pub(crate) fsuid: u32,
    /// Filesystem group id.
    pub(crate) fsgid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// Effective capabilities, bit n for capability n.
    pub(crate) effective: u64,
}

/// Reads a status file. Lines that are not known are ignored; without `Tgid:` it is not one.
pub(crate) fn status(text: &[u8]) -> Option<Status> {
    let mut out = Status::default();
    let mut seen = false;
    for line in text.split(|b| *b == b'\n') {
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            continue;
        };
        let (key, value) = line.split_at(colon);
        let Ok(value) = std::str::from_utf8(&value[1..]) else {
            continue;
        };
        let mut words = value.split_ascii_whitespace();
        match key {
            b"Tgid" => {
                out.tgid = words.next()?.parse().ok()?;
                seen = true;
            }
            b"PPid" => out.ppid = words.next()?.parse().ok()?,
            b"Uid" => out.fsuid = words.nth(3)?.parse().ok()?,
            b"Gid" => out.fsgid = words.nth(3)?.parse().ok()?,
            b"Groups" => out.groups = words.filter_map(|w| w.parse().ok()).collect(),
            b"CapEff" => out.effective = u64::from_str_radix(words.next()?, 16).ok()?,
            _ => {}
        }
    }
    seen.then_some(out)
}

/// What /proc/PID/statm tells of a process's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// A program's.
    Program,
    /// A stack and no program text: it is in the middle of execve(2).
    Replaced,
    /// All zeros: it is exiting, and gives its memory back before its files are closed.
    Gone,
}

/// Reads a statm line: pages in all come first, those of program text fourth.
pub(crate) fn memory(statm: &[u8]) -> Option<Memory> {
    let mut pages = std::str::from_utf8(statm).ok()?.split_ascii_whitespace();
    Some(match (pages.next()?, pages.nth(2)?) {
        ("0", _) => Memory::Gone,
        (_, "0") => Memory::Replaced,
        _ => Memory::Program,
    })
}

/// The pieces of /proc/PID/cmdline or environ. A last piece without its NUL (cut short, or rewritten by the process) counts too.
pub(crate) fn pieces(bytes: &[u8]) -> Vec<Vec<u8>> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|b| *b == 0).map(<[u8]>::to_vec).collect()
}

/// The names in an environment block, sorted, each once. Values are not looked at.
pub(crate) fn env_names(bytes: &[u8]) -> Vec<String> {
    let mut names: Vec<String> = pieces(bytes)
        .iter()
        .filter_map(|e| e.split(|b| *b == b'=').next().filter(|n| n.len() < e.len()))
        .filter(|n| !n.is_empty())
        .map(|n| String::from_utf8_lossy(n).into_owned())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The inode of a pipe, from the text of a /proc/PID/fd link (`pipe:[123]`).
pub(crate) fn pipe(link: &[u8]) -> Option<u64> {
    let digits = link.strip_prefix(b"pipe:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_being_replaced_is_neither_a_program_nor_one_that_exits() {
        assert_eq!(memory(b"1 1 0 0 0 33 0\n"), Some(Memory::Replaced));
        assert_eq!(memory(b"0 0 0 0 0 0 0\n"), Some(Memory::Gone));
        let program = b"3291 1804 1420 717 0 436 0\n";
        assert_eq!(memory(program), Some(Memory::Program));
        assert_eq!(memory(b""), None);
    }

    /// Captured on Linux 6.18, with the name replaced.
    fn line(comm: &str, flags: u64, code: i32) -> Vec<u8> {
        format!(
            "24797 ({comm}) S 24716 24716 24716 0 -1 {flags} 102 0 0 0 0 0 0 0 20 0 8 0 1193046 \
             3919872 250 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 {code}\n"
        )
        .into_bytes()
    }

    #[test]
    fn a_name_with_blanks_parentheses_and_newlines_does_not_shift_the_fields() {
        for comm in [
            "python3",
            "tmux: server",
            "a) S 1 (b",
            ")",
            "((",
            "x\ny z",
            "",
        ] {
            let s = stat(&line(comm, 0x40_0140, 0)).unwrap();
            assert_eq!(s.comm, comm.as_bytes());
            assert_eq!((s.ppid, s.start, s.exiting), (24716, 1_193_046, false));
        }
    }

    #[test]
    fn only_pf_exiting_says_that_a_thread_is_on_its_way_out() {
        // PF_SIGNALED (0x400) alone is what the last thread of a normal exit may carry.
        assert!(!stat(&line("x", 0x400, 0)).unwrap().exiting);
        assert!(stat(&line("x", 0x40_0144, 768)).unwrap().exiting);
        assert_eq!(stat(&line("x", 0x4, 768)).unwrap().exit_code, 768);
    }

    #[test]
    fn a_short_or_foreign_stat_line_is_nothing_and_not_a_panic() {
        for bad in [
            &b""[..],
            b"1",
            b"1 (",
            b"1 )(",
            b"1 (x)",
            b"1 (x) S",
            b"1 (x) S 1 1 1 1 1 z",
            b"\xff(\xff)\xff",
        ] {
            assert_eq!(stat(bad), None);
        }
    }

    #[test]
    fn this_process_reads_as_itself() {
        let s = stat(&std::fs::read("/proc/self/stat").unwrap()).unwrap();
        assert_eq!(
            s.ppid,
            rustix::process::getppid().unwrap().as_raw_nonzero().get()
        );
        let st = status(&std::fs::read("/proc/self/status").unwrap()).unwrap();
        assert_eq!(st.tgid, rustix::process::getpid().as_raw_nonzero().get());
    }

    #[test]
    fn status_takes_the_filesystem_ids_and_not_the_real_ones() {
        let text = b"Name:\tx: Tgid:\t1\nTgid:\t77\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nCapEff:\t0000000000200004\n";
        let s = status(text).unwrap();
        assert_eq!((s.tgid, s.fsuid, s.fsgid), (77, 4, 8));
        assert_eq!(s.groups, [9, 10]);
        assert_eq!(s.effective, 0x20_0004);
        assert_eq!(status(b"Name:\tx\n"), None);
    }

    #[test]
    fn environment_values_never_come_through() {
        let names = env_names(b"PATH=/bin\0HF_TOKEN=hf_abc=def\0broken\0=C:=x\0PATH=/usr\0");
        assert_eq!(names, ["HF_TOKEN", "PATH"]);
    }

    #[test]
    fn only_anonymous_pipes_are_pipes() {
        assert_eq!(pipe(b"pipe:[4711]"), Some(4711));
        for other in [
            &b"socket:[1]"[..],
            b"/tmp/pipe:[1]",
            b"pipe:[]",
            b"pipe:[1",
            b"pipe:[-1]",
        ] {
            assert_eq!(pipe(other), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_in_proc_can_make_a_parser_panic(bytes: Vec<u8>) {
            stat(&bytes);
            status(&bytes);
            pieces(&bytes);
            env_names(&bytes);
            pipe(&bytes);
        }
    }
}

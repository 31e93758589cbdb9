//! GPU evidence: taken from a file or from a command that the operator names. What is in it is not looked at: only its digest is bound.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::BoundKey;
use atlas_manifests::given;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::failure::{plain, shown};

/// No GPU evidence is longer, in bytes.
pub const MAX_GPU: u64 = 16 << 20;
/// A command has so long.
const DEADLINE: Duration = Duration::from_secs(60);
/// What is kept of its messages, in bytes.
const MAX_MESSAGE: usize = 4 << 10;
/// The variable in which a command finds what it may have the GPU sign.
const NONCE: &str = "ATLAS_GPU_NONCE";

/// Where GPU evidence comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuSource {
    /// A file, read once.
    File(PathBuf),
    /// A command and its arguments, run once: what it writes to its standard output.
    Command(Vec<OsString>),
}

impl GpuSource {
    /// Collects it. `keys` are the instance's: their digest is what a command may have the GPU sign.
    ///
    /// # Errors
    /// Why there is none, in one line.
    pub fn collect(&self, keys: &[BoundKey]) -> Result<Vec<u8>, String> {
        let bytes = match self {
            Self::File(path) => given::read(path, MAX_GPU)
                .map_err(|e| format!("GPU evidence {}: {e}", shown(path)))?,
            Self::Command(words) => run(words, &nonce(keys), DEADLINE)
                .map_err(|e| format!("the command for GPU evidence {e}"))?,
        };
        if bytes.is_empty() {
            return Err("there is no GPU evidence: what was read is empty".to_owned());
        }
        Ok(bytes)
    }
}

/// SHA-256 over the digests of the keys, in their order, in hex: a challenge that no other instance has.
fn nonce(keys: &[BoundKey]) -> String {
    let all: Vec<u8> = keys.iter().flat_map(|k| k.spki.0).collect();
    Sha256::of(&all).hex()
}

fn run(words: &[OsString], nonce: &str, deadline: Duration) -> Result<Vec<u8>, String> {
    let (program, arguments) = words.split_first().ok_or("is empty")?;
    let name = plain(&program.to_string_lossy());
    let until = Instant::now() + deadline;
    let mut child = Command::new(program)
        .args(arguments)
        // What the daemon was started with may hold secrets that are no business of a report.
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env(NONCE, nonce)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its own group, so that what it started ends with it.
        .process_group(0)
        .spawn()
        .map_err(|e| format!("{name}: {e}"))?;
    let mut message = Vec::new();
    let output = gather(&mut child, &mut message, until);
    let status = output.and_then(|bytes| Ok((bytes, wait(&mut child, until)?)));
    if status.is_err() {
        end(&mut child);
    }
    let (bytes, status) = status.map_err(|e| match e.kind() {
        io::ErrorKind::TimedOut => {
            format!(
                "{name} was ended: it took more than {} s",
                deadline.as_secs()
            )
        }
        _ => format!("{name}: {e}"),
    })?;
    if !status.success() {
        let text = String::from_utf8_lossy(&message);
        let line = text.lines().find(|l| !l.trim().is_empty());
        return Err(format!(
            "{name} failed ({status}): {}",
            line.map_or_else(|| "it does not say why".to_owned(), plain)
        ));
    }
    Ok(bytes)
}

/// Everything that it writes, until it has closed both ends.
fn gather(child: &mut Child, message: &mut Vec<u8>, until: Instant) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    while out.is_some() || err.is_some() {
        let ready = readable(out.as_ref(), err.as_ref(), until)?;
        if ready.0 && part(&mut out, &mut bytes)? && bytes.len() as u64 > MAX_GPU {
            return Err(io::Error::other(format!(
                "it wrote more than {MAX_GPU} bytes"
            )));
        }
        if ready.1 && part(&mut err, message)? {
            message.truncate(MAX_MESSAGE);
        }
    }
    Ok(bytes)
}

/// Reads once; an end that is closed is gone then. True when something came.
fn part(source: &mut Option<impl Read>, into: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 16 << 10];
    let Some(from) = source else { return Ok(false) };
    match from.read(&mut buffer) {
        Ok(0) => *source = None,
        Ok(n) => into.extend(&buffer[..n]),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
        Err(e) => return Err(e),
    }
    Ok(source.is_some())
}

/// Which of the two can be read without waiting.
fn readable(
    out: Option<&impl AsFd>,
    err: Option<&impl AsFd>,
    until: Instant,
) -> io::Result<(bool, bool)> {
    let left = until
        .checked_duration_since(Instant::now())
        .ok_or(io::ErrorKind::TimedOut)?;
    let fds = [out.map(AsFd::as_fd), err.map(AsFd::as_fd)];
    let mut polled: Vec<_> = fds
        .iter()
        .flatten()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    let timeout = Timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    match poll(&mut polled, Some(&timeout)) {
        Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(e) => return Err(e.into()),
    }
    let mut ready = polled.iter().map(|p| !p.revents().is_empty());
    let mut of = |there: bool| there && ready.next().unwrap_or(false);
    Ok((of(out.is_some()), of(err.is_some())))
}

fn wait(child: &mut Child, until: Instant) -> io::Result<std::process::ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends it and what it started.
fn end(child: &mut Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;
    use atlas_manifests::evidence::KeyUse;

    fn shell(script: &str) -> Vec<OsString> {
        ["sh", "-c", script].map(OsString::from).to_vec()
    }

    #[test]
    fn a_command_is_challenged_with_the_instances_keys() {
        let keys = [KeyUse::Seal, KeyUse::Log].map(|u| BoundKey::of(u, &[u as u8; 32]));
        let source = GpuSource::Command(shell("printf %s $ATLAS_GPU_NONCE; echo noise >&2"));
        let got = source.collect(&keys).unwrap();
        let want = Sha256::of(&[keys[0].spki.0, keys[1].spki.0].concat()).hex();
        assert_eq!(String::from_utf8(got).unwrap(), want);
    }

    #[test]
    fn a_failing_silent_or_missing_command_is_said_in_one_line() {
        let fails = |words| GpuSource::Command(words).collect(&[]).unwrap_err();
        let text = fails(shell("echo; echo no GPU >&2; echo more >&2; exit 3"));
        assert!(text.contains("no GPU") && text.contains('3'), "{text}");
        assert!(!text.contains("more") && !text.contains('\n'), "{text}");
        assert!(fails(shell("exit 0")).contains("empty"));
        assert!(fails(shell("exit 1")).contains("does not say why"));
        assert!(fails(vec!["/nonexistent".into()]).contains("/nonexistent"));
        assert!(fails(vec![]).contains("empty"));
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; exit 0", pid.display());
        let start = Instant::now();
        let text = run(&shell(&script), "", Duration::from_secs(1)).unwrap_err();
        assert!(text.contains("took more than 1 s"), "{text}");
        assert!(start.elapsed() < Duration::from_secs(30));
        let pid = std::fs::read_to_string(pid).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        while std::fs::read_to_string(&stat).is_ok_and(|s| !s.contains(") Z ")) {
            assert!(start.elapsed() < Duration::from_secs(30), "it lives on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn output_without_end_is_not_collected() {
        let zero = shell("exec cat /dev/zero");
        let text = run(&zero, "", DEADLINE).unwrap_err();
        assert!(text.contains("more than"), "{text}");
    }

    #[test]
    fn a_file_that_is_missing_or_too_long_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gpu.json");
        let collect = || GpuSource::File(path.clone()).collect(&[]);
        assert!(collect().unwrap_err().contains("gpu.json"));
        std::fs::write(&path, b"evidence").unwrap();
        assert_eq!(collect().unwrap(), b"evidence");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(MAX_GPU + 1).unwrap();
        assert!(collect().unwrap_err().contains("longer than"));
    }
}

//! How a quote is asked for: the protocol of configfs-tsm (Documentation/ABI/testing/configfs-tsm-report), step by step. Opens nothing itself
//! (that is `tdx`), and does not judge a quote beyond its being an answer to the question asked.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;

pub use atlas_manifests::evidence::record::MAX_QUOTE;
/// Begins the names of our requests.
const PREFIX: &str = "atlas-";
/// What the kernel's TDX guest driver calls itself.
pub(super) const TDX_PROVIDER: &str = "tdx_guest";
/// The first pause between two attempts; each is twice the one before ...
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// ... up to this one.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The kernel's directory of requests. What names a request is one component of a path.
pub(super) trait Requests {
    /// Makes a request.
    fn mkdir(&self, name: &str) -> io::Result<()>;
    /// Writes an attribute in one write and closes it, whose error nobody can see; how many bytes were taken.
    fn write(&self, name: &str, attribute: &str, bytes: &[u8]) -> io::Result<usize>;
    /// Reads an attribute to its end, or to `bound` bytes.
    fn read(&self, name: &str, attribute: &str, bound: usize) -> io::Result<Vec<u8>>;
    /// Frees a request.
    fn rmdir(&self, name: &str) -> io::Result<()>;
    /// The requests that there are.
    fn names(&self) -> io::Result<Vec<String>>;
    /// A clock that only goes forward.
    fn now(&self) -> Duration;
    /// Lets time pass, less when cancelled.
    fn pause(&self, time: Duration, cancelled: &AtomicBool);
}

/// Why no quote came, where another attempt may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// EBUSY.
    Busy,
    /// EINTR.
    Interrupted,
    /// ETIMEDOUT.
    TimedOut,
    /// EIO.
    Failed,
    /// Somebody wrote to our request, or it never took what we wrote.
    Shared,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "the host still owns the buffer of an earlier request that it did not answer (EBUSY): see to the host's quote generation service; if it stays so, restart the guest",
            Self::Interrupted => "a signal interrupted the wait for the host (EINTR): try again",
            Self::TimedOut => "the host did not answer within the kernel's 30 s (ETIMEDOUT): is the quote generation service (QGS) running on the host, and the guest configured to reach it?",
            Self::Failed => "the host or the TDX module reported a failure (EIO): see the kernel's log here, and the quote generation service's on the host (a platform that is not registered has no certificate)",
            Self::Shared => "another process of root writes to our requests: end it; a quote of such a request is not used",
        })
    }
}

/// Why there is no quote. Nothing of what was read is used then.
#[derive(Debug, thiserror::Error)]
pub enum QuoteError {
    /// Attempts were made until the time was up.
    #[error("no quote after {attempts} attempt(s): {last}")]
    Unanswered {
        /// How many.
        attempts: u32,
        /// What stood in the way of the last.
        last: Fault,
    },
    /// The caller wants none any more.
    #[error("the request for a quote was cancelled")]
    Cancelled,
    /// ENXIO: configfs-tsm without a driver behind it.
    #[error(
        "the kernel has no provider of reports (ENXIO): load the module tdx_guest (`modprobe tdx-guest`)"
    )]
    NoProvider,
    /// Another technology than TDX.
    #[error("the kernel's provider of reports is {0}, not TDX")]
    OtherProvider(String),
    /// EINVAL though 64 bytes were written and nobody interfered.
    #[error(
        "the kernel refuses the request (EINVAL): its interface is not the one that this program knows"
    )]
    Refused,
    /// A file operation failed.
    #[error("{what}: {source}{}", remedy(source))]
    Io {
        /// Which operation on which attribute.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// `outblob` was empty.
    #[error(
        "the host answered with an empty quote: see the quote generation service's log on the host"
    )]
    Empty,
    /// `outblob` was longer than `MAX_QUOTE`.
    #[error("the quote is longer than {MAX_QUOTE} bytes: not used")]
    TooLong,
    /// No TDX quote of version 4 or 5.
    #[error("not a TDX quote that this program can read ({0}): a later version may")]
    Unknown(String),
    /// A quote, but for other data: the host swapped buffers, or its service is broken.
    #[error(
        "the host answered with a quote for other report data than asked for: not used; do not trust this host's service"
    )]
    OtherData,
    /// The caller's own check failed.
    #[error("the quote does not stand its own check: {0}")]
    Rejected(String),
}

/// What to do about an error of a file.
pub(super) fn remedy(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM) => ": only root may; run the daemon as root",
        Some(Errno::ROFS) => {
            ": mounted read-only, as containers do; mount it writable for the daemon"
        }
        Some(Errno::NOENT) => ": mount configfs on /sys/kernel/config, load the module tdx_guest",
        _ => "",
    }
}

/// How an attempt ended that gave no quote.
enum Ended {
    Again(Fault),
    Never(QuoteError),
}

/// Asks until a quote comes, the time is up, or no attempt can help. One attempt is made however short the time.
pub(super) fn obtain(
    requests: &dyn Requests,
    report_data: &[u8; 64],
    within: Duration,
    cancelled: &AtomicBool,
    check: &dyn Fn(&[u8]) -> Result<(), String>,
) -> Result<Vec<u8>, QuoteError> {
    clean(requests);
    let until = requests.now().saturating_add(within);
    let mut pause = FIRST_PAUSE;
    let mut shared = false;
    for attempts in 1u32.. {
        if cancelled.load(Ordering::Relaxed) {
            break;
        }
        let quote = match attempt(requests, report_data) {
            Ok(quote) => quote,
            Err(Ended::Never(error)) => return Err(error),
            Err(Ended::Again(last)) => {
                let left = until.saturating_sub(requests.now());
                // Who shares our directory twice does so on purpose.
                if left.is_zero() || (shared && last == Fault::Shared) {
                    return Err(QuoteError::Unanswered { attempts, last });
                }
                shared |= last == Fault::Shared;
                requests.pause(pause.min(left), cancelled);
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        if report_data_of(&quote)? != report_data {
            return Err(QuoteError::OtherData);
        }
        check(&quote).map_err(QuoteError::Rejected)?;
        return Ok(quote);
    }
    Err(QuoteError::Cancelled)
}

/// Removes a request however the attempt ends.
struct Request<'a> {
    requests: &'a dyn Requests,
    name: String,
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        // Gone already, or held open by another: either way nothing is left to do.
        let _ = self.requests.rmdir(&self.name);
    }
}

fn attempt(requests: &dyn Requests, report_data: &[u8; 64]) -> Result<Vec<u8>, Ended> {
    let request = make(requests).map_err(Ended::Never)?;
    let name = request.name.as_str();
    let provider = provider(requests, name).map_err(Ended::Never)?;
    if provider != TDX_PROVIDER {
        return Err(Ended::Never(QuoteError::OtherProvider(described(
            &provider,
        ))));
    }
    let taken = requests
        .write(name, "inblob", report_data)
        .map_err(|e| ended("write of inblob", e))?;
    if taken != report_data.len() {
        let short = io::Error::other(format!("{taken} of 64 bytes taken"));
        return Err(ended("write of inblob", short));
    }
    let quote = match requests.read(name, "outblob", MAX_QUOTE + 1) {
        // Also the answer of a request that has not taken our bytes: a child between fork and exec keeps the file from its last close.
        Err(e) if Errno::from_io_error(&e) == Some(Errno::INVAL) => Err(e),
        answer => Ok(answer.map_err(|e| ended("read of outblob", e))?),
    };
    let generation = requests
        .read(name, "generation", 64)
        .map_err(|e| ended("read of generation", e))?;
    if generation.trim_ascii() != b"1" {
        return Err(Ended::Again(Fault::Shared));
    }
    let quote = quote.map_err(|e| ended("read of outblob", e))?;
    match quote.len() {
        0 => Err(Ended::Never(QuoteError::Empty)),
        n if n > MAX_QUOTE => Err(Ended::Never(QuoteError::TooLong)),
        _ => Ok(quote),
    }
}

fn ended(what: &str, source: io::Error) -> Ended {
    match Errno::from_io_error(&source) {
        Some(Errno::BUSY) => Ended::Again(Fault::Busy),
        Some(Errno::INTR) => Ended::Again(Fault::Interrupted),
        Some(Errno::TIMEDOUT) => Ended::Again(Fault::TimedOut),
        Some(Errno::IO) => Ended::Again(Fault::Failed),
        Some(Errno::NXIO) => Ended::Never(QuoteError::NoProvider),
        Some(Errno::INVAL) => Ended::Never(QuoteError::Refused),
        // Our directory was taken away beneath us, which only another process of root can do.
        Some(Errno::NOENT) => Ended::Again(Fault::Shared),
        _ => Ended::Never(QuoteError::Io {
            what: what.into(),
            source,
        }),
    }
}

/// The provider, found out by a request that is freed again.
pub(super) fn find_provider(requests: &dyn Requests) -> Result<String, QuoteError> {
    let request = make(requests)?;
    provider(requests, &request.name)
}

fn provider(requests: &dyn Requests, name: &str) -> Result<String, QuoteError> {
    let text = requests.read(name, "provider", 64);
    match text {
        Ok(text) => Ok(String::from_utf8_lossy(text.trim_ascii()).into_owned()),
        Err(e) if Errno::from_io_error(&e) == Some(Errno::NXIO) => Err(QuoteError::NoProvider),
        Err(source) => Err(QuoteError::Io {
            what: "read of provider".into(),
            source,
        }),
    }
}

/// A provider as a person knows it.
pub(super) fn described(provider: &str) -> String {
    let known = match provider {
        "sev_guest" => "AMD SEV-SNP",
        "arm-cca-guest" | "arm_cca_guest" => "Arm CCA",
        _ => "unknown to this program",
    };
    format!("{} ({known})", crate::failure::plain(provider))
}

fn make(requests: &dyn Requests) -> Result<Request<'_>, QuoteError> {
    let failed = |source: io::Error| match Errno::from_io_error(&source) {
        Some(Errno::NXIO) => QuoteError::NoProvider,
        _ => QuoteError::Io {
            what: "mkdir of a request".into(),
            source,
        },
    };
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|e| failed(e.into()))?;
    let name = format!(
        "{}{:016x}",
        ours(std::process::id()),
        u64::from_le_bytes(random)
    );
    requests.mkdir(&name).map_err(failed)?;
    Ok(Request { requests, name })
}

/// Begins the names of a process' requests. The pid namespace is part of it: a pid says nothing in another.
pub(super) fn ours(pid: u32) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let space = std::fs::metadata("/proc/self/ns/pid").map_or(0, |m| m.ino());
    format!("{PREFIX}{space}-{pid}-")
}

/// Frees what processes of ours left that have ended. Of no consequence when it fails.
fn clean(requests: &dyn Requests) {
    for name in requests.names().unwrap_or_default() {
        let pid = name
            .split('-')
            .nth(2)
            .and_then(|pid| pid.parse::<i32>().ok());
        let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else {
            continue;
        };
        let gone = rustix::process::test_kill_process(pid) == Err(Errno::SRCH);
        if gone && name.starts_with(&ours(pid.as_raw_nonzero().get().cast_unsigned())) {
            let _ = requests.rmdir(&name);
        }
    }
}

/// The report data of a TDX quote of version 4 or 5.
fn report_data_of(quote: &[u8]) -> Result<&[u8], QuoteError> {
    /// Where a TD report body has it.
    const REPORT_DATA: usize = 520;
    let unknown = |what: String| QuoteError::Unknown(what);
    let u16_at = |at: usize| {
        let two = quote.get(at..at + 2)?;
        Some(u16::from_le_bytes([two[0], two[1]]))
    };
    let body = match u16_at(0) {
        Some(4) => 48,
        Some(5) => match u16_at(48) {
            Some(2..=4) => 54,
            kind => return Err(unknown(format!("version 5, body type {kind:?}"))),
        },
        version => return Err(unknown(format!("version {version:?}"))),
    };
    if quote.get(4..8) != Some(&[0x81, 0, 0, 0]) {
        return Err(unknown("of another technology than TDX".into()));
    }
    let at = body + REPORT_DATA;
    quote
        .get(at..at + 64)
        .ok_or_else(|| unknown(format!("cut short at {} bytes", quote.len())))
}

#[cfg(test)]
#[path = "quote_tests.rs"]
mod tests;

//! Where the daemon's log goes. What is logged is said where it happens.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::failure::plain;
use crate::options::LogLevel;

/// The log, so that it can be opened again after somebody moved its file away.
#[derive(Clone)]
pub struct Log {
    /// `None`: stderr.
    file: Option<Arc<Target>>,
}

struct Target {
    path: PathBuf,
    file: Mutex<File>,
}

/// Starts logging, to `path` or to stderr. Once in a process's life: a second call changes nothing.
///
/// # Errors
/// When the file cannot be opened for appending.
pub fn start(level: LogLevel, path: Option<&Path>) -> io::Result<Log> {
    let log = Log::open(path)?;
    let ansi = log.file.is_none() && io::stderr().is_terminal();
    // Refused when there is one already, as in a test: then that one stays.
    let _ = tracing_subscriber::fmt()
        .with_max_level(filter(level))
        .with_ansi(ansi)
        .with_target(false)
        .with_writer(log.clone())
        .try_init();
    // In the background stderr leads nowhere, and a thread that is gone is missed only much later.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{}", panicked(panic))));
    Ok(log)
}

/// One line of what a panic says.
fn panicked(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name").to_owned();
    let place = panic.location().map(ToString::to_string);
    let text = panic.payload_as_str().unwrap_or("no reason given");
    format!(
        "a defect of the daemon ended its thread {name} at {}: {}",
        place.as_deref().unwrap_or("an unknown place"),
        plain(text)
    )
}

impl Log {
    fn open(path: Option<&Path>) -> io::Result<Self> {
        let file = path
            .map(|path| {
                Ok::<_, io::Error>(Arc::new(Target {
                    path: path.to_owned(),
                    file: Mutex::new(open(path)?),
                }))
            })
            .transpose()?;
        Ok(Self { file })
    }

    /// Opens the file again under its name (logrotate's SIGHUP). When that fails the old one stays, and says why.
    pub fn reopen(&self) {
        let Some(target) = &self.file else {
            return;
        };
        match open(&target.path) {
            Ok(file) => {
                *target.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
            }
            Err(e) => tracing::warn!("the log file cannot be opened again, the old one stays: {e}"),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// One line on its way.
pub struct Line(Log);

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(self.clone())
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.0.file {
            Some(target) => target
                .file
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write(bytes),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_one_line_that_names_thread_and_place() {
        let (send, said) = std::sync::mpsc::channel();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let _ = send.send(panicked(panic));
        }));
        let ended = std::thread::Builder::new()
            .name("worker-7".into())
            .spawn(|| panic!("first\nsecond"))
            .unwrap()
            .join();
        std::panic::set_hook(before);
        assert!(ended.is_err());
        let line = said.iter().find(|line| line.contains("worker-7")).unwrap();
        assert!(
            line.contains("log.rs:") && line.contains("second"),
            "{line}"
        );
        assert!(!line.contains('\n'), "{line}");
    }

    #[test]
    fn after_a_rotation_lines_go_to_the_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let old = dir.path().join("log.1");
        let log = Log::open(Some(&path)).unwrap();
        log.make_writer().write_all(b"one\n").unwrap();
        std::fs::rename(&path, &old).unwrap();
        log.make_writer().write_all(b"two\n").unwrap();
        log.reopen();
        log.make_writer().write_all(b"three\n").unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    }
}

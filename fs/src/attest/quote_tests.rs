use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::*;

/// What the kernel does with one request after another, told beforehand.
#[derive(Default)]
struct Script {
    /// What reading `outblob` answers, attempt by attempt; afterwards a good quote.
    answers: RefCell<VecDeque<Result<Vec<u8>, Errno>>>,
    /// What `generation` is, attempt by attempt; afterwards "1\n".
    generations: RefCell<VecDeque<&'static str>>,
    provider: Option<&'static str>,
    mkdir: Option<Errno>,
    rmdir: Option<Errno>,
    taken: Option<usize>,
    /// Fills the rest of an answer with bytes without end.
    endless: bool,
    cancel: bool,
    asked: RefCell<Vec<u8>>,
    names: RefCell<Vec<String>>,
    made: Cell<usize>,
    time: Cell<Duration>,
    pauses: RefCell<Vec<Duration>>,
}

impl Requests for Script {
    fn mkdir(&self, name: &str) -> io::Result<()> {
        if let Some(e) = self.mkdir {
            return Err(e.into());
        }
        self.made.set(self.made.get() + 1);
        self.names.borrow_mut().push(name.to_owned());
        Ok(())
    }

    fn write(&self, _: &str, attribute: &str, bytes: &[u8]) -> io::Result<usize> {
        assert_eq!((attribute, bytes.len()), ("inblob", 64));
        *self.asked.borrow_mut() = bytes.to_vec();
        Ok(self.taken.unwrap_or(bytes.len()))
    }

    fn read(&self, name: &str, attribute: &str, bound: usize) -> io::Result<Vec<u8>> {
        assert!(self.names.borrow().iter().any(|n| n == name));
        match attribute {
            "provider" => Ok(self.provider.unwrap_or("tdx_guest\n").into()),
            "generation" => {
                let next = self.generations.borrow_mut().pop_front();
                Ok(next.unwrap_or("1\n").into())
            }
            "outblob" if self.endless => Ok(vec![0; bound]),
            "outblob" => match self.answers.borrow_mut().pop_front() {
                Some(answer) => answer.map_err(Into::into),
                None => Ok(quote(4, &self.asked.borrow())),
            },
            other => panic!("{other}"),
        }
    }

    fn rmdir(&self, name: &str) -> io::Result<()> {
        self.names.borrow_mut().retain(|n| n != name);
        self.rmdir.map_or(Ok(()), |e| Err(e.into()))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.names.borrow().clone())
    }

    fn now(&self) -> Duration {
        self.time.get()
    }

    fn pause(&self, time: Duration, cancelled: &AtomicBool) {
        self.pauses.borrow_mut().push(time);
        self.time.set(self.time.get() + time);
        cancelled.fetch_or(self.cancel, Ordering::Relaxed);
    }
}

const DATA: [u8; 64] = [7; 64];

/// The least that passes for a quote over `data`.
fn quote(version: u16, data: &[u8]) -> Vec<u8> {
    let mut quote = vec![0; 1500];
    quote[..2].copy_from_slice(&version.to_le_bytes());
    quote[4] = 0x81;
    let at = if version == 5 {
        quote[48] = 3;
        574
    } else {
        568
    };
    quote[at..at + 64].copy_from_slice(data);
    quote
}

fn ask(script: &Script) -> Result<Vec<u8>, QuoteError> {
    let answer = obtain(
        script,
        &DATA,
        Duration::from_secs(60),
        &AtomicBool::new(false),
        &|_| Ok(()),
    );
    let left: Vec<_> = script.names.borrow().clone();
    assert!(left.is_empty(), "left behind: {left:?}");
    answer
}

fn failing(errno: Errno, times: usize) -> Script {
    Script {
        answers: RefCell::new(vec![Err(errno); times].into()),
        ..Script::default()
    }
}

fn answering(quote: Vec<u8>) -> Script {
    Script {
        answers: RefCell::new([Ok(quote)].into()),
        ..Script::default()
    }
}

#[test]
fn a_quote_is_had_from_one_request_which_is_freed() {
    let script = Script::default();
    assert_eq!(ask(&script).unwrap(), quote(4, &DATA));
    assert_eq!(script.made.get(), 1);
    assert_eq!(ask(&answering(quote(5, &DATA))).unwrap(), quote(5, &DATA));
}

#[test]
fn a_busy_interrupted_late_or_failing_host_is_asked_again_in_a_new_request() {
    for errno in [Errno::BUSY, Errno::INTR, Errno::TIMEDOUT, Errno::IO] {
        let script = failing(errno, 2);
        ask(&script).unwrap();
        assert_eq!(script.made.get(), 3, "{errno}");
        let pauses = script.pauses.borrow();
        assert_eq!(*pauses, [FIRST_PAUSE, FIRST_PAUSE * 2], "{errno}");
    }
}

#[test]
fn a_host_that_never_answers_is_given_up_with_a_remedy_of_its_own() {
    let mut texts = Vec::new();
    for (errno, fault, remedy) in [
        (Errno::BUSY, Fault::Busy, "restart the guest"),
        (Errno::INTR, Fault::Interrupted, "try again"),
        (Errno::TIMEDOUT, Fault::TimedOut, "QGS"),
        (Errno::IO, Fault::Failed, "kernel's log"),
    ] {
        let script = failing(errno, 1000);
        let error = ask(&script).unwrap_err();
        assert!(
            matches!(&error, QuoteError::Unanswered { last, attempts } if *last == fault && *attempts > 3)
        );
        assert!(script.time.get() <= Duration::from_secs(60));
        texts.push(error.to_string());
        assert!(texts.last().unwrap().contains(remedy), "{error}");
    }
    texts.dedup();
    assert_eq!(texts.len(), 4);
}

#[test]
fn no_provider_and_a_refused_request_are_not_asked_again() {
    let script = failing(Errno::NXIO, 1);
    assert!(matches!(ask(&script), Err(QuoteError::NoProvider)));
    let script = failing(Errno::INVAL, 1);
    assert!(matches!(ask(&script), Err(QuoteError::Refused)));
    assert_eq!(script.made.get(), 1);
    let script = Script {
        mkdir: Some(Errno::NXIO),
        ..Script::default()
    };
    assert!(matches!(ask(&script), Err(QuoteError::NoProvider)));
}

#[test]
fn an_unprivileged_caller_and_a_read_only_mount_are_told_what_to_do() {
    for (errno, remedy) in [
        (Errno::ACCESS, "as root"),
        (Errno::PERM, "as root"),
        (Errno::ROFS, "writable"),
    ] {
        let script = Script {
            mkdir: Some(errno),
            ..Script::default()
        };
        let error = ask(&script).unwrap_err().to_string();
        assert!(error.contains(remedy), "{error}");
    }
}

#[test]
fn a_raced_request_is_not_used_and_asked_once_more_elsewhere() {
    let script = Script {
        generations: RefCell::new(["2\n"].into()),
        ..Script::default()
    };
    ask(&script).unwrap();
    assert_eq!(script.made.get(), 2);
    let script = Script {
        generations: RefCell::new(["2\n", "17\n", "3\n"].into()),
        ..Script::default()
    };
    let error = ask(&script).unwrap_err();
    assert!(matches!(
        error,
        QuoteError::Unanswered {
            attempts: 2,
            last: Fault::Shared
        }
    ));
}

#[test]
fn a_generation_that_only_begins_with_one_is_another() {
    for generation in ["10\n", "11", "", "0\n", "1 1"] {
        let script = Script {
            generations: RefCell::new([generation, generation].into()),
            ..Script::default()
        };
        assert!(ask(&script).is_err(), "{generation:?}");
    }
}

#[test]
fn a_write_that_a_forked_child_holds_back_is_asked_again() {
    let script = Script {
        answers: RefCell::new([Err(Errno::INVAL)].into()),
        generations: RefCell::new(["0\n"].into()),
        ..Script::default()
    };
    ask(&script).unwrap();
    assert_eq!(script.made.get(), 2);
}

#[test]
fn a_request_that_another_removes_beneath_us_is_asked_again_and_freed_without_complaint() {
    let script = Script {
        answers: RefCell::new([Err(Errno::NOENT)].into()),
        rmdir: Some(Errno::NOENT),
        ..Script::default()
    };
    ask(&script).unwrap();
    assert_eq!(script.made.get(), 2);
}

#[test]
fn a_short_write_asks_for_nothing() {
    let script = Script {
        taken: Some(32),
        ..Script::default()
    };
    let error = ask(&script).unwrap_err().to_string();
    assert!(error.contains("32 of 64"), "{error}");
}

#[test]
fn an_empty_an_endless_and_a_short_answer_are_no_quotes() {
    assert!(matches!(
        ask(&answering(Vec::new())),
        Err(QuoteError::Empty)
    ));
    let endless = Script {
        endless: true,
        ..Script::default()
    };
    assert!(matches!(ask(&endless), Err(QuoteError::TooLong)));
    for length in [1, 4, 47, 50, 568, 631] {
        let mut short = quote(4, &DATA);
        short.truncate(length);
        let error = ask(&answering(short));
        assert!(matches!(error, Err(QuoteError::Unknown(_))), "{length}");
    }
}

#[test]
fn a_quote_for_other_data_is_never_returned() {
    for version in [4, 5] {
        for bit in 0..512 {
            let mut other = DATA;
            other[bit / 8] ^= 1 << (bit % 8);
            let error = ask(&answering(quote(version, &other)));
            assert!(matches!(error, Err(QuoteError::OtherData)));
        }
    }
}

#[test]
fn an_unknown_version_body_or_technology_is_named_and_not_guessed_at() {
    for version in [0, 3, 6, 0x8104] {
        let error = ask(&answering(quote(version, &DATA)));
        assert!(matches!(error, Err(QuoteError::Unknown(_))), "{version}");
    }
    let mut sgx = quote(4, &DATA);
    sgx[4] = 0;
    assert!(matches!(ask(&answering(sgx)), Err(QuoteError::Unknown(_))));
    let mut body = quote(5, &DATA);
    body[48] = 1;
    assert!(matches!(ask(&answering(body)), Err(QuoteError::Unknown(_))));
}

#[test]
fn the_callers_check_has_the_last_word() {
    let script = Script::default();
    let never = AtomicBool::new(false);
    let error = obtain(&script, &DATA, Duration::ZERO, &never, &|quote| {
        assert_eq!(quote.len(), 1500);
        Err("debug".into())
    });
    assert!(matches!(error, Err(QuoteError::Rejected(why)) if why == "debug"));
}

#[test]
fn another_technology_is_named_and_asked_for_no_quote() {
    let script = Script {
        provider: Some("sev_guest\n"),
        ..Script::default()
    };
    let error = ask(&script).unwrap_err().to_string();
    assert!(error.contains("sev_guest (AMD SEV-SNP)"), "{error}");
    assert!(script.asked.borrow().is_empty());
    assert_eq!(find_provider(&script).unwrap(), "sev_guest");
    assert!(script.names.borrow().is_empty());
}

#[test]
fn a_caller_who_ends_waits_for_no_further_attempt() {
    let script = Script {
        cancel: true,
        ..failing(Errno::BUSY, 1000)
    };
    assert!(matches!(ask(&script), Err(QuoteError::Cancelled)));
    assert_eq!(script.made.get(), 1);
}

#[test]
fn without_time_one_attempt_is_made() {
    let script = failing(Errno::BUSY, 1);
    let never = AtomicBool::new(false);
    let error = obtain(&script, &DATA, Duration::ZERO, &never, &|_| Ok(()));
    assert!(matches!(
        error,
        Err(QuoteError::Unanswered { attempts: 1, .. })
    ));
    assert!(script.names.borrow().is_empty());
}

#[test]
fn only_what_our_dead_left_is_cleaned_up() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let dead = child.id();
    child.wait().unwrap();
    let stale = format!("{}00", ours(dead));
    let others = [
        format!("{}00", ours(std::process::id())),
        format!("{PREFIX}1-{dead}-00"),
        format!("other-{dead}-00"),
        "atlas-".into(),
        "atlas-1-99999999999999999999-0".into(),
    ];
    let script = Script::default();
    script.names.borrow_mut().extend(others.clone());
    script.names.borrow_mut().push(stale);
    clean(&script);
    assert_eq!(*script.names.borrow(), others);
}

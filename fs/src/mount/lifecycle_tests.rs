//! Ends of a mount, with parts whose answers a test decides. No clock: each wait ends by an event.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;

use super::super::Drained;
use super::super::holders::Holder;
use super::*;

/// What happened, in order.
type Story = Arc<Mutex<Vec<String>>>;

struct Parts {
    story: Story,
    /// Who writes, as seen by one look after the other; the last one stays.
    writers: Mutex<Vec<Vec<Writer>>>,
    /// Versions left after one drain after the other; the last one stays.
    left: Mutex<Vec<u64>>,
}

fn next<T: Clone>(all: &Mutex<Vec<T>>) -> T {
    let mut all = all.lock().unwrap();
    if all.len() > 1 {
        all.remove(0)
    } else {
        all[0].clone()
    }
}

impl Mounted for Parts {
    fn handler(&self) -> Arc<dyn Handler> {
        unreachable!("Life asks for no handler")
    }
    fn refuse_opens(&self, refuse: bool) {
        self.story.lock().unwrap().push(format!("refuse {refuse}"));
    }
    fn writers(&self) -> Vec<Writer> {
        next(&self.writers)
    }
    fn drain(&self, at_most: Duration) -> Drained {
        let left = next(&self.left);
        let word = if at_most.is_zero() {
            "last drain"
        } else {
            "drain"
        };
        self.story.lock().unwrap().push(word.into());
        Drained { sealed: 1, left }
    }
    fn wait(&self) {}
    fn stop(&self) {}
}

struct Point {
    story: Story,
    /// Held by readers: only a lazy detach succeeds.
    busy: bool,
}

impl MountPoint for Point {
    fn detach(&self, lazily: bool) -> io::Result<()> {
        if self.busy && !lazily {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        self.story
            .lock()
            .unwrap()
            .push(if lazily { "detach lazily" } else { "detach" }.into());
        Ok(())
    }
    fn holders(&self) -> Vec<Holder> {
        let one = Holder {
            pid: 7,
            name: "reader".into(),
            how: "cwd".into(),
        };
        if self.busy { vec![one] } else { Vec::new() }
    }
}

fn writer() -> Vec<Writer> {
    vec![Writer {
        path: "a/model.pt".into(),
        pid: 0,
    }]
}

/// Lives through `events`, and tells what happened. A script that does not end the life by itself ends when its events do.
fn live(events: Vec<Event>, writers: Vec<Vec<Writer>>, left: Vec<u64>, busy: bool) -> Vec<String> {
    let story = Story::default();
    let parts = Parts {
        story: Arc::clone(&story),
        writers: Mutex::new(writers),
        left: Mutex::new(left),
    };
    let point = Point {
        story: Arc::clone(&story),
        busy,
    };
    let reopened = Arc::clone(&story);
    let (send, receive) = channel();
    for event in events {
        send.send(event).unwrap();
    }
    drop(send);
    Life::new(&parts, &point, receive, Duration::from_secs(3600), &|| {
        reopened.lock().unwrap().push("reopen".into());
    })
    .run();
    story.lock().unwrap().clone()
}

fn asked(force: bool) -> (Event, Receiver<Result<(), String>>) {
    let (answer, answered) = sync_channel(1);
    let asked = Asked {
        force,
        drain: None,
        answer,
    };
    (Event::Unmount(asked), answered)
}

#[test]
fn a_signal_refuses_opens_seals_and_then_detaches() {
    let story = live(
        vec![Event::Reopen, Event::Stop],
        vec![vec![]],
        vec![2, 0],
        false,
    );
    assert_eq!(story, ["reopen", "refuse true", "drain", "drain", "detach"]);
}

#[test]
fn a_signal_waits_for_writers_before_it_detaches() {
    let story = live(
        vec![Event::Stop, Event::Reopen, Event::Reopen],
        vec![writer(), writer(), vec![]],
        vec![0],
        false,
    );
    assert_eq!(
        story,
        ["refuse true", "reopen", "reopen", "drain", "detach"]
    );
}

#[test]
fn a_second_signal_ends_the_sealing_and_not_a_writer() {
    let story = live(
        vec![Event::Stop, Event::Stop],
        vec![writer(), vec![]],
        vec![5],
        false,
    );
    assert_eq!(story, ["refuse true", "last drain", "detach"]);
}

#[test]
fn force_ends_a_wait_for_writers() {
    let (event, answered) = asked(true);
    let story = live(vec![Event::Stop, event], vec![writer()], vec![0], false);
    assert_eq!(story, ["refuse true", "drain", "detach lazily"]);
    assert_eq!(answered.recv().unwrap(), Ok(()));
}

#[test]
fn readers_keep_what_they_hold_until_they_are_gone() {
    let story = live(vec![Event::Stop, Event::Gone], vec![vec![]], vec![0], true);
    assert_eq!(story, ["refuse true", "drain", "detach lazily"]);
}

#[test]
fn umount_is_refused_while_somebody_writes_and_nothing_changes() {
    let (event, answered) = asked(false);
    let story = live(vec![event], vec![writer()], vec![0], false);
    assert_eq!(story, [""; 0]);
    let text = answered.recv().unwrap().unwrap_err();
    assert!(
        text.contains("a/model.pt") && text.contains("--force"),
        "{text}"
    );
}

#[test]
fn umount_is_refused_while_somebody_stands_in_it() {
    let (event, answered) = asked(false);
    let story = live(vec![event], vec![vec![]], vec![0], true);
    assert_eq!(story, [""; 0]);
    assert!(
        answered
            .recv()
            .unwrap()
            .unwrap_err()
            .contains("reader (process 7: cwd)")
    );
}

#[test]
fn a_writer_who_came_in_between_gets_its_opens_back() {
    let (event, answered) = asked(false);
    let story = live(vec![event], vec![vec![], writer()], vec![0], false);
    assert_eq!(story, ["refuse true", "drain", "refuse false"]);
    assert!(answered.recv().unwrap().is_err());
}

#[test]
fn umount_with_force_detaches_under_a_writer() {
    let (event, answered) = asked(true);
    let story = live(vec![event], vec![writer()], vec![0], true);
    assert_eq!(story, ["refuse true", "drain", "detach lazily"]);
    assert_eq!(answered.recv().unwrap(), Ok(()));
}

#[test]
fn a_mount_that_somebody_else_detached_is_sealed_and_left() {
    let story = live(vec![Event::Gone], vec![vec![]], vec![0], false);
    assert_eq!(story, ["drain"]);
}

struct Echo;

impl Handler for Echo {
    fn answer(
        &self,
        _: Peer,
        _: Ask,
        say: &mut dyn FnMut(Say) -> io::Result<()>,
    ) -> io::Result<()> {
        say(Say::Synced { pending: 3 })
    }
}

fn through(door: &Door, uid: u32, ask: Ask) -> Say {
    let peer = Peer {
        pid: 1,
        uid,
        gid: uid,
        groups: Vec::new(),
        pidfd: None,
    };
    let mut said = None;
    door.answer(peer, ask, &mut |say| {
        said = Some(say);
        Ok(())
    })
    .unwrap();
    said.unwrap()
}

#[test]
fn only_the_owner_unmounts_and_everything_else_passes_the_door() {
    let (events, heard) = channel();
    let door = Door {
        inner: Arc::new(Echo),
        events,
        mountpoint: "/m".into(),
    };
    let own = rustix::process::geteuid().as_raw();
    let unmount = || Ask::Unmount {
        force: false,
        drain_ms: Some(1500),
    };
    assert!(matches!(
        through(&door, own, Ask::Status),
        Say::Synced { pending: 3 }
    ));
    assert!(matches!(
        through(&door, own + 1, unmount()),
        Say::Error { code: 1, .. }
    ));
    let answering = thread::spawn(move || {
        let Event::Unmount(asked) = heard.recv().unwrap() else {
            panic!("not asked to unmount");
        };
        assert_eq!(asked.drain, Some(Duration::from_millis(1500)));
        asked.answer.send(Err("busy".into())).unwrap();
    });
    let Say::Error { text, .. } = through(&door, own, unmount()) else {
        panic!("not refused");
    };
    assert_eq!(text, "/m: busy");
    answering.join().unwrap();
    assert!(
        matches!(through(&door, own, unmount()), Say::Done),
        "the mount has ended"
    );
}

use super::*;
use crate::log::cosignature::cosign;
use crate::log::testing::{TestKey, head};
use proptest::prelude::*;

fn witness(seed: u8) -> TestKey {
    TestKey::witness(&format!("w{seed}.example"), seed)
}

fn policy(lines: &str) -> Result<Quorum, QuorumError> {
    let mut text = String::new();
    for seed in 1..=6 {
        text.push_str(&format!("witness W{seed} {}\n", witness(seed).key));
    }
    Quorum::parse(format!("{text}{lines}").as_bytes())
}

/// A checkpoint that these witnesses cosigned, each at its time.
fn cosigned(by: &[(u8, u64)]) -> Checkpoint {
    let mut made = Checkpoint::of(head(b"root", 5)).unwrap();
    for (seed, time) in by {
        let w = witness(*seed);
        let line = cosign(&w.key, &made, *time, |m| w.sign(m));
        made.note.add(line);
    }
    made
}

const LEVELS: &str = "group X 2 W1 W2 W3\ngroup Y any W4 W5 W6\ngroup XY all X Y\nquorum XY\n";

#[test]
fn a_quorum_of_groups_counts_each_witness_where_it_stands() {
    let q = policy(LEVELS).unwrap();
    let met = |by: &[u8]| {
        let by: Vec<_> = by.iter().map(|seed| (*seed, 100)).collect();
        q.judge(&cosigned(&by), Some(100), 0).met
    };
    assert!(met(&[1, 2, 4]) && met(&[2, 3, 6]) && met(&[1, 2, 3, 4, 5, 6]));
    assert!(!met(&[]) && !met(&[1, 2, 3]) && !met(&[1, 4, 5, 6]) && !met(&[4]));
    let judged = q.judge(&cosigned(&[(1, 100), (9, 100)]), Some(100), 0);
    assert_eq!(judged.cosigned(), 1, "a stranger's line counts for nothing");
    assert_eq!(judged.witnesses[0], Says::Cosigned(100));
    assert_eq!(judged.witnesses[1], Says::Nothing);
}

#[test]
fn a_line_that_is_forged_or_of_tomorrow_does_not_count() {
    let q = policy("group ANY any W1 W2\nquorum ANY\n").unwrap();
    let made = cosigned(&[(1, 100), (2, 200)]);
    let judged = q.judge(&made, Some(150), 49);
    assert!(judged.met && judged.witnesses[1] == Says::Future(200));
    assert_eq!(
        q.judge(&made, Some(150), 50).witnesses[1],
        Says::Cosigned(200)
    );
    assert!(!q.judge(&made, Some(10), 5).met, "both are of tomorrow");
    assert!(q.judge(&made, None, 0).met, "without a clock none is");
    let undated = q.judge(&cosigned(&[(1, 0)]), None, 0);
    assert!(!undated.met && undated.witnesses[0] == Says::Undated);

    let mut forged = made;
    forged.note.signatures[1].bytes[20] ^= 1;
    let judged = q.judge(&forged, Some(300), 0);
    assert!(judged.forged() && judged.witnesses[1] == Says::Forged);
    assert!(!judged.met, "one witness is enough, but somebody lies");
}

#[test]
fn a_log_is_believed_under_its_own_origin_only() {
    let (log, other) = (
        TestKey::log("log.example/1", 1),
        TestKey::log("log.example/1", 2),
    );
    let text = format!(
        "log {} https://x\nlog {}\nquorum none\n",
        other.key, log.key
    );
    let q = Quorum::parse(text.as_bytes()).unwrap();
    assert!(!q.demands());
    assert_eq!(q.logs()[0].url.as_deref(), Some("https://x"));
    let signed = log.checkpoint(head(b"root", 5).head);
    let judged = q.judge(&signed, None, 0);
    assert!(judged.log == Some(1) && judged.met);
    assert_eq!(q.judge(&cosigned(&[]), None, 0).log, None);
    let mut forged = signed.clone();
    forged.note.signatures[0].bytes[1] ^= 1;
    let judged = q.judge(&forged, None, 0);
    assert!(judged.log_forged && !judged.met && judged.log.is_none());
    assert_eq!(Quorum::none().judge(&signed, None, 0).log, None);
}

#[test]
fn comments_spaces_and_names_of_any_octets_are_read() {
    let w = witness(1).key;
    let text = [
        b"# comment \xff\n\n \t\n \t# more\n\twitness  \xc3\x28 ".to_vec(),
        format!("{w}\t http://\u{e4}.example/ \n").into_bytes(),
        b"quorum \xc3\x28\n".to_vec(),
    ]
    .concat();
    let q = Quorum::parse(&text).unwrap();
    assert_eq!(q.witnesses()[0].name, b"\xc3\x28");
    assert_eq!(q.witnesses()[0].label(), "\u{fffd}(");
    assert_eq!(
        q.witnesses()[0].url.as_deref(),
        Some("http://\u{e4}.example/")
    );
}

#[test]
fn what_the_specification_forbids_is_refused_with_its_line() {
    let (w, l) = (witness(7).key, TestKey::log("l.example", 7).key);
    let renamed = TestKey::witness("other.example", 7).key;
    let relogged = TestKey::log("l.example/2", 7).key;
    let mldsa = {
        use crate::bytes::base64;
        format!("w.example+00000000+{}", base64(&[6; 1313]))
    };
    for (lines, what) in [
        ("", "no quorum"),
        ("quorum W1", "newline"),
        ("quorum W1\r\n", "0x0d"),
        ("quorum W1\x7f\n", "0x7f"),
        ("quorum\n", "expected quorum"),
        ("quorum W1 W2\n", "expected quorum"),
        ("quorum W1 # comment\n", "expected quorum"),
        ("quorum w1\n", "no witness or group"),
        ("quorum X\ngroup X any W1\n", "no witness or group"),
        ("quorum W1\nquorum W1\n", "second quorum"),
        ("quorum none\nquorum none\n", "second quorum"),
        ("threshold 2\n", "none of"),
        ("Quorum none\n", "none of"),
        ("group X any\nquorum X\n", "at least one member"),
        ("group X 0 W1\nquorum X\n", "from 1 to 1"),
        ("group X 2 W1\nquorum X\n", "from 1 to 1"),
        ("group X 01 W1\nquorum X\n", "from 1 to 1"),
        ("group X +1 W1\nquorum X\n", "from 1 to 1"),
        ("group X some W1\nquorum X\n", "from 1 to 1"),
        ("group X 99999999999999999999 W1\nquorum X\n", "from 1 to 1"),
        ("group X any none\nquorum X\n", "no witness or group"),
        ("group X any X\nquorum X\n", "no witness or group"),
        ("group X any W1 W1\nquorum X\n", "already"),
        ("group X any W1\ngroup Y any W1\nquorum X\n", "already"),
        ("group none any W1\nquorum none\n", "has a meaning"),
        ("group W1 any W2\nquorum W1\n", "stands in a line before"),
        (&format!("witness W1 {w}\nquorum W1\n"), "the name"),
        (&format!("witness none {w}\nquorum W1\n"), "has a meaning"),
        (
            &format!("witness A {w}\nwitness B {w}\nquorum A\n"),
            "public key",
        ),
        (
            &format!("witness A {w}\nwitness B {renamed}\nquorum A\n"),
            "public key",
        ),
        (&format!("log {l}\nlog {l} u\nquorum W1\n"), "public key"),
        (
            &format!("log {l}\nlog {relogged}\nquorum W1\n"),
            "public key",
        ),
        (&format!("log {w}\nquorum W1\n"), "kind 1"),
        (&format!("witness A {l}\nquorum A\n"), "kind 4"),
        (&format!("witness A {mldsa}\nquorum A\n"), "kind 1 or 4"),
        (&format!("log {l} u x\nquorum W1\n"), "expected log"),
        ("log\nquorum W1\n", "expected log"),
        ("witness A\nquorum W1\n", "expected witness"),
        ("log \u{e9}+\nquorum W1\n", "verifier key"),
    ] {
        let error = policy(lines).unwrap_err();
        assert!(error.to_string().contains(what), "{lines:?}: {error}");
        assert!(error.line > 6, "{lines:?}: {error}");
    }
    let long = vec![b'#'; MAX_POLICY + 1];
    assert!(Quorum::parse(&long).is_err());
}

#[test]
fn as_many_witnesses_as_are_recommended_are_read_and_too_many_are_not() {
    let of = |n: usize| {
        let mut text = String::new();
        for i in 0..n {
            let mut public = [0; 32];
            public[..8].copy_from_slice(&i.to_be_bytes());
            let log = VerifierKey::new(&format!("l{i}"), KeyKind::Ed25519, public).unwrap();
            let w = VerifierKey::new(&format!("w{i}"), KeyKind::Cosignature, public).unwrap();
            text.push_str(&format!("log {log}\nwitness W{i} {w}\n"));
            text.push_str(&format!("group G{i} any W{i}\n"));
        }
        Quorum::parse(format!("{text}quorum none\n").as_bytes())
    };
    assert_eq!(of(MAX_LINES).unwrap().witnesses().len(), MAX_LINES);
    assert!(of(MAX_LINES + 1).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_a_policy_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Quorum::parse(&bytes);
    }

    /// One witness more never takes a quorum away, and none that counts is needed twice.
    #[test]
    fn a_quorum_grows_with_its_witnesses(by in prop::collection::vec(any::<bool>(), 6), more in 0usize..6, k in 1usize..=3) {
        let q = policy(&format!("group X {k} W1 W2 W3\ngroup Y any W4 W5\ngroup Z 2 X Y W6\nquorum Z\n")).unwrap();
        let n = |range: std::ops::Range<usize>| by[range].iter().filter(|b| **b).count();
        let expected = usize::from(n(0..3) >= k) + usize::from(n(3..5) >= 1) + n(5..6) >= 2;
        prop_assert_eq!(q.met_by(|w| by[w]), expected);
        prop_assert!(!expected || q.met_by(|w| by[w] || w == more));
    }
}

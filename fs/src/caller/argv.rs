//! Arguments as they may be stored: with whatever looks like a secret replaced. Pure. Errs on the side of hiding.

use atlas_manifests::bytes::PathBytes;

/// What stands where a value stood.
pub(crate) const WITHHELD: &[u8] = b"[withheld]";

/// Parts of names whose values are not for the record.
const SENSITIVE: &[&str] = &[
    "token",
    "key",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "authorization",
    "cookie",
    "signature",
];

/// Beginnings of well-known secrets that need no name beside them.
const SHAPES: &[&str] = &[
    "hf_",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "sk-",
    "sk_live_",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "ASIA",
    "eyJ",
    "wandb_v1_",
];

/// The arguments of a process, without secrets. The number of arguments does not change.
pub(crate) fn redact(argv: &[Vec<u8>]) -> Vec<PathBytes> {
    let mut hide = Hide::Nothing;
    argv.iter()
        .map(|arg| {
            let arg = &quoted(arg);
            // A command line in one argument (`sh -c "..."`) is judged word by word.
            if matches!(hide, Hide::Nothing)
                && arg.iter().any(u8::is_ascii_whitespace)
                && !is_header(arg)
            {
                return PathBytes(words(arg));
            }
            PathBytes(word(arg, &mut hide))
        })
        .collect()
}

/// The pairs of `--meta`, which everybody may read: as an argument `KEY=VALUE` would be kept.
pub(crate) fn redact_pairs(pairs: Vec<(String, String)>) -> Vec<(String, String)> {
    let kept = |(key, value): (String, String)| {
        let shown = if sensitive(key.as_bytes()) {
            String::from_utf8_lossy(WITHHELD).into_owned()
        } else {
            let shown = redact(&[value.into_bytes()]);
            shown.iter().map(PathBytes::lossy).collect()
        };
        (key, shown)
    };
    pairs.into_iter().map(kept).collect()
}

/// Quoted values behind a sensitive name and `=` or `:`, whatever they hold: `TOKEN="a b"`, `{"token": "a"}`, `os.environ['KEY']='a'`.
fn quoted(text: &[u8]) -> Vec<u8> {
    let named = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let quote = |b: &u8| matches!(b, b'"' | b'\'');
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        let length = rest.iter().position(|b| !named(b)).unwrap_or(rest.len());
        if length == 0 {
            out.push(*first);
            rest = &rest[1..];
            continue;
        }
        let (name, behind) = rest.split_at(length);
        out.extend_from_slice(name);
        rest = behind;
        if !sensitive(name) {
            continue;
        }
        // A closing quote or bracket, then the sign, then the quote that opens the value.
        let closed = rest
            .iter()
            .position(|b| !(b.is_ascii_whitespace() || quote(b) || matches!(b, b']' | b'\\')))
            .unwrap_or(rest.len());
        let signs = &rest[closed..];
        let signed = signs
            .iter()
            .position(|b| !(b.is_ascii_whitespace() || matches!(b, b'=' | b':' | b'\\')))
            .unwrap_or(signs.len());
        let to = closed + signed;
        if matches!(signs.first(), Some(b'=' | b':'))
            && let Some(mark) = rest.get(to).filter(|b| quote(b))
        {
            let value = &rest[to + 1..];
            let end = value.iter().position(|b| b == mark).unwrap_or(value.len());
            out.extend_from_slice(&rest[..=to]);
            out.extend_from_slice(WITHHELD);
            rest = &value[end..];
        }
    }
    out
}

/// What the word before asks of the next.
enum Hide {
    Nothing,
    /// `--token`: all of it.
    Whole,
    /// `-u`: what stands behind a colon.
    AfterColon,
    /// `Bearer`: all of it, even when it begins with dashes.
    Certainly,
}

fn words(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut hide = Hide::Nothing;
    let mut rest = text;
    while let Some(first) = rest.first() {
        let separates = |b: &u8| {
            b.is_ascii_whitespace() || matches!(b, b'\'' | b'"' | b';' | b'`' | b'(' | b')')
        };
        let separator = separates(first);
        let end = rest
            .iter()
            .position(|b| separates(b) != separator)
            .unwrap_or(rest.len());
        let (now, mut later) = rest.split_at(end);
        if separator {
            out.extend_from_slice(now);
            let mark = now.last().filter(|b| matches!(b, b'\'' | b'"'));
            if let Some(mark) = mark
                && matches!(hide, Hide::Whole | Hide::Certainly)
                && let Some(close) = later.iter().position(|b| b == mark)
                && later[..close].iter().any(u8::is_ascii_whitespace)
            {
                // One value with blanks in it.
                out.extend_from_slice(WITHHELD);
                later = &later[close..];
                hide = Hide::Nothing;
            }
        } else {
            out.extend(word(now, &mut hide));
        }
        rest = later;
    }
    out
}

fn word(arg: &[u8], hide: &mut Hide) -> Vec<u8> {
    match std::mem::replace(hide, Hide::Nothing) {
        Hide::Whole if !arg.starts_with(b"--") => {
            // `Authorization: Bearer x` in three words: the scheme is not the secret.
            if is_scheme(arg) {
                *hide = Hide::Certainly;
                return arg.to_vec();
            }
            return WITHHELD.to_vec();
        }
        Hide::Certainly => return WITHHELD.to_vec(),
        Hide::AfterColon => {
            if let Some(colon) = arg.iter().position(|b| *b == b':') {
                return cut(arg, colon + 1);
            }
        }
        Hide::Nothing | Hide::Whole => {}
    }
    if is_scheme(arg) {
        *hide = Hide::Certainly;
        return arg.to_vec();
    }
    // Addresses first: their `=` is not the argument's.
    if let Some(at) = find(arg, b"://") {
        if let Some(eq) = arg[..at].iter().position(|b| *b == b'=')
            && sensitive(&arg[..eq])
        {
            return cut(arg, eq + 1);
        }
        return url(arg, at + 3);
    }
    if let Some(eq) = arg.iter().position(|b| *b == b'=') {
        // What follows is quoted, and judged already.
        if eq + 1 == arg.len() {
            return arg.to_vec();
        }
        if sensitive(&arg[..eq]) || shape(&arg[eq + 1..]) {
            return cut(arg, eq + 1);
        }
        if matches!(&arg[..eq], b"--user" | b"--proxy-user")
            && let Some(colon) = arg[eq..].iter().position(|b| *b == b':')
        {
            return cut(arg, eq + colon + 1);
        }
        return arg.to_vec();
    }
    if is_header(arg) {
        let colon = arg
            .iter()
            .position(|b| *b == b':')
            .map_or(arg.len(), |c| c + 1);
        if colon == arg.len() {
            *hide = Hide::Whole;
            return arg.to_vec();
        }
        return cut(arg, colon);
    }
    if arg.starts_with(b"-") && arg.len() > 2 && sensitive(arg) {
        *hide = Hide::Whole;
    } else if matches!(arg, b"-u" | b"--user" | b"--proxy-user") {
        *hide = Hide::AfterColon;
    } else if shape(arg) {
        return WITHHELD.to_vec();
    }
    arg.to_vec()
}

fn cut(arg: &[u8], keep: usize) -> Vec<u8> {
    [&arg[..keep], WITHHELD].concat()
}

/// True when a name holds one of the words, in any case.
fn sensitive(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let short = [&b"-pass"[..], b"_pass", b"-pwd", b"_pwd"];
    short.iter().any(|s| name.ends_with(s))
        || SENSITIVE
            .iter()
            .any(|s| find(&name, s.as_bytes()).is_some())
}

fn shape(value: &[u8]) -> bool {
    value.len() >= 20
        && SHAPES.iter().any(|s| value.starts_with(s.as_bytes()))
        && value
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

fn is_scheme(arg: &[u8]) -> bool {
    arg.eq_ignore_ascii_case(b"bearer")
}

/// `X-Api-Key: v`, `Authorization: Bearer v`: a name without blanks that holds one of the words, then a colon.
fn is_header(arg: &[u8]) -> bool {
    arg.iter().position(|b| *b == b':').is_some_and(|colon| {
        let name = &arg[..colon];
        let plain = name
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_');
        plain && !name.is_empty() && arg.get(colon + 1) != Some(&b'/') && sensitive(name)
    })
}

/// A URL from `start` (behind its `://`): user and password before `@`, and sensitive query values.
fn url(arg: &[u8], start: usize) -> Vec<u8> {
    let (head, rest) = arg.split_at(start);
    let authority = rest
        .iter()
        .position(|b| matches!(b, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let mut out = head.to_vec();
    // The last `@`: a password may hold one.
    let host = match rest[..authority].iter().rposition(|b| *b == b'@') {
        Some(at) => {
            out.extend_from_slice(WITHHELD);
            at
        }
        None => 0,
    };
    let mut name_from = None;
    let mut hiding = false;
    for (at, b) in rest.iter().enumerate().skip(host) {
        match b {
            b'?' | b'&' | b'#' | b';' => {
                name_from = Some(at + 1);
                hiding = false;
                out.push(*b);
            }
            b'=' if !hiding => {
                out.push(*b);
                if let Some(from) = name_from.take() {
                    let name = &rest[from..at];
                    if sensitive(name) || matches!(name, b"sig" | b"auth" | b"pwd") {
                        hiding = true;
                        out.extend_from_slice(WITHHELD);
                    }
                }
            }
            _ if hiding => {}
            _ => out.push(*b),
        }
    }
    out
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(argv: &[&str]) -> Vec<String> {
        let raw: Vec<Vec<u8>> = argv.iter().map(|a| a.as_bytes().to_vec()).collect();
        redact(&raw).iter().map(PathBytes::lossy).collect()
    }

    #[test]
    fn no_secret_survives_in_any_usual_spelling() {
        const S: &str = "s3cr3tV4lue";
        for argv in [
            &["x", "--token", S][..],
            &["x", "--hf-token=s3cr3tV4lue"],
            &["x", "--API_KEY", S],
            &["x", "-apikey", S],
            &["x", "--db-password", S, "--lr", "1"],
            &["x", "--passwd=s3cr3tV4lue"],
            &["env", "HF_TOKEN=s3cr3tV4lue", "python"],
            &["docker", "run", "-e", "AWS_SECRET_ACCESS_KEY=s3cr3tV4lue"],
            &["python", "train.py", "+logger.wandb.api_key=s3cr3tV4lue"],
            &["curl", "-H", "Authorization: Bearer s3cr3tV4lue"],
            &["curl", "-H", "X-Api-Key:s3cr3tV4lue"],
            &["curl", "-H", "authorization:", "bearer", S],
            &["curl", "-u", "me:s3cr3tV4lue"],
            &["curl", "--user=me:s3cr3tV4lue"],
            &["git", "clone", "https://me:s3cr3tV4lue@host/x.git"],
            &["git", "clone", "https://s3cr3tV4lue@host/x.git"],
            &["pg", "postgres://me:a@s3cr3tV4lue@host:5432/db"],
            &["wget", "https://host/x?a=1&X-Amz-Signature=s3cr3tV4lue&b=2"],
            &["wget", "https://host/x?sv=1&sig=s3cr3tV4lue"],
            &["x", "--url=https://me:s3cr3tV4lue@host/"],
            &["x", "--token=https://host/s3cr3tV4lue"],
            &[
                "sh",
                "-c",
                "export TOKEN=s3cr3tV4lue; python x --api-key 's3cr3tV4lue' --lr 1",
            ],
            &[
                "sh",
                "-c",
                "curl -H \"Authorization: Bearer s3cr3tV4lue\" https://a:s3cr3tV4lue@h",
            ],
            &["x", "--api-key", "--api-key", S],
            &["x", "--pass", S],
            &["env", "DB_PASS=s3cr3tV4lue", "x"],
            &["sh", "-c", "TOKEN=\"s3cr3tV4lue\" python x"],
            &["sh", "-c", "export TOKEN='a b s3cr3tV4lue' X=1; python x"],
            &["sh", "-c", "x --api-key 'a b s3cr3tV4lue' --lr 1"],
            &["sh", "-c", "x --password=\"a s3cr3tV4lue\""],
            &[
                "curl",
                "-d",
                "{\"user\": \"me\", \"token\": \"s3cr3tV4lue\"}",
            ],
            &["curl", "-d", "{\"token\":\"s3cr3tV4lue\"}"],
            &[
                "sh",
                "-c",
                "curl -d \"{\\\"token\\\": \\\"s3cr3tV4lue\\\"}\" host",
            ],
            &[
                "python",
                "-c",
                "import os; os.environ['HF_TOKEN'] = 's3cr3tV4lue'",
            ],
            &["python", "-c", "login(token='s3cr3tV4lue')"],
            &["TOKEN=\"s3cr3tV4lue"],
        ] {
            let shown = show(argv);
            assert_eq!(shown.len(), argv.len());
            assert!(!shown.join(" ").contains(S), "{argv:?} -> {shown:?}");
            assert!(shown.join(" ").contains("[withheld]"), "{shown:?}");
        }
    }

    #[test]
    fn a_run_s_labels_are_for_everybody_and_hold_no_secret() {
        let pairs = [
            ("seed", "1"),
            ("api_key", "s3cr3tV4lue"),
            ("data", "https://me:s3cr3tV4lue@host/x"),
            ("note", "two words"),
        ];
        let pairs = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
        let kept: Vec<_> = redact_pairs(pairs).into_iter().map(|(_, v)| v).collect();
        let url = "https://[withheld]@host/x";
        assert_eq!(kept, ["1", "[withheld]", url, "two words"]);
    }

    #[test]
    fn a_well_known_secret_needs_no_name_beside_it() {
        for secret in [
            "hf_abcdefghijklmnopqrstuv",
            "ghp_0123456789abcdefghijklmn",
            "sk-proj-0123456789abcdef01",
        ] {
            assert_eq!(show(&["login", secret]), ["login", "[withheld]"]);
        }
        assert_eq!(show(&["--model", "hf_small"]), ["--model", "hf_small"]);
    }

    #[test]
    fn what_is_no_secret_stays_as_it_was() {
        for argv in [
            &["python", "train.py", "--lr", "1e-3", "--out=/data/m.pt"][..],
            &["curl", "https://host/x?page=2#top", "-o", "f"],
            &["bash", "-c", "sort a.txt | gzip > out.gz"],
            &["cp", "me@host:/x", "b"],
            &["x", "-k", "5", "--user", "me"],
            &[],
            &["", " ", "="],
        ] {
            assert_eq!(show(argv), argv);
        }
        assert_eq!(
            show(&["x", "--api-key", "--lr", "1"]),
            ["x", "--api-key", "--lr", "1"]
        );
        assert_eq!(
            show(&["https://h/x?a=1&token=t&b=2"]),
            ["https://h/x?a=1&token=[withheld]&b=2"]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_argument_makes_it_panic_or_lose_count(argv: Vec<Vec<u8>>) {
            proptest::prop_assert_eq!(redact(&argv).len(), argv.len());
        }

        #[test]
        fn whatever_stands_around_a_named_secret_it_is_gone(
            before in proptest::collection::vec("[a-z=:/@?&-]{0,12}", 0..4), secret in "[0-9]{12}", after in "[a-z-]{0,5}",
        ) {
            let mut argv: Vec<Vec<u8>> = before.into_iter().map(String::into_bytes).collect();
            argv.push(format!("--{after}token={secret}").into_bytes());
            let shown = redact(&argv);
            let last = shown.last().map(PathBytes::lossy).unwrap_or_default();
            proptest::prop_assert!(!last.contains(&secret));
        }
    }
}

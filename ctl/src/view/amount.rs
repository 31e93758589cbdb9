//! Sizes, counts, ages and digests in the words of people. JSON gives the exact values instead.

use jiff::Timestamp;

/// Bytes in powers of 1000, three digits: `0 B`, `999 B`, `1.2 MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if value < 9.95 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

/// A number with a comma every three digits.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `1 file`, `1,437 files`.
pub(crate) fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// How long ago an RFC 3339 time was, as seen at `now`; the text itself when it is no time.
pub(crate) fn age(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(then) => {
            let seconds = now.as_second() - then.as_second();
            match seconds {
                ..-5 => "in the future".to_owned(),
                -5..5 => "just now".to_owned(),
                _ => format!("{} ago", span(seconds.unsigned_abs())),
            }
        }
        Err(_) => super::escape::short(&super::escape::line(time), 40),
    }
}

/// How long it was from one RFC 3339 time to another; `None` when either is no time.
pub(crate) fn between(from: &str, to: &str) -> Option<String> {
    let from: Timestamp = from.parse().ok()?;
    let to: Timestamp = to.parse().ok()?;
    let ms = to.as_millisecond().saturating_sub(from.as_millisecond());
    let ms = u64::try_from(ms).ok()?;
    Some(match ms {
        0..1000 => format!("{ms} ms"),
        1000..10_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => span(ms / 1000),
    })
}

/// The first twelve hex digits of a digest: enough to name content to any verb.
pub(crate) fn prefix(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}

fn span(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        HOUR..DAY => format!("{} h", seconds / HOUR),
        _ => counted(seconds / DAY, "day", "days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_never_shows_a_thousand_of_a_unit() {
        let shown: Vec<_> = [
            0,
            999,
            1000,
            1_249,
            9_949,
            9_960,
            999_499,
            999_500,
            1_200_000,
            u64::MAX,
        ]
        .map(size)
        .into();
        assert_eq!(
            shown,
            [
                "0 B", "999 B", "1.0 kB", "1.2 kB", "9.9 kB", "10 kB", "999 kB", "1.0 MB",
                "1.2 MB", "18 EB"
            ]
        );
    }

    #[test]
    fn large_counts_can_be_read() {
        assert_eq!(counted(1, "file", "files"), "1 file");
        assert_eq!(counted(1437, "file", "files"), "1,437 files");
        assert_eq!(count(1_000_000), "1,000,000");
    }

    #[test]
    fn an_age_is_given_in_its_largest_unit_and_a_wrong_clock_is_said() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        assert_eq!(age("2026-11-21T11:59:58Z", now), "just now");
        assert_eq!(age("2026-11-21T11:57:00Z", now), "3 min ago");
        assert_eq!(age("2026-11-19T12:00:00Z", now), "2 days ago");
        assert_eq!(age("2026-11-22T12:00:00Z", now), "in the future");
        assert_eq!(age("not\na time", now), r"not\na time");
        assert_eq!(
            between("2026-11-21T12:00:00Z", "2026-11-21T12:00:01.25Z").unwrap(),
            "1.2 s"
        );
    }
}

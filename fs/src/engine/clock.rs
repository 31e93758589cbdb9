//! The daemon's clock as it is written everywhere: RFC 3339, UTC. The host can influence it; nothing is proven by it.

use jiff::Timestamp;

/// Now, to the millisecond.
pub(super) fn now() -> String {
    let ms = Timestamp::now().as_millisecond();
    Timestamp::from_millisecond(ms)
        .map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |t| format!("{t:.3}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_time_is_rfc_3339_in_utc_with_milliseconds() {
        let now = super::now();
        assert_eq!(now.len(), "2026-11-21T08:00:00.000Z".len(), "{now}");
        assert!(now.ends_with('Z'));
    }
}

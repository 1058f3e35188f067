//! Whether a candidate may take the Lease. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// A record of the Lease as this replica sees it.
#[derive(Debug, Clone)]
pub(super) struct Record {
    holder: Option<String>,
    version: Option<String>,
    /// When this replica first saw the record, by its own clock: others' clocks say nothing.
    first_seen: Instant,
}

impl Record {
    /// What is seen at `now`; a record that `before` has seen already keeps its time.
    pub(super) fn new(
        holder: Option<String>,
        version: Option<String>,
        now: Instant,
        before: Option<Self>,
    ) -> Self {
        let first_seen = match before {
            Some(before) if before.version == version => before.first_seen,
            _ => now,
        };
        Self { holder, version, first_seen }
    }
}

/// What a candidate does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Writes itself in.
    Take,
    /// Looks again later.
    Wait,
}

/// Nobody's Lease and one's own can be taken at once; another's when it has not changed for `duration`.
pub(super) fn decide(record: &Record, me: &str, now: Instant, duration: Duration) -> Decision {
    match record.holder.as_deref() {
        None | Some("") => Decision::Take,
        // From before a restart: a replica's name is its own.
        Some(holder) if holder == me => Decision::Take,
        Some(_) if now.duration_since(record.first_seen) >= duration => Decision::Take,
        Some(_) => Decision::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    #[test]
    fn a_lease_ends_when_its_record_has_not_changed_for_its_duration() {
        let start = Instant::now();
        let see = |holder: &str, version: &str, after: u64, before| {
            let now = start + Duration::from_secs(after);
            let record = Record::new(Some(holder.into()), Some(version.into()), now, before);
            (decide(&record, "me", now, DURATION), record)
        };
        let (first, record) = see("other", "1", 0, None);
        let (second, record) = see("other", "1", 14, Some(record));
        let (third, record) = see("other", "2", 16, Some(record));
        let (fourth, record) = see("other", "2", 30, Some(record));
        let (fifth, _) = see("other", "2", 31, Some(record));
        assert_eq!([first, second, third, fourth, fifth], [
            Decision::Wait,
            Decision::Wait,
            Decision::Wait,
            Decision::Wait,
            Decision::Take
        ]);
        assert_eq!([see("", "1", 0, None).0, see("me", "1", 0, None).0], [Decision::Take; 2]);
    }
}

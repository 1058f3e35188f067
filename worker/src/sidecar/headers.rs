//! Headers of the OpenAI API's answers, and the request's id.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::record::place;
use super::wire::Decided;
use crate::protocol::{Fallback, PrefillPlace};

/// Names a request in logs on both sides.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SESSION: HeaderName = HeaderName::from_static("x-ampd-session");
const ROUND: HeaderName = HeaderName::from_static("x-ampd-round");
const PREFILL: HeaderName = HeaderName::from_static("x-ampd-prefill");
const REASON: HeaderName = HeaderName::from_static("x-ampd-reason");
const OVERLOAD: HeaderName = HeaderName::from_static("x-ampd-overload");

/// Longest request id that is taken over, bytes.
const MAX_REQUEST_ID: usize = 128;

/// The client's id of the request if it is of use, else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let fits =
        |id: &&str| (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    given.filter(fits).map_or_else(|| format!("{:032x}", rand::random::<u128>()), str::to_owned)
}

/// What the answer's head says about its round.
#[derive(Debug, Clone, Default)]
pub(super) struct RoundHead {
    /// The decision.
    pub decided: Option<Decided>,
    /// Where the prefill ran in the end, when that is known.
    pub settled: Option<(PrefillPlace, Option<Fallback>)>,
}

impl RoundHead {
    /// Writes the headers.
    pub(super) fn write(&self, session: &str, headers: &mut HeaderMap) {
        let mut insert = |name, text: &str| {
            // Names of sessions, places and reasons are printable.
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        insert(SESSION, session);
        let Some(decided) = &self.decided else { return };
        insert(ROUND, &decided.round.to_string());
        if decided.best_effort {
            insert(OVERLOAD, "bestEffort");
        }
        let (ran, fallback) = self.settled.unwrap_or((decided.place, None));
        insert(PREFILL, place(ran));
        match fallback {
            Some(fallback) => insert(REASON, &format!("fallback_{}", fallback.as_str())),
            None => insert(REASON, &decided.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_echoed_only_if_they_are_harmless() {
        let id = |value: &str| request_id(&HeaderMap::from_iter([(REQUEST_ID, value.parse().unwrap())]));
        assert_eq!(id("abc-1"), "abc-1");
        for bad in ["a b", "", &"x".repeat(129)] {
            assert_eq!(id(bad).len(), 32);
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }

    #[test]
    fn a_fallback_is_told_as_the_reason() {
        let decided = Decided {
            round: 3,
            place: PrefillPlace::Remote,
            reason: "prefill_slack".into(),
            worker: Some("p0".into()),
            history: 10,
            increment: 40,
            local_s: 0.1,
            remote_s: Some(0.05),
            best_effort: false,
        };
        let written = |settled| {
            let mut headers = HeaderMap::new();
            RoundHead { decided: Some(decided.clone()), settled }.write("s", &mut headers);
            [SESSION, ROUND, PREFILL, REASON].map(|name| headers[name].to_str().unwrap().to_owned())
        };
        assert_eq!(written(None), ["s", "3", "remote", "prefill_slack"]);
        let fallback = Some((PrefillPlace::Local, Some(Fallback::Frozen)));
        assert_eq!(written(fallback), ["s", "3", "local", "fallback_frozen"]);
    }
}

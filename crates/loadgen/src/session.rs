//! One session from its first round to its last.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use crate::calibrate::Tokens;
use crate::client::{Answer, Client, Message, RoundError};
use crate::plan::{PlannedRound, PlannedSession};
use crate::record::{Failure, RoundRecord};
use crate::run::Event;
use crate::text::Writer;

/// A session that is to be held.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) plan: PlannedSession,
    pub(crate) index: usize,
    pub(crate) seed: u64,
    pub(crate) tokens: Tokens,
    pub(crate) start: Instant,
    pub(crate) events: Sender<Event>,
    pub(crate) stop: CancellationToken,
}

impl Session {
    /// Holds it and gives its rounds; those that `stop` came before are left out. A failed round ends it: whoever uses a model
    /// cannot go on without the answer.
    pub(crate) async fn hold(self) -> Vec<RoundRecord> {
        let name = format!("ampd-bench-{}-{}", self.seed, self.index);
        let mut writer = Writer::new(self.seed, self.index as u64);
        let mut messages: Vec<Message> = Vec::new();
        let mut records: Vec<RoundRecord> = Vec::new();
        let mut next = self.start + self.plan.arrival;
        for (index, round) in self.plan.rounds.iter().enumerate() {
            let due = next + round.gap;
            if records.last().is_some_and(|record| record.failure.is_some()) {
                records.push(self.unsent(index, due));
                next = due;
                continue;
            }
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep_until(due.into()) => {}
            }
            self.forget(round, &mut messages);
            messages
                .push(Message { role: "user", content: writer.words(self.tokens.words(round.increment)) });
            let sent = self.start.elapsed();
            let result = tokio::select! {
                () = self.stop.cancelled() => break,
                result = self.client.round(&name, &messages, round.output) => result,
            };
            next = Instant::now();
            let record = record(self.index, index + 1, sent, &result);
            if let Ok(answer) = result {
                messages.push(Message { role: "assistant", content: answer.text });
            }
            // Whoever counts rounds may have seen enough.
            let _ = self.events.send(Event::Round(record.clone())).await;
            records.push(record);
        }
        records
    }

    /// Drops what the session's context loses before `round`: whole messages from the end on, so that what stays is its beginning.
    fn forget(&self, round: &PlannedRound, messages: &mut Vec<Message>) {
        let Some(keep) = round.keep else { return };
        let mut kept = 0.0;
        let fits = messages.iter().take_while(|message| {
            let words = message.content.split_ascii_whitespace().count();
            kept += words as f64 * self.tokens.per_word;
            kept <= f64::from(keep)
        });
        let count = fits.count();
        messages.truncate(count);
        // A conversation goes on after an answer.
        if messages.last().is_some_and(|message| message.role == "user") {
            messages.pop();
        }
    }

    fn unsent(&self, index: usize, due: Instant) -> RoundRecord {
        let sent_s = due.duration_since(self.start).as_secs_f64();
        RoundRecord { failure: Some(Failure::NotSent), ..empty(self.index, index + 1, sent_s) }
    }
}

fn empty(session: usize, round: usize, sent_s: f64) -> RoundRecord {
    RoundRecord {
        session,
        round,
        sent_s,
        ttft_s: None,
        itl_s: None,
        longest_gap_s: None,
        total_s: None,
        prompt_tokens: None,
        cached_tokens: None,
        output_tokens: None,
        prefill: None,
        reason: None,
        failure: None,
        words: None,
    }
}

fn record(session: usize, round: usize, sent: Duration, result: &Result<Answer, RoundError>) -> RoundRecord {
    let base = empty(session, round, sent.as_secs_f64());
    let answer = match result {
        Ok(answer) => answer,
        Err(error) => {
            return RoundRecord { failure: Some(error.into()), words: Some(error.to_string()), ..base };
        }
    };
    let tokens = answer.output_tokens.unwrap_or(answer.parts.len() as u64);
    let (first, last) = (answer.parts.first().copied(), answer.parts.last().copied());
    let between = first.zip(last).map(|(first, last)| last.saturating_sub(first).as_secs_f64());
    let longest = answer.parts.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max();
    RoundRecord {
        ttft_s: first.map(|first| first.as_secs_f64()),
        itl_s: between.filter(|_| tokens > 1).map(|between| between / (tokens - 1) as f64),
        longest_gap_s: longest.map(|gap| gap.as_secs_f64()),
        total_s: last.map(|last| last.as_secs_f64()),
        prompt_tokens: answer.prompt_tokens,
        cached_tokens: answer.cached_tokens,
        output_tokens: Some(tokens),
        prefill: answer.headers.get("x-ampd-prefill").cloned(),
        reason: answer.headers.get("x-ampd-reason").cloned(),
        ..base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_from_the_parts() {
        let parts = [500, 700, 1500].map(Duration::from_millis).to_vec();
        let answer = Answer { parts, output_tokens: Some(5), ..Answer::default() };
        let made = record(1, 2, Duration::from_secs(3), &Ok(answer));
        assert_eq!((made.session, made.round, made.sent_s), (1, 2, 3.0));
        assert_eq!((made.ttft_s, made.itl_s), (Some(0.5), Some(0.25)));
        assert_eq!((made.longest_gap_s, made.total_s), (Some(0.8), Some(1.5)));
        let one = Answer { parts: vec![Duration::from_secs(1)], ..Answer::default() };
        let made = record(0, 1, Duration::ZERO, &Ok(one));
        assert_eq!((made.itl_s, made.output_tokens, made.longest_gap_s), (None, Some(1), None));
    }
}

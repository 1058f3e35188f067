//! Whether a peer lives, from the calls to it, with hysteresis.

/// A peer that has not answered for so long, seconds, is gone, where each is asked several times a second.
pub(super) const SILENCE_S: f64 = 1.2;
/// Where peers are asked more seldom: so many times as long as from one question to the next.
const QUESTIONS: f64 = 4.0;
/// Answers in a row that bring it back.
const RETURN: u32 = 2;

/// What the last calls to one peer say.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Health {
    alive: bool,
    answered_s: f64,
    answers: u32,
    failures: u32,
    /// It has answered before: only then its return needs more than one answer.
    known: bool,
    /// How long it may be silent, seconds.
    silence_s: f64,
}

/// How a call to a peer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing listens there: it is gone at once.
    Refused,
    /// No answer in time: it is gone when this lasts.
    Silent,
}

impl Health {
    /// A peer of which nothing is known yet counts as alive or not, as `alive` says.
    pub(super) fn new(alive: bool, now_s: f64) -> Self {
        Self { alive, answered_s: now_s, answers: 0, failures: 0, known: false, silence_s: SILENCE_S }
    }

    /// Notes that the peer is asked once in `every_s` seconds.
    pub(super) fn asked_every(&mut self, every_s: f64) {
        self.silence_s = SILENCE_S.max(QUESTIONS * every_s);
    }

    /// How long the peer may be silent, seconds.
    pub(super) fn silence_s(&self) -> f64 {
        self.silence_s
    }

    /// Takes in an answer; true when it brings the peer back, or when the peer was silent for so long that it should have
    /// been given up: then it may have slept, or this process has.
    pub(super) fn answered(&mut self, now_s: f64) -> bool {
        let gap = now_s - self.answered_s > self.silence_s;
        self.answers = if gap { 1 } else { self.answers + 1 };
        self.failures = 0;
        self.answered_s = now_s;
        let back = !self.alive && (self.answers >= RETURN || !self.known);
        self.known = true;
        let slept = self.alive && gap;
        self.alive |= back;
        back || slept
    }

    /// Takes in a call that failed; true when this makes the peer count as gone.
    pub(super) fn failed(&mut self, failure: Failure, now_s: f64) -> bool {
        self.answers = 0;
        self.failures += 1;
        let gone = match failure {
            Failure::Refused => true,
            Failure::Silent => self.failures >= 2 && now_s - self.answered_s > self.silence_s,
        };
        let lost = self.alive && gone;
        self.alive &= !gone;
        lost
    }

    pub(super) fn alive(&self) -> bool {
        self.alive
    }

    /// When it last answered.
    pub(super) fn answered_s(&self) -> f64 {
        self.answered_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_ends_it_at_once_and_two_answers_bring_it_back() {
        let mut health = Health::new(true, 0.0);
        assert!(!health.answered(0.2));
        assert!(health.failed(Failure::Refused, 0.4));
        assert!(!health.alive() && !health.failed(Failure::Refused, 0.5));
        assert!(!health.answered(0.6) && !health.alive());
        assert!(health.answered(0.8) && health.alive());
    }

    #[test]
    fn one_that_was_only_slow_to_start_is_there_at_its_first_answer() {
        let mut health = Health::new(true, 0.0);
        assert!(health.failed(Failure::Refused, 0.1) && !health.alive());
        assert!(health.answered(0.2) && health.alive());
    }

    #[test]
    fn a_late_answer_is_forgiven_and_lasting_silence_is_not() {
        let mut health = Health::new(true, 0.0);
        assert!(!health.failed(Failure::Silent, 0.7));
        assert!(!health.answered(1.0) && health.alive());
        assert!(!health.failed(Failure::Silent, 1.5));
        assert!(!health.failed(Failure::Silent, 2.0) && health.alive());
        assert!(health.failed(Failure::Silent, 2.3) && !health.alive());
    }

    #[test]
    fn one_that_is_seldom_asked_is_not_gone_between_two_questions() {
        let mut health = Health::new(true, 0.0);
        health.asked_every(5.0);
        assert!((1..20).all(|question| !health.answered(5.0 * f64::from(question)) && health.alive()));
        assert!(health.failed(Failure::Refused, 100.0));
        assert!(!health.answered(105.0) && health.answered(110.0) && health.alive());
        assert!(!health.failed(Failure::Silent, 115.0) && !health.failed(Failure::Silent, 120.0));
        assert!(health.failed(Failure::Silent, 130.1) && !health.alive());
    }

    #[test]
    fn one_who_slept_is_told_apart_from_one_who_did_not() {
        let mut health = Health::new(true, 0.0);
        assert!(!health.answered(0.2));
        assert!(health.answered(9.0) && health.alive());
        assert!(!health.answered(9.2));
    }
}

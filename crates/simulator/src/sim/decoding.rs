//! Steps of decode workers.

use super::Sim;
use super::events::{Event, RoundRef};
use super::rows::{Row, Step};

impl Sim<'_> {
    /// Starts the worker's next step, if it is idle and has something to compute.
    pub(super) fn start_decode_step(&mut self, worker: u32) {
        let decode = &self.decodes[worker as usize];
        if !decode.alive || decode.step.is_some() {
            return;
        }
        self.join(worker);
        self.grow(worker);
        let parts = self.choose_parts(worker);
        let crowding = self.crowding();
        let decode = &mut self.decodes[worker as usize];
        let (rows, context) = (decode.rows.len() as f64, decode.mean_context());
        if rows == 0.0 && parts.list.is_empty() {
            return;
        }
        let seconds = self.setup.truth.mixed_s(rows, context, parts.tokens, parts.pairs)
            * self.setup.truth.noise(&mut self.rng)
            * decode.slow
            * crowding;
        let history = if parts.tokens > 0.0 { parts.pairs / parts.tokens - parts.tokens / 2.0 } else { 0.0 };
        let predicted_s = decode.model.mixed_s(rows, context, &[(history.max(0.0), parts.tokens)]);
        let profile = self.setup.model;
        let mixed_s = profile.mixed_s(rows, context, &[(history.max(0.0), parts.tokens)]);
        decode.step = Some(Step {
            rows: rows as u32,
            started_s: self.now_s,
            seconds,
            predicted_s,
            profiled_s: (profile.decode_s(rows, context), mixed_s),
            parts: parts.list,
        });
        let epoch = decode.epoch;
        self.run.decode_steps += 1;
        self.events.at(self.now_s + seconds, Event::DecodeStep { worker, epoch });
    }

    /// A step has ended.
    pub(super) fn decode_step_ended(&mut self, worker: u32, epoch: u32) {
        let decode = &mut self.decodes[worker as usize];
        if decode.epoch != epoch {
            return;
        }
        let Some(step) = decode.step.take() else { return };
        let (decode_s, mixed_s) = step.profiled_s;
        match (step.rows, step.parts.is_empty()) {
            (_, true) => decode.calibration.decode(decode_s, step.seconds),
            (0, false) => decode.calibration.prefill(mixed_s, step.seconds),
            (_, false) => decode.calibration.mixed(decode_s, mixed_s, step.seconds),
        }
        decode.stalls.push(decode.steps, step.seconds);
        decode.steps += 1;
        decode.context += decode.rows.len() as u64;
        decode.itl.push_many(self.now_s, step.seconds, u64::from(step.rows));
        self.run.output_tokens += u64::from(step.rows);
        self.first_tokens(worker);
        let freed = self.rows_ended(worker);
        for (round, tokens) in step.parts {
            self.prefilled(worker, round, tokens);
        }
        let decode = &mut self.decodes[worker as usize];
        if decode.steps.is_multiple_of(64) || decode.rows.is_empty() {
            let oldest = decode.rows.iter().map(|row| row.begun).min().unwrap_or(decode.steps);
            decode.stalls.forget_before(oldest);
        }
        if freed || !decode.waiting.is_empty() {
            self.start_waiting(worker);
        }
        self.start_decode_step(worker);
    }

    /// Rounds whose prefill ran elsewhere have their first token with their first step.
    fn first_tokens(&mut self, worker: u32) {
        let decode = &mut self.decodes[worker as usize];
        if decode.newcomers == 0 {
            return;
        }
        decode.newcomers = 0;
        for row in decode.rows.iter_mut().filter(|row| row.first_s.is_none()) {
            row.first_s = Some(self.now_s);
            if let Some(round) = self.rounds.get_mut(row.round) {
                round.first_token_s = Some(self.now_s);
            }
        }
    }

    /// Ends the rounds that have had their last token; whether there are any.
    fn rows_ended(&mut self, worker: u32) -> bool {
        let decode = &self.decodes[worker as usize];
        if decode.steps < decode.next_end {
            return false;
        }
        for place in (0..decode.rows.len()).rev() {
            let decode = &mut self.decodes[worker as usize];
            if decode.rows[place].end > decode.steps {
                continue;
            }
            let (row, grown) = decode.remove_row(place);
            let stall = decode.stalls.p99(row.begun + u64::from(row.joined), row.end);
            if let Some(round) = self.rounds.get_mut(row.round) {
                round.left = 0;
                round.itl_p99_s = round.itl_p99_s.max(stall.unwrap_or(0.0));
            }
            self.finish(worker, row.round, row.context_at(row.end), grown);
        }
        true
    }

    /// A part of a local prefill is computed; with the last one comes a token.
    fn prefilled(&mut self, worker: u32, name: RoundRef, tokens: u32) {
        self.run.local_tokens += u64::from(tokens);
        let decode = &mut self.decodes[worker as usize];
        let Some(place) = decode.prefills.iter().position(|local| local.round == name) else { return };
        decode.prefills[place].done += tokens;
        if decode.prefills[place].remaining() > 0 {
            return;
        }
        decode.prefills.remove(place);
        for overtaken in &mut decode.prefills[..place] {
            overtaken.postponed += 1;
        }
        let Some(round) = self.rounds.get_mut(name) else { return };
        round.left -= 1;
        let first_s = *round.first_token_s.get_or_insert(self.now_s);
        self.run.output_tokens += 1;
        if round.left == 0 {
            let prompt = round.prompt;
            self.finish(worker, name, prompt, 0);
            return;
        }
        decode.add_row(Row::new(name, round, decode.steps, Some(first_s)));
    }
}

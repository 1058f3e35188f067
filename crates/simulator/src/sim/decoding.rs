//! Steps of decode workers.

use ampd_scheduler::{Order, QueuedTask};

use super::Sim;
use super::decode::{Row, Step};
use super::events::{Event, RoundRef};

/// What a step prefills beside its rows.
#[derive(Default)]
struct Parts {
    list: Vec<(RoundRef, u32)>,
    /// Sum of the tokens.
    tokens: f64,
    /// Sum of the pairs of query and key.
    pairs: f64,
}

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
        let decode = &mut self.decodes[worker as usize];
        let (rows, context) = (decode.rows.len() as f64, decode.mean_context());
        if rows == 0.0 && parts.list.is_empty() {
            return;
        }
        let seconds = self.setup.truth.mixed_s(rows, context, parts.tokens, parts.pairs)
            * self.setup.truth.noise(&mut self.rng)
            * decode.slow;
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

    /// Takes in rounds whose remote prefill is here.
    fn join(&mut self, worker: u32) {
        let most = self.setup.cluster.engine.max_running as usize;
        let decode = &mut self.decodes[worker as usize];
        while decode.rows.len() < most
            && let Some(name) = decode.joining.pop_front()
        {
            let Some(round) = self.rounds.get(name) else { continue };
            decode.add_row(Row {
                round: name,
                session: round.session,
                begun: decode.steps,
                end: decode.steps + u64::from(round.left),
                context: round.prompt,
                before: round.output - round.left,
                first_s: None,
                joined: true,
            });
        }
    }

    /// Takes the blocks that the rows need for the step; where there are none, the youngest give theirs.
    fn grow(&mut self, worker: u32) {
        loop {
            let decode = &mut self.decodes[worker as usize];
            let blocks = decode.blocks_needed();
            if blocks == 0 || decode.kv.grow(blocks) {
                decode.grown += blocks;
                return;
            }
            let youngest = (0..decode.rows.len()).max_by_key(|place| decode.rows[*place].round.serial);
            let Some(place) = youngest else { return };
            self.preempt(worker, place);
        }
    }

    /// Takes all KV from a row; its round waits for memory again and is computed anew with its output so far.
    fn preempt(&mut self, worker: u32, place: usize) {
        let decode = &mut self.decodes[worker as usize];
        let (row, grown) = decode.remove_row(place);
        let stall = decode.stalls.p99(row.begun + u64::from(row.joined), decode.steps);
        let blocks = decode.kv.blocks_of(row.session) + grown;
        decode.kv.release(row.session, 0, blocks, false);
        decode.waiting.push_front(row.round);
        if let Some(round) = self.rounds.get_mut(row.round) {
            round.left = (row.end - decode.steps) as u32;
            round.prompt = round.end_context - round.left;
            round.keep = 0;
            round.preempted += 1;
            round.itl_p99_s = round.itl_p99_s.max(stall.unwrap_or(0.0));
        }
    }

    fn choose_parts(&mut self, worker: u32) -> Parts {
        let mut chosen = Parts::default();
        if self.decodes[worker as usize].prefills.is_empty() {
            return chosen;
        }
        let engine = self.setup.cluster.engine;
        let (each, all) = self.pace(worker);
        let decode = &self.decodes[worker as usize];
        let rows = decode.rows.len() as u32;
        let mut room = engine.token_budget.saturating_sub(rows).min(all);
        let mut places = engine.max_running.saturating_sub(rows);
        for place in self.local_order(worker) {
            let local = &self.decodes[worker as usize].prefills[place];
            let tokens = local.remaining().min(each).min(room);
            if tokens == 0 || places == 0 {
                break;
            }
            room -= tokens;
            places -= 1;
            let (history, size) = (f64::from(local.history + local.done), f64::from(tokens));
            chosen.tokens += size;
            chosen.pairs += size * (history + size / 2.0);
            chosen.list.push((local.round, tokens));
        }
        chosen
    }

    /// The order in which local prefills are served.
    fn local_order(&self, worker: u32) -> Vec<usize> {
        let (decode, order) = (&self.decodes[worker as usize], self.setup.policies.local_order);
        let count = decode.prefills.len();
        if count < 2 || order == Order::Arrival {
            return (0..count).collect();
        }
        let heads: Vec<QueuedTask> = decode.prefills[..count.min(order.looks_at())]
            .iter()
            .map(|local| QueuedTask {
                predicted_s: decode
                    .model
                    .prefill_s(f64::from(local.history + local.done), f64::from(local.remaining())),
                deadline_s: local.deadline_s,
                postponed: local.postponed,
            })
            .collect();
        let mut chosen = order.next(&heads, self.now_s).order;
        chosen.extend(heads.len()..count);
        chosen
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
        decode.add_row(Row {
            round: name,
            session: round.session,
            begun: decode.steps,
            end: decode.steps + u64::from(round.left),
            context: round.prompt,
            before: round.output - round.left,
            first_s: Some(first_s),
            joined: false,
        });
    }
}

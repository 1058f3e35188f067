//! Rows join a decode worker and get the memory that they grow by.

use super::Sim;
use super::rows::Row;

impl Sim<'_> {
    /// Takes in rounds whose remote prefill is here.
    pub(super) fn join(&mut self, worker: u32) {
        let most = self.setup.cluster.engine.max_running as usize;
        let decode = &mut self.decodes[worker as usize];
        while decode.rows.len() < most
            && let Some(name) = decode.joining.pop_front()
        {
            let Some(round) = self.rounds.get(name) else { continue };
            decode.add_row(Row::new(name, round, decode.steps, None));
        }
    }

    /// Takes the blocks that the rows need for the step; where there are none, the youngest give theirs.
    pub(super) fn grow(&mut self, worker: u32) {
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
}

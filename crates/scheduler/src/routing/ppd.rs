//! PPD: prefills that append to a history stay on the decode worker when an offline table says so.

use super::threshold::{by_size, must_stay};
use super::{Costs, Decision, Reason, RouteInput, RoutingPolicy, Target};

/// The policy `ppd` ("Not All Prefills Are Equal", arXiv 2603.13358): a first round always goes remote. A later one
/// stays when its increment is below `bypass_tokens`, else when the table says that what TTFT gains outweighs what the
/// time per output token loses: `ttft_weight * (remote - local) / remote > itl_weight * (loaded - plain) / plain`.
///
/// The published table holds benchmark runs of one model on one machine. Here its entries are computed from the
/// performance model on an idle prefill worker and on a decode worker of `table_batch` rows. The original's table also
/// has an axis for the rate of requests; `table_batch` stands for one point of it. A session whose history is lost
/// counts as at its first round: all of its prompt is to be prefilled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ppd {
    /// Increment, tokens, below which a later round stays (`PPD_BYPASS_THRESHOLD`).
    pub bypass_tokens: u32,
    /// Weight of the relative gain in TTFT.
    pub ttft_weight: f64,
    /// Weight of the relative loss in time per output token.
    pub itl_weight: f64,
    /// Rows of the decode worker that the table was measured on.
    pub table_batch: u32,
    /// Output tokens of the rounds that it was measured with, over which a stall is spread.
    pub table_output: u32,
}

impl Default for Ppd {
    /// The bypass and the equal weights of the published code; rows and output of the table are our choice of a point
    /// in the middle.
    fn default() -> Self {
        Self { bypass_tokens: 512, ttft_weight: 1.0, itl_weight: 1.0, table_batch: 32, table_output: 128 }
    }
}

impl Ppd {
    /// The table's answer for the round's sizes.
    fn table_says_local(&self, input: &RouteInput<'_>) -> bool {
        let (history, increment) = (f64::from(input.history), f64::from(input.increment));
        let (model, batch) = (input.model, f64::from(self.table_batch));
        let plain_s = model.decode_s(batch, history);
        let local_s = model.mixed_s(batch, history, &[(history, increment)]);
        let transfers_s = model.transfer_s(history) + model.transfer_s(increment);
        let remote_s = model.prefill_s(history, increment) + transfers_s;
        let output_s = plain_s * f64::from(self.table_output);
        let loss = (local_s - plain_s) / output_s.max(f64::MIN_POSITIVE);
        let gain = (remote_s - local_s) / remote_s.max(f64::MIN_POSITIVE);
        self.ttft_weight * gain > self.itl_weight * loss
    }
}

impl RoutingPolicy for Ppd {
    fn name(&self) -> &'static str {
        "ppd"
    }

    fn decide(&self, input: &RouteInput<'_>) -> Decision {
        let costs = Costs::predict(input);
        let index = match must_stay(input, &costs) {
            Ok(index) => index,
            Err(decision) => return decision,
        };
        if input.history == 0 {
            return Decision::new(Target::Remote(index), Reason::FirstRound, &costs);
        }
        let below = input.increment < self.bypass_tokens || self.table_says_local(input);
        by_size(below, index, &costs)
    }
}

//! Pacing: how many tokens of local prefills a decode step takes in, and what that costs the rounds that decode there.
//!
//! The cost of a chunk size is the expected number of missed objectives: of the local prefills, whose TTFT grows as
//! chunks shrink, and of the decoding rounds, whose mean ITL grows with every step that carries a chunk. It is what
//! decides between local and remote (`routing::Ampd`), and it is decided anew at every step.

use ampd_perfmodel::{PerfModel, sane};

use crate::miss::MissCurve;
use crate::routing::{DecodeLoad, Decoding, LocalPrefill, RouteInput, Slo};

/// The chunk sizes that are tried, tokens.
const CHUNKS: [u32; 7] = [32, 64, 128, 256, 512, 1024, 2048];
/// Decoding rounds that are looked at one by one; of more, every n-th stands for its neighbours.
const MOST_ROUNDS: usize = 48;
/// The least price of a whole ITL objective to a round that misses it anyway.
const LOST_PRICE: f64 = 1.0;
/// Beyond so many objectives, more wait costs nothing more.
pub(crate) const MOST_SHARE: f64 = 10.0;

/// A decode worker at the beginning of a step.
#[derive(Debug, Clone, Copy)]
pub struct Pace<'a> {
    /// The objectives.
    pub slo: Slo,
    /// Its load.
    pub load: DecodeLoad,
    /// The rounds decoding, as in [`RouteInput::decoding`]; where they are fewer than [`DecodeLoad::running`], those
    /// that are told stand for all.
    pub decoding: &'a [Decoding],
    /// The local prefills, as in [`RouteInput::waiting`].
    pub waiting: &'a [LocalPrefill],
    /// Most tokens of a step.
    pub token_budget: u32,
    /// The performance model.
    pub model: &'a PerfModel,
    /// How likely a TTFT objective is missed.
    pub ttft: MissCurve,
    /// How likely an ITL objective is missed.
    pub itl: MissCurve,
    /// What a whole objective costs, in misses, when it is merely used up: of two ways to miss nothing, the one that
    /// leaves more to everybody's objectives is better, since more prefills will come.
    pub price: f64,
}

/// What a pace leads to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Expected misses of objectives, and the price of what is used up of those that are met.
    pub cost: f64,
    /// Tokens of prefill in each step.
    pub chunk: u32,
    /// Predicted seconds until the last of the local prefills has its first token.
    pub last_s: f64,
}

/// A decoding round in shares of its objective.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// Predicted mean ITL without any prefill, as a share of the objective.
    share: f64,
    /// Its probability of a miss.
    miss: f64,
    /// Further steps.
    steps: f64,
    /// What a second of delay adds to the share.
    per_second: f64,
    /// Rounds it stands for.
    weight: f64,
}

impl<'a> Pace<'a> {
    /// The price with which a decode worker paces its own prefills: those that are done early leave room for others.
    pub const PRICE: f64 = 0.1;

    /// The pace of the decode worker that a round is to be routed for.
    #[must_use]
    pub fn of(input: &RouteInput<'a>, ttft: MissCurve, itl: MissCurve, price: f64) -> Self {
        Self {
            slo: input.slo,
            load: input.decode,
            decoding: input.decoding,
            waiting: input.waiting,
            token_budget: input.token_budget,
            model: input.model,
            ttft,
            itl,
            price,
        }
    }

    /// The chunk that costs least, for the local prefills and, behind them, `extra`. Of equal ones it is the largest,
    /// which has all prefills done soonest. `None` when there is nothing to prefill.
    #[must_use]
    pub fn best(&self, extra: Option<LocalPrefill>) -> Option<Outcome> {
        self.best_of(extra, &self.rows())
    }

    /// What `extra` adds to the cost of the local prefills and rounds that are there, and what then comes of all;
    /// `None` when it is empty.
    #[must_use]
    pub fn added(&self, extra: LocalPrefill) -> Option<(f64, Outcome)> {
        let rows = self.rows();
        let with = self.best_of(Some(extra), &rows)?;
        let without = self.best_of(None, &rows).map_or(0.0, |outcome| outcome.cost);
        Some((sane(with.cost - without), with))
    }

    fn best_of(&self, extra: Option<LocalPrefill>, rows: &[Row]) -> Option<Outcome> {
        let prefills = || self.waiting.iter().copied().chain(extra);
        let (tokens, pairs) = prefills().fold((0.0, 0.0), |(tokens, pairs), prefill| {
            let (remaining, history) = (f64::from(prefill.remaining), f64::from(prefill.history));
            (tokens + remaining, pairs + remaining * (history + remaining / 2.0))
        });
        if tokens == 0.0 {
            return None;
        }
        let step_s = self.step_s();
        let room = self.token_budget.saturating_sub(self.load.running).max(1);
        let mut best: Option<Outcome> = None;
        for chunk in CHUNKS.into_iter().rev() {
            let chunk = chunk.min(room);
            if best.is_some_and(|best| best.chunk == chunk) {
                continue;
            }
            let size = f64::from(chunk).min(tokens);
            let history = sane(pairs / tokens - size / 2.0);
            let running = f64::from(self.load.running);
            let mixed_s = self.model.mixed_s(running, self.load.mean_context, &[(history, size)]);
            let (steps, extra_s) = ((tokens / size).ceil(), sane(mixed_s - step_s));
            let (mut cost, mut sum, mut last_s) = (0.0, 0.0, 0.0);
            for prefill in prefills() {
                sum += f64::from(prefill.remaining);
                last_s = sane(self.load.step_left_s) + (sum / size).ceil() * mixed_s;
                let share = (sane(prefill.age_s) + last_s) / self.slo.ttft_s;
                cost += self.ttft.probability(share) + self.price * sane(share).min(MOST_SHARE);
            }
            // Rows only add to it: what is dearer already need not be looked at further.
            let bound = best.map_or(f64::INFINITY, |best| best.cost);
            for row in rows {
                if cost >= bound {
                    break;
                }
                cost += row.rise(&self.itl, steps, extra_s, self.price);
            }
            if best.is_none_or(|best| cost < best.cost - 1e-6) {
                best = Some(Outcome { cost, chunk, last_s });
            }
        }
        best
    }

    /// Seconds of a step that only decodes.
    fn step_s(&self) -> f64 {
        self.model.decode_s(f64::from(self.load.running), self.load.mean_context)
    }

    fn rows(&self) -> Vec<Row> {
        let step_s = self.step_s();
        let row = |decoding: &Decoding, weight: f64| {
            let steps = sane(decoding.expected).max(1.0);
            let per_second = 1.0 / ((f64::from(decoding.tokens) + steps) * self.slo.itl_s);
            let share = (sane(decoding.elapsed_s) + steps * step_s) * per_second;
            Row { share, miss: self.itl.probability(share), steps, per_second, weight }
        };
        if self.decoding.is_empty() && self.load.running > 0 {
            // Nothing is known but a mean: all rounds are in the middle of a typical output at that mean.
            let itl_s = sane(self.load.windowed_itl_s.unwrap_or(step_s));
            let typical = Decoding { tokens: 64, elapsed_s: 64.0 * itl_s, expected: 64.0 };
            return vec![row(&typical, f64::from(self.load.running))];
        }
        let stride = self.decoding.len().div_ceil(MOST_ROUNDS).max(1);
        let looked_at = self.decoding.len().div_ceil(stride);
        let all = self.decoding.len().max(self.load.running as usize);
        let weight = all as f64 / looked_at.max(1) as f64;
        self.decoding.iter().step_by(stride).map(|decoding| row(decoding, weight)).collect()
    }
}

impl Row {
    /// What it costs when the next `steps` steps last `extra_s` longer. A round that misses anyway still has a price:
    /// it holds its memory until it ends, and were it free, a worker that is late would be given ever more.
    fn rise(&self, curve: &MissCurve, steps: f64, extra_s: f64, price: f64) -> f64 {
        let used = self.steps.min(steps) * extra_s * self.per_second;
        let price = if self.miss >= 1.0 { price.max(LOST_PRICE) } else { price };
        (curve.probability(self.share + used) - self.miss + price * used) * self.weight
    }
}

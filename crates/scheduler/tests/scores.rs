//! The policies of other systems, and the one that scores by expected misses.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use ampd_perfmodel::{DecodeSegment, PerfModel, PrefillSegment, Transfer};
use ampd_scheduler::{
    Ampd, DecodeLoad, Decoding, DynamoConditional, LlmdPrefix, LocalPrefill, MissCurve, Pace, Ppd,
    PrefillLoad, Reason, RouteInput, RoutingPolicy, SessionAffinity, Slo, Target,
};

fn model() -> PerfModel {
    PerfModel {
        prefill: vec![PrefillSegment { max_increment: u64::MAX, k0: 0.01, k1: 1e-4, k2: 0.0 }],
        decode: vec![DecodeSegment { max_batch: u64::MAX, k0: 0.01, k1: 1e-4, k2: 0.0 }],
        transfer: Transfer { latency_s: 1e-3, bytes_per_s: 1e10, bytes_per_token: 1e5 },
    }
}

const SLO: Slo = Slo { ttft_s: 1.0, itl_s: 0.05 };

fn worker(backlog_s: f64) -> PrefillLoad {
    PrefillLoad { backlog_s, fresh: true, ready: true, ..PrefillLoad::default() }
}

struct Case {
    history: u32,
    increment: u32,
    decoding: Vec<Decoding>,
    waiting: Vec<LocalPrefill>,
    prefills: Vec<PrefillLoad>,
    windowed_itl_s: Option<f64>,
}

impl Case {
    fn new(increment: u32, prefills: &[PrefillLoad]) -> Self {
        let prefills = prefills.to_vec();
        Self { history: 1000, increment, decoding: vec![], waiting: vec![], prefills, windowed_itl_s: None }
    }

    /// Twenty rounds in the middle of their outputs, at this share of their objective.
    fn decoding_at(mut self, share: f64) -> Self {
        let round = Decoding { tokens: 50, elapsed_s: 50.0 * share * SLO.itl_s, expected: 10.0 };
        self.decoding = vec![round; 20];
        self
    }

    fn input<'a>(&'a self, model: &'a PerfModel) -> RouteInput<'a> {
        let decode = DecodeLoad {
            windowed_itl_s: self.windowed_itl_s,
            running: self.decoding.len() as u32,
            mean_context: 1000.0,
            ..DecodeLoad::default()
        };
        RouteInput {
            session: 5,
            history: self.history,
            increment: self.increment,
            slo: SLO,
            age_s: 0.0,
            decode,
            decoding: &self.decoding,
            waiting: &self.waiting,
            token_budget: 2048,
            prefills: &self.prefills,
            model,
        }
    }

    fn decide(&self, policy: &dyn RoutingPolicy) -> (Target, Reason) {
        let model = model();
        let decision = policy.decide(&self.input(&model));
        (decision.target, decision.reason)
    }

    fn chunk(&self) -> Option<u32> {
        let model = model();
        Pace::of(&self.input(&model), MissCurve::TTFT_PACED, MissCurve::ITL, Pace::PRICE)
            .best(None)
            .map(|best| best.chunk)
    }
}

#[test]
fn llmd_knows_one_threshold_and_no_load() {
    let policy = LlmdPrefix { prompt_tokens: 1500, non_cached_tokens: 512 };
    let swamped = worker(1e3);
    assert_eq!(Case::new(511, &[swamped]).decide(&policy), (Target::Local, Reason::BelowThreshold));
    assert_eq!(Case::new(512, &[swamped]).decide(&policy), (Target::Remote(0), Reason::AboveThreshold));
    let short = Case { history: 0, ..Case::new(1499, &[swamped]) };
    assert_eq!(short.decide(&policy).0, Target::Local);
    let shipped = LlmdPrefix { prompt_tokens: 0, non_cached_tokens: 0 };
    assert_eq!(Case::new(50_000, &[worker(0.0)]).decide(&shipped).0, Target::Local);
}

#[test]
fn dynamo_bounds_tokens_and_share() {
    let policy = DynamoConditional::default();
    let idle = [worker(0.0)];
    assert_eq!(Case::new(1000, &idle).decide(&policy), (Target::Local, Reason::BelowThreshold));
    assert_eq!(Case::new(2048, &idle).decide(&policy), (Target::Remote(0), Reason::AboveThreshold));
    let first = Case { history: 0, ..Case::new(1000, &idle) };
    assert_eq!(first.decide(&policy), (Target::Remote(0), Reason::AboveThreshold));
}

#[test]
fn dynamos_breakers_go_by_load() {
    let policy =
        DynamoConditional { prefill_busy: Some(0.5), decode_busy: Some(0.5), ..DynamoConditional::default() };
    let long = Case::new(5000, &[worker(0.6)]);
    assert_eq!(long.decide(&policy), (Target::Local, Reason::PrefillBusy));
    let both = Case { windowed_itl_s: Some(0.03), ..Case::new(100, &[worker(0.6)]) };
    assert_eq!(both.decide(&policy), (Target::Remote(0), Reason::DecodeBusy));
}

#[test]
fn ppd_sends_first_rounds_away_and_asks_its_table_later() {
    let idle = [worker(0.0)];
    let first = Case { history: 0, ..Case::new(100, &idle) };
    assert_eq!(first.decide(&Ppd::default()), (Target::Remote(0), Reason::FirstRound));
    assert_eq!(Case::new(511, &idle).decide(&Ppd::default()), (Target::Local, Reason::BelowThreshold));
    assert_eq!(Case::new(20_000, &idle).decide(&Ppd::default()).0, Target::Remote(0));
    let careless = Ppd { itl_weight: 0.0, ..Ppd::default() };
    assert_eq!(Case::new(20_000, &idle).decide(&careless).0, Target::Local);
}

#[test]
fn affinity_deals_sessions_to_the_ready() {
    let away = PrefillLoad { ready: false, ..worker(0.0) };
    let case = Case::new(100, &[away, worker(0.0), worker(9.0)]);
    assert_eq!(case.decide(&SessionAffinity), (Target::Remote(2), Reason::Affinity));
}

#[test]
fn rounds_near_their_objective_are_spared() {
    let prefills = [worker(0.3)];
    let calm = Case::new(500, &prefills).decoding_at(0.3);
    assert_eq!(calm.decide(&Ampd::default()), (Target::Local, Reason::CheaperLocal));
    let tight = Case::new(500, &prefills).decoding_at(1.1);
    assert_eq!(tight.decide(&Ampd::default()), (Target::Remote(0), Reason::CheaperRemote));
}

#[test]
fn rounds_that_miss_anyway_are_spared_while_that_costs_no_objective() {
    let lost = Case::new(500, &[worker(0.3)]).decoding_at(2.0);
    assert_eq!(lost.decide(&Ampd::default()), (Target::Remote(0), Reason::CheaperRemote));
    let late = Case::new(500, &[worker(2.0)]).decoding_at(2.0);
    assert_eq!(late.decide(&Ampd::default()), (Target::Local, Reason::CheaperLocal));
}

#[test]
fn a_late_prefill_side_is_avoided_and_the_shortest_wait_taken() {
    let case = Case::new(500, &[worker(2.0), worker(0.1), worker(0.2)]).decoding_at(1.1);
    assert_eq!(case.decide(&Ampd::default()).0, Target::Remote(1));
    let late = Case::new(500, &[worker(2.0)]).decoding_at(0.5);
    assert_eq!(late.decide(&Ampd::default()).0, Target::Local);
}

#[test]
fn of_two_hopeless_options_the_sooner_is_taken() {
    let hopeless = LocalPrefill { history: 0, remaining: 100_000_000, age_s: 0.0 };
    let case = Case { waiting: vec![hopeless], ..Case::new(500, &[worker(1e3)]) };
    assert_eq!(case.decide(&Ampd::default()), (Target::Remote(0), Reason::CheaperRemote));
    let case = Case { waiting: vec![hopeless], ..Case::new(500, &[worker(1e6)]) };
    assert_eq!(case.decide(&Ampd::default()), (Target::Local, Reason::CheaperLocal));
}

#[test]
fn cached_history_and_a_slow_worker_count() {
    let cached = PrefillLoad { cached_history: Some(30_000), ..worker(0.0) };
    let case = Case { history: 30_000, ..Case::new(500, &[worker(0.0), cached]) }.decoding_at(1.1);
    assert_eq!(case.decide(&Ampd::default()).0, Target::Remote(1));
    let slow = PrefillLoad { prefill_ratio: 2.0, ..worker(0.0) };
    let case = Case::new(5000, &[slow, worker(0.1)]).decoding_at(1.1);
    assert_eq!(case.decide(&Ampd::default()).0, Target::Remote(1));
}

#[test]
fn old_signals_count_only_when_there_are_no_others() {
    let old = PrefillLoad { fresh: false, ..worker(0.0) };
    let case = Case::new(500, &[old, worker(0.2)]).decoding_at(1.1);
    assert_eq!(case.decide(&Ampd::default()).0, Target::Remote(1));
    let case = Case::new(500, &[old]).decoding_at(1.1);
    assert_eq!(case.decide(&Ampd::default()), (Target::Remote(0), Reason::StaleSignals));
    assert_eq!(Case::new(500, &[old]).decide(&Ampd::default()).0, Target::Local);
    assert_eq!(Case::new(500, &[]).decide(&Ampd::default()), (Target::Local, Reason::NoPrefillWorker));
}

#[test]
fn without_single_rounds_the_windowed_mean_stands_for_them() {
    let model = model();
    for (itl_s, target) in [(0.02, Target::Local), (0.085, Target::Remote(0))] {
        let case = Case::new(3000, &[worker(0.35)]);
        let decode = DecodeLoad {
            running: 20,
            windowed_itl_s: Some(itl_s),
            mean_context: 1000.0,
            ..DecodeLoad::default()
        };
        let input = RouteInput { decode, ..case.input(&model) };
        assert_eq!(Ampd::default().decide(&input).target, target, "{itl_s}");
    }
}

#[test]
fn chunks_are_small_while_rounds_are_near_their_objective() {
    let waiting = vec![LocalPrefill { history: 0, remaining: 2000, age_s: 0.0 }];
    // Rounds that go on for long: the prefill is in their way whenever it comes.
    let mut calm = Case { waiting: waiting.clone(), ..Case::new(1, &[]) }.decoding_at(0.3);
    calm.decoding.iter_mut().for_each(|round| round.expected = 1e4);
    assert_eq!(calm.chunk(), Some(2028));
    let tight = Case { waiting: waiting.clone(), ..Case::new(1, &[]) }.decoding_at(0.93);
    assert!(tight.chunk().unwrap() <= 256, "{:?}", tight.chunk());
    let urgent = vec![LocalPrefill { age_s: 0.72, ..waiting[0] }];
    let urgent = Case { waiting: urgent, ..Case::new(1, &[]) }.decoding_at(0.93);
    assert!(urgent.chunk().unwrap() >= 1024, "{:?}", urgent.chunk());
    assert_eq!(Case::new(1, &[]).decoding_at(0.5).chunk(), None);
}

#[test]
fn some_rounds_that_are_told_stand_for_all() {
    let case = Case::new(3000, &[worker(0.35)]).decoding_at(0.9);
    let model = model();
    let all = case.input(&model);
    let some = RouteInput { decoding: &case.decoding[..5], ..all };
    let cost = |input: &RouteInput<'_>| {
        let pace = Pace::of(input, MissCurve::TTFT_ROUTED, MissCurve::ITL, 0.01);
        pace.added(LocalPrefill { history: 1000, remaining: 3000, age_s: 0.0 }).unwrap().0
    };
    assert!((cost(&all) - cost(&some)).abs() < 1e-9, "{} {}", cost(&all), cost(&some));
}

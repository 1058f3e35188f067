//! Each rule of each policy, and what no input may break.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use ampd_perfmodel::{DecodeSegment, PerfModel, PrefillSegment, Transfer};
use ampd_scheduler::{
    AlwaysLocal, AlwaysRemote, Ampd, Costs, Decision, DecodeLoad, Decoding, DynamoConditional, LlmdPrefix,
    LocalPrefill, Paper, Ppd, PrefillLoad, Reason, RouteInput, RoutingPolicy, SessionAffinity, Slo, Target,
};
use proptest::prelude::*;

fn model() -> PerfModel {
    PerfModel {
        prefill: vec![PrefillSegment { max_increment: u64::MAX, k0: 0.01, k1: 1e-3, k2: 0.0 }],
        decode: vec![DecodeSegment { max_batch: u64::MAX, k0: 0.01, k1: 1e-3, k2: 0.0 }],
        transfer: Transfer { latency_s: 1e-3, bytes_per_s: 1e9, bytes_per_token: 1e5 },
    }
}

const READY: PrefillLoad = PrefillLoad {
    windowed_ttft_s: Some(0.1),
    backlog_s: 0.0,
    cached_history: None,
    prefill_ratio: 1.0,
    fresh: true,
    ready: true,
};
const LATE: PrefillLoad = PrefillLoad { windowed_ttft_s: Some(2.0), ..READY };

fn decide(
    policy: &dyn RoutingPolicy,
    increment: u32,
    decode: DecodeLoad,
    prefills: &[PrefillLoad],
) -> Decision {
    let slo = Slo { ttft_s: 1.0, itl_s: 0.1 };
    policy.decide(&RouteInput {
        session: 7,
        history: 100,
        increment,
        slo,
        age_s: 0.0,
        decode,
        decoding: &[],
        waiting: &[],
        token_budget: 512,
        prefills,
        model: &model(),
    })
}

const BUSY: DecodeLoad = DecodeLoad {
    windowed_itl_s: Some(0.2),
    running: 4,
    mean_context: 100.0,
    queued_prefill_s: 0.5,
    step_left_s: 0.0,
};
const CALM: DecodeLoad = DecodeLoad { windowed_itl_s: Some(0.01), ..BUSY };

#[test]
fn rule_a_goes_remote_while_prefill_workers_have_slack() {
    let decision = decide(&Paper::default(), 100, CALM, &[LATE, READY]);
    assert_eq!((decision.target, decision.reason), (Target::Remote(1), Reason::PrefillSlack));
}

#[test]
fn rule_a_takes_the_worker_that_finishes_first_among_those_with_slack() {
    let lowest_mean = PrefillLoad { windowed_ttft_s: Some(0.01), backlog_s: 3.0, ..READY };
    let decision = decide(&Paper::default(), 100, CALM, &[lowest_mean, READY]);
    assert_eq!(decision.target, Target::Remote(1));
    let idle = PrefillLoad { windowed_ttft_s: None, ..READY };
    let decision = decide(&Paper::default(), 100, CALM, &[LATE, idle]);
    assert_eq!((decision.target, decision.reason), (Target::Remote(1), Reason::PrefillSlack));
}

#[test]
fn rule_b_stays_local_while_the_decode_worker_has_slack() {
    let decision = decide(&Paper::default(), 100, CALM, &[LATE]);
    assert_eq!((decision.target, decision.reason), (Target::Local, Reason::DecodeSlack));
}

#[test]
fn rule_c_takes_what_finishes_first() {
    let decision = decide(&Paper::default(), 100, BUSY, &[LATE]);
    assert_eq!((decision.target, decision.reason), (Target::Remote(0), Reason::PredictedRemote));
    assert!(decision.remote_s.unwrap() < decision.local_s);
    let swamped = PrefillLoad { backlog_s: 9.0, ..LATE };
    let decision = decide(&Paper::default(), 100, BUSY, &[swamped]);
    assert_eq!((decision.target, decision.reason), (Target::Local, Reason::PredictedLocal));
    assert!(decision.local_s < decision.remote_s.unwrap());
}

#[test]
fn rule_c_does_not_judge_workers_whose_signal_is_old() {
    // It looks idle, and looked so a while ago.
    let silent = PrefillLoad { fresh: false, windowed_ttft_s: None, backlog_s: 0.0, ..READY };
    let queued = PrefillLoad { backlog_s: 0.3, ..LATE };
    let decision = decide(&Paper::default(), 100, BUSY, &[silent, queued]);
    assert_eq!((decision.target, decision.reason), (Target::Remote(1), Reason::PredictedRemote));
    assert_eq!(decision.remote_index, Some(1));
    let swamped = PrefillLoad { backlog_s: 9.0, ..LATE };
    let decision = decide(&Paper::default(), 100, BUSY, &[silent, swamped]);
    assert_eq!((decision.target, decision.reason), (Target::Local, Reason::PredictedLocal));
    assert!(decision.local_s < decision.remote_s.unwrap());
}

#[test]
fn alpha_is_the_share_of_the_ttft_objective() {
    let near = PrefillLoad { windowed_ttft_s: Some(0.55), ..READY };
    for (alpha, reason) in [(0.5, Reason::DecodeSlack), (0.6, Reason::PrefillSlack)] {
        let policy = Paper { alpha, ..Paper::default() };
        assert_eq!(decide(&policy, 100, CALM, &[near]).reason, reason, "{alpha}");
    }
    let over = PrefillLoad { windowed_ttft_s: Some(1.1), ..READY };
    assert_eq!(
        decide(&Paper { alpha: 1.2, ..Paper::default() }, 100, CALM, &[over]).reason,
        Reason::PrefillSlack
    );
}

#[test]
fn beta_is_the_share_of_the_itl_objective() {
    let near = DecodeLoad { windowed_itl_s: Some(0.055), ..BUSY };
    for (beta, reason) in [(0.5, Reason::PredictedRemote), (0.6, Reason::DecodeSlack)] {
        let policy = Paper { beta, ..Paper::default() };
        assert_eq!(decide(&policy, 100, near, &[LATE]).reason, reason, "{beta}");
    }
    let over = DecodeLoad { windowed_itl_s: Some(0.11), ..BUSY };
    assert_eq!(
        decide(&Paper { beta: 1.2, ..Paper::default() }, 100, over, &[LATE]).reason,
        Reason::DecodeSlack
    );
}

#[test]
fn small_increments_stay_local_unless_the_bound_is_lifted() {
    let decision = decide(&Paper::default(), 31, CALM, &[READY]);
    assert_eq!((decision.target, decision.reason), (Target::Local, Reason::IncrementSmall));
    let literal = Paper { min_remote_tokens: 0, ..Paper::default() };
    assert_eq!(decide(&literal, 31, CALM, &[READY]).reason, Reason::PrefillSlack);
    assert_eq!(decide(&literal, 1, CALM, &[READY]).reason, Reason::IncrementSmall);
}

#[test]
fn without_signals_the_static_rule_serves_on() {
    let silent = PrefillLoad { fresh: false, ..READY };
    let decision = decide(&Paper::default(), 100, CALM, &[silent]);
    assert_eq!((decision.target, decision.reason), (Target::Remote(0), Reason::StaleSignals));
}

#[test]
fn without_prefill_workers_everything_is_local() {
    let gone = PrefillLoad { ready: false, ..READY };
    for policy in [&Paper::default() as &dyn RoutingPolicy, &AlwaysRemote] {
        for prefills in [&[][..], &[gone][..]] {
            let decision = decide(policy, 100, BUSY, prefills);
            assert_eq!((decision.target, decision.reason), (Target::Local, Reason::NoPrefillWorker));
            assert_eq!(decision.remote_s, None);
        }
    }
}

#[test]
fn the_fixed_policies_do_as_they_say() {
    let decision = decide(&AlwaysLocal, 100, BUSY, &[READY]);
    assert_eq!((decision.target, decision.reason), (Target::Local, Reason::PolicyAlwaysLocal));
    let queued = PrefillLoad { backlog_s: 5.0, ..READY };
    let decision = decide(&AlwaysRemote, 100, CALM, &[queued, READY]);
    assert_eq!((decision.target, decision.reason), (Target::Remote(1), Reason::PolicyAlwaysRemote));
    assert_eq!(decide(&AlwaysRemote, 1, CALM, &[READY]).target, Target::Local);
}

#[test]
fn cached_history_makes_a_worker_cheaper() {
    let warm = PrefillLoad { cached_history: Some(100), ..READY };
    assert_eq!(decide(&AlwaysRemote, 100, CALM, &[READY, warm]).target, Target::Remote(1));
}

#[test]
fn the_workers_that_finish_first_are_worth_asking() {
    let away = PrefillLoad { ready: false, ..READY };
    let queued = |backlog_s| PrefillLoad { backlog_s, ..READY };
    let prefills = [queued(3.0), away, queued(1.0), queued(1.0), queued(2.0)];
    let model = model();
    let ranked = |count| {
        let input = RouteInput {
            session: 7,
            history: 100,
            increment: 100,
            slo: Slo { ttft_s: 1.0, itl_s: 0.1 },
            age_s: 0.0,
            decode: CALM,
            decoding: &[],
            waiting: &[],
            token_budget: 512,
            prefills: &prefills,
            model: &model,
        };
        Costs::ranked(&input, count)
    };
    assert_eq!((ranked(2), ranked(9)), (vec![2, 3], vec![2, 3, 4, 0]));
}

#[test]
fn reasons_have_distinct_labels() {
    let labels: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(labels.len(), Reason::ALL.len());
}

fn loads() -> impl Strategy<Value = Vec<PrefillLoad>> {
    let signal = (any::<Option<f64>>(), any::<f64>(), any::<Option<u32>>(), any::<f64>());
    let load = (signal, any::<bool>(), any::<bool>()).prop_map(|(signal, fresh, ready)| {
        let (windowed_ttft_s, backlog_s, cached_history, prefill_ratio) = signal;
        PrefillLoad { windowed_ttft_s, backlog_s, cached_history, prefill_ratio, fresh, ready }
    });
    prop::collection::vec(load, 0..6)
}

fn decoding() -> impl Strategy<Value = Vec<Decoding>> {
    let one = (any::<u32>(), any::<f64>(), any::<f64>());
    let one = one.prop_map(|(tokens, elapsed_s, expected)| Decoding { tokens, elapsed_s, expected });
    prop::collection::vec(one, 0..80)
}

fn waiting() -> impl Strategy<Value = Vec<LocalPrefill>> {
    let one = (any::<u32>(), any::<u32>(), any::<f64>());
    let one = one.prop_map(|(history, remaining, age_s)| LocalPrefill { history, remaining, age_s });
    prop::collection::vec(one, 0..5)
}

proptest! {
    #[test]
    fn any_input_gets_a_decision_that_can_be_carried_out(
        (prefills, decoding, waiting) in (loads(), decoding(), waiting()),
        (session, history, increment) in any::<(u64, u32, u32)>(),
        itl in any::<Option<f64>>(),
        (running, mean_context, queued_prefill_s, step_left_s) in any::<(u32, f64, f64, f64)>(),
        (ttft_s, itl_s, age_s) in any::<(f64, f64, f64)>(), token_budget in 1u32..,
    ) {
        let (model, slo) = (model(), Slo { ttft_s, itl_s });
        let decode = DecodeLoad { windowed_itl_s: itl, running, mean_context, queued_prefill_s, step_left_s };
        let input = RouteInput {
            session, history, increment, slo, age_s, decode, decoding: &decoding, waiting: &waiting, token_budget,
            prefills: &prefills, model: &model,
        };
        let conditional =
            DynamoConditional { prefill_busy: Some(0.5), decode_busy: Some(0.5), ..DynamoConditional::default() };
        let policies: [&dyn RoutingPolicy; 8] = [
            &Paper::default(), &AlwaysLocal, &AlwaysRemote, &conditional, &LlmdPrefix::default(), &Ppd::default(),
            &SessionAffinity, &Ampd::default(),
        ];
        for policy in policies {
            let decision = policy.decide(&input);
            if let Target::Remote(index) = decision.target {
                prop_assert!(prefills[index].ready, "{}", policy.name());
            }
            prop_assert!(decision.local_s >= 0.0, "{}", policy.name());
        }
    }
}

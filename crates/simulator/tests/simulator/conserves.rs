//! Nothing is lost and nothing invented, whatever the deployment, the policy and the faults; and a seed gives one
//! result.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::sync::Arc;

use crate::common::{Bench, model};
use ampd_scheduler::{
    AlwaysLocal, Binding, DynamoConditional, LlmdPrefix, Order, Overload, Paper, Ppd, SessionAffinity,
};
use ampd_simulator::cluster::{Engine, Fault, FaultKind, Pacing, Policies, Role};
use ampd_simulator::simulate;
use ampd_simulator::trace::{Trace, TraceRound, TraceSession};
use ampd_simulator::truth::{Corrections, Truth};
use proptest::prelude::*;

fn policies() -> impl Strategy<Value = Policies> {
    let routing = prop_oneof![
        Just(Policies::ampd()),
        Just(Policies::always_remote()),
        Just(Policies::paper(Paper::default())),
        Just(Policies::plain("always_local", Arc::new(AlwaysLocal))),
        Just(Policies::plain("dynamo", Arc::new(DynamoConditional::default()))),
        Just(Policies::plain("llmd", Arc::new(LlmdPrefix::default()))),
        Just(Policies::plain("ppd", Arc::new(Ppd::default()))),
        Just(Policies::plain("affinity", Arc::new(SessionAffinity))),
    ];
    let overload = prop_oneof![
        Just(Overload::Off),
        Just(Overload::Shed),
        Just(Overload::Queue),
        Just(Overload::BestEffort)
    ];
    let pacing = prop_oneof![Just(None), Just(Some(Pacing::Fixed { chunk: 48 }))];
    let order = || prop_oneof![Just(Order::Arrival), Just(Order::PAPER), Just(Order::Slack { cap: 2 })];
    let binding = prop_oneof![Just(Binding::FreeMemory), Just(Binding::Load)];
    (routing, overload, order(), order(), binding, any::<[bool; 2]>(), 0usize..3, pacing).prop_map(
        |(policies, overload, order, local_order, binding, [prefill_cache, moving], probes, pacing)| {
            let pacing = pacing.unwrap_or(policies.pacing);
            let mut policies =
                Policies { overload, order, local_order, binding, prefill_cache, moving, pacing, ..policies };
            policies.signals.probes = probes;
            policies
        },
    )
}

fn trace() -> impl Strategy<Value = Trace> {
    let round = (1u32..800, 1u32..60, 0.0..1.0f64, prop::option::weighted(0.1, 0u32..500));
    let round =
        round.prop_map(|(increment, output, gap_s, keep)| TraceRound { increment, output, gap_s, keep });
    let session = (0.0..3.0f64, prop::collection::vec(round, 1..5))
        .prop_map(|(arrival_s, rounds)| TraceSession { arrival_s: Some(arrival_s), rounds });
    prop::collection::vec(session, 1..40).prop_map(|sessions| Trace { sessions })
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let kind = prop_oneof![Just(FaultKind::Down), (0.5..4.0f64).prop_map(FaultKind::Slow)];
    let role = prop_oneof![Just(Role::Prefill), Just(Role::Decode)];
    let fault = (0.0..4.0f64, 0.0..3.0f64, role, kind).prop_map(|(from_s, lasts_s, role, kind)| Fault {
        from_s,
        until_s: from_s + lasts_s,
        role,
        worker: 0,
        kind,
    });
    prop::collection::vec(fault, 0..3)
}

/// Memory for the longest session, with so much room beside it.
fn memory(trace: &Trace, room: u64) -> u64 {
    let longest = trace.sessions.iter().map(TraceSession::longest_context).max().unwrap();
    longest.next_multiple_of(32) + room
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_round_ends_once_and_every_token_and_block_is_accounted_for(
        trace in trace(), policies in policies(), prefills in 0u32..3, decodes in 1u32..4, room in 0u64..6000,
        max_running in 2u32..20,
    ) {
        let mut bench = Bench::new(model(), prefills, decodes);
        bench.cluster.kv_tokens = memory(&trace, room);
        bench.cluster.engine =
            Engine { max_running, token_budget: 64, prefill_budget: 512, ..Engine::default() };
        (bench.trace, bench.policies) = (trace, policies);
        let run = simulate(&bench.setup()).unwrap();
        prop_assert!(run.blocks_conserved);
        let mut seen: Vec<(u32, u32)> = run.rounds.iter().map(|round| (round.session, round.round)).collect();
        seen.sort_unstable();
        seen.dedup();
        let rounds: usize = bench.trace.sessions.iter().map(|session| session.rounds.len()).sum();
        prop_assert_eq!((seen.len(), run.rounds.len()), (rounds, rounds));
        let refused = bench.policies.overload == Overload::Shed;
        prop_assert!(run.rounds.iter().all(|round| round.finished || refused));
        let served = || run.rounds.iter().filter(|round| round.finished);
        prop_assert_eq!(served().map(|round| u64::from(round.output)).sum::<u64>(), run.output_tokens);
        if served().all(|round| round.preempted == 0) {
            let increments: u64 = served().map(|round| u64::from(round.increment)).sum();
            // Prefill workers may still cache what a decode worker has lost.
            let computed = run.local_tokens + run.remote_tokens;
            prop_assert!(computed == increments || (bench.policies.prefill_cache && computed < increments));
        }
        for round in served() {
            prop_assert!(round.ttft_s.unwrap() > 0.0);
            prop_assert!(round.itl_mean_s.is_some() == (round.output > 1));
        }
    }

    #[test]
    fn faults_cost_time_and_no_round(
        trace in trace(), policies in policies(), faults in faults(), room in 0u64..6000,
    ) {
        let mut bench = Bench::new(model(), 1, 2);
        bench.cluster.kv_tokens = memory(&trace, room);
        (bench.trace, bench.policies, bench.faults) = (trace, policies, faults);
        let run = simulate(&bench.setup()).unwrap();
        let refused = bench.policies.overload == Overload::Shed;
        prop_assert!(run.rounds.iter().all(|round| round.finished || refused));
        prop_assert!(run.blocks_conserved);
    }

    #[test]
    fn a_seed_gives_one_result(trace in trace(), policies in policies(), faults in faults(), seed: u64) {
        let mut bench = Bench::new(model(), 1, 2);
        (bench.trace, bench.policies, bench.faults, bench.seed) = (trace, policies, faults, seed);
        bench.truth = Truth::from_model(model(), Corrections::ENGINE).unwrap();
        let [one, two] = [(); 2].map(|()| format!("{:?}", simulate(&bench.setup()).unwrap()));
        prop_assert_eq!(one, two);
    }
}

#[test]
fn a_fault_goes_on_when_another_of_the_worker_is_over() {
    let mut bench = Bench::new(model(), 0, 1);
    let round = TraceRound { increment: 500, output: 500, gap_s: 0.0, keep: None };
    bench.trace.sessions = vec![TraceSession { arrival_s: Some(0.0), rounds: vec![round] }];
    let fault = |from_s, until_s, factor| Fault {
        from_s,
        until_s,
        role: Role::Decode,
        worker: 0,
        kind: FaultKind::Slow(factor),
    };
    bench.faults = vec![fault(0.0, 1e3, 2.0)];
    let alone_s = simulate(&bench.setup()).unwrap().ended_s;
    bench.faults.push(fault(0.1, 0.2, 1.5));
    let both_s = simulate(&bench.setup()).unwrap().ended_s;
    assert!(both_s >= alone_s && both_s < alone_s + 0.1, "{both_s} {alone_s}");
}

#[test]
fn another_seed_gives_another_result() {
    let mut bench = Bench::new(model(), 1, 1);
    bench.truth = Truth::from_model(model(), Corrections::ENGINE).unwrap();
    let round = TraceRound { increment: 500, output: 50, gap_s: 0.0, keep: None };
    bench.trace.sessions = vec![TraceSession { arrival_s: Some(0.0), rounds: vec![round] }];
    let first = simulate(&bench.setup()).unwrap();
    bench.seed += 1;
    assert_ne!(first, simulate(&bench.setup()).unwrap());
}

#[test]
fn adaptive_pacing_is_not_fixed_pacing() {
    let long = TraceRound { increment: 4000, output: 50, gap_s: 0.0, keep: None };
    let chat = TraceRound { increment: 50, output: 150, gap_s: 0.0, keep: None };
    let session = |arrival_s, round| TraceSession { arrival_s: Some(arrival_s), rounds: vec![round] };
    let mut bench = Bench::new(model(), 0, 1);
    bench.slo.itl_s = 0.0105;
    // How long chats are is learnt from those that have ended.
    let before = (0..64).map(|n| session(f64::from(n) * 0.5, chat));
    let chats = (0..8).map(|_| session(100.0, chat));
    bench.trace.sessions = before.chain(chats).chain([session(101.0, long)]).collect();
    let ends = |bench: &Bench| {
        simulate(&bench.setup()).unwrap().rounds.iter().filter(|r| r.attains(&bench.slo)).count()
    };
    let adaptive = ends(&bench);
    bench.policies.pacing = Pacing::CHUNKED;
    assert!(adaptive > ends(&bench), "{adaptive} against {}", ends(&bench));
}

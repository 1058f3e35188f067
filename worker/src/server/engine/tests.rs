//! How the engine's thread ends, and what is left when callers go away.

use std::time::{Duration, Instant};

use ampd_engine::core::{EngineOptions, RoundRequest, Sampling};
use ampd_engine::{BackendKind, build_backend, model};
use ampd_perfmodel::{DecodeSegment, PerfModel, PrefillSegment, Transfer};
use ampd_telemetry::WorkerMetrics;
use ampd_testkit::tiny_model::{Family, TinyModel};

use super::*;

struct Fixture {
    engine: EngineHandle,
    end: oneshot::Receiver<EngineEnd>,
    stop: CancellationToken,
}

fn start() -> Fixture {
    start_with(EngineOptions::default(), None)
}

fn start_with(options: EngineOptions, pacing: Option<Pacing>) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    TinyModel::new(Family::Llama).write_huggingface(folder.path(), candle_core::DType::BF16, 1).unwrap();
    let model = model::load(folder.path()).unwrap();
    let backend = build_backend(&model, BackendKind::Cpu, 1, 16).unwrap();
    let engine = Engine::new(backend, options);
    let perf = PerfModel {
        prefill: vec![PrefillSegment { max_increment: u64::MAX, k0: 0.0, k1: 1e-6, k2: 0.0 }],
        decode: vec![DecodeSegment { max_batch: u64::MAX, k0: 0.0, k1: 1e-6, k2: 0.0 }],
        transfer: Transfer { latency_s: 0.0, bytes_per_s: 1e9, bytes_per_token: 1.0 },
    };
    let stats = Arc::new(Stats::new(
        perf,
        Arc::new(WorkerMetrics::new("default/chat", "decode", "d").unwrap()),
        Duration::from_secs(10),
    ));
    let stop = CancellationToken::new();
    let (engine, end) = spawn(engine, stats, pacing, stop.clone()).unwrap();
    Fixture { engine, end, stop }
}

fn request(max_tokens: usize) -> RoundRequest {
    RoundRequest {
        session: "s".into(),
        epoch: 1,
        salt: [0; 32],
        tokens: (1..50).collect(),
        sampling: Sampling::default(),
        max_tokens,
        stop_tokens: Vec::new(),
        ignore_eos: true,
        logprobs: None,
        prompt_logprobs: None,
    }
}

/// Waits until the last snapshot shows no held block.
async fn nothing_held(engine: &EngineHandle) {
    let mut load = engine.watch_load();
    let free = load.wait_for(|load| (load.engine.ledger.active, load.engine.ledger.leased) == (0, 0));
    tokio::time::timeout(Duration::from_secs(10), free).await.unwrap().unwrap();
}

#[tokio::test]
async fn it_stops_when_asked() {
    let Fixture { engine, end, stop } = start();
    stop.cancel();
    assert_eq!(end.await, Ok(EngineEnd::Stopped));
    assert_eq!(engine.call(|_| ()).await, Err(EngineGone));
}

#[tokio::test]
async fn a_panic_is_told_and_ends_every_round() {
    let Fixture { engine, end, .. } = start();
    let (events, _guard) = engine
        .call(|core| {
            let (opened, guard) = core.open(request(400)).unwrap();
            core.engine().run_local(opened.id, Instant::now()).unwrap();
            (core.subscribe(opened.id, 400, (Instant::now(), Duration::from_secs(1))), guard)
        })
        .await
        .unwrap();
    assert_eq!(engine.call(|_| panic!("on purpose")).await, Err::<(), _>(EngineGone));
    assert!(matches!(end.await, Ok(EngineEnd::Broken(reason)) if reason.contains("on purpose")));
    let mut events = events;
    while let Some(event) = events.recv().await {
        assert!(matches!(event, ampd_engine::core::Event::Token { .. }));
    }
}

#[tokio::test]
async fn an_answer_that_nobody_takes_frees_its_round() {
    let Fixture { engine, end, stop } = start();
    // The thread is held up until the caller is gone.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (begin, begun) = oneshot::channel();
    let held = tokio::spawn({
        let engine = engine.clone();
        async move {
            let hold = engine.call(move |_| {
                begin.send(()).unwrap();
                wait.recv()
            });
            hold.await
        }
    });
    begun.await.unwrap();
    let mut opening = Box::pin(engine.call(|core| core.open(request(1))));
    assert!(futures::poll!(&mut opening).is_pending());
    drop(opening);
    go.send(()).unwrap();
    held.await.unwrap().unwrap().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    // The session has no round any more.
    while engine.call(|core| core.open(request(1)).map(drop)).await.unwrap().is_err() {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    nothing_held(&engine).await;
    stop.cancel();
    assert_eq!(end.await, Ok(EngineEnd::Stopped));
}

#[tokio::test]
async fn a_reader_that_is_gone_ends_its_round() {
    let Fixture { engine, end, stop } = start();
    let (events, guard) = engine
        .call(|core| {
            let (opened, guard) = core.open(request(400)).unwrap();
            core.engine().run_local(opened.id, Instant::now()).unwrap();
            (core.subscribe(opened.id, 400, (Instant::now(), Duration::from_secs(1))), guard)
        })
        .await
        .unwrap();
    let mut load = engine.watch_load();
    load.wait_for(|load| load.engine.running_decodes == 1).await.unwrap();
    drop(events);
    nothing_held(&engine).await;
    drop(guard);
    stop.cancel();
    assert_eq!(end.await, Ok(EngineEnd::Stopped));
}

#[tokio::test]
async fn local_prefills_go_by_what_they_have_left_to_their_objectives() {
    let slo = ampd_scheduler::Slo { ttft_s: 1.0, itl_s: 0.1 };
    let options = EngineOptions { token_budget: 32, ..EngineOptions::default() };
    let Fixture { engine, end, stop } = start_with(options, Some(Pacing { slo }));
    // Both wait when the first step begins; the older one has more time.
    let (names, order, told) = engine
        .call(|core| {
            let (mut readers, mut guards) = (Vec::new(), Vec::new());
            for (session, tokens, seconds) in [("patient", 1..50, 9), ("urgent", 50..99, 1)] {
                let request =
                    RoundRequest { session: session.into(), tokens: tokens.collect(), ..request(1) };
                let (opened, guard) = core.open(request).unwrap();
                core.engine().run_local(opened.id, Instant::now()).unwrap();
                let asked = (Instant::now(), Duration::from_secs(seconds));
                readers.push(core.subscribe(opened.id, 1, asked));
                guards.push(guard);
            }
            let before = core.snapshot();
            let told: Vec<[bool; 2]> = (0..4)
                .map(|_| {
                    let snapshot = core.snapshot();
                    core.step(&snapshot).unwrap();
                    [0, 1].map(|reader: usize| !readers[reader].is_empty())
                })
                .collect();
            (before.names, before.order, told)
        })
        .await
        .unwrap();
    let [patient, urgent] = names[..] else { panic!("both wait") };
    assert_eq!(order, [urgent, patient]);
    // Each of the two takes a step and a half.
    assert_eq!(told, [[false, false], [false, true], [false, true], [true, true]]);
    stop.cancel();
    assert_eq!(end.await, Ok(EngineEnd::Stopped));
}

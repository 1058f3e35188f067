//! Rounds on real workers: local and remote give the same, and every way out leaves nothing behind.

use crate::worker_support::{Files, Outcome, PATIENCE, alone, collect, refusal, request, run, text};
use ampd_testkit::tiny_model::{Family, TinyModel};
use ampd_worker::protocol::{Bind, ErrorCode, FinishReason, PrefillPlace, PrefillTarget, Role, RoundEvent};

#[tokio::test]
async fn local_rounds_are_what_the_engine_gives() {
    let files = Files::new();
    let decode = files.worker(Role::Decode, &[]).await;
    let ack = decode.client.bind(&Bind { session: "chat".into(), epoch: 1 }).await.unwrap();
    assert_eq!((ack.kv_total_tokens, ack.sessions), (64 * 32, 1));
    let prompt = text(1, 70);
    let outcome = decode.round(&request("chat", prompt.clone(), 20), PrefillTarget::Local).await;
    assert_eq!(outcome.tokens, alone(&files, &prompt, 20));
    let done = outcome.done.unwrap();
    assert_eq!(
        (done.finish_reason, done.prompt_tokens, done.history, done.output_tokens),
        (FinishReason::Length, 70, 0, 20)
    );
    assert_eq!(outcome.prefill.unwrap().place, PrefillPlace::Local);

    let second = [prompt, outcome.tokens, text(2, 9)].concat();
    let outcome = decode.round(&request("chat", second.clone(), 5), PrefillTarget::Local).await;
    assert_eq!((outcome.history, &outcome.tokens), (89, &alone(&files, &second, 5)));
    decode.settled().await;

    let load = decode.client.probe(PATIENCE).await.unwrap();
    assert!(load.windowed_ttft_s.is_some_and(|ttft| ttft > 0.0));
    assert!(load.windowed_itl_s.is_some_and(|itl| itl > 0.0));
    assert_eq!(decode.metric("ampd_worker_tokens_total", "output").await, 25.0);
    assert_eq!(decode.metric("ampd_worker_rounds_total", "ok").await, 2.0);
    decode.stop().await;
}

/// Runs a conversation of rounds, each with a prefill at one of the targets in turn.
async fn conversation(decode: &crate::worker_support::Worker, targets: &[PrefillTarget]) -> Vec<Outcome> {
    let (mut tokens, mut outcomes) = (text(1, 75), Vec::new());
    for round in 0..4 {
        let target = targets[round % targets.len()].clone();
        let outcome = decode.round(&request("chat", tokens.clone(), 15), target).await;
        tokens.extend(&outcome.tokens);
        tokens.extend(text(100 + round as u32, 33));
        outcomes.push(outcome);
    }
    decode.settled().await;
    outcomes
}

#[tokio::test]
async fn remote_rounds_are_what_local_ones_are() {
    let files = Files::new();
    let a = files.worker(Role::Prefill, &[]).await;
    let b = files.worker(Role::Prefill, &["--prefill-chunk", "7"]).await;
    let c = files.worker(Role::Prefill, &["--token-budget", "16"]).await;
    let mut told = Vec::new();
    for targets in [
        vec![PrefillTarget::Local],
        vec![a.target()],
        vec![a.target(), b.target()],
        vec![PrefillTarget::Local, c.target()],
    ] {
        let decode = files.worker(Role::Decode, &[]).await;
        let outcomes = conversation(&decode, &targets).await;
        for (outcome, target) in outcomes.iter().zip(targets.iter().cycle()) {
            let report = outcome.prefill.clone().unwrap();
            let remote = *target != PrefillTarget::Local;
            assert_eq!(report.place == PrefillPlace::Remote, remote, "{report:?}");
            assert_eq!(report.fallback, None);
        }
        told.push(outcomes);
        decode.stop().await;
    }
    let texts: Vec<Vec<_>> = told
        .iter()
        .map(|outcomes| outcomes.iter().map(|o| (o.history, o.tokens.clone())).collect())
        .collect();
    assert!(texts.iter().all(|text| *text == texts[0]));

    let pulled = |outcome: &Outcome| outcome.prefill.clone().unwrap().pulled_tokens;
    // The third worker has computed nothing of the conversation: it pulls all history. The first has whole blocks.
    assert_eq!(pulled(&told[3][1]), told[3][1].history as u64);
    let report = told[1][1].prefill.clone().unwrap();
    assert!(report.cached_tokens >= 64 && report.pulled_tokens < 32, "{report:?}");
    // In the third conversation it finds more than the decode worker's history, and pushes from its cache.
    assert!(told[2][0].prefill.clone().unwrap().cached_tokens >= 64);
    for worker in [a, b, c] {
        worker.settled().await;
        assert!(worker.client.probe(PATIENCE).await.unwrap().windowed_ttft_s.is_some());
        assert_eq!(worker.metric("ampd_worker_kv_transfers_total", "error").await, 0.0);
        worker.stop().await;
    }
}

#[tokio::test]
async fn many_rounds_at_once() {
    let files = Files::new();
    let prefill = files.worker(Role::Prefill, &[]).await;
    let decode = files.worker(Role::Decode, &["--kv-blocks", "128"]).await;
    let rounds = (0..12_u32).map(|n| {
        let (decode, prefill, files) = (&decode, &prefill, &files);
        async move {
            let tokens = text(n, 40 + n as usize * 5);
            let target = if n % 3 == 0 { PrefillTarget::Local } else { prefill.target() };
            let outcome = decode.round(&request(&format!("s{n}"), tokens.clone(), 10), target).await;
            assert_eq!(outcome.tokens, alone(files, &tokens, 10), "round {n}");
            assert_eq!(outcome.prefill.unwrap().fallback, None);
        }
    });
    futures::future::join_all(rounds).await;
    decode.settled().await;
    prefill.settled().await;
    prefill.stop().await;
    decode.stop().await;
}

#[tokio::test]
async fn cancelled_at_any_stage_nothing_stays() {
    let files = Files::new();
    let prefill = files.worker(Role::Prefill, &[]).await;
    let decode = files.worker(Role::Decode, &[]).await;
    let long = |n: u32| request("chat", text(n, 200), 300);

    // Opened, and cancelled by its name.
    let opened = decode.open(&long(1)).await;
    decode.client.cancel_round(opened).await.unwrap();
    decode.settled().await;
    assert_eq!(
        refusal(decode.client.run_round(opened, &run(PrefillTarget::Local)).await),
        ErrorCode::UnknownRound
    );

    // Running, and cancelled by its name: the stream says so.
    let opened = decode.open(&long(2)).await;
    // Cancelling by name frees the session before the next call.
    decode.client.cancel_round(opened).await.unwrap();
    let opened = decode.open(&long(2)).await;
    let stream = decode.client.run_round(opened, &run(PrefillTarget::Local)).await.unwrap();
    decode.client.cancel_round(opened).await.unwrap();
    assert_eq!(collect(stream).await.error, Some(ErrorCode::Cancelled));
    decode.settled().await;

    // The caller goes away: at once, after the prefill, and in the middle of the output.
    for target in [PrefillTarget::Local, prefill.target()] {
        for events in 0..4 {
            let opened = decode.open_when_free(&long(3 + events)).await;
            let mut stream = decode.client.run_round(opened, &run(target.clone())).await.unwrap();
            for _ in 0..events {
                stream.next().await.unwrap();
            }
            drop(stream);
            decode.settled().await;
            prefill.settled().await;
        }
    }
    // Cancelling what is not there is no error.
    decode.client.cancel_round(u64::MAX).await.unwrap();
    // The session is free again, and what stayed of it is right.
    let prompt = text(3, 200);
    let opened = decode.open_when_free(&request("chat", prompt.clone(), 4)).await;
    let outcome = collect(decode.client.run_round(opened, &run(prefill.target())).await.unwrap()).await;
    assert_eq!(outcome.tokens, alone(&files, &prompt, 4));
    prefill.stop().await;
    decode.stop().await;
}

#[tokio::test]
async fn old_epochs_and_busy_sessions_are_refused() {
    let files = Files::new();
    let decode = files.worker(Role::Decode, &[]).await;
    let bind = |epoch| Bind { session: "chat".into(), epoch };
    decode.client.bind(&bind(5)).await.unwrap();
    let error = decode.client.bind(&bind(4)).await.unwrap_err();
    assert_eq!(
        error.detail().map(|detail| (detail.code, detail.epoch)),
        Some((ErrorCode::StaleEpoch, Some(5)))
    );
    let mut round = request("chat", text(1, 40), 2);
    assert_eq!(refusal(decode.client.open_round(&round).await), ErrorCode::StaleEpoch);
    round.epoch = 6;
    let opened = decode.open(&round).await;
    assert_eq!(refusal(decode.client.bind(&bind(5)).await), ErrorCode::StaleEpoch);
    assert_eq!(refusal(decode.client.open_round(&round).await), ErrorCode::SessionBusy);
    let _stream = decode.client.run_round(opened, &run(PrefillTarget::Local)).await.unwrap();
    decode.stop().await;
}

#[tokio::test]
async fn draining_lets_rounds_end_and_takes_no_new_ones() {
    let files = Files::new();
    let decode = files.worker(Role::Decode, &[]).await;
    let prompt = text(1, 60);
    let opened = decode.open(&request("chat", prompt.clone(), 400)).await;
    let waiting = decode.open(&request("other", prompt.clone(), 3)).await;
    let mut stream = decode.client.run_round(opened, &run(PrefillTarget::Local)).await.unwrap();
    assert!(matches!(stream.next().await.unwrap(), Some(RoundEvent::Prefill(_))));
    decode.shutdown.cancel();
    crate::worker_support::until("it drains", async || decode.get("/readyz").await.0 == 503).await;
    assert_eq!(
        refusal(decode.client.open_round(&request("new", prompt.clone(), 1)).await),
        ErrorCode::Draining
    );
    assert_eq!(
        refusal(decode.client.bind(&Bind { session: "new".into(), epoch: 1 }).await),
        ErrorCode::Draining
    );
    let (status, body) = decode.get("/readyz").await;
    assert!(status == 503 && body.contains("draining"), "{body}");
    assert_eq!(decode.get("/healthz").await.0, 200);
    // What was opened before may still run.
    let outcome = collect(decode.client.run_round(waiting, &run(PrefillTarget::Local)).await.unwrap()).await;
    assert_eq!(outcome.tokens, alone(&files, &prompt, 3));
    let outcome = collect(stream).await;
    assert_eq!(outcome.done.unwrap().output_tokens, 400);
    decode.ended().await.unwrap();
}

#[tokio::test]
async fn rounds_that_outlast_the_grace_are_told() {
    let files = Files::new();
    let decode = files.worker(Role::Decode, &["--grace", "0s"]).await;
    let opened = decode.open(&request("chat", text(1, 60), 440)).await;
    let mut stream = decode.client.run_round(opened, &run(PrefillTarget::Local)).await.unwrap();
    stream.next().await.unwrap();
    decode.shutdown.cancel();
    let outcome = collect(stream).await;
    assert_eq!(outcome.error, Some(ErrorCode::Draining));
    decode.ended().await.unwrap();
}

#[tokio::test]
async fn who_opens_a_round_is_told_of_the_others_one_by_one() {
    // The smallest model is through with all of this before the next question gets here.
    let files = Files::of(&TinyModel::new(Family::Llama).with_hidden(768));
    let decode = files.worker(Role::Decode, &["--policy", "paper", "--prefill-chunk", "1"]).await;
    let first = decode.open(&request("first", text(1, 5), 300)).await;
    let mut decoding = decode.client.run_round(first, &run(PrefillTarget::Local)).await.unwrap();
    while !matches!(decoding.next().await.unwrap().unwrap(), RoundEvent::Tokens(_)) {}

    let second = decode.client.open_round(&request("second", text(2, 400), 5)).await.unwrap();
    let [round] = second.load.decoding[..] else { unreachable!("{:?}", second.load) };
    assert!(round.tokens >= 1 && round.elapsed_s >= 0.0, "{round:?}");
    assert!((1.0..300.0).contains(&round.expected), "{round:?}");
    assert!(second.load.waiting.is_empty(), "{:?}", second.load);
    // 512 is asked for; a slow machine takes fewer in one step.
    assert!((1..=512).contains(&second.load.token_budget), "{:?}", second.load);
    assert!(second.load.reference_prefill_s > 0.0 && second.load.reference_step_s > 0.0);
    let waiting = decode.client.run_round(second.round, &run(PrefillTarget::Local)).await.unwrap();

    // The second's prompt takes four hundred steps.
    let third = decode.client.open_round(&request("third", text(3, 9), 5)).await.unwrap();
    let [prefill] = third.load.waiting[..] else { unreachable!("{:?}", third.load) };
    assert_eq!((prefill.round, prefill.history + prefill.increment), (second.round, 400));
    drop((decoding, waiting));
    decode.client.cancel_round(third.round).await.unwrap();
    decode.settled().await;
    assert!(decode.metric("ampd_worker_calibration_ratio", "decode").await > 0.0);
    decode.stop().await;
}

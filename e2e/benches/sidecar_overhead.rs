//! What the sidecar adds to a round, against calling its worker's control API directly: the same prompts, one after the
//! other, each in a session of its own, alternating between both ways.

#![allow(clippy::print_stdout, reason = "the table is the result")]

use std::time::{Duration, Instant};

use ampd_testkit::chat::{ChatClient, http};
use ampd_testkit::cluster::{LocalCluster, LocalOptions, model};
use ampd_worker::protocol::{
    Bind, ControlClient, Deadlines, OpenRound, PrefillTarget, RoundEvent, RunRound, Salt, SamplingParams,
};
use ampd_worker::text::{ChatMessage, TextModel};
use anyhow::Context;
use serde_json::json;

/// Rounds of each way that are measured, and before them some that are not.
const ROUNDS: usize = 300;
const WARM_UP: usize = 20;
/// Output tokens of a round.
const OUTPUT: u32 = 4;

/// Time to the first token and to the end of a round.
type Times = (Duration, Duration);

fn prompt(number: usize) -> String {
    format!("Round {number}: name one river, please, and then one city that lies at it.")
}

struct Direct {
    worker: ControlClient,
    text: TextModel,
}

impl Direct {
    async fn round(&self, number: usize) -> anyhow::Result<Times> {
        let message = ChatMessage { role: "user".into(), content: prompt(number), name: None };
        let tokens = self.text.encode_chat(&[message])?;
        let session = format!("direct-{number}");
        let start = Instant::now();
        self.worker.bind(&Bind { session: session.clone(), epoch: 1 }).await?;
        let open = OpenRound {
            request_id: session.clone(),
            session,
            epoch: 1,
            salt: Salt([1; 32]),
            tokens,
            sampling: SamplingParams::default(),
            max_tokens: OUTPUT as usize,
            stop_tokens: Vec::new(),
            ignore_eos: true,
            logprobs: None,
            prompt_logprobs: None,
            age_ms: 0,
        };
        let round = self.worker.open_round(&open).await?.round;
        let run = RunRound { prefill: PrefillTarget::Local, age_ms: 0, ttft_slo_ms: 2000 };
        let mut events = self.worker.run_round(round, &run).await?;
        let mut first = None;
        loop {
            match events.next().await?.context("the stream was cut")? {
                RoundEvent::Tokens(_) => first = first.or_else(|| Some(start.elapsed())),
                RoundEvent::Done(_) => break,
                RoundEvent::Error(error) => return Err(error.into()),
                _ => {}
            }
        }
        Ok((first.context("no token")?, start.elapsed()))
    }
}

async fn through_sidecar(client: &ChatClient, number: usize) -> anyhow::Result<Times> {
    let messages = [json!({"role": "user", "content": prompt(number)})];
    let more = json!({"max_tokens": OUTPUT, "ignore_eos": true});
    let answer = client.round(&format!("sidecar-{number}"), &messages, more).await?;
    anyhow::ensure!(answer.complete(), "{answer:?}");
    Ok((answer.first.context("no text")?, answer.total))
}

/// Milliseconds at a quantile.
fn quantile(times: &[Duration], q: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[((sorted.len() - 1) as f64 * q).round() as usize].as_secs_f64() * 1e3
}

fn report(name: &str, times: &[Times]) -> [f64; 4] {
    let (first, total): (Vec<_>, Vec<_>) = times.iter().copied().unzip();
    let row = [quantile(&first, 0.5), quantile(&first, 0.99), quantile(&total, 0.5), quantile(&total, 0.99)];
    println!("{name:<12} {:>12.2} {:>12.2} {:>12.2} {:>12.2}", row[0], row[1], row[2], row[3]);
    row
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cluster = LocalCluster::start(LocalOptions::new(0, 1).policy("always_local")).await?;
    // Straight to the one sidecar: the front is the Service's part.
    let sidecar = cluster.member("sidecar-0")?;
    let client = ChatClient::new(sidecar.public_url.as_deref().context("no public API")?).await?;
    let url = cluster.member("decode-0")?.control_url.context("no control API")?;
    let direct = Direct {
        worker: ControlClient::new(http()?, &url, Deadlines::default()),
        text: TextModel::load(&model().context("AMPD_MODEL is not set")?)?,
    };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for number in 0..WARM_UP + ROUNDS {
        let times = (direct.round(number).await?, through_sidecar(&client, number).await?);
        if number >= WARM_UP {
            without.push(times.0);
            with.push(times.1);
        }
    }
    println!("{ROUNDS} rounds each, {OUTPUT} output tokens, one at a time; milliseconds\n");
    println!("{:<12} {:>12} {:>12} {:>12} {:>12}", "", "TTFT p50", "TTFT p99", "total p50", "total p99");
    let (direct, sidecar) = (report("worker", &without), report("sidecar", &with));
    let added: Vec<_> = sidecar.iter().zip(direct).map(|(with, without)| with - without).collect();
    println!("{:<12} {:>12.2} {:>12.2} {:>12.2} {:>12.2}", "added", added[0], added[1], added[2], added[3]);
    cluster.stop().await
}

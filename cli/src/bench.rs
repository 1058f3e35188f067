//! `ampd bench`: a trace against a live service.

mod report;

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ampd_loadgen::{Client, Event, Objectives, Pacing, Plan, Run, Summary, Target};
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use crate::evaluate::trace;
use crate::output::print;

/// Replays a trace of multi-round sessions against a service of the `OpenAI` API and tells how many rounds met their objectives.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The API's base address.
    #[arg(long, default_value = "http://127.0.0.1:8000/v1")]
    url: String,
    /// The model to ask for; the first that the service tells where it is left out.
    #[arg(long)]
    model: Option<String>,
    /// The API key, where the service asks for one.
    #[arg(long, env = "AMPD_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// The trace: a JSON object a line, as docs/traces.md says.
    #[arg(long)]
    trace: PathBuf,
    /// Sessions that begin in a second, in the mean.
    #[arg(long, default_value_t = 1.0)]
    rate: f64,
    /// Factor of all lengths, such as 0.1 for a trace of large models on a small one.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Factor of the gaps between rounds.
    #[arg(long, default_value_t = 1.0)]
    gap_scale: f64,
    /// Sessions at most, from the trace's beginning.
    #[arg(long, default_value_t = 100)]
    sessions: usize,
    /// Gap between rounds where the trace does not tell it.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    gap: Duration,
    /// Longest TTFT of a round that attains.
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    ttft: Duration,
    /// Longest mean ITL of a round that attains.
    #[arg(long, default_value = "150ms", value_parser = humantime::parse_duration)]
    itl: Duration,
    /// Longest time for a round.
    #[arg(long, default_value = "5m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Seed of texts, and of arrivals that the trace does not tell.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes the summary and all rounds as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes all rounds as CSV.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let plan = plan(args)?;
    let objectives = Objectives { ttft_s: args.ttft.as_secs_f64(), itl_s: args.itl.as_secs_f64() };
    let run = tokio::runtime::Runtime::new()?.block_on(replay(args, plan))?;
    let summary = Summary::of(&run.rounds, objectives, run.took.as_secs_f64());
    if let Some(path) = &args.json {
        let value = serde_json::json!({
            "trace": args.trace, "rate": args.rate, "scale": args.scale, "gap_scale": args.gap_scale, "seed": args.seed,
            "took_s": run.took.as_secs_f64(), "tokens_per_word": run.tokens_per_word,
            "summary": summary, "rounds": run.rounds,
        });
        write(path, |file| Ok(serde_json::to_writer_pretty(file, &value)?))?;
    }
    if let Some(path) = &args.csv {
        write(path, |file| Ok(ampd_loadgen::write_csv(&run.rounds, file)?))?;
    }
    print(&report::text(&summary, &run))?;
    Ok(ExitCode::SUCCESS)
}

/// The trace as it is to be replayed.
fn plan(args: &Args) -> anyhow::Result<Plan> {
    let path = args.trace.display();
    let trace = trace(&args.trace, args.gap.as_secs_f64())?;
    let pacing = Pacing {
        rate: args.rate,
        scale: args.scale,
        gap_scale: args.gap_scale,
        sessions: args.sessions,
        seed: args.seed,
    };
    Plan::new(&trace, &pacing).with_context(|| format!("{path} cannot be replayed in this way"))
}

async fn replay(args: &Args, plan: Plan) -> anyhow::Result<Run> {
    let mut client = Client::new(Target {
        url: args.url.clone(),
        model: args.model.clone().unwrap_or_default(),
        key: args.api_key.clone(),
        timeout: args.timeout,
    })?;
    if args.model.is_none() {
        client
            .take_first_model()
            .await
            .with_context(|| format!("{} tells no model: give --model", args.url))?;
    }
    let stop = CancellationToken::new();
    let interrupted = stop.clone();
    let interrupt = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    let bar = bar(plan.rounds())?;
    let (mut failed, shown) = (0, bar.clone());
    let run = ampd_loadgen::run(&client, plan, args.seed, stop, |Event::Round(record)| {
        failed += usize::from(record.failure.is_some());
        shown.inc(1);
        shown.set_message(format!("{failed} failed"));
    });
    let run = run.await.with_context(|| format!("{} does not answer a first request", args.url));
    bar.finish_and_clear();
    interrupt.abort();
    run
}

fn bar(rounds: usize) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} rounds, {msg}, {elapsed}")?;
    Ok(ProgressBar::new(rounds as u64).with_style(style).with_message("0 failed"))
}

fn write(path: &Path, fill: impl FnOnce(BufWriter<fs::File>) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let file =
        fs::File::create(path).map_err(anyhow::Error::from).and_then(|file| fill(BufWriter::new(file)));
    file.with_context(|| format!("cannot write {}", path.display()))
}

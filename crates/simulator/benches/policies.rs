//! Goodput of policies in a few cells, and how fast the simulator is. `cargo bench -p ampd-simulator -- CELLS... ` runs
//! the cells whose names contain one of the words, all without any.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a table is printed, and a failed unwrap ends it"
)]

use std::sync::Arc;
use std::time::Instant;

use ampd_scheduler::{AlwaysLocal, Binding, DynamoConditional, LlmdPrefix, Paper, Ppd, SessionAffinity};
use ampd_simulator::cluster::Policies;
use ampd_simulator::evaluate::{CARDS, Cell, Search, Site, Split, best_split};
use ampd_simulator::workload::{Arrivals, Workload};

fn policies() -> Vec<Policies> {
    let conditional =
        DynamoConditional { effective_tokens: 256, decode_busy: Some(0.8), ..DynamoConditional::default() };
    let threshold = |tokens| Arc::new(LlmdPrefix { prompt_tokens: 0, non_cached_tokens: tokens });
    vec![
        Policies::ampd(),
        Policies::always_remote(),
        Policies::plain("always_local", Arc::new(AlwaysLocal)),
        Policies::paper(Paper::default()),
        Policies {
            name: "paper by load".into(),
            binding: Binding::Load,
            ..Policies::paper(Paper::default())
        },
        Policies::plain("dynamo shipped", Arc::new(DynamoConditional::default())),
        Policies::plain("dynamo 256 busy .8", Arc::new(conditional)),
        Policies::plain("llmd 256", threshold(256)),
        Policies::plain("llmd 1024", threshold(1024)),
        Policies::plain("ppd", Arc::new(Ppd::default())),
        Policies::plain("session_affinity", Arc::new(SessionAffinity)),
    ]
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    for card in CARDS {
        for workload in Workload::PAPER {
            let name = format!("{} {}", card.name, workload.name);
            if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
                cell(&name, &Cell::new(card, workload, 32).site().unwrap());
            }
        }
    }
}

fn cell(name: &str, site: &Site) {
    let slo = site.slo;
    println!("{name}: TTFT {:.3} s, ITL {:.4} s, sessions of {:.0} s", slo.ttft_s, slo.itl_s, site.session_s);
    let search = Search { seeds: vec![1], ..Search::default() };
    let mut guess = 2.0;
    for policies in policies() {
        let started = Instant::now();
        let prefills = if policies.name == "always_local" { 0..1 } else { 0..site.cell.workers() };
        let Some(best) = best_split(site, &policies, prefills, guess, &search).unwrap() else { continue };
        let took = started.elapsed();
        guess = best.rate.max(0.1);
        let row = site
            .run(&policies, best.split, &Arrivals::Poisson { rate: best.rate.max(0.01) }, &[], 3)
            .unwrap();
        let s = row.summary;
        println!(
            "  {:20} {:7.2} sessions/s at {}+{}, held seed {:.3} (sessions {:.3}), local {:.2}, TTFT p99 {:.2}x, stall {:.1} ms, {:.1} s",
            policies.name,
            best.rate,
            best.split.prefill,
            best.split.decode,
            s.attainment,
            s.session_attainment,
            s.local_share,
            s.ttft_p99_s / slo.ttft_s,
            s.itl_stall_s * 1e3,
            took.as_secs_f64(),
        );
    }
    speed(site, guess);
}

fn speed(site: &Site, rate: f64) {
    let policies = Policies::ampd();
    let workers = site.cell.workers();
    let split = Split { prefill: workers / 4, decode: workers - workers / 4 };
    let started = Instant::now();
    let row = site.run(&policies, split, &Arrivals::Poisson { rate }, &[], 1).unwrap();
    let seconds = started.elapsed().as_secs_f64();
    println!("  {:.0} times real time, {} rounds measured", row.simulated_s / seconds, row.summary.rounds);
}

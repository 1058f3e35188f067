//! The CPU backend against candle's own quantised decoder: one file, one run, as many threads, turn by turn.
//!
//! `AMPD_MODEL=model.gguf cargo bench -p ampd-engine --bench stock_candle [-- PART...]`, the parts being `prefill`,
//! `decode`, `moving` and `sharing`, all by default. Options by environment: `AMPD_THREADS` (2; candle takes
//! `RAYON_NUM_THREADS`, all cores by default) and `AMPD_REPEATS` (7).

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

mod decoder;
mod moving;
mod sharing;
mod timing;

use std::path::{Path, PathBuf};

use anyhow::Context;

use decoder::{Decoder, Ours, ROOM, Stock};
use timing::{Samples, seconds};

/// Decode steps of one sample.
const STEPS: usize = 8;
/// Tokens that a sequence holds before its decode steps are timed.
const CONTEXT: usize = 128;
/// The same where several sequences decode together.
const BATCH_CONTEXT: usize = 32;
const PROMPT: usize = 512;
/// How many times as fast as candle the engine shall be.
const PREFILL_GOAL: f64 = 10.0;
const DECODE_GOAL: f64 = 5.0;
const INCREMENT: usize = 64;

fn number(name: &str, default: usize) -> anyhow::Result<usize> {
    match std::env::var(name) {
        Ok(value) => value.parse().with_context(|| format!("{name} is {value:?}, not a number")),
        Err(_) => Ok(default),
    }
}

fn main() -> anyhow::Result<()> {
    let path = PathBuf::from(std::env::var_os("AMPD_MODEL").context("AMPD_MODEL must name a GGUF file")?);
    let (threads, repeats) = (number("AMPD_THREADS", 2)?, number("AMPD_REPEATS", 7)?);
    let most = (ROOM - CONTEXT) / STEPS - 1;
    anyhow::ensure!(
        (1..=most).contains(&repeats),
        "AMPD_REPEATS is {repeats}, it must be between 1 and {most}"
    );
    println!(
        "{threads} threads, candle {}, instruction set {:?}, {repeats} samples each\n",
        candle_core::utils::get_num_threads(),
        ampd_engine::cpu::Isa::best()
    );
    let parts: Vec<String> = std::env::args().skip(1).filter(|part| !part.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    println!("{:<34}{:>12}{:>12}{:>9}{:>14}", "", "engine", "candle", "ratio", "best to best");
    if wanted("prefill") {
        prefills(&path, threads, repeats)?;
    }
    if wanted("decode") {
        for batch in [1, 4, 8] {
            decodes(&path, threads, repeats, batch)?;
        }
    }
    if wanted("moving") {
        moving::rows(&path, threads, repeats)?;
    }
    if wanted("sharing") {
        sharing::rows(&path)?;
    }
    Ok(())
}

/// Prints whether the medians meet a goal.
fn goal(what: &str, factor: f64, ours: &Samples, stock: &Samples) {
    let met = if stock.median() >= factor * ours.median() { "met" } else { "missed" };
    println!("  goal of {factor}x for {what}: {met}");
}

fn row(name: &str, ours: &Samples, stock: &Samples) {
    println!(
        "{name:<34}{:>9.2} ms{:>9.2} ms{:>8.1}x{:>13.1}x",
        1e3 * ours.median(),
        1e3 * stock.median(),
        stock.median() / ours.median(),
        stock.best() / ours.best()
    );
}

/// Runs `sample` on both decoders in turn; the first turn warms caches up and does not count.
fn alternate<const N: usize>(
    decoders: &mut (Ours, Stock),
    repeats: usize,
    mut sample: impl FnMut(&mut dyn Decoder, usize) -> anyhow::Result<[f64; N]>,
) -> anyhow::Result<[[Samples; N]; 2]> {
    let mut samples: [[Samples; N]; 2] = std::array::from_fn(|_| std::array::from_fn(|_| Samples::default()));
    for turn in 0..=repeats {
        let both: [&mut dyn Decoder; 2] = [&mut decoders.0, &mut decoders.1];
        for (decoder, samples) in both.into_iter().zip(&mut samples) {
            let times = sample(decoder, turn)?;
            if turn > 0 {
                samples.iter_mut().zip(times).for_each(|(samples, time)| samples.add(time));
            }
        }
    }
    Ok(samples)
}

fn prefills(path: &Path, threads: usize, repeats: usize) -> anyhow::Result<()> {
    let mut decoders = (Ours::load(path, threads, 1)?, Stock::load(path, 1)?);
    let [ours, stock] = alternate(&mut decoders, repeats, |decoder, _| {
        let prompt = seconds(|| decoder.advance(0, PROMPT))?;
        Ok([prompt, seconds(|| decoder.advance(PROMPT, INCREMENT))?])
    })?;
    row(&format!("prefill of {PROMPT} tokens"), &ours[0], &stock[0]);
    goal(&format!("a prefill of {PROMPT} tokens"), PREFILL_GOAL, &ours[0], &stock[0]);
    row(&format!("prefill of {INCREMENT} on {PROMPT}"), &ours[1], &stock[1]);
    Ok(())
}

fn decodes(path: &Path, threads: usize, repeats: usize, batch: usize) -> anyhow::Result<()> {
    let context = if batch == 1 { CONTEXT } else { BATCH_CONTEXT };
    let mut decoders = (Ours::load(path, threads, batch)?, Stock::load(path, batch)?);
    decoders.0.advance(0, context)?;
    if batch == 1 {
        decoders.1.advance(0, context)?;
    } else {
        // candle's decoder takes prompts of one sequence only.
        (0..context).try_for_each(|position| decoders.1.advance(position, 1))?;
    }
    let [ours, stock] = alternate(&mut decoders, repeats, |decoder, turn| {
        let first = context + turn * STEPS;
        let steps = seconds(|| (first..first + STEPS).try_for_each(|position| decoder.advance(position, 1)))?;
        Ok([steps / STEPS as f64])
    })?;
    row(&format!("decode step of {batch} after {context} tokens"), &ours[0], &stock[0]);
    if batch == 1 {
        goal("a decode step of one sequence", DECODE_GOAL, &ours[0], &stock[0]);
    }
    Ok(())
}

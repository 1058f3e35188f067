//! The measurement as tables.

#![allow(clippy::print_stdout, reason = "this is the command's output")]

use std::path::Path;

use ampd_perfmodel::{Profile, Residual};
use comfy_table::{Table, presets};

/// Prints points beside what the fitted model predicts, then the model and how far it is off.
pub(super) fn print(profile: &Profile) {
    println!(
        "{} on {}, backend {}, {} threads",
        profile.model, profile.hardware, profile.backend, profile.threads
    );
    let perf = &profile.perf;
    let mut table = new_table(["prefill: history", "increment", "measured ms", "predicted ms", "tokens/s"]);
    for point in &profile.points.prefill {
        let predicted = perf.prefill_s(point.history as f64, point.increment as f64);
        let rate = point.increment as f64 / point.seconds;
        table.add_row([
            point.history.to_string(),
            point.increment.to_string(),
            ms(point.seconds),
            ms(predicted),
            format!("{rate:.0}"),
        ]);
    }
    println!("\n{table}");
    let mut table = new_table(["decode: rows", "context", "measured ms", "predicted ms", "tokens/s"]);
    for point in &profile.points.decode {
        let predicted = perf.decode_s(point.batch as f64, point.context as f64);
        let rate = point.batch as f64 / point.seconds;
        table.add_row([
            point.batch.to_string(),
            point.context.to_string(),
            ms(point.seconds),
            ms(predicted),
            format!("{rate:.0}"),
        ]);
    }
    println!("\n{table}");
    let mut table = new_table(["transfer: tokens", "KiB", "measured ms", "predicted ms", "MiB/s"]);
    for point in &profile.points.transfer {
        let bytes = point.tokens as f64 * perf.transfer.bytes_per_token;
        table.add_row([
            point.tokens.to_string(),
            format!("{:.0}", bytes / 1024.0),
            ms(point.seconds),
            ms(perf.transfer_s(point.tokens as f64)),
            format!("{:.0}", bytes / point.seconds / f64::from(1 << 20)),
        ]);
    }
    println!("\n{table}\n");
    print_fit(profile);
}

fn print_fit(profile: &Profile) {
    println!("fit, seconds; i = increment, h = history, b = rows, c = context, n = KV bytes");
    let upto = |border: u64| if border == u64::MAX { "any".to_owned() } else { format!("<= {border}") };
    for s in &profile.perf.prefill {
        let border = upto(s.max_increment);
        println!("  T_pre, i {border}: {:.3e} + {:.3e} i + {:.3e} i (h + i/2)", s.k0, s.k1, s.k2);
    }
    for s in &profile.perf.decode {
        println!("  T_dec, b {}: {:.3e} + {:.3e} b + {:.3e} b c", upto(s.max_batch), s.k0, s.k1, s.k2);
    }
    let transfer = &profile.perf.transfer;
    println!("  T_kv: {:.3e} + n / {:.3e}", transfer.latency_s, transfer.bytes_per_s);
    let off = |name: &str, r: &Residual| {
        println!(
            "  {name}: {} points, off by {:.1}% on average, {:.1}% at most",
            r.points,
            100.0 * r.mape,
            100.0 * r.max
        );
    };
    off("prefill", &profile.residuals.prefill);
    off("decode", &profile.residuals.decode);
    off("transfer", &profile.residuals.transfer);
}

/// Prints where the profile is and what to do with it.
pub(super) fn print_next(place: &Path, asked: bool, threads: usize) {
    println!("\nwritten to {}", place.display());
    if asked {
        println!("give it to workers and sidecars as --profile {}", place.display());
    } else {
        println!("`ampd local` uses it for workers of {threads} threads");
    }
}

fn new_table<const N: usize>(head: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head);
    table
}

fn ms(seconds: f64) -> String {
    format!("{:.2}", 1000.0 * seconds)
}

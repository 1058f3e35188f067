//! The measurement as tables.

use std::path::Path;

use ampd_perfmodel::{Profile, Residual};
use comfy_table::{Table, presets};

/// Points beside what the fitted model predicts, the model and how far it is off, and what to do with the profile at
/// `place`: `asked` says whether that was asked for or is the cache.
pub(super) fn text(profile: &Profile, place: &Path, asked: bool) -> String {
    let (perf, points) = (&profile.perf, &profile.points);
    let head = format!(
        "{} on {}, backend {}, {} threads",
        profile.model, profile.hardware, profile.backend, profile.threads
    );
    let mut parts = vec![head];
    let prefills = points.prefill.iter().map(|point| {
        let predicted = perf.prefill_s(point.history as f64, point.increment as f64);
        timed(point.history, point.increment, point.increment, point.seconds, predicted)
    });
    parts.push(table(["prefill: history", "increment", "measured ms", "predicted ms", "tokens/s"], prefills));
    let decodes = points.decode.iter().map(|point| {
        let predicted = perf.decode_s(point.batch as f64, point.context as f64);
        timed(point.batch, point.context, point.batch, point.seconds, predicted)
    });
    parts.push(table(["decode: rows", "context", "measured ms", "predicted ms", "tokens/s"], decodes));
    let transfers = points.transfer.iter().map(|point| {
        let bytes = point.tokens as f64 * perf.transfer.bytes_per_token;
        [
            point.tokens.to_string(),
            format!("{:.0}", bytes / 1024.0),
            ms(point.seconds),
            ms(perf.transfer_s(point.tokens as f64)),
            format!("{:.0}", bytes / point.seconds / f64::from(1 << 20)),
        ]
    });
    parts.push(table(["transfer: tokens", "KiB", "measured ms", "predicted ms", "MiB/s"], transfers));
    parts.push(fit(profile));
    parts.push(next(place, asked, profile.threads));
    parts.join("\n\n") + "\n"
}

/// A row of a size, how long it took, and its tokens a second.
fn timed(first: u64, second: u64, tokens: u64, seconds: f64, predicted: f64) -> [String; 5] {
    let rate = tokens as f64 / seconds;
    [first.to_string(), second.to_string(), ms(seconds), ms(predicted), format!("{rate:.0}")]
}

fn table(head: [&str; 5], rows: impl Iterator<Item = [String; 5]>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head).add_rows(rows);
    table.to_string()
}

fn fit(profile: &Profile) -> String {
    let mut lines =
        vec!["fit, seconds; i = increment, h = history, b = rows, c = context, n = KV bytes".to_owned()];
    let upto = |border: u64| if border == u64::MAX { "any".to_owned() } else { format!("<= {border}") };
    lines.extend(profile.perf.prefill.iter().map(|s| {
        let border = upto(s.max_increment);
        format!("  T_pre, i {border}: {:.3e} + {:.3e} i + {:.3e} i (h + i/2)", s.k0, s.k1, s.k2)
    }));
    lines.extend(profile.perf.decode.iter().map(|s| {
        format!("  T_dec, b {}: {:.3e} + {:.3e} b + {:.3e} b c", upto(s.max_batch), s.k0, s.k1, s.k2)
    }));
    let transfer = &profile.perf.transfer;
    lines.push(format!("  T_kv: {:.3e} + n / {:.3e}", transfer.latency_s, transfer.bytes_per_s));
    let off = |name: &str, r: &Residual| {
        let (mean, most) = (100.0 * r.mape, 100.0 * r.max);
        format!("  {name}: {} points, off by {mean:.1}% on average, {most:.1}% at most", r.points)
    };
    let residuals = &profile.residuals;
    lines.push(off("prefill", &residuals.prefill));
    lines.push(off("decode", &residuals.decode));
    lines.push(off("transfer", &residuals.transfer));
    lines.join("\n")
}

/// Where the profile is and what to do with it.
fn next(place: &Path, asked: bool, threads: u32) -> String {
    let place = place.display();
    if asked {
        format!("written to {place}\ngive it to workers and sidecars as --profile {place}")
    } else {
        format!("written to {place}\n`ampd local` uses it for workers of {threads} threads")
    }
}

fn ms(seconds: f64) -> String {
    format!("{:.2}", 1000.0 * seconds)
}

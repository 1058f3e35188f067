//! Runs a plan, cells in parallel, with progress.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ampd_report::Results;
use ampd_simulator::evaluate::{EvaluateError, Plan, Site, Tuning, measure, one_for_all};
use indicatif::{ProgressBar, ProgressStyle};

/// Runs the plan on so many threads. What comes out does not depend on their number.
pub(super) fn run(plan: &Plan, threads: usize) -> Result<Results, EvaluateError> {
    let bar = ProgressBar::new(2 * plan.cells.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    let count = AtomicUsize::new(0);
    let made = |what: &str| {
        let runs = count.fetch_add(1, Ordering::Relaxed) + 1;
        bar.set_message(format!("{what}, {runs} runs"));
    };
    let sites =
        plan.cells.iter().map(ampd_simulator::evaluate::Cell::site).collect::<Result<Vec<Site>, _>>()?;
    let tunings = in_parallel(&sites, threads, |site| {
        let tuning = Tuning::of(plan, site, &|| made("tuning"));
        bar.inc(1);
        tuning
    })?;
    let chosen = one_for_all(plan, &tunings.iter().collect::<Vec<_>>());
    let tuned: Vec<(&Site, &Tuning)> = sites.iter().zip(&tunings).collect();
    let cells = in_parallel(&tuned, threads, |(site, tuning)| {
        let cell = measure(plan, site, tuning, &chosen, &|| made("measuring"));
        bar.inc(1);
        cell
    })?;
    bar.finish_and_clear();
    Ok(Results::of(plan, &chosen, cells))
}

/// What `work` makes of each item, in their order; after a failure nothing new is begun.
fn in_parallel<T: Sync, R: Send, E: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<R, E>)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = work(item);
                    if result.is_err() {
                        next.store(items.len(), Ordering::Relaxed);
                    }
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..50).collect();
        let doubled = in_parallel(&items, 4, |item| {
            std::thread::sleep(std::time::Duration::from_micros(50 - item));
            Ok::<_, ()>(item * 2)
        });
        assert_eq!(doubled, Ok((0..50).map(|item| item * 2).collect()));
    }

    #[test]
    fn a_failure_ends_it() {
        let failed = in_parallel(&[1, 2, 3], 1, |item| if *item == 2 { Err(*item) } else { Ok(()) });
        assert_eq!(failed, Err(2));
    }
}

//! A run of steps with their wall times.

use std::time::{Duration, Instant};

/// Runs steps one after the other; a failed one does not keep the others from telling what they find.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration, anyhow::Result<()>)>,
    skipped: Vec<(String, String)>,
}

impl Steps {
    /// Runs one step.
    pub(crate) fn step(&mut self, name: &str, task: impl FnOnce() -> anyhow::Result<()>) {
        eprintln!("== {name}");
        let start = Instant::now();
        let result = task();
        if let Err(error) = &result {
            eprintln!("== {name} failed: {error:#}");
        }
        self.done.push((name.to_owned(), start.elapsed(), result));
    }

    /// Notes that a step cannot be run here, and why.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        eprintln!("== {name} skipped: {why}");
        self.skipped.push((name.to_owned(), why.to_owned()));
    }

    /// Prints a table of all steps.
    ///
    /// # Errors
    /// When a step failed.
    #[expect(clippy::print_stdout, reason = "the table is the task's result")]
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        println!("{:<18} {:>9}  result", "step", "seconds");
        for (name, time, result) in &self.done {
            let outcome = if result.is_ok() { "ok" } else { "FAILED" };
            println!("{name:<18} {:>9.1}  {outcome}", time.as_secs_f64());
        }
        for (name, why) in &self.skipped {
            println!("{name:<18} {:>9}  skipped: {why}", "");
        }
        let failed = self.done.iter().filter(|(_, _, result)| result.is_err()).count();
        let skipped =
            if self.skipped.is_empty() { String::new() } else { format!(", {} skipped", self.skipped.len()) };
        println!("{} passed, {failed} failed{skipped}", self.done.len() - failed);
        if failed > 0 { Err(anyhow::anyhow!("{failed} steps failed")) } else { Ok(()) }
    }
}

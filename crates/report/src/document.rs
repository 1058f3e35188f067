//! The document: what was run, what was to be reached and was, and tables.

mod about;
mod goals;
mod goodput;
mod load;
mod parts;
mod table;
mod trials;

use crate::{Plot, Results};

pub(crate) use parts::ablation_means;

/// The document as Markdown. `command` is what it comes from, `took` how long that ran, `folder` where the plots are,
/// relative to it.
#[must_use]
pub fn document(results: &Results, command: &str, took: &str, folder: &str, plots: &[Plot]) -> String {
    let mut parts = vec![about::text(results, command, took)];
    parts.push(goals::text(results));
    parts.push(goodput::text(results));
    parts.push(load::text(results));
    parts.push(trials::text(results));
    parts.push(parts::text(results));
    let shown =
        plots.iter().map(|plot| format!("### {}\n\n![{}]({folder}/{})", plot.title, plot.title, plot.name));
    parts.push(std::iter::once("## Plots".to_owned()).chain(shown).collect::<Vec<_>>().join("\n\n"));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n") + "\n"
}

/// The tables of goodputs and of attainment, for a terminal.
#[must_use]
pub fn summary(results: &Results) -> String {
    [goodput::tuned(results), load::own(results)].join("\n\n") + "\n"
}

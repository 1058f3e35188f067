//! What an evaluation runs.

use super::{CARDS, Cell, Family, Search, Setting};
use crate::workload::Workload;

/// What an evaluation runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The cells.
    pub cells: Vec<Cell>,
    /// The policies.
    pub families: Vec<Family>,
    /// Rates of the rows, as shares of each cell's bound.
    pub loads: Vec<f64>,
    /// Seeds that settings and splits are chosen on.
    pub tuning_seeds: Vec<u64>,
    /// Seeds that results are of.
    pub seeds: Vec<u64>,
    /// Of which so many, the first, are used for disturbances and ablations.
    pub few: usize,
    /// How goodputs are looked for.
    pub search: Search,
    /// The same while tuning: coarser.
    pub tuning: Search,
    /// Whether disturbances, ablations and the published claims are run too.
    pub disturbed: bool,
}

/// The load at which distributions and the published claims are looked at: the paper does not tell its rates; at this one
/// plain disaggregation is at its limit.
pub const PAPER_LOAD: f64 = 0.9;
/// Three models, each on workers of four H20.
const MODELS: [&str; 3] = ["qwen3-32b/h20/tp4", "llama-3.1-70b/h20/tp4", "mixtral-8x7b/h20/tp4"];

impl Plan {
    /// The published evaluation: three models, four workloads, 32 accelerators.
    #[must_use]
    pub fn whole() -> Self {
        let cards = MODELS.into_iter().filter_map(|name| CARDS.into_iter().find(|card| card.name == name));
        let cells = |card| Workload::PAPER.map(|workload| Cell::new(card, workload, 32));
        Self { cells: cards.flat_map(cells).collect(), ..Self::of(Vec::new()) }
    }

    /// All policies on these cells.
    #[must_use]
    pub fn of(cells: Vec<Cell>) -> Self {
        Self {
            cells,
            families: Family::ALL.into(),
            loads: vec![0.5, 0.75, PAPER_LOAD, 1.0, 1.25],
            tuning_seeds: vec![101, 102],
            seeds: vec![1, 2, 3, 4, 5],
            few: 3,
            search: Search::default(),
            tuning: Search { step: 1.06, ..Search::default() },
            disturbed: true,
        }
    }

    /// The same in small: one cell on 16 accelerators, three policies, two seeds. Its numbers only show that all of it
    /// works.
    #[must_use]
    pub fn quick() -> Self {
        let cells = CARDS.into_iter().filter(|card| card.name == MODELS[1]);
        Self {
            families: vec![Family::Ampd, Family::AmpdOpen, Family::AlwaysRemote, Family::LlmdPrefix],
            loads: vec![0.5, PAPER_LOAD],
            tuning_seeds: vec![101],
            seeds: vec![1, 2],
            few: 1,
            search: Search { step: 1.1, ..Search::default() },
            ..Self::of(cells.map(|card| Cell::new(card, Workload::DUREADER, 16)).collect())
        }
    }

    /// All settings of its policies, in their order.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        self.families.iter().flat_map(|family| family.settings()).collect()
    }

    /// The seeds for disturbances and ablations.
    #[must_use]
    pub fn few_seeds(&self) -> &[u64] {
        &self.seeds[..self.few.min(self.seeds.len())]
    }
}

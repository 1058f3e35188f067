//! The four workloads of AMPD's evaluation (arXiv 2602.14516), regenerated from published and measured statistics. Its
//! own traces are not public.

use super::{Draw, Shape, Workload};

impl Workload {
    /// `ToolBench`: agents that call tools. Rounds and lengths are measured on the runs that the benchmark publishes;
    /// the tools' times are those of BFCL v4 in Continuum (arXiv 2511.02230, table 2: 1.92 s, deviation 2.13 s).
    pub const TOOLBENCH: Self = Self {
        name: "toolbench",
        rounds: Draw::of(Shape::Weighted(&[
            (1.0, 0.003),
            (2.0, 0.068),
            (3.0, 0.235),
            (4.0, 0.162),
            (5.0, 0.168),
            (6.0, 0.364),
        ])),
        first: Draw::clipped(Shape::LogNormal { mu: 7.153, sigma: 0.361 }, 400.0, 8000.0),
        later: Draw::of(Shape::Quantiles(&[
            (0.0, 12.0),
            (0.05, 26.0),
            (0.1, 29.0),
            (0.25, 30.0),
            (0.5, 34.0),
            (0.75, 103.0),
            (0.9, 341.0),
            (0.95, 377.0),
            (0.99, 382.0),
            (1.0, 389.0),
        ])),
        output: Draw::of(Shape::Quantiles(&[
            (0.0, 10.0),
            (0.05, 20.0),
            (0.1, 24.0),
            (0.25, 36.0),
            (0.5, 107.0),
            (0.75, 155.0),
            (0.9, 222.0),
            (0.95, 275.0),
            (0.99, 403.0),
            (1.0, 500.0),
        ])),
        gap: Draw::of(Shape::LogNormal { mu: 0.252, sigma: 0.896 }),
        gap_probability: 1.0,
    };

    /// GAIA: long agent runs. Rounds and gaps by the means that GAIA traces publish, lengths measured on the failed
    /// runs of Magentic-One.
    pub const GAIA: Self = Self {
        name: "gaia",
        rounds: Draw::clipped(Shape::LogNormal { mu: 2.64, sigma: 0.85 }, 2.0, 100.0),
        first: Draw::clipped(Shape::LogNormal { mu: 8.0, sigma: 0.25 }, 800.0, 12_000.0),
        later: Draw::of(Shape::Quantiles(&[
            (0.0, 40.0),
            (0.05, 96.0),
            (0.1, 165.0),
            (0.25, 357.0),
            (0.5, 828.0),
            (0.75, 1182.0),
            (0.9, 1436.0),
            (0.95, 2161.0),
            (0.99, 5792.0),
            (1.0, 8000.0),
        ])),
        output: Draw::of(Shape::Quantiles(&[
            (0.0, 60.0),
            (0.05, 150.0),
            (0.1, 228.0),
            (0.25, 260.0),
            (0.5, 284.0),
            (0.75, 338.0),
            (0.9, 1071.0),
            (0.95, 1758.0),
            (0.99, 2629.0),
            (1.0, 3500.0),
        ])),
        gap: Draw::of(Shape::LogNormal { mu: 0.405, sigma: 1.5 }),
        gap_probability: 0.667,
    };

    /// `HotpotQA`: three retrievals of short passages (AMPD says three; the passages' lengths are assumed).
    pub const HOTPOTQA: Self = Self {
        name: "hotpotqa",
        rounds: Draw::of(Shape::Fixed(4.0)),
        first: Draw::clipped(Shape::LogNormal { mu: 5.7, sigma: 0.25 }, 120.0, 1000.0),
        later: Draw::clipped(Shape::LogNormal { mu: 6.25, sigma: 0.35 }, 60.0, 2000.0),
        output: Draw::of(Shape::Quantiles(&[
            (0.0, 15.0),
            (0.25, 35.0),
            (0.5, 55.0),
            (0.75, 90.0),
            (0.95, 150.0),
            (1.0, 250.0),
        ])),
        gap: Draw::of(Shape::Uniform(0.05, 0.3)),
        gap_probability: 1.0,
    };

    /// `DuReader`: three retrievals of whole documents (AMPD says three; the documents' lengths are assumed).
    pub const DUREADER: Self = Self {
        name: "dureader",
        rounds: Draw::of(Shape::Fixed(4.0)),
        first: Draw::clipped(Shape::LogNormal { mu: 5.7, sigma: 0.25 }, 120.0, 1000.0),
        later: Draw::clipped(Shape::LogNormal { mu: 7.82, sigma: 0.35 }, 300.0, 8000.0),
        output: Draw::of(Shape::Quantiles(&[
            (0.0, 20.0),
            (0.25, 60.0),
            (0.5, 100.0),
            (0.75, 150.0),
            (0.95, 220.0),
            (1.0, 400.0),
        ])),
        gap: Draw::of(Shape::Uniform(0.05, 0.3)),
        gap_probability: 1.0,
    };

    /// All four.
    pub const PAPER: [Self; 4] = [Self::TOOLBENCH, Self::GAIA, Self::HOTPOTQA, Self::DUREADER];
}

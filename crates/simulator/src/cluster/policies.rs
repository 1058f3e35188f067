//! Who decides, and what is known when.

use std::sync::Arc;

use ampd_scheduler::{
    AlwaysRemote, Ampd, Binding, MissCurve, Order, Overload, Pace, Paper, RoutingPolicy, SignalAges,
};

/// How many tokens of local prefills a decode step takes in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pacing {
    /// The same for each prefill at each step.
    Fixed {
        /// Most tokens of one prefill.
        chunk: u32,
    },
    /// As many as `ampd_scheduler::Pace` says, anew at each step.
    Adaptive {
        /// How likely a TTFT objective is missed.
        ttft: MissCurve,
        /// How likely an ITL objective is missed.
        itl: MissCurve,
        /// What a whole objective costs when it is merely used up.
        price: f64,
    },
}

impl Pacing {
    /// A chunk in the middle of those that are usual; whoever compares policies tunes it for each.
    pub const CHUNKED: Self = Self::Fixed { chunk: 512 };
}

/// What schedulers know, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signals {
    /// Seconds between two readings of a worker's load.
    pub poll_s: f64,
    /// At which age a signal loses its standing.
    pub ages: SignalAges,
    /// Width of windowed means, seconds.
    pub window_s: f64,
    /// Prefill workers that are asked for their load of the moment at each decision.
    pub probes: usize,
    /// Whether own dispatches are added to signals that do not know them yet.
    pub accounting: bool,
    /// Whether workers correct the performance model by what they measure.
    pub calibration: bool,
}

impl Default for Signals {
    /// What a sidecar has: readings every 100 ms, two probes at a decision, own dispatches, corrections of the model. Probes
    /// take no time here; in production a decision waits 2 ms for them at most.
    fn default() -> Self {
        Self {
            poll_s: 0.1,
            ages: SignalAges::default(),
            window_s: 10.0,
            probes: 2,
            accounting: true,
            calibration: true,
        }
    }
}

/// All that decides.
#[derive(Clone)]
pub struct Policies {
    /// Its name in results.
    pub name: String,
    /// Where prefills run.
    pub routing: Arc<dyn RoutingPolicy>,
    /// Which decode worker a session is bound to.
    pub binding: Binding,
    /// The order of the prefill workers' queues.
    pub order: Order,
    /// The order of local prefills.
    pub local_order: Order,
    /// How local prefills are paced.
    pub pacing: Pacing,
    /// Whether a session whose next round comes moves to another decode worker where that is better.
    pub moving: bool,
    /// Who is let in.
    pub overload: Overload,
    /// Whether prefill workers keep the KV of sessions that they have served.
    pub prefill_cache: bool,
    /// What is known.
    pub signals: Signals,
}

impl Policies {
    /// A routing policy with everything else as systems ship it: binding by load, first come first served, fixed
    /// chunks, KV kept on the prefill side.
    #[must_use]
    pub fn plain(name: &str, routing: Arc<dyn RoutingPolicy>) -> Self {
        Self {
            name: name.into(),
            routing,
            binding: Binding::Load,
            order: Order::Arrival,
            local_order: Order::Arrival,
            pacing: Pacing::CHUNKED,
            moving: false,
            overload: Overload::Off,
            prefill_cache: true,
            signals: Signals::default(),
        }
    }

    /// Plain disaggregation.
    #[must_use]
    pub fn always_remote() -> Self {
        Self::plain("always_remote", Arc::new(AlwaysRemote))
    }

    /// AMPD as published, as far as it is: binding by free memory, its rule and its reordering. What the rule leaves open
    /// is `rule`'s.
    #[must_use]
    pub fn paper(rule: Paper) -> Self {
        let plain = Self::plain("paper", Arc::new(rule));
        Self { binding: Binding::FreeMemory, order: Order::PAPER, ..plain }
    }

    /// Ours. Where objectives cannot be met, new sessions are refused: it is the default because most workloads gain by it,
    /// also below overload, when many sessions come at once.
    #[must_use]
    pub fn ampd() -> Self {
        Self {
            order: Order::SLACK,
            local_order: Order::SLACK,
            moving: true,
            overload: Overload::Shed,
            pacing: Pacing::Adaptive { ttft: MissCurve::TTFT_PACED, itl: MissCurve::ITL, price: Pace::PRICE },
            ..Self::plain("ampd", Arc::new(Ampd::default()))
        }
    }
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policies")
            .field("name", &self.name)
            .field("routing", &self.routing.name())
            .field("binding", &self.binding)
            .field("order", &self.order)
            .field("local_order", &self.local_order)
            .field("pacing", &self.pacing)
            .field("moving", &self.moving)
            .field("overload", &self.overload)
            .field("prefill_cache", &self.prefill_cache)
            .field("signals", &self.signals)
            .finish()
    }
}

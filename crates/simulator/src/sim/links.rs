//! Transfers that share links.

use super::events::RoundRef;
use crate::cluster::Links;

/// What a transfer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A round's history, to this prefill worker.
    Pull { worker: u32 },
    /// A part of a round's new KV, to its decode worker.
    Return,
    /// A session, to the decode worker on which this round is to be opened.
    Move { to: u32 },
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    from: u32,
    to: u32,
    left_bytes: f64,
    bytes_per_s: f64,
    round: RoundRef,
    purpose: Purpose,
}

/// Transfers under way. Each gets its even share of the tighter end: of what its sender's node sends, or of what its
/// receiver's node receives. What a transfer cannot use of its share is not given to others.
#[derive(Debug)]
pub(super) struct Transfers {
    links: Links,
    flows: Vec<Flow>,
    out: Vec<u32>,
    into: Vec<u32>,
    inside: Vec<u32>,
    at_s: f64,
    pub version: u64,
}

impl Transfers {
    pub(super) fn new(links: Links, nodes: u32) -> Self {
        let none = vec![0; nodes as usize];
        Self {
            links,
            flows: Vec::new(),
            out: none.clone(),
            into: none.clone(),
            inside: none,
            at_s: 0.0,
            version: 0,
        }
    }

    /// Begins a transfer at `now_s`; when the next one will end.
    pub(super) fn begin(
        &mut self,
        now_s: f64,
        ends: (u32, u32),
        bytes: f64,
        round: RoundRef,
        purpose: Purpose,
    ) -> f64 {
        self.advance(now_s);
        let (from, to) = ends;
        self.count(from, to, 1);
        self.flows.push(Flow { from, to, left_bytes: bytes, bytes_per_s: 0.0, round, purpose });
        self.share();
        self.next_s()
    }

    /// Takes out one that has ended by `now_s`, if any has.
    pub(super) fn ended(&mut self, now_s: f64) -> Option<(RoundRef, Purpose)> {
        self.advance(now_s);
        // Less than a nanosecond's is rounding: on a clock that has run for long, it does not even advance it.
        let place = self.flows.iter().position(|flow| flow.left_bytes <= flow.bytes_per_s * 1e-9)?;
        let flow = self.flows.remove(place);
        self.count(flow.from, flow.to, -1);
        self.share();
        Some((flow.round, flow.purpose))
    }

    /// When the next transfer ends; infinite without any.
    pub(super) fn next_s(&self) -> f64 {
        let left = self.flows.iter().map(|flow| flow.left_bytes.max(0.0) / flow.bytes_per_s);
        self.at_s + left.fold(f64::INFINITY, f64::min)
    }

    fn count(&mut self, from: u32, to: u32, change: i32) {
        let step = |count: &mut u32| *count = count.saturating_add_signed(change);
        if from == to {
            step(&mut self.inside[from as usize]);
        } else {
            step(&mut self.out[from as usize]);
            step(&mut self.into[to as usize]);
        }
    }

    fn advance(&mut self, now_s: f64) {
        let elapsed = now_s - self.at_s;
        self.at_s = now_s;
        for flow in &mut self.flows {
            flow.left_bytes -= flow.bytes_per_s * elapsed;
        }
    }

    fn share(&mut self) {
        self.version += 1;
        let Self { links, flows, out, into, inside, .. } = self;
        for flow in flows {
            let (from, to) = (flow.from as usize, flow.to as usize);
            flow.bytes_per_s = if from == to {
                links.inside_bytes_per_s / f64::from(inside[from])
            } else {
                links.between_bytes_per_s / f64::from(out[from].max(into[to]))
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_share_the_tighter_end() {
        let links = Links { latency_s: 0.0, between_bytes_per_s: 10.0, inside_bytes_per_s: 100.0 };
        let mut transfers = Transfers::new(links, 3);
        let round = |slot| RoundRef { slot, serial: 0 };
        assert_eq!(transfers.begin(0.0, (0, 1), 10.0, round(1), Purpose::Return), 1.0);
        // From the same sender: both at half speed. The second has five bytes less left.
        let next = transfers.begin(0.5, (0, 2), 2.5, round(2), Purpose::Pull { worker: 0 });
        assert!((next - 1.0).abs() < 1e-9);
        assert_eq!(transfers.begin(0.5, (1, 1), 100.0, round(3), Purpose::Return), next);
        assert_eq!(transfers.ended(1.0), Some((round(2), Purpose::Pull { worker: 0 })));
        assert_eq!(transfers.ended(1.0), None);
        assert!((transfers.next_s() - 1.25).abs() < 1e-9);
        assert_eq!(transfers.ended(1.25), Some((round(1), Purpose::Return)));
        assert_eq!(transfers.ended(1.5), Some((round(3), Purpose::Return)));
        assert_eq!(transfers.next_s(), f64::INFINITY);
    }
}

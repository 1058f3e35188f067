//! Activations of a step.

#![allow(unsafe_code)]

use std::sync::Mutex;

use super::attention::Scratch;
use super::disjoint::Disjoint;
use super::elementwise::{add, rms_norm, swiglu};
use super::layer::Context;
use super::tiles::Tiles;
use crate::backend::RaggedBatch;
use crate::model::ModelConfig;

/// Activations of all rows of a step, kept between steps.
#[derive(Default)]
pub(super) struct Rows {
    /// The residual stream, `[rows, hidden]`.
    pub(super) x: Vec<f32>,
    pub(super) normed: Vec<f32>,
    pub(super) q: Vec<f32>,
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
    pub(super) attended: Vec<f32>,
    pub(super) gate: Vec<f32>,
    pub(super) up: Vec<f32>,
    pub(super) y: Vec<f32>,
    /// (cosine, sine) of each row's pairs, `[rows, head_dim / 2]`.
    pub(super) turns: Vec<(f32, f32)>,
    pub(super) scratch: Vec<Mutex<Scratch>>,
}

impl Rows {
    /// Embeds the batch's tokens and computes their rotations.
    pub(super) fn start(
        &mut self,
        batch: &RaggedBatch,
        c: &ModelConfig,
        embedding: &Tiles,
        frequencies: &[f32],
    ) {
        let sizes = [
            (&mut self.x, c.hidden),
            (&mut self.normed, c.hidden),
            (&mut self.y, c.hidden),
            (&mut self.q, c.heads * c.head_dim),
            (&mut self.attended, c.heads * c.head_dim),
            (&mut self.k, c.kv_heads * c.head_dim),
            (&mut self.v, c.kv_heads * c.head_dim),
            (&mut self.gate, c.intermediate),
            (&mut self.up, c.intermediate),
        ];
        for (buffer, width) in sizes {
            buffer.resize(batch.rows() * width, 0.0);
        }
        self.turns.clear();
        let tokens = batch.sequences.iter().flat_map(|sequence| &sequence.tokens);
        for (token, out) in tokens.zip(self.x.chunks_exact_mut(c.hidden)) {
            embedding.row(*token as usize, out);
        }
        for position in batch.sequences.iter().flat_map(|s| s.start..s.start + s.tokens.len()) {
            let turns = frequencies.iter().map(|frequency| {
                let angle = position as f32 * frequency;
                (angle.cos(), angle.sin())
            });
            self.turns.extend(turns);
        }
    }

    /// `normed = norm(x)`.
    pub(super) fn norm(&mut self, context: &Context<'_>, weight: &[f32]) {
        let (width, out) = (weight.len(), Disjoint::new(&mut self.normed));
        let (isa, eps) = (context.isa, context.config.rms_eps);
        context.each_row(&|row| {
            let x = &self.x[row * width..][..width];
            // SAFETY: each row is visited once.
            let out = unsafe { out.part(row * width, width) };
            rms_norm(isa, x, weight, eps, out);
        });
    }

    /// `x = x + y`.
    pub(super) fn add_y(&mut self, context: &Context<'_>) {
        let (width, x) = (context.config.hidden, Disjoint::new(&mut self.x));
        // SAFETY: each row is visited once.
        context.each_row(&|row| add(unsafe { x.part(row * width, width) }, &self.y[row * width..][..width]));
    }

    /// `gate = silu(gate) * up`.
    pub(super) fn swiglu(&mut self, context: &Context<'_>) {
        let (width, gate) = (context.config.intermediate, Disjoint::new(&mut self.gate));
        let isa = context.isa;
        context.each_row(&|row| {
            // SAFETY: each row is visited once.
            let gate = unsafe { gate.part(row * width, width) };
            swiglu(isa, gate, &self.up[row * width..][..width]);
        });
    }
}

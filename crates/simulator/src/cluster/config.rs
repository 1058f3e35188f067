//! Workers and links.

/// The links that KV moves over. Each node has one to all other nodes, the same both ways, and one inside; transfers
/// under way at the same time share them evenly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Links {
    /// Seconds of a transfer whatever its size.
    pub latency_s: f64,
    /// Between nodes, bytes a second of one node each way.
    pub between_bytes_per_s: f64,
    /// Inside a node, bytes a second.
    pub inside_bytes_per_s: f64,
}

impl Links {
    /// A node with eight accelerators: four 400 Gb/s ports between nodes, of which half is reached, and `NVLink` inside.
    pub const NODE: Self = Self { latency_s: 0.0005, between_bytes_per_s: 100e9, inside_bytes_per_s: 200e9 };
}

/// The engine's rule of a step: decode rows first, then prefills under a token budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Engine {
    /// Most tokens of a decode worker's step, rows and prefills together.
    pub token_budget: u32,
    /// Most rounds that decode at a time.
    pub max_running: u32,
    /// Most tokens of a prefill worker's step.
    pub prefill_budget: u32,
    /// Most prefills of a prefill worker's step.
    pub prefill_tasks: u32,
    /// Most tokens of one prefill in such a step.
    pub prefill_chunk: u32,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            token_budget: 2048,
            max_running: 256,
            prefill_budget: 4096,
            prefill_tasks: 64,
            prefill_chunk: u32::MAX,
        }
    }
}

/// A deployment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cluster {
    /// Prefill workers; none is aggregated serving.
    pub prefill_workers: u32,
    /// Decode workers.
    pub decode_workers: u32,
    /// Workers of a node; prefill and decode workers are mixed evenly over the nodes.
    pub workers_per_node: u32,
    /// KV memory of a worker, tokens.
    pub kv_tokens: u64,
    /// Tokens of a KV block.
    pub block_tokens: u32,
    /// KV bytes of one token, all layers.
    pub kv_bytes_per_token: f64,
    /// Layers: the new KV of a prefill is sent layer by layer while it runs, so that only the last one's is left at its
    /// end.
    pub layers: u32,
    /// The model's context, tokens.
    pub max_context: u64,
    /// The links.
    pub links: Links,
    /// The engine's rule.
    pub engine: Engine,
    /// Seconds that a round spends in the API and the engine's front before it is routed.
    pub overhead_s: f64,
    /// Cores that all workers share, each with one step at a time, as processes on one small machine do; `None` where each
    /// worker has its own.
    pub cores: Option<u32>,
}

impl Cluster {
    /// Seconds of a request in the API and the engine's front: what the simulator BLIS (`inference-sim`) has fitted to
    /// vLLM.
    pub const OVERHEAD_S: f64 = 0.015;
}

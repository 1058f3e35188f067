//! What a decoder model's shape is.

/// The supported decoder families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 2, 3, `SmolLM2` and others of the family.
    Llama,
    /// Mistral.
    Mistral,
    /// Qwen2 and Qwen2.5: biases on Q, K and V.
    Qwen2,
    /// Qwen3 dense: RMS norms on Q and K heads.
    Qwen3,
}

/// How rotary frequencies are scaled for long contexts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All positions divided by a factor.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// Llama 3's piecewise rule by wavelength.
    Llama3 {
        /// Divisor of the lowest frequencies.
        factor: f32,
        /// Wavelengths longer than `original_context / low_freq_factor` are divided.
        low_freq_factor: f32,
        /// Wavelengths shorter than `original_context / high_freq_factor` stay.
        high_freq_factor: f32,
        /// Context length the model was first trained with, tokens.
        original_context: usize,
    },
}

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f32,
    /// Long-context scaling.
    pub scaling: RopeScaling,
    /// Whether pairs are neighbours (`2i`, `2i + 1`; GGUF's llama order) or halves apart (`i`, `i + d/2`; Hugging Face's order).
    pub interleaved: bool,
    /// Divisors of each frequency that the file itself brings (`head_dim / 2` of them), instead of `scaling`.
    pub factors: Option<Vec<f32>>,
}

impl Rope {
    /// The rotation per position of each pair, radians, for heads of `head_dim` elements: `theta^(-2i / head_dim)`,
    /// scaled as the model asks.
    #[must_use]
    pub fn frequencies(&self, head_dim: usize) -> Vec<f32> {
        (0..head_dim / 2)
            .map(|pair| {
                let plain = 1.0 / self.theta.powf(2.0 * pair as f32 / head_dim as f32);
                match &self.factors {
                    Some(factors) => plain / factors.get(pair).copied().unwrap_or(1.0),
                    None => self.scaling.apply(plain),
                }
            })
            .collect()
    }
}

impl RopeScaling {
    fn check(self) -> Result<(), (&'static str, String)> {
        let factors = match self {
            Self::None => return Ok(()),
            Self::Linear { factor } => vec![("rope.scaling.factor", factor)],
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => vec![
                ("rope.scaling.factor", factor),
                ("rope.scaling.low_freq_factor", low_freq_factor),
                ("rope.scaling.high_freq_factor", high_freq_factor),
                ("rope.scaling.original_context", original_context as f32),
            ],
        };
        match factors.into_iter().find(|(_, factor)| !(factor.is_finite() && *factor > 0.0)) {
            Some((field, factor)) => Err((field, format!("is {factor}, it must be positive"))),
            None => Ok(()),
        }
    }

    fn apply(self, frequency: f32) -> f32 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            // The rule that the Llama 3.1 release describes: long wavelengths are divided, short ones stay, and those
            // between are blended.
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let turns = original_context as f32 * frequency / (2.0 * std::f32::consts::PI);
                if turns < low_freq_factor {
                    frequency / factor
                } else if turns > high_freq_factor {
                    frequency
                } else {
                    let blend = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    (1.0 - blend) * frequency / factor + blend * frequency
                }
            }
        }
    }
}

/// A decoder model's shape.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The family.
    pub architecture: Architecture,
    /// Transformer layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward layer.
    pub intermediate: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements per head.
    pub head_dim: usize,
    /// Vocabulary size.
    pub vocab: usize,
    /// Longest sequence, tokens.
    pub max_context: usize,
    /// Epsilon of the RMS norms.
    pub rms_eps: f32,
    /// Rotary embedding.
    pub rope: Rope,
    /// Beginning-of-sequence token.
    pub bos: Option<u32>,
    /// End-of-sequence tokens.
    pub eos: Vec<u32>,
}

/// Bounds on what a file may declare: far above any model, and low enough that products of them do not overflow.
const LIMITS: [(&str, usize); 7] = [
    ("layers", 4096),
    ("hidden", 1 << 20),
    ("intermediate", 1 << 22),
    ("heads", 1 << 12),
    ("kv_heads", 1 << 12),
    ("head_dim", 1 << 12),
    ("vocab", 1 << 24),
];

impl ModelConfig {
    /// Checks that the sizes are possible and fit together.
    ///
    /// # Errors
    /// Names the first field that is out of range.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let sizes = [
            self.layers,
            self.hidden,
            self.intermediate,
            self.heads,
            self.kv_heads,
            self.head_dim,
            self.vocab,
        ];
        for ((field, limit), size) in LIMITS.into_iter().zip(sizes) {
            if size == 0 || size > limit {
                return Err((field, format!("is {size}, it must be between 1 and {limit}")));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err((
                "kv_heads",
                format!("is {}, which does not divide {} heads", self.kv_heads, self.heads),
            ));
        }
        if !self.head_dim.is_multiple_of(8) {
            return Err(("head_dim", format!("is {}, only multiples of 8 are supported", self.head_dim)));
        }
        if self.max_context == 0 || self.max_context > 1 << 24 {
            return Err(("max_context", format!("is {}, it must be between 1 and 2^24", self.max_context)));
        }
        if !(self.rms_eps.is_finite() && self.rms_eps > 0.0) {
            return Err(("rms_eps", format!("is {}, it must be positive", self.rms_eps)));
        }
        if !(self.rope.theta.is_finite() && self.rope.theta > 0.0) {
            return Err(("rope.theta", format!("is {}, it must be positive", self.rope.theta)));
        }
        self.rope.scaling.check()
    }
}

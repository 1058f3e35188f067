//! What two workers must have in common to exchange KV.

use crate::Reason;
use crate::limits::MAX_DATA_BYTES;

/// Element type of stored KV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
}

impl Dtype {
    /// Bytes of one element.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Bf16 => 1,
            Self::F16 => 2,
            Self::F32 => 3,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::Bf16, Self::F16, Self::F32].into_iter().find(|dtype| dtype.code() == code)
    }
}

/// What two workers must have in common: the same bytes must mean the same KV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Digest of the model's weights and configuration.
    pub model_digest: [u8; 32],
    /// Element type.
    pub dtype: Dtype,
    /// Arrangement of the bytes of a span; 1 is that of the engine's `read_kv`.
    pub layout: u16,
    /// Tokens per block.
    pub block_tokens: u32,
    /// Transformer layers.
    pub layers: u32,
    /// KV heads per layer, all ranks together.
    pub kv_heads: u32,
    /// Elements per head.
    pub head_dim: u32,
    /// Degree of tensor parallelism.
    pub tensor_parallel: u32,
}

/// A fingerprint that no transfer can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "one KV block of one layer has {bytes} bytes; it needs 1 to {MAX_DATA_BYTES}, and one layer at least"
)]
pub struct BadFingerprint {
    /// Bytes of one block in one layer, at most `u64::MAX`.
    pub bytes: u64,
}

impl Fingerprint {
    /// Bytes of one token in one layer, K and V together.
    ///
    /// # Errors
    /// When there are no layers, or a block of one layer is empty or larger than one data frame.
    pub fn token_layer_bytes(&self) -> Result<usize, BadFingerprint> {
        // Saturated, a product is far beyond the limit.
        let token = [u64::from(self.head_dim), self.dtype.bytes(), 2]
            .into_iter()
            .fold(u64::from(self.kv_heads), u64::saturating_mul);
        let block = token.saturating_mul(u64::from(self.block_tokens));
        if block == 0 || block > u64::from(MAX_DATA_BYTES) || self.layers == 0 {
            return Err(BadFingerprint { bytes: block });
        }
        Ok(token as usize)
    }

    /// The first thing that differs between two fingerprints.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<Reason> {
        let checks = [
            (self.model_digest == other.model_digest, Reason::ModelDigest),
            (self.dtype == other.dtype, Reason::Dtype),
            (self.layout == other.layout, Reason::Layout),
            (self.block_tokens == other.block_tokens, Reason::BlockTokens),
            (self.layers == other.layers, Reason::Layers),
            (self.kv_heads == other.kv_heads, Reason::KvHeads),
            (self.head_dim == other.head_dim, Reason::HeadDim),
            (self.tensor_parallel == other.tensor_parallel, Reason::TensorParallel),
        ];
        checks.into_iter().find(|(same, _)| !same).map(|(_, reason)| reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMOLLM2: Fingerprint = Fingerprint {
        model_digest: [7; 32],
        dtype: Dtype::Bf16,
        layout: 1,
        block_tokens: 32,
        layers: 30,
        kv_heads: 3,
        head_dim: 64,
        tensor_parallel: 1,
    };

    #[test]
    fn sizes() {
        assert_eq!(SMOLLM2.token_layer_bytes(), Ok(768));
        let bad = [
            Fingerprint { layers: 0, ..SMOLLM2 },
            Fingerprint { block_tokens: 0, ..SMOLLM2 },
            Fingerprint { kv_heads: u32::MAX, head_dim: u32::MAX, block_tokens: u32::MAX, ..SMOLLM2 },
            Fingerprint { block_tokens: 32 * 64, ..SMOLLM2 },
        ];
        for fingerprint in bad {
            assert!(fingerprint.token_layer_bytes().is_err(), "{fingerprint:?}");
        }
    }

    #[test]
    fn each_difference_has_its_reason() {
        assert_eq!(SMOLLM2.difference(&SMOLLM2), None);
        let others = [
            (Fingerprint { model_digest: [8; 32], ..SMOLLM2 }, Reason::ModelDigest),
            (Fingerprint { dtype: Dtype::F16, ..SMOLLM2 }, Reason::Dtype),
            (Fingerprint { layout: 2, ..SMOLLM2 }, Reason::Layout),
            (Fingerprint { block_tokens: 16, ..SMOLLM2 }, Reason::BlockTokens),
            (Fingerprint { layers: 29, ..SMOLLM2 }, Reason::Layers),
            (Fingerprint { kv_heads: 4, ..SMOLLM2 }, Reason::KvHeads),
            (Fingerprint { head_dim: 128, ..SMOLLM2 }, Reason::HeadDim),
            (Fingerprint { tensor_parallel: 2, ..SMOLLM2 }, Reason::TensorParallel),
        ];
        for (other, reason) in others {
            assert_eq!(SMOLLM2.difference(&other), Some(reason));
        }
    }
}

//! The name of a block's content: a keyed hash chain over the tokens from the sequence's start.

/// Names a whole block's content together with everything before it, under one salt.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// The chain's root for a tenant's salt. Chains under different salts never meet.
    #[must_use]
    pub fn root(salt: &[u8; 32]) -> Self {
        Self(blake3::derive_key("ampd.dev 2026 KV prefix chain", salt))
    }

    /// The chain's next link. The parent is the hash's key, so that nobody can build colliding chains without it.
    #[must_use]
    pub fn next(&self, tokens: &[u32]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for token in tokens {
            hasher.update(&token.to_le_bytes());
        }
        Self(*hasher.finalize().as_bytes())
    }
}

impl std::fmt::Debug for ChainHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(formatter, "{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}

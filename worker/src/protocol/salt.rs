//! A tenant's salt: KV is shared only under the same one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// 32 bytes, written as 64 hexadecimal digits. Never printed by `Debug`: who knows it can probe another tenant's cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Salt(pub [u8; 32]);

/// Not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a salt is 64 hexadecimal digits")]
pub struct InvalidSalt;

impl fmt::Debug for Salt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Salt(..)")
    }
}

impl From<Salt> for String {
    fn from(salt: Salt) -> Self {
        blake3::Hash::from_bytes(salt.0).to_hex().to_string()
    }
}

impl FromStr for Salt {
    type Err = InvalidSalt;

    fn from_str(text: &str) -> Result<Self, InvalidSalt> {
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes())).map_err(|_| InvalidSalt)
    }
}

impl TryFrom<String> for Salt {
    type Error = InvalidSalt;

    fn try_from(text: String) -> Result<Self, InvalidSalt> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_both_ways_and_nothing_else_passes() {
        let salt = Salt([0xa7; 32]);
        let text = String::from(salt);
        assert_eq!(text, "a7".repeat(32));
        assert_eq!(text.parse(), Ok(salt));
        for bad in ["", "a7", &"g".repeat(64), &"a".repeat(66)] {
            assert_eq!(bad.parse::<Salt>(), Err(InvalidSalt));
        }
        assert_eq!(format!("{salt:?}"), "Salt(..)");
    }
}

//! The secret that opens a transfer.

use std::fmt;
use std::str::FromStr;

/// A random 128-bit name of a lease. Who knows it and has the right certificate may open the transfer, once; so it is not
/// shown in logs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(pub(crate) [u8; 16]);

/// Text that is not a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a transfer handle is 32 hexadecimal digits")]
pub struct InvalidHandle;

impl Handle {
    /// A new one, which cannot be guessed.
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    /// The form that [`Handle::from_str`] reads: 32 hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for Handle {
    type Err = InvalidHandle;

    fn from_str(text: &str) -> Result<Self, InvalidHandle> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidHandle);
        }
        u128::from_str_radix(text, 16).map(|value| Self(value.to_be_bytes())).map_err(|_| InvalidHandle)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_there_and_back() {
        let handle = Handle::random();
        assert_eq!(handle.to_hex().parse(), Ok(handle));
        assert_eq!(Handle([0; 16]).to_hex().parse(), Ok(Handle([0; 16])));
        let long = "0".repeat(33);
        for bad in ["", "0", "+0000000000000000000000000000001", "g0000000000000000000000000000000", &long] {
            assert_eq!(bad.parse::<Handle>(), Err(InvalidHandle));
        }
        assert!(!format!("{handle:?}").contains(&handle.to_hex()));
    }
}

//! What the peers tell each other first.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::FrameError;
use crate::{Dtype, Fingerprint};

/// The version of the protocol that this code speaks.
pub const VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"AMPD-KV\n";

/// The number of the only role that connects: whoever brings KV, which a prefill worker computes and a decode worker has
/// when a session leaves it.
pub const PREFILL: u8 = 1;

/// The client's introduction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Oldest version that it speaks.
    pub min_version: u16,
    /// Newest version that it speaks.
    pub max_version: u16,
    /// Its role, as a number: [`PREFILL`].
    pub role: u8,
    /// What its KV is.
    pub fingerprint: Fingerprint,
    /// The most KV bytes that it takes in a data frame.
    pub data_bytes: u32,
}

impl Hello {
    pub(super) fn parse(mut body: Bytes) -> Result<Self, FrameError> {
        let mut magic = [0; 8];
        body.copy_to_slice(&mut magic);
        if &magic != MAGIC {
            return Err(FrameError::Field("magic number"));
        }
        let (min, max) = (body.get_u16_le(), body.get_u16_le());
        if !(min..=max).contains(&VERSION) {
            return Err(FrameError::Version { min, max });
        }
        let (role, dtype, layout) = (body.get_u8(), body.get_u8(), body.get_u16_le());
        let mut model_digest = [0; 32];
        body.copy_to_slice(&mut model_digest);
        let fingerprint = Fingerprint {
            model_digest,
            dtype: Dtype::from_code(dtype).ok_or(FrameError::Dtype(dtype))?,
            layout,
            block_tokens: body.get_u32_le(),
            layers: body.get_u32_le(),
            kv_heads: body.get_u32_le(),
            head_dim: body.get_u32_le(),
            tensor_parallel: body.get_u32_le(),
        };
        Ok(Self { min_version: min, max_version: max, role, fingerprint, data_bytes: body.get_u32_le() })
    }

    pub(super) fn write(&self, body: &mut BytesMut) {
        let Self { min_version, max_version, role, fingerprint, data_bytes } = self;
        body.put_slice(MAGIC);
        body.put_u16_le(*min_version);
        body.put_u16_le(*max_version);
        body.put_u8(*role);
        body.put_u8(fingerprint.dtype.code());
        body.put_u16_le(fingerprint.layout);
        body.put_slice(&fingerprint.model_digest);
        body.put_u32_le(fingerprint.block_tokens);
        body.put_u32_le(fingerprint.layers);
        body.put_u32_le(fingerprint.kv_heads);
        body.put_u32_le(fingerprint.head_dim);
        body.put_u32_le(fingerprint.tensor_parallel);
        body.put_u32_le(*data_bytes);
    }
}

/// The owner's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// The version that both speak from now on.
    pub version: u16,
    /// The most KV bytes in a data frame from now on.
    pub data_bytes: u32,
}

impl Welcome {
    pub(super) fn parse(mut body: Bytes) -> Result<Self, FrameError> {
        let version = body.get_u16_le();
        if version != VERSION {
            return Err(FrameError::Version { min: version, max: version });
        }
        if body.get_u16_le() != 0 {
            return Err(FrameError::Field("reserved field"));
        }
        Ok(Self { version, data_bytes: body.get_u32_le() })
    }

    pub(super) fn write(self, body: &mut BytesMut) {
        body.put_u16_le(self.version);
        body.put_u16_le(0);
        body.put_u32_le(self.data_bytes);
    }
}

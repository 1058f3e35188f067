//! One safetensors file: its header is read first, a tensor only when it is asked for.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::model::ModelError;
use crate::model::bytes::AlignedBytes;
use crate::model::digest::Digest;

/// The largest header that the format allows, bytes.
const LARGEST_HEADER: u64 = 100_000_000;

/// Bytes of the header's length.
const LENGTH_BYTES: u64 = 8;

/// An open file.
#[derive(Debug)]
pub(super) struct Shard {
    path: PathBuf,
    file: File,
    /// Where the tensors' data begins.
    data: u64,
    metadata: Metadata,
}

impl Shard {
    /// Opens a file and checks that its tensors lie in it, back to back.
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let read = |source| ModelError::Read { path: path.into(), source };
        let mut file = File::open(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        if length < LENGTH_BYTES {
            return Err(ModelError::damaged(path, format!("it has only {length} bytes")));
        }
        let mut header_length = [0; LENGTH_BYTES as usize];
        file.read_exact(&mut header_length).map_err(read)?;
        let header_length = u64::from_le_bytes(header_length);
        if header_length > LARGEST_HEADER || header_length > length - LENGTH_BYTES {
            let what = format!("its header of {header_length} bytes does not fit into {length} bytes");
            return Err(ModelError::damaged(path, what));
        }
        let mut header = vec![0; header_length as usize];
        file.read_exact(&mut header).map_err(read)?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|source| ModelError::damaged(path, source))?;
        let data = LENGTH_BYTES + header_length;
        if length - data != metadata.data_len() as u64 {
            let what = format!("its tensors take {} bytes, it holds {}", metadata.data_len(), length - data);
            return Err(ModelError::damaged(path, what));
        }
        Ok(Self { path: path.into(), file, data, metadata })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors' names.
    pub(super) fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// Whether it holds the tensor `name`.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.metadata.info(name).is_some()
    }

    /// Reads the tensor `name`, which must have the given shape.
    pub(super) fn read(
        &mut self,
        name: &str,
        shape: &[usize],
        digest: &mut Digest,
    ) -> Result<Tensor, ModelError> {
        let error = |what: String| ModelError::tensor(&self.path, name, what);
        let info = self.metadata.info(name).ok_or_else(|| error("is missing".into()))?;
        if info.shape != shape {
            return Err(error(format!("has shape {:?}, expected {shape:?}", info.shape)));
        }
        let dtype = info.dtype;
        if !matches!(dtype, Dtype::BF16 | Dtype::F16 | Dtype::F32) {
            return Err(error(format!("has type {dtype:?}, not bf16, f16 or f32")));
        }
        // `open` has compared the offsets with the file's length.
        let (start, end) = info.data_offsets;
        let bytes = AlignedBytes::read(&mut self.file, self.data + start as u64, end - start)
            .map_err(|source| ModelError::Read { path: self.path.clone(), source })?;
        digest.tensor(name, dtype, bytes.as_slice());
        let tensor = match dtype {
            Dtype::BF16 => Tensor::from_slice(bytes.elements::<bf16>(), shape, &Device::Cpu),
            Dtype::F16 => Tensor::from_slice(bytes.elements::<f16>(), shape, &Device::Cpu),
            _ => Tensor::from_slice(bytes.elements::<f32>(), shape, &Device::Cpu),
        };
        tensor.map_err(|source| ModelError::candle(&self.path, name, "cannot be read", source))
    }
}

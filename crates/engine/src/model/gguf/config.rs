//! A model's shape from GGUF metadata.

use std::path::Path;

use super::header::Header;
use super::value::Value;
use crate::model::{Architecture, ModelConfig, ModelError, Rope, RopeScaling};

/// Typed access to the metadata; errors name file and field.
struct Fields<'a> {
    path: &'a Path,
    header: &'a Header,
    architecture: &'a str,
}

/// Reads the configuration; rotary divisors that come as a tensor are added by the caller.
pub(super) fn read(path: &Path, header: &Header) -> Result<ModelConfig, ModelError> {
    let mut fields = Fields { path, header, architecture: "" };
    let name = fields.text("general.architecture")?;
    let name = name.ok_or_else(|| ModelError::field(path, "general.architecture", "is missing"))?;
    fields.architecture = name;
    let unsupported = |what: String| ModelError::Unsupported { path: path.into(), what };
    let architecture = match name {
        "llama" => Architecture::Llama,
        "qwen2" => Architecture::Qwen2,
        "qwen3" => Architecture::Qwen3,
        other if other.contains("moe") => {
            return Err(unsupported(format!("a mixture-of-experts model ({other:?})")));
        }
        other => return Err(unsupported(format!("architecture {other:?} (known: llama, qwen2, qwen3)"))),
    };
    if fields.optional_size("expert_count")?.unwrap_or(0) > 0 {
        return Err(unsupported(format!("a mixture-of-experts model ({name}.expert_count)")));
    }
    if let Some(files) = fields.integer("split.count")?.filter(|files| *files > 1) {
        return Err(unsupported(format!("a model split into {files} files (split.count)")));
    }
    let (hidden, heads) = (fields.size("embedding_length")?, fields.size("attention.head_count")?);
    let key_length = fields.optional_size("attention.key_length")?;
    let head_dim = key_length.or(hidden.checked_div(heads)).unwrap_or(0);
    for field in ["attention.value_length", "rope.dimension_count"] {
        let length = fields.optional_size(field)?.filter(|length| *length != head_dim);
        if let Some(length) = length {
            return Err(unsupported(format!("{name}.{field} {length} for heads of {head_dim}")));
        }
    }
    let max_context = fields.size("context_length")?;
    if let Some(window) = fields.optional_size("attention.sliding_window")?
        && (1..max_context).contains(&window)
    {
        return Err(unsupported(format!(
            "a sliding window of {window} tokens ({name}.attention.sliding_window)"
        )));
    }
    Ok(ModelConfig {
        architecture,
        layers: fields.size("block_count")?,
        hidden,
        intermediate: fields.size("feed_forward_length")?,
        heads,
        kv_heads: fields.optional_size("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        vocab: vocab(path, header)?,
        max_context,
        rms_eps: fields.required("attention.layer_norm_rms_epsilon", Fields::float)?,
        rope: Rope {
            theta: fields.own("rope.freq_base", Fields::float)?.unwrap_or(10_000.0),
            scaling: scaling(&fields)?,
            interleaved: architecture == Architecture::Llama,
            factors: None,
        },
        bos: fields.token("tokenizer.ggml.bos_token_id")?,
        eos: eos(&fields)?,
    })
}

/// The vocabulary's size is that of the embedding: the tokenizer's own list may be shorter.
fn vocab(path: &Path, header: &Header) -> Result<usize, ModelError> {
    let name = "token_embd.weight";
    let place = header.tensors.get(name).ok_or_else(|| ModelError::tensor(path, name, "is missing"))?;
    Ok(place.shape.first().copied().unwrap_or(0))
}

/// End of sequence, and end of turn where the file names one apart.
fn eos(fields: &Fields<'_>) -> Result<Vec<u32>, ModelError> {
    let mut eos = Vec::new();
    for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
        eos.extend(fields.token(key)?);
    }
    eos.dedup();
    Ok(eos)
}

fn scaling(fields: &Fields<'_>) -> Result<RopeScaling, ModelError> {
    let kind = fields.own("rope.scaling.type", Fields::text)?;
    match kind {
        None | Some("none") => Ok(RopeScaling::None),
        Some("linear") => {
            Ok(RopeScaling::Linear { factor: fields.required("rope.scaling.factor", Fields::float)? })
        }
        Some(other) => {
            let what = format!("rope scaling {other:?} ({}.rope.scaling.type)", fields.architecture);
            Err(ModelError::Unsupported { path: fields.path.into(), what })
        }
    }
}

impl<'a> Fields<'a> {
    /// A field of the architecture's own.
    fn own<T>(
        &self,
        field: &str,
        read: impl Fn(&Self, &str) -> Result<Option<T>, ModelError>,
    ) -> Result<Option<T>, ModelError> {
        read(self, &format!("{}.{field}", self.architecture))
    }

    fn required<T>(
        &self,
        field: &str,
        read: impl Fn(&Self, &str) -> Result<Option<T>, ModelError>,
    ) -> Result<T, ModelError> {
        let name = format!("{}.{field}", self.architecture);
        read(self, &name)?.ok_or_else(|| ModelError::field(self.path, &name, "is missing"))
    }

    fn size(&self, field: &str) -> Result<usize, ModelError> {
        self.required(field, Self::integer)
    }

    fn optional_size(&self, field: &str) -> Result<Option<usize>, ModelError> {
        self.own(field, Self::integer)
    }

    fn integer(&self, field: &str) -> Result<Option<usize>, ModelError> {
        match self.header.fields.get(field) {
            None => Ok(None),
            Some(Value::Integer(number)) => match usize::try_from(*number) {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(ModelError::field(self.path, field, format!("is {number}"))),
            },
            Some(other) => Err(self.wrong(field, other, "an integer")),
        }
    }

    fn token(&self, field: &str) -> Result<Option<u32>, ModelError> {
        let id = self.integer(field)?;
        id.map(|id| u32::try_from(id).map_err(|_| ModelError::field(self.path, field, format!("is {id}"))))
            .transpose()
    }

    fn float(&self, field: &str) -> Result<Option<f32>, ModelError> {
        match self.header.fields.get(field) {
            None => Ok(None),
            Some(Value::Float(number)) => Ok(Some(*number as f32)),
            Some(Value::Integer(number)) => Ok(Some(*number as f32)),
            Some(other) => Err(self.wrong(field, other, "a number")),
        }
    }

    fn text(&self, field: &str) -> Result<Option<&'a str>, ModelError> {
        match self.header.fields.get(field) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(field, other, "a text")),
        }
    }

    fn wrong(&self, field: &str, found: &Value, expected: &str) -> ModelError {
        ModelError::field(self.path, field, format!("is {}, not {expected}", found.kind()))
    }
}

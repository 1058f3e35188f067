//! JSON files whose fields are read by name, so that every error names file and field.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::model::ModelError;

/// The largest JSON file that is read, bytes: far above any index of tensors.
const LARGEST_FILE: u64 = 64 << 20;

/// An object of a JSON file.
#[derive(Debug)]
pub(super) struct Fields {
    path: PathBuf,
    /// Where the object lies in the file, with a dot at the end.
    prefix: String,
    object: Map<String, Value>,
}

impl Fields {
    /// Reads the file `path`, which must hold an object.
    pub(super) fn read(path: &Path) -> Result<Self, ModelError> {
        let read = |source| ModelError::Read { path: path.into(), source };
        let length = std::fs::metadata(path).map_err(read)?.len();
        if length > LARGEST_FILE {
            return Err(ModelError::damaged(path, format!("it has {length} bytes")));
        }
        let text = std::fs::read(path).map_err(read)?;
        let object = serde_json::from_slice(&text).map_err(|source| ModelError::damaged(path, source))?;
        Ok(Self { path: path.into(), prefix: String::new(), object })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// An error about `field`.
    pub(super) fn error(&self, field: &str, what: impl Into<String>) -> ModelError {
        ModelError::field(&self.path, &format!("{}{field}", self.prefix), what)
    }

    /// Says that `what`, asked for by `field`, is not supported.
    pub(super) fn unsupported(&self, field: &str, what: &str) -> ModelError {
        let what = format!("{what} ({}{field})", self.prefix);
        ModelError::Unsupported { path: self.path.clone(), what }
    }

    /// A field that `read` takes as `expected`; `null` counts as absent.
    pub(super) fn optional<T>(
        &self,
        field: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        match self.object.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(value) {
                Some(value) => Ok(Some(value)),
                None => Err(self.error(field, format!("is {}, not {expected}", kind(value)))),
            },
        }
    }

    /// A size that may be absent.
    pub(super) fn optional_size(&self, field: &str) -> Result<Option<usize>, ModelError> {
        self.optional(field, "a size", |value| usize::try_from(value.as_u64()?).ok())
    }

    /// A size.
    pub(super) fn size(&self, field: &str) -> Result<usize, ModelError> {
        self.optional_size(field)?.ok_or_else(|| self.error(field, "is missing"))
    }

    /// A number that may be absent.
    pub(super) fn optional_number(&self, field: &str) -> Result<Option<f32>, ModelError> {
        self.optional(field, "a number", |value| value.as_f64().map(|number| number as f32))
    }

    /// A number above zero.
    pub(super) fn positive(&self, field: &str) -> Result<f32, ModelError> {
        let number = self.optional_number(field)?.ok_or_else(|| self.error(field, "is missing"))?;
        if number.is_finite() && number > 0.0 {
            return Ok(number);
        }
        Err(self.error(field, format!("is {number}, it must be positive")))
    }

    /// A truth value; absent means `false`.
    pub(super) fn flag(&self, field: &str) -> Result<bool, ModelError> {
        Ok(self.optional(field, "a truth value", Value::as_bool)?.unwrap_or(false))
    }

    /// A text that may be absent.
    pub(super) fn text(&self, field: &str) -> Result<Option<String>, ModelError> {
        self.optional(field, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// Texts that may be absent.
    pub(super) fn texts(&self, field: &str) -> Result<Option<Vec<String>>, ModelError> {
        self.optional(field, "a list of texts", |value| {
            value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
        })
    }

    /// One token id or a list of them.
    pub(super) fn tokens(&self, field: &str) -> Result<Option<Vec<u32>>, ModelError> {
        let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
        self.optional(field, "a token id or a list of them", |value| match value {
            Value::Array(ids) => ids.iter().map(id).collect(),
            one => id(one).map(|id| vec![id]),
        })
    }

    /// An object within this one.
    pub(super) fn object(&self, field: &str) -> Result<Option<Self>, ModelError> {
        let object = self.optional(field, "an object", |value| value.as_object().cloned())?;
        let prefix = format!("{}{field}.", self.prefix);
        Ok(object.map(|object| Self { path: self.path.clone(), prefix, object }))
    }

    /// The fields' names and texts, all of which must be texts.
    pub(super) fn into_texts(self) -> Result<Vec<(String, String)>, ModelError> {
        let text = |name: &String| self.text(name)?.ok_or_else(|| self.error(name, "is null, not a text"));
        self.object.keys().map(|name| Ok((name.clone(), text(name)?))).collect()
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "a text".into(),
        Value::Array(_) => "a list with other elements".into(),
        Value::Object(_) => "an object".into(),
    }
}

//! The model that a service serves.

use serde_json::{Value, json};

use super::ApiError;

/// What requests may ask of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedModel {
    /// The id that it is served under.
    pub name: String,
    /// Other ids that mean it.
    pub aliases: Vec<String>,
    /// Most tokens of prompt and output together.
    pub max_context: usize,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// When it came to be served, seconds since 1970.
    pub created: u64,
}

impl ServedModel {
    /// Whether `id` means this model.
    #[must_use]
    pub fn is(&self, id: &str) -> bool {
        self.ids().any(|own| own == id)
    }

    /// The body of `GET /v1/models`.
    #[must_use]
    pub fn list(&self) -> Value {
        json!({"object": "list", "data": self.ids().map(|id| self.card(id)).collect::<Vec<_>>()})
    }

    /// The body of `GET /v1/models/{id}`.
    ///
    /// # Errors
    /// 404 for an id that means no model.
    pub fn get(&self, id: &str) -> Result<Value, ApiError> {
        if self.is(id) { Ok(self.card(id)) } else { Err(ApiError::unknown_model(id)) }
    }

    fn ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.aliases).map(String::as_str)
    }

    fn card(&self, id: &str) -> Value {
        json!({
            "id": id, "object": "model", "created": self.created, "owned_by": "ampd", "root": self.name,
            "max_model_len": self.max_context,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_has_its_card() {
        let model = ServedModel {
            name: "org/m".into(),
            aliases: vec!["m".into()],
            max_context: 512,
            vocab: 10,
            created: 7,
        };
        let list = model.list();
        assert_eq!(list["data"][0]["id"], "org/m");
        assert_eq!(list["data"][1], model.get("m").unwrap());
        assert_eq!(list["data"][1]["root"], "org/m");
        assert_eq!(model.get("x").unwrap_err().code.as_deref(), Some("model_not_found"));
    }
}

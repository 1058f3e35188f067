//! The OpenAI API.

use std::sync::Arc;

use ampd_engine::model::ModelConfig;
use axum::Router;

use super::args::Args;
use super::internal::health_routes;
use super::naming::Naming;
use super::state::Shared;
use crate::text::TextModel;

/// What the API's handlers share.
pub(super) struct Front {
    shared: Arc<Shared>,
    naming: Naming,
    text: Arc<TextModel>,
}

impl Front {
    pub(super) fn new(
        shared: Arc<Shared>,
        _args: &Args,
        naming: Naming,
        text: TextModel,
        _model: &ModelConfig,
    ) -> Arc<Self> {
        Arc::new(Self { shared, naming, text: Arc::new(text) })
    }
}

pub(super) fn router(front: Arc<Front>) -> Router {
    health_routes().with_state(front.shared.clone())
}

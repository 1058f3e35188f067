//! The engine worker, the scheduler sidecar and the fetching of models.

pub mod http;
pub mod model_fetch;
pub mod openai;
pub mod process;
pub mod protocol;
pub mod server;
pub mod sidecar;
pub mod text;
pub mod topology;

//! The engine worker, the scheduler sidecar and the fetching of models.

mod certificates;
pub mod http;
pub mod model_fetch;
pub mod openai;
mod policies;
pub mod process;
pub mod protocol;
mod reload;
pub mod server;
pub mod sidecar;
pub mod text;
pub mod topology;

pub use policies::policy_parser;

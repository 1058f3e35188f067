//! The API as the API server and `ampd check` see it.

mod cel;
mod crd;
mod manifest;

//! One `AMPDService`: `dereference -> validate -> build -> apply -> update_status`.

pub mod apply;
pub mod build;
mod conditions;
pub mod dereference;
pub mod drain;
pub mod gates;
pub mod kinds;
pub mod measurements;
mod news;
mod observed;
mod pod_trouble;
pub mod reconcile;
mod secrets;
mod sidecars;
pub mod slo;
mod subset;
pub mod update_status;
pub mod validate;
mod verdict;

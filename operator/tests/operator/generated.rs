//! Files that are generated from the code: `UPDATE=1 cargo test -p ampd-operator --test operator generated` writes them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::path::{Path, PathBuf};

use ampd_operator::access;
use serde::Serialize;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn yaml(value: &impl Serialize) -> String {
    serde_saphyr::to_string(&serde_json::to_value(value).unwrap()).unwrap()
}

fn check(path: &str, text: &str) {
    let file = root().join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == text, "{path} is stale: UPDATE=1 cargo test -p ampd-operator --test operator generated");
}

#[test]
fn the_definitions_in_the_tree_and_in_the_chart_are_those_of_the_types() {
    for definition in ampd_api::crds() {
        let mut definition = serde_json::to_value(definition).unwrap();
        let name = definition["spec"]["names"]["plural"].as_str().unwrap().to_owned();
        let text = yaml(&definition);
        assert!(text.len() < 100_000, "{name} has {} bytes", text.len());
        check(&format!("crds/{name}.yaml"), &text);
        // All services go with a definition, so it stays when the release goes.
        definition["metadata"]["annotations"]["helm.sh/resource-policy"] = "keep".into();
        check(&format!("charts/ampd/files/crds/{name}.yaml"), &yaml(&definition));
    }
}

#[test]
fn the_charts_rights_are_those_that_the_operator_needs() {
    for (file, rules) in
        [("access", access::SERVICES), ("access-own", access::OWN), ("access-reviews", access::REVIEWS)]
    {
        check(&format!("charts/ampd/files/{file}.yaml"), &yaml(&rules));
    }
}

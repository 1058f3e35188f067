//! The first start on a new machine: nothing is cached, and the default model is fetched.

#![allow(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use ampd_testkit::chat::{ChatClient, Conversation};
use ampd_testkit::cluster::{LocalCluster, LocalOptions, model, skipped};

#[tokio::test]
async fn without_a_model_the_default_one_is_fetched_and_serves() {
    if model().is_none() {
        return skipped("AMPD_MODEL");
    }
    let cache = tempfile::tempdir().unwrap();
    let options = LocalOptions {
        fetches: true,
        arguments: vec!["--no-profile".into()],
        environment: vec![("AMPD_CACHE".into(), cache.path().into())],
        ..LocalOptions::new(0, 1)
    };
    let cluster = LocalCluster::start(options).await.unwrap();
    let client = ChatClient::new(&cluster.url).await.unwrap();
    assert_eq!(client.model(), "smollm2-135m-instruct");
    let answer = Conversation::new(&client, "first").say("Name a river.", 4).await.unwrap();
    assert!(answer.complete(), "{answer:?}");
    cluster.stop().await.unwrap();
    let left: Vec<_> = std::fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [place] = &left[..] else { unreachable!("one folder and nothing half made: {left:?}") };
    assert!(place.join("SmolLM2-135M-Instruct.Q4_1.gguf").is_file());
}

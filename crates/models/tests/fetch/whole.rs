//! Models that arrive: what is in the folder, and when the hub is asked.

use super::support::{GGUF, Scene, WEIGHTS, content};
use ampd_testkit::fake_hub::{Faults, Refusal};

const RECORD: &str = ".ampd-model.json";

#[tokio::test]
async fn a_folder_holds_what_is_loaded_and_the_record_of_it() {
    let mut scene = Scene::new().await;
    scene.token("hf_secret");
    let fetched = scene.fetch("org/whole").await.unwrap();
    assert_eq!((&fetched.path, &fetched.commit), (&scene.folder(), &scene.commit("org/whole")));
    assert_eq!(scene.names(), [RECORD, "config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(scene.read("model.safetensors"), content(2, WEIGHTS));
    let record = scene.record();
    assert_eq!((&record["complete"], &record["revision"]), (&true.into(), &"main".into()));
    let of = WEIGHTS as u64 + 5002;
    let weights = record["files"].as_array().unwrap().iter().find(|file| file["size"] == WEIGHTS).unwrap();
    assert_eq!(weights["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(scene.told.moved().last(), Some(&(of, of)));
    let seen = scene.hub.seen();
    for request in &seen {
        let expected = (!request.at_store).then_some("Bearer hf_secret");
        assert_eq!(request.authorization.as_deref(), expected, "{request:?}");
    }
    assert!(
        seen.iter().any(|request| request.at_store)
            && seen.iter().all(|request| !request.path.contains("README"))
    );
}

#[tokio::test]
async fn a_gguf_file_comes_alone() {
    let scene = Scene::new().await;
    let fetched = scene.fetch("org/many-gguf:q/b.gguf").await.unwrap();
    assert_eq!(fetched.path, scene.folder().join("b.gguf"));
    assert_eq!(scene.names(), [RECORD, "b.gguf"]);
    assert_eq!(scene.read("b.gguf"), content(4, GGUF));
}

#[tokio::test]
async fn a_complete_commit_needs_no_hub() {
    let scene = Scene::new().await;
    let commit = scene.commit("org/whole");
    let first = scene.fetch(&format!("org/whole@{commit}")).await.unwrap();
    let asked = scene.hub.seen().len();
    scene.hub.set(Faults { refusal: Some(Refusal::new("/", 404, u32::MAX)), ..Faults::default() });
    assert_eq!(scene.fetch(&format!("org/whole@{commit}")).await.unwrap(), first);
    assert_eq!(scene.hub.seen().len(), asked);
    // A file that has become shorter is no copy any more.
    std::fs::write(scene.folder().join("model.safetensors"), "short").unwrap();
    scene.fetch(&format!("org/whole@{commit}")).await.unwrap_err();
    scene.hub.set(Faults::default());
    assert_eq!(scene.fetch(&format!("org/whole@{commit}")).await.unwrap(), first);
    assert_eq!(scene.read("model.safetensors"), content(2, WEIGHTS));
}

#[tokio::test]
async fn a_branch_that_cannot_be_asked_about_is_the_copy_that_is_here() {
    let scene = Scene::new().await;
    scene.fetch("org/whole").await.unwrap();
    scene.hub.set(Faults { refusal: Some(Refusal::new("/api/", 503, u32::MAX)), ..Faults::default() });
    let before = scene.hub.seen().len();
    assert_eq!(scene.fetch("org/whole").await.unwrap().commit, scene.commit("org/whole"));
    assert_eq!(scene.hub.seen().len() - before, 2, "with a copy at hand there are fewer tries");
    assert!(scene.told.text().contains("the complete copy of commit"), "{}", scene.told.text());
    scene.fetch("org/whole@other").await.unwrap_err();
    // A hub that answers decides.
    scene.hub.set(Faults { refusal: Some(Refusal::new("/api/", 403, u32::MAX)), ..Faults::default() });
    scene.fetch("org/whole").await.unwrap_err();
}

#[tokio::test]
async fn a_branch_that_moves_takes_the_old_files_along_and_keeps_what_is_the_same() {
    let scene = Scene::new().await;
    scene.put("org/whole/model-2.safetensors", &content(6, 1000));
    scene.fetch("org/whole").await.unwrap();
    scene.take("org/whole/model-2.safetensors");
    scene.put("org/whole/tokenizer.json", &content(7, 4000));
    let bodies = scene.bodies().len();
    let fetched = scene.fetch("org/whole").await.unwrap();
    assert_eq!(fetched.commit, scene.commit("org/whole"));
    assert_eq!(scene.names(), [RECORD, "config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(scene.read("tokenizer.json"), content(7, 4000));
    assert_eq!(scene.bodies().len(), bodies, "the weights were not fetched again");
}

#[tokio::test]
async fn an_exchange_that_was_broken_off_is_finished() {
    let scene = Scene::new().await;
    scene.fetch("org/whole").await.unwrap();
    // As a process leaves it that ended between two renames: a stale file that the record names, and a new one missing.
    let mut record = scene.record();
    record["complete"] = false.into();
    let stale = serde_json::json!({"name": "old.safetensors", "size": 3, "sha256": ""});
    record["files"].as_array_mut().unwrap().push(stale);
    std::fs::write(scene.folder().join(RECORD), record.to_string()).unwrap();
    std::fs::write(scene.folder().join("old.safetensors"), "old").unwrap();
    std::fs::remove_file(scene.folder().join("config.json")).unwrap();
    scene.fetch("org/whole").await.unwrap();
    assert_eq!(scene.names(), [RECORD, "config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(scene.bodies().len(), 1);
}

#[tokio::test]
async fn other_models_files_are_left_alone() {
    let scene = Scene::new().await;
    std::fs::create_dir_all(scene.folder().join("lost+found")).unwrap();
    for name in ["other.gguf", "notes.txt", ".hidden.gguf"] {
        std::fs::write(scene.folder().join(name), "x").unwrap();
    }
    let error = scene.fetch("org/whole").await.unwrap_err();
    assert!(error.to_string().contains("(other.gguf)") && !error.is_passing(), "{error}");
    assert_eq!(scene.read("other.gguf"), b"x");
    assert!(scene.bodies().is_empty(), "nothing was fetched in vain");
    std::fs::remove_file(scene.folder().join("other.gguf")).unwrap();
    scene.fetch("org/whole").await.unwrap();
}

#[tokio::test]
async fn what_another_cache_holds_whole_is_not_fetched() {
    let mut scene = Scene::new().await;
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cache.path().join("models--org--whole/snapshots").join(scene.commit("org/whole"));
    std::fs::create_dir_all(&snapshot).unwrap();
    let wanted = ampd_models::Wanted::new("org/whole", "main", None).unwrap();
    scene.settings.snapshots = Some(ampd_models::Snapshots::new(cache.path(), &wanted));
    for name in ["config.json", "tokenizer.json"] {
        std::fs::write(snapshot.join(name), "{}").unwrap();
    }
    assert_eq!(scene.fetch("org/whole").await.unwrap().path, scene.folder(), "the weights are missing");
    std::fs::write(snapshot.join("model.safetensors"), "").unwrap();
    assert_eq!(scene.fetch("org/whole").await.unwrap().path, snapshot);
}

//! What goes wrong on the way, and how it ends.

use std::time::{Duration, Instant};

use super::support::{Scene, WEIGHTS, content};
use ampd_models::FetchError;
use ampd_testkit::fake_hub::{Faults, Refusal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The answers of one kind of refusal, from a fresh folder.
async fn refused(id: &str, refusal: Refusal) -> (Scene, FetchError) {
    let scene = Scene::new().await;
    scene.hub.set(Faults { refusal: Some(refusal), ..Faults::default() });
    let error = scene.fetch(id).await.unwrap_err();
    assert!(!error.to_string().contains('\n'), "{error}");
    (scene, error)
}

fn partials(scene: &Scene) -> Vec<String> {
    scene.names().into_iter().filter(|name| name.ends_with(".partial")).collect()
}

#[tokio::test]
async fn a_download_goes_on_where_it_was_cut() {
    let scene = Scene::new().await;
    scene.hub.set(Faults { cut: Some((1_000_000, 3)), ..Faults::default() });
    scene.fetch("org/whole").await.unwrap();
    assert_eq!(scene.read("model.safetensors"), content(2, WEIGHTS));
    let ranges: Vec<_> = scene.bodies().into_iter().map(|seen| seen.range).collect();
    assert_eq!(ranges[0], None);
    assert!(ranges.len() > 1 && ranges[1..].iter().all(Option::is_some), "{ranges:?}");
    assert!(scene.told.text().contains("trying again"), "{}", scene.told.text());
}

#[tokio::test]
async fn what_one_process_got_the_next_one_keeps() {
    let scene = Scene::new().await;
    scene.hub.set(Faults { cut: Some((100_000, 4 + 2)), ..Faults::default() });
    let error = scene.fetch("org/whole").await.unwrap_err();
    assert!(matches!(error, FetchError::Cut { .. }) && error.is_passing(), "{error}");
    assert!(!partials(&scene).is_empty() && !scene.names().contains(&"model.safetensors".to_owned()));
    scene.hub.set(Faults::default());
    let before = scene.bodies().len();
    scene.fetch("org/whole").await.unwrap();
    let range = scene.bodies()[before].range.clone().unwrap();
    let from: u64 = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
    assert!(from > 0, "{range}");
    assert!(partials(&scene).is_empty());
    assert_eq!(scene.read("model.safetensors"), content(2, WEIGHTS));
}

#[tokio::test]
async fn what_is_here_of_another_content_is_of_no_use() {
    let scene = Scene::new().await;
    scene.hub.set(Faults { cut: Some((100_000, 100)), ..Faults::default() });
    scene.fetch("org/whole").await.unwrap_err();
    let old = partials(&scene);
    scene.hub.set(Faults::default());
    scene.put("org/whole/model.safetensors", &content(9, WEIGHTS));
    let before = scene.bodies().len();
    scene.fetch("org/whole").await.unwrap();
    assert_eq!(scene.bodies()[before].range, None);
    assert!(!old.is_empty() && partials(&scene).is_empty());
    assert_eq!(scene.read("model.safetensors"), content(9, WEIGHTS));
}

#[tokio::test]
async fn a_server_that_cannot_go_on_gives_the_whole_again() {
    let scene = Scene::new().await;
    scene.hub.set(Faults { cut: Some((500_000, 3)), ignores_ranges: true, ..Faults::default() });
    scene.fetch("org/whole").await.unwrap();
    assert_eq!(scene.read("model.safetensors"), content(2, WEIGHTS));
    assert!(scene.told.text().contains("fetched anew"), "{}", scene.told.text());
}

#[tokio::test]
async fn a_damaged_file_is_fetched_anew_and_never_gets_its_name() {
    let scene = Scene::new().await;
    // The first body is that of a small file, whose tag is git's name of it.
    scene.hub.set(Faults { corrupt: 1, ..Faults::default() });
    scene.fetch("org/whole").await.unwrap();
    assert!(scene.told.text().contains("config.json is fetched anew"), "{}", scene.told.text());

    let scene = Scene::new().await;
    scene.hub.set(Faults { corrupt: u32::MAX, ..Faults::default() });
    let error = scene.fetch("org/many-gguf:a.gguf").await.unwrap_err();
    assert!(error.to_string().contains("a.gguf was damaged in 3 downloads"), "{error}");
    assert_eq!((scene.names().len(), scene.bodies().len()), (0, 3));
}

#[tokio::test]
async fn a_busy_hub_is_asked_again_and_not_for_ever() {
    let scene = Scene::new().await;
    let refusal = Refusal { retry_after: Some("1"), ..Refusal::new("/api/", 429, 1) };
    scene.hub.set(Faults { refusal: Some(refusal), ..Faults::default() });
    let start = Instant::now();
    scene.fetch("org/whole").await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1), "the hub said when");

    let (scene, error) = refused("org/whole", Refusal::new("/api/", 500, u32::MAX)).await;
    assert!(error.is_passing() && error.to_string().contains("HTTP 500"), "{error}");
    assert_eq!(scene.hub.seen().len(), 4);
    let (_, error) = refused("org/whole", Refusal::new("/resolve/", 429, u32::MAX)).await;
    assert!(error.to_string().contains("too many requests"), "{error}");
}

#[tokio::test]
async fn an_address_whose_time_has_run_out_is_asked_for_again() {
    let scene = Scene::new().await;
    let refusal = Refusal::new("org/many-gguf/a.gguf", 403, 1);
    scene.hub.set(Faults { refusal: Some(refusal), ..Faults::default() });
    scene.fetch("org/many-gguf:a.gguf").await.unwrap();
    assert_eq!(scene.bodies().len(), 2);
}

#[tokio::test]
async fn strangers_learn_that_a_token_is_needed() {
    let mut scene = Scene::new().await;
    scene.hub.set(Faults { token: Some("right".into()), ..Faults::default() });
    let error = scene.fetch("org/whole").await.unwrap_err().to_string();
    assert!(error.contains("HTTP 401") && error.contains("token's Secret"), "{error}");
    scene.token("wrong");
    let error = scene.fetch("org/whole").await.unwrap_err();
    assert!(error.to_string().contains("the token has no right to it") && !error.is_passing(), "{error}");
    assert!(!error.to_string().contains("wrong"));
    scene.token("right");
    scene.fetch("org/whole").await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let scene = Scene::new().await;
    for (id, parts) in [
        ("org/none", ["no repository org/none", "(repo)"]),
        ("org/whole@old", ["no revision old", "(revision)"]),
        ("org/many-gguf:x.gguf", ["no file x.gguf", "a.gguf, c.gguf, q/b.gguf"]),
        ("org/many-gguf", ["several .gguf files", "a.gguf, c.gguf"]),
    ] {
        let error = scene.fetch(id).await.unwrap_err();
        let text = error.to_string();
        assert!(parts.iter().all(|part| text.contains(part)) && !error.is_passing(), "{id}: {text}");
    }
    let (_, error) = refused("org/whole", Refusal::new("/resolve/", 404, u32::MAX)).await;
    assert!(error.to_string().contains("has no file config.json"), "{error}");
}

#[tokio::test]
async fn silence_ends_a_try_and_what_came_is_kept() {
    let mut scene = Scene::new().await;
    scene.settings.silence = Duration::from_millis(300);
    scene.hub.set(Faults { stall: Some((100_000, 3)), ..Faults::default() });
    scene.fetch("org/whole").await.unwrap();
    let text = scene.told.text();
    assert!(text.contains("was silent for"), "{text}");
    assert!(scene.bodies().iter().any(|seen| seen.range.is_some()));
    // One that is only slow is not silent.
    let mut scene = Scene::new().await;
    scene.settings.silence = Duration::from_millis(300);
    scene.hub.set(Faults { bytes_per_second: Some(300_000), ..Faults::default() });
    scene.fetch("org/many-gguf:a.gguf").await.unwrap();
    assert!(!scene.told.text().contains("silent"), "{}", scene.told.text());
}

#[tokio::test]
async fn nobody_there_is_told_with_what_to_check() {
    let mut scene = Scene::new().await;
    let free = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    scene.settings.endpoint = ampd_models::endpoint(&format!("http://{free}")).unwrap();
    let error = scene.fetch("org/whole").await.unwrap_err();
    assert!(error.is_passing() && error.to_string().contains("HF_ENDPOINT"), "{error}");
}

/// A server that sends every request on to `location`.
async fn sends_on(location: &str) -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, serving)
}

#[tokio::test]
async fn redirects_are_bounded_and_lead_to_no_other_kind_of_address() {
    for (location, expected) in [
        ("file:///etc/passwd", "an address of file"),
        ("ftp://x/y", "of ftp"),
        ("/again", "more than 10 times"),
    ] {
        let (address, serving) = sends_on(location).await;
        let mut scene = Scene::new().await;
        scene.settings.endpoint = ampd_models::endpoint(&format!("http://{address}")).unwrap();
        let error = scene.fetch("org/whole").await.unwrap_err().to_string();
        assert!(error.contains(expected), "{location}: {error}");
        serving.abort();
    }
}

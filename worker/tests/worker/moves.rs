//! Sessions from one decode worker to another, call by call.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use crate::worker_support::{Files, SALT, Worker, alone, refusal, request, text};
use ampd_worker::protocol::{
    DescribeSession, ErrorCode, HeldSession, OpenRound, PrefillTarget, PullSession, PulledSession,
    PushSession, Role, Salt, Sessions,
};

fn pull(session: &str, from: &Worker) -> PullSession {
    PullSession { session: session.into(), epoch: 2, from: from.url.clone() }
}

/// A round of a session that is bound with the epoch of [`pull`].
fn later(session: &str, tokens: Vec<u32>, max_tokens: usize) -> OpenRound {
    OpenRound { epoch: 2, ..request(session, tokens, max_tokens) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pulled_session_goes_on_where_it_was() {
    let files = Files::new();
    let (old, new) = (files.worker(Role::Decode, &[]).await, files.worker(Role::Decode, &[]).await);
    let mut tokens = text(1, 77);
    tokens.extend(old.round(&request("talk", tokens.clone(), 6), PrefillTarget::Local).await.tokens);
    let held = HeldSession { session: "talk".into(), epoch: 1, tokens: 82 };
    assert_eq!(old.client.sessions().await.unwrap(), Sessions { idle: vec![held.clone()], busy: 0 });
    let pulled = new.client.pull_session(&pull("talk", &old)).await.unwrap();
    assert_eq!(pulled, PulledSession { tokens: 82, pulled_tokens: 82 });
    assert_eq!(old.client.sessions().await.unwrap(), Sessions::default());
    let moved = HeldSession { epoch: 2, ..held };
    assert_eq!(new.client.sessions().await.unwrap(), Sessions { idle: vec![moved], busy: 0 });

    tokens.extend(text(2, 9));
    let outcome = new.round(&later("talk", tokens.clone(), 7), PrefillTarget::Local).await;
    assert_eq!((outcome.history, &outcome.tokens), (82, &alone(&files, &tokens, 7)));
    // Rounds of the old binding are shut out.
    let stale = old.client.open_round(&request("talk", tokens.clone(), 7)).await;
    assert_eq!(refusal(stale), ErrorCode::StaleEpoch);

    // Of another session that begins alike only the rest is moved.
    tokens.truncate(82);
    tokens.extend(text(3, 40));
    old.round(&request("alike", tokens.clone(), 1), PrefillTarget::Local).await;
    let pulled = new.client.pull_session(&pull("alike", &old)).await.unwrap();
    assert_eq!(pulled, PulledSession { tokens: 122, pulled_tokens: 122 - 64 });
    let outcome = new.round(&later("alike", tokens.clone(), 3), PrefillTarget::Local).await;
    assert_eq!((outcome.history, &outcome.tokens), (121, &alone(&files, &tokens, 3)));
    // Moves are transfers, and no rounds or prefills.
    assert_eq!(new.metric("ampd_worker_prefills_total", "remote").await, 0.0);
    for worker in [&old, &new] {
        let moved = r#"direction="push",outcome="ok""#;
        assert_eq!(worker.metric("ampd_worker_kv_transfers_total", moved).await, 2.0);
    }
    for worker in [old, new] {
        worker.settled().await;
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_moved_is_refused_and_stays() {
    let files = Files::new();
    let (old, new) = (files.worker(Role::Decode, &[]).await, files.worker(Role::Decode, &[]).await);
    let prefill = files.worker(Role::Prefill, &[]).await;
    let mut tokens = text(5, 70);
    for worker in [&old, &new] {
        worker.round(&request("both", tokens.clone(), 1), PrefillTarget::Local).await;
    }
    // A session with a round is not to be had, on either side.
    let busy = old.open(&request("both", tokens.clone(), 1)).await;
    let ask = DescribeSession { session: "both".into() };
    assert_eq!(refusal(old.client.describe_session(&ask).await), ErrorCode::SessionBusy);
    old.client.cancel_round(busy).await.unwrap();
    let content = old.client.describe_session(&ask).await.unwrap();
    // The round that was given up has let go of its last token.
    tokens.pop();
    assert_eq!((content.salt, &content.tokens), (SALT, &tokens));
    let before = old.client.sessions().await.unwrap();
    let pulled = async |ask: PullSession| refusal(new.client.pull_session(&ask).await);
    assert_eq!(pulled(pull("both", &old)).await, ErrorCode::WrongState, "it holds KV here already");
    assert_eq!(
        pulled(pull("nobody", &old)).await,
        ErrorCode::WrongState,
        "the other one has no such session"
    );
    assert_eq!(pulled(pull("both", &prefill)).await, ErrorCode::WrongRole);
    let nowhere = PullSession { from: "http://127.0.0.1:9".into(), ..pull("both", &old) };
    assert_eq!(pulled(nowhere).await, ErrorCode::TransferFailed);
    let file = PullSession { from: "file:///etc/passwd".into(), ..pull("both", &old) };
    assert_eq!(pulled(file).await, ErrorCode::InvalidParameter);
    assert_eq!(refusal(prefill.client.sessions().await), ErrorCode::WrongRole);

    let push = PushSession {
        session: "both".into(),
        epoch: 2,
        salt: SALT,
        tokens,
        history: 0,
        handle: "0".repeat(32),
        kv_addr: "127.0.0.1:9".into(),
    };
    let pushed = async |push: PushSession| refusal(old.client.push_session(&push).await);
    let other_salt = PushSession { salt: Salt([8; 32]), ..push.clone() };
    assert_eq!(pushed(other_salt).await, ErrorCode::WrongState);
    let other_tokens = PushSession { tokens: text(6, 69), ..push.clone() };
    assert_eq!(pushed(other_tokens).await, ErrorCode::WrongState);
    for bad in [
        PushSession { history: 69, ..push.clone() },
        PushSession { handle: "x".into(), ..push.clone() },
        PushSession { kv_addr: "here".into(), ..push.clone() },
    ] {
        assert_eq!(pushed(bad).await, ErrorCode::InvalidParameter);
    }
    assert_eq!(pushed(push).await, ErrorCode::TransferFailed, "nobody listens there");
    assert_eq!(old.client.sessions().await.unwrap().idle, before.idle, "it is where it was");
    for worker in [old, new, prefill] {
        worker.settled().await;
        worker.stop().await;
    }
}

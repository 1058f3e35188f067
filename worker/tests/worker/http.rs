//! The HTTP servers' own behaviour, over real connections.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper's failure is the test's")]

use std::net::SocketAddr;
use std::time::Duration;

use ampd_worker::http::{HttpLimits, HttpServer, listen, serve};
use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(app: Router, limits: HttpLimits, grace: Duration) -> Server {
    let listener = listen("--listen", "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let server = HttpServer { limits, tls: None, shutdown: shutdown.clone(), grace };
    Server { address, shutdown, task: tokio::spawn(serve(listener, app, server)) }
}

fn quick() -> HttpLimits {
    HttpLimits {
        header_timeout: Duration::from_millis(200),
        write_timeout: Duration::from_millis(200),
        ..HttpLimits::default()
    }
}

/// Sends bytes and reads until the server closes.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end too.
    let _ =
        timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

#[tokio::test]
async fn requests_with_two_meanings_are_refused() {
    let server = start(hello(), quick(), Duration::from_secs(5)).await;
    let good = exchange(server.address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(good.starts_with("HTTP/1.1 200") && good.ends_with("hello"), "{good}");
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9_000));
    let cases: [(&[u8], &str); 7] = [
        (b"GET / HTTP/1.1\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "400"),
        (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (b"\x00\x01\x02 / HTTP/1.1\r\n\r\n", "400"),
        (large.as_bytes(), "431"),
        (long.as_bytes(), "414"),
    ];
    for (request, status) in cases {
        let answer = exchange(server.address, request).await;
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{shown}: {answer}");
    }
    // With both lengths hyper goes by the encoding, as RFC 9112 section 6.3 has it, and what follows is never a request.
    let both =
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let smuggled = format!("{both}GET /no HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = exchange(server.address, smuggled.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    let answer = exchange(server.address, b"GET /no HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("404") && answer.contains(r#""code":"not_found""#), "{answer}");
    server.shutdown.cancel();
    server.task.await.unwrap();
}

#[tokio::test]
async fn connections_that_never_ask_are_closed() {
    let server = start(hello(), quick(), Duration::from_secs(5)).await;
    for opening in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n", b"GET / HTTP/1.1\r\nHost:"] {
        exchange(server.address, opening).await;
    }
    server.shutdown.cancel();
    server.task.await.unwrap();
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let gone = CancellationToken::new();
    let told = gone.clone();
    let app = Router::new().route(
        "/",
        get(move || {
            // Dropped with the body, when the connection is given up.
            let held = gone.clone().drop_guard();
            let endless = futures::stream::repeat_with(move || {
                let _held = &held;
                Ok::<_, std::convert::Infallible>(vec![0_u8; 1 << 16])
            });
            async move { axum::body::Body::from_stream(endless) }
        }),
    );
    let server = start(app, quick(), Duration::from_secs(5)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    timeout(Duration::from_secs(10), told.cancelled()).await.expect("the connection is given up");
    server.shutdown.cancel();
    timeout(Duration::from_secs(10), server.task).await.expect("the connection ends").unwrap();
}

#[tokio::test]
async fn shutdown_lets_requests_end_and_cuts_the_rest() {
    let (started, mut begun) = mpsc::channel(2);
    let finish = CancellationToken::new();
    let finished = finish.clone();
    let app = Router::new().route(
        "/",
        get(move || async move {
            started.send(()).await.unwrap();
            finished.cancelled().await;
            "done"
        }),
    );
    let server = start(app, HttpLimits::default(), Duration::from_secs(20)).await;
    let address = server.address;
    let request = tokio::spawn(async move { exchange(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await });
    begun.recv().await.unwrap();
    server.shutdown.cancel();
    finish.cancel();
    let answer = request.await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
    timeout(Duration::from_secs(10), server.task).await.expect("the server ends").unwrap();
    assert!(TcpStream::connect(address).await.is_err());

    let (started, mut begun) = mpsc::channel(2);
    let app = Router::new().route(
        "/",
        get(move || async move {
            started.send(()).await.unwrap();
            std::future::pending::<()>().await;
        }),
    );
    let server = start(app, HttpLimits::default(), Duration::from_millis(200)).await;
    let address = server.address;
    let request = tokio::spawn(async move { exchange(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await });
    begun.recv().await.unwrap();
    server.shutdown.cancel();
    assert_eq!(request.await.unwrap(), "");
    timeout(Duration::from_secs(10), server.task).await.expect("the server ends").unwrap();
}

#[tokio::test]
async fn an_answer_arrives_while_the_client_still_sends() {
    let server = start(hello(), quick(), Duration::from_secs(5)).await;
    let mut request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n".to_vec();
    request.resize(50_000_000, b'x');
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The whole body, as clients send it that look for an answer only then.
    timeout(Duration::from_secs(10), stream.write_all(&request)).await.unwrap().unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 405");
    drop(stream);
    server.shutdown.cancel();
    timeout(Duration::from_secs(10), server.task).await.expect("the server ends").unwrap();
}

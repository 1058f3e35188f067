//! The API on a loopback port, for programs that run as processes.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;

use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::FakeApi;

impl FakeApi {
    /// Answers on a loopback port as [`FakeApi::client`] does, until the task is aborted. Gives the kubeconfig that leads there.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn serve(&self) -> std::io::Result<(String, JoinHandle<Infallible>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let api = self.clone();
        let task = tokio::spawn(async move {
            // They end with this task.
            let mut connections = JoinSet::new();
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(answer(api.clone(), stream));
                }
                while connections.try_join_next().is_some() {}
            }
        });
        Ok((kubeconfig(address), task))
    }
}

/// A request that fails ends its connection without an answer.
async fn answer(api: FakeApi, stream: TcpStream) {
    let service = service_fn(move |request: Request<Incoming>| {
        let api = api.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| std::io::Error::from(ErrorKind::BrokenPipe))?;
            let request = Request::from_parts(head, body.to_bytes().to_vec().into());
            api.answer(request).await.map_err(std::io::Error::other)
        }
    });
    // What became of the connection is the client's to see.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn kubeconfig(address: SocketAddr) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "fake", "user": {}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
    })
    .to_string()
}

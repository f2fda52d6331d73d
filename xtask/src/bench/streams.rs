//! What an open event stream costs in memory: calls whose answers begin and do not end, many over
//! each of some HTTP/2 connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Serialize;
use tokio::net::TcpStream;

use super::{Plan, cpu};
use crate::agent::{Agent, call_body};
use crate::installation::Installation;
use crate::step::StepFailed;
use crate::tls_installation::hello;

/// Fewer than the 128 that a connection may have.
const STREAMS_PER_CONNECTION: usize = 100;
/// A stream that has nothing to say is given up after some time: all must be open before.
const OPEN_WITHIN: Duration = Duration::from_secs(120);

/// What was seen.
#[derive(Debug, Serialize)]
pub(super) struct Streams {
    /// How many were open at the same time.
    open: usize,
    /// Memory of the gateway's process for each of them.
    kib_per_stream: f64,
}

/// As `--only` finds it.
pub(super) const NAME: &str = "open streams";

/// Opens `count` streams at a gateway that did nothing before, since what a busy one has kept would hide
/// some of their memory.
pub(super) fn measure(plan: &Plan, upstream: &str, count: usize) -> Result<Streams, StepFailed> {
    let installation = Installation::start()?;
    installation.register_server("bench", &["--url", upstream])?;
    installation.approve_all("bench")?;
    let agent = Arc::new(installation.enroll("caller", &[("bench", &["read:*"])])?);
    plan.runtime.block_on(open_all(&installation, &agent, count))
}

/// Opens them and looks at the process's memory before and after.
async fn open_all(
    installation: &Installation,
    agent: &Arc<Agent>,
    count: usize,
) -> Result<Streams, StepFailed> {
    let token: Arc<str> = agent.token("bench", None)?.into();
    // What the first calls bring is no part of a stream.
    agent.send(&token, "bench", &call_body("echo", &hello()))?;
    let nonce: Arc<str> = agent.gateway_nonce().into();
    let address = installation.addresses().gateway;
    let before = cpu::memory_kib(installation.process())?;
    let connections = (0..count.div_ceil(STREAMS_PER_CONNECTION)).map(|_| {
        let (agent, token, nonce) = (Arc::clone(agent), Arc::clone(&token), Arc::clone(&nonce));
        tokio::spawn(async move { open_some(address, &agent, &token, &nonce).await })
    });
    let connections: Vec<_> = connections.collect();
    let mut open = Vec::new();
    let all = async {
        for connection in connections {
            let streams =
                connection.await.map_err(|error| StepFailed::Check(format!("streams: {error}")))?;
            open.extend(streams?);
        }
        Ok::<_, StepFailed>(())
    };
    tokio::time::timeout(OPEN_WITHIN, all)
        .await
        .map_err(|_late| StepFailed::Check("the streams do not open in time".to_owned()))??;
    let after = cpu::memory_kib(installation.process())?;
    let streams = open.len();
    let kib_per_stream = cpu::ratio(after.saturating_sub(before), streams as u64);
    println!("{streams} open streams: {kib_per_stream:.1} KiB each");
    Ok(Streams { open: streams, kib_per_stream })
}

/// A connection and its open streams; they end when it is dropped.
async fn open_some(
    address: SocketAddr,
    agent: &Agent,
    token: &str,
    nonce: &str,
) -> Result<Vec<(Response<Incoming>, SendRequest<Full<Bytes>>)>, StepFailed> {
    let failed = |error: &dyn std::fmt::Display| StepFailed::Check(format!("a stream: {error}"));
    let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
    drop(tokio::spawn(connection));
    let mut open = Vec::new();
    for _ in 0..STREAMS_PER_CONNECTION {
        let raw = agent.request(token, "bench", &call_body("hold", &hello()), nonce)?;
        let mut request = Request::post(format!("http://{address}{}", raw.target));
        for (name, value) in raw.headers.iter().filter(|(name, _)| name != "Host") {
            request = request.header(name.as_str(), value.as_slice());
        }
        let request = request.body(Full::new(Bytes::from(raw.body)));
        let request = request.map_err(|error| failed(&error))?;
        sender.ready().await.map_err(|error| failed(&error))?;
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        if response.status() != 200 {
            return Err(failed(&response.status()));
        }
        open.push((response, sender.clone()));
    }
    Ok(open)
}

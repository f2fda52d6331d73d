//! What somebody answers to a plain question: whole and in time, or it is a failure.
//!
//! A peer that sends a head and then rests would hold up every check after it.

use std::time::Duration;

use attorn_connect::World;
use attorn_net::{ResponseBody, ResponseBodyError};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use serde_json::Value;

use super::funnel::word;
use crate::admin::{Admin, Operation};
use crate::exit::Failure;
use crate::outside::causes;

/// What a plain GET gave.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// The body as JSON, `null` if it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Something in front of `attorn serve` answered in its place, or it is another program.
    pub(super) fn foreign(&self, url: &str) -> Failure {
        let what = format!("`{url}` answered {}, and not as `attorn serve` does", self.status);
        Failure::no(what).next(look_there(url))
    }
}

/// Asks `url`, whatever the status.
pub(super) async fn get(world: &World, url: &str) -> Result<Answer, Failure> {
    get_within(world, url, ANSWER_WITHIN).await
}

/// As [`get`], with `limit` for the head and again for the body.
pub(super) async fn get_within(
    world: &World,
    url: &str,
    limit: Duration,
) -> Result<Answer, Failure> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() =
        url.parse().map_err(|_| Failure::usage(format!("`{url}` is not an address")))?;
    let answer = world.client.send_within(request, limit).await;
    let answer =
        answer.map_err(|e| Failure::unreachable(causes(&e)).next("start it: attorn serve"))?;
    let (head, body) = answer.into_parts();
    let body = whole(body, limit).await.map_err(|e| {
        Failure::unreachable(format!("`{url}`: {}", causes(&e))).next(look_there(url))
    })?;
    Ok(Answer { status: head.status, headers: head.headers, body })
}

/// A body, if all of it comes in time.
pub(super) async fn whole(body: ResponseBody, limit: Duration) -> Result<Bytes, ResponseBodyError> {
    let whole = tokio::time::timeout(limit, body.bytes(ANSWER_BYTES_MAX)).await;
    whole.unwrap_or(Err(ResponseBodyError::Rested))
}

/// A list of the registry.
pub(super) async fn listed(admin: &Admin, operation: Operation) -> Result<Value, Failure> {
    let answer = tokio::time::timeout(LIST_WITHIN, admin.read(operation, &[], &[])).await;
    answer.unwrap_or_else(|_late| {
        let what = format!("the admin API did not answer within {} s", LIST_WITHIN.as_secs());
        Err(Failure::unreachable(what).next("look at the log of `attorn serve`"))
    })
}

fn look_there(url: &str) -> String {
    format!("see what is there: curl -i {}", word(url))
}

const ANSWER_BYTES_MAX: usize = 1 << 20;
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Lists of a large registry are long.
const LIST_WITHIN: Duration = Duration::from_secs(60);

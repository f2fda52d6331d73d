//! The client of the admin API: every command that looks or acts goes through here.
//!
//! A request carries a token for one audience, bound to the operator's key, and a fresh proof.

use attorn_authority::Method;
pub(crate) use attorn_authority::Operation;
use attorn_connect::token::Identity;
use attorn_connect::{AuthorizedClient, CallError, TokenFailure, TokenSource};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, IF_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use url::Url;

use crate::args::Change;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::json::{member, text};
use crate::output::{Output, clean};
use crate::outside::causes;
use crate::profile::{Profile, Who};

/// A session of one operator.
#[derive(Debug)]
pub(crate) struct Admin {
    client: AuthorizedClient,
    admin_url: Url,
    issuer: String,
    pub(crate) output: Output,
}

/// Members of a query; absent ones are left out.
pub(crate) type Query<'a> = &'a [(&'static str, Option<String>)];

impl Admin {
    /// Opens the operator's profile. Nothing is asked of the admin API yet.
    pub(crate) async fn open(context: &Context) -> Result<Self, Failure> {
        let profile = Profile::load(&context.profile, Who::Operator)?;
        Self::with_profile(profile, context.output).await
    }

    pub(crate) async fn with_profile(profile: Profile, output: Output) -> Result<Self, Failure> {
        let (world, credential) = (profile.world()?, profile.proof.credential());
        let Profile { identity, .. } = profile;
        let named = identity.admin_url.unwrap_or_default();
        let admin_url = Url::parse(&named)
            .map_err(|_| Failure::usage(format!("`{named}` is no address of an admin API")))?;
        let resource = format!("{named}/admin");
        let who = Identity { client_id: identity.client_id, credential };
        let tokens = TokenSource::for_issuer(world, &identity.issuer, resource, who)
            .await
            .map_err(|e| Failure::unreachable(causes(&e)).next("attorn doctor"))?;
        let client = AuthorizedClient::new(tokens).map_err(|e| refused(&e))?;
        Ok(Self { client, admin_url, issuer: identity.issuer, output })
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Asks something.
    pub(crate) async fn read(
        &self,
        operation: Operation,
        place: &[&str],
        query: Query<'_>,
    ) -> Result<Value, Failure> {
        let mut url = self.url(operation, place)?;
        for (name, value) in query {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        parse(&self.send(operation, &url, (Bytes::new(), None)).await?)
    }

    /// Asks something whose question is a document.
    pub(crate) async fn post_read(
        &self,
        operation: Operation,
        body: Value,
    ) -> Result<Value, Failure> {
        self.post_read_at(operation, &[], body).await
    }

    /// As [`Admin::post_read`], about something that the path names.
    pub(crate) async fn post_read_at(
        &self,
        operation: Operation,
        place: &[&str],
        body: Value,
    ) -> Result<Value, Failure> {
        let url = self.url(operation, place)?;
        parse(&self.send(operation, &url, (Bytes::from(body.to_string()), None)).await?)
    }

    /// As [`Admin::post_read`], with the answer as it came.
    pub(crate) async fn post_bytes(
        &self,
        operation: Operation,
        body: &Value,
    ) -> Result<Bytes, Failure> {
        let url = self.url(operation, &[])?;
        self.send(operation, &url, (Bytes::from(body.to_string()), None)).await
    }

    /// Changes something; `None` after a dry run.
    pub(crate) async fn send_change(
        &self,
        operation: Operation,
        place: &[&str],
        body: Value,
        change: Change,
    ) -> Result<Option<Value>, Failure> {
        self.send_replacing(operation, place, (body, None), change).await
    }

    /// As [`Admin::send_change`], with the entity tag of what it replaces.
    pub(crate) async fn send_replacing(
        &self,
        operation: Operation,
        place: &[&str],
        (body, tag): (Value, Option<HeaderValue>),
        change: Change,
    ) -> Result<Option<Value>, Failure> {
        let url = self.url(operation, place)?;
        let body = without_nulls(body);
        if change.dry_run {
            self.output.say(&format!("would send: POST {url}"));
            self.output.object(&body);
            return Ok(None);
        }
        let body = Bytes::from(body.to_string());
        parse(&self.send(operation, &url, (body, tag)).await?).map(Some)
    }

    /// Changes something and prints the answer.
    pub(crate) async fn change(
        &self,
        operation: Operation,
        place: &[&str],
        body: Value,
        change: Change,
    ) -> Result<Exit, Failure> {
        if let Some(answer) = self.send_change(operation, place, body, change).await? {
            self.output.object(&answer);
        }
        Ok(Exit::Yes)
    }

    /// Prints one object.
    pub(crate) async fn show(&self, operation: Operation, place: &[&str]) -> Result<Exit, Failure> {
        self.output.object(&self.read(operation, place, &[]).await?);
        Ok(Exit::Yes)
    }

    /// Prints a list; `columns` are what a table shows.
    pub(crate) async fn list(
        &self,
        operation: Operation,
        place: &[&str],
        query: Query<'_>,
        columns: &[&str],
    ) -> Result<Exit, Failure> {
        self.output.list(items(&self.read(operation, place, query).await?), columns);
        Ok(Exit::Yes)
    }

    fn url(&self, operation: Operation, place: &[&str]) -> Result<Url, Failure> {
        self.admin_url
            .join(&operation.path_of(place))
            .map_err(|_| Failure::usage("the address of the admin API takes no path"))
    }

    async fn send(
        &self,
        operation: Operation,
        url: &Url,
        (body, tag): (Bytes, Option<HeaderValue>),
    ) -> Result<Bytes, Failure> {
        let method = match operation.row().method {
            Method::Get => http::Method::GET,
            Method::Post => http::Method::POST,
        };
        let mut headers = HeaderMap::new();
        if method == http::Method::POST {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        // RFC 9110 section 13.1.1.
        headers.extend(tag.map(|tag| (IF_MATCH, tag)));
        let response =
            self.client.send(method, url, &headers, body).await.map_err(|e| refused(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body
            .map_err(|_| Failure::unreachable("the answer of the admin API broke off"))?
            .to_bytes();
        if status.is_success() { Ok(body) } else { Err(answered_no(operation, status, &body)) }
    }
}

/// The objects of a list answer, bare or under `items`.
pub(crate) fn items(answer: &Value) -> &[Value] {
    let list = answer.as_array().or_else(|| member(answer, "items").as_array());
    list.map_or(&[], Vec::as_slice)
}

/// An absent member and `null` are different things to the authority: send what was given.
fn without_nulls(mut body: Value) -> Value {
    if let Some(members) = body.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    body
}

fn parse(body: &[u8]) -> Result<Value, Failure> {
    if body.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    serde_json::from_slice(body)
        .map_err(|_| Failure::unreachable("the answer of the admin API is not JSON"))
}

fn answered_no(operation: Operation, status: StatusCode, body: &[u8]) -> Failure {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let told = text(&answer, "message").or_else(|| text(&answer, "error_description"));
    let told = clean(told.unwrap_or_else(|| status.canonical_reason().unwrap_or("refused")));
    let mut what = match text(&answer, "error") {
        Some(code) => format!("{told} ({})", clean(code)),
        None => told,
    };
    for fault in member(&answer, "faults").as_array().into_iter().flatten() {
        let of = |name| clean(text(fault, name).unwrap_or_default());
        what.push_str(&format!("\n  {}: {} ({})", of("at"), of("message"), of("error")));
    }
    let reason = text(&answer, "error").and_then(|code| code.parse().ok());
    let name = operation.row().id;
    match status {
        StatusCode::BAD_REQUEST => Failure::usage(what),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Failure::no(format!("`{name}` is refused: {what}")).next("attorn whoami")
        }
        StatusCode::PRECONDITION_FAILED => {
            Failure::no(format!("nothing was changed: {what}")).next("attorn policy diff FILE")
        }
        status if status.is_server_error() => Failure::unreachable(what).next("attorn doctor"),
        _ => Failure::no(what).next(listing_of(name)).because(reason),
    }
}

/// The command that lists what could have been meant.
fn listing_of(operation: &str) -> String {
    match operation.split_once('.') {
        Some((
            noun @ ("agent" | "consent" | "gateway" | "grant" | "lock" | "owner" | "person"
            | "resource" | "server"),
            _,
        )) => {
            format!("attorn {noun} list")
        }
        Some(("approval", _)) => "attorn request list".to_owned(),
        Some(("person_grant", _)) => "attorn person grants".to_owned(),
        Some(("client", _)) => "attorn agent list".to_owned(),
        Some(("tool", _)) => "attorn server list".to_owned(),
        Some((_, _)) | None => "attorn status".to_owned(),
    }
}

fn refused(error: &CallError) -> Failure {
    match error {
        CallError::OriginRefused | CallError::Sign(_) => Failure::usage(causes(error)),
        CallError::Send(_) => Failure::unreachable(causes(error)).next("attorn doctor"),
        CallError::Token(TokenFailure::Refused(refusal)) => {
            let told = refusal.description.as_deref().unwrap_or(&refusal.code);
            Failure::no(format!("the authority gives this operator no token: {}", clean(told)))
                .next("attorn doctor")
        }
        CallError::Token(_) => Failure::unreachable(causes(error)).next("attorn doctor"),
    }
}

/// An export is the largest answer.
const ANSWER_BYTES_MAX: usize = 256 << 20;

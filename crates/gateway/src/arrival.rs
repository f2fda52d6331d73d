//! A request of a caller: who it is, then what it says.
//!
//! Nothing of a body is read before its sender proved possession, and a body is parsed once.

use std::sync::Arc;
use std::time::Duration;

use attorn_audit::{Entry, Kind};
use attorn_enforce::view::View;
use attorn_json::Document;
use attorn_mcp::{
    ClientMessage, FrameRefusal, HeaderView, MirrorHeader, Request, RequestId, Revision,
    check_headers, parse_client_message,
};
use attorn_net::{SeveralPlaces, place};
use attorn_oauth::access_token::VerifiedToken;
use attorn_oauth::confirmation::Confirmation;
use attorn_registry::{McpServer, ReasonCode};
use bytes::{Bytes, BytesMut};
use http::{HeaderName, request};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;

use crate::exchange::{Caller, Exchange};
use crate::front::Verb;
use crate::held::Holding;
use crate::media;
use crate::possession;
use crate::refusal::{CredentialRefusal, MessageRefusal, Refusal};
use crate::sessions::Session;
use crate::trace::TraceContext;

/// A message, parsed and found equal to its headers.
#[derive(Debug)]
pub(crate) struct Arrived<'a> {
    pub(crate) message: ClientMessage<'a>,
    pub(crate) headers: HeaderView<'a>,
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) trace: TraceContext,
}

impl Exchange {
    /// Who sends the request: a token that counts now, and proof of the key it is bound to.
    pub(crate) async fn enter(
        &mut self,
        head: &request::Parts,
        verb: Verb,
        view: &View,
        server: &McpServer,
    ) -> Result<Caller, Refusal> {
        // Audience and `htu` come from configuration, never from the request.
        let url = self.gateway.config.public_url.resource(&self.server_name);
        self.entry.server = Some(server.id.to_string());
        self.entry.server_key = server.active_key().map(|key| key.jkt.to_string());
        let gateway = Arc::clone(&self.gateway);
        gateway
            .throttle
            .look(self.from, || gateway.tokens.knows(&head.headers))
            .map_err(Refusal::Limited)?;
        let token = gateway.tokens.verify(&head.headers, (server, &url), view, self.now_s)?;
        self.note_token(&token);
        let verified = token.clone();
        let with = (&gateway.throttle, self.now_s);
        let proven = match token.confirmation() {
            Confirmation::Jkt(_) => {
                gateway.possession.prove(&head.headers, verb, &url, token, with).await?
            }
            Confirmation::Bearer(_) => possession::by_nothing(token, server, with).await?,
            Confirmation::Certificate(_) => {
                possession::by_certificate(head, token, &view.snapshot, with).await?
            }
        };
        self.note_proof(&proven);
        self.verify_place(&verified)?;
        Ok(Caller { token: verified, certificate: proven.token.certificate() })
    }

    /// One token from two places: recorded or refused, as configured. Only who proved the key is
    /// looked at, so that a stranger with a stolen token cannot make its owner look like two.
    fn verify_place(&mut self, token: &VerifiedToken) -> Result<(), CredentialRefusal> {
        let gateway = Arc::clone(&self.gateway);
        let mode = gateway.config.several_places;
        let Some(from) = place(self.from).filter(|_| mode != SeveralPlaces::Off) else {
            return Ok(());
        };
        let Some(elsewhere) = gateway.tokens.note_place(token, from, self.now_s) else {
            return Ok(());
        };
        let places = [("peer", from), ("other_peer", elsewhere.before)];
        let places = places.map(|(name, place)| (name.to_owned(), place.to_string()));
        match mode {
            SeveralPlaces::Refuse => {
                self.entry.detail.extend(places);
                Err(CredentialRefusal::SeveralPlaces)
            }
            SeveralPlaces::Record if elsewhere.is_news => {
                let mut entry = Entry { kind: Kind::CredentialShared, ..self.entry.clone() };
                entry.detail.extend(places);
                entry.reason = Some(ReasonCode::CredentialShared.as_str().to_owned());
                gateway.recorder.event(&entry);
                Ok(())
            }
            SeveralPlaces::Record | SeveralPlaces::Off => Ok(()),
        }
    }

    /// What the request says. Sets identifier, revision and trace of the exchange.
    pub(crate) fn arrive<'a>(
        &mut self,
        head: &'a request::Parts,
        document: &Document<'a>,
        caller: &Caller,
    ) -> Result<Arrived<'a>, Refusal> {
        // Every later answer carries the identifier, also when the rest is not understood.
        let value = document.value();
        let id = value.member("id").filter(|_| value.member("method").is_some());
        self.id = id.and_then(RequestId::parse).map(RequestId::into_owned);
        let fields = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let headers = HeaderView::new(fields);
        let named = headers.protocol_version().map_err(MessageRefusal::Frame)?;
        self.revision = match named {
            None => Revision::WITHOUT_HEADER,
            Some(name) => Revision::parse(name).ok_or_else(|| self.version_unsupported(name))?,
        };
        let message =
            parse_client_message(document, self.revision).map_err(MessageRefusal::Frame)?;
        let session = if self.revision.is_modern() {
            check_headers(&headers, &message).map_err(MessageRefusal::Frame)?;
            None
        } else {
            verify_older(&message)?;
            self.session(head, &message, caller, named)?
        };
        let trace = self.trace(head, &message);
        self.note_message(method_name(&message), &trace);
        Ok(Arrived { message, headers, session, trace })
    }

    /// MCP 2026-07-28, Versioning: names the revisions that work here, which are the server's.
    pub(crate) fn version_unsupported(&self, requested: &str) -> MessageRefusal {
        let behind = self.server().and_then(|server| self.gateway.servers.behind(server));
        let supported = behind
            .filter(|behind| behind.was_listed())
            .map_or_else(|| Revision::ALL.to_vec(), |behind| behind.seen().era.supported());
        MessageRefusal::VersionUnsupported { requested: requested.to_owned(), supported }
    }

    /// The session of a message of an older revision; only `initialize` has none yet.
    fn session(
        &mut self,
        head: &request::Parts,
        message: &ClientMessage<'_>,
        caller: &Caller,
        named: Option<&str>,
    ) -> Result<Option<Arc<Session>>, Refusal> {
        if is_initialize(message) {
            return Ok(None);
        }
        let session = self.find_session(head, caller)?;
        self.revision = session.revision;
        // MCP 2025-11-25, Transports, Protocol Version Header: the one that was agreed.
        if named.is_some_and(|named| named != session.revision.as_str()) {
            let mismatch = FrameRefusal::HeaderMismatch(MirrorHeader::ProtocolVersion);
            return Err(MessageRefusal::Frame(mismatch).into());
        }
        Ok(Some(session))
    }

    /// The caller's session named in the header.
    pub(crate) fn find_session(
        &self,
        head: &request::Parts,
        caller: &Caller,
    ) -> Result<Arc<Session>, MessageRefusal> {
        let id = media::single(&head.headers, &MCP_SESSION_ID);
        let id = id.ok_or(MessageRefusal::SessionMissing)?;
        let behind = self.server().and_then(|server| self.gateway.servers.behind(server));
        let serial = behind.ok_or(MessageRefusal::SessionUnknown)?.serial;
        self.gateway
            .sessions
            .find(id, &caller.principal(), serial, self.now_s)
            .ok_or(MessageRefusal::SessionUnknown)
    }

    fn trace(&self, head: &request::Parts, message: &ClientMessage<'_>) -> TraceContext {
        let meta = match message {
            ClientMessage::Request(request) => Some(&request.meta),
            ClientMessage::Notification(_) | ClientMessage::Response(_) => None,
        };
        let header = |name| media::single(&head.headers, &name);
        let parent = meta.and_then(|meta| meta.traceparent.as_deref());
        let state = meta.and_then(|meta| meta.tracestate.as_deref());
        let random = self.gateway.random.bytes();
        match parent {
            Some(_) => TraceContext::continued(parent, state, &random),
            None => TraceContext::continued(header(TRACEPARENT), header(TRACESTATE), &random),
        }
    }
}

/// A request of 2026-07-28 without its headers is not one of an older revision.
fn verify_older(message: &ClientMessage<'_>) -> Result<(), MessageRefusal> {
    let version = match message {
        ClientMessage::Request(Request { meta, .. }) => meta.protocol_version.as_deref(),
        ClientMessage::Notification(_) | ClientMessage::Response(_) => None,
    };
    match version {
        None => Ok(()),
        Some(_) => {
            Err(MessageRefusal::Frame(FrameRefusal::HeaderMissing(MirrorHeader::ProtocolVersion)))
        }
    }
}

fn is_initialize(message: &ClientMessage<'_>) -> bool {
    match message {
        ClientMessage::Request(request) => request.method == attorn_mcp::Method::Initialize,
        ClientMessage::Notification(_) | ClientMessage::Response(_) => false,
    }
}

fn method_name<'m>(message: &'m ClientMessage<'_>) -> &'m str {
    match message {
        ClientMessage::Request(request) => request.method.as_str(),
        ClientMessage::Notification(_) => "notification",
        ClientMessage::Response(_) => "response",
    }
}

/// The whole body, when it has at most `bytes_max` bytes, comes in time, and there is room for it.
pub(crate) async fn read_body<B>(
    body: B,
    bytes_max: usize,
    holding: &mut Holding,
) -> Result<Bytes, Refusal>
where
    B: HttpBody<Data = Bytes>,
{
    let whole = collect(body, bytes_max, holding);
    let late = || Err(MessageRefusal::BodyIncomplete.into());
    tokio::time::timeout(BODY_WITHIN, whole).await.unwrap_or_else(|_late| late())
}

async fn collect<B>(body: B, bytes_max: usize, holding: &mut Holding) -> Result<Bytes, Refusal>
where
    B: HttpBody<Data = Bytes>,
{
    let mut body = std::pin::pin!(body);
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| MessageRefusal::BodyIncomplete)?;
        // A header in a trailer is one that some readers see and some do not.
        let piece = frame.into_data().map_err(|_| MessageRefusal::Trailers)?;
        if first.len() + whole.len() + piece.len() > bytes_max {
            return Err(MessageRefusal::BodyTooLong.into());
        }
        holding.add(piece.len()).map_err(Refusal::Limited)?;
        if first.is_empty() && whole.is_empty() {
            first = piece;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&piece);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

const BODY_WITHIN: Duration = Duration::from_secs(30);
pub(crate) const MCP_SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

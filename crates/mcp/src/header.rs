//! Headers that mirror the body: MCP 2026-07-28, Streamable HTTP, Request Metadata.
//!
//! A router in front of us may have trusted the header; the server behind us trusts the body. A
//! request where the two differ is refused, so that nobody decides about another call than the
//! one that happens.

use std::borrow::Cow;

use attorn_json::Value;
use attorn_planted::{Bug, is_planted};

use crate::param_header::{ParamHeader, ParamKind, safe_integer};
use crate::{ClientMessage, FrameRefusal, Method, MirrorHeader, Request, sentinel};

/// The mirror headers of one HTTP request, collected once.
#[derive(Clone, Debug, Default)]
pub struct HeaderView<'a> {
    protocol_version: Seen<'a>,
    method: Seen<'a>,
    name: Seen<'a>,
    params: Vec<(&'a str, &'a [u8])>,
}

/// How often a header that may occur once has been seen.
#[derive(Clone, Copy, Debug, Default)]
enum Seen<'a> {
    #[default]
    Never,
    Once(&'a [u8]),
    Repeated,
}

const PARAM_PREFIX: &str = "mcp-param-";

impl<'a> HeaderView<'a> {
    /// Takes all headers of a request; the others are skipped. Names in any case.
    pub fn new(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut view = Self::default();
        for (name, value) in headers {
            if name.eq_ignore_ascii_case("mcp-method") {
                view.method.add(value);
            } else if name.eq_ignore_ascii_case("mcp-name") {
                view.name.add(value);
            } else if name.eq_ignore_ascii_case("mcp-protocol-version") {
                view.protocol_version.add(value);
            } else if let Some((prefix, rest)) = name.split_at_checked(PARAM_PREFIX.len())
                && prefix.eq_ignore_ascii_case(PARAM_PREFIX)
            {
                view.params.push((rest, value));
            }
        }
        view
    }

    /// `MCP-Protocol-Version`, if it is there.
    ///
    /// # Errors
    /// When it is repeated or holds bytes a version never has.
    pub fn protocol_version(&self) -> Result<Option<&'a str>, FrameRefusal> {
        self.protocol_version.text(MirrorHeader::ProtocolVersion)
    }
}

impl<'a> Seen<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::Never => Self::Once(value),
            Self::Once(_) | Self::Repeated => Self::Repeated,
        };
    }

    /// MCP 2026-07-28, Streamable HTTP, Value Encoding: visible ASCII, space and tab.
    fn text(self, header: MirrorHeader) -> Result<Option<&'a str>, FrameRefusal> {
        match self {
            Self::Never => Ok(None),
            Self::Once(value) => {
                sentinel::visible(value).map(Some).ok_or(FrameRefusal::HeaderMalformed(header))
            }
            Self::Repeated => Err(FrameRefusal::HeaderDuplicate(header)),
        }
    }
}

/// Compares the standard headers of a modern request with its body: MCP 2026-07-28, Streamable
/// HTTP, Server Validation. Notifications and responses have no header rules.
///
/// # Errors
/// A `Header…` refusal, all of them -32020.
pub fn check_headers(
    view: &HeaderView<'_>,
    message: &ClientMessage<'_>,
) -> Result<(), FrameRefusal> {
    if is_planted(Bug::HeadersNotCompared) {
        return Ok(());
    }
    let request = match message {
        ClientMessage::Request(request) => request,
        ClientMessage::Notification(_) | ClientMessage::Response(_) => return Ok(()),
    };
    let version = view
        .protocol_version()?
        .ok_or(FrameRefusal::HeaderMissing(MirrorHeader::ProtocolVersion))?;
    if request.meta.protocol_version.as_deref() != Some(version) {
        return Err(FrameRefusal::HeaderMismatch(MirrorHeader::ProtocolVersion));
    }
    let method = view
        .method
        .text(MirrorHeader::Method)?
        .ok_or(FrameRefusal::HeaderMissing(MirrorHeader::Method))?;
    // Case-sensitive, and never encoded.
    if method != request.method.as_str() {
        return Err(FrameRefusal::HeaderMismatch(MirrorHeader::Method));
    }
    let Some(expected) = name_source(request) else { return Ok(()) };
    let name = view
        .name
        .text(MirrorHeader::Name)?
        .ok_or(FrameRefusal::HeaderMissing(MirrorHeader::Name))?;
    let name = sentinel::decode(name).ok_or(FrameRefusal::HeaderMalformed(MirrorHeader::Name))?;
    // Octet equality: no folding of case, Unicode form, or percent-encoding.
    if name != expected {
        return Err(FrameRefusal::HeaderMismatch(MirrorHeader::Name));
    }
    Ok(())
}

/// Compares `Mcp-Param-*` with the arguments, for the parameters the tool declares. Undeclared
/// ones are ignored here and not sent on.
///
/// # Errors
/// A `Header…` refusal about [`MirrorHeader::Param`].
pub fn check_param_headers(
    view: &HeaderView<'_>,
    arguments: Option<Value<'_>>,
    declared: &[ParamHeader],
) -> Result<(), FrameRefusal> {
    for param in declared {
        let mut sent =
            view.params.iter().filter(|(name, _)| name.eq_ignore_ascii_case(param.name()));
        let header = sent.next().map(|(_, value)| *value);
        if sent.next().is_some() {
            return Err(FrameRefusal::HeaderDuplicate(MirrorHeader::Param));
        }
        let expected = param.expected(arguments).map_err(|_| mismatch())?;
        match (header, expected) {
            (None, None) => {}
            (None, Some(_)) => return Err(FrameRefusal::HeaderMissing(MirrorHeader::Param)),
            (Some(_), None) => return Err(mismatch()),
            (Some(header), Some(expected)) => {
                let malformed = FrameRefusal::HeaderMalformed(MirrorHeader::Param);
                let header = sentinel::visible(header).ok_or(malformed)?;
                let header = sentinel::decode(header).ok_or(malformed)?;
                if !param_equals(param.kind(), &header, &expected) {
                    return Err(mismatch());
                }
            }
        }
    }
    Ok(())
}

fn mismatch() -> FrameRefusal {
    FrameRefusal::HeaderMismatch(MirrorHeader::Param)
}

/// MCP 2026-07-28, Streamable HTTP, Server Validation: integers are compared numerically.
fn param_equals(kind: ParamKind, header: &str, expected: &str) -> bool {
    match kind {
        ParamKind::Integer => safe_integer(header).is_some_and(|sent| sent.to_string() == expected),
        ParamKind::Boolean | ParamKind::Text => header == expected,
    }
}

/// MCP 2026-07-28, Streamable HTTP, Standard Request Headers: where `Mcp-Name` comes from.
pub(crate) fn name_source<'a>(request: &Request<'a>) -> Option<Cow<'a, str>> {
    match request.method {
        Method::ToolsCall | Method::PromptsGet => request.name(),
        Method::ResourcesRead => request.uri(),
        Method::CompletionComplete
        | Method::Initialize
        | Method::LoggingSetLevel
        | Method::Ping
        | Method::PromptsList
        | Method::ResourcesList
        | Method::ResourcesSubscribe
        | Method::ResourceTemplatesList
        | Method::ResourcesUnsubscribe
        | Method::ServerDiscover
        | Method::SubscriptionsListen
        | Method::ToolsList
        | Method::Unknown(_) => None,
    }
}

//! `_meta` of a client request: MCP 2026-07-28, Base Protocol, `_meta`.
//!
//! Nothing in it is ever proof of anything: `clientInfo` is what a client says about itself.

use std::borrow::Cow;

use attorn_json::Value;

use crate::{FrameRefusal, RequestId, Revision};

/// Key of the protocol version a modern request speaks.
pub(crate) const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Key of the capabilities a modern request declares.
pub(crate) const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// Key of the client's name for itself.
pub(crate) const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// Key that ties a notification to its `subscriptions/listen` request.
pub(crate) const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// The parts of `_meta` the gateway reads.
#[derive(Clone, Debug, Default)]
pub struct Meta<'a> {
    /// The whole object, when there is one.
    pub(crate) value: Option<Value<'a>>,
    /// Asks for progress notifications under this token.
    pub progress_token: Option<RequestId<'a>>,
    /// Revision of a modern request, as written.
    pub protocol_version: Option<Cow<'a, str>>,
    /// Self-reported and unverified.
    pub client_info: Option<Value<'a>>,
    /// Capabilities of a modern request.
    pub client_capabilities: Option<Value<'a>>,
    /// W3C trace context, as written.
    pub traceparent: Option<Cow<'a, str>>,
    /// W3C trace state, as written.
    pub tracestate: Option<Cow<'a, str>>,
}

impl<'a> Meta<'a> {
    pub(crate) fn parse(value: Value<'a>) -> Result<Self, FrameRefusal> {
        let mut meta = Self { value: Some(value), ..Self::default() };
        for (name, member) in value.members().ok_or(FrameRefusal::MetaShape)? {
            match name.as_ref() {
                "progressToken" => {
                    let token = RequestId::parse(member).ok_or(FrameRefusal::MetaShape)?;
                    meta.progress_token = Some(token);
                }
                PROTOCOL_VERSION => {
                    let version = member.string().ok_or(FrameRefusal::MetaShape)?;
                    meta.protocol_version = Some(version);
                }
                CLIENT_INFO if member.is_object() => meta.client_info = Some(member),
                CLIENT_CAPABILITIES if member.is_object() => {
                    meta.client_capabilities = Some(member);
                }
                CLIENT_INFO | CLIENT_CAPABILITIES => return Err(FrameRefusal::MetaShape),
                "traceparent" => meta.traceparent = member.string(),
                "tracestate" => meta.tracestate = member.string(),
                _ => {}
            }
        }
        Ok(meta)
    }

    /// MCP 2026-07-28, Base Protocol, Per-request protocol fields: a request without the required
    /// ones is malformed.
    pub(crate) fn require_modern(&self, revision: Revision) -> Result<(), FrameRefusal> {
        if !revision.is_modern() {
            return Ok(());
        }
        if self.protocol_version.is_none() || self.client_capabilities.is_none() {
            return Err(FrameRefusal::MetaMissing);
        }
        Ok(())
    }

    /// Whether the client declares a capability, for example `elicitation`.
    pub fn declares(&self, capability: &str) -> bool {
        self.client_capabilities.is_some_and(|all| all.member(capability).is_some())
    }

    /// Whether the client can send its user to an address: MCP 2026-07-28, Elicitation, Capabilities.
    /// The empty object stands for forms alone.
    pub fn declares_url_elicitation(&self) -> bool {
        let elicitation = self.client_capabilities.and_then(|all| all.member("elicitation"));
        elicitation.is_some_and(|modes| modes.member("url").is_some())
    }

    /// The client's name for itself, for display only.
    pub fn client_name(&self) -> Option<Cow<'a, str>> {
        self.client_info?.member("name")?.string()
    }
}

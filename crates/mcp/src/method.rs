//! The methods a client may use, and what each of them is to the gateway.

use crate::Revision;
use crate::list::ListKind;

/// A request method. What is not listed here is unknown and goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `completion/complete`
    CompletionComplete,
    /// `initialize`
    Initialize,
    /// `logging/setLevel`
    LoggingSetLevel,
    /// `ping`
    Ping,
    /// `prompts/get`
    PromptsGet,
    /// `prompts/list`
    PromptsList,
    /// `resources/list`
    ResourcesList,
    /// `resources/read`
    ResourcesRead,
    /// `resources/subscribe`
    ResourcesSubscribe,
    /// `resources/templates/list`
    ResourceTemplatesList,
    /// `resources/unsubscribe`
    ResourcesUnsubscribe,
    /// `server/discover`
    ServerDiscover,
    /// `subscriptions/listen`
    SubscriptionsListen,
    /// `tools/call`
    ToolsCall,
    /// `tools/list`
    ToolsList,
    /// Anything else, or a method of another revision.
    Unknown(String),
}

/// What a method does to the server behind the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodClass {
    /// Calls a tool.
    Call,
    /// Completes an argument of a prompt or a resource template.
    Complete,
    /// Handshake, discovery, liveness: needs no scope.
    Handshake,
    /// Lists items: answered with what the caller may use.
    List(ListKind),
    /// Opens a stream of change notifications.
    Listen,
    /// Renders a prompt.
    Prompt,
    /// Reads a resource, or watches one.
    Resource,
    /// Unknown in this revision.
    Unknown,
}

const NAMED: [Method; 15] = [
    Method::ToolsCall,
    Method::ToolsList,
    Method::ResourcesRead,
    Method::PromptsGet,
    Method::CompletionComplete,
    Method::Initialize,
    Method::LoggingSetLevel,
    Method::Ping,
    Method::PromptsList,
    Method::ResourcesList,
    Method::ResourcesSubscribe,
    Method::ResourceTemplatesList,
    Method::ResourcesUnsubscribe,
    Method::ServerDiscover,
    Method::SubscriptionsListen,
];

impl Method {
    /// Reads a method name as `revision` knows it.
    pub fn parse(name: &str, revision: Revision) -> Self {
        NAMED
            .into_iter()
            .find(|method| method.as_str() == name && method.exists_in(revision))
            .unwrap_or_else(|| Self::Unknown(name.to_owned()))
    }

    /// The name on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::CompletionComplete => "completion/complete",
            Self::Initialize => "initialize",
            Self::LoggingSetLevel => "logging/setLevel",
            Self::Ping => "ping",
            Self::PromptsGet => "prompts/get",
            Self::PromptsList => "prompts/list",
            Self::ResourcesList => "resources/list",
            Self::ResourcesRead => "resources/read",
            Self::ResourcesSubscribe => "resources/subscribe",
            Self::ResourceTemplatesList => "resources/templates/list",
            Self::ResourcesUnsubscribe => "resources/unsubscribe",
            Self::ServerDiscover => "server/discover",
            Self::SubscriptionsListen => "subscriptions/listen",
            Self::ToolsCall => "tools/call",
            Self::ToolsList => "tools/list",
            Self::Unknown(name) => name,
        }
    }

    /// What the gateway has to decide about.
    pub fn class(&self) -> MethodClass {
        match self {
            Self::CompletionComplete => MethodClass::Complete,
            Self::Initialize | Self::LoggingSetLevel | Self::Ping | Self::ServerDiscover => {
                MethodClass::Handshake
            }
            Self::PromptsGet => MethodClass::Prompt,
            Self::PromptsList => MethodClass::List(ListKind::Prompts),
            Self::ResourcesList => MethodClass::List(ListKind::Resources),
            Self::ResourceTemplatesList => MethodClass::List(ListKind::ResourceTemplates),
            Self::ResourcesRead | Self::ResourcesSubscribe | Self::ResourcesUnsubscribe => {
                MethodClass::Resource
            }
            Self::SubscriptionsListen => MethodClass::Listen,
            Self::ToolsCall => MethodClass::Call,
            Self::ToolsList => MethodClass::List(ListKind::Tools),
            Self::Unknown(_) => MethodClass::Unknown,
        }
    }

    /// The members of `params` that are sent on, besides `_meta`. Others are left behind: the
    /// upstream request is written from what was understood.
    pub(crate) fn params(&self) -> &'static [Param] {
        match self {
            Self::CompletionComplete => &[Param::Ref, Param::Argument, Param::Context],
            Self::Initialize => &[Param::ProtocolVersion, Param::Capabilities, Param::ClientInfo],
            Self::LoggingSetLevel => &[Param::Level],
            Self::Ping | Self::ServerDiscover | Self::Unknown(_) => &[],
            // MCP 2026-07-28, Multi Round-Trip Requests, Supported Requests.
            Self::PromptsGet | Self::ToolsCall => {
                &[Param::Name, Param::Arguments, Param::InputResponses, Param::RequestState]
            }
            Self::ResourcesRead => &[Param::Uri, Param::InputResponses, Param::RequestState],
            Self::ResourcesSubscribe | Self::ResourcesUnsubscribe => &[Param::Uri],
            Self::PromptsList
            | Self::ResourcesList
            | Self::ResourceTemplatesList
            | Self::ToolsList => &[Param::Cursor],
            Self::SubscriptionsListen => &[Param::Notifications],
        }
    }

    /// MCP 2026-07-28, Changelog: the handshake, `ping`, `logging/setLevel` and the subscribe
    /// methods are gone; discovery and the listen stream are new.
    fn exists_in(&self, revision: Revision) -> bool {
        match self {
            Self::Initialize
            | Self::LoggingSetLevel
            | Self::Ping
            | Self::ResourcesSubscribe
            | Self::ResourcesUnsubscribe => !revision.is_modern(),
            Self::ServerDiscover | Self::SubscriptionsListen => revision.is_modern(),
            Self::CompletionComplete
            | Self::PromptsGet
            | Self::PromptsList
            | Self::ResourcesList
            | Self::ResourcesRead
            | Self::ResourceTemplatesList
            | Self::ToolsCall
            | Self::ToolsList => true,
            Self::Unknown(_) => false,
        }
    }
}

/// A member of `params` that some method knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    Argument,
    Arguments,
    Capabilities,
    ClientInfo,
    Context,
    Cursor,
    InputResponses,
    Level,
    Name,
    Notifications,
    ProtocolVersion,
    Ref,
    RequestState,
    Uri,
}

/// The JSON type a member of `params` must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParamShape {
    Object,
    Text,
}

impl Param {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Argument => "argument",
            Self::Arguments => "arguments",
            Self::Capabilities => "capabilities",
            Self::ClientInfo => "clientInfo",
            Self::Context => "context",
            Self::Cursor => "cursor",
            Self::InputResponses => "inputResponses",
            Self::Level => "level",
            Self::Name => "name",
            Self::Notifications => "notifications",
            Self::ProtocolVersion => "protocolVersion",
            Self::Ref => "ref",
            Self::RequestState => "requestState",
            Self::Uri => "uri",
        }
    }

    pub(crate) fn shape(self) -> ParamShape {
        match self {
            Self::Argument
            | Self::Arguments
            | Self::Capabilities
            | Self::ClientInfo
            | Self::Context
            | Self::InputResponses
            | Self::Notifications
            | Self::Ref => ParamShape::Object,
            Self::Cursor
            | Self::Level
            | Self::Name
            | Self::ProtocolVersion
            | Self::RequestState
            | Self::Uri => ParamShape::Text,
        }
    }

    /// Whether its method means nothing without it.
    pub(crate) fn is_required(self) -> bool {
        match self {
            Self::Argument
            | Self::Capabilities
            | Self::ClientInfo
            | Self::Level
            | Self::Name
            | Self::Notifications
            | Self::ProtocolVersion
            | Self::Ref
            | Self::Uri => true,
            Self::Arguments
            | Self::Context
            | Self::Cursor
            | Self::InputResponses
            | Self::RequestState => false,
        }
    }
}

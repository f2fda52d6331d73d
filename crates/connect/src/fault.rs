//! What a client is told when there is no answer to relay.

use http::StatusCode;
use serde_json::json;

use crate::authorized::CallError;
use crate::request::TokenFailure;

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The server's answer is not what the protocol allows.
    Answer,
    /// The call was not made or not answered.
    Call(CallError),
    /// A client that speaks an older revision to a server known to be modern.
    Downgrade,
    /// The message is no single request, notification or response.
    Form,
    /// Another request with this id is still running.
    IdInUse,
    /// The line is not strict JSON.
    Json,
    /// An HTTP error without a message in it.
    Status(StatusCode),
    /// The stream ended before the answer.
    StreamEnded,
}

impl Fault {
    /// An error response in one line. `id_text` is the id as the client wrote it.
    pub(crate) fn to_line(&self, id_text: Option<&str>) -> String {
        let mut error = json!({ "code": self.code(), "message": self.message() });
        if let (Self::Downgrade, Some(object)) = (self, error.as_object_mut()) {
            // MCP 2026-07-28, Versioning: an error to `initialize` names what is spoken.
            object.insert("data".to_owned(), json!({ "supported": ["2026-07-28"] }));
        }
        match id_text {
            Some(id) => format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#),
            None => format!(r#"{{"jsonrpc":"2.0","id":null,"error":{error}}}"#),
        }
    }

    fn code(&self) -> i32 {
        match self {
            // JSON-RPC 2.0 section 5.1.
            Self::Json => -32700,
            Self::Form | Self::IdInUse => -32600,
            Self::Answer | Self::Call(_) | Self::Status(_) | Self::StreamEnded => -32603,
            // MCP 2026-07-28, Versioning, Protocol Version Negotiation.
            Self::Downgrade => -32022,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Answer => "attorn connect: the server's answer is not understood".to_owned(),
            Self::Call(CallError::Token(TokenFailure::Refused(refusal))) => format!(
                "attorn connect: no token, the authorization server said {}; see `attorn whoami`",
                refusal.code
            ),
            Self::Call(error) => {
                format!("attorn connect: {error}; see `attorn doctor`")
            }
            Self::Downgrade => "the server speaks MCP 2026-07-28, without a handshake".to_owned(),
            Self::Form => "one JSON-RPC request, notification or response is needed".to_owned(),
            Self::IdInUse => "another request with this id is still running".to_owned(),
            Self::Json => "the line is not strict JSON of at most 4 MiB".to_owned(),
            Self::Status(StatusCode::FORBIDDEN) => {
                "attorn connect: the server does not allow this call; see `attorn can-i`".to_owned()
            }
            Self::Status(status) => {
                format!("attorn connect: the server answered HTTP {}", status.as_u16())
            }
            Self::StreamEnded => {
                "attorn connect: the server's stream ended before its answer".to_owned()
            }
        }
    }
}

impl From<CallError> for Fault {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

//! The API behind a guard. Asked once: nothing is repeated after its first byte.

use std::time::Duration;

use attorn_net::{Client, RequestBody, ResponseBody, SendError};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;

use crate::body::GuardedBody;
use crate::config::UpstreamUrl;
use crate::refusal::UpstreamFailure;
use crate::target::Target;

/// Where the API is, and the client that reaches it.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    client: Client,
    url: UpstreamUrl,
    answer_within: Duration,
}

impl Upstream {
    pub(crate) const fn new(client: Client, url: UpstreamUrl, answer_within: Duration) -> Self {
        Self { client, url, answer_within }
    }

    /// Sends a request to where its target is at the API.
    pub(crate) async fn send<B>(
        &self,
        mut request: Request<GuardedBody<B>>,
        target: &Target,
    ) -> Result<Response<ResponseBody>, UpstreamFailure>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
    {
        let below = target.below.as_deref().ok_or(UpstreamFailure::Unreachable)?;
        let uri = self.url.join(below, target.query.as_deref());
        *request.uri_mut() = uri.ok_or(UpstreamFailure::Unreachable)?;
        *request.version_mut() = http::Version::default();
        let request = request.map(RequestBody::streamed);
        self.client.send_streamed(request, self.answer_within).await.map_err(|error| {
            tracing::warn!(url = self.url.as_str(), %error, "the API gave no answer");
            match error {
                error if error.is_of_this_machine() => UpstreamFailure::Exhausted,
                SendError::HeadTimeout => UpstreamFailure::Timeout,
                SendError::Exchange(_) => UpstreamFailure::Interrupted,
                SendError::AddressRefused
                | SendError::Connect(_)
                | SendError::ConnectTimeout
                | SendError::Resolve(_)
                | SendError::Url(_) => UpstreamFailure::Unreachable,
            }
        })
    }
}

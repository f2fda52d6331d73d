//! Which path is which, where people log in.

use attorn_audit::Kind;
use attorn_net::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::{People, authorize, consent, invite, login, page, provider, push, register, sessions};
use crate::http::{BodyRefusal, method_not_allowed, read_body};
use crate::refused::{self, Unserved};
use crate::shared::Shared;

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Authorize,
    Consent,
    Invite,
    Login,
    LoginCallback,
    LoginProvider,
    Logout,
    Push,
    Register,
    Sessions,
    Style,
}

impl Page {
    /// The page at a path below the issuer.
    pub(crate) fn at(path: &str) -> Option<Self> {
        match path {
            "/authorize" => Some(Self::Authorize),
            "/consent" => Some(Self::Consent),
            "/invite" => Some(Self::Invite),
            "/login" => Some(Self::Login),
            "/login/callback" => Some(Self::LoginCallback),
            "/login/provider" => Some(Self::LoginProvider),
            "/logout" => Some(Self::Logout),
            "/par" => Some(Self::Push),
            "/register" => Some(Self::Register),
            "/sessions" => Some(Self::Sessions),
            "/style.css" => Some(Self::Style),
            _ => None,
        }
    }

    /// What may be asked of it; nothing changes by GET.
    const fn methods(self) -> &'static str {
        match self {
            Self::Authorize | Self::LoginCallback | Self::LoginProvider | Self::Style => "GET",
            Self::Logout | Self::Push | Self::Register => "POST",
            Self::Consent | Self::Invite | Self::Login | Self::Sessions => "GET, POST",
        }
    }

    fn allows(self, method: &Method) -> bool {
        self.methods().split(", ").any(|one| one == method.as_str())
    }

    /// What a refusal of it is in the journal.
    const fn kind(self) -> Kind {
        match self {
            Self::Authorize | Self::Consent | Self::Push => Kind::ConsentRefused,
            Self::Register => Kind::IdentityEnrolmentRefused,
            Self::Invite
            | Self::Login
            | Self::LoginCallback
            | Self::LoginProvider
            | Self::Logout
            | Self::Sessions
            | Self::Style => Kind::IdentityLoginRefused,
        }
    }
}

/// Answers one request.
pub(crate) async fn answer<B>(
    (shared, people): (&Shared, &People),
    at: Page,
    head: &Parts,
    body: B,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    if !at.allows(&head.method) {
        return method_not_allowed(at.methods());
    }
    if head.method == Method::GET {
        return match at {
            Page::Authorize => authorize::show(shared, people, head).await,
            Page::Consent => consent::show(shared, people, head).await,
            Page::Invite => invite::show(shared, people, head),
            Page::Login => login::show(shared, people, head),
            Page::LoginCallback => provider::callback(shared, people, head).await,
            Page::LoginProvider => provider::begin(shared, people, head).await,
            Page::Sessions => sessions::show(shared, people, head).await,
            Page::Style => page::style(),
            Page::Logout | Page::Push | Page::Register => method_not_allowed(at.methods()),
        };
    }
    // Before any work: who failed too often is not looked at.
    if let Err(limited) = shared.throttle.look(head) {
        let about = shared.entry_from(head, at.kind(), shared.clock.now_ms());
        return refused::answer(shared, about, Unserved::Limited(limited)).await;
    }
    let body = match read_body(body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(BodyRefusal::TooLong) => return unread(shared, StatusCode::PAYLOAD_TOO_LARGE),
        Err(BodyRefusal::Broken) => return unread(shared, StatusCode::BAD_REQUEST),
    };
    match at {
        Page::Consent => consent::decide(shared, people, head, &body).await,
        Page::Invite => invite::redeem(shared, people, head, &body).await,
        Page::Login => login::log_in(shared, people, head, &body).await,
        Page::Logout => sessions::log_out(shared, people, head, &body).await,
        Page::Push => push::handle(shared, people, head, &body).await,
        Page::Register => register::handle(shared, people, head, &body).await,
        Page::Sessions => sessions::end_all(shared, people, head, &body).await,
        Page::Authorize | Page::LoginCallback | Page::LoginProvider | Page::Style => {
            method_not_allowed(at.methods())
        }
    }
}

fn unread(shared: &Shared, status: StatusCode) -> Response<Body> {
    page::error(shared, status, ("The request cannot be read.", "Go back and try again."))
}

/// A consent form names each right by a number; everything else is far smaller.
const BODY_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_changes_by_get_and_no_spelling_is_forgiven() {
        for (path, get, post) in [
            ("/authorize", true, false),
            ("/consent", true, true),
            ("/login", true, true),
            ("/login/callback", true, false),
            ("/login/provider", true, false),
            ("/logout", false, true),
            ("/par", false, true),
            ("/register", false, true),
            ("/sessions", true, true),
            ("/style.css", true, false),
        ] {
            let page = Page::at(path).unwrap();
            assert_eq!(
                (page.allows(&Method::GET), page.allows(&Method::POST)),
                (get, post),
                "{path}"
            );
            assert!(!page.allows(&Method::PUT) && !page.allows(&Method::HEAD));
        }
        for path in ["/authorize/", "//authorize", "/Authorize", "/consent%2f", ""] {
            assert_eq!(Page::at(path), None, "{path}");
        }
    }
}

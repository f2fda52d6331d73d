//! Which path is which, where people log in.

use attorn_audit::Kind;
use attorn_net::Body;
use attorn_registry::ApprovalId;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::{
    People, approvals, authorize, consent, consents, invite, login, page, passkey_login, provider,
    push, register, sessions, settings, traces,
};
use crate::http::{BodyRefusal, method_not_allowed, read_body};
use crate::refused::{self, Unserved};
use crate::shared::Shared;

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Approval(ApprovalId),
    Approvals,
    Authorize,
    Consent,
    Consents,
    Invite,
    Login,
    LoginCallback,
    LoginChallenge,
    LoginPasskey,
    LoginProvider,
    Logout,
    Push,
    Register,
    Script,
    Sessions,
    Settings,
    SettingsAgain,
    SettingsChallenge,
    SettingsPasskey,
    SettingsPasskeyRemove,
    Style,
    Trace(String),
    Traces,
}

impl Page {
    /// The page at a path below the issuer.
    pub(crate) fn at(path: &str) -> Option<Self> {
        match path {
            "/approvals" => Some(Self::Approvals),
            "/authorize" => Some(Self::Authorize),
            "/consent" => Some(Self::Consent),
            "/consents" => Some(Self::Consents),
            "/invite" => Some(Self::Invite),
            "/login" => Some(Self::Login),
            "/login/callback" => Some(Self::LoginCallback),
            "/login/challenge" => Some(Self::LoginChallenge),
            "/login/passkey" => Some(Self::LoginPasskey),
            "/login/provider" => Some(Self::LoginProvider),
            "/logout" => Some(Self::Logout),
            "/par" => Some(Self::Push),
            "/passkeys.js" => Some(Self::Script),
            "/register" => Some(Self::Register),
            "/sessions" => Some(Self::Sessions),
            "/settings" => Some(Self::Settings),
            "/settings/again" => Some(Self::SettingsAgain),
            "/settings/challenge" => Some(Self::SettingsChallenge),
            "/settings/passkey" => Some(Self::SettingsPasskey),
            "/settings/passkey/remove" => Some(Self::SettingsPasskeyRemove),
            "/style.css" => Some(Self::Style),
            "/traces" => Some(Self::Traces),
            _ => Self::below(path),
        }
    }

    fn below(path: &str) -> Option<Self> {
        if let Some(id) = path.strip_prefix("/approvals/") {
            return ApprovalId::parse(id).ok().map(Self::Approval);
        }
        path.strip_prefix("/traces/").and_then(traces::name).map(Self::Trace)
    }

    /// What may be asked of it; nothing changes by GET.
    const fn methods(&self) -> &'static str {
        match self {
            Self::Approvals
            | Self::Authorize
            | Self::LoginCallback
            | Self::LoginProvider
            | Self::Script
            | Self::Settings
            | Self::SettingsAgain
            | Self::Style
            | Self::Trace(_)
            | Self::Traces => "GET",
            Self::LoginChallenge
            | Self::LoginPasskey
            | Self::Logout
            | Self::Push
            | Self::Register
            | Self::SettingsChallenge
            | Self::SettingsPasskey
            | Self::SettingsPasskeyRemove => "POST",
            Self::Approval(_)
            | Self::Consent
            | Self::Consents
            | Self::Invite
            | Self::Login
            | Self::Sessions => "GET, POST",
        }
    }

    fn allows(&self, method: &Method) -> bool {
        self.methods().split(", ").any(|one| one == method.as_str())
    }

    /// What a refusal of it is in the journal.
    const fn kind(&self) -> Kind {
        match self {
            Self::Approval(_)
            | Self::Approvals
            | Self::Consents
            | Self::Settings
            | Self::SettingsAgain
            | Self::SettingsChallenge
            | Self::SettingsPasskey
            | Self::SettingsPasskeyRemove
            | Self::Trace(_)
            | Self::Traces => Kind::AdminRefused,
            Self::Authorize | Self::Consent | Self::Push => Kind::ConsentRefused,
            Self::Register => Kind::IdentityEnrolmentRefused,
            Self::Invite
            | Self::Login
            | Self::LoginCallback
            | Self::LoginChallenge
            | Self::LoginPasskey
            | Self::LoginProvider
            | Self::Logout
            | Self::Script
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
        return show((shared, people), at, head).await;
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
    take((shared, people), at, head, &body).await
}

/// A page that is looked at.
async fn show((shared, people): (&Shared, &People), at: Page, head: &Parts) -> Response<Body> {
    match at {
        Page::Approval(id) => approvals::show(shared, people, head, &id).await,
        Page::Approvals => approvals::list(shared, people, head).await,
        Page::Authorize => authorize::show(shared, people, head).await,
        Page::Consent => consent::show(shared, people, head).await,
        Page::Consents => consents::show(shared, people, head).await,
        Page::Invite => invite::show(shared, people, head),
        Page::Login => login::show(shared, people, head),
        Page::LoginCallback => provider::callback(shared, people, head).await,
        Page::LoginProvider => provider::begin(shared, people, head).await,
        Page::Script => page::script(),
        Page::Sessions => sessions::show(shared, people, head).await,
        Page::Settings => settings::show(shared, people, head).await,
        Page::SettingsAgain => settings::again(shared, people, head).await,
        Page::Style => page::style(),
        Page::Trace(name) => traces::show(shared, people, head, &name).await,
        Page::Traces => traces::search(shared, people, head).await,
        Page::LoginChallenge
        | Page::LoginPasskey
        | Page::Logout
        | Page::Push
        | Page::Register
        | Page::SettingsChallenge
        | Page::SettingsPasskey
        | Page::SettingsPasskeyRemove => method_not_allowed("POST"),
    }
}

/// A form, or what a client sends.
async fn take(
    (shared, people): (&Shared, &People),
    at: Page,
    head: &Parts,
    body: &[u8],
) -> Response<Body> {
    match at {
        Page::Approval(id) => approvals::answer(shared, people, head, (&id, body)).await,
        Page::Consent => consent::decide(shared, people, head, body).await,
        Page::Consents => consents::take_back(shared, people, head, body).await,
        Page::Invite => invite::redeem(shared, people, head, body).await,
        Page::Login => login::log_in(shared, people, head, body).await,
        Page::LoginChallenge => passkey_login::challenge(shared, people, head, body).await,
        Page::LoginPasskey => passkey_login::log_in(shared, people, head, body).await,
        Page::Logout => sessions::log_out(shared, people, head, body).await,
        Page::Push => push::handle(shared, people, head, body).await,
        Page::Register => register::handle(shared, people, head, body).await,
        Page::Sessions => sessions::end_all(shared, people, head, body).await,
        Page::SettingsChallenge => settings::challenge(shared, people, head, body).await,
        Page::SettingsPasskey => settings::add(shared, people, head, body).await,
        Page::SettingsPasskeyRemove => settings::remove(shared, people, head, body).await,
        Page::Approvals
        | Page::Authorize
        | Page::LoginCallback
        | Page::LoginProvider
        | Page::Script
        | Page::Settings
        | Page::SettingsAgain
        | Page::Style
        | Page::Trace(_)
        | Page::Traces => method_not_allowed("GET"),
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
            ("/approvals", true, false),
            ("/approvals/apr_aaaaaaaaaaaaaaaaaaaaaaaaaa", true, true),
            ("/authorize", true, false),
            ("/consent", true, true),
            ("/consents", true, true),
            ("/login", true, true),
            ("/login/callback", true, false),
            ("/login/challenge", false, true),
            ("/login/passkey", false, true),
            ("/login/provider", true, false),
            ("/logout", false, true),
            ("/par", false, true),
            ("/register", false, true),
            ("/sessions", true, true),
            ("/passkeys.js", true, false),
            ("/settings", true, false),
            ("/settings/again", true, false),
            ("/settings/challenge", false, true),
            ("/settings/passkey", false, true),
            ("/settings/passkey/remove", false, true),
            ("/style.css", true, false),
            ("/traces", true, false),
            ("/traces/dec_a%2Fb", true, false),
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
        for path in
            ["/approvals/", "/approvals/apr_x", "/approvals/%61pr_a", "/traces/", "/traces/%"]
        {
            assert_eq!(Page::at(path), None, "{path}");
        }
        assert_eq!(Page::at("/traces/a%2Fb"), Some(Page::Trace("a/b".to_owned())));
    }
}

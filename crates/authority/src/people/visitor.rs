//! Who looks at a page of ours, and whether their roles open it.
//!
//! A page that needs a log-in remembers by the browser where it was asked for, and the log-in leads
//! there. Where to go is never said by a form or an address: only pages of ours are remembered.

use attorn_audit::{Decision, Entry, Kind};
use attorn_console::{Here, Nav};
use attorn_net::Body;
use attorn_registry::{AgentId, OwnerId, Person, PersonId, ReasonCode, Role, ServerId, Snapshot};
use attorn_store::Session;
use http::request::Parts;
use http::{Response, StatusCode};

use super::browser::{Browser, LoggedIn};
use super::{People, page};
use crate::admin::{Operation, SERVER_NAME};
use crate::shared::Shared;

/// Somebody who is logged in, and the browser.
#[derive(Debug)]
pub(crate) struct Visitor {
    pub(crate) person: Person,
    pub(crate) browser: Browser,
    pub(crate) session: Session,
}

impl Visitor {
    /// Who is logged in; else the answer that leads to the log-in, and from there to `path`.
    pub(crate) async fn at(
        (shared, people): (&Shared, &People),
        head: &Parts,
        path: &str,
        now_s: u64,
    ) -> Result<Self, Response<Body>> {
        let browser = Browser::of(&head.headers, page::is_encrypted(shared), &shared.random);
        match browser.logged_in(shared, now_s).await {
            Ok(Some(LoggedIn { person, session })) => Ok(Self { person, browser, session }),
            Ok(None) => {
                people.returns.remember(&browser.digest(), path, now_s);
                let mut answer = page::see_other(&shared.config.endpoint("/login"));
                page::name_browser(&mut answer, shared, &browser);
                Err(answer)
            }
            Err(_) => Err(page::unavailable(shared)),
        }
    }

    /// The bar as this person sees it.
    pub(crate) fn nav<'a>(&'a self, shared: &'a Shared, here: Here) -> Nav<'a> {
        Nav {
            base: shared.config.issuer_path(),
            person: self.person.name.as_str(),
            may_approve: self.person.may(Role::may_approve),
            may_audit: self.person.may(Role::may_audit),
            here,
        }
    }

    /// An entry about what this person does: the operation of the admin API that is the same.
    pub(crate) fn entry(
        &self,
        shared: &Shared,
        head: &Parts,
        (kind, operation): (Kind, Operation),
        now_ms: u64,
    ) -> Entry {
        let snapshot = shared.published.load();
        let person = self.person.id.to_string();
        Entry {
            by: Some(person.clone()),
            decision: Some(Decision::Permit),
            decision_id: Some(shared.new_decision_id().to_string()),
            method: Some(head.method.as_str().to_owned()),
            server: snapshot.server_named(SERVER_NAME).map(|server| server.id.to_string()),
            subject: Some(person),
            tool: Some(operation.row().id.to_owned()),
            ..shared.entry_from(head, kind, now_ms)
        }
    }
}

/// Refuses somebody whose roles do not open a page. Whether what they asked for is there is not told.
pub(crate) async fn role_missing(shared: &Shared, about: Entry, role: Role) -> Response<Body> {
    let about = Entry { kind: Kind::AdminRefused, ..about };
    if shared.note_refusal(about, ReasonCode::RoleMissing).await.is_err() {
        return page::unavailable(shared);
    }
    let next = format!("It is for people with the role {role}. An administrator gives roles.");
    page::error(shared, StatusCode::FORBIDDEN, ("This page is not open to you.", &next))
}

/// How somebody who is behind an identifier is called.
pub(crate) fn name_of(snapshot: &Snapshot, id: &str) -> String {
    let person = || Some(snapshot.person(&PersonId::parse(id).ok()?)?.name.to_string());
    let agent = || Some(snapshot.agent(&AgentId::parse(id).ok()?)?.name.to_string());
    let server = || Some(snapshot.server(&ServerId::parse(id).ok()?)?.name.to_string());
    let owner = || Some(snapshot.owner(&OwnerId::parse(id).ok()?)?.name.to_string());
    person().or_else(agent).or_else(server).or_else(owner).unwrap_or_else(|| id.to_owned())
}

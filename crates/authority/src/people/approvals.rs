//! `/approvals` and `/approvals/{id}`: calls that wait for a person, and what the person says.
//!
//! Who may say what is decided where the admin API decides it, by the record of the person instead of
//! a key. The form brings back the digest of everything that was shown and that an approval is for: what
//! is not the same any more is shown again, and nothing is said.

use attorn_audit::{Decision, Entry, Kind};
use attorn_console::{
    ApprovalPage, ApprovalsPage, Arguments, AskedFor, Form as PageForm, Here, moment,
};
use attorn_json::is_hidden;
use attorn_net::Body;
use attorn_registry::{ApprovalId, ApprovalRefusal, ApprovalRequest, Role};
use http::request::Parts;
use http::{Response, StatusCode};

use super::browser::still_counts;
use super::forms::FormName;
use super::shown::{
    Possible, display_name_of, earlier, ends, excluded, may_approve, owner_of, problem, row, said,
    seen, shown_digest, state, subject_of,
};
use super::visitor::{Visitor, role_missing};
use super::{People, page};
use crate::admin::{self, ApprovalDetails, Missing, Operation, Reason, Refusal, SaidWord, Saying};
use crate::shared::Shared;

/// What waits for this person.
pub(crate) async fn list(shared: &Shared, people: &People, head: &Parts) -> Response<Body> {
    let now_ms = shared.clock.now_ms();
    let now_s = now_ms / 1000;
    let visitor = match Visitor::at((shared, people), head, "/approvals", now_s).await {
        Ok(visitor) => visitor,
        Err(answer) => return answer,
    };
    let looked = (Kind::AdminRead, Operation::ApprovalList);
    let about = visitor.entry(shared, head, looked, now_ms);
    if !visitor.person.may(Role::may_approve) {
        return role_missing(shared, about, Role::Approver).await;
    }
    // What waits is asked for by itself: however much was answered, it is in the list.
    let waiting = shared.store.approvals(Some("pending")).await;
    let all = shared.store.approvals(None).await;
    let (Ok(waiting), Ok(all)) = (waiting, all) else { return page::unavailable(shared) };
    if shared.note(&about).await.is_err() {
        return page::unavailable(shared);
    }
    let snapshot = shared.published.load();
    let (mut for_you, mut for_others, mut over) = (Vec::new(), Vec::new(), Vec::new());
    let is_answered = |request: &&ApprovalRequest| request.approval.state.as_str() != "pending";
    let requests = waiting.iter().chain(all.iter().filter(is_answered));
    for approval in requests.map(|request| &request.approval) {
        let why_not = may_approve(&snapshot, approval, &visitor.person, now_s).err();
        let row = |why_not| row(&snapshot, approval, why_not, now_s);
        match why_not {
            _ if state(approval, now_s) != "pending" => over.push(row(None)),
            None => for_you.push(row(None)),
            Some(refusal) => for_others.push(row(Some(refusal.to_string()))),
        }
    }
    over.truncate(OVER_MAX);
    let nav = visitor.nav(shared, Here::Approvals);
    page::page(StatusCode::OK, ApprovalsPage { nav, for_you, for_others, over }.html(), None)
}

/// One call, as this person may answer it.
pub(crate) async fn show(
    shared: &Shared,
    people: &People,
    head: &Parts,
    id: &ApprovalId,
) -> Response<Body> {
    let now_ms = shared.clock.now_ms();
    let (visitor, request) = match opened((shared, people), head, id, now_ms).await {
        Ok(opened) => opened,
        Err(answer) => return answer,
    };
    let looked = (Kind::AdminRead, Operation::ApprovalShow);
    let mut about = visitor.entry(shared, head, looked, now_ms);
    about.approval = Some(id.to_string());
    // Whose arguments were looked at is on record before they are shown.
    if shared.note(&about).await.is_err() {
        return page::unavailable(shared);
    }
    let asked_again = (StatusCode::OK, None, "");
    question((shared, people), (&visitor, request), asked_again, now_ms / 1000).await
}

/// Takes what the person says.
pub(crate) async fn answer(
    shared: &Shared,
    people: &People,
    head: &Parts,
    (id, body): (&ApprovalId, &[u8]),
) -> Response<Body> {
    let now_ms = shared.clock.now_ms();
    let (visitor, request) = match opened((shared, people), head, id, now_ms).await {
        Ok(opened) => opened,
        Err(answer) => return answer,
    };
    let refused = (Kind::AdminRefused, Operation::ApprovalApprove);
    let mut about = visitor.entry(shared, head, refused, now_ms);
    about.approval = Some(id.to_string());
    let from = (&visitor.browser, page::origin(shared));
    let Ok(form) = people.form_key.read(FormName::Approval, from, &head.headers, body) else {
        return page::forged(shared, about).await;
    };
    let word = match form.value("answer") {
        Some("approve") => SaidWord::Yes,
        Some("deny") => SaidWord::No,
        Some(_) | None => return page::forged(shared, about).await,
    };
    if word == SaidWord::No {
        about.tool = Some(Operation::ApprovalDeny.row().id.to_owned());
    }
    let reason = form.value("reason").unwrap_or_default();
    let answered = (word, reason, form.value("shown").unwrap_or_default());
    match say(shared, (&visitor, id), answered, about.clone()).await {
        Ok(()) => page::see_other(&shared.config.endpoint(&format!("/approvals/{id}"))),
        Err(refusal) => {
            let problem = problem(&refusal);
            about.decision = Some(Decision::Deny);
            about.reason = Some(refusal.reason().as_str().to_owned());
            if shared.note(&about).await.is_err() {
                return page::unavailable(shared);
            }
            let again = (refusal.status(), Some(problem.as_str()), reason);
            question((shared, people), (&visitor, request), again, now_ms / 1000).await
        }
    }
}

/// The request, for whoever may look at it: who approves, and who is acted for. To everybody else one
/// that is there looks as one that is not.
async fn opened(
    (shared, people): (&Shared, &People),
    head: &Parts,
    id: &ApprovalId,
    now_ms: u64,
) -> Result<(Visitor, ApprovalRequest), Response<Body>> {
    let path = format!("/approvals/{id}");
    let visitor = Visitor::at((shared, people), head, &path, now_ms / 1000).await?;
    let request = shared.store.approval(id).await.map_err(|_| page::unavailable(shared))?;
    let is_theirs =
        |request: &ApprovalRequest| request.approval.call.subject == visitor.person.id.as_str();
    let may_approve = visitor.person.may(Role::may_approve);
    match request {
        Some(request) if may_approve || is_theirs(&request) => Ok((visitor, request)),
        None if may_approve => {
            let refused = (Kind::AdminRefused, Operation::ApprovalShow);
            let mut about = visitor.entry(shared, head, refused, now_ms);
            about.approval = Some(id.to_string());
            let reason = Refusal::Missing(Missing::Approval).reason();
            if shared.note_refusal(about, reason).await.is_err() {
                return Err(page::unavailable(shared));
            }
            let text = ("There is no such request.", "It may have come from another installation.");
            Err(page::error(shared, StatusCode::NOT_FOUND, text))
        }
        Some(_) | None => {
            let refused = (Kind::AdminRefused, Operation::ApprovalShow);
            let mut about = visitor.entry(shared, head, refused, now_ms);
            about.approval = Some(id.to_string());
            Err(role_missing(shared, about, Role::Approver).await)
        }
    }
}

/// Says it, if the person may and saw what it is about. Both as the registry is now.
async fn say(
    shared: &Shared,
    (visitor, id): (&Visitor, &ApprovalId),
    (word, reason, seen): (SaidWord, &str, &str),
    entry: Entry,
) -> Result<(), Refusal> {
    let reason = Reason::of(reason).text()?;
    if reason.chars().count() > REASON_CHARACTERS_MAX {
        return Err(Refusal::Form);
    }
    let _alone = shared.turns.next().await;
    // A form may have waited for its turn: whoever was stopped meanwhile says nothing.
    let counts = still_counts(shared, &visitor.session).await?;
    let (snapshot, now_s) = (shared.published.load(), shared.clock.now_s());
    let person = snapshot.person(&visitor.person.id).filter(|_| counts);
    let person = person.ok_or(Refusal::Approval(ApprovalRefusal::RoleMissing))?;
    let request = shared.store.approval(id).await?.ok_or(Refusal::Missing(Missing::Approval))?;
    let details = ApprovalDetails::of(shared, &snapshot, request.clone(), now_s).await?;
    if shown_digest(&snapshot, &request, &details) != seen {
        return Err(Refusal::PreconditionFailed);
    }
    let who = snapshot.approving_person(person, &request.approval.call);
    // The entry is about the call: its subject is whom the agent acts for.
    let entry = Entry { method: None, tool: None, subject: None, server: None, ..entry };
    admin::say(shared, &request, Saying { who, word, reason, entry, now_s }).await?;
    shared.publish().await.map_err(|error| {
        tracing::error!(%error, "a change is stored and cannot be confirmed");
        Refusal::StoreUnavailable
    })
}

async fn question(
    (shared, people): (&Shared, &People),
    (visitor, before): (&Visitor, ApprovalRequest),
    (status, problem, reason): (StatusCode, Option<&str>, &str),
    now_s: u64,
) -> Response<Body> {
    let snapshot = shared.published.load();
    // As it is now: somebody else may have answered meanwhile.
    let request = match shared.store.approval(&before.approval.id).await {
        Ok(request) => request.unwrap_or(before),
        Err(_) => return page::unavailable(shared),
    };
    let details = ApprovalDetails::of(shared, &snapshot, request.clone(), now_s).await;
    let Ok(details) = details else { return page::unavailable(shared) };
    let shown = shown_digest(&snapshot, &request, &details);
    let possible = Possible::of(&snapshot, &request.approval, &visitor.person, now_s);
    let token = people.form_key.token(FormName::Approval, &visitor.browser);
    let nav = visitor.nav(shared, Here::Approvals);
    let owner = owner_of(&snapshot, &request.approval);
    let subject = subject_of(&snapshot, &request.approval);
    let hints = details.tool_annotations.as_ref().map(ToString::to_string).unwrap_or_default();
    let html = ApprovalPage {
        nav,
        form: PageForm { base: nav.base, token: &token, waiting: "" },
        problem,
        id: request.approval.id.as_str(),
        state: details.approval.state,
        asked: AskedFor {
            tool: seen(&details.approval.tool),
            title: seen(details.tool_title.as_deref().unwrap_or_default()),
            description: seen(details.tool_description.as_deref().unwrap_or_default()),
            hints: seen(&hints),
            class: details.class,
            is_unchanged: details.tool_unchanged,
            definition: &details.tool_digest,
            server: &details.approval.server,
            agent: &details.approval.agent,
            display_name: seen(display_name_of(&snapshot, &request.approval)),
            owner: owner.as_deref(),
            subject: subject.as_deref(),
            actors: details.actors.as_deref().map(seen),
            gateway: &details.asked_by,
            asked: moment(details.approval.asked_s),
            expires: ends(&request.approval, now_s),
            needed: details.approval.needed,
            excluded: excluded(&snapshot, &request.approval),
            decision: &details.decision,
        },
        arguments: Arguments::of(&details.arguments, is_hidden),
        arguments_sha256: &details.arguments_sha256,
        shown: &shown,
        words: details.approval.words.iter().map(|word| said(&snapshot, word)).collect(),
        earlier: details.earlier.iter().map(earlier).collect(),
        answer: possible.as_answer(),
        reason,
    }
    .html();
    page::page(status, html, None)
}

/// The form says the same.
const REASON_CHARACTERS_MAX: usize = 500;
/// So many that were answered are listed.
const OVER_MAX: usize = 20;

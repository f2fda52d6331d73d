//! What a page says of a call that waits, and the digest of it.

use attorn_console::{Answer, ApprovalRow, EarlierCall, Said, Visible, moment, span};
use attorn_json::is_hidden;
use attorn_registry::{
    Approval, ApprovalCall, ApprovalRefusal, ApprovalRequest, OwnerId, Person, PersonId, Snapshot,
};
use serde::Serialize;

use super::visitor::name_of;
use crate::admin::{ApprovalDetails, EarlierDecision, Refusal, SpokenWord};

/// Everything of a call that a person sees and that an approval is for.
#[derive(Serialize)]
struct ShownCall<'a> {
    id: &'a str,
    call: &'a ApprovalCall,
    arguments: &'a str,
    actors: Option<&'a str>,
    agent: &'a str,
    asked_by: &'a str,
    class: Option<&'static str>,
    decision: &'a str,
    excluded: &'a [String],
    expires_s: u64,
    owner: Option<String>,
    server: &'a str,
    subject: Option<String>,
    tool_unchanged: bool,
}

/// The digest of it. Not there: what was said, and the time that is left.
pub(crate) fn shown_digest(
    snapshot: &Snapshot,
    request: &ApprovalRequest,
    details: &ApprovalDetails,
) -> String {
    let approval = &request.approval;
    let shown = ShownCall {
        id: approval.id.as_str(),
        call: &approval.call,
        arguments: &request.arguments,
        actors: request.actors.as_deref(),
        agent: &details.approval.agent,
        asked_by: &request.asked_by,
        class: details.class,
        decision: &request.decision,
        excluded: &approval.excluded,
        expires_s: approval.expires_s,
        owner: owner_of(snapshot, approval),
        server: &details.approval.server,
        subject: subject_of(snapshot, approval),
        tool_unchanged: details.tool_unchanged,
    };
    // Texts and numbers: serializing cannot fail. If it did, no form could bring the digest back.
    let text = serde_json::to_vec(&shown).unwrap_or_default();
    attorn_jose::base64url(&attorn_jose::sha256(&text))
}

/// What a person can say about a call.
#[derive(Debug)]
pub(crate) enum Possible {
    Either,
    No(String),
    Nothing(String),
}

impl Possible {
    /// As the rules of the registry judge it now.
    pub(crate) fn of(
        snapshot: &Snapshot,
        approval: &Approval,
        person: &Person,
        now_s: u64,
    ) -> Self {
        let Err(refusal) = may_approve(snapshot, approval, person, now_s) else {
            return Self::Either;
        };
        let why = refusal.to_string();
        let who = snapshot.approving_person(person, &approval.call);
        match approval.deny(&who, "", now_s) {
            Ok(_) => Self::No(why),
            Err(ApprovalRefusal::RoleMissing) => {
                Self::Nothing("Somebody with the role approver has to answer it".to_owned())
            }
            Err(_) => Self::Nothing(sentence(&why)),
        }
    }

    pub(crate) fn as_answer(&self) -> Answer<'_> {
        match self {
            Self::Either => Answer::Either,
            Self::No(why) => Answer::No(why),
            Self::Nothing(why) => Answer::Nothing(why),
        }
    }
}

/// Whether a yes of this person would count now.
pub(crate) fn may_approve(
    snapshot: &Snapshot,
    approval: &Approval,
    person: &Person,
    now_s: u64,
) -> Result<(), ApprovalRefusal> {
    let who = snapshot.approving_person(person, &approval.call);
    approval.approve(&who, "", now_s).map(drop)
}

/// Where it stands. Past its end it does not wait any more, whether or not somebody noted that.
pub(crate) fn state(approval: &Approval, now_s: u64) -> &'static str {
    approval.expire(now_s).as_ref().unwrap_or(approval).state.as_str()
}

/// A call in a list.
pub(crate) fn row(
    snapshot: &Snapshot,
    approval: &Approval,
    why_not: Option<String>,
    now_s: u64,
) -> ApprovalRow {
    let (call, state) = (&approval.call, state(approval, now_s));
    let ago = span(now_s.saturating_sub(approval.asked_s));
    let left = span(approval.expires_s.saturating_sub(now_s));
    let when = match state {
        "pending" => format!("asked {ago} ago, ends in {left}"),
        _ => format!("asked {}", moment(approval.asked_s)),
    };
    ApprovalRow {
        id: approval.id.to_string(),
        tool: seen(&call.tool),
        server: name_of(snapshot, call.server.as_str()),
        agent: name_of(snapshot, call.agent.as_str()),
        subject: subject_of(snapshot, approval),
        state,
        when,
        why_not,
    }
}

/// Whom the agent acts for, where it does not act for itself.
pub(crate) fn subject_of(snapshot: &Snapshot, approval: &Approval) -> Option<String> {
    let call = &approval.call;
    (call.subject != call.agent.as_str()).then(|| name_of(snapshot, &call.subject))
}

/// Who answers for the agent.
pub(crate) fn owner_of(snapshot: &Snapshot, approval: &Approval) -> Option<String> {
    let owner: &OwnerId = snapshot.agent(&approval.call.agent)?.owner.as_ref()?;
    Some(name_of(snapshot, owner.as_str()))
}

/// What an application of people calls itself.
pub(crate) fn display_name_of<'s>(snapshot: &'s Snapshot, approval: &Approval) -> &'s str {
    let agent = snapshot.agent(&approval.call.agent);
    agent.and_then(|agent| agent.client.as_ref()).map_or("", |client| client.display_name.as_str())
}

/// Whose approval does not count.
pub(crate) fn excluded(snapshot: &Snapshot, approval: &Approval) -> Vec<String> {
    approval.excluded.iter().map(|id| name_of(snapshot, id)).collect()
}

/// When it ends.
pub(crate) fn ends(approval: &Approval, now_s: u64) -> String {
    let end = moment(approval.expires_s);
    match approval.expires_s.saturating_sub(now_s) {
        0 => format!("{end}, which is over"),
        left_s => format!("{end}, in {}", span(left_s)),
    }
}

pub(crate) fn said(snapshot: &Snapshot, word: &SpokenWord) -> Said {
    // A key may be called as a person is.
    let person = PersonId::parse(&word.by).ok();
    let by = match person {
        Some(person) => name_of(snapshot, person.as_str()),
        None => format!("{}, by key", word.by),
    };
    Said { by, at: moment(word.at_s), reason: seen(&word.reason) }
}

pub(crate) fn earlier(decision: &EarlierDecision) -> EarlierCall {
    EarlierCall {
        at: moment(decision.time_ms / 1000),
        decision: decision.decision,
        reason: decision.reason.clone(),
        decision_id: decision.decision_id.clone(),
    }
}

/// Text of somebody else.
pub(crate) fn seen(text: &str) -> Visible {
    Visible::of(text, is_hidden)
}

/// Why nothing was said, for the person who tried.
pub(crate) fn problem(refusal: &Refusal) -> String {
    if matches!(refusal, Refusal::PreconditionFailed) {
        return "What is shown here changed since you looked. Nothing was said: read it again."
            .to_owned();
    }
    if matches!(refusal, Refusal::ReasonMissing) {
        return "Say why: a reason is required.".to_owned();
    }
    if matches!(refusal, Refusal::Form) {
        return "The reason is too long.".to_owned();
    }
    sentence(&refusal.message()) + "."
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + characters.as_str()
}

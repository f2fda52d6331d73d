//! The walk of one POST, and of the one that matters: `tools/call`. Read this file first.
//!
//! The order is a security property. Nothing of the body is read before the caller proved its key;
//! after every wait what is in force is taken again;
//! nothing outside happens between the decision and its recorded intent; what is unknown and what
//! is forbidden answer alike.

use std::sync::Arc;

use attorn_enforce::view::View;
use attorn_journal::Durability;
use attorn_json::Limits;
use attorn_mcp::{ClientMessage, HeaderView, Method, Request, Revision, check_param_headers};
use attorn_net::Body;
use attorn_planted::{Bug, is_planted};
use attorn_policy::{Denial, Operation, Permit, Visibility};
use attorn_registry::{McpServer, ReasonCode};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Response, request};
use http_body::Body as HttpBody;

use crate::approvals::Decided;
use crate::arrival::{Arrived, read_body};
use crate::exchange::{Caller, Exchange};
use crate::front::{Verb, verify_post};
use crate::methods;
use crate::refusal::{DecisionRefusal, HeadRefusal, MessageRefusal, Refusal};
use crate::servers::{Behind, SeenTool};
use crate::upstream::Work;

/// Answers one POST to the MCP endpoint of a server.
pub(crate) async fn handle<B>(
    exchange: &mut Exchange,
    head: &request::Parts,
    body: B,
) -> Result<Response<Body>, Refusal>
where
    B: HttpBody<Data = Bytes>,
{
    // 0. The head: media types, sizes, and a server of that name.
    let (gateway, view) = (Arc::clone(&exchange.gateway), Arc::clone(&exchange.view));
    let bytes_max = gateway.config.body_bytes_max.get();
    verify_post(&head.headers, bytes_max)?;
    let server = view.server(&exchange.server_name).ok_or(HeadRefusal::PathUnknown)?;

    // 1 and 2. A token that counts now, and proof of its key, which is burned.
    let caller = exchange.enter(head, Verb::Post, &view, server).await?;

    // 3. The message, parsed once; its headers say the same.
    let mut holding = gateway.held.begin();
    let body = read_body(body, bytes_max, &mut holding).await?;
    exchange.renew(head, &caller)?;
    let document = attorn_json::parse(&body, &Limits::MESSAGE).map_err(MessageRefusal::Json)?;
    let Arrived { message, headers, session, trace } = exchange.arrive(head, &document, &caller)?;
    let view = Arc::clone(&exchange.view);
    let server = view.server(&exchange.server_name).ok_or(HeadRefusal::PathUnknown)?;
    let call = match message {
        ClientMessage::Request(call) if call.method == Method::ToolsCall => call,
        message @ (ClientMessage::Request(_)
        | ClientMessage::Notification(_)
        | ClientMessage::Response(_)) => {
            let arrived = Arrived { message, headers, session, trace };
            // In a box: the calls of tools need not carry the room for it.
            let handled = methods::handle(exchange, head, arrived, &body, (caller, server));
            return Box::pin(handled).await;
        }
    };

    // 4 and 5. Server, tool, definition, scope, policy: a permit or nothing.
    let behind = exchange.reach(server).await?;
    exchange.verify_era(&call.method, &behind)?;
    let (decided, view) = exchange.decide_looked(head, &caller, &call, &behind).await?;
    let server = view.server(&exchange.server_name).ok_or(HeadRefusal::PathUnknown)?;
    let seen = behind.seen();
    let tool = verify_definition(&call, server, &seen, exchange.revision)?;
    exchange.verify_params(&headers, &call, tool)?;
    let permit = exchange.or_wait(decided, &call, &caller).await?;

    // 6. The approval is used up and the intent is recorded before anything leaves.
    let (permit, durability) = exchange.count(head, (&caller, &call), &behind, permit).await?;
    let used = permit.scope().clone();
    let cleared = exchange.clear(permit, &call).await?;
    exchange.verify_cleared(head, &caller, &call)?;
    let (only_approved, approval) = (cleared.only_approved, cleared.approval.clone());
    let own_trace = exchange.trace_to_send(server);
    let recorded = exchange.record(cleared, durability).await?;

    // 7. From here on the server may ask its API for this call.
    let sent_trace = own_trace.as_ref().unwrap_or(&trace);
    let traces = (&trace, sent_trace);
    let open = exchange.open_call(head, (server, &caller), (used, approval), traces);

    // 8. A new request, made from what was decided.
    let mut relay = exchange.relay(&behind, caller, session.as_ref(), &call);
    relay.only_approved = only_approved;
    let mut outgoing = relay.outgoing(&call, None, sent_trace);
    outgoing.work = open.as_ref().map_or(Work::Other, |held| Work::Call(held.id()));
    relay.open = open;
    outgoing.mirror(&call, &tool.param_headers);
    if is_planted(Bug::AuthorizationForwarded) {
        let sent = head.headers.get(AUTHORIZATION).cloned();
        outgoing.mirrored.extend(sent.map(|value| (AUTHORIZATION, value)));
    }
    let upstream_session = session.as_ref().map(|session| &session.upstream);
    let reply = behind.upstream.call(&recorded, upstream_session, outgoing).await;

    // 9. Only parsed, judged and rewritten messages come back. Never a refusal from here on.
    Ok(exchange.answer(relay, recorded, reply, (&call, &body, trace)))
}

impl Exchange {
    /// Decides about a call of which the server was looked at, on what is in force after that.
    async fn decide_looked(
        &mut self,
        head: &request::Parts,
        caller: &Caller,
        call: &Request<'_>,
        behind: &Arc<Behind>,
    ) -> Result<(Decided, Arc<View>), Refusal> {
        let gateway = Arc::clone(&self.gateway);
        self.renew(head, caller)?;
        // One time for all rounds: a look that came after it is new enough, however long it took.
        let asked_s = self.now_s;
        loop {
            let view = Arc::clone(&self.view);
            let server = view.server(&self.server_name).ok_or(HeadRefusal::PathUnknown)?;
            let decided = self.decide_call(&view, server, caller, call)?;
            // A second look is not needed, so this ends when nothing changes for a moment.
            gateway.look_before_call(behind, decided.class(), asked_s).await?;
            if !self.renew(head, caller)? {
                return Ok((decided, view));
            }
        }
    }

    /// Counts the call and seals its arguments. Gives the permit, or the one of now where something changed
    /// meanwhile; one that rests on something else is counted as well.
    async fn count(
        &mut self,
        head: &request::Parts,
        (caller, call): (&Caller, &Request<'_>),
        behind: &Behind,
        permit: Permit,
    ) -> Result<(Permit, Durability), Refusal> {
        let durability = self.count_call(&permit).await?;
        self.seal_arguments(call.arguments(), durability).await?;
        if !self.renew(head, caller)? {
            return Ok((permit, durability));
        }
        let view = Arc::clone(&self.view);
        let server = view.server(&self.server_name).ok_or(HeadRefusal::PathUnknown)?;
        let decided = self.decide_call(&view, server, caller, call)?;
        verify_definition(call, server, &behind.seen(), self.revision)?;
        let again = self.or_wait(decided, call, caller).await?;
        let rests_on = |permit: &Permit| {
            (permit.class(), permit.counted(), permit.grant().cloned(), permit.approval().is_some())
        };
        let is_same = rests_on(&again) == rests_on(&permit);
        let durability = if is_same { durability } else { self.count_call(&again).await? };
        Ok((again, durability))
    }

    /// Whether all that a call rests on still holds, after its approval was used up.
    fn verify_cleared(
        &mut self,
        head: &request::Parts,
        caller: &Caller,
        call: &Request<'_>,
    ) -> Result<(), Refusal> {
        if !self.renew(head, caller)? {
            return Ok(());
        }
        let view = Arc::clone(&self.view);
        let server = view.server(&self.server_name).ok_or(HeadRefusal::PathUnknown)?;
        let entry = self.entry.clone();
        // What waits for a person passed all else; the word that was used up is not there any more.
        let (Decided::Permit(_) | Decided::Waits(_)) =
            self.decide_call(&view, server, caller, call)?;
        // It was permitted by what was said before.
        self.entry = entry;
        Ok(())
    }

    /// Asks the policy about one tool call and notes what it says.
    fn decide_call(
        &mut self,
        view: &View,
        server: &McpServer,
        caller: &Caller,
        call: &Request<'_>,
    ) -> Result<Decided, Refusal> {
        let name = call.name().unwrap_or_default();
        let arguments = call.arguments();
        self.note_call(server, &name, arguments);
        let question = caller.question(view, server, Operation::Tool(&name), self.now_s);
        let question = question.ok_or(DecisionRefusal::Hidden(ReasonCode::PolicyError))?;
        let arguments = arguments.map(attorn_json::Value::text);
        let decided = attorn_policy::decide(&attorn_policy::Request { arguments, ..question });
        match decided {
            Ok(permit) => {
                self.note_permit(&permit);
                Ok(Decided::Permit(permit))
            }
            Err(Denial { visibility: Visibility::Waits(waiting), rule, .. }) => {
                self.entry.class = Some(waiting.class.as_str().to_owned());
                self.note_denial(rule);
                Ok(Decided::Waits(waiting))
            }
            Err(denial) => Err(self.denied(denial, DecisionRefusal::ToldOfCall).into()),
        }
    }

    /// Turns a denial into what the caller may learn of it.
    pub(crate) fn denied(
        &mut self,
        denial: Denial,
        told: fn(ReasonCode) -> DecisionRefusal,
    ) -> DecisionRefusal {
        self.note_denial(denial.rule);
        match denial.visibility {
            Visibility::Hidden
                if is_planted(Bug::HiddenToolTold) && denial.reason != ReasonCode::ToolUnknown =>
            {
                told(denial.reason)
            }
            Visibility::Hidden => DecisionRefusal::Hidden(denial.reason),
            Visibility::StepUp(scope) => DecisionRefusal::StepUp { reason: denial.reason, scope },
            Visibility::Told if denial.reason == ReasonCode::TokenStopped => {
                DecisionRefusal::TokenStopped
            }
            // Only tools wait for a person; where it is no tool, nobody is asked.
            Visibility::Told | Visibility::Waits(_) => told(denial.reason),
        }
    }

    /// Notes what it was decided with, so that it can be told later.
    fn note_denial(&mut self, rule: Option<String>) {
        self.entry.rule = rule;
        let policies = self.view.policies.as_ref();
        self.entry.policy_version = policies.map(|policies| policies.version().to_string());
        let version = self.view.snapshot.version.to_string();
        self.entry.detail.insert("registry_version".to_owned(), version);
    }

    /// MCP 2026-07-28, Streamable HTTP, Server Behavior for Custom Headers: what the client
    /// mirrored must equal the arguments. What goes on is made from the arguments alone.
    fn verify_params(
        &self,
        headers: &HeaderView<'_>,
        call: &Request<'_>,
        tool: &SeenTool,
    ) -> Result<(), MessageRefusal> {
        if !self.revision.is_modern() {
            return Ok(());
        }
        check_param_headers(headers, call.arguments(), &tool.param_headers)
            .map_err(MessageRefusal::Frame)
    }

    /// A server that speaks only older revisions must look like one, so that clients of both eras
    /// fall back to its handshake (MCP 2026-07-28, Versioning, Backward Compatibility).
    pub(crate) fn verify_era(
        &self,
        method: &Method,
        behind: &Behind,
    ) -> Result<(), MessageRefusal> {
        if !self.revision.is_modern() || behind.seen().era.is_modern() {
            return Ok(());
        }
        if *method == Method::ServerDiscover {
            // The answer on which every known client starts the handshake of the older revisions.
            return Err(MessageRefusal::MethodUnknown);
        }
        Err(self.version_unsupported(self.revision.as_str()))
    }
}

/// A tool is its definition: what the server shows now must be what the owner approved. The
/// snapshot may not have heard yet of what this process saw.
fn verify_definition<'s>(
    call: &Request<'_>,
    server: &McpServer,
    seen: &'s crate::servers::Seen,
    revision: Revision,
) -> Result<&'s SeenTool, DecisionRefusal> {
    let name = call.name().unwrap_or_default();
    let approved = server.tools.get(name.as_ref()).and_then(|tool| tool.approved.as_ref());
    let tool = seen.tool(&name, revision.is_modern());
    let tool = tool.ok_or(DecisionRefusal::Hidden(ReasonCode::ToolUnknown))?;
    let compared = !is_planted(Bug::DefinitionNotCompared);
    if approved.is_some_and(|approved| !compared || approved.digest == tool.digest) {
        Ok(tool)
    } else {
        Err(DecisionRefusal::Hidden(ReasonCode::ToolDefinitionChanged))
    }
}

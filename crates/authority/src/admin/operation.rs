//! The table of administrative operations: what exists, where it is, and which scope it needs.
//!
//! The one list that routes, scopes, the `OpenAPI` document and clients are made from. An operation
//! without a row here has no route; a row without a class does not compile.

use attorn_registry::{Class, Scope};

/// The HTTP methods of the admin API: one to look, one to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// No body, changes nothing.
    Get,
    /// A JSON body; see the class for whether it changes something.
    Post,
}

impl Method {
    /// The method as HTTP spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The name in scopes and in the `OpenAPI` document.
    pub id: &'static str,
    /// GET or POST.
    pub method: Method,
    /// Below [`BASE_PATH`]; `{name}` stands for one percent-encoded segment.
    pub path: &'static str,
    /// What it can do; also the class of its scope.
    pub class: Class,
    /// One line for the documentation.
    pub summary: &'static str,
}

// A macro, so that an operation and its row cannot drift apart.
macro_rules! operations {
    ($($variant:ident = $id:literal, $method:ident $path:literal, $class:ident, $summary:literal;)*) => {
        /// An administrative operation. Exhaustive on purpose: a new one must not compile until
        /// it is routed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Operation {
            $(#[doc = $summary] $variant,)*
        }

        impl Operation {
            /// Every operation, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its row of the table.
            #[must_use]
            pub const fn row(self) -> Row {
                match self {
                    $(Self::$variant => Row {
                        id: $id,
                        method: Method::$method,
                        path: $path,
                        class: Class::$class,
                        summary: $summary,
                    },)*
                }
            }
        }
    };
}

operations! {
    OwnerList = "owner.list", Get "/owners", Read, "List owners";
    OwnerCreate = "owner.create", Post "/owners", Write, "Record an owner";
    OwnerSet = "owner.set", Post "/owners/{owner}/answering", Write, "Say which person or group an owner is, and who answers after them";
    PersonList = "person.list", Get "/persons", Read, "List people";
    PersonShow = "person.show", Get "/persons/{person}", Read, "One person with roles and groups";
    PersonInvite = "person.invite", Post "/persons", Write, "Record a person and make their one-time code";
    PersonCode = "person.code", Post "/persons/{person}/code", Write, "Make a new one-time code for a person";
    PersonSet = "person.set", Post "/persons/{person}/settings", Write, "Give a person other roles or groups";
    PersonLink = "person.link", Post "/persons/{person}/link", Write, "Say who a person is at the identity provider";
    PersonUnlink = "person.unlink", Post "/persons/{person}/unlink", Write, "Take that back; their sessions end";
    PersonPasskeys = "person.passkeys", Get "/persons/{person}/passkeys", Read, "The passkeys of a person";
    PersonPasskeyRemove = "person.remove_passkeys", Post "/persons/{person}/passkeys/remove", Write, "Take passkeys of a person away; their sessions end";
    PersonSuspend = "person.suspend", Post "/persons/{person}/suspend", Write, "Stop a person until they are resumed";
    PersonResume = "person.resume", Post "/persons/{person}/resume", Write, "Let a suspended person act again";
    PersonRetire = "person.retire", Post "/persons/{person}/retire", Irreversible, "Stop a person for good";
    PersonGrantList = "person_grant.list", Get "/person_grants", Read, "What people and groups may do";
    PersonGrantCreate = "person_grant.create", Post "/person_grants", Write, "Let a person or a group use scopes at a server";
    PersonGrantRevoke = "person_grant.revoke", Post "/person_grants/{grant}/revoke", Write, "Take a grant of a person or a group back";
    ConsentList = "consent.list", Get "/consents", Read, "What people gave to agents";
    ConsentRevoke = "consent.revoke", Post "/consents/{consent}/revoke", Write, "Take back what a person gave to an agent";
    ClientRegister = "client.register", Post "/clients", Write, "Register a public client of people";
    AgentList = "agent.list", Get "/agents", Read, "List agents and operators";
    AgentShow = "agent.show", Get "/agents/{agent}", Read, "One agent with its keys";
    AgentRegister = "agent.register", Post "/agents", Write, "Register an agent and make its one-time code";
    AgentOwner = "agent.owner", Post "/agents/{agent}/owner", Write, "Give an agent another owner";
    AgentExpiry = "agent.expiry", Post "/agents/{agent}/expiry", Write, "Give an agent another end, or none";
    AgentKeys = "agent.keys", Get "/agents/{agent}/keys", Read, "The keys of an agent";
    AgentSuspend = "agent.suspend", Post "/agents/{agent}/suspend", Write, "Stop an agent until it is resumed";
    AgentResume = "agent.resume", Post "/agents/{agent}/resume", Write, "Let a suspended agent act again";
    AgentRetire = "agent.retire", Post "/agents/{agent}/retire", Irreversible, "Stop an agent for good";
    AgentAuthentication = "agent.authentication", Post "/agents/{agent}/authentication", Write, "Give an agent another way to authenticate; the old one ends";
    AgentCode = "agent.code", Post "/agents/{agent}/code", Write, "Make a new one-time code";
    ServerList = "server.list", Get "/servers", Read, "List MCP servers";
    ServerShow = "server.show", Get "/servers/{server}", Read, "One MCP server";
    ServerRegister = "server.register", Post "/servers", Write, "Register an MCP server by its address";
    ServerRegisterCommand = "server.register_command", Post "/commands", Write, "Register an MCP server that is a command: run a program as Attorn does";
    ServerImport = "server.import", Post "/imports", Write, "Register a server of a public registry, to wait for its acceptance";
    ImportList = "import.list", Get "/imports", Read, "Servers that came from a public registry, and what speaks against each";
    ServerAccept = "server.accept", Post "/servers/{server}/accept", Write, "Take a server of a public registry with everything that speaks against it";
    ServerSuspend = "server.suspend", Post "/servers/{server}/suspend", Write, "Stop a server until it is resumed";
    ServerResume = "server.resume", Post "/servers/{server}/resume", Write, "Let a suspended server be used again";
    ServerRetire = "server.retire", Post "/servers/{server}/retire", Irreversible, "Stop a server for good";
    ServerKey = "server.key", Post "/servers/{server}/keys", Write, "Give a server a public key of its own; an earlier one ends";
    ServerBearer = "server.accept_bearer", Post "/servers/{server}/bearer", Write, "Say for which classes a server takes tokens without a proof";
    ServerDownstreams = "server.downstreams", Get "/servers/{server}/downstreams", Read, "What a server may get tokens for";
    ServerDownstreamAllow = "server.downstream_allow", Post "/servers/{server}/downstreams", Write, "Let a server exchange a right of its callers for one at an API";
    ServerDownstreamRemove = "server.downstream_remove", Post "/servers/{server}/downstreams/remove", Write, "Take a downstream rule back";
    ResourceList = "resource.list", Get "/resources", Read, "List APIs behind MCP servers";
    ResourceShow = "resource.show", Get "/resources/{resource}", Read, "One API with its operations and rules";
    ResourceMatch = "resource.match", Get "/resources/{resource}/match", Read, "Which operation a request would be, and which scopes it needs";
    ResourceRegister = "resource.register", Post "/resources", Write, "Register an API";
    ResourceSuspend = "resource.suspend", Post "/resources/{resource}/suspend", Write, "Stop an API until it is resumed";
    ResourceResume = "resource.resume", Post "/resources/{resource}/resume", Write, "Let a suspended API be used again";
    ResourceRetire = "resource.retire", Post "/resources/{resource}/retire", Irreversible, "Stop an API for good";
    ResourceKey = "resource.key", Post "/resources/{resource}/key", Write, "Give an API the public key it asks about tokens with; an earlier one ends";
    ResourceOperationAdd = "resource.operation_add", Post "/resources/{resource}/operations", Write, "Add an operation to an API";
    ResourceOperationRemove = "resource.operation_remove", Post "/resources/{resource}/operations/{operation}/remove", Write, "Take an operation from an API";
    ResourceOperationPlan = "resource.operation_plan", Post "/resources/{resource}/plan", Read, "What a list of operations would change at an API";
    ResourceOperationImport = "resource.operation_import", Post "/resources/{resource}/import", Write, "Make the operations of an API as such a list has them: all of it, or nothing";
    ToolList = "tool.list", Get "/servers/{server}/tools", Read, "The tools of a server";
    ToolDiff = "tool.diff", Get "/servers/{server}/diff", Read, "The tools of a server that wait for their owner, and what changed";
    ToolDefinitions = "tool.definitions", Get "/servers/{server}/definitions", Read, "The definitions of a server's tools as last seen";
    ToolApprove = "tool.approve", Post "/servers/{server}/tools/{tool}/approve", Write, "Accept a tool as last seen";
    ToolClassify = "tool.classify", Post "/servers/{server}/tools/{tool}/classify", Write, "Change the class of an approved tool";
    GrantList = "grant.list", Get "/grants", Read, "List grants";
    GrantCreate = "grant.create", Post "/grants", Write, "Give an agent scopes at a server";
    GrantShow = "grant.show", Get "/grants/{grant}", Read, "One grant";
    GrantConfirm = "grant.confirm", Post "/grants/{grant}/confirm", Write, "Let a grant that waits for a second owner count";
    GrantRevoke = "grant.revoke", Post "/grants/{grant}/revoke", Write, "Take a grant back";
    LockList = "lock.list", Get "/locks", Read, "List locks";
    LockCreate = "lock.create", Post "/locks", Write, "Stop something at once";
    LockLift = "lock.lift", Post "/locks/{lock}/lift", Write, "Lift a lock";
    ApprovalList = "approval.list", Get "/approvals", Read, "Calls that wait, or waited, for a person";
    ApprovalShow = "approval.show", Get "/approvals/{approval}", Read, "One of them with its exact arguments";
    ApprovalApprove = "approval.approve", Post "/approvals/{approval}/approve", Write, "Let a call that waits be made once";
    ApprovalDeny = "approval.deny", Post "/approvals/{approval}/deny", Write, "Let a call that waits not be made";
    PolicyShow = "policy.show", Get "/policy", Read, "The policies in force";
    PolicyValidate = "policy.validate", Post "/policy/validate", Read, "Check policies without applying them";
    PolicyApply = "policy.apply", Post "/policy", Write, "Put policies in force";
    PolicyHistory = "policy.history", Get "/policy/history", Read, "Earlier versions of the policies";
    PolicyRollback = "policy.rollback", Post "/policy/rollback", Write, "Put an earlier version in force again";
    PolicyTest = "policy.test", Post "/policy/test", Read, "Run tests against policies";
    AuditSearch = "audit.search", Get "/audit/entries", Read, "Search the journal";
    AuditShow = "audit.show", Get "/audit/entries/{index}", Read, "One entry of the journal";
    AuditProof = "audit.proof", Get "/audit/entries/{index}/proof", Read, "The inclusion proof of one entry";
    AuditExport = "audit.export", Post "/audit/export", Read, "A bundle of entries anyone can verify offline";
    AuditCheckpoint = "audit.checkpoint", Get "/audit/checkpoint", Read, "The newest signed checkpoint";
    AuditPayload = "audit.payload", Post "/audit/payloads", Write, "Give out the sealed arguments or result of a call, for an auditor to read";
    AuditErase = "audit.erase", Post "/audit/erasures", Irreversible, "Forget what was sealed for an agent or a person, for good";
    AuditTrace = "audit.trace", Get "/audit/traces/{trace}", Read, "All entries of one chain: by decision, trace, token, agent, approval or the API's name";
    DecisionExplain = "decision.explain", Get "/decisions/{decision}", Read, "Why a call was decided as it was";
    AccessCanI = "access.can_i", Post "/access/can_i", Read, "Whether a call would pass now";
    KeyList = "key.list", Get "/keys", Read, "The signing keys and their states";
    KeyRotate = "key.rotate", Post "/keys/rotate", Write, "Sign with the pre-published key from now on";
    KeyEmergencyRotate = "key.emergency_rotate", Post "/keys/emergency_rotate", Irreversible, "Replace all keys; every older token ends";
    TokenInspect = "token.inspect", Post "/token/inspect", Read, "What a token says and whether it still stands";
    RegistryPlan = "registry.plan", Post "/registry/plan", Read, "What a file of owners, agents, servers, tools, grants and policies would change";
    RegistryApply = "registry.apply", Post "/registry/apply", Write, "Change what differs from such a file: all of it, or nothing";
    Whoami = "whoami", Get "/whoami", Read, "Who the caller is";
    Status = "status", Get "/status", Read, "What runs, and how it is";
    GatewayList = "gateway.list", Get "/gateways", Read, "List gateways, and which registry each has in force";
    GatewayReset = "gateway.reset", Post "/gateways/{gateway}/reset", Write, "Let a gateway that was refused as a copy go on";
    RegistryFollow = "registry.follow", Post "/registry/changes", Read, "For gateways: the registry's changes as they come";
    ApprovalAsk = "approval.ask", Post "/approvals", Write, "For gateways: where a call stands that needs a person";
    ApprovalUse = "approval.use", Post "/approvals/{approval}/use", Write, "For gateways: use an approval up";
    ServerSeen = "server.seen", Post "/servers/{server}/seen", Write, "For gateways: tell the tools of a server";
}

impl Operation {
    /// The scope a token needs for it, at the built-in server [`SERVER_NAME`].
    #[must_use]
    pub fn scope(self) -> Scope {
        let row = self.row();
        Scope::of_tool(row.class, row.id)
    }

    /// Whether it takes rights away and gives none to anybody. Such an act passes while the journal
    /// takes nothing else, in the places that are kept free there: it is on record before it is done,
    /// like every other one.
    ///
    /// What retires is not among them: a suspension stops as much and can be undone. Nor is what can
    /// give as well as take (settings, policies, an operation of an API, behind which a wider one may
    /// match), nor a no to an approval: a yes counts for nothing while its use cannot be recorded.
    pub(crate) const fn takes_away(self) -> bool {
        matches!(
            self,
            Self::AgentSuspend
                | Self::ConsentRevoke
                | Self::GrantRevoke
                | Self::KeyEmergencyRotate
                | Self::LockCreate
                | Self::PersonGrantRevoke
                | Self::PersonPasskeyRemove
                | Self::PersonSuspend
                | Self::ResourceSuspend
                | Self::ServerDownstreamRemove
                | Self::ServerSuspend
        )
    }

    /// Its path below the admin address, with `segments` in the place of the `{…}`, in order.
    ///
    /// A missing segment stays as the table writes it, which no authority answers.
    #[must_use]
    pub fn path_of(self, segments: &[&str]) -> String {
        let mut given = segments.iter();
        let path = self.row().path.split('/').map(|part| match part.strip_prefix('{') {
            Some(_) => given.next().map_or_else(|| part.to_owned(), |text| encoded(text)),
            None => part.to_owned(),
        });
        format!("{BASE_PATH}{}", path.collect::<Vec<_>>().join("/"))
    }
}

/// RFC 3986 section 2.3: everything but unreserved characters is percent-encoded.
pub(crate) fn encoded(segment: &str) -> String {
    let mut text = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Where the operations live at the admin address.
pub const BASE_PATH: &str = "/admin/v1";
/// The name of the built-in server whose tools the operations are.
pub const SERVER_NAME: &str = "admin";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_and_routes_are_distinct() {
        let ids: BTreeSet<_> = Operation::ALL.iter().map(|one| one.row().id).collect();
        let routes: BTreeSet<_> = Operation::ALL
            .iter()
            .map(|one| (one.row().path, one.row().method == Method::Get))
            .collect();
        assert_eq!(ids.len(), Operation::ALL.len());
        assert_eq!(routes.len(), Operation::ALL.len());
    }

    #[test]
    fn a_get_changes_nothing() {
        for operation in Operation::ALL {
            let row = operation.row();
            assert!(row.method == Method::Post || row.class == Class::Read, "{}", row.id);
        }
    }

    /// The list is short, and whoever makes it longer says why.
    #[test]
    fn what_takes_away_is_a_change_that_gives_nothing() {
        let acts: Vec<_> = Operation::ALL.iter().filter(|one| one.takes_away()).collect();
        assert_eq!(acts.len(), 11);
        for act in acts {
            let row = act.row();
            assert!(row.method == Method::Post && row.class != Class::Read, "{}", row.id);
        }
        for gives in [Operation::LockLift, Operation::AgentResume, Operation::GrantCreate] {
            assert!(!gives.takes_away(), "{}", gives.row().id);
        }
    }

    #[test]
    fn every_scope_reads_back() {
        for operation in Operation::ALL {
            let scope = operation.scope();
            assert_eq!(Scope::parse(&scope.to_string()), Ok(scope));
        }
    }

    #[test]
    fn segments_are_encoded_in_order() {
        let path = Operation::ToolApprove.path_of(&["crm", "a/b c"]);
        assert_eq!(path, "/admin/v1/servers/crm/tools/a%2Fb%20c/approve");
        assert_eq!(Operation::Whoami.path_of(&[]), "/admin/v1/whoami");
    }
}

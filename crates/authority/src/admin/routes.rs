//! Which function is behind which operation.

use super::operation::Operation;
use super::route::{InputPlace, Route};
use super::{
    about, access, agents, apply, approvals, audit, clients, explain, gateways, grants, imports,
    issuer_keys, locks, operation_list, owners, passkeys, payloads, person_grants, persons,
    policies, resources, servers, tools,
};

/// The route of an operation. Exhaustive on purpose.
#[expect(clippy::too_many_lines, reason = "a table, with one line for each operation")]
pub(crate) fn route(operation: Operation) -> Route {
    match operation {
        Operation::OwnerList => Route::read(owners::list),
        Operation::OwnerCreate => Route::change(owners::create),
        Operation::OwnerSet => Route::change(owners::set),
        Operation::PersonList => Route::read(persons::list),
        Operation::PersonShow => Route::read(persons::show),
        Operation::PersonInvite => Route::change(persons::invite),
        Operation::PersonCode => Route::change(persons::code),
        Operation::PersonSet => Route::change(persons::set),
        Operation::PersonLink => Route::change(persons::link),
        Operation::PersonUnlink => Route::change(persons::unlink),
        Operation::PersonPasskeys => Route::read(passkeys::list),
        Operation::PersonPasskeyRemove => Route::change(passkeys::remove),
        Operation::PersonSuspend => Route::change(persons::suspend),
        Operation::PersonResume => Route::change(persons::resume),
        Operation::PersonRetire => Route::change(persons::retire),
        Operation::PersonGrantList => Route::query(InputPlace::Query, person_grants::list),
        Operation::PersonGrantCreate => Route::change(person_grants::create),
        Operation::PersonGrantRevoke => Route::change(person_grants::revoke),
        Operation::ConsentList => Route::query(InputPlace::Query, person_grants::consents),
        Operation::ConsentRevoke => Route::change(person_grants::revoke_consent),
        Operation::ClientRegister => Route::change(clients::register),
        Operation::AgentList => Route::read(agents::list),
        Operation::AgentShow => Route::read(agents::show),
        Operation::AgentRegister => Route::change(agents::register),
        Operation::AgentOwner => Route::change(agents::owner),
        Operation::AgentExpiry => Route::change(agents::expiry),
        Operation::AgentKeys => Route::read(agents::keys),
        Operation::AgentSuspend => Route::change(agents::suspend),
        Operation::AgentResume => Route::change(agents::resume),
        Operation::AgentRetire => Route::change(agents::retire),
        Operation::AgentAuthentication => Route::change(agents::authentication),
        Operation::AgentCode => Route::change(agents::code),
        Operation::ServerList => Route::read(servers::list),
        Operation::ServerShow => Route::read(servers::show),
        Operation::ServerRegister => Route::change(servers::register),
        Operation::ServerRegisterCommand => Route::change(servers::register_command),
        Operation::ServerImport => Route::change(imports::import),
        Operation::ImportList => Route::read(imports::list),
        Operation::ServerAccept => Route::change(imports::accept),
        Operation::ServerSuspend => Route::change(servers::suspend),
        Operation::ServerResume => Route::change(servers::resume),
        Operation::ServerRetire => Route::change(servers::retire),
        Operation::ServerKey => Route::change(servers::key),
        Operation::ServerBearer => Route::change(servers::bearer),
        Operation::ServerDownstreams => Route::read(resources::downstreams),
        Operation::ServerDownstreamAllow => Route::change(resources::allow),
        Operation::ServerDownstreamRemove => Route::change(resources::deny),
        Operation::ResourceList => Route::read(resources::list),
        Operation::ResourceShow => Route::read(resources::show),
        Operation::ResourceMatch => Route::query(InputPlace::Query, resources::matched),
        Operation::ResourceRegister => Route::change(resources::register),
        Operation::ResourceSuspend => Route::change(resources::suspend),
        Operation::ResourceResume => Route::change(resources::resume),
        Operation::ResourceRetire => Route::change(resources::retire),
        Operation::ResourceKey => Route::change(resources::key),
        Operation::ResourceOperationAdd => Route::change(resources::add_operation),
        Operation::ResourceOperationRemove => Route::change(resources::remove_operation),
        Operation::ResourceOperationPlan => Route::query(InputPlace::Body, operation_list::plan),
        Operation::ResourceOperationImport => Route::change(operation_list::import),
        Operation::ToolList => Route::read(tools::list),
        Operation::ToolDiff => Route::read(tools::diff),
        Operation::ToolDefinitions => Route::read(tools::definitions),
        Operation::ToolApprove => Route::change(tools::approve),
        Operation::ToolClassify => Route::change(tools::classify),
        Operation::GrantList => Route::query(InputPlace::Query, grants::list),
        Operation::GrantCreate => Route::change(grants::create),
        Operation::GrantShow => Route::read(grants::show),
        Operation::GrantConfirm => Route::change(grants::confirm),
        Operation::GrantRevoke => Route::change(grants::revoke),
        Operation::LockList => Route::read(locks::list),
        Operation::LockCreate => Route::change(locks::create),
        Operation::LockLift => Route::change(locks::lift),
        Operation::ApprovalList => Route::query(InputPlace::Query, approvals::list),
        Operation::ApprovalShow => Route::read(approvals::show),
        Operation::ApprovalApprove => Route::change(approvals::approve),
        Operation::ApprovalDeny => Route::change(approvals::deny),
        Operation::PolicyShow => Route::read(policies::show),
        Operation::PolicyValidate => Route::query(InputPlace::Body, policies::validate),
        Operation::PolicyApply => Route::change(policies::apply),
        Operation::PolicyHistory => Route::read(policies::history),
        Operation::PolicyRollback => Route::change(policies::rollback),
        Operation::PolicyTest => Route::query(InputPlace::Body, policies::test),
        Operation::AuditSearch => Route::query(InputPlace::Query, audit::search),
        Operation::AuditShow => Route::read(audit::show),
        Operation::AuditProof => Route::read(audit::proof),
        Operation::AuditExport => Route::query(InputPlace::Body, audit::export),
        Operation::AuditCheckpoint => Route::read(audit::checkpoint),
        Operation::AuditPayload => Route::change(payloads::open),
        Operation::AuditErase => Route::change(payloads::erase),
        Operation::AuditTrace => Route::query(InputPlace::Query, audit::trace),
        Operation::DecisionExplain => Route::read(explain::explain_decision),
        Operation::AccessCanI => Route::query(InputPlace::Body, access::can_i),
        Operation::KeyList => Route::read(issuer_keys::list),
        Operation::KeyRotate => Route::change(issuer_keys::rotate),
        Operation::KeyEmergencyRotate => Route::change(issuer_keys::emergency_rotate),
        Operation::TokenInspect => Route::query(InputPlace::Body, about::inspect),
        Operation::RegistryPlan => Route::query(InputPlace::Body, apply::plan),
        Operation::RegistryApply => Route::change(apply::apply),
        Operation::Whoami => Route::read(about::whoami),
        Operation::Status => Route::read(about::status),
        Operation::GatewayList => Route::query(InputPlace::Query, gateways::list),
        Operation::GatewayReset => Route::change(gateways::reset),
        Operation::RegistryFollow => Route::query(InputPlace::Body, gateways::follow),
        Operation::ApprovalAsk => Route::change(approvals::ask),
        Operation::ApprovalUse => Route::change(approvals::use_up),
        Operation::ServerSeen => Route::change(gateways::tools_seen),
    }
}

#[cfg(test)]
mod tests {
    use attorn_registry::Class;

    use super::*;
    use crate::Method;

    #[test]
    fn what_is_recorded_as_a_change_has_the_class_of_one() {
        for operation in Operation::ALL {
            let (row, route) = (operation.row(), route(*operation));
            assert_eq!(route.is_change, row.class != Class::Read, "{}", row.id);
            let reads_body = route.place == InputPlace::Body;
            assert_eq!(reads_body, row.method == Method::Post, "{}", row.id);
        }
    }
}

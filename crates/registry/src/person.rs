//! People: who agents act for, what they may do themselves, and what was given to them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{GrantId, LifeCycle, Name, PersonId, Scope, ScopePattern, ServerId};

/// What a person may do in Attorn itself. What they may do at MCP servers is [`PersonGrant`]'s.
///
/// No role includes another one: who needs two is given two, and both stand in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks at what is registered.
    Viewer,
    /// Registers agents and MCP servers, and asks for access.
    Developer,
    /// Stops and resumes.
    Operator,
    /// Approves calls that cannot be undone.
    Approver,
    /// Reads the log.
    Auditor,
    /// Changes people, grants and policies.
    Admin,
}

/// A text that names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is viewer, developer, operator, approver, auditor or admin")]
pub struct RoleError;

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] =
        [Self::Viewer, Self::Developer, Self::Operator, Self::Approver, Self::Auditor, Self::Admin];

    /// The role in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Developer => "developer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }

    /// Whether it may look at what is registered.
    #[must_use]
    pub const fn may_view(self) -> bool {
        match self {
            Self::Viewer | Self::Developer | Self::Operator | Self::Auditor | Self::Admin => true,
            Self::Approver => false,
        }
    }

    /// Whether it may register agents and MCP servers.
    #[must_use]
    pub const fn may_develop(self) -> bool {
        match self {
            Self::Developer => true,
            Self::Viewer | Self::Operator | Self::Approver | Self::Auditor | Self::Admin => false,
        }
    }

    /// Whether it may stop and resume.
    #[must_use]
    pub const fn may_operate(self) -> bool {
        match self {
            Self::Operator => true,
            Self::Viewer | Self::Developer | Self::Approver | Self::Auditor | Self::Admin => false,
        }
    }

    /// Whether it may approve calls. An admin may not: who gives the rights does not use them.
    #[must_use]
    pub const fn may_approve(self) -> bool {
        match self {
            Self::Approver => true,
            Self::Viewer | Self::Developer | Self::Operator | Self::Auditor | Self::Admin => false,
        }
    }

    /// Whether it may read the log.
    #[must_use]
    pub const fn may_audit(self) -> bool {
        match self {
            Self::Auditor => true,
            Self::Viewer | Self::Developer | Self::Operator | Self::Approver | Self::Admin => false,
        }
    }

    /// Whether it may change people, grants and policies.
    #[must_use]
    pub const fn may_administer(self) -> bool {
        match self {
            Self::Admin => true,
            Self::Viewer | Self::Developer | Self::Operator | Self::Approver | Self::Auditor => {
                false
            }
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = RoleError;
    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(RoleError)
    }
}

/// Who somebody is at an identity provider. `sub` alone names nobody: RFC 7519 section 4.1.2, it is
/// unique within its issuer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalSubject {
    /// The provider, compared byte by byte.
    pub issuer: String,
    /// The subject there, compared byte by byte.
    pub subject: String,
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Stable identifier, and the `sub` of tokens that act for them.
    pub id: PersonId,
    /// Unique among persons.
    pub name: Name,
    /// What pages show. Kept out of tokens.
    pub display_name: Option<String>,
    /// Only an active person is acted for, and signs in.
    pub state: LifeCycle,
    /// What they may do in Attorn. The empty set allows nothing.
    pub roles: BTreeSet<Role>,
    /// What they belong to. A group is a name that grants and owners may use.
    pub groups: BTreeSet<Name>,
    /// Who they are at an identity provider, if they come from one.
    pub external: Option<ExternalSubject>,
    /// Which of the roles and groups are the provider's, as of the last log-in there.
    #[serde(default, skip_serializing_if = "Provided::is_empty")]
    pub provided: Provided,
    /// When the record was made, in Unix seconds.
    pub created_s: u64,
    /// The second in which their last stop ended, if they had one: they were resumed.
    /// Tokens from before do not count again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_ended_s: Option<u64>,
}

/// What a person has because their identity provider says so. It comes and goes with what the
/// provider says; what was given by hand is no part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provided {
    /// Roles that nobody gave by hand.
    pub roles: BTreeSet<Role>,
    /// Groups that nobody gave by hand.
    pub groups: BTreeSet<Name>,
}

impl Provided {
    /// Whether the provider gives nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.groups.is_empty()
    }
}

/// Why a record about a person cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PersonRefusal {
    /// The display name is empty, too long, or holds what a reader would not see.
    #[error("a display name has 1 to 128 visible characters")]
    DisplayName,
    /// The end lies in the past, or too far ahead.
    #[error("it ends after now, and a consent within a year")]
    Expiry,
    /// The issuer or the subject is empty or too long.
    #[error("an external subject names issuer and subject, each of at most 512 bytes")]
    External,
    /// More groups than a person may have.
    #[error("a person is in at most {GROUPS_MAX} groups")]
    Groups,
    /// The provider gives what the person does not have.
    #[error("what the provider gives is part of what the person has")]
    Provided,
    /// No scope: it would give nothing, and never means everything.
    #[error("at least one scope is named")]
    ScopesEmpty,
}

/// The most groups of one person.
pub const GROUPS_MAX: usize = 64;
const DISPLAY_NAME_CHARS_MAX: usize = 128;
const EXTERNAL_BYTES_MAX: usize = 512;

impl Person {
    /// Checks a record before it is kept.
    ///
    /// # Errors
    /// See [`PersonRefusal`].
    pub fn verify(&self) -> Result<(), PersonRefusal> {
        if !self.display_name.as_deref().is_none_or(is_display_name) {
            return Err(PersonRefusal::DisplayName);
        }
        if self.groups.len() > GROUPS_MAX {
            return Err(PersonRefusal::Groups);
        }
        let bounded = |text: &str| (1..=EXTERNAL_BYTES_MAX).contains(&text.len());
        let is_named = |it: &ExternalSubject| bounded(&it.issuer) && bounded(&it.subject);
        if !self.external.as_ref().is_none_or(is_named) {
            return Err(PersonRefusal::External);
        }
        let Provided { roles, groups } = &self.provided;
        if !roles.is_subset(&self.roles) || !groups.is_subset(&self.groups) {
            return Err(PersonRefusal::Provided);
        }
        Ok(())
    }

    /// The roles that were given by hand.
    #[must_use]
    pub fn given_roles(&self) -> BTreeSet<Role> {
        self.roles.difference(&self.provided.roles).copied().collect()
    }

    /// The groups that were given by hand.
    #[must_use]
    pub fn given_groups(&self) -> BTreeSet<Name> {
        self.groups.difference(&self.provided.groups).cloned().collect()
    }

    /// The record with other roles and groups by hand. What the provider gives beside them stays.
    #[must_use]
    pub fn with_given(self, roles: BTreeSet<Role>, groups: BTreeSet<Name>) -> Self {
        let wanted = self.provided.clone();
        Self { roles, groups, provided: Provided::default(), ..self }.with_provided(&wanted)
    }

    /// The record with what the provider gives now. What was given by hand stays by hand.
    #[must_use]
    pub fn with_provided(self, provided: &Provided) -> Self {
        let (roles, groups) = (self.given_roles(), self.given_groups());
        let provided = Provided {
            roles: provided.roles.difference(&roles).copied().collect(),
            groups: provided.groups.difference(&groups).cloned().collect(),
        };
        Self {
            roles: &roles | &provided.roles,
            groups: &groups | &provided.groups,
            provided,
            ..self
        }
    }

    /// Whether they are active and one of their roles allows it, such as `Role::may_approve`.
    #[must_use]
    pub fn may(&self, allows: fn(Role) -> bool) -> bool {
        self.state == LifeCycle::Active && self.roles.iter().copied().any(allows)
    }
}

/// Whether a text may be shown as a name: visible, on one line, in one direction.
#[must_use]
pub fn is_display_name(text: &str) -> bool {
    // A direction that changes inside the name would make it read as another one.
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}');
    let hides = |c: char| matches!(c, '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let is_visible = |c: char| !c.is_control() && !turns(c) && !hides(c);
    !text.trim().is_empty()
        && text.chars().count() <= DISPLAY_NAME_CHARS_MAX
        && text.chars().all(is_visible)
}

/// Who a person grant is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PersonOrGroup {
    /// One person.
    Person {
        /// The person.
        person: PersonId,
    },
    /// Everybody who is in a group at that moment.
    Group {
        /// The name of the group.
        group: Name,
    },
}

/// What a person, or everybody of a group, may do at an MCP server. It is theirs: an agent gets of
/// it what they consent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonGrant {
    /// Stable identifier.
    pub id: GrantId,
    /// Who may.
    pub to: PersonOrGroup,
    /// Where.
    pub server: ServerId,
    /// What. The empty list grants nothing.
    pub scopes: Vec<ScopePattern>,
    /// When the record was made, in Unix seconds.
    pub created_s: u64,
    /// First second at which it does not count any more.
    pub expires_s: Option<u64>,
    /// When it was revoked, in Unix seconds.
    pub revoked_s: Option<u64>,
}

impl PersonGrant {
    /// Checks a grant before it is recorded.
    ///
    /// # Errors
    /// See [`PersonRefusal`].
    pub fn verify(&self, now_s: u64) -> Result<(), PersonRefusal> {
        if self.scopes.is_empty() {
            return Err(PersonRefusal::ScopesEmpty);
        }
        if self.expires_s.is_some_and(|end_s| end_s <= now_s) {
            return Err(PersonRefusal::Expiry);
        }
        Ok(())
    }

    /// Whether the grant counts now.
    #[must_use]
    pub fn counts(&self, now_s: u64) -> bool {
        self.revoked_s.is_none() && self.expires_s.is_none_or(|end_s| now_s < end_s)
    }

    /// Whether one of the patterns covers a scope.
    #[must_use]
    pub fn covers(&self, scope: &Scope) -> bool {
        self.scopes.iter().any(|pattern| pattern.matches(scope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{person, person_grant};

    /// One row per role: view, develop, operate, approve, audit, administer.
    const EXPECTED: [(Role, &str); 6] = [
        (Role::Viewer, "x....."),
        (Role::Developer, "xx...."),
        (Role::Operator, "x.x..."),
        (Role::Approver, "...x.."),
        (Role::Auditor, "x...x."),
        (Role::Admin, "x....x"),
    ];

    #[test]
    fn the_whole_table_of_roles() {
        let acts = [
            Role::may_view,
            Role::may_develop,
            Role::may_operate,
            Role::may_approve,
            Role::may_audit,
            Role::may_administer,
        ];
        for (role, row) in EXPECTED {
            for (may, cell) in acts.iter().zip(row.chars()) {
                assert_eq!(may(role), cell == 'x', "{role}");
            }
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert_eq!("root".parse::<Role>(), Err(RoleError));
    }

    #[test]
    fn without_a_role_or_a_state_nothing_is_allowed() {
        let admin = Person { roles: BTreeSet::from([Role::Admin]), ..person() };
        assert!(admin.may(Role::may_administer) && !admin.may(Role::may_approve));
        assert!(!Person { roles: BTreeSet::new(), ..admin.clone() }.may(Role::may_view));
        for state in LifeCycle::ALL {
            let stood = Person { state, ..admin.clone() }.may(Role::may_administer);
            assert_eq!(stood, state == LifeCycle::Active, "{state}");
        }
    }

    #[test]
    fn names_are_what_they_look_like() {
        let named = |text: &str| Person { display_name: Some(text.into()), ..person() }.verify();
        assert_eq!(named("Ann Überall"), Ok(()));
        for text in ["", " ", "a\nb", "a\u{202e}b", "a\u{200b}b", &"a".repeat(129)] {
            assert_eq!(named(text), Err(PersonRefusal::DisplayName), "{text:?}");
        }
    }

    #[test]
    fn an_external_subject_names_its_issuer() {
        let from = |issuer: &str, subject: &str| {
            let external = ExternalSubject { issuer: issuer.into(), subject: subject.into() };
            Person { external: Some(external), ..person() }.verify()
        };
        assert_eq!(from("https://idp.example", "1"), Ok(()));
        assert_eq!(from("", "1"), Err(PersonRefusal::External));
        assert_eq!(from("https://idp.example", ""), Err(PersonRefusal::External));
    }

    #[test]
    fn what_the_provider_gives_comes_and_goes_and_what_a_hand_gave_stays() {
        let group = |text: &str| BTreeSet::from([Name::parse(text).unwrap()]);
        let provided =
            |roles: &[Role], groups| Provided { roles: roles.iter().copied().collect(), groups };
        let by_hand =
            Person { roles: BTreeSet::from([Role::Viewer]), groups: group("sales"), ..person() };
        let both = by_hand
            .clone()
            .with_provided(&provided(&[Role::Viewer, Role::Auditor], group("audit")));
        assert_eq!(both.roles, BTreeSet::from([Role::Viewer, Role::Auditor]));
        assert_eq!(both.provided, provided(&[Role::Auditor], group("audit")));
        assert_eq!(
            (both.given_roles(), both.given_groups()),
            (by_hand.roles.clone(), group("sales"))
        );
        assert_eq!(both.verify(), Ok(()));
        // Gone at the provider.
        assert_eq!(both.clone().with_provided(&Provided::default()), by_hand);
        // Another hand: what was the provider's becomes what was given where a hand gives it too.
        let given = both.with_given(BTreeSet::from([Role::Auditor]), BTreeSet::new());
        assert_eq!(given.roles, BTreeSet::from([Role::Auditor]));
        assert_eq!(given.provided, provided(&[], group("audit")));
        assert_eq!(
            given.with_provided(&Provided::default()).roles,
            BTreeSet::from([Role::Auditor])
        );
        let odd = Person { provided: provided(&[Role::Admin], BTreeSet::new()), ..by_hand };
        assert_eq!(odd.verify(), Err(PersonRefusal::Provided));
    }

    #[test]
    fn a_grant_ends_and_is_never_everything() {
        let grant = PersonGrant { expires_s: Some(100), ..person_grant("read:*") };
        assert!(grant.counts(99) && !grant.counts(100));
        assert_eq!(grant.verify(99), Ok(()));
        assert_eq!(grant.verify(100), Err(PersonRefusal::Expiry));
        assert!(!PersonGrant { revoked_s: Some(1), ..grant.clone() }.counts(1));
        let empty = PersonGrant { scopes: Vec::new(), ..grant };
        assert_eq!(empty.verify(1), Err(PersonRefusal::ScopesEmpty));
        assert!(!empty.covers(&Scope::RESOURCES));
    }
}

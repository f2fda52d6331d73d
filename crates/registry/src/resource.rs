//! Downstream resources: HTTP APIs behind MCP servers, what they can be asked to do, and which
//! right at a server may become which right at them.
//!
//! Implemented: operations by method and path template, each with one scope; rules per server.
//! Not implemented: scopes by query or body.

use std::fmt;

use serde::{Deserialize, Serialize};

use attorn_jose::Jkt;

use crate::path_template::PathTemplate;
use crate::{
    Class, LifeCycle, Name, OwnerId, ResourceId, Scope, ScopePattern, ScopeSet, ScopeTarget,
    ServerId,
};

/// A registered API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// Stable identifier.
    pub id: ResourceId,
    /// Unique among resources.
    pub name: Name,
    /// The resource identifier (RFC 8707 section 2), and the one audience of its tokens.
    pub url: String,
    /// Who answers for it.
    pub owner: Option<OwnerId>,
    /// Where it stands.
    pub state: LifeCycle,
    /// The key it asks about tokens with, if it has one.
    pub key: Option<ResourceKey>,
    /// What it can be asked to do. What is not listed is refused.
    pub operations: Vec<ResourceOperation>,
    /// What servers may get tokens for. Empty: nobody gets one.
    pub downstreams: Vec<Downstream>,
    /// When the record was made, in Unix seconds.
    pub created_s: u64,
}

/// The public part of a key that an API holds. A new one takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceKey {
    /// RFC 7638 thumbprint.
    pub jkt: Jkt,
    /// The public JWK as canonical JSON.
    pub jwk: String,
}

/// One operation of an API. Its scope is `<class>:<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceOperation {
    /// Its name in scopes.
    pub id: OperationId,
    /// What it can do.
    pub class: Class,
    /// The HTTP method.
    pub method: HttpMethod,
    /// The path below the resource's URL.
    pub path: PathTemplate,
}

/// Which right at an MCP server may be exchanged for which right at a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Downstream {
    /// The server that asks.
    pub server: ServerId,
    /// What the caller's token must hold at the server.
    pub from: ScopePattern,
    /// What the server may get for it at the resource.
    pub to: ScopePattern,
}

impl Downstream {
    /// Whether it would make more of a right than it is: reading would open what cannot be undone.
    #[must_use]
    pub fn widens(&self) -> bool {
        self.to.class() > self.from.class()
    }

    /// Whether what a token holds is what the rule is about. Resources and prompts have to be named:
    /// a rule for a whole class is about tools.
    #[must_use]
    pub fn takes(&self, held: &Scope) -> bool {
        let is_tool = matches!(held.tool, ScopeTarget::Tool(_));
        let is_named = matches!(self.from, ScopePattern::Exact(_));
        self.from.matches(held) && (is_tool || is_named)
    }
}

/// The name of an operation: 1 to 64 of `A-Za-z0-9_.-`, so that its scope needs no encoding.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OperationId(String);

/// The HTTP methods an operation may have: RFC 9110 section 9.1, RFC 5789 for `PATCH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// Removes.
    Delete,
    /// Reads.
    Get,
    /// Reads without a body.
    Head,
    /// Changes in part.
    Patch,
    /// Whatever the API says.
    Post,
    /// Replaces.
    Put,
}

/// Why an operation or a rule cannot be recorded as described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceRefusal {
    /// The method is none that an operation may have.
    #[error("a method is GET, HEAD, POST, PUT, PATCH or DELETE, in capitals")]
    Method,
    /// The name of the operation has another form.
    #[error("an operation is named by 1 to 64 of A-Z, a-z, 0-9, `_`, `.` and `-`")]
    OperationId,
    /// Another operation has this name, or this method and path.
    #[error("another operation has this name, or this method and path")]
    OperationTaken,
    /// The path is no template.
    #[error(
        "a path starts with `/`; its parts are plain text or `{{name}}`, without `.`, `..`, empty \
         parts and escapes"
    )]
    Path,
    /// A rule gives a right of a higher class than it takes.
    #[error("a rule gives no right of a higher class than the one it takes")]
    Widened,
    /// More operations or rules than a record holds.
    #[error("a resource has at most {RECORDS_MAX} operations and as many downstream rules")]
    TooMany,
}

/// What a request to an API needs: every operation that the API could take it for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched<'r> {
    /// The operation that it names.
    pub operation: &'r ResourceOperation,
    /// The scopes of all that an API might read into it.
    pub needed: ScopeSet,
}

impl Resource {
    /// The scopes of all operations.
    #[must_use]
    pub fn scopes(&self) -> ScopeSet {
        self.operations.iter().map(ResourceOperation::scope).collect()
    }

    /// What a server may get here for what a token holds at it.
    #[must_use]
    pub fn scopes_for(&self, server: &ServerId, held: &ScopeSet) -> ScopeSet {
        let rules: Vec<&Downstream> = self
            .downstreams
            .iter()
            .filter(|rule| rule.server == *server && !rule.widens())
            .filter(|rule| held.iter().any(|one| rule.takes(one)))
            .collect();
        let scopes = self.operations.iter().map(ResourceOperation::scope);
        scopes.filter(|scope| rules.iter().any(|rule| rule.to.matches(scope))).collect()
    }

    /// Whether a server may get anything here at all.
    #[must_use]
    pub fn is_downstream_of(&self, server: &ServerId) -> bool {
        self.downstreams.iter().any(|rule| rule.server == *server)
    }

    /// The operation behind a method and the path below the resource's URL; nothing where there is
    /// none. Where an API could read the same request as another operation, because it does not
    /// tell upper from lower case, drops a suffix or prefers another template, the scopes of both are
    /// needed.
    #[must_use]
    pub fn operation_at(&self, method: &str, path: &str) -> Option<Matched<'_>> {
        self.operation_among((method, path), &[])
    }

    /// The same, where an API could take the request for one of other methods as well, because it
    /// reads the method elsewhere than in the request line: the scopes of these are needed too.
    ///
    /// Not looked at: that there is an operation of each of `others` at this place.
    #[must_use]
    pub fn operation_among(
        &self,
        (method, path): (&str, &str),
        others: &[HttpMethod],
    ) -> Option<Matched<'_>> {
        let is_named = |one: &&ResourceOperation| one.method.as_str() == method;
        // The most literal template names the request; the first of equals.
        let named = self.operations.iter().filter(is_named);
        let operation =
            named.filter(|one| one.path.matches(path)).min_by_key(|one| one.path.variables())?;
        let is_of_method = |one: &&ResourceOperation| is_named(one) || others.contains(&one.method);
        let might = self.operations.iter().filter(is_of_method);
        let might = might.filter(|one| one.path.might_match(path));
        Some(Matched { operation, needed: might.map(ResourceOperation::scope).collect() })
    }

    /// Refuses an operation that cannot be told from one that is there.
    ///
    /// # Errors
    /// [`ResourceRefusal::OperationTaken`] or [`ResourceRefusal::TooMany`].
    pub fn verify_operation(&self, new: &ResourceOperation) -> Result<(), ResourceRefusal> {
        let is_same = |old: &ResourceOperation| {
            old.id == new.id || (old.method == new.method && old.path.is_same_place(&new.path))
        };
        if self.operations.iter().any(is_same) {
            return Err(ResourceRefusal::OperationTaken);
        }
        if self.operations.len() >= RECORDS_MAX {
            return Err(ResourceRefusal::TooMany);
        }
        Ok(())
    }

    /// Refuses more rules than a record holds.
    ///
    /// # Errors
    /// [`ResourceRefusal::TooMany`].
    pub fn verify_downstream(&self) -> Result<(), ResourceRefusal> {
        if self.downstreams.len() < RECORDS_MAX { Ok(()) } else { Err(ResourceRefusal::TooMany) }
    }
}

impl ResourceOperation {
    /// Its scope, read relative to its resource.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope::of_tool(self.class, self.id.as_str())
    }

    /// What no two operations of an API have in common.
    #[must_use]
    pub(crate) fn place(&self) -> (HttpMethod, String) {
        (self.method, self.path.place())
    }
}

/// Scope, method and path. None of them holds a space.
impl fmt::Display for ResourceOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.scope(), self.method, self.path)
    }
}

impl OperationId {
    /// Reads a name.
    ///
    /// # Errors
    /// [`ResourceRefusal::OperationId`].
    pub fn parse(text: &str) -> Result<Self, ResourceRefusal> {
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let fits = (1..=OPERATION_ID_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ResourceRefusal::OperationId)
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for OperationId {
    type Error = ResourceRefusal;
    fn try_from(text: String) -> Result<Self, ResourceRefusal> {
        Self::parse(&text)
    }
}

impl From<OperationId> for String {
    fn from(id: OperationId) -> Self {
        id.0
    }
}

impl HttpMethod {
    /// Every method.
    pub const ALL: [Self; 6] =
        [Self::Delete, Self::Get, Self::Head, Self::Patch, Self::Post, Self::Put];

    /// The method as HTTP spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }

    /// Reads a method; RFC 9110 section 9.1: methods are case-sensitive.
    ///
    /// # Errors
    /// [`ResourceRefusal::Method`].
    pub fn parse(text: &str) -> Result<Self, ResourceRefusal> {
        Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or(ResourceRefusal::Method)
    }
}

impl fmt::Display for HttpMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const OPERATION_ID_BYTES_MAX: usize = 64;
/// A record is read whole with every change of it.
pub(crate) const RECORDS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{name, owner};

    fn operation(id: &str, class: Class, method: HttpMethod, path: &str) -> ResourceOperation {
        let (id, path) = (OperationId::parse(id).unwrap(), PathTemplate::parse(path).unwrap());
        ResourceOperation { id, class, method, path }
    }

    fn server(byte: u8) -> ServerId {
        ServerId::from_random(&[byte; 16])
    }

    fn billing() -> Resource {
        let rule = |from: &str, to: &str| Downstream {
            server: server(4),
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        };
        Resource {
            id: ResourceId::from_random(&[9; 16]),
            name: name("billing"),
            url: "https://api.example/billing".into(),
            owner: Some(owner().id),
            state: LifeCycle::Active,
            key: None,
            operations: vec![
                operation("invoice.get", Class::Read, HttpMethod::Get, "/invoices/{id}"),
                operation("invoice.search", Class::Read, HttpMethod::Get, "/invoices/search"),
                operation("invoice.pay", Class::Write, HttpMethod::Post, "/invoices/{id}/pay"),
            ],
            downstreams: vec![
                rule("read:get_invoice", "read:invoice.get"),
                rule("write:pay", "write:*"),
            ],
            created_s: 0,
        }
    }

    fn scopes(server: &ServerId, held: &str) -> String {
        billing().scopes_for(server, &ScopeSet::parse(held).unwrap()).to_string()
    }

    #[test]
    fn a_right_at_a_server_becomes_what_its_rules_say() {
        assert_eq!(scopes(&server(4), "read:get_invoice"), "read:invoice.get");
        assert_eq!(
            scopes(&server(4), "read:get_invoice write:pay"),
            "read:invoice.get write:invoice.pay"
        );
        assert_eq!(scopes(&server(4), "read:other"), "");
        assert_eq!(scopes(&server(4), ""), "");
        assert_eq!(scopes(&server(5), "read:get_invoice"), "");
    }

    #[test]
    fn without_rules_nothing_is_given() {
        let bare = Resource { downstreams: Vec::new(), ..billing() };
        let held = ScopeSet::parse("read:get_invoice").unwrap();
        assert!(bare.scopes_for(&server(4), &held).is_empty());
        assert!(!bare.is_downstream_of(&server(4)));
        assert!(billing().is_downstream_of(&server(4)));
    }

    #[test]
    fn a_request_names_one_operation_and_needs_all_it_could_be() {
        let resource = billing();
        let at = |method, path| {
            let matched = resource.operation_at(method, path)?;
            Some((matched.operation.id.as_str().to_owned(), matched.needed.to_string()))
        };
        let get = || "invoice.get".to_owned();
        assert_eq!(at("GET", "/invoices/7"), Some((get(), "read:invoice.get".into())));
        let both = "read:invoice.get read:invoice.search";
        assert_eq!(at("GET", "/invoices/search"), Some(("invoice.search".into(), both.into())));
        assert_eq!(at("GET", "/invoices/SEARCH"), Some((get(), both.into())));
        for (method, path) in [
            ("get", "/invoices/7"),
            ("POST", "/invoices/7"),
            ("DELETE", "/invoices/7"),
            ("GET", "/invoices"),
            ("GET", "/Invoices/7"),
            ("GET", "/invoices/7/pay"),
        ] {
            assert_eq!(at(method, path), None, "{method} {path}");
        }
    }

    /// Routers take `/invoices/purge.json` for `/invoices/purge` in another format.
    #[test]
    fn a_suffix_is_no_way_around_the_scope_of_an_operation() {
        let mut resource = billing();
        resource.operations = vec![
            operation("invoice.note", Class::Write, HttpMethod::Post, "/invoices/{id}"),
            operation("invoice.purge", Class::Irreversible, HttpMethod::Post, "/invoices/purge"),
        ];
        let at = |path| {
            let matched = resource.operation_at("POST", path).unwrap();
            (matched.operation.id.as_str().to_owned(), matched.needed.to_string())
        };
        let both = "write:invoice.note irreversible:invoice.purge";
        assert_eq!(at("/invoices/purge"), ("invoice.purge".into(), both.into()));
        assert_eq!(at("/invoices/purge.json"), ("invoice.note".into(), both.into()));
        assert_eq!(at("/invoices/Purge.XML"), ("invoice.note".into(), both.into()));
        let one = "write:invoice.note";
        assert_eq!(at("/invoices/7.json"), ("invoice.note".into(), one.into()));
        assert_eq!(at("/invoices/purged"), ("invoice.note".into(), one.into()));
    }

    /// What may be another method needs the scope of that too, at the same place and at no other.
    #[test]
    fn a_method_that_is_read_elsewhere_needs_its_scope_too() {
        let mut resource = billing();
        resource.operations.extend([
            operation("invoice.note", Class::Write, HttpMethod::Post, "/invoices/{id}"),
            operation("invoice.drop", Class::Irreversible, HttpMethod::Delete, "/invoices/{id}"),
            operation("line.drop", Class::Irreversible, HttpMethod::Delete, "/invoices/{id}/l"),
        ]);
        let among = |path, others: &[HttpMethod]| {
            let matched = resource.operation_among(("POST", path), others)?;
            Some((matched.operation.id.as_str().to_owned(), matched.needed.to_string()))
        };
        let note = |needed: &str| Some(("invoice.note".to_owned(), needed.to_owned()));
        assert_eq!(among("/invoices/7", &[]), note("write:invoice.note"));
        let both = "write:invoice.note irreversible:invoice.drop";
        assert_eq!(among("/invoices/7", &[HttpMethod::Delete, HttpMethod::Put]), note(both));
        assert_eq!(among("/invoices/7", &[HttpMethod::Put]), note("write:invoice.note"));
        // It is named by the request line alone.
        assert_eq!(among("/invoices/7/l", &[HttpMethod::Delete]), None);
    }

    #[test]
    fn operations_are_told_apart() {
        let twin = |id, path| operation(id, Class::Write, HttpMethod::Get, path);
        let check = |new: &ResourceOperation, expected| {
            assert_eq!(billing().verify_operation(new), expected, "{new:?}");
        };
        let taken = Err(ResourceRefusal::OperationTaken);
        check(&twin("invoice.get", "/other"), taken);
        check(&twin("invoice.show", "/invoices/{number}"), taken);
        check(&twin("invoice.show", "/invoices/{number}/lines"), Ok(()));
    }

    #[test]
    fn names_and_methods_have_one_spelling() {
        for bad in ["", "a b", "a/b", "a:b", "*", "@x", "ä", &"a".repeat(65)] {
            assert_eq!(OperationId::parse(bad), Err(ResourceRefusal::OperationId), "{bad}");
        }
        assert_eq!(HttpMethod::parse("GET"), Ok(HttpMethod::Get));
        for bad in ["get", "TRACE", "CONNECT", "OPTIONS", ""] {
            assert_eq!(HttpMethod::parse(bad), Err(ResourceRefusal::Method), "{bad}");
        }
    }

    #[test]
    fn a_resource_reads_back() {
        let text = serde_json::to_string(&billing()).unwrap();
        assert_eq!(serde_json::from_str::<Resource>(&text).unwrap(), billing());
    }
}

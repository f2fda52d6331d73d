//! The operations of an API as its `OpenAPI` document describes them.
//!
//! Implemented: `OpenAPI` 3.0 and 3.1 in JSON, and of it names, methods and paths of operations,
//! `servers`, and the class that `x-attorn-class` asks for. What cannot become an operation is left
//! out by name and with its reason; nothing is repaired. The class that it asks for counts for each
//! operation that could take its requests. *Not* implemented: YAML, references, webhooks and
//! callbacks (they are requests of the API, not to it), parameters, bodies, schemas and security.
//!
//! A document is the word of whoever wrote it. A class out of it is a proposal, and what it does not
//! say of an API nobody learns here.

mod base;
mod reach;
mod walk;

use std::fmt;

use attorn_json::{JsonError, Limits, Value};

pub use self::base::{BasePath, BaseRefusal};
use crate::{OperationId, PathTemplate, ResourceOperation};

/// A document that describes an HTTP API.
#[derive(Clone, Debug)]
pub struct OpenApiDocument<'a> {
    // Invariant: an object.
    paths: Value<'a>,
    /// The addresses of `servers`, as they are written.
    servers: Vec<String>,
}

/// What a document describes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribedOperations {
    /// Operations with proposed classes. No two have one name, or one method and path.
    pub operations: Vec<ResourceOperation>,
    /// What the document has and the list does not.
    pub left_out: Vec<LeftOut>,
    /// Operations that could take requests for something left out, and so have the higher class that
    /// it asks for. Of several the one with the highest.
    pub raised: Vec<(OperationId, LeftOut)>,
}

/// Something of a document that becomes no operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The method in capitals, if it is about one.
    pub method: Option<String>,
    /// The path as the document has it.
    pub path: String,
    /// The same below the URL of the API, if it is a template there.
    pub below: Option<PathTemplate>,
    /// Its `operationId`, if it is a text.
    pub id: Option<String>,
    /// Why.
    pub reason: LeftOutReason,
}

/// Why something becomes no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LeftOutReason {
    /// `x-attorn-class` is none.
    Class,
    /// Something that should be an object is none.
    Form,
    /// The name has another form.
    IdForm,
    /// It has no name.
    IdMissing,
    /// Another one of the document has the name.
    IdTwice,
    /// The method is none that an operation may have.
    Method,
    /// It is not below the URL of the API.
    Outside,
    /// It has servers of its own.
    OwnServers,
    /// A variable is only a part of what stands between two slashes.
    PartialVariable,
    /// The path is no template.
    Path,
    /// Another one of the document has the method and the path.
    PlaceTwice,
    /// It is described somewhere else.
    Reference,
    /// The path ends with a slash.
    TrailingSlash,
    /// The name of a variable has another form.
    VariableName,
}

/// Why a text is not taken as a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenApiRefusal {
    /// A member that the specification asks for is missing or of another type.
    #[error("`{0}` is missing, or has another form")]
    Form(&'static str),
    /// It is not strict JSON.
    #[error("not JSON that has one reading: {0}")]
    Json(JsonError),
    /// Swagger, as it was before `OpenAPI`.
    #[error("it is a Swagger 2.0 document; OpenAPI 3.0 and 3.1 are read")]
    Swagger,
    /// More than an API may have.
    #[error("it describes more than {ITEMS_MAX} operations")]
    TooMany,
    /// More addresses than are compared.
    #[error("`servers` has more than {SERVERS_MAX} addresses")]
    TooManyServers,
    /// Another version.
    #[error("OpenAPI 3.0 and 3.1 are read, and it is of another version")]
    Version,
}

impl<'a> OpenApiDocument<'a> {
    /// Reads the outside of a document: what it is, and where its API is.
    ///
    /// # Errors
    /// See [`OpenApiRefusal`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, OpenApiRefusal> {
        let document = attorn_json::parse(bytes, &LIMITS).map_err(OpenApiRefusal::Json)?;
        let root = document.value();
        if root.member("swagger").is_some() {
            return Err(OpenApiRefusal::Swagger);
        }
        // OpenAPI 3.1.1, OpenAPI Object: `openapi` is required, and is no version of the API.
        let version = root.member("openapi").and_then(Value::string);
        if !is_version(&version.ok_or(OpenApiRefusal::Form("openapi"))?) {
            return Err(OpenApiRefusal::Version);
        }
        // OpenAPI 3.1.1 allows a document without it; that one describes no request to its API.
        let paths = root.member("paths").filter(|paths| paths.is_object());
        let paths = paths.ok_or(OpenApiRefusal::Form("paths"))?;
        let servers = match root.member("servers") {
            None => Vec::new(),
            Some(servers) => addresses(servers)?,
        };
        Ok(Self { paths, servers })
    }

    /// What becomes of each path and method. Where `derives_names` says so, an operation without a
    /// name of our form is named by method and path.
    ///
    /// # Errors
    /// [`OpenApiRefusal::TooMany`].
    pub fn operations(
        &self,
        base: &BasePath,
        derives_names: bool,
    ) -> Result<DescribedOperations, OpenApiRefusal> {
        walk::operations(self.paths, base, derives_names)
    }
}

/// `3.0.x` and `3.1.x`.
fn is_version(text: &str) -> bool {
    let patch = text.strip_prefix("3.0.").or_else(|| text.strip_prefix("3.1."));
    patch.is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

/// OpenAPI 3.1.1, Server Object: `url` is required.
fn addresses(servers: Value<'_>) -> Result<Vec<String>, OpenApiRefusal> {
    let refusal = OpenApiRefusal::Form("servers");
    let address = |server: Value<'_>| Some(server.member("url")?.string()?.into_owned());
    let Some(servers) = servers.items() else { return Err(refusal) };
    let addresses: Vec<_> = servers.map(address).collect::<Option<_>>().ok_or(refusal)?;
    if addresses.len() > SERVERS_MAX {
        return Err(OpenApiRefusal::TooManyServers);
    }
    Ok(addresses)
}

impl LeftOutReason {
    /// Every reason.
    pub const ALL: [Self; 14] = [
        Self::Class,
        Self::Form,
        Self::IdForm,
        Self::IdMissing,
        Self::IdTwice,
        Self::Method,
        Self::Outside,
        Self::OwnServers,
        Self::PartialVariable,
        Self::Path,
        Self::PlaceTwice,
        Self::Reference,
        Self::TrailingSlash,
        Self::VariableName,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::Form => "form",
            Self::IdForm => "id_form",
            Self::IdMissing => "id_missing",
            Self::IdTwice => "id_twice",
            Self::Method => "method",
            Self::Outside => "outside",
            Self::OwnServers => "own_servers",
            Self::PartialVariable => "partial_variable",
            Self::Path => "path",
            Self::PlaceTwice => "place_twice",
            Self::Reference => "reference",
            Self::TrailingSlash => "trailing_slash",
            Self::VariableName => "variable_name",
        }
    }

    /// One line for a person.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Class => "`x-attorn-class` is read, write or irreversible",
            Self::Form => "it is not an object",
            Self::IdForm => "its operationId is not 1 to 64 of A-Z, a-z, 0-9, `_`, `.` and `-`",
            Self::IdMissing => "it has no operationId",
            Self::IdTwice => "another operation of the document has its name",
            Self::Method => "a method is GET, HEAD, POST, PUT, PATCH or DELETE",
            Self::Outside => "it is not below the URL of the API",
            Self::OwnServers => "it has `servers` of its own",
            Self::PartialVariable => "a variable takes the whole of what is between two slashes",
            Self::Path => "the path has a query, an escape, an empty part, or marks",
            Self::PlaceTwice => "another operation of the document has its method and path",
            Self::Reference => "it is a `$ref`: write out what it refers to",
            Self::TrailingSlash => "the path ends with a slash, which no operation does",
            Self::VariableName => "a variable is named by A-Z, a-z, 0-9, `_` and `-`",
        }
    }
}

impl fmt::Display for LeftOutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.meaning())
    }
}

/// Descriptions of large APIs have some megabytes.
pub const OPENAPI_BYTES_MAX: usize = 16 << 20;
const LIMITS: Limits = Limits { bytes_max: OPENAPI_BYTES_MAX, depth_max: 64 };
/// So many operations an API has at most, and so many a document may have that are none.
const ITEMS_MAX: usize = crate::resource::RECORDS_MAX;
/// Each is compared with each path.
const SERVERS_MAX: usize = 64;

#[cfg(test)]
mod tests;

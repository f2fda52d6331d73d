//! The `OpenAPI` document, made from the table of operations and the types of their functions.

use std::sync::LazyLock;

use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, PathsBuilder, Ref,
    RefOr, Required, ResponseBuilder, Schema,
};

use super::operation::{BASE_PATH, Method, Operation};
use super::precondition;
use super::route::{InputPlace, Route, Shape};
use super::routes::route;

/// The document as JSON. It is the same for every installation; made when first asked for.
pub(crate) fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(made);
    &DOCUMENT
}

fn made() -> String {
    let mut paths = PathsBuilder::new();
    let mut components = ComponentsBuilder::new().security_scheme(SCHEME, scheme());
    for operation in Operation::ALL {
        let route = route(*operation);
        let row = operation.row();
        let method = match row.method {
            Method::Get => HttpMethod::Get,
            Method::Post => HttpMethod::Post,
        };
        let item = PathItem::new(method, described(*operation, &route));
        paths = paths.path(format!("{BASE_PATH}{}", row.path), item);
        for (name, schema) in
            [route.input, Some(route.output)].into_iter().flatten().flat_map(|shape| shape.schemas)
        {
            components = components.schema(name, schema);
        }
    }
    let info = InfoBuilder::new().title("Attorn admin API").version(env!("CARGO_PKG_VERSION"));
    let document: OpenApi = OpenApiBuilder::new()
        .info(info.build())
        .paths(paths.build())
        .components(Some(components.build()))
        .build();
    document.to_json().unwrap_or_default()
}

fn described(operation: Operation, route: &Route) -> OperationBuilder {
    let row = operation.row();
    let tag = row.id.split('.').next().unwrap_or(row.id);
    let mut described = OperationBuilder::new()
        .operation_id(Some(row.id))
        .summary(Some(row.summary))
        .tag(tag)
        .security(SecurityRequirement::new(SCHEME, [operation.scope().to_string()]))
        .response(
            "200",
            ResponseBuilder::new().description("done").content(JSON, content(&route.output)),
        )
        .response(
            "401",
            ResponseBuilder::new().description("token or proof missing or not accepted"),
        )
        .response(
            "403",
            ResponseBuilder::new().description("the scope is not granted, or a policy forbids it"),
        )
        .response(
            "503",
            ResponseBuilder::new().description("the journal cannot record it, so it is not done"),
        );
    for segment in row.path.split('/').filter_map(|part| part.strip_prefix('{')) {
        let parameter = ParameterBuilder::new()
            .name(segment.trim_end_matches('}'))
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(text()));
        described = described.parameter(parameter);
    }
    if precondition::replaces(operation) {
        let parameter = ParameterBuilder::new()
            .name("If-Match")
            .parameter_in(ParameterIn::Header)
            .required(Required::True)
            .description(Some("the `ETag` of what this replaces, as `policy.show` tells it"))
            .schema(Some(text()));
        let changed = ResponseBuilder::new().description("somebody changed it meanwhile");
        let missing = ResponseBuilder::new().description("`If-Match` is missing");
        described =
            described.parameter(parameter).response("412", changed).response("428", missing);
    }
    let Some(input) = &route.input else { return described };
    match route.place {
        InputPlace::Nowhere => described,
        InputPlace::Body => described
            .request_body(Some(RequestBodyBuilder::new().content(JSON, content(input)).build())),
        InputPlace::Query => {
            for (name, schema) in properties(input) {
                let parameter = ParameterBuilder::new()
                    .name(name)
                    .parameter_in(ParameterIn::Query)
                    .required(Required::False)
                    .schema(Some(schema));
                described = described.parameter(parameter);
            }
            described
        }
    }
}

fn properties(shape: &Shape) -> Vec<(String, RefOr<Schema>)> {
    let own = shape.schemas.iter().find(|(name, _)| *name == shape.name);
    match own {
        Some((_, RefOr::T(Schema::Object(object)))) => {
            object.properties.iter().map(|(name, schema)| (name.clone(), schema.clone())).collect()
        }
        Some(_) | None => Vec::new(),
    }
}

fn content(shape: &Shape) -> Content {
    Content::new(Some(Ref::from_schema_name(shape.name.clone())))
}

fn text() -> Schema {
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    Schema::Object(ObjectBuilder::new().schema_type(Type::String).build())
}

/// RFC 9449: a token bound to the caller's key, and a proof with every request.
fn scheme() -> SecurityScheme {
    let mut http = Http::new(HttpAuthScheme::Bearer);
    http.description = Some(
        "An access token for the admin API under the scheme `DPoP` (RFC 9449), with a `DPoP` proof \
         that carries the newest nonce. Plain bearer tokens are refused."
            .to_owned(),
    );
    SecurityScheme::Http(http)
}

const SCHEME: &str = "dpop";
const JSON: &str = "application/json";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_is_described_with_its_scope() {
        let document: serde_json::Value = serde_json::from_str(document()).unwrap();
        for operation in Operation::ALL {
            let row = operation.row();
            let method = if row.method == Method::Get { "get" } else { "post" };
            let described = &document["paths"][format!("{BASE_PATH}{}", row.path)][method];
            assert_eq!(described["operationId"], row.id);
            let scope = &described["security"][0][SCHEME][0];
            assert_eq!(*scope, operation.scope().to_string(), "{}", row.id);
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let text = document();
        let document: serde_json::Value = serde_json::from_str(text).unwrap();
        let prefix = "#/components/schemas/";
        let referred: BTreeSet<_> =
            text.split(prefix).skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(referred.len() > 40);
        for name in referred {
            assert!(!document["components"]["schemas"][name].is_null(), "{name}");
        }
    }
}

//! The keywords of JSON Schema 2020-12 that are enforced, by what their values are.

/// What stands under a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    /// The dialect; only one is spoken.
    Dialect,
    /// A list of schemas.
    List,
    /// Schemas by name.
    Map,
    /// No schema.
    Plain,
    /// The place of a schema.
    Reference,
    /// One schema.
    Schema,
}

/// Looks a keyword up; unknown ones are refused.
pub(crate) fn keyword(name: &str) -> Option<Keyword> {
    Some(match name {
        "$schema" => Keyword::Dialect,
        "$ref" => Keyword::Reference,
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => Keyword::List,
        "$defs" | "properties" | "patternProperties" | "dependentSchemas" => Keyword::Map,
        "additionalProperties"
        | "propertyNames"
        | "items"
        | "contains"
        | "not"
        | "if"
        | "then"
        | "else"
        | "unevaluatedItems"
        | "unevaluatedProperties" => Keyword::Schema,
        // Annotations that explain.
        "$comment" | "title" | "description" | "default" | "examples" => Keyword::Plain,
        // Assertions.
        "type" | "enum" | "const" | "multipleOf" | "maximum" | "exclusiveMaximum" | "minimum"
        | "exclusiveMinimum" | "maxLength" | "minLength" | "pattern" | "maxItems" | "minItems"
        | "uniqueItems" | "maxContains" | "minContains" | "maxProperties" | "minProperties"
        | "required" | "dependentRequired" => Keyword::Plain,
        _ => return None,
    })
}

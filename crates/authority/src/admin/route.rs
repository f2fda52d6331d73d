//! One operation as the router and the `OpenAPI` document see it: made from one function, so that
//! the document cannot say something else than the code.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use attorn_audit::Entry;
use attorn_json::Limits;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::context::{Context, Effect};
use super::refusal::Refusal;

/// What an operation gives back before it is an HTTP answer.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) body: Vec<u8>,
    /// `Some` for a change, also when there is nothing to say about it.
    pub(crate) facts: Option<Vec<Entry>>,
    /// The `ETag` of what is shown or was changed.
    pub(crate) entity_tag: Option<String>,
}

/// Where an operation's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputPlace {
    Body,
    Nowhere,
    Query,
}

/// The raw input of a request.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) query: String,
    pub(crate) body: bytes::Bytes,
}

/// The name of a type in the document, and everything its schema refers to.
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) schemas: Vec<(String, RefOr<Schema>)>,
}

/// One operation.
pub(crate) struct Route {
    run: Box<dyn Run>,
    pub(crate) place: InputPlace,
    pub(crate) input: Option<Shape>,
    pub(crate) output: Shape,
    pub(crate) is_change: bool,
}

/// The function behind an operation, its types forgotten.
trait Run: Send + Sync {
    fn run(&self, context: Context, input: Input) -> Running;
}

/// An operation under way.
pub(crate) struct Running(Pin<Box<dyn Future<Output = Result<Done, Refusal>> + Send>>);

impl Route {
    /// An operation that looks, without input.
    pub(crate) fn read<T, F>(operation: fn(Context) -> F) -> Self
    where
        T: Serialize + ToSchema,
        F: Future<Output = Result<T, Refusal>> + Send + 'static,
    {
        let run = move |context, _: Input| {
            let running = operation(context);
            Running(Box::pin(async move { looked(&running.await?) }))
        };
        Self { input: None, ..Self::new::<T>(Box::new(run), InputPlace::Nowhere, false) }
    }

    /// An operation that looks, with input from the query or the body.
    pub(crate) fn query<I, T, F>(place: InputPlace, operation: fn(Context, I) -> F) -> Self
    where
        I: DeserializeOwned + ToSchema + Send + 'static,
        T: Serialize + ToSchema,
        F: Future<Output = Result<T, Refusal>> + Send + 'static,
    {
        let run = move |context, raw: Input| {
            let running = raw.parse(place).map(|input| operation(context, input));
            Running(Box::pin(async move { looked(&running?.await?) }))
        };
        Self { input: Some(shape::<I>()), ..Self::new::<T>(Box::new(run), place, false) }
    }

    /// An operation that changes something.
    pub(crate) fn change<I, T, F>(operation: fn(Context, I) -> F) -> Self
    where
        I: DeserializeOwned + ToSchema + Send + 'static,
        T: Serialize + ToSchema,
        F: Future<Output = Result<Effect<T>, Refusal>> + Send + 'static,
    {
        let run = move |context, raw: Input| {
            let running = raw.parse(InputPlace::Body).map(|input| operation(context, input));
            Running(Box::pin(async move {
                let changed = running?.await?;
                Ok(Done { facts: Some(changed.facts), ..looked(&changed.output)? })
            }))
        };
        let place = InputPlace::Body;
        Self { input: Some(shape::<I>()), ..Self::new::<T>(Box::new(run), place, true) }
    }

    /// Runs the operation.
    pub(crate) async fn run(&self, context: Context, input: Input) -> Result<Done, Refusal> {
        self.run.run(context, input).0.await
    }

    fn new<T: ToSchema>(run: Box<dyn Run>, place: InputPlace, is_change: bool) -> Self {
        Self { run, place, input: None, output: shape::<T>(), is_change }
    }
}

impl<F: Fn(Context, Input) -> Running + Send + Sync> Run for F {
    fn run(&self, context: Context, input: Input) -> Running {
        self(context, input)
    }
}

impl Input {
    /// Strict on purpose: a duplicate or unknown member is refused, never dropped.
    fn parse<I: DeserializeOwned>(&self, place: InputPlace) -> Result<I, Refusal> {
        match place {
            InputPlace::Nowhere | InputPlace::Query => {
                let mut members = Map::new();
                for (name, text) in url::form_urlencoded::parse(self.query.as_bytes()) {
                    let text = Value::String(text.into_owned());
                    if members.insert(name.into_owned(), text).is_some() {
                        return Err(Refusal::Form);
                    }
                }
                serde_json::from_value(Value::Object(members)).map_err(|_| Refusal::Form)
            }
            InputPlace::Body => {
                // A change without members may come without a body.
                let body = if self.body.is_empty() { b"{}" } else { self.body.as_ref() };
                let document =
                    attorn_json::parse(body, &Limits::CONFIG).map_err(|_| Refusal::Form)?;
                if !document.is_object() {
                    return Err(Refusal::Form);
                }
                serde_json::from_str(document.text()).map_err(|_| Refusal::Form)
            }
        }
    }
}

fn looked<T: Serialize>(output: &T) -> Result<Done, Refusal> {
    let body = serde_json::to_vec(output).map_err(|_| Refusal::StoreUnavailable)?;
    Ok(Done { body, facts: None, entity_tag: None })
}

fn shape<T: ToSchema>() -> Shape {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    Shape { name: T::name().into_owned(), schemas }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("output", &self.output.name)
            .field("is_change", &self.is_change)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        a: Option<String>,
    }

    fn parse(place: InputPlace, text: &'static str) -> Option<Sample> {
        Input { query: text.to_owned(), body: text.into() }.parse(place).ok()
    }

    #[test]
    fn input_is_strict() {
        let sample = Sample { a: Some("1".to_owned()) };
        assert_eq!(parse(InputPlace::Query, "a=1"), Some(sample));
        assert_eq!(parse(InputPlace::Query, ""), Some(Sample { a: None }));
        for text in ["a=1&a=1", "b=1"] {
            assert_eq!(parse(InputPlace::Query, text), None, "{text}");
        }
        assert_eq!(parse(InputPlace::Body, ""), Some(Sample { a: None }));
        assert!(parse(InputPlace::Body, r#"{"a":"1"}"#).is_some());
        for text in [r#"{"a":"1","a":"1"}"#, r#"{"b":"1"}"#, r#"["1"]"#, "{"] {
            assert_eq!(parse(InputPlace::Body, text), None, "{text}");
        }
    }
}

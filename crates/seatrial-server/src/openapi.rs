//! The API's description, made from the handlers and the types of the wire.

use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, Ref, RefOr, ResponseBuilder, Server,
        path::{Operation, PathItem},
        schema::{Schema, SchemaType, Type},
    },
};

use crate::{problem, routes};

/// The description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Seatrial",
        description = "Puts Dockerfiles that nobody trusts through judge, build, scan and run.\n\nEvery answer has `X-Correlation-Id`; a request may bring its own (1 to 128 of `A-Za-z0-9._-`). A W3C `traceparent` is continued. Errors are RFC 9457 problems; `/docs/problems` lists their kinds.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        routes::jobs::create,
        routes::jobs::list,
        routes::job::show,
        routes::job::erase,
        routes::job::cancel,
        routes::events::events,
        routes::logs::logs,
        routes::result::result,
        routes::artifacts::list,
        routes::artifacts::one,
        routes::report::report,
        routes::report::sbom,
        routes::analyses::create,
        routes::about::workers,
        routes::about::queue,
        routes::about::limits,
        routes::about::policy,
        routes::about::version,
        routes::health::healthz,
        routes::health::readyz,
        routes::health::metrics,
        routes::docs::openapi,
    ),
    components(schemas(crate::wire::schema::News)),
    tags(
        (name = "jobs", description = "Dockerfiles on their way to a result."),
        (name = "analyses", description = "The judge alone."),
        (name = "about", description = "This installation."),
        (name = "health", description = "For probes and scrapers."),
        (name = "docs", description = "This description."),
    ),
    modifiers(&EverywhereElse),
)]
struct Description;

/// Problems that any endpoint may answer with.
struct EverywhereElse;

impl Modify for EverywhereElse {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        openapi.servers = Some(vec![Server::new("/")]);
        for (path, item) in &mut openapi.paths.paths {
            for operation in operations(item) {
                for parameter in operation.parameters.iter_mut().flatten() {
                    parameter.schema = parameter.schema.take().map(without_null);
                }
                let mut common = vec![
                    ("421", "The API is not known by the name in `Host`."),
                    ("500", "A defect of ours."),
                ];
                if path.starts_with("/v1/") {
                    common.push(("400", "The request cannot be read, or a parameter cannot be used."));
                    common.push(("403", "Nobody says who calls, or a page of another origin sent it."));
                    common.push(("503", "A part of the service gives no answer, or there is no room."));
                }
                for (status, what) in common {
                    let problem = problem_response(what);
                    let responses = &mut operation.responses.responses;
                    responses.entry(status.to_owned()).or_insert(RefOr::T(problem));
                }
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.post,
        &mut item.delete,
        &mut item.put,
        &mut item.patch,
    ]
    .into_iter()
    .flatten()
}

/// A parameter that may be left out is left out, and not null.
fn without_null(schema: RefOr<Schema>) -> RefOr<Schema> {
    let is_null = |item: &RefOr<Schema>| matches!(item, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null));
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            if let SchemaType::Array(types) = &object.schema_type
                && let [one] = types.iter().filter(|one| **one != Type::Null).collect::<Vec<_>>()[..]
            {
                object.schema_type = SchemaType::Type(one.clone());
            }
            RefOr::T(Schema::Object(object))
        }
        RefOr::T(Schema::OneOf(mut choice)) => {
            choice.items.retain(|item| !is_null(item));
            match choice.items.len() {
                1 => choice.items.remove(0),
                _ => RefOr::T(Schema::OneOf(choice)),
            }
        }
        other => other,
    }
}

fn problem_response(what: &str) -> utoipa::openapi::Response {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    ResponseBuilder::new()
        .description(what)
        .content(problem::MEDIA_TYPE, content)
        .build()
}

/// The description as JSON, with a line break at its end.
#[must_use]
pub fn json() -> String {
    let mut description = Description::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut description.info.version);
    let mut text = description.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

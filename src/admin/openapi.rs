//! The description of the API: OpenAPI 3.1, made from the handlers and the types of their documents.

use std::sync::OnceLock;

use bytes::Bytes;
use jq_api::server::Problem;
use serde_json::Value;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, PathItem, Ref, RefOr, Required, ResponseBuilder};
use utoipa::{OpenApi as _, ToSchema as _};

/// The names that a tube can have.
const TUBE_NAME: &str = r"^[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,199}$";

/// What the description begins with. The paths are added by the router.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "jq-server",
        description = "Looks into a queue and changes it. See docs/api.md.",
        license(name = "MIT", identifier = "MIT"),
    ),
    components(schemas(Problem)),
    tags(
        (name = "health", description = "Whether the server is alive, and does all of its work"),
        (name = "server", description = "The server as a whole"),
        (name = "tubes", description = "Tubes"),
        (name = "jobs", description = "Jobs"),
        (name = "connections", description = "Clients of the queue"),
        (name = "bulk", description = "Actions on many jobs"),
    ),
)]
struct Beginning;

/// The description, once it is made.
#[derive(Debug, Default)]
pub(crate) struct Document(OnceLock<Bytes>);

impl Document {
    /// Its text. Empty before the routes are made.
    pub(crate) fn text(&self) -> Bytes {
        self.0.get().cloned().unwrap_or_default()
    }

    pub(crate) fn set(&self, openapi: &OpenApi) {
        let mut document = serde_json::to_value(openapi).unwrap_or_default();
        complete(&mut document);
        // It is the same each time.
        let _ = self.0.set(document.to_string().into());
    }
}

/// Says of each number and each name of a tube which ones there are. The types know, but what they are
/// described by does not.
fn complete(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(complete),
        Value::Object(members) => {
            // As the types are called here, and in the registry of formats.
            let (format, most) = match members.get("format").and_then(Value::as_str) {
                Some("u-int32" | "uint32") => ("uint32", u64::from(u32::MAX)),
                Some("u-int64" | "uint64") => ("uint64", u64::MAX),
                _ => ("", 0),
            };
            if most > 0 {
                members.insert("format".to_owned(), format.into());
                members.entry("maximum").or_insert(most.into());
            }
            let is_tube = members.get("in").is_some_and(|place| place == "path")
                && members.get("name").is_some_and(|name| name == "tube");
            if let Some(schema) = members.get_mut("schema").filter(|_| is_tube) {
                schema["pattern"] = TUBE_NAME.into();
            }
            members.values_mut().for_each(complete);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The description without its paths.
pub(crate) fn beginning() -> OpenApi {
    let mut openapi = Beginning::openapi();
    openapi.info.version = crate::VERSION.to_owned();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A token of --http-token-file. The role that is needed is beside each operation. Without \
             that file everybody may read.",
        ))
        .build();
    let components = openapi.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    openapi
}

/// Adds what holds for all operations: any of them may answer with a problem.
pub(crate) fn finish(openapi: &mut OpenApi) {
    let problem =
        ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build();
    let response = ResponseBuilder::new()
        .description("Why the request did not succeed")
        .content("application/problem+json", problem)
        .build();
    for path in openapi.paths.paths.values_mut() {
        for operation in operations(path) {
            // The body of a job may be empty.
            if let Some(RefOr::T(content)) = &mut operation.request_body
                && content.content.contains_key("application/octet-stream")
            {
                content.required = Some(Required::False);
            }
            let responses = &mut operation.responses.responses;
            responses.insert("default".to_owned(), RefOr::T(response.clone()));
        }
    }
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = path;
    [get, put, post, delete, patch].into_iter().filter_map(Option::as_mut)
}

//! The routes. Each has its description for OpenAPI beside its handler.

mod bulk;
mod change;
mod connections;
pub(crate) mod documents;
mod health;
mod jobs;
mod observed;
mod policy;
mod put;
mod server;
mod tubes;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use jq_api::server::{PageQuery, ProblemKind};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::admin::answer::Failure;
use crate::admin::app::App;
use crate::admin::openapi;

/// How many items a page has.
fn limit(asked: Option<u32>) -> usize {
    asked.unwrap_or(PageQuery::DEFAULT_LIMIT) as usize
}

/// All routes.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let routes = OpenApiRouter::with_openapi(openapi::beginning())
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::version))
        .routes(routes!(server::openapi))
        .routes(routes!(server::server))
        .routes(routes!(server::drain))
        .routes(routes!(server::undrain))
        .routes(routes!(observed::metrics))
        .routes(routes!(observed::history))
        .routes(routes!(observed::events))
        .routes(routes!(tubes::tubes))
        .routes(routes!(tubes::tube))
        .routes(routes!(tubes::pause))
        .routes(routes!(tubes::resume))
        .routes(routes!(tubes::clear))
        .routes(routes!(policy::policy, policy::set_policy, policy::remove_policy))
        .routes(routes!(jobs::jobs, put::put))
        .routes(routes!(jobs::job, jobs::set, jobs::delete))
        .routes(routes!(jobs::body))
        .routes(routes!(jobs::kick))
        .routes(routes!(jobs::bury))
        .routes(routes!(jobs::release))
        .routes(routes!(jobs::move_to))
        .routes(routes!(bulk::list, bulk::start))
        .routes(routes!(bulk::bulk, bulk::stop))
        .routes(routes!(connections::connections))
        .routes(routes!(connections::connection, connections::close));
    let (routes, mut document) = routes.split_for_parts();
    openapi::finish(&mut document);
    app.openapi.set(&document);
    routes
        .fallback(async || Failure::new(ProblemKind::NotFound, "there is nothing at this path"))
        .method_not_allowed_fallback(async |method: Method| {
            Failure::new(ProblemKind::Method, format!("the path does not have the method {method}"))
        })
        // The front has limited it already.
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::clone(app))
}

//! The API's description, for machines and for people. All assets are in the binary.

use std::sync::{Arc, LazyLock};

use axum::{
    body::Body,
    extract::{RawPathParams, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use utoipa_swagger_ui::Config;

use crate::{
    answer::{bytes_of, validated},
    problem::{Code, Problem},
    state::AppState,
};

/// What the page may do: its own scripts and styles, calls to this server, nothing else. It sets styles
/// on elements, so styles may stand in the page; scripts may not.
const PAGE_MAY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

static SETTINGS: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::new(["/openapi.json"]).use_base_layout()));

/// Get this description.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "docs",
    operation_id = "getDescription",
    responses(
        (status = 200, description = "OpenAPI 3.1.", body = Object, content_type = "application/json"),
        (status = 304, description = "The caller holds it."),
    ),
)]
pub(crate) async fn openapi(State(state): State<AppState>, headers: HeaderMap) -> Response {
    let document = state.openapi();
    validated(&headers, &document.etag, || {
        bytes_of(StatusCode::OK, "application/json", document.bytes.clone())
    })
}

/// `/docs`: the page's own links are relative to its folder.
pub(crate) async fn index() -> Response {
    let there = [(header::LOCATION, HeaderValue::from_static("/docs/"))];
    (StatusCode::PERMANENT_REDIRECT, there).into_response()
}

/// The page and its files.
pub(crate) async fn page(params: RawPathParams) -> Result<Response, Problem> {
    let name = params.iter().next().map_or("", |(_, name)| name);
    let file =
        utoipa_swagger_ui::serve(name, SETTINGS.clone()).map_err(|error| Problem::internal(error.to_string()))?;
    let file = file.ok_or_else(|| Problem::new(Code::NotFound, "The documentation has no such file."))?;
    let kind = HeaderValue::from_str(&file.content_type).map_err(Problem::internal)?;
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, PAGE_MAY),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((headers, Body::from(file.bytes.into_owned())).into_response())
}

/// `/docs/problems`: where the `type` of a problem leads.
pub(crate) async fn problems() -> Response {
    let mut rows = String::new();
    for code in Code::ALL {
        let facts = code.facts();
        rows.push_str(&format!(
            "<section id=\"{code}\"><h2>{title}</h2><p><code>{code}</code>, status {status}{again}</p><p>{help}</p></section>\n",
            code = facts.code,
            title = facts.title,
            status = facts.status,
            again = if facts.retryable { ", worth another try" } else { "" },
            help = facts.help,
        ));
    }
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Seatrial: problems</title>\
         <style>body{{font-family:system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;line-height:1.5}}\
         section:target{{background:#fff3c4}}h2{{font-size:1.1rem;margin-bottom:0}}</style>\
         <h1>Problems</h1>\n{rows}</html>\n"
    );
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (header::CONTENT_SECURITY_POLICY, PAGE_MAY),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, page).into_response()
}

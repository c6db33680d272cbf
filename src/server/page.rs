//! What people look at: the web page, the description of the interface, and a page that shows it.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// Nothing from elsewhere, nothing inline; recordings are played from memory.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; media-src blob:; img-src 'self' data:; \
    object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Path, kind and content of every file of the pages.
pub const FILES: [(&str, &str, &str); 6] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/page.css", CSS, include_str!("page/page.css")),
    ("/page.js", JS, include_str!("page/page.js")),
    ("/docs", HTML, include_str!("page/docs.html")),
    ("/docs.js", JS, include_str!("page/docs.js")),
    (
        "/openapi.json",
        "application/json",
        include_str!("openapi.json"),
    ),
];
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// The answer for one of the [`FILES`].
pub fn file(kind: &'static str, content: &'static str) -> Response {
    let content = match kind {
        "application/json" => content.replacen("VERSION", env!("CARGO_PKG_VERSION"), 1),
        _ => content.to_owned(),
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, content).into_response()
}

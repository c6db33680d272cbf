//! From a request to its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Path, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use super::error::ApiError;
use super::fields::MOST_TOKENS;
use super::form::drain;
use super::models::{Served, is_ready};
use super::request_id::{REQUEST_ID, RequestId};
use super::speech::speech;
use super::{App, auth, page, stream};
use crate::options::Task;

type Shared = State<Arc<App>>;

/// The routes for speech, and what each does with it.
pub const SPEECH: [(&str, Task); 2] = [
    ("/v1/audio/transcriptions", Task::Transcribe),
    ("/v1/audio/translations", Task::Translate),
];

/// All routes.
pub fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .route("/load", get(load))
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model));
    for (path, kind, content) in page::FILES {
        router = router.route(path, get(move || async move { page::file(kind, content) }));
    }
    if app.models.speech().next().is_some() {
        for (path, task) in SPEECH {
            let answer = move |State(app): Shared, request| speech(app, request, task);
            router = router.route(path, post(answer));
        }
    }
    router
        .fallback(|| async { detail(StatusCode::NOT_FOUND, "Not Found") })
        .method_not_allowed_fallback(|| async {
            detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
        // The form reader has limits of its own.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(app.clone(), around))
        .layer(cors(&app.config.cors))
        .with_state(app.clone())
}

/// Pages of the origins that were named, or of all.
fn cors(origins: &[String]) -> CorsLayer {
    let layer = CorsLayer::new().allow_methods(Any).allow_headers(Any);
    if origins.iter().any(|origin| origin == "*") {
        return layer.allow_origin(Any);
    }
    let origins = origins.iter().filter_map(|origin| origin.parse().ok());
    layer.allow_origin(AllowOrigin::list(origins))
}

fn detail(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({"detail": text}))).into_response()
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a request's handler panicked");
    ApiError::internal().into_response()
}

/// Around every request: its id, its key, its line in the log, its place in the figures.
async fn around(State(app): Shared, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(&request);
    let path = request.uri().path().to_owned();
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or("none".to_owned(), |matched| matched.as_str().to_owned());
    request.extensions_mut().insert(id.clone());
    let mut told = Told {
        app,
        started: Instant::now(),
        id: id.0.clone(),
        method: request.method().clone(),
        path,
        route,
        status: 0,
    };
    let path = told.path.as_str();
    let guarded = path == "/v1" || path.starts_with("/v1/");
    let is_allowed = !guarded || auth::is_allowed(&told.app.config.keys, request.headers());
    let mut response = match is_allowed {
        true => next.run(request).await,
        false => {
            drain(request.into_body()).await;
            ApiError::unauthorized()
        }
    };
    told.status = response.status().as_u16();
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    match stream::is_one(&response) {
        true => response.map(|body| told.at_the_end_of(body)),
        false => response,
    }
}

/// A request, told to the log and the figures when this is dropped.
struct Told {
    app: Arc<App>,
    started: Instant,
    id: String,
    method: Method,
    path: String,
    route: String,
    status: u16,
}

impl Told {
    /// A stream takes as long as its body.
    fn at_the_end_of(self, body: Body) -> Body {
        let pieces = body.into_data_stream().map(move |piece| {
            let _until_here = &self;
            piece
        });
        Body::from_stream(pieces)
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // The client left before its answer.
        if self.status == 0 {
            return;
        }
        let (status, took) = (self.status, self.started.elapsed());
        let Self {
            id, method, path, ..
        } = self;
        self.app.metrics.answered(&self.route, status, took);
        let ms = took.as_millis() as u64;
        tracing::info!(id, %method, path, status, ms, "request");
    }
}

async fn health(State(app): Shared) -> StatusCode {
    let is_dead = app
        .models
        .speech()
        .any(|(_, model)| model.loaded().is_some_and(|e| !e.is_working()));
    match is_dead || app.cancel.is_cancelled() {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::OK,
    }
}

/// How long a model may take to answer that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Every model that is in memory has worked lately, or answers.
async fn ready(State(app): Shared) -> StatusCode {
    if app.cancel.is_cancelled() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let answers = tokio::task::spawn_blocking(move || {
        let mut loaded = app.models.speech().filter_map(|(_, model)| model.loaded());
        loaded.all(|engine| is_ready(&engine))
    });
    match timeout(READY_WITHIN, answers).await {
        Ok(Ok(true)) => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn metrics(State(app): Shared) -> Response {
    let text = app.metrics.text(app.gate.load(), &app.models);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}

async fn load(State(app): Shared) -> Json<Value> {
    let load = app.gate.load();
    Json(json!({"server_load": load.running + load.waiting}))
}

async fn models(State(app): Shared) -> Json<Value> {
    let data: Vec<Value> = app.models.iter().map(card).collect();
    Json(json!({"object": "list", "data": data}))
}

async fn model(State(app): Shared, Path(name): Path<String>) -> Response {
    match app.models.served(Some(&name)) {
        Some(served) => Json(card(served)).into_response(),
        None => ApiError::no_such_model(&name).into_response(),
    }
}

/// A model as vLLM lists it.
fn card(served: &Served) -> Value {
    let context = served.as_speech().map(|_| MOST_TOKENS);
    json!({
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "vllm",
        "root": served.root,
        "parent": served.parent,
        "max_model_len": context,
        "permission": [{
            "id": format!("modelperm-{}", served.name),
            "object": "model_permission",
            "created": served.created,
            "allow_create_engine": false,
            "allow_sampling": true,
            "allow_logprobs": true,
            "allow_search_indices": false,
            "allow_view": true,
            "allow_fine_tuning": false,
            "organization": "*",
            "group": null,
            "is_blocking": false,
        }],
    })
}

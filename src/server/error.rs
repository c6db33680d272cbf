//! What a request is refused with: status, kind, text and the field at fault, in the API's own words.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::Error;

/// A refusal. Its text never holds a path, an address or a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    pub status: StatusCode,
    pub kind: &'static str,
    pub message: String,
    pub param: Option<&'static str>,
    /// Seconds after which to ask again.
    pub retry_after_s: Option<u64>,
}

pub type ApiResult<T> = Result<T, ApiError>;

/// Where a refusal for want of room is worth another try.
const RETRY_AFTER_S: u64 = 2;

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
            param: None,
            retry_after_s: None,
        }
    }

    /// What was asked for makes no sense, or cannot be had.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequestError", message)
    }

    /// A form that is not of the shape it should have; the field at fault is named.
    pub fn shape(param: &'static str, message: &str) -> Self {
        let message = format!("{message} (parameter={param})");
        Self::new(StatusCode::BAD_REQUEST, "Bad Request", message).at(param)
    }

    /// A value out of its bounds.
    pub fn value(param: &'static str, message: &str) -> Self {
        Self::bad(format!("{message} (parameter={param})")).at(param)
    }

    pub fn unauthorized() -> Response {
        let body = json!({"error": "Unauthorized"});
        (StatusCode::UNAUTHORIZED, Json(body)).into_response()
    }

    pub fn no_such_model(name: &str) -> Self {
        let message = format!("The model `{name}` does not exist.");
        Self::new(StatusCode::NOT_FOUND, "NotFoundError", message).at("model")
    }

    pub fn file_is_text() -> Self {
        let message = "Expected 'file' to be a file-like object, not 'str'.";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "Unprocessable Entity", message).at("file")
    }

    pub fn upload_too_large(most_mb: f64) -> Self {
        let message =
            format!("Maximum file size exceeded (parameter=audio_filesize_mb, value={most_mb})");
        Self::bad(message).at("audio_filesize_mb")
    }

    /// Too many requests are under way or wait.
    pub fn busy() -> Self {
        let message = "The server has as many requests as it takes; try again later.";
        Self {
            retry_after_s: Some(RETRY_AFTER_S),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailableError",
                message,
            )
        }
    }

    pub fn stopping() -> Self {
        Self {
            message: "The server is being stopped.".into(),
            ..Self::busy()
        }
    }

    /// The request's own time is over.
    pub fn deadline(limit_s: f64) -> Self {
        let message = format!("The request took longer than the {limit_s} s that it may take.");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "TimeoutError", message)
    }

    /// A body that comes too slowly.
    pub fn slow_upload(limit_s: f64) -> Self {
        let message = format!("The upload took longer than the {limit_s} s that it may take.");
        Self::new(StatusCode::REQUEST_TIMEOUT, "TimeoutError", message)
    }

    pub fn internal() -> Self {
        let message = "The server failed at this request; its log says more.";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            message,
        )
    }

    pub fn at(self, param: &'static str) -> Self {
        Self {
            param: Some(param),
            ..self
        }
    }

    /// `{"error": {"message", "type", "param", "code"}}`
    pub fn body(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.status.as_u16(),
        }})
    }
}

impl ApiError {
    /// What an error of the engine is to a client.
    pub fn from_error(error: &Error) -> Self {
        match error {
            // What is wrong with it, without the name under which the upload goes.
            Error::Audio { reason, .. } => invalid_audio(reason),
            Error::Codec { codec, reason, .. } => {
                invalid_audio(&format!("cannot decode {codec}: {reason}"))
            }
            Error::Input { source, .. } => invalid_audio(&source.to_string()),
            Error::TooLong { limit_s, .. } => Self::bad(format!(
                "Audio exceeds maximum allowed duration of {limit_s}s \
                 (parameter=audio_duration_s, value={limit_s})"
            ))
            .at("audio_duration_s"),
            Error::Option { option, reason } => Self::bad(format!("{option}: {reason}")).at(option),
            Error::ModelCannot { reason, .. } => {
                Self::bad(format!("The model {reason}")).at("model")
            }
            Error::Cancelled => Self::stopping(),
            _ => Self::internal(),
        }
    }
}

fn invalid_audio(reason: &str) -> ApiError {
    ApiError::bad(format!("Invalid or unsupported audio file. ({reason})")).at("file")
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if let Some(seconds) = self.retry_after_s {
            let value = HeaderValue::from(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audio(reason: &str) -> Error {
        Error::Audio {
            input: "/secret/place".into(),
            reason: reason.into(),
        }
    }

    fn check(error: &ApiError, status: u16, kind: &str, text: &str, param: Option<&str>) {
        let body = error.body();
        assert_eq!(body["error"]["code"], status, "{body}");
        assert_eq!(body["error"]["type"], kind, "{body}");
        assert_eq!(body["error"]["param"], json!(param), "{body}");
        assert!(error.message.contains(text), "{body}");
        assert!(!error.message.contains("secret"), "{body}");
    }

    #[test]
    fn errors_of_the_engine() {
        let of = |error: Error| ApiError::from_error(&error);
        let long = Error::TooLong {
            input: "/secret/place".into(),
            limit_s: 600.0,
        };
        let option = Error::Option {
            option: "seed",
            reason: "is odd".into(),
        };
        let bad = "BadRequestError";
        let invalid = "Invalid or unsupported audio file.";
        check(&of(audio("it is text")), 400, bad, invalid, Some("file"));
        let duration = Some("audio_duration_s");
        check(
            &of(long),
            400,
            bad,
            "maximum allowed duration of 600s",
            duration,
        );
        check(&of(option), 400, bad, "seed: is odd", Some("seed"));
        let stopping = of(Error::Cancelled);
        check(&stopping, 503, "ServiceUnavailableError", "stopped", None);
        let failed = of(Error::Engine("at /secret/place".into()));
        check(&failed, 500, "InternalServerError", "log says more", None);
    }

    #[test]
    fn refusals() {
        let model = ApiError::no_such_model("x");
        check(
            &model,
            404,
            "NotFoundError",
            "The model `x` does not exist.",
            Some("model"),
        );
        let text = ApiError::file_is_text();
        check(
            &text,
            422,
            "Unprocessable Entity",
            "object, not 'str'",
            Some("file"),
        );
        let large = ApiError::upload_too_large(25.0);
        let param = "audio_filesize_mb";
        check(
            &large,
            400,
            "BadRequestError",
            "(parameter=audio_filesize_mb, value=25)",
            Some(param),
        );
        check(
            &ApiError::busy(),
            503,
            "ServiceUnavailableError",
            "try again",
            None,
        );
        let shape = ApiError::shape("n", "Input should be a valid integer");
        check(&shape, 400, "Bad Request", "(parameter=n)", Some("n"));
    }
}

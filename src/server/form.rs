//! A request's form, read in pieces: fields as texts, the recording as bytes, both within limits.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Multipart, Request};

use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::error::{ApiError, ApiResult};

/// A form as it came.
#[derive(Debug, Default)]
pub struct Form {
    fields: Vec<(String, String)>,
    pub file: FilePart,
}

/// What came under the name `file`.
#[derive(Debug, Default)]
pub enum FilePart {
    #[default]
    Missing,
    /// A field without a file name: no upload.
    Text,
    /// Refused at this size while it was read.
    TooLarge,
    Bytes(Vec<u8>),
}

/// Most bytes of all fields but the file, and most fields.
const MOST_TEXT_BYTES: usize = 1 << 20;
const MOST_FIELDS: usize = 1000;

/// How long the rest of a body is read after its request was refused: a client that is still writing
/// when the connection closes never sees the answer.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// Reads what is left of a refused request and forgets it.
pub async fn drain(body: Body) {
    let mut pieces = body.into_data_stream();
    let rest = async { while let Some(Ok(_)) = pieces.next().await {} };
    let _ = timeout(DRAIN_WITHIN, rest).await;
}

impl Form {
    /// A form of fields that were not sent as a form.
    pub fn of(fields: Vec<(String, String)>, file: FilePart) -> Self {
        Self { fields, file }
    }

    /// Reads a request's body; a file of more than `most_bytes` is given up while it is read.
    pub async fn read(request: Request<Body>, most_bytes: usize) -> ApiResult<Self> {
        let mut parts = Multipart::from_request(request, &()).await.map_err(|_| {
            ApiError::shape(
                "file",
                "Field required: the body must be multipart/form-data",
            )
        })?;
        let mut form = Self::default();
        let mut text_bytes = 0;
        while let Some(mut part) = parts.next_field().await.map_err(broken)? {
            let name = part.name().unwrap_or_default().to_owned();
            if form.fields.len() >= MOST_FIELDS {
                return Err(ApiError::bad("The form has too many fields."));
            }
            let is_file = name == "file" && part.file_name().is_some();
            let room = match is_file {
                true => most_bytes,
                false => MOST_TEXT_BYTES - text_bytes,
            };
            let mut bytes = Vec::new();
            while let Some(piece) = part.chunk().await.map_err(broken)? {
                if piece.len() > room - bytes.len() {
                    if !is_file {
                        return Err(ApiError::bad("The form's fields are too long."));
                    }
                    form.file = FilePart::TooLarge;
                    let rest = async { while let Ok(Some(_)) = part.chunk().await {} };
                    let _ = timeout(DRAIN_WITHIN, rest).await;
                    return Ok(form);
                }
                bytes.extend_from_slice(&piece);
            }
            if is_file {
                form.file = FilePart::Bytes(bytes);
                continue;
            }
            text_bytes += bytes.len();
            match name.as_str() {
                "file" => form.file = FilePart::Text,
                _ => form.fields.push((name, text(bytes)?)),
            }
        }
        Ok(form)
    }

    /// The last value of a field, as frameworks take it.
    pub fn field(&self, name: &str) -> Option<&str> {
        let named = self.fields.iter().rev().find(|(n, _)| n == name);
        named.map(|(_, value)| value.as_str())
    }

    /// Every value of a list, sent as `name[]` or `name` repeated.
    pub fn list(&self, name: &str) -> Vec<&str> {
        let is = |n: &str| n.strip_suffix("[]").unwrap_or(n) == name;
        let named = self.fields.iter().filter(|(n, _)| is(n));
        named.map(|(_, value)| value.as_str()).collect()
    }
}

fn text(bytes: Vec<u8>) -> ApiResult<String> {
    String::from_utf8(bytes).map_err(|_| ApiError::bad("A field of the form is not UTF-8 text."))
}

fn broken(_: axum::extract::multipart::MultipartError) -> ApiError {
    ApiError::bad("There was an error parsing the body: it is no whole multipart/form-data.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &str) -> Request<Body> {
        Request::builder()
            .method("POST")
            .header("content-type", "multipart/form-data; boundary=X")
            .body(Body::from(body.replace('\n', "\r\n")))
            .unwrap()
    }

    fn read(body: &str, most: usize) -> ApiResult<Form> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(Form::read(request(body), most))
    }

    const FORM: &str = "--X\nContent-Disposition: form-data; name=\"a\"\n\n1\n\
        --X\nContent-Disposition: form-data; name=\"a\"\n\n2\n\
        --X\nContent-Disposition: form-data; name=\"l[]\"\n\nx\n\
        --X\nContent-Disposition: form-data; name=\"l[]\"\n\ny\n\
        --X\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\n\n12345\n--X--\n";

    #[test]
    fn fields_lists_and_a_file_at_the_limit() {
        let form = read(FORM, 5).unwrap();
        assert_eq!((form.field("a"), form.field("b")), (Some("2"), None));
        assert_eq!(form.list("l"), ["x", "y"]);
        assert!(matches!(&form.file, FilePart::Bytes(bytes) if bytes == b"12345"));
        assert!(matches!(read(FORM, 4).unwrap().file, FilePart::TooLarge));
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let text = FORM.replace("; filename=\"f\"", "");
        assert!(matches!(read(&text, 9).unwrap().file, FilePart::Text));
        for cut in 1..FORM.len() - 4 {
            let form = read(&FORM[..cut], 9);
            assert!(
                form.is_err()
                    || !matches!(form.unwrap().file, FilePart::Bytes(b) if b == b"12345")
                    || cut > FORM.len() - 8
            );
        }
        let plain = Request::builder().body(Body::from("{}")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let refused = runtime.block_on(Form::read(plain, 9)).unwrap_err();
        assert_eq!(refused.status.as_u16(), 400);
        let long = format!(
            "--X\nContent-Disposition: form-data; name=\"a\"\n\n{}\n--X--\n",
            "a".repeat(2 << 20)
        );
        assert_eq!(read(&long, 9).unwrap_err().status.as_u16(), 400);
    }
}

//! Requests by name.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Instant;

use axum::extract::Request;

/// The name that a request goes by in the log and in its answer.
#[derive(Clone)]
pub struct RequestId(pub String);

pub const REQUEST_ID: &str = "x-request-id";
const MOST_ID_BYTES: usize = 128;

impl RequestId {
    /// The client's own, or one that no other request has.
    pub fn of(request: &Request) -> Self {
        let own = request.headers().get(REQUEST_ID);
        let own = own.and_then(|value| value.to_str().ok());
        let fits = |id: &&str| !id.is_empty() && id.len() <= MOST_ID_BYTES;
        Self(own.filter(fits).map_or_else(fresh_id, str::to_owned))
    }
}

/// 32 hexadecimal digits, as vLLM's, from the hasher that the system seeds at random.
pub fn fresh_id() -> String {
    let half = || RandomState::new().hash_one(Instant::now());
    format!("{:016x}{:016x}", half(), half())
}

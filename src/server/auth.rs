//! Keys: `Authorization: Bearer KEY`, compared in a time that tells nothing of the right one.

use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq as _;

/// Whether a request shows one of the keys, or none is asked for.
pub fn is_allowed(keys: &[String], headers: &HeaderMap) -> bool {
    if keys.is_empty() {
        return true;
    }
    let shown = headers
        .get(header::AUTHORIZATION)
        .map(|value| value.as_bytes());
    let Some(shown) = shown.and_then(bearer) else {
        return false;
    };
    // All keys are looked at, whichever fits.
    let equal = |key: &String| bool::from(key.as_bytes().ct_eq(shown));
    keys.iter().fold(false, |found, key| found | equal(key))
}

/// The scheme's name is written in any case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| key.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let keys = ["alpha".to_owned(), "beta".to_owned()];
        let shown = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            headers
        };
        let cases = [
            ("Bearer alpha", true),
            ("bearer  beta", true),
            ("Bearer alph", false),
            ("Bearer alphab", false),
            ("Basic alpha", false),
            ("Bearer", false),
            ("alpha", false),
        ];
        for (value, allowed) in cases {
            assert_eq!(is_allowed(&keys, &shown(value)), allowed, "{value}");
            assert!(is_allowed(&[], &shown(value)));
        }
        assert!(!is_allowed(&keys, &HeaderMap::new()));
    }
}

//! How repetitive a text is.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// UTF-8 bytes over zlib bytes of a text, at zlib's default level as in openai/whisper.
#[must_use]
pub fn compression_ratio(text: &str) -> f64 {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(6));
    let written = encoder
        .write_all(text.as_bytes())
        .and_then(|()| encoder.finish());
    // Writing into memory does not fail; an empty result would only switch the gate off.
    let compressed = written.map_or(1, |bytes| bytes.len().max(1));
    text.len() as f64 / compressed as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_equal_those_of_pythons_zlib() {
        let cases = [
            (String::new(), 0, 8),
            ("a".into(), 1, 9),
            ("And so my fellow Americans, ask not".into(), 35, 43),
            ("Thank you. ".repeat(40), 440, 24),
            ("こんにちは世界".repeat(3), 63, 34),
        ];
        for (text, bytes, compressed) in cases {
            let expected = f64::from(bytes) / f64::from(compressed);
            assert_eq!(compression_ratio(&text), expected, "{text:?}");
        }
    }
}

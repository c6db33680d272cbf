//! The headers of Vorbis, which containers other than Ogg keep in one piece.

/// The first and the third of Vorbis' three headers, which stand one behind the other.
pub(super) fn vorbis_headers(private: &[u8]) -> Option<Vec<u8>> {
    let (count, mut rest) = private.split_first()?;
    let mut sizes = Vec::new();
    for _ in 0..*count {
        let mut size = 0;
        loop {
            let (byte, next) = rest.split_first()?;
            rest = next;
            size += usize::from(*byte);
            if *byte != 255 {
                break;
            }
        }
        sizes.push(size);
    }
    let mut headers = Vec::new();
    for size in sizes {
        let (header, next) = rest.split_at_checked(size)?;
        headers.push(header);
        rest = next;
    }
    headers.push(rest);
    let of_kind = |kind: u8| headers.iter().find(|header| header.first() == Some(&kind));
    Some([*of_kind(1)?, *of_kind(5)?].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_stand_one_behind_the_other() {
        let laced = [2, 2, 1, 1, 9, 3, 5, 8, 8];
        assert_eq!(vorbis_headers(&laced), Some(vec![1, 9, 5, 8, 8]));
        assert_eq!(vorbis_headers(&laced[..3]), None);
    }
}

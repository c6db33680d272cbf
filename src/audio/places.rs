//! Where the channels of a recording stand, as its container says: Core Audio's layouts (`chan` of
//! QuickTime and CAF, `CHAN` of AIFF) and the mask that FLAC's comments may hold.

use symphonia::core::audio::{ChannelLabel, Channels, Position};

/// Core Audio's numbers of places, and what they are; `mChannelLabel`.
const LABELS: [(u32, &str, Position); 24] = {
    use Position as P;
    [
        (1, "L", P::FRONT_LEFT),
        (2, "R", P::FRONT_RIGHT),
        (3, "C", P::FRONT_CENTER),
        (4, "LFE", P::LFE1),
        (5, "Ls", P::SIDE_LEFT),
        (6, "Rs", P::SIDE_RIGHT),
        (7, "Lc", P::FRONT_LEFT_CENTER),
        (8, "Rc", P::FRONT_RIGHT_CENTER),
        (9, "Cs", P::REAR_CENTER),
        (10, "Lsd", P::SIDE_LEFT),
        (11, "Rsd", P::SIDE_RIGHT),
        (12, "Ts", P::TOP_CENTER),
        (13, "Vhl", P::TOP_FRONT_LEFT),
        (14, "Vhc", P::TOP_FRONT_CENTER),
        (15, "Vhr", P::TOP_FRONT_RIGHT),
        (16, "Tbl", P::TOP_REAR_LEFT),
        (17, "Tbc", P::TOP_REAR_CENTER),
        (18, "Tbr", P::TOP_REAR_RIGHT),
        (33, "Rls", P::REAR_LEFT),
        (34, "Rrs", P::REAR_RIGHT),
        (35, "Lw", P::FRONT_LEFT_WIDE),
        (36, "Rw", P::FRONT_RIGHT_WIDE),
        (38, "Lt", P::FRONT_LEFT),
        (39, "Rt", P::FRONT_RIGHT),
    ]
};

/// Core Audio's layouts of three channels and more by the upper half of their tags; the lower half is
/// the count of channels.
const LAYOUTS: [(u32, &str); 54] = [
    (108, "L R Ls Rs"),
    (109, "L R Ls Rs C"),
    (110, "L R Ls Rs C Cs"),
    (111, "L R Ls Rs C Cs Lw Rw"),
    (113, "L R C"),
    (114, "C L R"),
    (115, "L R C Cs"),
    (116, "C L R Cs"),
    (117, "L R C Ls Rs"),
    (118, "L R Ls Rs C"),
    (119, "L C R Ls Rs"),
    (120, "C L R Ls Rs"),
    (121, "L R C LFE Ls Rs"),
    (122, "L R Ls Rs C LFE"),
    (123, "L C R Ls Rs LFE"),
    (124, "C L R Ls Rs LFE"),
    (125, "L R C LFE Ls Rs Cs"),
    (126, "L R C LFE Ls Rs Lc Rc"),
    (127, "C Lc Rc L R Ls Rs LFE"),
    (128, "L R C LFE Ls Rs Rls Rrs"),
    (129, "L R Ls Rs C LFE Lc Rc"),
    (130, "L R C LFE Ls Rs Lt Rt"),
    (131, "L R Cs"),
    (132, "L R Ls Rs"),
    (133, "L R LFE"),
    (134, "L R LFE Cs"),
    (135, "L R LFE Ls Rs"),
    (136, "L R C LFE"),
    (137, "L R C LFE Cs"),
    (138, "L R Ls Rs LFE"),
    (139, "L R Ls Rs C Cs"),
    (140, "L R Ls Rs C Rls Rrs"),
    (141, "C L R Ls Rs Cs"),
    (142, "C L R Ls Rs Cs LFE"),
    (143, "C L R Ls Rs Rls Rrs"),
    (144, "C L R Ls Rs Rls Rrs Cs"),
    (148, "L R Ls Rs C Lc Rc"),
    (150, "L C R"),
    (151, "L C R Cs"),
    (152, "L C R LFE"),
    (153, "L R Cs LFE"),
    (154, "L C R Cs LFE"),
    (155, "L C R Ls Rs Cs"),
    (156, "L C R Ls Rs Rls Rrs"),
    (157, "L C R Ls Rs LFE Cs"),
    (160, "L C R Ls Rs LFE Rls Rrs"),
    (168, "C L R LFE"),
    (169, "C L R Cs LFE"),
    (170, "Lc Rc L R Ls Rs"),
    (172, "C Cs L R Rls Rrs"),
    (176, "Lc C Rc L R Ls Rs"),
    (177, "Lc C Rc L R Ls Rs LFE"),
    (182, "C L R Ls Rs LFE Cs"),
    (183, "C L R Ls Rs Rls Rrs LFE"),
];

/// Tags that say where else the places are.
const BY_DESCRIPTION: u32 = 0;
const BY_MASK: u32 = 1 << 16;
/// Tag, mask, count of descriptions; then for each channel its label, flags and coordinates.
const HEADER_BYTES: usize = 12;
const DESCRIPTION_BYTES: usize = 20;
/// Fewer channels stand where everybody assumes them.
const LEAST_CHANNELS: usize = 3;

/// The key of the comment, which ends before the mask.
const MASK_KEY: &str = "WAVEFORMATEXTENSIBLE_CHANNEL_MASK=";

/// The places that an `AudioChannelLayout` names for `count` channels; `None` where it leaves any
/// open.
pub(super) fn core_audio(layout: &[u8], count: usize) -> Option<Channels> {
    let word = |at: usize| {
        let bytes = layout.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    };
    if count < LEAST_CHANNELS {
        return None;
    }
    let places: Vec<Position> = match word(0)? {
        BY_DESCRIPTION => {
            let label = |i: usize| place(word(HEADER_BYTES + i * DESCRIPTION_BYTES)?);
            (0..word(8)? as usize)
                .take(count)
                .map(label)
                .collect::<Option<_>>()?
        }
        BY_MASK => return masked(word(4)?, count),
        tag => {
            let known = LAYOUTS.iter().find(|(upper, _)| *upper == tag >> 16)?;
            known.1.split(' ').map(named).collect::<Option<_>>()?
        }
    };
    let labels = places.into_iter().map(ChannelLabel::Positioned);
    let labels: Box<[ChannelLabel]> = labels.collect();
    (labels.len() == count).then_some(Channels::Custom(labels))
}

/// The places that FLAC's comments name for `count` channels.
pub(super) fn commented(comments: &[u8], count: usize) -> Option<Channels> {
    let is_key = |bytes: &[u8]| bytes.eq_ignore_ascii_case(MASK_KEY.as_bytes());
    let at = comments.windows(MASK_KEY.len()).position(is_key)?;
    let value = &comments[at + MASK_KEY.len()..];
    let digits = value.strip_prefix(b"0x").or(value.strip_prefix(b"0X"))?;
    let is_digit = |byte: &&u8| byte.is_ascii_hexdigit();
    let digits = &digits[..digits.iter().take_while(is_digit).count()];
    let mask = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (count >= LEAST_CHANNELS).then(|| masked(mask, count))?
}

/// The places of a mask that has as many as there are channels.
fn masked(mask: u32, count: usize) -> Option<Channels> {
    let places = Position::from_wave_channel_mask(mask)?;
    (mask.count_ones() as usize == count).then_some(Channels::Positioned(places))
}

fn place(label: u32) -> Option<Position> {
    let found = LABELS.iter().find(|(number, ..)| *number == label);
    found.map(|(_, _, place)| *place)
}

fn named(name: &str) -> Option<Position> {
    let found = LABELS.iter().find(|(_, known, _)| *known == name);
    found.map(|(_, _, place)| *place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(tag: u32, mask: u32, labels: &[u32]) -> Vec<u8> {
        let mut words = vec![tag, mask, labels.len() as u32];
        words.extend(labels.iter().flat_map(|label| [*label, 0, 0, 0, 0]));
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn custom(places: &[Position]) -> Option<Channels> {
        let labels = places.iter().copied().map(ChannelLabel::Positioned);
        Some(Channels::Custom(labels.collect()))
    }

    #[test]
    fn layouts_of_core_audio() {
        use Position as P;
        let front = [P::FRONT_LEFT, P::FRONT_RIGHT, P::FRONT_CENTER];
        assert_eq!(
            core_audio(&layout(113 << 16 | 3, 0, &[]), 3),
            custom(&front)
        );
        let turned = [P::FRONT_CENTER, P::FRONT_LEFT, P::FRONT_RIGHT];
        assert_eq!(
            core_audio(&layout(114 << 16 | 3, 0, &[]), 3),
            custom(&turned)
        );
        assert_eq!(core_audio(&layout(0, 0, &[3, 1, 2]), 3), custom(&turned));
        let hexagon = Channels::Positioned(P::from_wave_channel_mask(0x137).unwrap());
        assert_eq!(core_audio(&layout(1 << 16, 0x137, &[]), 6), Some(hexagon));
    }

    #[test]
    fn what_leaves_a_place_open_names_none() {
        let of = |tag, mask, labels: &[u32], count| core_audio(&layout(tag, mask, labels), count);
        assert_eq!(of(101 << 16 | 2, 0, &[], 2), None);
        assert_eq!(of(113 << 16 | 3, 0, &[], 4), None);
        assert_eq!(of(147 << 16 | 3, 0, &[], 3), None);
        assert_eq!(of(1 << 16, 0x137, &[], 5), None);
        // Mono three times, and a list that is cut off.
        assert_eq!(of(0, 0, &[42, 42, 42], 3), None);
        assert_eq!(core_audio(&layout(0, 0, &[1, 2, 3])[..40], 3), None);
        assert_eq!(core_audio(&[], 3), None);
    }

    #[test]
    fn every_layout_is_of_known_places_that_differ_in_their_tags() {
        for (at, (tag, places)) in LAYOUTS.iter().enumerate() {
            assert!(places.split(' ').all(|name| named(name).is_some()), "{tag}");
            assert!(LAYOUTS[at + 1..].iter().all(|(other, _)| other > tag));
        }
    }

    #[test]
    fn masks_in_comments() {
        let of = |text: &str, count| commented(text.as_bytes(), count).map(|c| c.count());
        assert_eq!(
            of("..waveformatextensible_channel_mask=0x7\x05..", 3),
            Some(3)
        );
        assert_eq!(of("WAVEFORMATEXTENSIBLE_CHANNEL_MASK=0x0007", 4), None);
        assert_eq!(of("WAVEFORMATEXTENSIBLE_CHANNEL_MASK=7", 3), None);
        assert_eq!(of("WAVEFORMATEXTENSIBLE_CHANNEL_MASK=0x", 3), None);
    }
}

//! Which of a file's tracks is listened to.

use super::codec;
use super::decoder::Decoder;
use super::demux::Track;
use super::input::{AudioOptions, TrackChoice};
use super::language;
use crate::error::{Error, Result};

/// A track, by its place, that can be decoded.
pub(super) struct Chosen {
    pub(super) index: usize,
    pub(super) decoder: Decoder,
    pub(super) warnings: Vec<String>,
}

impl std::fmt::Debug for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chosen({}, {:?})", self.index, self.warnings)
    }
}

/// The name that messages use for a track's codec.
pub(super) fn codec_name(track: &Track) -> String {
    match &track.codec {
        Some(name) => name.clone(),
        None => codec::codec_name(&track.params),
    }
}

/// A decoder for a track; an error says why there is none.
pub(super) fn decoder(track: &Track) -> Result<Decoder, String> {
    if let Some(obstacle) = &track.obstacle {
        return Err(obstacle.clone());
    }
    if track.codec.is_some() {
        return Err("no decoder for it".to_owned());
    }
    Decoder::new(&track.params)
}

/// The error for what ffmpeg may help with.
pub(super) fn undecoded(name: &str, codec: &str, reason: &str) -> Error {
    Error::Codec {
        input: name.to_owned(),
        codec: codec.to_owned(),
        reason: format!("{reason} (ffmpeg may: ffmpeg -i '{name}' -ar 16000 -ac 1 out.wav)"),
    }
}

/// The track that was asked for; else the first that is marked as default, or the first that can
/// be decoded, with a warning.
pub(super) fn choose(name: &str, tracks: &[Track], options: &AudioOptions) -> Result<Chosen> {
    if tracks.is_empty() {
        return Err(Error::Audio {
            input: name.to_owned(),
            reason: "it holds no audio track".to_owned(),
        });
    }
    let order = match &options.track {
        Some(choice) => vec![asked(name, tracks, choice)?],
        None => {
            let by_default = |is: bool| {
                let all = tracks.iter().enumerate();
                all.filter(move |(_, t)| t.is_default == is).map(|(i, _)| i)
            };
            by_default(true).chain(by_default(false)).collect()
        }
    };
    let mut warnings = Vec::new();
    let mut first_failure = None;
    for index in order {
        let codec = codec_name(&tracks[index]);
        match decoder(&tracks[index]) {
            Ok(decoder) => {
                if let Some(passed) = warnings.last_mut() {
                    *passed = format!("{passed}; track {} ({codec}) is taken", index + 1);
                }
                if options.track.is_none() {
                    warnings.extend(other_language(tracks, index, options));
                }
                return Ok(Chosen {
                    index,
                    decoder,
                    warnings,
                });
            }
            Err(reason) => {
                if warnings.is_empty() {
                    warnings.push(format!("track {} ({codec}) cannot be decoded", index + 1));
                }
                first_failure.get_or_insert_with(|| undecoded(name, &codec, &reason));
            }
        }
    }
    Err(first_failure.unwrap_or_else(|| undecoded(name, "its track", "it has none")))
}

/// A warning where another track than the taken is tagged with the expected language.
fn other_language(tracks: &[Track], taken: usize, options: &AudioOptions) -> Option<String> {
    let expected = options.language.as_deref()?;
    let tag = |track: &Track| track.language.clone().filter(|tag| tag != "und");
    let is_expected =
        |track: &Track| tag(track).is_some_and(|tag| language::is_same(&tag, expected));
    if is_expected(&tracks[taken]) {
        return None;
    }
    let other = tracks.iter().position(is_expected)?;
    let taken_tag =
        tag(&tracks[taken]).map_or("without a language".to_owned(), |tag| format!("in {tag}"));
    Some(format!(
        "track {} ({taken_tag}) is heard although {expected} was asked for and track {} is in {}; \
         ask for audio track {} to hear that one",
        taken + 1,
        other + 1,
        tag(&tracks[other]).unwrap_or_default(),
        other + 1,
    ))
}

/// The place of the track that was asked for.
fn asked(name: &str, tracks: &[Track], choice: &TrackChoice) -> Result<usize> {
    let found = match choice {
        TrackChoice::Number(number) => number.checked_sub(1).filter(|i| *i < tracks.len()),
        TrackChoice::Language(wanted) => tracks.iter().position(|track| {
            let tag = track.language.as_deref();
            tag.is_some_and(|tag| language::is_same(tag, wanted))
        }),
    };
    found.ok_or_else(|| {
        let has: Vec<String> = tracks
            .iter()
            .enumerate()
            .map(|(i, track)| match &track.language {
                Some(language) => format!("{} ({language})", i + 1),
                None => (i + 1).to_string(),
            })
            .collect();
        Error::Audio {
            input: name.to_owned(),
            reason: format!(
                "it has no audio track {choice}; there is {}",
                has.join(", ")
            ),
        }
    })
}

#[cfg(test)]
mod tests {
    use symphonia::core::codecs::audio::well_known as codecs;

    use super::super::demux::Track;
    use super::*;

    fn track(bits: u32, is_default: bool, language: &str) -> Track {
        let mut track = Track {
            is_default,
            language: Some(language.to_owned()),
            ..Track::default()
        };
        let channels = symphonia::core::audio::Channels::Discrete(1);
        track
            .params
            .for_codec(codecs::CODEC_ID_PCM_S16LE)
            .with_sample_rate(16_000)
            .with_channels(channels)
            .with_bits_per_sample(bits);
        track
    }

    fn chosen(tracks: &[Track], choice: &str) -> Result<(usize, usize), String> {
        let options = AudioOptions {
            track: (!choice.is_empty()).then(|| choice.into()),
            ..AudioOptions::default()
        };
        choose("x", tracks, &options)
            .map(|found| (found.index, found.warnings.len()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_track_in_the_expected_language_is_named() {
        let warned = |tracks: &[Track], expected: &str, asked: Option<&str>| {
            let options = AudioOptions {
                track: asked.map(Into::into),
                language: Some(expected.to_owned()),
                ..AudioOptions::default()
            };
            choose("x", tracks, &options).unwrap().warnings.join("\n")
        };
        let two = [track(16, false, "eng"), track(16, false, "deu")];
        assert_eq!(
            warned(&two, "de", None),
            "track 1 (in eng) is heard although de was asked for and track 2 is in deu; \
             ask for audio track 2 to hear that one"
        );
        assert_eq!(warned(&two, "en", None), "");
        assert_eq!(warned(&two, "fr", None), "");
        assert_eq!(warned(&two, "de", Some("1")), "");
        let untagged = [track(16, false, "und"), track(16, false, "ger")];
        assert!(warned(&untagged, "de", None).starts_with("track 1 (without a language) is heard"));
    }

    #[test]
    fn default_then_decodable_then_asked() {
        let (good, bad) = (16, 99);
        let two = [track(good, false, "ger"), track(good, true, "eng")];
        assert_eq!(chosen(&two, ""), Ok((1, 0)));
        assert_eq!(chosen(&two, "1"), Ok((0, 0)));
        assert_eq!(chosen(&two, "de"), Ok((0, 0)));
        assert!(chosen(&two, "3").unwrap_err().contains("1 (ger), 2 (eng)"));
        assert!(
            chosen(&two, "fr")
                .unwrap_err()
                .contains("no audio track fr")
        );
        let broken = [track(bad, true, "ger"), track(good, true, "eng")];
        assert_eq!(chosen(&broken, ""), Ok((1, 1)));
        assert!(chosen(&broken, "1").unwrap_err().contains("ffmpeg -i 'x'"));
        assert!(chosen(&[track(bad, true, "")], "").is_err());
        assert!(chosen(&[], "").unwrap_err().contains("no audio track"));
    }
}

//! What is known of a codec from its parameters: its name, and the samples it decodes to.

use symphonia::core::codecs::audio::well_known::{self as codecs, CODEC_ID_OPUS};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder};

use super::aac::has_band_replication;

/// The samples a codec holds, which decides how ffmpeg computes with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Depth {
    /// Integers of at most 16 bits.
    Narrow,
    /// Wider integers.
    Wide,
    /// Floating point.
    #[default]
    Float,
}

/// The name that messages use for a codec.
pub(super) fn codec_name(params: &AudioCodecParameters) -> String {
    if params.codec == CODEC_ID_OPUS {
        return "opus".to_owned();
    }
    if params.codec == codecs::CODEC_ID_AAC {
        return aac_name(params);
    }
    symphonia::default::get_codecs()
        .get_audio_decoder(params.codec)
        .map_or_else(
            || "an unknown codec".to_owned(),
            |known| known.codec.info.short_name.into(),
        )
}

/// AAC with its object type and channel configuration, from the first bytes of its configuration.
fn aac_name(params: &AudioCodecParameters) -> String {
    let config = params.extra_data.as_deref().unwrap_or_default();
    let Some(&[first, second]) = config.first_chunk::<2>() else {
        return "AAC".to_owned();
    };
    let has_sbr = has_band_replication(config);
    let kind = match first >> 3 {
        1 => "Main",
        2 if has_sbr => "HE, SBR",
        2 => "LC",
        3 => "SSR",
        4 => "LTP",
        5 => "HE, SBR",
        29 => "HE v2, PS",
        23 => "LD",
        31 => "extended object type",
        _ => "another object type",
    };
    let layout = match (second >> 3) & 15 {
        0 => ", layout in the stream",
        3 => ", 3.0",
        4 => ", 4.0",
        5 => ", 5.0",
        6 => ", 5.1",
        7.. => ", 7.1",
        _ => "",
    };
    format!("AAC ({kind}{layout})")
}

/// What a codec decodes to; `decoder` is symphonia's, if it has one for the codec.
pub(super) fn depth(params: &AudioCodecParameters, decoder: Option<&dyn AudioDecoder>) -> Depth {
    use codecs::{
        CODEC_ID_AAC, CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3, CODEC_ID_PCM_F32BE,
        CODEC_ID_PCM_F32LE, CODEC_ID_PCM_F64BE, CODEC_ID_PCM_F64LE, CODEC_ID_VORBIS,
    };
    let Some(decoder) = decoder else {
        return Depth::Float;
    };
    match params.codec {
        CODEC_ID_AAC | CODEC_ID_VORBIS | CODEC_ID_MP1 | CODEC_ID_MP2 | CODEC_ID_MP3 => Depth::Float,
        CODEC_ID_PCM_F32LE | CODEC_ID_PCM_F32BE | CODEC_ID_PCM_F64LE | CODEC_ID_PCM_F64BE => {
            Depth::Float
        }
        codecs::CODEC_ID_PCM_ALAW | codecs::CODEC_ID_PCM_MULAW => Depth::Narrow,
        codecs::CODEC_ID_ALAC => {
            // The sixth byte of the configuration is the width of the samples.
            let bits = params
                .extra_data
                .as_ref()
                .and_then(|bytes| bytes.get(5).copied());
            if bits.is_some_and(|bits| bits <= 16) {
                Depth::Narrow
            } else {
                Depth::Wide
            }
        }
        _ => {
            let known = decoder.codec_params();
            let bits = known.bits_per_sample.or(params.bits_per_sample);
            if bits.unwrap_or(16) <= 16 {
                Depth::Narrow
            } else {
                Depth::Wide
            }
        }
    }
}

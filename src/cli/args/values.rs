//! Values that clap has no parser for.

use std::str::FromStr;

use crate::cli::near::meant;
use crate::tokenizer::{LANGUAGES, is_auto, language_code};

/// A value, or `none` to switch the option off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting<T>(pub Option<T>);

impl<T: FromStr> FromStr for Setting<T>
where
    T::Err: std::fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("none") {
            return Ok(Self(None));
        }
        text.parse()
            .map(|value| Self(Some(value)))
            .map_err(|error: T::Err| error.to_string())
    }
}

/// `True` or `False` in any case, as openai/whisper's options have it, and the shell's habits.
///
/// # Errors
/// For any other text.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("expected True or False".into()),
    }
}

/// A language's code, of a code or an English name, with or without a region; `auto` where it is to be
/// found out.
///
/// # Errors
/// For any other text, with the name that is nearest.
pub fn parse_language(text: &str) -> Result<String, String> {
    if text.eq_ignore_ascii_case("none") || is_auto(text) {
        return Ok("auto".to_owned());
    }
    let plain = text.split(['-', '_']).next().unwrap_or(text);
    let code = language_code(text).or_else(|_| language_code(plain));
    code.map(str::to_owned).map_err(|_| {
        let meant = meant(text, LANGUAGES.iter().map(|(_, name)| *name));
        format!(
            "no language that Whisper knows{meant} (a code as de, or an English name as German; \
             `undertone detect-language FILE` finds it out)"
        )
    })
}

/// The names of compute types, those of CTranslate2 that mean the same here, and `auto`.
///
/// # Errors
/// For any other text, saying what serves instead.
pub fn parse_compute_type(text: &str) -> Result<String, String> {
    let known = match text.to_ascii_lowercase().as_str() {
        "auto" | "default" => "auto",
        "f32" | "float32" => "f32",
        "int8" | "int8_float32" => "int8",
        "int4" => "int4",
        "f16" | "float16" | "fp16" => "f16",
        "int8_float16" => "int8_float16",
        "fp8" => "fp8",
        "bfloat16" | "int16" | "int8_bfloat16" => {
            return Err(
                "the CPU computes in f32 (whatever the weights are stored in), int8 or int4, a GPU in f32, f16, \
                 int8_float16 or fp8"
                    .into(),
            );
        }
        _ => return Err("expected f32, int8, int4, f16, int8_float16, fp8 or auto".into()),
    };
    Ok(known.to_owned())
}

//! Advanced SubStation Alpha: subtitles with a style, which video players draw as it says.

use std::io::{self, Write};

use super::WriterOptions;
use super::subtitles::cues;
use crate::transcript::Transcript;

/// White text with a black outline at the foot of a picture of 1080 lines.
const HEAD: &str = "\
[Script Info]
ScriptType: v4.00+
PlayResX: 1920
PlayResY: 1080
ScaledBorderAndShadow: yes
WrapStyle: 2

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,60,&H00FFFFFF,&H00FFFFFF,&H00000000,&H80000000,0,0,0,0,100,100,0,0,1,3,1,2,90,90,60,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
";

pub(super) fn write(
    transcript: &Transcript,
    options: &WriterOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    out.write_all(HEAD.as_bytes())?;
    for cue in cues(transcript, options) {
        let (start, end) = (time(cue.start), time(cue.end));
        writeln!(
            out,
            "Dialogue: 0,{start},{end},Default,{},0,0,0,,{}",
            name(cue.speaker.as_deref().unwrap_or_default()),
            escaped(&cue.text)
        )?;
    }
    Ok(())
}

/// A speaker's name, which ends with a comma.
fn name(speaker: &str) -> String {
    speaker.replace([',', '\r', '\n'], " ")
}

/// Text that draws as it reads: what the format would take for a command is defused.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\\u{2060}");
    let text = text.replace('{', "\\{").replace('}', "\\}");
    let text = text.replace("<u>", "{\\u1}").replace("</u>", "{\\u0}");
    text.replace("\r\n", "\\N").replace(['\n', '\r'], "\\N")
}

/// `1:02:03.45`.
fn time(seconds: f64) -> String {
    let hundredths = (seconds * 100.0).round_ties_even() as u64;
    let (minutes, rest) = (hundredths / 6000, hundredths % 6000);
    format!(
        "{}:{:02}:{:02}.{:02}",
        minutes / 60,
        minutes % 60,
        rest / 100,
        rest % 100
    )
}

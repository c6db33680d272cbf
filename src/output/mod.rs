//! Transcripts as files: txt, srt, vtt, tsv and json, byte for byte what openai/whisper's writers make of the same segments.
//!
//! In: a [`Transcript`]. Out: bytes, or a file that is either whole or not there. Times and texts are written as they are;
//! whoever made the segments answers for their order.

mod json;
mod subtitles;
#[cfg(test)]
mod tests;
mod text;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

pub use json::read_json;
pub use text::{format_timestamp, timed_line};

use crate::error::{Error, Result};
use crate::transcript::Transcript;
use subtitles::SubtitleStyle;

/// A kind of output file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutputFormat {
    /// One line of text per segment.
    Txt,
    /// WebVTT subtitles.
    Vtt,
    /// SubRip subtitles.
    Srt,
    /// Start and end in milliseconds and the text, separated by tabs.
    Tsv,
    /// Everything that is known about each segment.
    Json,
}

impl OutputFormat {
    /// Every format, in the order in which openai/whisper writes them.
    pub const ALL: [Self; 5] = [Self::Txt, Self::Vtt, Self::Srt, Self::Tsv, Self::Json];

    /// The format of this name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let wanted = name.to_ascii_lowercase();
        Self::ALL
            .into_iter()
            .find(|format| format.extension() == wanted)
    }

    /// The name, which is also the file name's extension.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Txt => "txt",
            Self::Vtt => "vtt",
            Self::Srt => "srt",
            Self::Tsv => "tsv",
            Self::Json => "json",
        }
    }
}

/// How subtitles are cut into lines and cues. All but the default needs word times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriterOptions {
    /// Most characters in a line before it is broken.
    pub max_line_width: Option<usize>,
    /// Most lines in a cue; together with `max_line_width` cues no longer follow the segments.
    pub max_line_count: Option<usize>,
    /// Most words in a cue.
    pub max_words_per_line: Option<usize>,
    /// Whether each word is underlined in its own cue as it is spoken.
    pub highlight_words: bool,
}

/// Writes a transcript in one format.
///
/// # Errors
/// Whatever the writer answers.
pub fn write_transcript(
    format: OutputFormat,
    transcript: &Transcript,
    options: &WriterOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        OutputFormat::Txt => text::write_txt(transcript, out),
        OutputFormat::Tsv => text::write_tsv(transcript, out),
        OutputFormat::Vtt => subtitles::write(transcript, options, SubtitleStyle::Vtt, out),
        OutputFormat::Srt => subtitles::write(transcript, options, SubtitleStyle::Srt, out),
        OutputFormat::Json => json::write(transcript, out),
    }
}

/// Where openai/whisper puts the output for a recording: `<output_dir>/<file name without its last extension>.<format>`.
#[must_use]
pub fn path_for(output_dir: &Path, audio: &Path, format: OutputFormat) -> PathBuf {
    let mut name = stem(audio);
    name.push(".");
    name.push(format.extension());
    output_dir.join(name)
}

/// The file name without its last extension; dots in front belong to the name, as in Python's `splitext`.
fn stem(audio: &Path) -> OsString {
    let name = audio.file_name().unwrap_or_default();
    let letters = name.as_encoded_bytes();
    let dots = letters.iter().take_while(|byte| **byte == b'.').count();
    if letters[dots..].contains(&b'.') {
        audio.file_stem().unwrap_or(name).to_owned()
    } else {
        name.to_owned()
    }
}

/// Writes a transcript to a file, which appears under its name only when it is whole. Folders are made as needed.
///
/// # Errors
/// [`Error::Output`] naming the file.
pub fn write_file(
    format: OutputFormat,
    transcript: &Transcript,
    options: &WriterOptions,
    path: &Path,
) -> Result<()> {
    let failed = |source: io::Error| Error::Output {
        file: path.to_owned(),
        source,
    };
    let folder = path
        .parent()
        .filter(|folder| *folder != Path::new(""))
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut file = temporary(folder).map_err(failed)?;
    let mut out = BufWriter::new(&mut file);
    let written =
        write_transcript(format, transcript, options, &mut out).and_then(|()| out.flush());
    drop(out);
    written.map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// A file beside the one to be, with the permissions that any new file gets.
fn temporary(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".undertone-").suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

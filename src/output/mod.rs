//! Transcripts as files: txt, srt, vtt, tsv and json, byte for byte what openai/whisper's writers make of the same segments;
//! lrc, csv and ass beside them.
//!
//! In: a [`Transcript`]. Out: bytes, or a file that is either whole or not there. Times and texts are written as they are;
//! whoever made the segments answers for their order.

mod ass;
mod json;
mod lyrics;
#[cfg(test)]
mod properties;
mod readable;
mod speech_map;
mod subtitles;
#[cfg(test)]
mod tests;
mod text;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

pub use json::read_json;
pub(crate) use speech_map::speech_map_json;
pub use speech_map::{read_speech_map, write_speech_map};
pub(crate) use text::spoken_line;
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
    /// Lyrics: lines with the time at which they begin.
    Lrc,
    /// Start and end in milliseconds and the text, as RFC 4180 has it.
    Csv,
    /// Advanced SubStation Alpha: subtitles with a style.
    Ass,
}

impl OutputFormat {
    /// openai/whisper's formats, in the order in which it writes them.
    pub const ALL: [Self; 5] = [Self::Txt, Self::Vtt, Self::Srt, Self::Tsv, Self::Json];

    /// The format of this name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let wanted = name.to_ascii_lowercase();
        let beside = [Self::Lrc, Self::Csv, Self::Ass];
        Self::ALL
            .into_iter()
            .chain(beside)
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
            Self::Lrc => "lrc",
            Self::Csv => "csv",
            Self::Ass => "ass",
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
    /// Whether cues are cut to be read rather than as the options above say: at most two lines of a width that
    /// the language's readers are used to, cut at clauses and pauses, no faster than they are read.
    pub readable: bool,
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
        OutputFormat::Lrc => lyrics::write(transcript, options, out),
        OutputFormat::Csv => text::write_csv(transcript, out),
        OutputFormat::Ass => ass::write(transcript, options, out),
    }
}

/// Where openai/whisper puts the output for a recording: `<output_dir>/<file name without its last extension>.<format>`.
#[must_use]
pub fn path_for(output_dir: &Path, audio: &Path, format: OutputFormat) -> PathBuf {
    beside(output_dir, audio, format.extension())
}

/// The file of another extension where the outputs for a recording are.
pub(crate) fn beside(output_dir: &Path, audio: &Path, extension: &str) -> PathBuf {
    let mut name = stem(audio);
    name.push(".");
    name.push(extension);
    output_dir.join(name)
}

/// The file name without its last extension, `stdin` for `-`; dots in front belong to the name, as in Python's `splitext`.
fn stem(audio: &Path) -> OsString {
    let name = audio.file_name().unwrap_or_default();
    if audio == Path::new("-") {
        return "stdin".into();
    }
    let letters = name.as_encoded_bytes();
    let dots = letters.iter().take_while(|byte| **byte == b'.').count();
    if letters[dots..].contains(&b'.') {
        audio.file_stem().unwrap_or(name).to_owned()
    } else {
        name.to_owned()
    }
}

/// Writes a transcript to a file, which appears under its name only when it is whole. Folders are made as needed; a
/// symbolic link stays one, and what it leads to is written. What is there and is no file (a terminal, a pipe) is
/// written to as it is.
///
/// # Errors
/// [`Error::Output`] naming the file.
pub fn write_file(
    format: OutputFormat,
    transcript: &Transcript,
    options: &WriterOptions,
    path: &Path,
) -> Result<()> {
    write_to(path, |out| {
        write_transcript(format, transcript, options, out)
    })
}

fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_to(path, |out| out.write_all(bytes))
}

fn write_to(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let failed = |source: io::Error| Error::Output {
        file: path.to_owned(),
        source,
    };
    let target = target(path).map_err(failed)?;
    match is_special(&target) {
        true => write_through(&target, write).map_err(failed),
        false => write_whole(&target, write).map_err(failed),
    }
}

fn write_through(
    target: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = BufWriter::new(std::fs::OpenOptions::new().write(true).open(target)?);
    write(&mut out)?;
    out.flush()
}

fn write_whole(
    target: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let folder = folder_of(target);
    std::fs::create_dir_all(folder)?;
    let mut file = temporary(folder)?;
    let mut out = BufWriter::new(&mut file);
    write(&mut out)?;
    out.flush()?;
    drop(out);
    file.persist(target)?;
    Ok(())
}

/// Makes sure that a file can be written, before there is anything to write: makes its folder, and a file in it that is
/// taken away again.
///
/// # Errors
/// [`Error::Output`] naming the file.
pub fn probe(path: &Path) -> Result<()> {
    let failed = |source: io::Error| Error::Output {
        file: path.to_owned(),
        source,
    };
    let target = target(path).map_err(failed)?;
    if target.is_dir() {
        return Err(failed(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a folder",
        )));
    }
    if is_special(&target) {
        return Ok(());
    }
    let folder = folder_of(&target);
    std::fs::create_dir_all(folder)
        .and_then(|()| temporary(folder).map(drop))
        .map_err(failed)
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    folder.unwrap_or(Path::new("."))
}

fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir())
}

/// Most symbolic links that are followed, as systems do.
const MOST_LINKS: usize = 40;

/// What a path leads to, through links whose end need not be there yet.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        match std::fs::read_link(&target) {
            Ok(to) => target = folder_of(&target).join(to),
            Err(_) => return Ok(target),
        }
    }
    Err(io::Error::other("too many symbolic links"))
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

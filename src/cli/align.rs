//! `align`: times for the words of a known text.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::args::AlignArgs;
use super::loading::load;
use super::progress::Screen;
use super::terminal::complain;
use super::trace::warned;
use super::usage::usage;
use super::{FINE, INTERRUPTED, interrupt, resolve};
use crate::batcher::Cancel;
use crate::engine::Control;
use crate::error::Error;
use crate::options::{DecodingOptions, TranscribeOptions};
use crate::output::{self, OutputFormat, WriterOptions};
use crate::transcript::Transcript;

/// Aligns one recording with its text; what is wrong with either is said before a model is looked for.
pub fn run(args: &AlignArgs) -> Result<u8> {
    let (formats, folder) = resolve::align_outputs(args);
    if folder == Path::new("-") && formats.len() != 1 {
        return usage("-o -: standard output takes one format: say which, as in -f srt");
    }
    let audio = resolve::audio(&args.audio_options);
    let text = known_text(&args.text)?;
    let found = super::inputs::all(std::slice::from_ref(&args.audio), false, &audio);
    let [input] = &found[..] else {
        return usage("align takes one recording and one text");
    };
    if let Some(fault) = &input.fault {
        complain(&super::said(fault));
        return Ok(super::FAILED);
    }
    let outputs = outputs(&formats, &folder, &input.path)?;
    let options = TranscribeOptions {
        decoding: DecodingOptions {
            language: args.language.clone(),
            ..DecodingOptions::default()
        },
        batch_size: args.batch_size,
        audio_track: audio.track,
        gaps: audio.gaps,
        ..TranscribeOptions::default()
    };
    options.validate()?;
    let (screen, cancel) = (Screen::new(args.quiet), Cancel::default());
    let interrupt = interrupt::watch(&cancel, &screen);
    let builder = resolve::engine(&args.run)?.slots(args.batch_size.unwrap_or(1));
    let engine = load(&builder, &screen)?;
    let control = Control {
        cancel,
        ..Control::default()
    };
    interrupt.work_begins();
    let aligned = engine.align(resolve::input(&input.path), &text, &options, &control);
    let aligned = match aligned {
        Err(Error::Cancelled) => return Ok(INTERRUPTED),
        aligned => {
            let (text, audio) = (args.text.display(), input.path.display());
            aligned.with_context(|| format!("{text} with {audio}"))?
        }
    };
    warned(&input.path, &aligned.warnings);
    let writer = WriterOptions {
        readable: args.subtitles == "readable",
        ..WriterOptions::default()
    };
    for (format, path) in outputs {
        output::write_file(format, &aligned, &writer, &path)?;
    }
    match formats[..] {
        [format] if folder == Path::new("-") => {
            let mut out = std::io::stdout().lock();
            output::write_transcript(format, &aligned, &writer, &mut out)?;
            out.flush()?;
        }
        [] if !args.quiet => print(&aligned)?,
        _ => {}
    }
    Ok(FINE)
}

/// The text, which is UTF-8; `-` is standard input.
fn known_text(path: &Path) -> Result<String> {
    let name = || path.display().to_string();
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    let text = String::from_utf8(bytes.with_context(name)?);
    let text = text.with_context(|| format!("{}: is no UTF-8 text", name()))?;
    match text.chars().any(char::is_alphanumeric) {
        true => Ok(text.trim_start_matches('\u{feff}').to_owned()),
        false => usage(format!("{}: has no words", name())),
    }
}

fn outputs(
    formats: &[OutputFormat],
    folder: &Path,
    audio: &Path,
) -> Result<Vec<(OutputFormat, PathBuf)>> {
    let to_files = formats.iter().filter(|_| folder != Path::new("-"));
    let outputs = to_files.map(|format| (*format, output::path_for(folder, audio, *format)));
    let outputs: Vec<_> = outputs.collect();
    for (_, path) in &outputs {
        output::probe(path)?;
    }
    Ok(outputs)
}

/// A line a sentence: its times, how sure they are, and the text.
fn print(aligned: &Transcript) -> Result<()> {
    for segment in &aligned.segments {
        let times = [segment.start, segment.end];
        let [start, end] = times.map(|time| output::format_timestamp(time, false, '.'));
        let (sure, text) = (segment.avg_logprob.exp(), segment.text.trim());
        say!("[{start} --> {end}] {sure:.2} {text}");
    }
    Ok(())
}

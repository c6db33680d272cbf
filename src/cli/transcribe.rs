//! `transcribe` and `translate`: file after file, each failure its own.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;

use super::args::SpeechArgs;
use super::progress::{DownloadProgress, FileProgress};
use super::resolve::{self, Job, Shown};
use super::{FAILED, FINE};
use crate::error::Error;
use crate::options::Task;
use crate::output::{self, OutputFormat};
use crate::transcriber::{Control, Engine};
use crate::transcript::Segment;

/// Runs the command: 0 if every file went well, 1 if some did not.
pub fn run(args: &SpeechArgs, task: Task) -> Result<u8> {
    let job = resolve::speech(args, task)?;
    let engine = load(&job)?;
    let job = resolve::for_model(job, &engine);
    let mut written = HashSet::new();
    let mut code = FINE;
    for file in &args.audio {
        match one_file(&engine, &job, file, &mut written) {
            Ok(()) => {}
            Err(error) if super::broken_pipe(&error) => return Ok(code),
            Err(error) => {
                eprintln!("undertone: {error:#}");
                code = FAILED;
            }
        }
    }
    Ok(code)
}

fn load(job: &Job) -> Result<Engine> {
    let mut download = DownloadProgress::new(job.quiet);
    let engine = job.engine.clone().build_with(&mut |progress| download.update(&progress));
    download.finish();
    Ok(engine?)
}

/// Transcribes one file, shows its segments and writes its outputs.
fn one_file(
    engine: &Engine,
    job: &Job,
    file: &Path,
    written: &mut HashSet<PathBuf>,
) -> Result<()> {
    let outputs = claim_outputs(job, file, written)?;
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
    let progress = Arc::new(FileProgress::new(&name, job.quiet));
    let control = Control {
        progress: Some({
            let progress = progress.clone();
            Arc::new(move |p| progress.update(p))
        }),
        ..Control::default()
    };
    let mut failed_print = None;
    let mut show = |segment: &Segment| {
        progress.suspend(|| print(job.shown, segment)).map_err(|error| {
            failed_print = Some(error);
            Error::Cancelled
        })
    };
    let result = engine.run(resolve::input(file), &job.options, &mut show, &control);
    progress.finish();
    if let Some(error) = failed_print {
        return Err(error.into());
    }
    let transcript = result?;
    for (format, path) in outputs {
        output::write_file(format, &transcript, &job.writer, &path)?;
    }
    Ok(())
}

/// Where a file's outputs go. A path that this run has claimed already is an error, so that
/// nothing is lost when two inputs have the same name.
fn claim_outputs(
    job: &Job,
    file: &Path,
    claimed: &mut HashSet<PathBuf>,
) -> Result<Vec<(OutputFormat, PathBuf)>> {
    let mut outputs = Vec::new();
    for &format in &job.formats {
        let path = output::path_for(&job.output_dir, file, format);
        if !claimed.insert(path.clone()) {
            anyhow::bail!("{}: {} is another input's output", file.display(), path.display());
        }
        outputs.push((format, path));
    }
    Ok(outputs)
}

fn print(shown: Shown, segment: &Segment) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match shown {
        Shown::Nothing => Ok(()),
        Shown::Text => writeln!(out, "{}", segment.text.trim()),
        Shown::Timed => writeln!(out, "{}", output::timed_line(segment)),
    }?;
    out.flush()
}

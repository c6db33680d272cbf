//! Works on the files of a queue and reports on them in order.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use anyhow::Result;

use super::accepted::Accepted;
use super::event::{Event, EventSink};
use super::queue::{JobQueue, QueuedFile};
use crate::batcher::Cancel;
use crate::cli::progress::{ProgressLines, Screen};
use crate::cli::resolve::{self, Job, Shown};
use crate::cli::shown::{Tally, heading, language_line, print};
use crate::cli::terminal::complain;
use crate::cli::trace::{left_out, traced, warned};
use crate::cli::{FAILED, FINE, INTERRUPTED, broken_pipe, said};
use crate::engine::{Control, Engine};
use crate::error::Error;
use crate::output::{self, OutputFormat};

/// Runs the jobs of a queue and reports on them: everything that files share.
pub struct JobRunner<'a> {
    pub engine: &'a Engine,
    pub job: &'a Job,
    pub screen: Screen,
    pub lines: ProgressLines,
    pub tally: Tally,
    pub cancel: Cancel,
}

/// What a journal's name ends with.
const JOURNAL_EXTENSION: &str = "undertone-resume";

impl JobRunner<'_> {
    /// Works on file after file until none is left.
    pub fn run_jobs(&self, queue: &JobQueue<'_>) {
        while let Some(file) = queue.next() {
            let (bytes, sender) = (file.bytes, file.sender.clone());
            let done = self.one_file(file);
            queue.release(bytes);
            // Nobody listens any more after a broken pipe.
            let _ = sender.send(Event::Done(done));
        }
    }

    /// Where a file's finished windows are kept, if they are.
    fn journal(&self, path: &Path) -> Option<PathBuf> {
        let folder = &self.job.output_dir;
        let resumes = self.job.resume;
        resumes.then(|| output::beside(folder, path, JOURNAL_EXTENSION))
    }

    /// Transcribes one file, sends on its segments and writes its outputs.
    fn one_file(&self, file: QueuedFile<'_>) -> Result<Vec<String>> {
        let QueuedFile {
            path,
            bytes,
            outputs,
            ahead,
            sender,
        } = file;
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled.into());
        }
        let name = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy();
        let progress = Arc::new(self.lines.file(&name, bytes));
        let moved = progress.clone();
        let control = Control {
            cancel: self.cancel.clone(),
            progress: Some(Arc::new(move |p| moved.update(p))),
            journal: self.journal(path),
            ..Control::default()
        };
        let mut sink = EventSink {
            sender: &sender,
            job: self.job,
        };
        let (engine, options) = (self.engine, &self.job.options);
        // The model may have changed what is listened to.
        let ahead = ahead.filter(|stream| *stream.options() == options.audio());
        let result = match ahead {
            Some(stream) => engine
                .check(options)
                .and_then(|options| engine.run_stream(stream, options, &mut sink, &control)),
            None => engine.run(resolve::input(path), options, &mut sink, &control),
        };
        self.tally.add(progress.finish());
        let transcript = match result {
            // Whatever it ended of: its input may have ended with the interrupt.
            Err(_) if self.cancel.is_cancelled() => return Err(Error::Cancelled.into()),
            result => result?,
        };
        if self.job.to_stdout {
            for &format in &self.job.formats {
                let mut bytes = Vec::new();
                output::write_transcript(format, &transcript, &self.job.writer, &mut bytes)?;
                sink.send(Event::Output(bytes))?;
            }
        }
        if let (Some(file), Some(speech)) = (&self.job.speech_map, &transcript.speech) {
            output::write_speech_map(file, &name, speech, transcript.duration_s)?;
        }
        let write = |(format, path): &(OutputFormat, PathBuf)| {
            output::write_file(*format, &transcript, &self.job.writer, path)
        };
        let failed: Vec<_> = outputs
            .iter()
            .filter_map(|output| write(output).err())
            .collect();
        let Some(first) = failed.into_iter().next() else {
            if let Some(journal) = self.journal(path) {
                // It says nothing that the outputs do not.
                let _ = std::fs::remove_file(journal);
            }
            return Ok(transcript.warnings);
        };
        if self.job.shown == Shown::Nothing {
            let lines = transcript
                .segments
                .iter()
                .map(|segment| segment.text.trim());
            sink.send(Event::Rescued(lines.collect::<Vec<_>>().join("\n")))?;
        }
        Err(first.into())
    }

    /// Reports what becomes of each file, in order: 0 if every one went well, 1 if some did not.
    pub fn report_all(&self, receivers: Vec<Receiver<Event>>, files: &[Accepted]) -> u8 {
        let (mut code, mut left) = (FINE, Vec::new());
        for (events, Accepted { path: file, .. }) in receivers.into_iter().zip(files) {
            match self.report_file(&events, file) {
                Ok(warnings) => self.screen.suspend(|| warned(file, &warnings)),
                Err(error) if broken_pipe(&error) => return code,
                Err(error) if matches!(error.downcast_ref(), Some(Error::Cancelled)) => {
                    left.push(file.display().to_string());
                }
                Err(error) => {
                    self.screen.suspend(|| complain(&said(&error)));
                    self.tally.fail();
                    code = FAILED;
                }
            }
        }
        if left.is_empty() {
            return code;
        }
        let left = left.join("\n  ");
        self.screen
            .suspend(|| complain(&format!("interrupted; not done:\n  {left}")));
        INTERRUPTED
    }

    fn report_file(&self, events: &Receiver<Event>, file: &Path) -> Result<Vec<String>> {
        let mut named = self.tally.files == 1 || self.job.shown == Shown::Nothing;
        let mut name = || match std::mem::replace(&mut named, true) {
            false => self.screen.suspend(|| heading(file)),
            true => Ok(()),
        };
        let of = (self.tally.files > 1).then_some(file);
        loop {
            match events.recv() {
                Ok(Event::Language(code, probability)) => {
                    if self.job.trace || self.screen.is_seen() {
                        name()?;
                        let text = language_line(of, &code, probability);
                        self.screen.suspend(|| complain(&text));
                    }
                }
                Ok(Event::Segment(segment)) => {
                    name()?;
                    self.screen.suspend(|| print(self.job.shown, &segment))?;
                }
                Ok(Event::Window(trace)) => {
                    name()?;
                    self.screen.suspend(|| eprintln!("{}", traced(of, &trace)));
                }
                Ok(Event::Dropped(dropped)) => {
                    name()?;
                    self.screen
                        .suspend(|| eprintln!("{}", left_out(of, &dropped)));
                }
                Ok(Event::Output(bytes)) => self
                    .screen
                    .suspend(|| std::io::stdout().lock().write_all(&bytes))?,
                Ok(Event::Done(result)) => {
                    if result.is_ok() {
                        name()?;
                    }
                    return result;
                }
                Ok(Event::Rescued(text)) => {
                    self.screen
                        .suspend(|| writeln!(std::io::stdout(), "{text}"))?;
                }
                Err(_) => anyhow::bail!("the thread that worked on a file has failed"),
            }
        }
    }
}

//! `transcribe` and `translate`: files side by side, shown and reported as if one by one.

mod accepted;
mod event;
mod queue;
mod runner;

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use anyhow::Result;

use super::args::SpeechArgs;
use super::loading::load;
use super::progress::{ProgressLines, Screen};
use super::resolve;
use super::shown::Tally;
use super::terminal::complain;
use super::{FAILED, FINE, INTERRUPTED, inputs, interrupt};
use crate::audio::{AudioOptions, AudioStream};
use crate::batcher::Cancel;
use crate::options::Task;
use accepted::{Accepted, sorted_out};
use event::Event;
use queue::{JobQueue, QueuedFile, longest_first};
use runner::JobRunner;

/// Runs the command: 0 if every file went well, 1 if some did not, 130 if it was interrupted.
pub fn run(args: &SpeechArgs, task: Task) -> Result<u8> {
    let audio = AudioOptions {
        language: args.language.clone(),
        ..resolve::audio(&args.audio_options)
    };
    let mut found = inputs::all(&args.audio, args.recursive, &audio);
    let ahead = ahead(args, &mut found)?;
    let mut job = resolve::speech(args, task, found.len())?;
    let (screen, cancel, started) = (Screen::new(job.quiet), Cancel::default(), Instant::now());
    let interrupt = interrupt::watch(&cancel, &screen);
    for note in resolve::notes(&args.run) {
        screen.say(&note);
    }
    let (files, faults) = sorted_out(&job, found);
    for fault in &faults {
        complain(&super::said(fault));
    }
    if files.is_empty() {
        return Ok(if faults.is_empty() { FINE } else { FAILED });
    }
    // The system takes a process's memory back faster than it could be freed here.
    let engine = ManuallyDrop::new(load(&job.engine, &screen)?);
    super::print_notes(resolve::for_model(&mut job, &engine));
    engine.check(&job.options)?;
    let (mut waiting, receivers) = queued(&files);
    if let Some(first) = waiting.front_mut() {
        first.ahead = ahead;
    }
    let sizes: Vec<u64> = waiting.iter().map(|file| file.bytes).collect();
    longest_first(waiting.make_contiguous(), job.jobs);
    let queue = JobQueue::new(waiting, job.most_bytes);
    let runner = JobRunner {
        engine: &engine,
        job: &job,
        lines: ProgressLines::new(&screen, &sizes),
        tally: Tally::new(files.len() + faults.len(), faults.len(), started),
        screen,
        cancel,
    };
    interrupt.work_begins();
    Ok(std::thread::scope(|scope| {
        for _ in 0..job.jobs {
            scope.spawn(|| runner.run_jobs(&queue));
        }
        let code = runner.report_all(receivers, &files);
        let code = if code == FINE && !faults.is_empty() {
            FAILED
        } else {
            code
        };
        runner.lines.finish();
        if runner.screen.is_seen() && code != INTERRUPTED {
            complain(&runner.tally.text(&job));
        }
        // After a broken pipe there is work left that nobody wants.
        queue.close();
        runner.cancel.cancel();
        code
    }))
}

/// The one recording that there is, decoded from now on: while the model is loaded.
fn ahead(args: &SpeechArgs, found: &mut [inputs::Found]) -> Result<Option<AudioStream>> {
    let only = match found {
        [only] if args.channels != "split" => only.opened.take(),
        _ => None,
    };
    Ok(only.map(AudioStream::ahead).transpose()?)
}

/// Every file's place in the queue, and where its events arrive.
fn queued(files: &[Accepted]) -> (VecDeque<QueuedFile<'_>>, Vec<Receiver<Event>>) {
    files
        .iter()
        .map(|Accepted { path, outputs }| {
            let (sender, events) = channel();
            let file = QueuedFile {
                path,
                bytes: bytes(path),
                outputs,
                ahead: None,
                sender,
            };
            (file, events)
        })
        .unzip()
}

/// Size of a file; what is no file counts as nothing.
fn bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

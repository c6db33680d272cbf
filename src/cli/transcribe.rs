//! `transcribe` and `translate`: files side by side, shown and reported as if one by one.

use std::cmp::Reverse;
use std::collections::{HashSet, VecDeque};
use std::io::Write;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use anyhow::Result;

use super::args::SpeechArgs;
use super::progress::{DownloadProgress, ProgressLines};
use super::resolve::{self, Job, Shown};
use super::trace::{traced, warned};
use super::{FAILED, FINE, INTERRUPTED, interrupt};
use crate::batcher::Cancel;
use crate::engine::{Control, Engine};
use crate::error::Error;
use crate::options::Task;
use crate::output::{self, OutputFormat};
use crate::transcript::{Segment, SegmentSink, WindowTrace};

/// Runs the command: 0 if every file went well, 1 if some did not, 130 if it was interrupted.
pub fn run(args: &SpeechArgs, task: Task) -> Result<u8> {
    let mut job = resolve::speech(args, task)?;
    super::print_notes(resolve::notes(&args.run));
    let mut claimed = HashSet::new();
    let claims = args
        .audio
        .iter()
        .map(|path| claim_outputs(&job, path, &mut claimed));
    let claims: Vec<_> = claims.collect();
    if claims.iter().all(Result::is_err) {
        // No file has a place for its outputs, so no model need be loaded.
        for error in claims.iter().filter_map(|claim| claim.as_ref().err()) {
            eprintln!("undertone: {}", super::said(error));
        }
        return Ok(FAILED);
    }
    // The system takes a process's memory back faster than it could be freed here.
    let engine = ManuallyDrop::new(load(&job)?);
    super::print_notes(resolve::for_model(&mut job, &engine));
    engine.check(&job.options)?;
    let (mut waiting, mut receivers) = (VecDeque::new(), Vec::new());
    for (path, outputs) in args.audio.iter().zip(claims) {
        let (sender, events) = channel();
        waiting.push_back(QueuedFile {
            path,
            bytes: bytes(path),
            outputs,
            sender,
        });
        receivers.push(events);
    }
    let sizes: Vec<u64> = waiting.iter().map(|file| file.bytes).collect();
    longest_first(waiting.make_contiguous(), job.jobs);
    let queue = JobQueue::new(waiting, job.most_bytes);
    let runner = JobRunner {
        engine: &engine,
        job: &job,
        lines: ProgressLines::new(job.quiet, &sizes),
        cancel: Cancel::default(),
    };
    interrupt::cancels(&runner.cancel);
    Ok(std::thread::scope(|scope| {
        for _ in 0..job.jobs {
            scope.spawn(|| runner.run_jobs(&queue));
        }
        let code = runner.report_all(receivers, &args.audio);
        runner.lines.finish();
        // After a broken pipe there is work left that nobody wants.
        queue.close();
        runner.cancel.cancel();
        code
    }))
}

fn load(job: &Job) -> Result<Engine> {
    let mut download = DownloadProgress::new(job.quiet);
    let engine = job
        .engine
        .clone()
        .build_with(&mut |progress| download.update(&progress));
    download.finish();
    let engine = engine?;
    for warning in engine.warnings() {
        eprintln!(
            "undertone: warning: {}: {warning}",
            engine.files().weights.display()
        );
    }
    if let Some(note) = engine.plan().note().filter(|_| !job.quiet) {
        eprintln!("undertone: {note}");
    }
    Ok(engine)
}

/// A file that waits for its turn.
struct QueuedFile<'a> {
    path: &'a Path,
    bytes: u64,
    outputs: Result<Vec<(OutputFormat, PathBuf)>>,
    sender: Sender<Event>,
}

/// What becomes of a file, as it happens.
enum Event {
    Segment(Segment),
    Window(WindowTrace),
    /// The whole text, since no file could be written that would hold it.
    Rescued(String),
    /// With what was wrong with the recording.
    Done(Result<Vec<String>>),
}

/// Passes on what is found, as far as it is to be shown.
struct EventSink<'a> {
    sender: &'a Sender<Event>,
    job: &'a Job,
}

impl EventSink<'_> {
    fn send(&self, event: Event) -> crate::Result<()> {
        self.sender.send(event).map_err(|_| Error::Cancelled)
    }
}

impl SegmentSink for EventSink<'_> {
    fn segment(&mut self, segment: &Segment) -> crate::Result<()> {
        match self.job.shown {
            Shown::Nothing => Ok(()),
            _ => self.send(Event::Segment(segment.clone())),
        }
    }

    fn window(&mut self, trace: &WindowTrace) -> crate::Result<()> {
        match self.job.trace {
            true => self.send(Event::Window(trace.clone())),
            false => Ok(()),
        }
    }
}

/// A long file's windows follow one another: begun last, it would be decoded alone at the end. Among
/// neighbours only, so that no file waits for all others to be shown.
fn longest_first(files: &mut [QueuedFile], jobs: usize) {
    if jobs > 1 {
        for neighbours in files.chunks_mut(NEIGHBOURS * jobs) {
            neighbours.sort_by_key(|file| Reverse(file.bytes));
        }
    }
}

/// For each file worked on at once, so many are looked at to find the longest.
const NEIGHBOURS: usize = 4;

/// The files that wait, in order. As many bytes of input are worked on at once as are allowed, and
/// always one file: the spectrogram of each is in memory while it is worked on.
struct JobQueue<'a> {
    state: Mutex<QueueState<'a>>,
    released: Condvar,
    most_bytes: u64,
}

struct QueueState<'a> {
    waiting: VecDeque<QueuedFile<'a>>,
    /// Files that are worked on, and their bytes.
    running: (usize, u64),
}

impl<'a> JobQueue<'a> {
    fn new(waiting: VecDeque<QueuedFile<'a>>, most_bytes: u64) -> Self {
        let state = Mutex::new(QueueState {
            waiting,
            running: (0, 0),
        });
        Self {
            state,
            released: Condvar::new(),
            most_bytes,
        }
    }

    /// Waits until the next file may be begun; none is left after `None`.
    fn next(&self) -> Option<QueuedFile<'a>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let next = state.waiting.front()?.bytes;
            let (files, bytes) = state.running;
            if files == 0 || bytes.saturating_add(next) <= self.most_bytes {
                state.running = (files + 1, bytes.saturating_add(next));
                return state.waiting.pop_front();
            }
            state = self
                .released
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn release(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running = (state.running.0 - 1, state.running.1.saturating_sub(bytes));
        self.released.notify_all();
    }

    /// Gives up the files that have not been begun.
    fn close(&self) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .waiting
            .clear();
        self.released.notify_all();
    }
}

/// Runs the jobs of a queue and reports on them: everything that files share.
struct JobRunner<'a> {
    engine: &'a Engine,
    job: &'a Job,
    lines: ProgressLines,
    cancel: Cancel,
}

impl JobRunner<'_> {
    /// Works on file after file until none is left.
    fn run_jobs(&self, queue: &JobQueue<'_>) {
        while let Some(file) = queue.next() {
            let QueuedFile {
                path,
                bytes,
                outputs,
                sender,
            } = file;
            let done = outputs.and_then(|outputs| self.one_file(path, bytes, &outputs, &sender));
            queue.release(bytes);
            // Nobody listens any more after a broken pipe.
            let _ = sender.send(Event::Done(done));
        }
    }

    /// Transcribes one file, sends on its segments and writes its outputs.
    fn one_file(
        &self,
        path: &Path,
        bytes: u64,
        outputs: &[(OutputFormat, PathBuf)],
        sender: &Sender<Event>,
    ) -> Result<Vec<String>> {
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
        };
        let mut sink = EventSink {
            sender,
            job: self.job,
        };
        let input = resolve::input(path);
        let result = self
            .engine
            .run(input, &self.job.options, &mut sink, &control);
        progress.finish();
        let transcript = result?;
        let write = |(format, path): &(OutputFormat, PathBuf)| {
            output::write_file(*format, &transcript, &self.job.writer, path)
        };
        let failed: Vec<_> = outputs
            .iter()
            .filter_map(|output| write(output).err())
            .collect();
        let Some(first) = failed.into_iter().next() else {
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
    fn report_all(&self, receivers: Vec<Receiver<Event>>, files: &[PathBuf]) -> u8 {
        let (mut code, mut left) = (FINE, Vec::new());
        for (events, file) in receivers.into_iter().zip(files) {
            match self.report_file(&events) {
                Ok(warnings) => self.lines.suspend(|| warned(file, &warnings)),
                Err(error) if super::broken_pipe(&error) => return code,
                Err(error) if matches!(error.downcast_ref(), Some(Error::Cancelled)) => {
                    left.push(file.display().to_string());
                }
                Err(error) => {
                    self.lines
                        .suspend(|| eprintln!("undertone: {}", super::said(&error)));
                    code = FAILED;
                }
            }
        }
        if left.is_empty() {
            return code;
        }
        let left = left.join("\n  ");
        self.lines
            .suspend(|| eprintln!("undertone: interrupted; not done:\n  {left}"));
        INTERRUPTED
    }

    fn report_file(&self, events: &Receiver<Event>) -> Result<Vec<String>> {
        loop {
            match events.recv() {
                Ok(Event::Segment(segment)) => {
                    self.lines.suspend(|| print(self.job.shown, &segment))?
                }
                Ok(Event::Window(trace)) => {
                    self.lines.suspend(|| eprintln!("{}", traced(&trace)));
                }
                Ok(Event::Rescued(text)) => {
                    self.lines
                        .suspend(|| writeln!(std::io::stdout(), "{text}"))?;
                }
                Ok(Event::Done(result)) => return result,
                Err(_) => anyhow::bail!("the thread that worked on a file has failed"),
            }
        }
    }
}

/// Size of a file; what is no file counts as nothing.
fn bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Where a file's outputs go, once it is sure that they can be written there. A path that this run has claimed already is an error, so that
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
            anyhow::bail!(
                "{}: {} is another input's output",
                file.display(),
                path.display()
            );
        }
        output::probe(&path)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &u64) -> QueuedFile<'static> {
        QueuedFile {
            path: Path::new("x"),
            bytes: *bytes,
            outputs: Ok(Vec::new()),
            sender: channel().0,
        }
    }

    fn queue(sizes: &[u64], most_bytes: u64) -> JobQueue<'static> {
        JobQueue::new(sizes.iter().map(file).collect(), most_bytes)
    }

    #[test]
    fn long_files_begin_before_their_short_neighbours() {
        let begun = |sizes: &[u64], jobs| {
            let mut files: Vec<_> = sizes.iter().map(file).collect();
            longest_first(&mut files, jobs);
            files.iter().map(|file| file.bytes).collect::<Vec<_>>()
        };
        assert_eq!(begun(&[1, 3, 2], 1), [1, 3, 2]);
        assert_eq!(begun(&[1, 3, 2], 2), [3, 2, 1]);
        let far: Vec<u64> = (1..=10).collect();
        assert_eq!(begun(&far, 2), [8, 7, 6, 5, 4, 3, 2, 1, 10, 9]);
    }

    #[test]
    fn files_begin_in_order_while_their_bytes_fit() {
        let queue = queue(&[4, 5, 30, 1], 10);
        assert_eq!(queue.next().map(|file| file.bytes), Some(4));
        assert_eq!(queue.next().map(|file| file.bytes), Some(5));
        let third = std::thread::scope(|scope| {
            let third = scope.spawn(|| queue.next().map(|file| file.bytes));
            queue.release(4);
            queue.release(5);
            third.join().unwrap()
        });
        // Larger than what is allowed, but alone.
        assert_eq!(third, Some(30));
        queue.release(30);
        assert_eq!(queue.next().map(|file| file.bytes), Some(1));
        assert!(queue.next().is_none());
    }

    #[test]
    fn closing_ends_the_wait_for_a_file() {
        let queue = queue(&[9, 9], 10);
        assert!(queue.next().is_some());
        std::thread::scope(|scope| {
            let second = scope.spawn(|| queue.next().is_none());
            queue.close();
            assert!(second.join().unwrap());
        });
    }
}

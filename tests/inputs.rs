//! What is known at the start is said at the start, before a model is looked for; folders, outputs that
//! are there already, standard output.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const PICO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pico");
const FRENCH: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/audio/fr_bonjour_monde.wav"
);

fn run(folder: &Path, line: &str) -> Output {
    command(folder, line).output().unwrap()
}

fn command(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_undertone"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("UNDERTONE_") {
            command.env_remove(name);
        }
    }
    command
        .args(
            line.replace(
                "PICO",
                &format!("--model {PICO} --threads 1 --beam_size 1 --language fr"),
            )
            .split_whitespace(),
        )
        .current_dir(folder)
        .env("XDG_CACHE_HOME", folder.join(".cache"))
        .env("XDG_CONFIG_HOME", folder.join(".config"))
        .env("HF_HUB_OFFLINE", "1")
        .stdin(Stdio::null());
    command
}

/// How long after its start the program says `part` on stderr; it is ended there.
fn told_after(folder: &Path, line: &str, part: &str) -> Duration {
    let started = Instant::now();
    let mut child = command(folder, line)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = lines.any(|line| line.unwrap().contains(part));
    let after = started.elapsed();
    // It may have ended by itself.
    let _ = child.kill();
    child.wait().unwrap();
    assert!(told, "{line}: {part:?} is not told");
    after
}

/// A recording of five minutes, silent but for a click a second.
fn five_minutes(path: &Path) {
    const RATE: u32 = 16_000;
    let bytes = 300 * RATE * 2;
    let mut wav = Vec::from(*b"RIFF");
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(*b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(RATE.to_le_bytes());
    wav.extend((RATE * 2).to_le_bytes());
    wav.extend(*b"\x02\0\x10\0data");
    wav.extend(bytes.to_le_bytes());
    let samples = (0..300 * RATE).map(|n| if n % RATE < 20 { 20_000_i16 } else { 0 });
    wav.extend(samples.flat_map(i16::to_le_bytes));
    fs::write(path, wav).unwrap();
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("talks")).unwrap();
    for name in ["a.wav", "talks/10.wav", "talks/2.wav", "talks/.hidden.wav"] {
        fs::copy(FRENCH, folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("talks/notes.txt"), "no recording").unwrap();
    fs::write(folder.path().join("bad.wav"), "RIFF no recording").unwrap();
    folder
}

#[test]
fn faults_are_told_together_before_a_model_is_looked_for() {
    let folder = folder();
    fs::copy(FRENCH, folder.path().join("a.flac")).unwrap();
    let output = run(
        folder.path(),
        "bad.wav gone.mp3 https://example.org/x.mp3 model -m large-v3",
    );
    let told = errors(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for part in [
        "bad.wav: ",
        "gone.mp3: there is no such file",
        "addresses are not fetched",
        "the command models?",
    ] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    assert!(
        !told.contains("large-v3"),
        "no model is needed for this: {told}"
    );
    // With a good one among them the others are told first all the same, and then the model.
    let told = errors(&run(
        folder.path(),
        "a.wav a.flac gone.mp3 -m large-v3 -o out",
    ));
    let at = |part: &str| {
        told.find(part)
            .unwrap_or_else(|| panic!("{part:?} is not in {told}"))
    };
    assert!(
        at("a.flac: its text would go to out/a.txt, where that of a.wav goes") < at("gone.mp3")
    );
    assert!(at("gone.mp3") < at("model large-v3 is not on this machine"));
    assert!(told.contains("HF_HUB_OFFLINE"), "{told}");
}

/// The machine that runs this may be busy with other tests: of some tries the best one counts.
#[test]
fn faults_behind_a_long_recording_are_told_within_300_ms() {
    const TRIES: usize = 5;
    let folder = folder();
    five_minutes(&folder.path().join("long.wav"));
    fs::copy(FRENCH, folder.path().join("a.flac")).unwrap();
    fs::write(folder.path().join("taken"), "no folder").unwrap();
    let table = [
        (
            "long.wav a.wav a.flac PICO -o out",
            "a.flac: its text would go to out/a.txt",
        ),
        ("long.wav gone.mp3 PICO", "gone.mp3: there is no such file"),
        ("long.wav bad.wav PICO", "bad.wav: "),
        ("long.wav PICO -o taken", "taken/long.txt"),
        (
            "translate long.wav -m tiny.en",
            "was not trained to translate",
        ),
        ("long.wav -m base --language germna", "did you mean german?"),
        ("long.wav a.wav PICO --audio-track 9", "a.wav: "),
    ];
    for (line, part) in table {
        let tries = (0..TRIES).map(|_| told_after(folder.path(), line, part));
        let best = tries.min().unwrap();
        assert!(best < Duration::from_millis(300), "{line}: {best:?}");
    }
}

#[test]
fn what_the_catalogue_knows_costs_no_download() {
    let folder = folder();
    let table = [
        ("translate a.wav -m tiny.en", "was not trained to translate"),
        ("translate a.wav -m turbo", "was not trained to translate"),
        ("a.wav -m base --language yue", "base does not know yue"),
        ("a.wav -m base --language germna", "did you mean german?"),
        ("translate a.wav --task transcribe", "the opposite"),
        ("a.wav -o - -m base", "standard output takes one format"),
        ("a.wav -osrt", "-osrt: -f FORMAT"),
        ("a.wav --compute_type bfloat16", "the CPU computes in f32"),
    ];
    for (line, part) in table {
        let output = run(folder.path(), line);
        let told = errors(&output);
        assert!(
            told.to_lowercase().contains(&part.to_lowercase()),
            "{line}: {told}"
        );
        assert_eq!(output.status.code(), Some(2), "{line}: {told}");
    }
    let told = errors(&run(folder.path(), "a.wav -m larg"));
    assert!(told.contains("did you mean large?"), "{told}");
}

#[test]
fn a_folder_is_its_recordings_and_what_is_done_is_passed_over() {
    let folder = folder();
    let output = run(folder.path(), "talks PICO -o out -f srt");
    assert!(output.status.success(), "{}", errors(&output));
    let names = || -> Vec<String> {
        let entries = fs::read_dir(folder.path().join("out")).unwrap();
        let mut names: Vec<_> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["10.srt", "2.srt"]);
    let file = folder.path().join("out/2.srt");
    fs::write(&file, "mine").unwrap();
    fs::remove_file(folder.path().join("out/10.srt")).unwrap();
    let output = run(folder.path(), "talks PICO -o out -f srt --skip-existing");
    assert!(output.status.success(), "{}", errors(&output));
    assert!(
        errors(&output).contains("1 passed over"),
        "{}",
        errors(&output)
    );
    assert_eq!(names(), ["10.srt", "2.srt"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    let text = run(folder.path(), "talks PICO");
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let (two, ten) = (
        text.find("==> talks/2.wav <=="),
        text.find("==> talks/10.wav <=="),
    );
    assert!(two.is_some() && two < ten, "{text}");
}

#[test]
fn standard_output_takes_one_format() {
    let folder = folder();
    let output = run(folder.path(), "a.wav PICO -f JSON -o -");
    assert!(output.status.success(), "{}", errors(&output));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["language"], "fr");
    assert!(!folder.path().join("-").exists());
}

#[test]
fn caches_are_shown_and_cleaned() {
    let folder = folder();
    assert!(run(folder.path(), "a.wav PICO").status.success());
    let packed = folder.path().join(".cache/undertone/packed");
    assert!(fs::read_dir(&packed).unwrap().count() > 0);
    let size = run(folder.path(), "cache size");
    assert!(
        String::from_utf8_lossy(&size.stdout).contains("packed copies"),
        "{size:?}"
    );
    assert!(run(folder.path(), "cache clean --dry-run").status.success());
    assert!(fs::read_dir(&packed).unwrap().count() > 0);
    assert!(run(folder.path(), "cache clean").status.success());
    assert_eq!(fs::read_dir(&packed).unwrap().count(), 0);
}

#[test]
fn doctor_says_whether_it_can_work() {
    let folder = folder();
    let output = run(folder.path(), "doctor -m large-v3");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("verdict")
            && told.contains("not ready")
            && told.contains("models pull large-v3"),
        "{told}"
    );
    let output = run(folder.path(), &format!("doctor -m {PICO}"));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("ready: undertone -m"), "{told}");
}

#[test]
fn help_shows_how_to_begin_and_folds_the_rest() {
    let folder = folder();
    let help = |line: &str| String::from_utf8_lossy(&run(folder.path(), line).stdout).into_owned();
    let first = help("--help");
    for part in [
        "FILES",
        "--language",
        "Examples:",
        "undertone film.mkv",
        "models suggest",
    ] {
        assert!(first.contains(part), "{part:?} is not in\n{first}");
    }
    let (short, long) = (help("transcribe -h"), help("transcribe --help"));
    assert!(
        short.contains("--output-dir") && !short.contains("--patience"),
        "{short}"
    );
    assert!(
        long.contains("--patience") && !long.contains("--arch"),
        "{long}"
    );
    assert!(help("attention explain --help").contains("--arch"));
    let models = help("models list");
    for part in [
        "large-v3 (large)",
        "turbo",
        "download",
        "memory",
        "speed",
        "errors",
        "2.0 / 3.9 L",
    ] {
        assert!(models.contains(part), "{part:?} is not in\n{models}");
    }
}

//! Settings, models and outputs as people have them, through the program: what is wrong is said before any work, and
//! nothing that was worked out is lost.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const PICO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pico");
const FRENCH: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/audio/fr_bonjour_monde.wav"
);

fn command(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_undertone"));
    let quick = "--threads 1 --beam_size 1 --temperature_increment_on_fallback None";
    let line = line.replace("PICO", &format!("--model {PICO} {quick}"));
    let line = line.replace("HERE", &folder.display().to_string());
    command.args(line.split_whitespace()).current_dir(folder);
    command.env("XDG_CACHE_HOME", folder.join("cache"));
    command.env("XDG_CONFIG_HOME", folder.join("config"));
    command.stdin(Stdio::null());
    command
}

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::copy(FRENCH, place.path().join("a.wav")).unwrap();
    place
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn settings_that_make_no_sense_are_wrong_usage() {
    let place = place();
    let cases = [
        ("--temperature_increment_on_fallback 1e-9", "temperatures"),
        ("--temperature_increment_on_fallback nan", "increment"),
        ("--temperature_increment_on_fallback=-0.2", "increment"),
        ("--temperature 1e9", "temperature"),
        ("--temperature nan", "temperature"),
        ("--beam_size 1000000", "beam_size"),
        ("--best_of 1000000", "best_of"),
        ("--beam_size 5 --patience 1e12", "patience"),
        ("--batch_size 100000000", "batch_size"),
        ("--threads 1000000", "threads"),
        ("--no_speech_threshold nan", "no_speech_threshold"),
        ("--top_k -2", "top_k"),
        ("--top_p 0", "top_p"),
        ("--top_p 1.1", "top_p"),
        ("--top_p nan", "top_p"),
        ("--min_p -0.1", "min_p"),
        ("--min_p 1.5", "min_p"),
        ("--repetition_penalty 0", "repetition_penalty"),
        ("--repetition_penalty inf", "repetition_penalty"),
        ("--frequency_penalty -2.1", "frequency_penalty"),
        ("--presence_penalty 2.5", "presence_penalty"),
        ("--max_new_tokens 0", "max_new_tokens"),
        ("--length_exponent nan", "length_exponent"),
        ("--length_exponent 1 --length_penalty 1", "length_exponent"),
        ("--language Klingon", "language"),
        // Pico has no token for it.
        ("--language yue", "no token for yue"),
        ("--language zh-yue", "no token for yue"),
    ];
    let mut wrong = Vec::new();
    for (options, want) in cases {
        let output = command(place.path(), &format!("a.wav --model {PICO} {options}")).output();
        let output = output.unwrap();
        if output.status.code() != Some(2) || !said(&output).contains(want) {
            wrong.push(format!("{options}: {:?}: {}", output.status, said(&output)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn languages_are_understood_as_people_write_them() {
    let place = place();
    for language in ["pt-BR", "zh_Hant", "iw", "nb-NO", "fil", "Auto", "AUTO"] {
        let line = format!("PICO a.wav --language {language}");
        let output = command(place.path(), &line).output().unwrap();
        assert!(output.status.success(), "{language}: {}", said(&output));
    }
}

#[test]
fn outputs_are_made_sure_of_before_the_model_is_loaded() {
    let place = place();
    fs::create_dir_all(place.path().join("out/a.srt")).unwrap();
    for line in [
        "a.wav -m no/such/model -o a.wav/out",
        "a.wav -m no/such/model -o out -f srt",
    ] {
        let output = command(place.path(), line).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("cannot be written") && !said.contains("no/such"),
            "{said}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_link_is_written_through_and_a_text_without_a_file_is_shown() {
    use std::os::unix::fs::symlink;
    let place = place();
    let text = command(place.path(), "PICO a.wav --language fr")
        .output()
        .unwrap()
        .stdout;
    fs::create_dir(place.path().join("kept")).unwrap();
    symlink("kept/there.txt", place.path().join("a.txt")).unwrap();
    let output = command(place.path(), "PICO a.wav --language fr -o . -f txt")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(place.path().join("a.txt").is_symlink());
    assert!(
        fs::metadata(place.path().join("kept/there.txt"))
            .unwrap()
            .len()
            > 0
    );
    if !Path::new("/dev/full").exists() {
        return;
    }
    fs::remove_file(place.path().join("a.txt")).unwrap();
    symlink("/dev/full", place.path().join("a.txt")).unwrap();
    let output = command(place.path(), "PICO a.wav --language fr -o . -f txt")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("a.txt: cannot be written"),
        "{}",
        said(&output)
    );
    let words = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert!(!words(&text).is_empty());
    assert_eq!(words(&output.stdout), words(&text));
}

#[test]
fn standard_input_gives_its_output_a_name() {
    let place = place();
    let mut run = command(place.path(), "PICO - --language fr -o out -f srt");
    run.stdin(fs::File::open(place.path().join("a.wav")).unwrap());
    assert!(run.output().unwrap().status.success());
    assert!(place.path().join("out/stdin.srt").is_file());
}

#[test]
fn clips_past_the_end_are_told() {
    let place = place();
    let line = "PICO a.wav --language fr --clip_timestamps 100,200";
    let output = command(place.path(), line).output().unwrap();
    assert!(output.status.success());
    assert!(said(&output).contains("past the end"), "{}", said(&output));
    let whole = command(place.path(), "PICO a.wav --language fr")
        .output()
        .unwrap();
    assert!(!said(&whole).contains("past the end"), "{}", said(&whole));
}

#[cfg(unix)]
#[test]
fn a_folder_for_temporary_files_is_not_the_input() {
    let place = place();
    let mut run = command(place.path(), "PICO - --language fr");
    run.env("TMPDIR", place.path().join("nowhere"));
    run.stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = run.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // More than is kept in memory. The program may end before all of it is written.
    let _ = stdin.write_all(&vec![0; 20 << 20]);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(
        said.contains("temporary file") && said.contains("TMPDIR"),
        "{said}"
    );
}

/// A copy of pico whose file of weights is changed.
fn changed_pico(place: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    fs::create_dir(place.join("changed")).unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(Path::new(PICO).join(file), place.join("changed").join(file)).unwrap();
    }
    let file = place.join("changed/model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    change(&mut bytes);
    fs::write(&file, bytes).unwrap();
}

#[test]
fn a_model_that_is_not_whole_or_not_finite_says_nothing() {
    // In the header, a name of the same length; in the numbers, a NaN of 16 bits.
    type Change = fn(&mut Vec<u8>);
    let changes: [(Change, &str); 2] = [
        (
            |bytes| {
                let name = b"layers.1.self_attn_layer_norm.weight";
                let at = bytes
                    .windows(name.len())
                    .position(|part| part == name)
                    .unwrap();
                bytes[at + name.len() - 1] = b'x';
            },
            "self_attn_layer_norm.weight: is missing",
        ),
        (
            |bytes| {
                let end = bytes.len();
                bytes[end - 2..].copy_from_slice(&0x7e00_u16.to_le_bytes());
            },
            "infinite or NaN",
        ),
    ];
    for (change, want) in changes {
        let place = place();
        changed_pico(place.path(), change);
        let output = command(place.path(), "a.wav -m HERE/changed --language fr")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(
            output.stdout.is_empty() && said(&output).contains(want),
            "{}",
            said(&output)
        );
    }
}

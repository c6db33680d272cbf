//! The commands beside `transcribe`, as a user runs them.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::channel;

use crate::support;

const PICO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pico");
const FRENCH: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/audio/fr_bonjour_monde.wav"
);

/// The program with caches of its own.
fn undertone(cache: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_undertone"));
    command.env("XDG_CACHE_HOME", cache.path());
    command.env("XDG_CONFIG_HOME", cache.path());
    command
}

fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn the_manual_names_every_option() {
    let cache = tempfile::tempdir().unwrap();
    let manual = printed(undertone(&cache).arg("man")).replace('\\', "");
    let help = printed(undertone(&cache).args(["transcribe", "--help"]));
    let options = help.split_whitespace().filter(|word| {
        let name = word.strip_prefix("--").unwrap_or_default();
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '-')
    });
    let missing: Vec<_> = options.filter(|option| !manual.contains(option)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let sections = [
        "MODELS CONVERT",
        "DOCTOR",
        "ATTENTION EXPLAIN",
        "EXIT STATUS",
        "ENVIRONMENT",
        "FILES",
        "EXAMPLES",
    ];
    for section in sections {
        assert!(
            manual.contains(&format!(".SH {section}")) || manual.contains(&format!(" {section}\"")),
            "{section}"
        );
    }
}

#[cfg(unix)]
#[test]
fn bash_completes_options_models_and_languages() {
    let cache = tempfile::tempdir().unwrap();
    let script = cache.path().join("undertone.bash");
    std::fs::write(
        &script,
        printed(undertone(&cache).args(["completions", "bash"])),
    )
    .unwrap();
    let table = [
        ("undertone --compute-t", "--compute-type"),
        ("undertone transcribe --compute-t", "--compute-type"),
        ("undertone --model tin", "tiny tiny.en"),
        ("undertone translate --language germ", "german"),
    ];
    for (line, want) in table {
        let ask = format!(
            "source {}; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _undertone undertone \"${{COMP_WORDS[COMP_CWORD]}}\" \
             \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let Ok(output) = Command::new("bash").args(["-c", &ask]).output() else {
            support::skipped("there is no bash");
            return;
        };
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut found: Vec<&str> = told.split_whitespace().collect();
        found.sort_unstable();
        assert_eq!(found.join(" "), want, "{line}");
    }
}

/// A proxy that refuses everything, in words; the first lines of what it is asked.
fn proxy() -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, asked) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (mut stream, mut request) = (stream, Vec::new());
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                request.push(byte[0]);
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
            if sender
                .send(text.lines().next().unwrap_or_default().to_owned())
                .is_err()
            {
                return;
            }
        }
    });
    (address, asked)
}

#[test]
fn downloads_and_doctor_go_through_the_same_proxy() {
    let (address, asked) = proxy();
    let cache = tempfile::tempdir().unwrap();
    for line in [&["doctor"][..], &["models", "pull", "base"]] {
        let mut command = undertone(&cache);
        command.args(line).env("HF_ENDPOINT", "http://hub.invalid");
        // No pip is found, and no proxy but ours.
        command.env("PATH", "").env("ALL_PROXY", &address);
        for other in ["NO_PROXY", "no_proxy", "HF_HUB_OFFLINE"] {
            command.env_remove(other);
        }
        let told = printed(&mut command);
        let host = address.trim_start_matches("http://");
        assert!(
            line.len() > 1 || told.contains(&format!("through the proxy {host}")),
            "{told}"
        );
        let request = asked.try_iter().last().unwrap_or_default();
        assert!(
            request.contains("hub.invalid"),
            "{line:?}: {request:?}: {told}"
        );
    }
}

#[test]
fn a_damaged_int8_copy_is_made_again() {
    let cache = tempfile::tempdir().unwrap();
    let run = || {
        let mut command = undertone(&cache);
        command.args([
            FRENCH,
            "--model",
            PICO,
            "--compute-type",
            "int8",
            "--language",
            "fr",
        ]);
        command.args([
            "--beam-size",
            "1",
            "--temperature-increment-on-fallback",
            "none",
        ]);
        printed(&mut command)
    };
    let good = run();
    let folder = cache.path().join("undertone/packed");
    let copy = std::fs::read_dir(folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let whole = std::fs::read(&copy).unwrap();
    // A layer's size, its mark, and the file's end.
    for at in [0, 20, 24, whole.len() - 40] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        std::fs::write(&copy, &bytes).unwrap();
        assert_eq!(run(), good, "byte {at}");
        let again = std::fs::read(&copy).unwrap();
        assert_eq!(again.len(), whole.len(), "byte {at}");
        assert!(again[..64] == whole[..64], "byte {at} is as it was");
    }
}

#[test]
fn probe_lists_tracks_and_says_which_is_taken() {
    let cache = tempfile::tempdir().unwrap();
    let audio = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/audio/");
    let file = |name: &str| format!("{audio}{name}");
    let said = printed(undertone(&cache).arg("probe").arg(file("video.mp4")));
    assert!(said.contains("video.mp4: isomp4\n  1. AAC (LC)"), "{said}");
    assert!(said.contains("2 channels <- taken"), "{said}");
    let mut json = undertone(&cache);
    json.args(["probe", "--json", &file("ac3.mkv"), &file("make.sh")]);
    let output = json.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["tracks"][0]["codec"], "AC-3");
    assert!(found["taken"].is_null());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("make.sh: it is text"), "{error}");
}

#[test]
fn align_says_what_is_wrong_with_a_text() {
    let cache = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = cache.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let text = file("text", b"Bonjour le monde.");
    let cases = [
        (file("empty", b" \n"), "-fsrt", 2, "has no words"),
        (file("bytes", b"\xff\xfe"), "-fsrt", 1, "is no UTF-8 text"),
        (text.clone() + "s", "-fsrt", 1, "No such file"),
        (text.clone(), "-fsrt,vtt", 2, "takes one format"),
        // The model of the tests hears other words.
        (text, "-fsrt", 1, "the text is not what is said"),
    ];
    for (text, format, code, words) in cases {
        let line = ["align", FRENCH, &text, "-m", PICO, "-l", "fr", "-o", "-"];
        let output = undertone(&cache).args(line).arg(format).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}: {said}");
        assert!(said.contains(words), "{text}: {said}");
        assert!(output.stdout.is_empty(), "{text}");
    }
}

//! Long recordings and recordings of several speakers as the program works on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PICO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pico");
const SPANISH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/audio/es_conteo.wav");
const FRENCH: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/audio/fr_bonjour_monde.wav"
);
/// Long enough for any step on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes of an example's samples.
fn samples(path: &str) -> Vec<u8> {
    let wav = fs::read(path).unwrap();
    let data = wav.windows(4).position(|name| name == b"data").unwrap();
    wav[data + 8..].to_vec()
}

/// A wav at 16 kHz of 32-bit floats, as the examples are.
fn write_wav(path: &Path, channels: u16, data: &[u8]) {
    let mut wav = Vec::from(*b"RIFF");
    wav.extend((36 + data.len() as u32).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    for half in [3, channels] {
        wav.extend(half.to_le_bytes());
    }
    wav.extend(16_000_u32.to_le_bytes());
    wav.extend((64_000 * u32::from(channels)).to_le_bytes());
    for half in [4 * channels, 32] {
        wav.extend(half.to_le_bytes());
    }
    wav.extend(b"data");
    wav.extend((data.len() as u32).to_le_bytes());
    wav.extend(data);
    fs::write(path, wav).unwrap();
}

/// The program in a folder, without any settings of the user's.
fn program(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_undertone"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("UNDERTONE_") {
            command.env_remove(name);
        }
    }
    command
        .args(line.split_whitespace())
        .current_dir(folder)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env("XDG_CONFIG_HOME", folder.join("config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn run(folder: &Path, line: &str) -> String {
    let output = program(folder, line)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {said}");
    said
}

/// Every file of a folder with what it holds, by name.
fn held(folder: PathBuf) -> Vec<(String, Vec<u8>)> {
    let file = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (name, fs::read(entry.path()).unwrap())
    };
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| file(entry.unwrap())).collect();
    files.sort();
    files
}

/// Lines of a file; none where there is no file.
fn lines(path: &Path) -> usize {
    fs::read(path).map_or(0, |bytes| {
        bytes.iter().filter(|byte| **byte == b'\n').count()
    })
}

#[test]
fn a_run_that_is_killed_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_wav(&folder.join("talk.wav"), 1, &samples(SPANISH).repeat(180));
    let line = format!(
        "talk.wav --model {PICO} --threads 1 --language es --beam_size 5 --word_timestamps True"
    );
    let ways = [
        ("", 3),
        ("--batch-size 4", 1),
        ("--preset robust", 2),
        ("--preset robust --batch-size 4", 1),
    ];
    for (n, (more, kills)) in ways.into_iter().enumerate() {
        let (want, out) = (format!("want{n}"), format!("out{n}"));
        run(folder, &format!("{line} {more} -f all -o {want}"));
        let journal = folder.join(&out).join("talk.undertone-resume");
        let resumed = format!("{line} {more} -f all -o {out} --resume");
        let mut before = 0;
        for _ in 0..kills {
            let mut child = program(folder, &resumed)
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let started = Instant::now();
            while lines(&journal) < before + 4 {
                assert!(started.elapsed() < PATIENCE, "no windows are kept");
                let ended = child.try_wait().unwrap();
                assert!(ended.is_none(), "it ended by itself: {ended:?}");
                std::thread::sleep(Duration::from_millis(2));
            }
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(lines(&journal) > before, "what was kept is lost");
            before = lines(&journal);
        }
        // A line that was torn in the middle is no line.
        let mut torn = fs::read(&journal).unwrap();
        torn.extend(b"0123456789abcdef {\"Window\":[\"");
        fs::write(&journal, torn).unwrap();
        run(folder, &resumed);
        assert_eq!(held(folder.join(&out)), held(folder.join(&want)), "{more}");
    }
}

#[test]
fn resuming_needs_files_to_write() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(SPANISH, folder.path().join("a.wav")).unwrap();
    for output in ["", "-f srt -o -"] {
        let line = format!("a.wav --model {PICO} --resume {output}");
        let output = program(folder.path(), &line)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("--resume"), "{said}");
    }
}

/// Segments of a JSON output: who speaks, and what when.
fn segments(path: &Path) -> Vec<(String, String)> {
    let json: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let said = |s: &serde_json::Value| {
        let speaker = s["speaker"].as_str().unwrap_or_default().to_owned();
        (
            speaker,
            format!("{} {} {}", s["start"], s["end"], s["text"]),
        )
    };
    json["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(said)
        .collect()
}

#[test]
fn channels_are_speakers_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (left, mut right) = (samples(SPANISH).repeat(3), samples(FRENCH).repeat(2));
    right.resize(left.len(), 0);
    let pairs = left.chunks_exact(4).zip(right.chunks_exact(4));
    let both: Vec<u8> = pairs.flat_map(|(l, r)| [l, r].concat()).collect();
    write_wav(&folder.join("left.wav"), 1, &left);
    write_wav(&folder.join("right.wav"), 1, &right);
    write_wav(&folder.join("call.wav"), 2, &both);
    let line = format!("--model {PICO} --threads 1 --language es --beam_size 1");
    run(
        folder,
        &format!("left.wav right.wav {line} -f json -o alone"),
    );
    let names = "--channels split --channel-names Anna";
    let formats = "txt,srt,vtt,tsv,json";
    run(
        folder,
        &format!("call.wav {line} {names} -f {formats} -o out"),
    );
    let found = segments(&folder.join("out/call.json"));
    for (speaker, alone) in [("Anna", "left"), ("Speaker 2", "right")] {
        let want = segments(&folder.join(format!("alone/{alone}.json")));
        let of_speaker = found.iter().filter(|(who, _)| who == speaker);
        let got: Vec<_> = of_speaker.map(|(_, said)| said).collect();
        let want: Vec<_> = want.iter().map(|(_, said)| said).collect();
        assert!(!want.is_empty(), "the model says nothing");
        assert_eq!(got, want, "{speaker}");
    }
    let marks = [
        ("txt", "Anna: ", "Speaker 2: "),
        ("srt", "\nAnna: ", "\nSpeaker 2: "),
        ("vtt", "\n<v Anna>", "\n<v Speaker 2>"),
        ("tsv", "\tAnna\t", "\tSpeaker 2\t"),
        (
            "json",
            "\"speaker\": \"Anna\"",
            "\"speaker\": \"Speaker 2\"",
        ),
    ];
    for (format, first, second) in marks {
        let written = fs::read_to_string(folder.join(format!("out/call.{format}"))).unwrap();
        assert!(
            written.contains(first) && written.contains(second),
            "{format}: {written}"
        );
    }
    // Mixed, as ever.
    run(folder, &format!("call.wav {line} -f json -o mixed"));
    let mixed = segments(&folder.join("mixed/call.json"));
    assert!(mixed.iter().all(|(who, _)| who.is_empty()), "{mixed:?}");
    let said = run(
        folder,
        &format!("left.wav {line} --channels split -f json -o one"),
    );
    assert!(
        said.contains("left.wav: warning: it has one channel"),
        "{said}"
    );
    assert_eq!(
        segments(&folder.join("one/left.json")),
        segments(&folder.join("alone/left.json"))
    );
}

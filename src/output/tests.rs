//! Against what openai/whisper's writers made of the same segments (`tests/golden/writers.json`, and the stored outputs).

use super::*;
use crate::comparison;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize, Default)]
struct Options {
    max_line_width: Option<usize>,
    max_line_count: Option<usize>,
    max_words_per_line: Option<usize>,
    #[serde(default)]
    highlight_words: bool,
}

impl From<Options> for WriterOptions {
    fn from(o: Options) -> Self {
        Self {
            max_line_width: o.max_line_width,
            max_line_count: o.max_line_count,
            max_words_per_line: o.max_words_per_line,
            highlight_words: o.highlight_words,
            readable: false,
        }
    }
}

#[derive(Deserialize)]
struct Case {
    result: serde_json::Value,
    options: Options,
    outputs: BTreeMap<String, String>,
}

fn written(format: OutputFormat, transcript: &Transcript, options: &WriterOptions) -> String {
    let mut out = Vec::new();
    write_transcript(format, transcript, options, &mut out).expect("a vector takes any bytes");
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn every_writer_writes_what_openais_writes() {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("../../tests/golden/writers.json")).expect("JSON");
    let mut wrong = Vec::new();
    for (i, case) in cases.into_iter().enumerate() {
        // The text is taken from the writer's own golden where there is one: parsing must not lose a digit.
        let json = case
            .outputs
            .get("json")
            .cloned()
            .unwrap_or_else(|| case.result.to_string());
        let transcript = read_json("golden", json.as_bytes()).expect("openai's result");
        let options = WriterOptions::from(case.options);
        for (name, want) in &case.outputs {
            let got = written(
                OutputFormat::parse(name).expect("a format"),
                &transcript,
                &options,
            );
            if got != *want {
                wrong.push(format!(
                    "case {i} {name} {options:?}\n--- want\n{want}\n--- got\n{got}"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} outputs differ\n{}",
        wrong.len(),
        wrong[0]
    );
}

#[test]
fn stored_outputs_are_equal_byte_for_byte() {
    let Some(folder) = comparison::reference() else {
        return;
    };
    let folder = folder.join("reference/outputs");
    let readme = std::fs::read(folder.join("README.json")).expect("the stored options");
    let readme: serde_json::Value = serde_json::from_slice(&readme).expect("JSON");
    let (mut seen, mut wrong) = (0, Vec::new());
    for (kind, options) in readme["options"].as_object().expect("options by folder") {
        let options: Options = serde_json::from_value(options.clone()).expect("options");
        let options = WriterOptions::from(options);
        for entry in std::fs::read_dir(folder.join(kind)).expect("a folder per kind") {
            let path = entry.expect("an entry").path();
            let extension = path
                .extension()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let result = folder
                .join(path.file_stem().unwrap_or_default())
                .with_extension("result.json");
            let result = std::fs::read(result).expect("the result");
            let transcript = read_json("result", &result).expect("openai's result");
            let format = OutputFormat::parse(&extension).expect("a format");
            seen += 1;
            if written(format, &transcript, &options)
                != std::fs::read_to_string(&path).expect("text")
            {
                wrong.push(path);
            }
        }
    }
    assert!(seen >= 44, "only {seen} outputs found");
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn numbers_are_written_as_python_writes_them() {
    let cases = [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (1.0 / 3.0, "0.3333333333333333"),
        (7.6000000000000005, "7.6000000000000005"),
        (1e15, "1000000000000000.0"),
        (9_999_999_999_999_998.0, "9999999999999998.0"),
        (1e16, "1e+16"),
        (1.5e16, "1.5e+16"),
        (f64::MAX, "1.7976931348623157e+308"),
        (5e-324, "5e-324"),
        (0.0001, "0.0001"),
        (0.000_012_345, "1.2345e-05"),
        (-2.5e-7, "-2.5e-07"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "Infinity"),
        (f64::NEG_INFINITY, "-Infinity"),
    ];
    let wrong: Vec<_> = cases
        .iter()
        .filter(|(value, want)| json::float(*value) != *want)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn times_round_halves_to_even_and_never_panic() {
    let cases = [
        (0.0, "00:00.000", "00:00:00,000"),
        (0.0005, "00:00.000", "00:00:00,000"),
        (0.0015, "00:00.002", "00:00:00,002"),
        (59.9996, "01:00.000", "00:01:00,000"),
        (3599.9999, "01:00:00.000", "01:00:00,000"),
        (360_000.5, "100:00:00.500", "100:00:00,500"),
        (-1.0, "00:00.000", "00:00:00,000"),
        (f64::NAN, "00:00.000", "00:00:00,000"),
    ];
    let row = |(s, vtt, srt): &&(f64, &str, &str)| {
        format_timestamp(*s, false, '.') != *vtt || format_timestamp(*s, true, ',') != *srt
    };
    let wrong: Vec<_> = cases.iter().filter(row).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(format_timestamp(f64::INFINITY, false, '.').len() > 10);
}

#[test]
fn files_are_named_as_openai_names_them() {
    let cases = [
        ("a/interview.mp3", "out/interview.srt"),
        ("interview.part1.mp3", "out/interview.part1.srt"),
        ("noextension", "out/noextension.srt"),
        (".hidden", "out/.hidden.srt"),
        ("..hidden", "out/..hidden.srt"),
        (".hidden.wav", "out/.hidden.srt"),
        ("name with spaces ✓.wav", "out/name with spaces ✓.srt"),
        ("ends.", "out/ends.srt"),
        ("-", "out/stdin.srt"),
    ];
    let path = |audio: &str| path_for(Path::new("out"), Path::new(audio), OutputFormat::Srt);
    let wrong: Vec<_> = cases
        .iter()
        .filter(|(audio, want)| path(audio) != Path::new(want))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

fn short() -> Transcript {
    read_json(
        "short",
        br#"{"segments": [{"start": 0.0, "end": 7.6, "text": " Hello."}], "language": "en"}"#,
    )
    .expect("JSON")
}

#[test]
fn a_written_file_is_whole_readable_and_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("new/folder");
    for _ in 0..2 {
        let path = path_for(&out, Path::new("x/a.b.mp3"), OutputFormat::Txt);
        write_file(
            OutputFormat::Txt,
            &short(),
            &WriterOptions::default(),
            &path,
        )
        .expect("written");
    }
    assert_eq!(
        std::fs::read_to_string(out.join("a.b.txt")).expect("text"),
        "Hello.\n"
    );
    assert_eq!(std::fs::read_dir(&out).expect("the folder").count(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(folder.path().join("plain"), "").expect("a plain file");
        let mode = |path: &Path| {
            std::fs::metadata(path)
                .expect("a file")
                .permissions()
                .mode()
        };
        assert_eq!(
            mode(&out.join("a.b.txt")),
            mode(&folder.path().join("plain"))
        );
    }
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_naming_it() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), "").expect("a plain file");
    let path = folder.path().join("file/a.json");
    let error = write_file(
        OutputFormat::Json,
        &short(),
        &WriterOptions::default(),
        &path,
    );
    let said = error.map_or_else(|e| e.to_string(), |_| "written".into());
    assert!(said.contains("a.json"), "{said}");
}

#[test]
fn a_terminal_shows_segments_as_openai_prints_them() {
    assert_eq!(
        timed_line(&short().segments[0]),
        "[00:00.000 --> 00:07.600]  Hello."
    );
}

#[test]
fn damaged_json_is_an_error_naming_it() {
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"segments": [{"start": "0"}]}"#,
        r#"{"segments": [{"start": NaN}]}"#,
    ] {
        let said =
            read_json("x.json", bad.as_bytes()).map_or_else(|e| e.to_string(), |_| "read".into());
        assert!(said.starts_with("x.json: "), "{bad}: {said}");
    }
}

#[test]
fn names_of_formats() {
    assert_eq!(OutputFormat::parse("SRT"), Some(OutputFormat::Srt));
    let all = OutputFormat::ALL.map(|format| OutputFormat::parse(format.extension()));
    assert_eq!(all, OutputFormat::ALL.map(Some));
    assert_eq!(OutputFormat::parse("docx"), None);
}

//! The library as an embedder uses it: the stable names alone, with the repository's small model.

use std::path::Path;
use std::sync::{Arc, Mutex};

use undertone::weights::{Conversion, Numbers, Target, convert, open};
use undertone::{
    ComputeType, Control, Engine, Error, Progress, Segment, SegmentSink, SpeechSpan, Task,
    TranscribeOptions, Transcript, WindowTrace,
};

const PICO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pico");
const SPANISH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/audio/es_conteo.wav");

fn engine() -> Engine {
    Engine::builder()
        .model(PICO)
        .threads(1)
        .without_packed_copies()
        .build()
        .unwrap()
}

fn options() -> TranscribeOptions {
    let mut options = TranscribeOptions::default();
    options.decoding.language = Some("es".into());
    options.gates.temperatures = vec![0.0];
    options
}

/// A minute and a half: several windows.
fn long_recording() -> Vec<f32> {
    (0..90 * 16_000)
        .map(|i| (i as f32 * 0.05).sin() * 0.1)
        .collect()
}

/// What `EngineBuilder::packed_dir` promises, with a little for scales, positions and padding.
#[test]
fn packed_copies_are_no_larger_than_promised() {
    let temp = tempfile::tempdir().unwrap();
    let whole = Path::new(PICO).join("model.bin");
    let quantized = temp.path().join("quantized");
    let conversion = Conversion {
        target: Target::Gguf,
        numbers: Numbers::named()
            .find(|(name, _)| *name == "q8_0")
            .map(|(_, numbers)| numbers),
    };
    convert(&whole, &quantized, &conversion).unwrap();
    let dims = open(&whole).unwrap().dims().clone();
    let (all, embedding) = (dims.parameters(), dims.n_vocab * dims.n_text_state);
    let positions = dims.n_audio_ctx * dims.n_audio_state + dims.n_text_ctx * dims.n_text_state;
    // Bytes of a weight, and of a number of the embedding that is kept for looking tokens up.
    let table = [
        (PICO.to_owned(), ComputeType::F32, 2, 2),
        (PICO.to_owned(), ComputeType::Int8, 1, 2),
        (quantized.display().to_string(), ComputeType::F32, 4, 4),
        (quantized.display().to_string(), ComputeType::Int8, 1, 4),
    ];
    for (n, (model, compute, weight, looked_up)) in table.into_iter().enumerate() {
        let folder = temp.path().join(n.to_string());
        let builder = Engine::builder().model(&model).compute_type(compute);
        builder.threads(1).packed_dir(&folder).build().unwrap();
        let files = std::fs::read_dir(&folder).unwrap();
        let kept: u64 = files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        let promised = weight * all + looked_up * embedding;
        let little = 4 * positions + promised / 20 + (1 << 16);
        let most = (promised + little) as u64;
        assert!(kept > (all / 2) as u64, "{model} {compute}: {kept} bytes");
        assert!(
            kept <= most,
            "{model} {compute}: {kept} bytes, promised {most}"
        );
    }
}

#[test]
fn results_and_options_are_the_same_after_json() {
    let transcript = engine().transcribe(SPANISH, &options()).unwrap();
    assert!(!transcript.segments.is_empty() && !transcript.windows.is_empty());
    let text = serde_json::to_string(&transcript).unwrap();
    assert_eq!(
        serde_json::from_str::<Transcript>(&text).unwrap(),
        transcript
    );
    let text = serde_json::to_string(&options()).unwrap();
    assert_eq!(
        serde_json::from_str::<TranscribeOptions>(&text).unwrap(),
        options()
    );
    // What is left out is as usual.
    let short: TranscribeOptions = serde_json::from_str(
        r#"{"decoding": {"language": "es"}, "gates": {"temperatures": [0.0]}}"#,
    )
    .unwrap();
    assert_eq!(short, options());
}

/// Keeps what it is told, in order.
#[derive(Default)]
struct Diary {
    segments: Vec<Segment>,
    windows: Vec<WindowTrace>,
    most: usize,
    /// How many segments there were when the recording had been read, and how long it was.
    read: Option<(usize, f64)>,
}

impl SegmentSink for Diary {
    fn segment(&mut self, segment: &Segment) -> undertone::Result<()> {
        self.segments.push(segment.clone());
        match self.segments.len() > self.most {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }

    fn heard(&mut self, duration_s: f64, _: Option<&[SpeechSpan]>) -> undertone::Result<()> {
        assert_eq!(self.read, None, "it was read twice");
        self.read = Some((self.segments.len(), duration_s));
        Ok(())
    }

    fn window(&mut self, trace: &WindowTrace) -> undertone::Result<()> {
        self.windows.push(trace.clone());
        Ok(())
    }
}

/// A minute and a half of a voice with long pauses.
fn talk() -> Vec<f32> {
    let wav = std::fs::read(SPANISH).unwrap();
    let data = wav.windows(4).position(|name| name == b"data").unwrap() + 8;
    let (samples, _) = wav[data..].as_chunks::<4>();
    let said = samples.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let with_pause = said.chain(std::iter::repeat_n(0.0, 3 * 16_000));
    with_pause
        .collect::<Vec<_>>()
        .repeat(90)
        .into_iter()
        .take(90 * 16_000)
        .collect()
}

#[test]
fn the_robust_preset_writes_while_the_recording_is_read() {
    let engine = engine();
    let plain = options();
    for batch_size in [None, Some(3)] {
        let options = TranscribeOptions {
            decoding: plain.decoding.clone(),
            gates: plain.gates.clone(),
            batch_size,
            ..TranscribeOptions::robust()
        };
        let progress = Arc::new(Mutex::new(Vec::<Progress>::new()));
        let mut control = Control::default();
        let listener = progress.clone();
        control.progress = Some(Arc::new(move |p| listener.lock().unwrap().push(p)));
        let mut diary = Diary {
            most: usize::MAX,
            ..Diary::default()
        };
        let transcript = engine
            .run(talk().into(), &options, &mut diary, &control)
            .unwrap();
        let (written, duration_s) = diary.read.unwrap();
        assert!(written > 0 && written < diary.segments.len(), "{written}");
        assert_eq!((duration_s, transcript.duration_s), (90.0, 90.0));
        assert_eq!(diary.segments, transcript.segments);
        assert_eq!(diary.windows, transcript.windows);
        let segments = &transcript.segments;
        assert!(segments.iter().enumerate().all(|(n, s)| s.id == n));
        assert!(segments.windows(2).all(|s| s[0].end <= s[1].start));
        assert!(segments.iter().any(|s| s.start > 60.0 && s.end <= 90.0));
        let tokens = segments.iter().flat_map(|s| s.tokens.iter().copied());
        let text = engine.decode_tokens(&tokens.collect::<Vec<_>>());
        assert_eq!(transcript.text, text);
        let speech = transcript.speech.unwrap();
        assert!(
            speech.windows(2).all(|s| s[0].end < s[1].start),
            "{speech:?}"
        );
        let told = progress.lock().unwrap();
        assert!(told.windows(2).all(|p| p[0].done_s <= p[1].done_s));
        assert!(told.iter().all(|p| p.total_s == 90.0), "{told:?}");
        assert_eq!(told.last().unwrap().done_s, 90.0);
    }
}

#[test]
fn a_sink_hears_of_everything_and_progress_only_rises() {
    let engine = engine();
    let told = Arc::new(Mutex::new(Vec::<Progress>::new()));
    let mut control = Control::default();
    let listener = told.clone();
    control.progress = Some(Arc::new(move |p| listener.lock().unwrap().push(p)));
    let mut diary = Diary {
        most: usize::MAX,
        ..Diary::default()
    };
    let transcript = engine
        .run(long_recording().into(), &options(), &mut diary, &control)
        .unwrap();
    assert_eq!(diary.read, Some((0, transcript.duration_s)));
    assert_eq!(diary.segments, transcript.segments);
    assert_eq!(diary.windows, transcript.windows);
    assert!(transcript.windows.len() >= 3);
    let told = told.lock().unwrap();
    assert!(told.windows(2).all(|pair| pair[0].done_s <= pair[1].done_s));
    let last = told.last().unwrap();
    assert!(
        last.done_s >= last.total_s && (last.total_s - 90.0).abs() < 0.1,
        "{last:?}"
    );
    let one_by_one = engine.segments(long_recording(), &options());
    let one_by_one: Vec<Segment> = one_by_one.map(Result::unwrap).collect();
    assert_eq!(one_by_one, transcript.segments);
}

#[test]
fn work_stops_when_it_is_cancelled_or_the_sink_has_enough() {
    let engine = engine();
    let mut control = Control::default();
    let stop = control.cancel.clone();
    // The first window is done when the wish comes, the others are not.
    control.progress = Some(Arc::new(move |p: Progress| {
        if p.done_s > 0.0 {
            stop.cancel();
        }
    }));
    let mut diary = Diary {
        most: usize::MAX,
        ..Diary::default()
    };
    let ended = engine.run(long_recording().into(), &options(), &mut diary, &control);
    assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
    assert!(diary.windows.len() < 3, "{} windows", diary.windows.len());
    let mut enough = Diary::default();
    let ended = engine.run(SPANISH.into(), &options(), &mut enough, &Control::default());
    assert!(matches!(ended, Err(Error::Cancelled)) && enough.segments.len() == 1);
    // The engine goes on for others.
    assert!(engine.transcribe(SPANISH, &options()).is_ok());
}

#[test]
fn segments_end_with_the_whole_transcript() {
    let engine = engine();
    // Cut off: the header promises more.
    let mut recording = std::fs::read(SPANISH).unwrap();
    recording.truncate(recording.len() / 2);
    let whole = engine.transcribe(recording.clone(), &options()).unwrap();
    assert_eq!(whole.warnings.len(), 1, "{:?}", whole.warnings);
    let mut segments = engine.segments(recording, &options());
    let first = segments.next().unwrap().unwrap();
    assert_eq!(first, whole.segments[0]);
    assert_eq!(segments.finish().unwrap(), whole);
}

#[test]
fn segments_obey_their_control_and_leave_it_to_others() {
    let engine = engine();
    let mut control = Control::default();
    drop(engine.segments_with(SPANISH, &options(), &control));
    assert!(!control.cancel.is_cancelled());
    let stop = control.cancel.clone();
    control.progress = Some(Arc::new(move |_| stop.cancel()));
    let mut segments = engine.segments_with(long_recording(), &options(), &control);
    let ended = segments.by_ref().find_map(Result::err);
    assert!(matches!(ended, Some(Error::Cancelled)), "{ended:?}");
    assert!(segments.next().is_none());
    assert!(matches!(segments.finish(), Err(Error::Cancelled)));
}

#[test]
fn what_cannot_be_begun_is_the_only_item() {
    let mut nonsense = options();
    nonsense.gates.temperatures.clear();
    let mut segments = engine().segments(SPANISH, &nonsense);
    let error = segments.next().unwrap().unwrap_err();
    assert!(matches!(error, Error::Option { .. }), "{error}");
    assert!(segments.next().is_none());
    let missing = engine().segments("no-such-file.wav", &options()).finish();
    let error = missing.unwrap_err().to_string();
    assert!(error.contains("no-such-file.wav"), "{error}");
}

#[test]
fn names_are_read_as_they_are_written() {
    for compute in ComputeType::ALL {
        assert_eq!(compute.to_string().parse::<ComputeType>().unwrap(), compute);
        let json = serde_json::to_string(&compute).unwrap();
        assert_eq!(json, format!("\"{compute}\""));
    }
    for task in [Task::Transcribe, Task::Translate] {
        assert_eq!(task.to_string().parse::<Task>().unwrap(), task);
    }
    let errors = [
        "float32".parse::<ComputeType>().unwrap_err().to_string(),
        "summarize".parse::<Task>().unwrap_err().to_string(),
    ];
    assert!(
        errors[0].contains("float32") && errors[1].contains("summarize"),
        "{errors:?}"
    );
}

#[test]
fn text_becomes_tokens_and_comes_back() {
    let engine = engine();
    let tokens = engine.encode_text(" uno dos");
    assert!(!tokens.is_empty());
    assert_eq!(engine.decode_tokens(&tokens), " uno dos");
    let described = engine.describe();
    assert_eq!(described.compute, ComputeType::F32);
    assert!(described.state.window > 0 && described.state.row > 0);
    assert!(format!("{engine:?}").contains("models/pico"));
}

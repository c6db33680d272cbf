use super::*;
use crate::server::models::Served;

fn read(fields: &[(&str, &str)], task: Task) -> ApiResult<SpeechRequest> {
    let owned = fields
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    SpeechRequest::read(
        &Form::of(owned.collect(), FilePart::Bytes(Vec::new())),
        task,
    )
}

#[test]
fn nothing_asked_is_the_command_lines_greedy_decoding() {
    let request = read(&[("unknown", "x"), ("language", "")], Task::Transcribe).unwrap();
    let mut greedy = TranscribeOptions::default();
    greedy.decoding.best_of = Some(5);
    for (_, style) in ApiStyle::ALL {
        assert_eq!(request.options(style), greedy);
    }
    assert_eq!((request.format, request.stream), (Format::Json, false));
}

#[test]
fn fields_are_acted_on() {
    let fields = [
        ("language", "de"),
        ("prompt", "Foscolo"),
        ("phrases", "[\"Zacinto\", [\"Kubernetes\", 3]]"),
        ("temperature", "0.8"),
        ("seed", "-1"),
        ("top_k", "12"),
        ("top_p", "0.4"),
        ("min_p", "0.5"),
        ("repetition_penalty", "1.9"),
        ("frequency_penalty", "1.8"),
        ("presence_penalty", "2.0"),
        ("timestamp_granularities[]", "segment"),
        ("timestamp_granularities[]", "word"),
        ("max_completion_tokens", "1"),
    ];
    let options = read(&fields, Task::Translate)
        .unwrap()
        .options(ApiStyle::Vllm);
    let d = &options.decoding;
    assert_eq!(
        (d.task, d.language.as_deref()),
        (Task::Translate, Some("de"))
    );
    assert_eq!((d.beam_size, d.best_of, d.seed), (None, None, u64::MAX));
    assert_eq!((d.max_new_tokens, d.sampling.top_k), (Some(1), 12));
    assert_eq!((d.sampling.top_p, d.sampling.min_p), (0.4, 0.5));
    let penalties = [
        d.sampling.repetition_penalty,
        d.sampling.frequency_penalty,
        d.sampling.presence_penalty,
    ];
    assert_eq!(penalties, [1.9, 1.8, 2.0]);
    assert_eq!(options.gates.temperatures, [0.8]);
    let phrases = options.phrases.iter().map(|p| (p.text.as_str(), p.weight));
    let phrases: Vec<_> = phrases.collect();
    assert_eq!(phrases, [("Zacinto", Phrase::WEIGHT), ("Kubernetes", 3.0)]);
    assert_eq!(options.initial_prompt.as_deref(), Some("Foscolo"));
    assert!(options.word_timestamps);
    options.validate().unwrap();
}

#[test]
fn beams_are_greedy_at_one_and_know_no_temperature() {
    let options = |n| {
        let fields = [
            ("use_beam_search", "1"),
            ("n", n),
            ("temperature", "0.5"),
            ("length_penalty", "2"),
        ];
        read(&fields, Task::Transcribe)
            .unwrap()
            .options(ApiStyle::Vllm)
    };
    let (one, three) = (options("1"), options("3"));
    assert_eq!(
        (one.decoding.beam_size, one.decoding.length_exponent),
        (None, None)
    );
    assert_eq!(
        (three.decoding.beam_size, three.decoding.length_exponent),
        (Some(3), Some(2.0))
    );
    assert_eq!(
        (one.gates, three.gates),
        (Gates::default(), Gates::default())
    );
}

#[test]
fn a_temperature_of_zero_may_rise_only_where_openai_says_so() {
    let request = read(&[("temperature", "0")], Task::Transcribe).unwrap();
    assert_eq!(request.options(ApiStyle::Vllm).gates.temperatures, [0.0]);
    assert_eq!(request.options(ApiStyle::OpenAi).gates, Gates::default());
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let cases = [
        ("temperature", "hot", "Bad Request"),
        ("temperature", "2.5", "BadRequestError"),
        ("temperature", "nan", "BadRequestError"),
        ("response_format", "diarized_json", "Bad Request"),
        ("timestamp_granularities[]", "letter", "Bad Request"),
        ("stream", "maybe", "Bad Request"),
        ("stream_include_usage", "true", "BadRequestError"),
        ("n", "0", "BadRequestError"),
        ("n", "x", "Bad Request"),
        ("max_completion_tokens", "0", "BadRequestError"),
        ("seed", "1.5", "Bad Request"),
        ("vllm_xargs", "{", "BadRequestError"),
        ("top_k", "-2", "BadRequestError"),
        ("top_p", "0", "BadRequestError"),
        ("top_p", "1.1", "BadRequestError"),
        ("min_p", "-0.1", "BadRequestError"),
        ("repetition_penalty", "0", "BadRequestError"),
        ("frequency_penalty", "2.1", "BadRequestError"),
        ("presence_penalty", "x", "Bad Request"),
        ("phrases", "Zacinto\tmuch", "BadRequestError"),
        ("phrases", "[\"Zacinto\"", "BadRequestError"),
        ("phrases", "[[\"Zacinto\", -1]]", "BadRequestError"),
    ];
    for (name, value, kind) in cases {
        let error = read(&[(name, value)], Task::Transcribe).unwrap_err();
        assert_eq!(
            (error.status.as_u16(), error.kind),
            (400, kind),
            "{name}={value}"
        );
        assert_eq!(error.param, Some(name.trim_end_matches("[]")), "{value}");
    }
    let text = Form::of(Vec::new(), FilePart::Text);
    let status = |task| {
        SpeechRequest::read(&text, task)
            .unwrap_err()
            .status
            .as_u16()
    };
    assert_eq!(
        (status(Task::Transcribe), status(Task::Translate)),
        (422, 400)
    );
    let missing = SpeechRequest::read(&Form::default(), Task::Transcribe).unwrap_err();
    assert_eq!((missing.kind, missing.param), ("Bad Request", Some("file")));
}

#[test]
fn languages_are_codes_in_small_letters() {
    let models = Models::new(vec![Served::speech(
        "m",
        "m",
        Box::new(|| unreachable!()),
        None,
    )]);
    let check = |code| {
        read(&[("language", code)], Task::Transcribe)
            .unwrap()
            .check(&models)
    };
    for code in ["en", "it", "yue", "haw"] {
        check(code).unwrap();
    }
    for code in ["hh", "EN", "english"] {
        let error = check(code).unwrap_err();
        let start = format!("Unsupported language: '{code}'.  Must be one of ['af', 'ar', ");
        assert!(error.message.starts_with(&start), "{}", error.message);
        assert_eq!(
            (error.status.as_u16(), error.param),
            (400, Some("language"))
        );
        assert_eq!(error.message.matches("', '").count(), 56);
    }
}

#[test]
fn streams_exclude_beams_and_formats_with_an_end() {
    let ask = |fields: &[(&str, &str)]| read(fields, Task::Transcribe).unwrap();
    let beams = ask(&[("stream", "true"), ("use_beam_search", "true"), ("n", "2")]);
    assert_eq!(
        beams.check_beams().unwrap_err().message,
        "Streaming is not currently supported with beam search"
    );
    for (format, streams) in [
        ("json", true),
        ("text", true),
        ("verbose_json", false),
        ("srt", false),
    ] {
        let request = ask(&[("stream", "true"), ("response_format", format)]);
        assert_eq!(request.check_stream_format().is_ok(), streams, "{format}");
    }
}

#[test]
fn speech_is_looked_for_by_the_command_lines_rules() {
    let options = |fields: &[(&str, &str)]| {
        let request = read(fields, Task::Transcribe)?;
        Ok::<_, ApiError>(request.options(ApiStyle::Vllm).vad)
    };
    let plain = options(&[("vad_filter", "true")]).unwrap();
    assert_eq!(plain, Some(VadOptions::default()));
    let fields = [
        ("vad_filter", "1"),
        (
            "vad_parameters",
            r#"{"threshold": 0.7, "speech_pad_ms": 50, "mode": "mute"}"#,
        ),
        ("vad_threshold", "0.6"),
        ("vad_neg_threshold", "0.2"),
        ("vad_min_speech_duration_ms", "250"),
        ("vad_max_speech_duration_s", "20"),
        ("vad_min_silence_duration_ms", "300"),
    ];
    let expected = VadOptions {
        threshold: 0.6,
        neg_threshold: Some(0.2),
        min_speech_duration_ms: 250,
        max_speech_duration_s: Some(20.0),
        min_silence_duration_ms: 300,
        speech_pad_ms: 50,
        mode: crate::vad::VadMode::Mute,
    };
    assert_eq!(options(&fields).unwrap(), Some(expected));
    for (name, value) in [
        ("vad_filter", "perhaps"),
        ("vad_parameters", "0.5"),
        ("vad_parameters", r#"{"treshold": 0.5}"#),
        ("vad_threshold", "1.5"),
        ("vad_speech_pad_ms", "-1"),
        ("vad_max_speech_duration_s", "0"),
        ("vad_mode", "off"),
    ] {
        let refused = options(&[("vad_filter", "true"), (name, value)]);
        assert!(refused.is_err(), "{name}={value}");
    }
    assert!(options(&[("vad_threshold", "0.6")]).is_err());
}

//! What is typed, and what it is read as.

use super::values::Setting;
use super::*;

fn typed(line: &[&str]) -> Result<Args, clap::Error> {
    parse(normalize(
        std::iter::once("undertone")
            .chain(line.iter().copied())
            .map(OsString::from),
    ))
}

fn speech(line: &[&str]) -> SpeechArgs {
    match typed(line).map(|args| args.command) {
        Ok(Command::Transcribe(args) | Command::Translate(args)) => *args,
        other => panic!("{line:?}: {other:?}"),
    }
}

#[test]
fn the_definition_is_consistent() {
    command().clone().debug_assert();
    let commands: Vec<String> = command()
        .get_subcommands()
        .map(|c| c.get_name().to_owned())
        .collect();
    let missing: Vec<_> = commands
        .iter()
        .filter(|name| !COMMANDS.contains(&name.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in COMMANDS: {missing:?}");
}

#[test]
fn openais_command_line_is_read_as_it_is() {
    let line = "audio.mp3 --model base --language German --task translate --output_format srt --output_dir out";
    let args = speech(&line.split(' ').collect::<Vec<_>>());
    assert_eq!(args.audio, [std::path::PathBuf::from("audio.mp3")]);
    assert_eq!(
        (args.run.model.model.as_str(), args.language.as_deref()),
        ("base", Some("de"))
    );
    assert_eq!(args.task.as_deref(), Some("translate"));
    assert_eq!(args.output.output_format, ["srt"]);
    assert_eq!(args.output.output_dir, Some("out".into()));
}

#[test]
fn vllms_sampling_parameters_are_read() {
    let line = "a.wav --top_k -1 --top-p 0.4 --min_p 0.5 --repetition_penalty 1.9 \
                --frequency_penalty -1.8 --presence_penalty=-2 --max_new_tokens 7 --length_exponent -0.5";
    let decoding = speech(&line.split_whitespace().collect::<Vec<_>>()).decoding;
    let s = &decoding.sampling;
    assert_eq!((s.top_k, s.top_p, s.min_p), (-1, 0.4, 0.5));
    assert_eq!(
        (
            s.repetition_penalty,
            s.frequency_penalty,
            s.presence_penalty
        ),
        (1.9, -1.8, -2.0)
    );
    assert_eq!(
        (decoding.max_new_tokens, decoding.length_exponent),
        (Setting(Some(7)), Setting(Some(-0.5)))
    );
    let s = speech(&["a.wav"]).decoding.sampling;
    let none = crate::Sampling::default();
    assert_eq!(
        (s.top_k, s.top_p, s.min_p),
        (none.top_k, none.top_p, none.min_p)
    );
    assert_eq!(
        (
            s.repetition_penalty,
            s.frequency_penalty,
            s.presence_penalty
        ),
        (
            none.repetition_penalty,
            none.frequency_penalty,
            none.presence_penalty
        )
    );
}

#[test]
fn defaults_are_those_of_openais_command() {
    let args = speech(&["a.wav"]);
    let (d, g) = (&args.decoding, &args.gates);
    assert_eq!(
        (d.temperature, d.temperature_increment_on_fallback),
        (0.0, Setting(Some(0.2)))
    );
    assert_eq!(
        (d.beam_size, d.best_of),
        (Setting(Some(5)), Setting(Some(5)))
    );
    assert_eq!(
        (d.patience, d.length_penalty),
        (Setting(None), Setting(None))
    );
    assert_eq!(
        (d.suppress_tokens.as_str(), d.clip_timestamps.as_str()),
        ("-1", "0")
    );
    assert!(d.condition_on_previous_text && !d.carry_initial_prompt && !d.without_timestamps);
    assert_eq!(
        (g.compression_ratio_threshold, g.logprob_threshold),
        (Setting(Some(2.4)), Setting(Some(-1.0)))
    );
    assert_eq!(
        (g.no_speech_threshold, g.hallucination_silence_threshold),
        (Setting(Some(0.6)), Setting(None))
    );
    assert_eq!(args.words.prepend_punctuations, "\"'“¿([{-");
    assert_eq!(args.words.append_punctuations, "\"'.。,，!！?？:：”)]}、");
    assert!(!args.words.word_timestamps && args.output.verbose.is_none());
    assert_eq!(args.run.model.model, "base");
}

#[test]
fn booleans_stand_alone_or_with_their_value() {
    let cases: [(&[&str], Option<bool>, bool); 9] = [
        (&["a.wav"], None, false),
        (&["--verbose", "False", "a.wav"], Some(false), false),
        (&["--verbose", "a.wav"], Some(true), false),
        (&["-v", "a.wav"], Some(true), false),
        (&["a.wav", "-v"], Some(true), false),
        (&["a.wav", "--verbose=false"], Some(false), false),
        (&["a.wav", "--word_timestamps", "True"], None, true),
        (&["--word_timestamps", "a.wav"], None, true),
        (&["a.wav", "--word-timestamps", "false"], None, false),
    ];
    let mut wrong = Vec::new();
    for (line, verbose, words) in cases {
        let args = speech(line);
        let files = args.audio == [std::path::PathBuf::from("a.wav")];
        if args.output.verbose != verbose || args.words.word_timestamps != words || !files {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn none_switches_off_and_dashes_equal_underscores() {
    for (dash, none) in [("_", "None"), ("-", "none"), ("-", "NONE")] {
        let names = [
            "compression_ratio_threshold",
            "logprob_threshold",
            "no_speech_threshold",
            "beam_size",
        ];
        let increment = format!("--temperature_increment_on_fallback={none}").replace('_', dash);
        let mut line = vec!["a.wav".to_owned(), increment];
        for name in names {
            line.extend([format!("--{}", name.replace('_', dash)), none.to_owned()]);
        }
        let args = speech(&line.iter().map(String::as_str).collect::<Vec<_>>());
        let g = &args.gates;
        assert_eq!(
            [
                g.compression_ratio_threshold,
                g.logprob_threshold,
                g.no_speech_threshold
            ],
            [Setting(None); 3]
        );
        assert_eq!(
            args.decoding.temperature_increment_on_fallback,
            Setting(None)
        );
        assert_eq!(args.decoding.beam_size, Setting(None));
    }
}

#[test]
fn values_keep_their_underscores_and_dashes() {
    let args = speech(&[
        "--initial_prompt",
        "--snake_case words",
        "my_file.wav",
        "--logprob_threshold",
        "-0.5",
    ]);
    assert_eq!(
        args.decoding.initial_prompt.as_deref(),
        Some("--snake_case words")
    );
    assert_eq!(args.audio, [std::path::PathBuf::from("my_file.wav")]);
    assert_eq!(args.gates.logprob_threshold, Setting(Some(-0.5)));
    let args = speech(&[
        "--prefix=a_b=c",
        "-o",
        "out_dir",
        "-f",
        "srt",
        "-f",
        "json",
        "--",
        "--odd_name.wav",
        "-",
    ]);
    assert_eq!(args.decoding.prefix.as_deref(), Some("a_b=c"));
    assert_eq!(args.output.output_dir, Some("out_dir".into()));
    assert_eq!(args.output.output_format, ["srt", "json"]);
    assert_eq!(
        args.audio,
        [std::path::PathBuf::from("--odd_name.wav"), "-".into()]
    );
    assert_eq!(speech(&["-"]).audio, [std::path::PathBuf::from("-")]);
}

/// A command line, and whether what it is read as is right.
type CommandCase = (&'static [&'static str], fn(&Command) -> bool);

#[test]
fn every_command_is_found() {
    let cases: &[CommandCase] = &[
        (&["transcribe", "a"], |c| {
            matches!(c, Command::Transcribe(_))
        }),
        (
            &["a", "b"],
            |c| matches!(c, Command::Transcribe(args) if args.audio.len() == 2),
        ),
        (&["translate", "a"], |c| matches!(c, Command::Translate(_))),
        (
            &["detect-language", "--json", "a"],
            |c| matches!(c, Command::DetectLanguage(args) if args.json),
        ),
        (&["detect_language", "a"], |c| {
            matches!(c, Command::DetectLanguage(_))
        }),
        (
            &["models", "list"],
            |c| matches!(c, Command::Models(ModelsCommand::List(list)) if !list.json),
        ),
        (
            &["models", "pull", "base"],
            |c| matches!(c, Command::Models(ModelsCommand::Pull(name)) if name.model == "base"),
        ),
        (&["models", "convert", "a", "b"], |c| {
            matches!(c, Command::Models(ModelsCommand::Convert(_)))
        }),
        (&["attention", "list"], |c| {
            matches!(c, Command::Attention(AttentionCommand::List(_)))
        }),
        (&["attention", "check", "f.tsv"], |c| {
            matches!(c, Command::Attention(AttentionCommand::Check(_)))
        }),
        (
            &["bench", "a", "--json"],
            |c| matches!(c, Command::Bench(args) if args.json),
        ),
        #[cfg(feature = "eval")]
        (&["eval", "m.tsv"], |c| matches!(c, Command::Eval(_))),
        (&["doctor"], |c| matches!(c, Command::Doctor(_))),
        (&["completions", "bash"], |c| {
            matches!(c, Command::Completions(_))
        }),
    ];
    let found = |line: &[&str], right: fn(&Command) -> bool| {
        typed(line).is_ok_and(|args| right(&args.command))
    };
    let wrong: Vec<_> = cases
        .iter()
        .filter(|(line, right)| !found(line, *right))
        .map(|(line, _)| line)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn attention_options_are_read() {
    let line = "attention explain --platform rocm --arch gfx942:sramecc+:xnack- --aiter --installed flash_attn,aiter \
        --env A_B=1 --env C=0 --model base --dtype float16 --head_size 64 --block-size 16 --rules 2026-03 \
        --attention_backend auto --json";
    let Ok(Command::Attention(AttentionCommand::Explain(args))) =
        typed(&line.split_whitespace().collect::<Vec<_>>()).map(|args| args.command)
    else {
        panic!("not read")
    };
    assert_eq!(
        args.attention.arch.as_deref(),
        Some("gfx942:sramecc+:xnack-")
    );
    assert_eq!(args.attention.installed, ["flash_attn", "aiter"]);
    assert_eq!(args.attention.environment, ["A_B=1", "C=0"]);
    assert_eq!(
        (
            args.head_size.map(usize::from),
            args.block_size.map(usize::from),
            args.json
        ),
        (Some(64), Some(16), true)
    );
}

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() {
    let cases: [(&[&str], i32); 10] = [
        (&[], 2),
        (&["transcribe"], 2),
        (&["a.wav", "--no-such-option"], 2),
        (&["a.wav", "--beam_size", "many"], 2),
        (&["a.wav", "--task", "sing"], 2),
        (&["a.wav", "-f", "docx"], 2),
        (&["models"], 2),
        (&["--help"], 0),
        (&["translate", "--help"], 0),
        (&["--version"], 0),
    ];
    let code = |line: &[&str]| typed(line).map_or_else(|error| error.exit_code(), |_| -1);
    let wrong: Vec<_> = cases
        .iter()
        .filter(|(line, want)| code(line) != *want)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

//! Options of other Whisper programs, and what serves instead of each.
//!
//! openai/whisper's own are ours. The table is looked up only for what is no option here, save for
//! whisper.cpp's short ones, which clap would take apart (`-osrt` as `-o srt`).

use std::ffi::OsString;

/// Long names as typed with dashes, and the answer.
const LONG: &[(&[&str], &str)] = &[
    // whisper-ctranslate2
    (&["model-directory"], "give the folder to --model"),
    (
        &["cache-directory"],
        "--model-dir DIR keeps models elsewhere",
    ),
    (
        &["local-files-only"],
        "set HF_HUB_OFFLINE=1: nothing is fetched then",
    ),
    (
        &["batched"],
        "--batch-size N cuts a recording at quiet places and decodes N windows side by side",
    ),
    (
        &[
            "vad-onset",
            "vad-offset",
            "vad-method",
            "vad",
            "vad-model",
            "vad-samples-overlap",
        ],
        "--vad-filter True looks for speech with Silero's model, which is built in; --vad-threshold and \
         --vad-neg-threshold say how sure it must be",
    ),
    (
        &[
            "hf-token",
            "speaker-name",
            "speaker-num",
            "diarize",
            "tinydiarize",
            "diarization-model",
            "num-speakers",
            "min-speakers",
            "max-speakers",
        ],
        "who speaks is not told apart here; leave the option out (a key for the Hub goes into HF_TOKEN)",
    ),
    (
        &[
            "live-transcribe",
            "live-volume-threshold",
            "live-input-device",
            "live-input-device-sample-rate",
        ],
        "there is no live input yet; a recording that ends can come through a pipe: \
         `arecord -d 30 -f cd -t wav | undertone -`",
    ),
    (
        &["print-colors", "print-confidence", "log-score"],
        "there are no colours; -f json has each segment's average log-probability, and -v shows each window's",
    ),
    (
        &["no-repeat-ngram-size"],
        "repetition is caught by --compression-ratio-threshold, which tries the window again warmer",
    ),
    (
        &["chunk-length"],
        "a window is 30 seconds, as the models were trained",
    ),
    (
        &["prompt-reset-on-temperature"],
        "the text before is dropped after a window above temperature 0.5, as in openai/whisper; \
         --condition-on-previous-text False drops it always",
    ),
    (&["pretty-json"], "pipe the json through `jq .`"),
    (
        &["device-index", "device-id", "ov-e-device"],
        "--device cuda:N says which GPU computes",
    ),
    // insanely-fast-whisper
    (
        &["file-name", "file"],
        "files come without an option: undertone FILES...",
    ),
    (
        &["transcript-path", "output-file"],
        "-o FOLDER writes files named after the recordings; `-f FORMAT -o -` writes to standard output",
    ),
    (&["model-name"], "--model NAME"),
    (
        &["flash", "flash-attn", "no-flash-attn"],
        "attention is fused on the CPU already; --attention-backend chooses another way",
    ),
    (
        &["timestamp", "dtw", "split-on-word", "max-len", "word-thold"],
        "word times are not built in yet; segments have times",
    ),
    // whisper.cpp
    (
        &["processors"],
        "--jobs N works on N files side by side, --threads N computes with N threads",
    ),
    (
        &["offset-t", "offset-n", "duration"],
        "--clip-timestamps START,END in seconds takes a stretch",
    ),
    (
        &["max-context"],
        "--condition-on-previous-text False drops the text before",
    ),
    (
        &["audio-ctx"],
        "the encoder sees all of a window, as the models were trained",
    ),
    (
        &["entropy-thold"],
        "--compression-ratio-threshold X is the gate for repetition",
    ),
    (&["logprob-thold"], "--logprob-threshold X"),
    (&["no-speech-thold"], "--no-speech-threshold P"),
    (
        &["temperature-inc"],
        "--temperature-increment-on-fallback STEP",
    ),
    (&["no-fallback"], "--temperature-increment-on-fallback None"),
    (
        &["translate"],
        "`undertone translate FILES`, or --task translate",
    ),
    (
        &[
            "output-txt",
            "output-vtt",
            "output-srt",
            "output-json",
            "output-json-full",
            "output-csv",
            "output-lrc",
            "output-words",
        ],
        "-f FORMAT writes files: txt, vtt, srt, tsv, json",
    ),
    (&["font-path"], "there are no karaoke videos"),
    (&["no-prints"], "--quiet"),
    (&["print-special"], "-f json has each segment's tokens"),
    (
        &["print-progress"],
        "progress is shown on a terminal; --quiet ends it",
    ),
    (&["no-timestamps"], "--without-timestamps True"),
    (&["detect-language"], "`undertone detect-language FILES`"),
    (&["prompt"], "--initial-prompt TEXT"),
    (
        &["no-gpu", "gpu"],
        "--device cpu or --device cuda says what computes",
    ),
    (
        &[
            "suppress-nst",
            "suppress-regex",
            "grammar",
            "grammar-rule",
            "grammar-penalty",
        ],
        "--suppress-tokens takes token ids; -1, the default, stands for what is not speech",
    ),
    (&["debug-mode"], "-v shows how each window was decoded"),
    // WhisperX and others
    (
        &["align-model", "no-align", "interpolate-method"],
        "word times are openai/whisper's, from the model's own attention: --word-timestamps True",
    ),
    (
        &["skip"],
        "--skip-existing passes over recordings whose outputs are there",
    ),
];

/// whisper.cpp's short options of several letters, and the long one that answers.
const SHORT: &[(&str, &str)] = &[
    ("ot", "offset-t"),
    ("on", "offset-n"),
    ("mc", "max-context"),
    ("ml", "max-len"),
    ("sow", "split-on-word"),
    ("bo", "--best-of N"),
    ("bs", "--beam-size N"),
    ("ac", "audio-ctx"),
    ("wt", "word-thold"),
    ("et", "entropy-thold"),
    ("lpt", "logprob-thold"),
    ("nth", "no-speech-thold"),
    ("tp", "--temperature X"),
    ("tpi", "temperature-inc"),
    ("debug", "debug-mode"),
    ("tr", "translate"),
    ("di", "diarize"),
    ("tdrz", "tinydiarize"),
    ("nf", "no-fallback"),
    ("otxt", "output-txt"),
    ("ovtt", "output-vtt"),
    ("osrt", "output-srt"),
    ("olrc", "output-lrc"),
    ("owts", "output-words"),
    ("fp", "font-path"),
    ("ocsv", "output-csv"),
    ("oj", "output-json"),
    ("ojf", "output-json-full"),
    ("of", "output-file"),
    ("np", "no-prints"),
    ("ps", "print-special"),
    ("pc", "print-colors"),
    ("pp", "print-progress"),
    ("nt", "no-timestamps"),
    ("dl", "detect-language"),
    ("oved", "ov-e-device"),
    ("dtw", "dtw"),
    ("ls", "log-score"),
    ("ng", "no-gpu"),
    ("fa", "flash-attn"),
    ("nfa", "no-flash-attn"),
    ("sns", "suppress-nst"),
    ("vm", "vad-model"),
    ("vt", "--vad-threshold P"),
    ("vspd", "--vad-min-speech-duration-ms MS"),
    ("vsd", "--vad-min-silence-duration-ms MS"),
    ("vmsd", "--vad-max-speech-duration-s S"),
    ("vp", "--vad-speech-pad-ms MS"),
    ("vo", "vad-samples-overlap"),
    ("dev", "device-index"),
];

/// What serves instead of another program's option, if it is one: `option` as typed, dashes in front.
pub fn answer(option: &str) -> Option<String> {
    let spelled = option.split('=').next().unwrap_or(option).replace('_', "-");
    let long = |name: &str| {
        LONG.iter()
            .find(|(names, _)| names.contains(&name))
            .map(|(_, answer)| *answer)
    };
    let found = match spelled.strip_prefix("--") {
        Some(name) => long(name)?,
        None => short(&spelled)?,
    };
    let typed = option.split('=').next().unwrap_or(option);
    Some(format!("{typed}: {found}"))
}

fn short(option: &str) -> Option<&'static str> {
    let name = option.strip_prefix('-')?;
    let (_, means) = SHORT.iter().find(|(short, _)| *short == name)?;
    if means.starts_with("--") {
        return Some(means);
    }
    let answers = LONG.iter().find(|(names, _)| names.contains(means));
    answers.map(|(_, answer)| *answer)
}

/// The first of whisper.cpp's short options on a command line, with its answer.
pub fn taken_apart(typed: &[OsString]) -> Option<String> {
    let options = typed
        .iter()
        .skip(1)
        .take_while(|argument| *argument != "--");
    options
        .filter_map(|argument| argument.to_str())
        .filter(|argument| argument.starts_with('-') && !argument.starts_with("--"))
        .find_map(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The options of four programs, as their help lists them.
    const PEERS: &str = "
        --model --model_dir --device --output_dir --output_format --verbose --task --language
        --temperature --best_of --beam_size --patience --length_penalty --suppress_tokens
        --initial_prompt --carry_initial_prompt --condition_on_previous_text --fp16
        --temperature_increment_on_fallback --compression_ratio_threshold --logprob_threshold
        --no_speech_threshold --word_timestamps --prepend_punctuations --append_punctuations
        --highlight_words --max_line_width --max_line_count --max_words_per_line --threads
        --clip_timestamps --hallucination_silence_threshold
        --model_directory --cache_directory --local_files_only --device_index --compute_type
        --batched --batch_size --print_colors --vad_filter --vad_threshold
        --vad_min_speech_duration_ms --vad_max_speech_duration_s --vad_min_silence_duration_ms
        --hf_token --speaker_name --speaker_num --live_transcribe --live_volume_threshold
        --live_input_device --live_input_device_sample_rate --hotwords --multilingual
        --repetition_penalty --no_repeat_ngram_size --language_detection_threshold
        --language_detection_segments --prefix --suppress_blank --without_timestamps
        --max_initial_timestamp --max_new_tokens --chunk_length --prompt_reset_on_temperature
        --pretty_json
        --file-name --device-id --transcript-path --model-name --flash --timestamp --hf-token
        --diarization_model --num-speakers --min-speakers --max-speakers
        --processors --offset-t --offset-n --duration --max-context --max-len --split-on-word
        --best-of --beam-size --audio-ctx --word-thold --entropy-thold --logprob-thold
        --no-speech-thold --temperature-inc --debug-mode --translate --diarize --tinydiarize
        --no-fallback --output-txt --output-vtt --output-srt --output-lrc --output-words
        --font-path --output-csv --output-json --output-json-full --output-file --no-prints
        --print-special --print-confidence --print-progress --no-timestamps --detect-language
        --prompt --carry-initial-prompt --file --ov-e-device --dtw --log-score --no-gpu
        --flash-attn --no-flash-attn --suppress-nst --suppress-regex --grammar --grammar-rule
        --grammar-penalty --vad --vad-model --vad-speech-pad-ms --vad-samples-overlap";

    #[test]
    fn every_option_of_the_others_is_ours_or_has_an_answer() {
        let speech = crate::cli::args::command();
        let speech = speech.find_subcommand("transcribe").unwrap();
        let ours: Vec<&str> = speech
            .get_arguments()
            .filter_map(|a| a.get_long())
            .collect();
        let missing: Vec<&str> = PEERS
            .split_whitespace()
            .filter(|typed| {
                let name = typed.trim_start_matches('-').replace('_', "-");
                !ours.contains(&name.as_str()) && answer(typed).is_none()
            })
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
        for (names, _) in LONG {
            let both: Vec<_> = names.iter().filter(|name| ours.contains(*name)).collect();
            assert!(both.is_empty(), "ours as well: {both:?}");
        }
        for (name, _) in SHORT {
            assert!(answer(&format!("-{name}")).is_some(), "-{name}");
        }
    }

    #[test]
    fn answers_name_what_was_typed() {
        let typed = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let told = taken_apart(&typed("undertone a.wav -osrt -l de")).unwrap();
        assert!(told.starts_with("-osrt: -f FORMAT"), "{told}");
        assert_eq!(taken_apart(&typed("undertone a.wav -o srt -l de")), None);
        assert_eq!(taken_apart(&typed("undertone -- -osrt")), None);
        let told = answer("--vad_method=x").unwrap();
        assert!(
            told.starts_with("--vad_method: --vad-filter True looks"),
            "{told}"
        );
        assert_eq!(answer("--modle"), None);
    }
}

"""The interface beside faster-whisper itself: names, defaults, types, fields."""

import dataclasses
import inspect
import types

import faster_whisper
import numpy as np
import pytest

import undertone

NOT_CARRIED = {
    "no_repeat_ngram_size": 2,
    "prompt_reset_on_temperature": 0.2,
    "chunk_length": 10,
}
"""Arguments that are refused by name, each with a value that asks for something."""


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("WhisperModel", "__init__"),
        ("WhisperModel", "transcribe"),
        ("WhisperModel", "detect_language"),
        ("BatchedInferencePipeline", "__init__"),
        ("BatchedInferencePipeline", "transcribe"),
    ],
)
def test_every_argument_has_its_name_place_and_default(name, method):
    theirs = inspect.signature(getattr(getattr(faster_whisper, name), method)).parameters
    ours = inspect.signature(getattr(getattr(undertone, name), method)).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    for argument, parameter in theirs.items():
        default = parameter.default
        if isinstance(default, list):
            assert list(ours[argument].default) == default
        else:
            assert ours[argument].default == default, argument


@pytest.mark.parametrize("name", ["decode_audio", "download_model", "format_timestamp", "available_models"])
def test_functions_take_the_same(name):
    theirs = inspect.signature(getattr(faster_whisper, name)).parameters
    assert list(inspect.signature(getattr(undertone, name)).parameters) == list(theirs)


@pytest.mark.parametrize("name", ["Segment", "Word", "TranscriptionInfo", "TranscriptionOptions"])
def test_results_have_the_same_fields(name):
    def fields(module):
        return [field.name for field in dataclasses.fields(getattr(module, name))]

    assert fields(undertone) == fields(faster_whisper.transcribe)


def test_one_recording_through_both(base_folder, fox):
    options = {"beam_size": 5, "word_timestamps": True}
    theirs, their_info = faster_whisper.WhisperModel(base_folder, compute_type="float32").transcribe(fox, **options)
    ours, our_info = undertone.WhisperModel(base_folder, compute_type="float32").transcribe(fox, **options)
    assert isinstance(ours, types.GeneratorType)
    theirs, ours = list(theirs), list(ours)
    assert [segment.text for segment in ours] == [segment.text for segment in theirs]
    assert [segment.tokens for segment in ours] == [segment.tokens for segment in theirs]
    for our, their in zip(ours, theirs, strict=True):
        for field in dataclasses.fields(their):
            ours_is, theirs_is = getattr(our, field.name), getattr(their, field.name)
            assert isinstance(ours_is, type(theirs_is)) or isinstance(theirs_is, float), field.name
        assert our.id == their.id
        assert [word.word for word in our.words] == [word.word for word in their.words]
    assert our_info.language == their_info.language
    assert our_info.duration == pytest.approx(their_info.duration, abs=0.01)
    assert our_info.all_language_probs[0][0] == their_info.all_language_probs[0][0]


def test_hotwords_are_faster_whispers(base_folder, fox):
    """What is heard behind the same prompt, window by window."""
    options = {"hotwords": "Reynard, Zacinto", "beam_size": 5, "language": "en", "vad_filter": False}
    their_model = faster_whisper.WhisperModel(base_folder, compute_type="float32")
    our_model = undertone.WhisperModel(base_folder, compute_type="float32")
    theirs, _ = their_model.transcribe(fox, **options)
    ours, info = our_model.transcribe(fox, **options)
    assert [segment.tokens for segment in ours] == [segment.tokens for segment in theirs]
    assert info.transcription_options.hotwords == "Reynard, Zacinto"
    batched = undertone.BatchedInferencePipeline(our_model)
    without, given = (
        [segment.avg_logprob for segment in batched.transcribe(fox, **{**options, "hotwords": words})[0]]
        for words in (None, options["hotwords"])
    )
    assert without != given


def spoken(pipeline, recording, phrases=None):
    segments, _ = pipeline.transcribe(recording, vad_filter=False, beam_size=1, phrases=phrases)
    return [segment.tokens for segment in segments]


def test_phrases_are_expected(model, fox, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("# a name\nZacinto\nKubernetes\t20\n")
    lists = [["Zacinto", ("Kubernetes", 20)], str(names), names]
    batched = undertone.BatchedInferencePipeline(model)
    for pipeline in (model, batched):
        plain, nothing = spoken(pipeline, fox), spoken(pipeline, fox, [("Kubernetes", 0)])
        given = [spoken(pipeline, fox, phrases) for phrases in lists]
        assert plain == nothing and given[0] == given[1] == given[2] != plain


def test_phrases_that_make_no_sense_are_refused(model, fox, tmp_path):
    with pytest.raises(FileNotFoundError, match="none.txt"):
        model.transcribe(fox, phrases=tmp_path / "none.txt")
    for phrases in ([" "], [("a", 21)], [("a", float("nan"))], [("a", "b")], [("a",)], ["a"] * 10001):
        with pytest.raises(ValueError, match="phrases"):
            list(model.transcribe(fox, phrases=phrases)[0])
    with pytest.raises(ValueError, match="phrases"):
        undertone.BatchedInferencePipeline(model).transcribe(fox, phrases=["a\nb"])


def test_what_is_not_carried_is_refused_by_name(model, fox):
    for pipeline in (model, undertone.BatchedInferencePipeline(model)):
        for name, value in NOT_CARRIED.items():
            with pytest.raises(TypeError, match=name):
                pipeline.transcribe(fox, **{name: value})
    with pytest.raises(TypeError, match="no_such_thing"):
        model.transcribe(fox, no_such_thing=1)
    for name, value in {"files": {}, "revision": "main", "inter_threads": 2}.items():
        with pytest.raises(TypeError, match=name):
            undertone.WhisperModel("base", **{name: value})
    with pytest.raises(ValueError, match="compute_type: bfloat16"):
        undertone.WhisperModel("base", compute_type="bfloat16")


def test_devices_that_cannot_serve_are_errors():
    with pytest.raises(ValueError, match="compute_type: f16 is for a GPU"):
        undertone.WhisperModel("base", device="cpu", compute_type="float16")
    with pytest.raises(TypeError, match="device_index"):
        undertone.WhisperModel("base", device="cpu", device_index=1)
    with pytest.raises(RuntimeError, match="cuda"):
        undertone.WhisperModel("base", device="cuda", device_index=99)
    with pytest.raises(RuntimeError, match="rocm"):
        undertone.WhisperModel("base", device="rocm", device_index=[98, 99])
    with pytest.raises(ValueError, match="there are none in f16"):
        undertone.WhisperModel("base", device="rocm", compute_type="float16")
    with pytest.raises(ValueError, match="tpu"):
        undertone.WhisperModel("base", device="tpu")


def test_not_carried_by_decode_audio(fox):
    with pytest.raises(TypeError, match="split_stereo"):
        undertone.decode_audio(fox, split_stereo=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 9.0}, "temperature"),
        ({"beam_size": -1}, "beam_size"),
        ({"language": "xx"}, "xx"),
        ({"task": "sing"}, "sing"),
        ({"initial_prompt": [51000]}, "initial_prompt"),
        ({"language_detection_segments": 0}, "language_detection_segments"),
    ],
)
def test_values_that_make_no_sense_are_told(model, fox, options, message):
    with pytest.raises(ValueError, match=message):
        list(model.transcribe(fox, **options)[0])


def test_options_act(model, fox):
    def text(**options):
        return "".join(segment.text for segment in model.transcribe(fox, beam_size=1, **options)[0])

    plain = text()
    assert "quick brown fox" in plain.lower()
    # A prefix is given, so it is no part of what was written.
    assert "fox" in plain and "fox" not in text(prefix="The quick brown fox", temperature=0)
    assert len(text(max_new_tokens=3)) < len(plain)
    assert text(suppress_tokens=[-1, *model.engine.encode(" fox")]) != plain
    assert text(clip_timestamps=[0.0, 0.8]) != plain
    tokens = model.engine.encode(" A tale of foxes")
    assert text(initial_prompt=tokens) == text(initial_prompt="A tale of foxes")
    segments, info = model.transcribe(fox, without_timestamps=True, language="en", temperature=0)
    assert len(list(segments)) == 1
    assert (info.language, info.language_probability, info.all_language_probs) == ("en", 1.0, None)
    assert info.transcription_options.temperatures == [0.0]


def test_languages(model, examples):
    [french] = [path for path in examples if "fr_pangrama" in path]
    language, probability, found = model.detect_language(french)
    assert language == "fr" and found[0] == ("fr", probability)
    assert sum(p for _, p in found) == pytest.approx(1, abs=1e-3)
    assert model.detect_language(undertone.decode_audio(french), language_detection_segments=3)[0] == "fr"
    segments, info = model.transcribe(french, language_detection_segments=2)
    assert info.language == "fr" and list(segments)
    assert dict(info.all_language_probs)["fr"] == info.language_probability
    assert "fr" in model.supported_languages and model.is_multilingual


def test_windows_that_are_not_sure_decide_together(model, examples, fox):
    [french] = [path for path in examples if "fr_pangrama" in path]

    def window(path):
        samples = undertone.decode_audio(path)
        return np.concatenate([samples, np.zeros(30 * 16_000 - len(samples), np.float32)])

    both = np.concatenate([window(fox), window(french)])
    alone = [dict(model.detect_language(window(path))[2]) for path in (fox, french)]
    assert model.detect_language(both, language_detection_segments=2)[0] == "en"
    for threshold in (1.0, None):
        _, _, found = model.detect_language(
            both, language_detection_segments=2, language_detection_threshold=threshold
        )
        for code, probability in found:
            assert probability == pytest.approx((alone[0][code] + alone[1][code]) / 2, abs=1e-3), code


def test_a_recording_in_two_languages(model, examples, fox):
    [french] = [path for path in examples if "fr_pangrama" in path]
    pause = np.zeros(16_000 * 2, np.float32)
    english, french = undertone.decode_audio(fox), undertone.decode_audio(french)
    both = np.concatenate([english, english, pause, french, french, french])

    def text(**options):
        segments, info = model.transcribe(both, beam_size=1, **options)
        return "".join(segment.text for segment in segments), info

    (alone, _), (told, info) = text(), text(multilingual=True)
    assert info.language in ("en", "fr") and info.transcription_options.multilingual
    assert "fox" in told and told != alone
    pipeline = undertone.BatchedInferencePipeline(model)
    segments, _ = pipeline.transcribe(both, multilingual=True)
    assert "fox" in "".join(segment.text for segment in segments)
    with pytest.raises(ValueError, match="multilingual"):
        list(model.transcribe(both, language="en", multilingual=True)[0])


def test_batches(model, fox):
    pipeline = undertone.BatchedInferencePipeline(model)
    segments, info = pipeline.transcribe(fox, batch_size=4)
    assert "fox" in "".join(segment.text for segment in segments)
    assert info.duration > 1
    clips = [{"start": 0.0, "end": 1.0}]
    clipped = "".join(s.text for s in pipeline.transcribe(fox, clip_timestamps=clips)[0])
    assert "dog" not in clipped


def test_times_in_words():
    theirs = faster_whisper.format_timestamp
    for seconds in (0, 0.0004, 1.9996, 59.9999, 61.5, 3599.9996, 3600, 86400.25):
        for hours in (False, True):
            assert undertone.format_timestamp(seconds, hours, ",") == theirs(seconds, hours, ",")


def test_speech_is_looked_for(model, fox):
    samples = undertone.decode_audio(fox)
    pause = np.zeros(16_000 * 40, np.float32)
    segments, info = model.transcribe(np.concatenate([pause, samples]), vad_filter=True, word_timestamps=True)
    [segment] = segments
    assert "fox" in segment.text and segment.start > 39 and segment.words[0].start > 39
    assert info.duration > 42 and info.duration_after_vad < 4
    assert info.vad_options == undertone.VadOptions()
    parameters = {"threshold": 0.6, "min_silence_duration_ms": 500}
    _, info = model.transcribe(fox, vad_filter=True, vad_parameters=parameters)
    assert info.vad_options.threshold == 0.6
    ours, theirs = undertone.VadOptions(), faster_whisper.vad.VadOptions()
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    with pytest.raises(TypeError, match="no_such"):
        model.transcribe(fox, vad_filter=True, vad_parameters={"no_such": 1})
    with pytest.raises(ValueError, match="vad_threshold"):
        model.transcribe(fox, vad_filter=True, vad_parameters={"threshold": 7})

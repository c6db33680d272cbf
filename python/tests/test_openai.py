"""openai/whisper's interface."""

import pytest

import undertone


def test_a_dict_comes_out(base_folder, fox, capsys):
    model = undertone.load_model(base_folder)
    result = model.transcribe(fox, fp16=False, language="en", beam_size=5, verbose=True)
    assert set(result) == {"text", "segments", "language"} and result["language"] == "en"
    assert result["text"] == "".join(segment["text"] for segment in result["segments"])
    segment = result["segments"][0]
    assert set(segment) == {
        "id", "seek", "start", "end", "text", "tokens",
        "temperature", "avg_logprob", "compression_ratio", "no_speech_prob",
    }  # fmt: skip
    assert segment["id"] == 0
    assert capsys.readouterr().out.startswith(f"[00:00.000 --> 00:0{segment['end']:.3f}] ")
    words = model.transcribe(fox, word_timestamps=True, temperature=0.0)["segments"][0]["words"]
    assert set(words[0]) == {"word", "start", "end", "probability"}


def test_options_that_are_not_known_are_named(pico, fox):
    model = undertone.load_model(pico)
    with pytest.raises(TypeError, match="beams"):
        model.transcribe(fox, beams=5)
    with pytest.raises(TypeError, match="prompt"):
        model.transcribe(fox, prompt="x")
    with pytest.raises(ValueError, match="length_penalty"):
        model.transcribe(fox, length_penalty=7.0)


def test_models_by_name():
    assert {"tiny", "base.en", "large-v3", "turbo"} <= set(undertone.available_models())
    with pytest.raises(RuntimeError, match="no-such-model"):
        undertone.load_model("no-such-model")

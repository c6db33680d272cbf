"""Recordings in every form, and what is none."""

import io
import sys

import numpy as np
import pytest

import undertone


def text(model, audio):
    return "".join(segment.text for segment in model.transcribe(audio, language="en", beam_size=1)[0])


def test_every_form_gives_the_same(model, fox, tmp_path):
    data = open(fox, "rb").read()
    samples = undertone.decode_audio(fox)
    expected = text(model, fox)
    assert "fox" in expected
    assert samples.dtype == np.float32 and samples.ndim == 1 and abs(samples).max() <= 1
    wide = np.repeat(samples, 2)[::2]
    path = tmp_path / "fox with a name.wav"
    path.write_bytes(data)
    for audio in (path, data, bytearray(data), io.BytesIO(data), open(fox, "rb"), samples, wide, samples.astype(float)):
        assert text(model, audio) == expected, type(audio)
    assert np.array_equal(undertone.load_audio(data), samples)


def test_samples_are_not_copied(pico):
    model = undertone.WhisperModel(pico)
    samples = np.zeros(16_000 * 40, dtype=np.float32)
    before = sys.getrefcount(samples)
    segments, info = model.transcribe(samples, temperature=0, language="en")
    held = sys.getrefcount(samples)
    list(segments)
    assert info.duration == 40
    assert held >= before and sys.getrefcount(samples) == before


@pytest.mark.parametrize(
    ("audio", "error", "message"),
    [
        ("/no/such/file.wav", FileNotFoundError, "/no/such/file.wav"),
        ("/", IsADirectoryError, "folder"),
        (b"no audio", undertone.AudioError, "no audio"),
        (b"", OSError, "empty"),
        (io.StringIO("text"), TypeError, "rb"),
        (np.zeros((2, 100), np.float32), ValueError, "one axis"),
        (np.zeros(100, np.int16), TypeError, "int16"),
        (np.array(["a"]), TypeError, "samples"),
        (object(), (TypeError, ValueError), "audio"),
        (None, (TypeError, ValueError), "audio"),
    ],
)
def test_bad_input_is_named(model, audio, error, message):
    with pytest.raises(error, match=message):
        list(model.transcribe(audio)[0])


def test_an_array_without_samples_gives_no_text(model):
    segments, info = model.transcribe(np.zeros(0, np.float32), language="en")
    assert list(segments) == [] and info.duration == 0

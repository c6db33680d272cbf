#!/usr/bin/env python3
"""Whether other programs load what `undertone models convert` writes, and hear the same words.

usage: convert.py PROGRAM MODEL AUDIO [LANGUAGE]

For each format the program that the format belongs to is used if its Python package is here:
CTranslate2 by faster-whisper, ggml by pywhispercpp, safetensors by transformers, GGUF by candle's own
Whisper, which is built here from tests/peers/candle if cargo is. What is missing is said loudly and is
no failure; a folder that its own program cannot load, or in which it hears other words, is.
"""

import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile


def words(text):
    return re.sub(r"[^\w\s]", "", text.lower()).split()


def faster_whisper(folder, audio, language):
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", compute_type="float32")
    segments, _ = model.transcribe(str(audio), language=language, beam_size=1, temperature=0.0)
    return " ".join(segment.text for segment in segments)


def pywhispercpp(folder, audio, language):
    from pywhispercpp.model import Model

    model = Model(str(folder / "ggml-model.bin"), print_progress=False)
    return " ".join(s.text for s in model.transcribe(str(audio), language=language))


def transformers(folder, audio, language):
    from transformers import pipeline

    pipe = pipeline("automatic-speech-recognition", model=str(folder))
    return pipe(str(audio), generate_kwargs={"language": language})["text"]


def candle(folder, audio, language):
    package = pathlib.Path(__file__).parent / "candle"
    target = package.parents[2] / "target"
    shutil.copy(package.parents[2] / "Cargo.lock", package / "Cargo.lock")
    subprocess.run(
        ["cargo", "build", "-q", "--release", "--manifest-path", str(package / "Cargo.toml"),
         "--target-dir", str(target)], check=True,
    )
    peer = target / "release" / "undertone-candle-peer"
    return subprocess.run(
        [str(peer), str(folder), str(audio), language], check=True, capture_output=True, text=True
    ).stdout


def is_here(needed):
    return shutil.which(needed) or importlib.util.find_spec(needed)


PEERS = [
    ("ctranslate2", "faster_whisper", faster_whisper),
    ("ggml", "pywhispercpp", pywhispercpp),
    ("safetensors", "transformers", transformers),
    ("gguf", "cargo", candle),
]


def main():
    program, model, audio = sys.argv[1:4]
    language = sys.argv[4] if len(sys.argv) > 4 else "en"
    own = subprocess.run(
        [program, audio, "-m", model, "--language", language, "--beam_size", "1",
         "--temperature_increment_on_fallback", "None", "-q", "-f", "txt", "-o", "-"],
        check=True, capture_output=True, text=True,
    ).stdout
    failed = compared = 0
    with tempfile.TemporaryDirectory() as place:
        for form, package, hear in PEERS:
            if not is_here(package):
                print(f"SKIPPED: {form} is not tried: {package} is not here", flush=True)
                continue
            folder = pathlib.Path(place) / form
            subprocess.run(
                [program, "models", "convert", model, str(folder), "--format", form], check=True
            )
            compared += 1
            try:
                heard = hear(folder, audio, language)
            except Exception as error:  # noqa: BLE001: whatever it dies of is the answer
                print(f"{form}: {package} cannot load it: {error}")
                failed += 1
                continue
            same = words(heard) == words(own) != []
            print(f"{form}: {hear.__name__} hears {'the same words' if same else 'other words'}")
            if not same:
                print(f"  ours:   {own.strip()}\n  theirs: {heard.strip()}")
                failed += 1
    print(f"{compared} formats compared, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

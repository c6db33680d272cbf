"""Arguments of other packages as the engine's options, and which of them are not carried."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import _native

COMPUTE_TYPES: Mapping[str, str] = {
    "default": "f32",
    "auto": "f32",
    "float32": "f32",
    "f32": "f32",
    "int8": "int8",
    "int8_float32": "int8",
    "float16": "f16",
    "f16": "f16",
    "int8_float16": "int8_float16",
    "fp8": "fp8",
    "int4": "int4",
}
"""CTranslate2's names, as far as they are carried, and ours. Those with 16-bit floats and fp8 need a GPU."""

Options = dict[str, Any]


@dataclass
class VadOptions:
    """How speech is told from what is none: Silero's model, and faster-whisper's rules and defaults."""

    threshold: float = 0.5
    neg_threshold: float | None = None
    min_speech_duration_ms: int = 0
    max_speech_duration_s: float = float("inf")
    min_silence_duration_ms: int = 2000
    speech_pad_ms: int = 400


def compute_type(name: str) -> str:
    found = COMPUTE_TYPES.get(name)
    if found is None:
        raise ValueError(f"compute_type: {name} is none of {', '.join(COMPUTE_TYPES)}")
    return found


def device_name(device: object, index: int | Iterable[int] = 0) -> str:
    """The engine's name of a device, a torch.device or a name and a number: ``cuda:1``."""
    name = str(device)
    numbers = [index] if isinstance(index, int) else list(index)
    if name in ("cuda", "rocm"):
        return f"{name}:{','.join(str(number) for number in numbers)}"
    if numbers != [0]:
        refuse("device_index", index, f"the device {name} has no other")
    return name


def refuse(name: str, value: object, why: str) -> None:
    raise TypeError(f"{name}={value!r} is not carried: {why}")


def temperatures(value: float | Iterable[float]) -> list[float]:
    return [float(t) for t in value] if isinstance(value, Iterable) else [float(value)]


def suppress_tokens(value: str | Iterable[int] | None) -> Options:
    """openai's rule: -1 stands for all tokens that are no speech, an empty list for nothing."""
    if isinstance(value, str):
        value = [int(token) for token in value.split(",") if token.strip()]
    tokens = list(value) if value is not None else []
    if -1 in tokens:
        return {"non_speech_and": [token for token in tokens if token >= 0]}
    return {"only": tokens}


def clip_timestamps(value: str | Iterable[float]) -> list[float]:
    seconds = [s for s in value.split(",") if s.strip()] if isinstance(value, str) else value
    return [float(second) for second in seconds]


def clip_ranges(value: Iterable[Mapping[str, float]] | None) -> list[float]:
    """The stretches that a batched pipeline is given: ``[{"start": 0.0, "end": 12.5}]``."""
    return [float(clip[edge]) for clip in value or () for edge in ("start", "end")]


def prompt_text(engine: _native.Engine, value: str | Iterable[int] | None) -> str | None:
    """A prompt's text. Tokens are taken where they are what the text gives again."""
    if value is None or isinstance(value, str):
        return value
    tokens = [int(token) for token in value]
    text = engine.decode(tokens)
    if engine.encode(" " + text.strip()) != tokens:
        raise ValueError("initial_prompt: these tokens are no text's own; give the text")
    return text


Phrases = str | os.PathLike[str] | Iterable[str | tuple[str, float]]
"""Terms to expect: a file of them, or a list, where a term may have a weight of its own."""


def phrases(value: Phrases | None) -> list[Options]:
    if value is None:
        return []
    terms = _native.read_phrases(value) if isinstance(value, str | os.PathLike) else value
    return [_phrase(term) for term in terms]


def _phrase(term: str | tuple[str, float]) -> Options:
    if isinstance(term, str):
        return {"text": term}
    if len(term) != 2 or not isinstance(term[0], str) or not isinstance(term[1], int | float):
        raise ValueError(f"phrases: {term!r} is neither a text nor a text and its weight")
    if not math.isfinite(term[1]):
        raise ValueError(f"phrases: {term[1]} is no weight of {term[0]}")
    return {"text": term[0], "weight": term[1]}


def faster_whisper(engine: _native.Engine, given: Options) -> Options:
    """faster-whisper's arguments, all of them; its defaults ask for what ours do."""
    sampling = {"repetition_penalty": given["repetition_penalty"]}
    decoding = {
        "task": given["task"],
        "language": given["language"],
        # One beam is greedy search, in CTranslate2 as here.
        "beam_size": given["beam_size"] if given["beam_size"] != 1 else None,
        "best_of": given["best_of"],
        "patience": given["patience"] if given["patience"] != 1 else None,
        # An exponent of 1 is the mean, which is what no exponent takes.
        "length_exponent": given["length_penalty"] if given["length_penalty"] != 1 else None,
        "suppress_tokens": suppress_tokens(given["suppress_tokens"]),
        "suppress_blank": given["suppress_blank"],
        "without_timestamps": given["without_timestamps"],
        "max_initial_timestamp": given["max_initial_timestamp"],
        "max_new_tokens": given["max_new_tokens"],
        "sampling": sampling,
    }
    return {
        "decoding": decoding,
        "gates": gates(given, "log_prob_threshold"),
        "vad": vad(vad_options(given)),
        "multilingual": given["multilingual"],
        **language_detection(given["language_detection_segments"], given["language_detection_threshold"]),
        **whole_recording(engine, given),
    }


def language_detection(segments: int, threshold: float | None) -> Options:
    """How many windows may be looked at, and how sure one must be: without a threshold none is sure enough."""
    if segments < 1:
        raise ValueError(f"language_detection_segments: {segments} is less than 1")
    sure = 1.0 if threshold is None else threshold
    return {"language_detection_segments": segments, "language_detection_threshold": sure}


def vad_options(given: Options) -> VadOptions | None:
    """How speech is looked for, where it is: the defaults of a batched pipeline are others."""
    asked = given["vad_parameters"]
    if not given["vad_filter"]:
        return None
    if isinstance(asked, Mapping):
        return VadOptions(**asked)
    if asked is None and "batch_size" in given:
        return VadOptions(max_speech_duration_s=30, min_silence_duration_ms=160)
    return asked or VadOptions()


def vad(options: VadOptions | None) -> Options | None:
    if options is None:
        return None
    fields = vars(options).copy()
    if math.isinf(options.max_speech_duration_s):
        fields["max_speech_duration_s"] = None
    return fields


def gates(given: Options, logprob_threshold: str) -> Options:
    return {
        "temperatures": temperatures(given["temperature"]),
        "compression_ratio_threshold": given["compression_ratio_threshold"],
        "logprob_threshold": given[logprob_threshold],
        "no_speech_threshold": given["no_speech_threshold"],
    }


def whole_recording(engine: _native.Engine, given: Options) -> Options:
    """What both packages ask of a recording, under the same names."""
    return {
        "condition_on_previous_text": given["condition_on_previous_text"],
        "initial_prompt": prompt_text(engine, given["initial_prompt"]),
        "hotwords": given["hotwords"],
        "phrases": phrases(given["phrases"]),
        "prefix": given["prefix"],
        "word_timestamps": given["word_timestamps"],
        "prepend_punctuations": given["prepend_punctuations"],
        "append_punctuations": given["append_punctuations"],
        "hallucination_silence_threshold": given["hallucination_silence_threshold"],
    }


def check_carried(given: Options) -> None:
    """Refuses what faster-whisper has and this engine has not, by name, and counts that are none."""
    for name in ("beam_size", "best_of"):
        if given[name] < 1:
            raise ValueError(f"{name}: {given[name]} is less than 1")
    if given["no_repeat_ngram_size"]:
        why = "repetition_penalty is"
        refuse("no_repeat_ngram_size", given["no_repeat_ngram_size"], why)
    if given["prompt_reset_on_temperature"] != 0.5:
        why = "the text before is dropped above 0.5, as openai/whisper does"
        refuse("prompt_reset_on_temperature", given["prompt_reset_on_temperature"], why)
    if given["chunk_length"] not in (None, 30):
        refuse("chunk_length", given["chunk_length"], "windows are 30 s")

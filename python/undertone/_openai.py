"""openai/whisper's interface: ``load_model`` and a ``transcribe`` that returns a dict."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from typing import Any

from . import _native, _options, _progress
from ._audio import SAMPLE_RATE, AudioInput, native_audio
from ._hub import hub_config, packed_dir
from ._model import APPEND_PUNCTUATIONS, PREPEND_PUNCTUATIONS, TEMPERATURES, format_timestamp, tell

logger = logging.getLogger("undertone")

_DECODING = (
    "task",
    "language",
    "sample_len",
    "best_of",
    "beam_size",
    "patience",
    "length_penalty",
    "suppress_blank",
    "without_timestamps",
    "max_initial_timestamp",
)
"""Options of a window that have one name in both packages."""


class Whisper:
    """A loaded model."""

    def __init__(self, engine: _native.Engine) -> None:
        self.engine = engine

    @property
    def is_multilingual(self) -> bool:
        """Whether it knows more than English."""
        return bool(self.engine.languages)

    def transcribe(
        self,
        audio: AudioInput,
        *,
        verbose: bool | None = None,
        temperature: float | Iterable[float] = TEMPERATURES,
        compression_ratio_threshold: float | None = 2.4,
        logprob_threshold: float | None = -1.0,
        no_speech_threshold: float | None = 0.6,
        condition_on_previous_text: bool = True,
        initial_prompt: str | None = None,
        carry_initial_prompt: bool = False,
        word_timestamps: bool = False,
        prepend_punctuations: str = PREPEND_PUNCTUATIONS,
        append_punctuations: str = APPEND_PUNCTUATIONS,
        clip_timestamps: str | list[float] = "0",
        hallucination_silence_threshold: float | None = None,
        phrases: _options.Phrases | None = None,
        **decode_options: Any,
    ) -> dict[str, Any]:
        """Writes the speech down, or translates it into English.

        Args:
          audio: A path, the bytes of a file, a file opened for bytes, or mono samples at 16 kHz of
            shape ``(samples,)``.
          verbose: ``True`` prints each segment, ``False`` shows how far the work is, ``None`` neither.
          phrases: Names and terms to expect, which openai/whisper has not; as for
            :meth:`WhisperModel.transcribe`.
          decode_options: openai/whisper's: ``task``, ``language``, ``beam_size`` and so on. ``fp16``
            is taken and means nothing on a CPU, there as here.

        Returns:
          ``text``, ``segments`` (a list of dicts) and ``language``.

        Raises:
          OSError, AudioError: A recording that cannot be read or decoded.
          TypeError: An option that is not known, with its name.
          ValueError: A value that makes no sense, or that the model cannot do.
        """
        given = {k: v for k, v in locals().items() if k not in ("self", "audio", "decode_options")}
        given |= {"prefix": decode_options.pop("prefix", None), "hotwords": None}
        options: dict[str, Any] = {
            "decoding": _decoding(decode_options),
            "gates": _options.gates(given, "logprob_threshold"),
            "carry_initial_prompt": carry_initial_prompt,
            "clip_timestamps": _options.clip_timestamps(clip_timestamps),
            **_options.whole_recording(self.engine, given),
        }
        progress = _progress.bar() if verbose is False else None
        work = self.engine.transcribe(native_audio(audio), SAMPLE_RATE, json.dumps(options), progress)
        for text in work:
            if verbose:
                segment = json.loads(text)
                times = (format_timestamp(segment[edge]) for edge in ("start", "end"))
                print(f"[{' --> '.join(times)}] {segment['text']}")
        transcript = json.loads(work.transcript() or "{}")
        for warning in transcript["warnings"]:
            logger.warning("%s", warning)
        return {name: transcript[name] for name in ("text", "segments", "language")}


def _decoding(given: dict[str, Any]) -> dict[str, Any]:
    given.pop("fp16", None)
    if given.pop("prompt", None) is not None:
        _options.refuse("prompt", "...", "initial_prompt is")
    decoding = {name: given.pop(name) for name in _DECODING if name in given}
    if "suppress_tokens" in given:
        decoding["suppress_tokens"] = _options.suppress_tokens(given.pop("suppress_tokens"))
    if given:
        raise TypeError(f"{next(iter(given))} is no option of transcribe")
    return decoding


def load_model(
    name: str,
    device: object = None,
    download_root: str | os.PathLike[str] | None = None,
    in_memory: bool = False,
    *,
    compute_type: str = "float32",
    threads: int = 0,
) -> Whisper:
    """Loads a model by its name, or from a folder or a file.

    Args:
      name: As :class:`WhisperModel` takes it.
      device: ``None`` or ``"auto"`` (a GPU that can do what is asked, else the CPU), ``"cpu"``, ``"cuda"``,
        ``"cuda:1"`` or ``"rocm"`` (AMD's); a ``torch.device`` is fine.
      download_root: Where models are kept; by default the user's cache.
      in_memory: Taken and not needed: weights are mapped.
      compute_type: ``float32`` (openai/whisper's tokens) or ``int8``; on a GPU ``float16``, ``int8_float16``, ``fp8``.
      threads: Threads to compute with; 0 is one for each core.
    """
    place = _options.device_name("auto" if device is None else device)
    hub = hub_config(download_root)
    engine = _native.Engine(name, place, _options.compute_type(compute_type), threads, hub, packed_dir())
    tell(engine)
    return Whisper(engine)

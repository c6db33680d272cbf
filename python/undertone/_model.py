"""faster-whisper's interface: its names, types, defaults and lazy segments."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import _native, _options, _progress
from ._audio import SAMPLE_RATE, AudioInput, native_audio
from ._hub import hub_config, packed_dir
from ._options import VadOptions

logger = logging.getLogger("undertone")

PREPEND_PUNCTUATIONS = "\"'“¿([{-"
APPEND_PUNCTUATIONS = "\"'.。,，!！?？:：”)]}、"
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass
class Word:
    """One word, with its leading space and its punctuation; times in seconds."""

    start: float
    end: float
    word: str
    probability: float


@dataclass
class Segment:
    """One stretch of text. ``start`` and ``end`` are seconds, ``seek`` the 10 ms frame of its window,
    ``id`` counts from 1."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: list[Word] | None
    temperature: float | None


@dataclass
class TranscriptionOptions:
    """What a recording was asked for."""

    beam_size: int
    best_of: int
    patience: float
    length_penalty: float
    repetition_penalty: float
    no_repeat_ngram_size: int
    log_prob_threshold: float | None
    no_speech_threshold: float | None
    compression_ratio_threshold: float | None
    condition_on_previous_text: bool
    prompt_reset_on_temperature: float
    temperatures: list[float]
    initial_prompt: str | Iterable[int] | None
    prefix: str | None
    suppress_blank: bool
    suppress_tokens: list[int] | None
    without_timestamps: bool
    max_initial_timestamp: float
    word_timestamps: bool
    prepend_punctuations: str
    append_punctuations: str
    multilingual: bool
    max_new_tokens: int | None
    clip_timestamps: str | list[float] | list[dict[str, float]] | None
    hallucination_silence_threshold: float | None
    hotwords: str | None


@dataclass
class TranscriptionInfo:
    """What is known of a recording before its segments; ``duration`` in seconds."""

    language: str
    language_probability: float
    duration: float
    duration_after_vad: float
    all_language_probs: list[tuple[str, float]] | None
    transcription_options: TranscriptionOptions
    vad_options: VadOptions | None


def tell(engine: _native.Engine) -> None:
    """Logs what a loaded engine has to say."""
    if engine.device_note:
        logger.info("%s", engine.device_note)
    for warning in engine.warnings:
        logger.warning("%s", warning)


class WhisperModel:
    """A loaded model. Any number of threads may use it; what they transcribe at the same time shares
    the decoder's steps.

    Args:
      model_size_or_path: A name of the catalogue (``base``), ``owner/name`` on the Hub, a folder or a
        file of weights in any of the formats that the engine reads.
      device: ``auto`` (a GPU that can do what is asked, else the CPU), ``cpu``, ``cuda`` or ``rocm``.
      device_index: The GPU's number.
      compute_type: ``float32`` (the default: openai/whisper's tokens), ``int8`` (on the CPU, two to three
        times as fast, for a few more errors), or ``float16``, ``int8_float16`` and ``fp8`` on a GPU.
      cpu_threads: Threads to compute with; 0 is one for each core.
      num_workers: Taken and not needed: one engine serves all threads.
      download_root: Where models are kept; by default the user's cache.
      local_files_only: Whether nothing may be fetched.
      use_auth_token: The Hub's key, for private repositories.

    Raises:
      RuntimeError: The model is nowhere to be had, or damaged.
      TypeError: ``files``, ``revision`` or another argument that is not carried.
      RuntimeError: A GPU that was asked for and cannot serve; the message says what is missing.
      ValueError: A device or compute type that there is not.
    """

    def __init__(
        self,
        model_size_or_path: str,
        device: str = "auto",
        device_index: int | list[int] = 0,
        compute_type: str = "default",
        cpu_threads: int = 0,
        num_workers: int = 1,
        download_root: str | None = None,
        local_files_only: bool = False,
        files: dict[str, Any] | None = None,
        revision: str | None = None,
        use_auth_token: str | bool | None = None,
        **model_kwargs: Any,
    ) -> None:
        if files is not None:
            _options.refuse("files", "...", "give the path of a folder or a file")
        if revision is not None:
            _options.refuse("revision", revision, "the catalogue pins what is fetched")
        for name, value in model_kwargs.items():
            _options.refuse(name, value, "it is an option of CTranslate2")
        self.engine = _native.Engine(
            str(model_size_or_path),
            _options.device_name(device, device_index),
            _options.compute_type(compute_type),
            cpu_threads,
            hub_config(download_root, local_files_only, use_auth_token),
            packed_dir(),
        )
        tell(self.engine)

    @property
    def supported_languages(self) -> list[str]:
        """Codes of the languages that the model knows."""
        return self.engine.languages or ["en"]

    @property
    def is_multilingual(self) -> bool:
        """Whether it knows more than English."""
        return bool(self.engine.languages)

    def transcribe(
        self,
        audio: AudioInput,
        language: str | None = None,
        task: str = "transcribe",
        log_progress: bool = False,
        beam_size: int = 5,
        best_of: int = 5,
        patience: float = 1,
        length_penalty: float = 1,
        repetition_penalty: float = 1,
        no_repeat_ngram_size: int = 0,
        temperature: float | list[float] | tuple[float, ...] = TEMPERATURES,
        compression_ratio_threshold: float | None = 2.4,
        log_prob_threshold: float | None = -1.0,
        no_speech_threshold: float | None = 0.6,
        condition_on_previous_text: bool = True,
        prompt_reset_on_temperature: float = 0.5,
        initial_prompt: str | Iterable[int] | None = None,
        prefix: str | None = None,
        suppress_blank: bool = True,
        suppress_tokens: list[int] | None = [-1],  # noqa: B006: never changed
        without_timestamps: bool = False,
        max_initial_timestamp: float = 1.0,
        word_timestamps: bool = False,
        prepend_punctuations: str = PREPEND_PUNCTUATIONS,
        append_punctuations: str = APPEND_PUNCTUATIONS,
        multilingual: bool = False,
        vad_filter: bool = False,
        vad_parameters: Mapping[str, Any] | VadOptions | None = None,
        max_new_tokens: int | None = None,
        chunk_length: int | None = None,
        clip_timestamps: str | list[float] = "0",
        hallucination_silence_threshold: float | None = None,
        hotwords: str | None = None,
        language_detection_threshold: float | None = 0.5,
        language_detection_segments: int = 1,
        *,
        phrases: _options.Phrases | None = None,
    ) -> tuple[Iterator[Segment], TranscriptionInfo]:
        """Writes the speech down, or translates it into English.

        Args:
          audio: A path, the bytes of a file, a file opened for bytes, or mono samples at 16 kHz of
            shape ``(samples,)``; 32-bit floats are not copied and must not change meanwhile.
          phrases: Names and terms to expect, which faster-whisper has not: a list of texts and of
            ``(text, weight)``, 0 to 20, 2 without one; or the path of a file, one term a line, its
            weight behind a tab.

        Returns:
          The segments, which are computed as they are asked for, and what is known before them.

        Raises:
          OSError, AudioError: A recording that cannot be read or decoded.
          TypeError: An argument that is not carried, with its name.
          ValueError: A value that makes no sense, or that the model cannot do.

        The other arguments are faster-whisper's.
        """
        given = {name: value for name, value in locals().items() if name not in ("self", "audio")}
        options = _prepare(self.engine, given)
        options["clip_timestamps"] = _options.clip_timestamps(clip_timestamps)
        return _start(self, audio, given, options)

    def detect_language(
        self,
        audio: AudioInput | None = None,
        features: object = None,
        vad_filter: bool = False,
        vad_parameters: Mapping[str, Any] | VadOptions | None = None,
        language_detection_segments: int = 1,
        language_detection_threshold: float = 0.5,
    ) -> tuple[str, float, list[tuple[str, float]]]:
        """The likeliest language, its probability, and every language's, likeliest first.

        Looks at up to ``language_detection_segments`` windows of 30 s and stops at one that is surer
        than ``language_detection_threshold``; if none is, all of them together decide.
        """
        if features is not None or audio is None:
            _options.refuse("features", "...", "give the audio")
            raise AssertionError
        if vad_filter:
            _options.refuse("vad_filter", vad_filter, "detection hears all of the audio")
        engine = self.engine
        if not engine.languages:
            return "en", 1.0, [("en", 1.0)]
        options = _options.language_detection(language_detection_segments, language_detection_threshold)
        best, found = engine.detect_language(native_audio(audio), SAMPLE_RATE, json.dumps(options))
        return best, dict(found)[best], _sorted(found)


class BatchedInferencePipeline:
    """A model whose recordings are cut at quiet places and decoded many windows side by side."""

    def __init__(self, model: WhisperModel) -> None:
        self.model = model

    def transcribe(
        self,
        audio: AudioInput,
        language: str | None = None,
        task: str = "transcribe",
        log_progress: bool = False,
        beam_size: int = 5,
        best_of: int = 5,
        patience: float = 1,
        length_penalty: float = 1,
        repetition_penalty: float = 1,
        no_repeat_ngram_size: int = 0,
        temperature: float | list[float] | tuple[float, ...] = TEMPERATURES,
        compression_ratio_threshold: float | None = 2.4,
        log_prob_threshold: float | None = -1.0,
        no_speech_threshold: float | None = 0.6,
        condition_on_previous_text: bool = True,
        prompt_reset_on_temperature: float = 0.5,
        initial_prompt: str | Iterable[int] | None = None,
        prefix: str | None = None,
        suppress_blank: bool = True,
        suppress_tokens: list[int] | None = [-1],  # noqa: B006: never changed
        without_timestamps: bool = True,
        max_initial_timestamp: float = 1.0,
        word_timestamps: bool = False,
        prepend_punctuations: str = PREPEND_PUNCTUATIONS,
        append_punctuations: str = APPEND_PUNCTUATIONS,
        multilingual: bool = False,
        vad_filter: bool = True,
        vad_parameters: Mapping[str, Any] | VadOptions | None = None,
        max_new_tokens: int | None = None,
        chunk_length: int | None = None,
        clip_timestamps: list[dict[str, float]] | None = None,
        hallucination_silence_threshold: float | None = None,
        batch_size: int = 8,
        hotwords: str | None = None,
        language_detection_threshold: float | None = 0.5,
        language_detection_segments: int = 1,
        *,
        phrases: _options.Phrases | None = None,
    ) -> tuple[Iterator[Segment], TranscriptionInfo]:
        """As :meth:`WhisperModel.transcribe`, ``batch_size`` windows side by side, none knowing the
        text before it. ``clip_timestamps`` are stretches: ``[{"start": 0.0, "end": 12.5}]``."""
        given = {name: value for name, value in locals().items() if name not in ("self", "audio")}
        options = _prepare(self.model.engine, given)
        options["batch_size"] = batch_size
        options["clip_timestamps"] = _options.clip_ranges(clip_timestamps)
        # No window is given the text before it, as faster-whisper has it too.
        options["condition_on_previous_text"] = False
        return _start(self.model, audio, given, options)


def _prepare(engine: _native.Engine, given: dict[str, Any]) -> dict[str, Any]:
    _options.check_carried(given)
    if not engine.languages:
        given["language"] = given["language"] or "en"
        if given["multilingual"]:
            logger.warning("multilingual: the model knows only English, which is taken")
            given["multilingual"] = False
    return _options.faster_whisper(engine, given)


def _start(
    model: WhisperModel, audio: AudioInput, given: dict[str, Any], options: dict[str, Any]
) -> tuple[Iterator[Segment], TranscriptionInfo]:
    engine, all_probabilities = model.engine, None
    language, probability = given["language"], 1.0
    progress = _progress.bar() if given["log_progress"] else None
    work = engine.transcribe(native_audio(audio), SAMPLE_RATE, json.dumps(options), progress)
    duration, spoken, detected = work.info(language is None)
    if language is None and detected is not None:
        language, probability, found = detected
        all_probabilities = _sorted(found)
    info = TranscriptionInfo(
        language=language or "en",
        language_probability=probability,
        duration=duration,
        duration_after_vad=spoken,
        all_language_probs=all_probabilities,
        transcription_options=_recorded(given),
        vad_options=_options.vad_options(given),
    )
    return segments_of(work), info


def _recorded(given: dict[str, Any]) -> TranscriptionOptions:
    fields = TranscriptionOptions.__dataclass_fields__
    known = {name: value for name, value in given.items() if name in fields}
    return TranscriptionOptions(temperatures=_options.temperatures(given["temperature"]), **known)


def segments_of(work: _native.Transcription) -> Iterator[Segment]:
    """The segments as they come; leaving the loop early stops the work."""
    for text in work:
        fields = json.loads(text)
        fields["id"] += 1
        words = fields.pop("words", None)
        # faster-whisper's segments don't say in which language they are.
        for name in ("language", "language_probability"):
            fields.pop(name, None)
        if words is not None:
            words = [Word(**word) for word in words]
        yield Segment(words=words, **fields)
    transcript = work.transcript()
    if transcript is not None:
        for warning in json.loads(transcript)["warnings"]:
            logger.warning("%s", warning)


def _sorted(probabilities: list[tuple[str, float]]) -> list[tuple[str, float]]:
    return sorted(probabilities, key=lambda pair: -pair[1])


def format_timestamp(
    seconds: float, always_include_hours: bool = False, decimal_marker: str = "."
) -> str:
    """``01:02.500``, with hours where there are any, or always."""
    if seconds < 0:
        raise ValueError("seconds: a time is not negative")
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    lead = f"{hours:02d}:" if always_include_hours or hours > 0 else ""
    rest, milliseconds = divmod(milliseconds, 1000)
    return f"{lead}{minutes:02d}:{rest:02d}{decimal_marker}{milliseconds:03d}"

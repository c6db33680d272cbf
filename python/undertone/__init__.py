"""A Whisper speech engine: it writes speech down, or translates it into English, on the CPU or an NVIDIA GPU.

Two worlds meet here; a script changes its import and nothing else::

    from undertone import WhisperModel           # as faster-whisper
    segments, info = WhisperModel("base").transcribe("interview.mp3", beam_size=5)

    import undertone                             # as openai/whisper
    result = undertone.load_model("base").transcribe("interview.mp3")
"""

from __future__ import annotations

from ._audio import decode_audio, load_audio
from ._hub import available_models, download_model
from ._model import (
    BatchedInferencePipeline,
    Segment,
    TranscriptionInfo,
    TranscriptionOptions,
    WhisperModel,
    Word,
    format_timestamp,
)
from ._options import VadOptions
from ._native import AudioError, __version__
from ._openai import Whisper, load_model

__all__ = [
    "AudioError",
    "BatchedInferencePipeline",
    "Segment",
    "TranscriptionInfo",
    "TranscriptionOptions",
    "VadOptions",
    "Whisper",
    "WhisperModel",
    "Word",
    "__version__",
    "available_models",
    "decode_audio",
    "download_model",
    "format_timestamp",
    "load_audio",
    "load_model",
]

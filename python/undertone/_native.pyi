from collections.abc import Callable
from os import PathLike
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

__version__: str

class AudioError(ValueError):
    """A recording that is no audio, or none that can be decoded; the message names it."""

class Hub(TypedDict):
    models_dir: str
    hf_cache_dir: str
    endpoint: str | None
    token: str | None
    offline: bool

Audio = str | PathLike[str] | bytes | NDArray[np.float32]

class Engine:
    def __new__(
        cls, model: str, device: str, compute_type: str, threads: int, hub: Hub, packed_dir: str
    ) -> Engine: ...
    def transcribe(
        self,
        audio: Audio,
        sample_rate: int,
        options: str,
        progress: Callable[[float, float], object] | None,
    ) -> Transcription: ...
    def detect_language(
        self, audio: Audio, sample_rate: int, options: str
    ) -> tuple[str, list[tuple[str, float]]]: ...
    @property
    def languages(self) -> list[str]: ...
    @property
    def can_translate(self) -> bool: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def device_note(self) -> str | None: ...
    @property
    def name(self) -> str: ...
    def encode(self, text: str) -> list[int]: ...
    def decode(self, tokens: list[int]) -> str: ...

class Transcription:
    def info(
        self, detects: bool
    ) -> tuple[float, float, tuple[str, float, list[tuple[str, float]]] | None]: ...
    def __iter__(self) -> Transcription: ...
    def __next__(self) -> str: ...
    def transcript(self) -> str | None: ...
    def cancel(self) -> None: ...

def decode_audio(audio: Audio) -> tuple[NDArray[np.float32], list[str]]: ...
def fetch_model(model: str, hub: Hub) -> str: ...
def model_names() -> list[str]: ...

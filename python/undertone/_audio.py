"""Recordings: what may be handed in, and their samples."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, BinaryIO, Union

from . import _native

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Samples per second that the network hears."""

AudioInput = Union[str, "os.PathLike[str]", bytes, BinaryIO, "NDArray[np.float32]"]

logger = logging.getLogger("undertone")


def native_audio(audio: AudioInput) -> _native.Audio:
    """What the engine takes: a path, the bytes of a file, or contiguous 32-bit samples.

    An array of 32-bit floats is not copied; it must not change while it is transcribed.
    """
    if isinstance(audio, (str, bytes, os.PathLike)):
        return audio
    if isinstance(audio, (bytearray, memoryview)):
        return bytes(audio)
    read = getattr(audio, "read", None)
    if callable(read):
        data = read()
        if not isinstance(data, bytes):
            raise TypeError("audio: a file that is opened for text; open it with mode 'rb'")
        return data
    return _samples(audio)


def _samples(audio: object) -> NDArray[np.float32]:
    import numpy as np

    array = np.asarray(audio)
    if array.ndim != 1:
        raise ValueError(f"audio: mono samples have one axis, this has {array.ndim}")
    if not np.issubdtype(array.dtype, np.number):
        raise TypeError(f"audio: a path, bytes, a file or samples, not {type(audio).__name__}")
    if np.issubdtype(array.dtype, np.integer):
        raise TypeError(
            f"audio: samples are floats between -1 and 1, not {array.dtype}; divide by the full scale"
        )
    return np.ascontiguousarray(array, dtype=np.float32)


def decode_audio(
    input_file: AudioInput, sampling_rate: int = SAMPLE_RATE, split_stereo: bool = False
) -> NDArray[np.float32]:
    """Decodes a recording.

    Args:
      input_file: A path, the bytes of a file, or a file opened for bytes.
      sampling_rate: Samples per second of the result; only 16000 is made here.
      split_stereo: Not carried: channels are folded into one.

    Returns:
      Shape ``(samples,)``, 32-bit floats between -1 and 1, mono.

    Raises:
      OSError: It cannot be read.
      AudioError: It is no audio, or none that can be decoded.
      TypeError: An argument that is not carried.
    """
    if split_stereo:
        raise TypeError("split_stereo is not carried: channels are folded into one")
    if sampling_rate != SAMPLE_RATE:
        raise TypeError(f"sampling_rate is not carried: samples come at {SAMPLE_RATE} a second")
    samples, warnings = _native.decode_audio(native_audio(input_file))
    for warning in warnings:
        logger.warning("%s", warning)
    return samples


def load_audio(file: AudioInput, sr: int = SAMPLE_RATE) -> NDArray[np.float32]:
    """openai/whisper's name for :func:`decode_audio`."""
    return decode_audio(file, sampling_rate=sr)

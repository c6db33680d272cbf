"""What `schema.py` has schemathesis send as files: mostly recordings, so that requests get past the upload."""

import schemathesis
from hypothesis import strategies

import serving

RECORDINGS = [serving.ROOT / "examples" / "audio" / name for name in ("en_quick_brown_fox.wav", "fr_pangrama.wav")]
# A second of each: what is asked of it matters, not what it says.
SECONDS = [path.read_bytes()[:32044] for path in RECORDINGS]
schemathesis.openapi.format("binary", strategies.sampled_from(SECONDS) | strategies.binary(max_size=200))

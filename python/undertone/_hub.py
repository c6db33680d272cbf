"""Models by name: where they are kept and may come from."""

from __future__ import annotations

import os
from pathlib import Path

from . import _native


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def packed_dir() -> str:
    """Where packed copies of models are kept, ready to be mapped: as the program keeps them."""
    return str(_cache() / "undertone" / "packed")


def hub_config(
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> _native.Hub:
    """The usual variables: ``HF_HOME``, ``HF_HUB_CACHE``, ``HF_ENDPOINT``, ``HF_TOKEN``,
    ``HF_HUB_OFFLINE``, ``XDG_CACHE_HOME``."""
    home = Path(os.environ.get("HF_HOME") or _cache() / "huggingface")
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    saved = home / "token"
    found = os.environ.get("HF_TOKEN") or (saved.read_text().strip() if saved.is_file() else None)
    if isinstance(token, str):
        found = token
    elif token is False:
        found = None
    return {
        "models_dir": os.fspath(cache_dir) if cache_dir else str(_cache() / "undertone" / "models"),
        "hf_cache_dir": os.environ.get("HF_HUB_CACHE") or str(home / "hub"),
        "endpoint": os.environ.get("HF_ENDPOINT") or None,
        "token": found or None,
        "offline": offline or local_files_only,
    }


def available_models() -> list[str]:
    """The names of the catalogue."""
    return _native.model_names()


def download_model(
    size_or_id: str,
    output_dir: str | None = None,
    local_files_only: bool = False,
    cache_dir: str | None = None,
    revision: str | None = None,
    use_auth_token: str | bool | None = None,
) -> str:
    """Finds a model in the caches, or fetches it.

    Args:
      size_or_id: A name of the catalogue, ``owner/name`` on the Hub, or a folder.
      output_dir: Where it is kept; by default the cache.
      local_files_only: Whether nothing may be fetched.
      cache_dir: As ``output_dir``, which goes before it.
      revision: Not carried: the catalogue pins what is fetched.
      use_auth_token: The Hub's key, for private repositories.

    Returns:
      The folder of the model.

    Raises:
      RuntimeError: No source has it; the message lists what was tried.
      TypeError: ``revision`` was given.
    """
    if revision is not None:
        raise TypeError("revision is not carried: the catalogue pins what is fetched")
    hub = hub_config(output_dir or cache_dir, local_files_only, use_auth_token)
    return os.fspath(_native.fetch_model(size_or_id, hub))

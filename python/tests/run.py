#!/usr/bin/env python3
"""Builds the wheel, looks at it, installs it in a fresh environment and tests it there.

    python/tests/run.py BINARY [pytest's own arguments]

`BINARY` is the program, which results are compared with. Tools and peers are the pinned ones of
requirements.txt, in a virtual environment below `target/python-tests` that is made the first time.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", PACKAGE.parent / "target")).resolve()
BUILT = TARGET / "python-tests"
MAX_BYTES = 15 << 20


def environment() -> Path:
    """The Python of an environment with the tools, which are run as its modules: it may have been moved."""
    wanted = (HERE / "requirements.txt").read_text()
    folder = BUILT / ("venv-" + hashlib.sha256(wanted.encode()).hexdigest()[:12])
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        run(folder / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted.split())
        (folder / "complete").touch()
    return folder / "bin/python"


def run(*command, **options) -> None:
    subprocess.run([str(word) for word in command], check=True, **options)


def wheel(python: Path) -> Path:
    folder = BUILT / "wheels"
    shutil.rmtree(folder, ignore_errors=True)
    environ = {**os.environ, "CARGO_TARGET_DIR": str(TARGET)}
    command = [python, "-m", "maturin", "build", "--release", "--locked", "-q", "-o", folder]
    run(*command, cwd=PACKAGE, env=environ)
    [built] = folder.glob("*.whl")
    return built


def look_at(built: Path, python: Path) -> None:
    assert "abi3" in built.name, built.name
    assert built.stat().st_size <= MAX_BYTES, f"{built.stat().st_size} bytes"
    with zipfile.ZipFile(built) as files:
        names = files.namelist()
    assert "undertone/py.typed" in names and "undertone/_native.pyi" in names, names
    assert not any("libpython" in name or ".libs/" in name for name in names), names
    run(python, "-m", "twine", "check", "--strict", built)


def main() -> int:
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
        sys.exit(__doc__)
    python = environment()
    built = wheel(python)
    look_at(built, python)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    run(*pip, "--force-reinstall", "--no-deps", built)
    run(python, "-m", "mypy", "--config-file", PACKAGE / "pyproject.toml", cwd=BUILT)
    run(python, "-m", "pyright", "--pythonpath", python, PACKAGE / "undertone", cwd=BUILT)
    environ = {**os.environ, "UNDERTONE_BINARY": str(Path(sys.argv[1]).resolve()), "PYTHONDONTWRITEBYTECODE": "1"}
    tests = [python, "-m", "pytest", "-p", "no:cacheprovider", "-q", HERE, *sys.argv[2:]]
    return subprocess.run([str(word) for word in tests], env=environ, cwd=BUILT).returncode


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Runs the tests of `undertone serve` with the official clients.

    tests/server/run.py BINARY [--short] [--openai VERSION] [pytest's own arguments]

Makes a virtual environment with the pinned packages below `target/server-tests` the first time. `--short`
is the form for every day: a minute on two cores. Without `UNDERTONE_REFERENCE` the recordings of the
repository are all there is. What cannot be run is a failure, unless `UNDERTONE_ALLOW_SKIPS=1` makes it a
line that is counted.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILT = HERE.parent.parent / "target" / "server-tests"


def environment(requirements: str) -> Path:
    """The Python of a virtual environment with these packages, made if there is none."""
    folder = BUILT / ("venv-" + hashlib.sha256(requirements.encode()).hexdigest()[:12])
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *requirements.split()], check=True)
        complete.touch()
    return python


def requirements(openai: str | None) -> str:
    lines = (HERE / "requirements.txt").read_text().split()
    if openai:
        lines = [f"openai=={openai}" if line.startswith("openai==") else line for line in lines]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--short", action="store_true", help="only what is quick")
    parser.add_argument("--openai", metavar="VERSION", help="another version of the official client")
    options, rest = parser.parse_known_args()
    if not options.binary.is_file():
        parser.error(f"{options.binary} is no file: build it first")
    python = environment(requirements(options.openai))
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", "-q", HERE, *rest]
    if options.short:
        command += ["-m", "short"]
    env = {**os.environ, "UNDERTONE_BINARY": str(options.binary.resolve()), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=env, cwd=HERE).returncode


if __name__ == "__main__":
    sys.exit(main())

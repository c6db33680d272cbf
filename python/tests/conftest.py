"""What the tests share: the program, base's folder, a small model, recordings."""

import csv
import os
import subprocess
from pathlib import Path

import pytest

from undertone import WhisperModel

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = []


def pytest_terminal_summary(terminalreporter):
    for number, (test, what) in enumerate(SKIPPED, 1):
        terminalreporter.write_line(f"SKIPPED ({number} so far): {test}: {what}")


@pytest.fixture(scope="session")
def binary():
    return os.environ["UNDERTONE_BINARY"]


@pytest.fixture(scope="session")
def base_folder(binary, tmp_path_factory):
    """Base as CTranslate2 loads it: the folder that was fetched lacks the vocabulary."""
    pulled = subprocess.run([binary, "models", "pull", "base"], capture_output=True, text=True)
    assert pulled.returncode == 0, pulled.stderr
    folder = tmp_path_factory.mktemp("base") / "ct2"
    command = [binary, "models", "convert", "base", str(folder), "--format", "ctranslate2"]
    subprocess.run(command, check=True, capture_output=True)
    return str(folder)


@pytest.fixture(scope="session")
def model():
    return WhisperModel("base", compute_type="int8")


@pytest.fixture(scope="session")
def pico():
    return str(ROOT / "models/pico")


@pytest.fixture(scope="session")
def fox():
    return str(ROOT / "examples/audio/en_quick_brown_fox.wav")


@pytest.fixture(scope="session")
def examples():
    return sorted(str(path) for path in (ROOT / "examples/audio").glob("*.wav"))


@pytest.fixture(scope="session")
def recordings(request, examples):
    """The recordings of the references where those are at hand; else the repository's, which is said."""
    reference = os.environ.get("UNDERTONE_REFERENCE")
    if not reference:
        what = "UNDERTONE_REFERENCE is not set: the repository's recordings are all there is"
        if os.environ.get("UNDERTONE_ALLOW_SKIPS") != "1":
            pytest.fail(what)
        SKIPPED.append(("recordings", what))
        return examples
    audio = Path(reference) / "audio"
    with open(audio / "manifest.tsv", encoding="utf-8") as table:
        rows = list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))
    name = next(key for key in ("file", "path", "name") if key in rows[0])
    return sorted(str(audio / row[name]) for row in rows)


@pytest.fixture
def transcribed(binary, tmp_path):
    """What the program writes for files: text by path."""

    def run(files, *options):
        command = [binary, *files, "-m", "base", "--compute-type", "int8", "-f", "txt", "-o", str(tmp_path)]
        subprocess.run([*command, *options], check=True, capture_output=True)
        return {file: (tmp_path / f"{Path(file).stem}.txt").read_text(encoding="utf-8") for file in files}

    return run

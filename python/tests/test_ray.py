"""Folders of recordings on a cluster of this machine, killed in the middle."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

COMMAND = [sys.executable, "-m", "undertone.ray", "--model", "base", "--actors", "2", "--side_by_side", "2"]
OPTIONS = ["--option", "beam_size=1", "--option", "language=en"]


@pytest.fixture
def cluster(tmp_path):
    """Runs the command in a session of its own, so that all of it can be killed."""
    environ = {**os.environ, "RAY_TMPDIR": temporary_folder(), "RAY_AUTH_MODE": "disabled"}
    started = []

    def start(inputs, output):
        paths = ["--input", str(inputs), "--output", str(output)]
        log = open(tmp_path / "log", "a")
        child = subprocess.Popen(
            [*COMMAND, *OPTIONS, *paths], env=environ, stdout=log, stderr=log, start_new_session=True
        )
        started.append(child)
        return child

    yield start
    for child in started:
        kill(child)
    kill_cluster()
    shutil.rmtree(environ["RAY_TMPDIR"], ignore_errors=True)


def kill(child):
    """The driver and everything that it has started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def kill_cluster():
    for pid in of_the_cluster():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def rows(output):
    parts = sorted(output.glob("part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def of_the_cluster(name=b""):
    """Processes of the test's own cluster, whatever else of Ray runs on this machine."""
    marked = f"RAY_TMPDIR={temporary_folder()}\0".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if marked in (process / "environ").read_bytes() and name in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def temporary_folder():
    return f"/tmp/ray-{os.getpid()}"


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it takes too long")


def test_every_recording_once_after_kills(cluster, recordings, transcribed, tmp_path):
    inputs, output = tmp_path / "in", tmp_path / "out"
    (inputs / "deep").mkdir(parents=True)
    files = recordings[:30]
    for n, file in enumerate(files):
        shutil.copy(file, inputs / ("deep" if n % 3 else "") / Path(file).name)
    (inputs / "damaged.mp3").write_bytes(b"this is none")
    (inputs / "notes.txt").write_text("no recording by its ending")

    driver = cluster(inputs, output)
    wait_for(lambda: len(rows(output)) >= 4, 120)
    # A worker is lost: Ray makes another, and the work goes on.
    os.kill(wait_for(lambda: of_the_cluster(b"MapWorker"), 10)[0], signal.SIGKILL)
    before = len(rows(output))
    wait_for(lambda: len(rows(output)) >= before + 4, 120)
    # Everything is lost.
    kill(driver)
    kill_cluster()
    done = len(rows(output))
    assert done < len(files)

    assert cluster(inputs, output).wait(240) == 1, (tmp_path / "log").read_text()[-4000:]
    found = rows(output)
    names = Counter(Path(row["path"]).name for row in found)
    assert names == Counter([Path(file).name for file in files] + ["damaged.mp3"])
    [bad] = [row for row in found if row["error"]]
    assert bad["path"].endswith("damaged.mp3") and "AudioError" in bad["error"] and bad["text"] is None
    theirs = transcribed(files, "--beam_size", "None", "--best_of", "5", "--language", "en")
    texts = {Path(row["path"]).name: row for row in found if not row["error"]}
    for file in files:
        row = texts[Path(file).name]
        assert "".join(f"{segment['text'].strip()}\n" for segment in row["segments"]) == theirs[file]
        assert row["language"] == "en" and row["duration"] > 0
    # Nothing is left to do.
    assert cluster(inputs, output).wait(120) == 0
    assert len(rows(output)) == len(found)


def test_a_dataset_of_rows(examples, monkeypatch):
    import ray

    import undertone.ray

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        paths = [{"path": path} for path in [*examples, "/no/such/file.wav"]]
        ds = undertone.ray.transcribe(
            ray.data.from_items(paths), model="base", cpus=2, word_timestamps=True, beam_size=1
        )
        found = {row["path"]: row for row in ds.take_all()}
    finally:
        ray.shutdown()
    assert set(found) == {row["path"] for row in paths}
    assert "FileNotFoundError" in found["/no/such/file.wav"]["error"]
    [fox] = [row for path, row in found.items() if "fox" in path]
    assert "fox" in fox["text"] and fox["error"] is None
    assert fox["words"][0]["word"].strip() and fox["words"][-1]["end"] <= fox["duration"] + 0.5

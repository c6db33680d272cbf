#!/usr/bin/env python3
"""How fast the server is: tables with ratios, to be read by people. Wants an idle machine.

    tests/server/load.py BINARY [ROW ...] [--rival-model FOLDER]

Rows: `concurrent` (16 clips at once against one after another), `overtaking` (a short clip while ten minutes
of speech are under way), `overhead` (HTTP against the command line's own time for one more file), `rival`
(requests a second against faster-whisper behind FastAPI; needs its model, CTranslate2's `base`).
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from run import HERE, environment

THREADS = 2
REQUESTS, CLIENTS = 64, 8


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--rival-model", type=Path)
    parser.add_argument("rows", nargs="*", default=["concurrent", "overtaking", "overhead", "rival"])
    return parser.parse_args()


def ask(url, data, language="en"):
    import httpx

    started = time.perf_counter()
    answer = httpx.post(f"{url}/v1/audio/transcriptions", data={"language": language}, files={"file": data}, timeout=600)
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"].strip()
    return time.perf_counter() - started


def at_once(url, uploads, clients):
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        each = list(pool.map(lambda upload: ask(url, upload), uploads))
    return time.perf_counter() - started, each


def show(name, rows, bar):
    print(f"\n{name}  (bar: {bar})")
    for label, value in rows:
        print(f"  {label:<44} {value}")


def clip_of(seconds):
    """English speech of about this length."""
    import serving

    known = [clip for clip in serving.recordings().values() if clip.language == "en"]
    best = min(known, key=lambda clip: abs(serving.seconds_of(clip.path) - seconds))
    return best, serving.seconds_of(best.path)


def concurrent(url):
    clip, seconds = clip_of(11)
    data = clip.bytes()
    ask(url, data)
    one, _ = at_once(url, [data] * 16, 1)
    all_, each = at_once(url, [data] * 16, 16)
    show(f"16 clips of {seconds:.1f} s", [
        ("one after another", f"{one:.2f} s"), ("at once", f"{all_:.2f} s"), ("ratio", f"{all_ / one:.2f}"),
        ("slowest answer at once", f"{max(each):.2f} s")], "ratio <= 0.6")


def overtaking(url):
    import httpx
    import serving

    clip, seconds = clip_of(5)
    base, base_seconds = clip_of(11)
    data, long_seconds = serving.repeated(base.path, round(600 / base_seconds), rate=16000)
    alone = statistics.median(ask(url, clip.bytes()) for _ in range(7))
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(ask, url, data)
        while httpx.get(f"{url}/load").json()["server_load"] == 0:
            time.sleep(0.05)
        time.sleep(1)
        beside = []
        while not pending.done() and len(beside) < 15:
            beside.append(ask(url, clip.bytes()))
        assert not pending.done(), "the long file ended first"
        long_took = pending.result()
    middle = statistics.median(beside)
    show(f"A clip of {seconds:.1f} s while {long_seconds:.0f} s of speech are under way", [
        ("alone (median of 7)", f"{alone * 1000:.0f} ms"), (f"beside (median of {len(beside)})", f"{middle * 1000:.0f} ms"),
        ("ratio", f"{middle / alone:.2f}"), ("worst ratio", f"{max(beside) / alone:.2f}"),
        ("the long file", f"{long_took:.1f} s")], "ratio <= 3")


def overhead(url):
    """The command line's time for one file more, which is the library's call and writing a file."""
    import serving

    clip, seconds = clip_of(11)
    data = clip.bytes()
    for _ in range(3):
        ask(url, data)
    times = 20
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder) / f"{i}{clip.path.suffix}" for i in range(times + 1)]
        for copy in copies:
            copy.write_bytes(data)
        def run(files):
            started = time.perf_counter()
            serving.command_line(files, "--language", "en", "-j", "1", "--threads", THREADS)
            return time.perf_counter() - started
        run(copies[:1])
        one = min(run(copies[:1]) for _ in range(3))
        library = (min(run(copies) for _ in range(2)) - one) / times
    http = [ask(url, data) for _ in range(times)]
    mean = statistics.mean(sorted(http)[:-2])
    show(f"HTTP for a clip of {seconds:.1f} s", [
        ("the library's call (command line, one file more)", f"{library * 1000:.1f} ms"),
        ("through HTTP (mean of 18 of 20)", f"{mean * 1000:.1f} ms"), ("overhead", f"{(mean - library) * 1000:.1f} ms")],
        "<= 10 ms")


def mixed():
    import serving

    known = sorted((clip for clip in serving.recordings().values() if clip.language == "en"), key=lambda clip: clip.name)
    known = [clip for clip in known if serving.seconds_of(clip.path) < 60]
    return [known[i * 7 % len(known)].bytes() for i in range(REQUESTS)]


def rival(url, model):
    import httpx

    if model is None:
        print("\nrival: left out, for want of --rival-model")
        return
    python = environment((HERE / "requirements-load.txt").read_text())
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    uploads = mixed()
    ask(url, uploads[0])
    ours, _ = at_once(url, uploads, CLIENTS)
    process = subprocess.Popen([python, HERE / "rival.py", model, str(port), str(THREADS)])
    try:
        there = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                httpx.get(f"{there}/health")
                break
            except httpx.TransportError:
                time.sleep(0.2)
        ask(there, uploads[0])
        theirs, _ = at_once(there, uploads, CLIENTS)
    finally:
        process.terminate()
        process.wait()
    show(f"{REQUESTS} requests of mixed length, {CLIENTS} clients, int8, {THREADS} threads", [
        ("here", f"{ours:.1f} s, {REQUESTS / ours:.2f} requests/s"),
        ("faster-whisper behind FastAPI", f"{theirs:.1f} s, {REQUESTS / theirs:.2f} requests/s"),
        ("ratio", f"{theirs / ours:.2f}")], ">= 3 times")


def main():
    options = arguments()
    python = environment((HERE / "requirements.txt").read_text())
    if Path(sys.executable) != python:
        return subprocess.run([python, __file__, *sys.argv[1:]]).returncode
    os.environ["UNDERTONE_BINARY"] = str(options.binary.resolve())
    import serving

    server = serving.Server("--threads", THREADS)
    rows = {"concurrent": concurrent, "overtaking": overtaking, "overhead": overhead,
            "rival": lambda url: rival(url, options.rival_model)}
    for row in options.rows:
        rows[row](server.url)
    return server.stop()


if __name__ == "__main__":
    sys.exit(main())

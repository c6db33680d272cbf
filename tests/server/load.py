#!/usr/bin/env python3
"""How fast the server is: tables with ratios, to be read by people. Wants an idle machine.

    tests/server/load.py BINARY [ROW ...] [--rival-model FOLDER]

Rows: `concurrent` (16 clips at once against one after another, and the command line's own ratio), `overtaking` (a
short clip while ten minutes of speech are under way), `overhead` (HTTP against the library's call in a process that
has the model loaded, as `undertone bench` makes it), `rival` (requests a second against faster-whisper behind
FastAPI; needs its model, CTranslate2's `base`).
"""

import argparse
import json
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


def client(url):
    """A client that keeps its connections, as the official one does: to make one takes 20 ms."""
    import httpx

    return httpx.Client(base_url=url, timeout=600, limits=httpx.Limits(max_keepalive_connections=64))


def ask(http, data, language="en"):
    started = time.perf_counter()
    answer = http.post("/v1/audio/transcriptions", data={"language": language}, files={"file": data})
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"].strip()
    return time.perf_counter() - started


def at_once(http, uploads, clients):
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        each = list(pool.map(lambda upload: ask(http, upload), uploads))
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


def command(clip, copies, *options):
    """The command line's seconds for so many copies of a recording."""
    import serving

    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{i}{clip.path.suffix}" for i in range(copies)]
        for file in files:
            file.write_bytes(clip.bytes())
        started = time.perf_counter()
        serving.command_line(files, "--language", "en", "--threads", THREADS, *options)
        return time.perf_counter() - started


def concurrent(http):
    clip, seconds = clip_of(11)
    data = clip.bytes()
    ask(http, data)
    rounds = [(at_once(http, [data] * 16, 1)[0], at_once(http, [data] * 16, 16)) for _ in range(3)]
    one = min(one for one, _ in rounds)
    all_, each = min((all_ for _, all_ in rounds), key=lambda took: took[0])
    start = min(command(clip, 1, "-j", 1) for _ in range(3)) - one / 16
    line_one, line_all = (min(command(clip, 16, "-j", jobs) for _ in range(3)) - start for jobs in (1, 16))
    show(f"16 clips of {seconds:.1f} s, the best of 3", [
        ("one after another", f"{one:.2f} s"), ("at once", f"{all_:.2f} s"), ("ratio", f"{all_ / one:.2f}"),
        ("slowest answer at once", f"{max(each):.2f} s"),
        ("the command line, its start left out: -j 1", f"{line_one:.2f} s"), ("-j 16", f"{line_all:.2f} s"),
        ("ratio", f"{line_all / line_one:.2f}")], "ratio <= 0.6")


def overtaking(http):
    import serving

    clip, seconds = clip_of(5)
    base, base_seconds = clip_of(11)
    data, long_seconds = serving.repeated(base.path, round(600 / base_seconds), rate=16000)
    alone = statistics.median(ask(http, clip.bytes()) for _ in range(7))
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(ask, http, data)
        while http.get("/load").json()["server_load"] == 0:
            time.sleep(0.05)
        time.sleep(1)
        beside = []
        while not pending.done() and len(beside) < 15:
            beside.append(ask(http, clip.bytes()))
        assert not pending.done(), "the long file ended first"
        long_took = pending.result()
    median = statistics.median(beside)
    show(f"A clip of {seconds:.1f} s while {long_seconds:.0f} s of speech are under way", [
        ("alone (median of 7)", f"{alone * 1000:.0f} ms"), (f"beside (median of {len(beside)})", f"{median * 1000:.0f} ms"),
        ("ratio", f"{median / alone:.2f}"), ("worst ratio", f"{max(beside) / alone:.2f}"),
        ("the long file", f"{long_took:.1f} s")], "ratio <= 3")


def library(clip, times):
    """Seconds of the library's call, each of so many, by `bench` in one process."""
    import serving

    files = [str(clip.path)] * times
    command = [serving.BINARY, "bench", "-m", serving.MODEL, *serving.COMPUTE, "--threads", str(THREADS), "--json", *files]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return [file["end_to_end_s"] for file in report["files"]]


def middle(times):
    return statistics.median(times) * 1000


def overhead(http):
    clip, seconds = clip_of(11)
    data = clip.bytes()
    for _ in range(3):
        ask(http, data)
    # In turns, so that a machine that gets slower is so for both.
    through, call = [], []
    for _ in range(4):
        through += [ask(http, data) for _ in range(10)]
        call += library(clip, 10)
    show(f"HTTP for a clip of {seconds:.1f} s, medians of 40", [
        ("the library's call", f"{middle(call):.1f} ms"), ("through HTTP", f"{middle(through):.1f} ms"),
        ("overhead", f"{middle(through) - middle(call):.1f} ms")], "<= 10 ms")


def mixed():
    import serving

    known = sorted((clip for clip in serving.recordings().values() if clip.language == "en"), key=lambda clip: clip.name)
    known = [clip for clip in known if serving.seconds_of(clip.path) < 60]
    return [known[i * 7 % len(known)].bytes() for i in range(REQUESTS)]


def rival(http, model):
    import httpx

    if model is None:
        print("\nrival: left out, for want of --rival-model")
        return
    python = environment((HERE / "requirements-load.txt").read_text())
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    uploads = mixed()
    ask(http, uploads[0])
    ours, _ = at_once(http, uploads, CLIENTS)
    process = subprocess.Popen([python, HERE / "rival.py", model, str(port), str(THREADS)])
    try:
        there = client(f"http://127.0.0.1:{port}")
        for _ in range(300):
            try:
                there.get("/health")
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
            "rival": lambda http: rival(http, options.rival_model)}
    with client(server.url) as http:
        for row in options.rows:
            rows[row](http)
    return server.stop()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Many requests, one in ten hostile and one in ten given up: nothing good may fail, nothing may grow.

    tests/server/soak.py BINARY [REQUESTS]

Prints memory, threads and handles as it goes on, and ends with 1 if a good request failed, if memory at the
end is more than 1.1 times that after 200 requests, or if threads or handles grew.
"""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from run import HERE, environment

CLIENTS = 8
EVERY = 200


def kinds(number):
    return {3: "hostile", 7: "cancelled"}.get(number % 10, "good")


class Soak:
    def __init__(self, server):
        import serving

        self.server, self.lock, self.failures, self.done = server, threading.Lock(), [], 0
        self.counts = {"good": 0, "hostile": 0, "cancelled": 0}
        known = [clip for clip in serving.recordings().values() if serving.seconds_of(clip.path) < 12]
        self.clips = sorted(known, key=lambda clip: clip.name)[::max(1, len(known) // 16)]
        self.want = {clip.name: serving.transcript(clip.path, "--language", clip.language)["text"] for clip in self.clips}
        self.hostile = [b"", b"not audio", b"RIFF\0\0\0\0WAVE", os.urandom(20000), b"fLaC" + os.urandom(9000)]
        if serving.REFERENCE:
            files = (path for path in sorted((serving.REFERENCE / "hostile").iterdir()) if path.suffix != ".tsv")
            self.hostile += [path.read_bytes() for path in files]

    def form(self, number, kind):
        clip = self.clips[number % len(self.clips)]
        data = self.hostile[number // 10 % len(self.hostile)] if kind == "hostile" else clip.bytes()
        fields = {"language": clip.language, "stream": "true" if kind == "cancelled" and number % 20 < 10 else "false"}
        return clip, {"data": fields, "files": {"file": data}}

    def request(self, number):
        import httpx

        kind = kinds(number)
        clip, form = self.form(number, kind)
        url = f"{self.server.url}/v1/audio/transcriptions"
        patience = 0.02 + number % 7 * 0.05 if kind == "cancelled" else 300
        try:
            answer = httpx.post(url, timeout=httpx.Timeout(300, read=patience), **form)
            if kind == "good" and (answer.status_code != 200 or answer.json()["text"] != self.want[clip.name]):
                self.fail(f"{number} {clip.name}: {answer.status_code} {answer.text[:200]}")
            if kind == "hostile" and answer.status_code not in (200, 400):
                self.fail(f"{number} hostile: {answer.status_code} {answer.text[:200]}")
        except httpx.ReadTimeout:
            if kind != "cancelled":
                self.fail(f"{number} {kind}: no answer")
        except httpx.TransportError as error:
            self.fail(f"{number} {kind}: {error!r}")
        self.count(kind)

    def fail(self, what):
        with self.lock:
            self.failures.append(what)

    def count(self, kind):
        with self.lock:
            self.counts[kind] += 1
            self.done += 1

    def measure(self):
        return self.server.rss_kib() / 1024, self.server.threads(), self.server.handles()


def settle(soak):
    """What is measured is measured with nothing under way."""
    import httpx

    for _ in range(200):
        if httpx.get(f"{soak.server.url}/load").json()["server_load"] == 0:
            break
        time.sleep(0.05)
    # Connections and threads that wait for more are given a moment to end.
    time.sleep(1)
    return soak.measure()


def soaked(soak, requests):
    rows, started = [], time.monotonic()
    print(f"{'requests':>8} {'RSS MiB':>8} {'threads':>8} {'handles':>8} {'s':>7}")
    for first in range(0, requests, EVERY):
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(soak.request, range(first, min(first + EVERY, requests))))
        rows.append(settle(soak))
        rss, threads, handles = rows[-1]
        print(f"{soak.done:>8} {rss:>8.1f} {threads:>8} {handles:>8} {time.monotonic() - started:>7.0f}", flush=True)
    return rows


def main():
    binary, requests = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    python = environment((HERE / "requirements.txt").read_text())
    if Path(sys.executable) != python:
        return subprocess.run([python, __file__, *sys.argv[1:]]).returncode
    os.environ["UNDERTONE_BINARY"] = str(Path(binary).resolve())
    import serving

    server = serving.Server()
    soak = Soak(server)
    rows = soaked(soak, requests)
    first, last = rows[0], rows[-1]
    print(f"{soak.counts}, failures: {len(soak.failures)}; RSS ratio {last[0] / first[0]:.3f}, "
          f"threads {first[1]} -> {last[1]}, handles {first[2]} -> {last[2]}")
    print("\n".join(soak.failures[:20]))
    grown = last[0] > 1.1 * first[0] or last[1] > first[1] or last[2] > first[2]
    return server.stop() or int(bool(soak.failures) or grown)


if __name__ == "__main__":
    sys.exit(main())

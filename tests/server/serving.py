"""A server under test, the command line it is compared with, and the recordings both hear."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy
import soundfile

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = os.environ.get("UNDERTONE_BINARY", str(ROOT / "target" / "release" / "undertone"))
MODEL = os.environ.get("UNDERTONE_TEST_MODEL", "base")
REFERENCE = Path(os.environ["UNDERTONE_REFERENCE"]) if "UNDERTONE_REFERENCE" in os.environ else None
# Both sides compute with the same numbers; answers are compared between the two, not with a third.
COMPUTE = ["--compute-type", "int8"]
LISTENING = re.compile(r"undertone is listening on (http://\S+)")


class Server:
    """`undertone serve` as a process of its own, on a port that was free."""

    def __init__(self, *args, model=MODEL, compute=COMPUTE):
        command = [BINARY, "serve", str(model), "--port", "0", *compute, *map(str, args)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.lines, self.url = [], None
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._ready.wait(120)
        if self.url is None:
            self.process.kill()
            raise RuntimeError(f"{' '.join(command)} does not listen:\n{self.log()}")

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)
            if found := LISTENING.search(line):
                self.url = found.group(1)
                self._ready.set()
        self._ready.set()

    def log(self):
        return "".join(self.lines)

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def stop(self, patience_s=30):
        """Ends it as a service manager would; the exit status."""
        if self.process.poll() is None:
            self.signal()
        try:
            status = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join(5)
        assert "panicked" not in self.log(), self.log()
        return status

    def rss_kib(self):
        return int(self._status("VmRSS"))

    def threads(self):
        return int(self._status("Threads"))

    def handles(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def _status(self, key):
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return re.search(rf"^{key}:\s+(\d+)", text, re.M).group(1)


@dataclass(frozen=True)
class Clip:
    """A recording, what is said in it, and a part of that which a small model hears right."""

    path: Path
    language: str
    reference: str
    phrase: str = ""

    @property
    def name(self):
        return self.path.name

    def bytes(self):
        return self.path.read_bytes()


def recordings():
    """Every recording at hand by name: the repository's, and those of the reference folder."""
    found = {}
    folders = [ROOT / "examples" / "audio"] + ([REFERENCE / "audio"] if REFERENCE else [])
    for folder in folders:
        with open(folder / "manifest.tsv", encoding="utf-8", newline="") as manifest:
            for row in csv.DictReader(manifest, delimiter="\t", quoting=csv.QUOTE_NONE):
                found[row["file"]] = Clip(folder / row["file"], row["language"], row["reference"])
    return found


def clip(*choices):
    """The first of `(name, phrase)` that is at hand."""
    known = recordings()
    name, phrase = next((name, phrase) for name, phrase in choices if name in known)
    found = known[name]
    assert words(phrase) and " ".join(words(phrase)) in " ".join(words(found.reference)), (name, phrase)
    return Clip(found.path, found.language, found.reference, phrase)


def words(text):
    """A text's words in small letters, without punctuation."""
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower())


def says(text, phrase):
    """How often a text says a phrase, whatever the punctuation."""
    return f" {' '.join(words(text))} ".count(f" {' '.join(words(phrase))} ")


def command_line(paths, *args, task="transcribe", formats="json", model=MODEL):
    """What the command line makes of recordings: by stem, the text of each file it writes by extension.

    A server decodes greedily unless beams are asked for, so the command line is told to as well. A recording
    that it refuses is missing.
    """
    # A limit on words would cut names short in the list of arguments; the folder is short-lived.
    with tempfile.TemporaryDirectory() as folder:
        fixed = ["-m", model, *COMPUTE, "--quiet", "-f", formats, "-o", folder]
        beams = [] if "--beam_size" in args else ["--beam_size", "1"]
        ran = subprocess.run([BINARY, task, *map(str, paths), *fixed, *beams, *map(str, args)],
                             capture_output=True, text=True)
        assert ran.returncode in (0, 1), ran.stderr
        written = {}
        for path in Path(folder).iterdir():
            written.setdefault(path.stem, {})[path.suffix[1:]] = path.read_text(encoding="utf-8")
    return written


def transcript(path, *args, **options):
    """The command line's JSON for one recording, parsed, or None where it is refused."""
    written = command_line([path], *args, **options).get(Path(path).stem)
    return written and json.loads(written["json"])


def samples_of(path):
    """A recording's samples, the mean of its channels, and their rate."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return samples.mean(axis=1), rate


def seconds_of(path):
    samples, rate = samples_of(path)
    return len(samples) / rate


def repeated(path, times, rate=22050, pause=1600):
    """A wav that says a recording over and over at another rate, with `pause` empty samples after each."""
    samples, own = samples_of(path)
    once = numpy.interp(numpy.arange(len(samples) * rate // own) * own / rate, numpy.arange(len(samples)), samples)
    once = numpy.concatenate([once, numpy.zeros(pause)])
    out = io.BytesIO()
    soundfile.write(out, numpy.tile(once, times), rate, format="WAV", subtype="PCM_16")
    return out.getvalue(), len(once) * times / rate


def sse(lines):
    """The messages of an event stream. Every line must be one, and the last one must end it."""
    messages = []
    for line in lines:
        if not line:
            continue
        assert line.startswith("data: "), line
        if line == "data: [DONE]":
            return messages
        messages.append(json.loads(line.removeprefix("data: ")))
    raise AssertionError("the stream broke off")

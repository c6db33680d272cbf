"""Threads, interrupts, work that nobody waits for, memory."""

import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import undertone


def texts(model, audio, **options):
    return [segment.text for segment in model.transcribe(audio, **options)[0]]


def test_threads_get_what_one_by_one_gives(model, examples):
    alone = [texts(model, path) for path in examples]
    with ThreadPoolExecutor(len(examples)) as pool:
        assert list(pool.map(lambda path: texts(model, path), examples * 2)) == alone * 2


def test_other_threads_go_on_meanwhile(model, fox):
    counted = 0
    is_over = threading.Event()

    def count():
        nonlocal counted
        while not is_over.is_set():
            counted += 1
            time.sleep(0.001)

    counter = threading.Thread(target=count)
    counter.start()
    started = time.perf_counter()
    texts(model, fox)
    seconds = time.perf_counter() - started
    is_over.set()
    counter.join()
    assert counted > seconds * 100


def test_an_interrupt_ends_the_work():
    program = (
        "import signal, undertone, numpy as np\n"
        # Where the tests run in the background, interrupts are ignored from the start.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "model = undertone.WhisperModel('base', compute_type='int8')\n"
        "noise = np.random.default_rng(0).normal(0, 0.1, 16_000 * 1200).astype(np.float32)\n"
        "segments, info = model.transcribe(noise, language='en')\n"
        "print('begun', flush=True)\n"
        "list(segments)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "begun\n"
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    sent = time.perf_counter()
    _, complaint = child.communicate(timeout=30)
    assert time.perf_counter() - sent < 3
    assert "KeyboardInterrupt" in complaint and child.returncode != 0


def test_work_that_nobody_waits_for_stops(model):
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000 * 1200).astype(np.float32)
    segments, _ = model.transcribe(noise, language="en", temperature=0)
    next(segments)
    del segments
    started = time.process_time()
    time.sleep(2)
    assert time.process_time() - started < 1, "it goes on computing"


def test_a_thousand_calls_keep_no_memory(pico, fox):
    model = undertone.WhisperModel(pico)
    samples = undertone.decode_audio(fox)

    def rss():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def calls(n):
        for _ in range(n):
            texts(model, samples, language="en", temperature=0, beam_size=1, max_new_tokens=4)

    calls(100)
    before = rss()
    calls(1000)
    assert rss() - before < 16 << 20


def test_importing_is_quick():
    program = "import time; t = time.perf_counter(); import undertone; print(time.perf_counter() - t)"
    took = [float(subprocess.check_output([sys.executable, "-c", program])) for _ in range(5)]
    assert min(took) < 0.05, took

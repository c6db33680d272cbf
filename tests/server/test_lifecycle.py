"""How a server starts, ends and stands what clients do to it."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

import serving
from conftest import client_of

TRANSCRIPTIONS = "/v1/audio/transcriptions"


def post(url, clip, timeout=120, **fields):
    return httpx.post(url + TRANSCRIPTIONS, data=fields, files={"file": clip.bytes()}, timeout=timeout)


def until(holds, patience_s=10.0):
    """Whether something comes true in time."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.05)
    return False


def load_of(http):
    return http.get("/load").json()["server_load"]


def metric(http, name):
    """The sum of a figure over its labels."""
    lines = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", http.get("/metrics").text, re.M)
    assert lines, name
    return sum(map(float, lines))


@pytest.mark.short
def test_it_says_how_it_is(http, english):
    assert (http.get("/health").status_code, http.get("/health").content) == (200, b"")
    assert http.get("/ready").status_code == 200
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", http.get("/version").json()["version"])
    assert until(lambda: load_of(http) == 0)
    answered = 'undertone_requests_total{route="/v1/audio/transcriptions",status="200"}'
    count = lambda: sum(int(line.split()[-1]) for line in http.get("/metrics").text.splitlines() if line.startswith(answered))
    before = count()
    assert http.post(TRANSCRIPTIONS, files={"file": english.bytes()}).status_code == 200
    assert count() == before + 1
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", http.get("/metrics").text, re.M))
    assert set(kinds.values()) <= {"counter", "gauge", "histogram", "summary"} and len(kinds) >= 8


@pytest.mark.short
def test_the_page_is_served_under_a_strict_policy(http):
    kinds = {"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript"}
    for path, kind in kinds.items():
        answer = http.get(path)
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind), path
        assert "default-src 'self'" in answer.headers["content-security-policy"], path
    assert "access-control-allow-origin" not in http.get("/", headers={"origin": "https://elsewhere.example"}).headers


def test_other_origins_are_let_in_where_they_are_named(launch):
    http = httpx.Client(base_url=launch("--cors", "https://a.example").url)
    allowed = lambda origin: http.get("/v1/models", headers={"origin": origin}).headers.get("access-control-allow-origin")
    assert allowed("https://a.example") == "https://a.example"
    assert allowed("https://b.example") is None


def test_it_ends_when_told_to_and_cuts_nothing(launch, english, long_wav):
    """A request that is under way is finished or refused; what was answered with 200 is whole."""
    server = launch("--grace", "5")
    want = post(server.url, english, language="en").json()["text"]
    long_clip = serving.Clip(long_wav, "en", "")

    def attempt(clip):
        try:
            return post(server.url, clip, language="en")
        except httpx.TransportError as error:
            return error

    with ThreadPoolExecutor(9) as pool, httpx.Client(base_url=server.url) as http:
        long = [pool.submit(attempt, long_clip) for _ in range(3)]
        assert until(lambda: load_of(http) == 3)
        pending = [pool.submit(attempt, english) for _ in range(6)] + long
        assert until(lambda: load_of(http) >= 5)
        server.signal()
        told = time.monotonic()
        answers = [future.result() for future in pending]
        assert server.process.wait(20) == 0
        took = time.monotonic() - told
    assert took < 5 + 4, f"ended after {took:.1f} s"
    for answer in answers[:6]:
        if isinstance(answer, httpx.ConnectError):
            continue  # It came after the end.
        assert isinstance(answer, httpx.Response), answer
        assert answer.status_code == 503 or (answer.status_code == 200 and answer.json()["text"] == want), answer.text
    whole = [answer for answer in answers[:6] if isinstance(answer, httpx.Response) and answer.status_code == 200]
    assert whole, "all were given up"
    for answer in answers[6:]:
        assert isinstance(answer, httpx.Response) and answer.status_code == 503, answer


def test_a_stream_that_cannot_be_finished_says_so(launch, long_wav):
    server = launch("--grace", "1")
    data = {"language": "en", "stream": "true"}
    with httpx.stream("POST", server.url + TRANSCRIPTIONS, data=data, files={"file": long_wav.read_bytes()}, timeout=60) as answer:
        assert answer.status_code == 200
        lines = answer.iter_lines()
        first = next(lines)
        server.signal()
        messages = serving.sse([first, *lines])
    assert messages[-1]["error"]["code"] == 503
    assert server.process.wait(20) == 0


def test_a_second_signal_does_not_wait(launch, long_wav):
    server = launch("--grace", "60")
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(lambda: post(server.url, serving.Clip(long_wav, "en", "")))
        assert until(lambda: load_of(httpx.Client(base_url=server.url)) == 1)
        server.signal(signal.SIGINT)
        time.sleep(0.5)
        server.signal(signal.SIGINT)
        server.process.wait(10)
        try:
            assert pending.result().status_code == 503
        except httpx.TransportError:
            pass  # It was told twice not to wait.


@pytest.mark.short
@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_client_that_leaves_is_not_worked_for(server, http, long_wav, stream):
    assert until(lambda: load_of(http) == 0)
    cancelled = metric(http, "undertone_cancellations_total")
    # A stream is left at its first message, an answer after a second without it.
    patience = 60.0 if stream == "true" else 1.0
    with httpx.Client(base_url=server.url, timeout=httpx.Timeout(60, read=patience)) as leaving:
        data = {"language": "en", "stream": stream}
        try:
            with leaving.stream("POST", TRANSCRIPTIONS, data=data, files={"file": long_wav.read_bytes()}) as answer:
                next(answer.iter_lines())
        except httpx.ReadTimeout:
            assert stream == "false"
    assert until(lambda: load_of(http) == 0, 5), "it is still worked on"
    assert metric(http, "undertone_cancellations_total") == cancelled + 1


def test_a_client_that_is_killed(server, http, long_wav):
    source = ("import httpx, sys\n"
              "httpx.post(sys.argv[1], files={'file': open(sys.argv[2], 'rb')}, timeout=600)\n")
    client = subprocess.Popen([sys.executable, "-c", source, server.url + TRANSCRIPTIONS, str(long_wav)])
    assert until(lambda: load_of(http) == 1)
    client.kill()
    client.wait()
    assert until(lambda: load_of(http) == 0, 5)
    assert http.get("/ready").status_code == 200


def slow_sockets(server, count):
    """Clients that have sent the head of a form and send a byte now and then."""
    host, port = server.url.removeprefix("http://").split(":")
    head = (f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n"
            "Content-Type: multipart/form-data; boundary=X\r\n\r\n--X\r\n").encode()
    sockets = []
    for i in range(count):
        sockets.append(socket.create_connection((host, int(port))))
        # Half of them do not even get to the end of the head.
        sockets[-1].sendall(head if i % 2 else head[:40])
    return sockets


def test_clients_that_send_a_byte_a_second(launch, english):
    """Others are served meanwhile, and their time ends."""
    server = launch("--upload-timeout", "6")
    handles = server.handles()
    sockets = slow_sockets(server, 32)
    assert until(lambda: server.handles() >= handles + 32)
    for _ in range(3):
        for one in sockets:
            one.send(b"a")
        started = time.monotonic()
        assert post(server.url, english, language="en").status_code == 200
        assert time.monotonic() - started < 10
        time.sleep(1)
    for one in sockets[1::2]:  # Those whose head was whole get an answer.
        one.settimeout(20)
        assert one.recv(100).startswith(b"HTTP/1.1 408 ")
    assert until(lambda: server.handles() <= handles + 18, 30), "connections are kept"
    for one in sockets:
        one.close()


def test_a_reader_that_does_not_read(server, http, english, long_wav):
    """A stream that nobody takes keeps nobody else waiting."""
    host, port = server.url.removeprefix("http://").split(":")
    body = b"".join(b"--X\r\nContent-Disposition: form-data; name=\"%b\"%b\r\n\r\n%b\r\n" % part for part in [
        (b"stream", b"", b"true"), (b"file", b"; filename=\"a\"", long_wav.read_bytes())]) + b"--X--\r\n"
    with socket.create_connection((host, int(port))) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
                    "Content-Type: multipart/form-data; boundary=X\r\n\r\n".encode() + body)
        assert until(lambda: load_of(http) == 1)
        assert post(server.url, english, language="en").status_code == 200
        # Gone without a word, as after a crash: the connection is reset.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert until(lambda: load_of(http) == 0, 10)


def test_what_does_not_fit_is_refused_with_a_time(launch, english, long_wav):
    server = launch("--max-requests", "1", "--queue", "1")
    long_clip = serving.Clip(long_wav, "en", "")
    with ThreadPoolExecutor(6) as pool, httpx.Client(base_url=server.url) as http:
        first = pool.submit(post, server.url, long_clip, language="en")
        assert until(lambda: load_of(http) == 1)
        second = pool.submit(post, server.url, english, language="en")
        assert until(lambda: load_of(http) == 2)
        refused = [pool.submit(post, server.url, english).result() for _ in range(4)]
        for answer in refused:
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["code"] == 503
        assert http.get("/health").status_code == 200
        server.signal()
        assert first.result().status_code in (200, 503) and second.result().status_code in (200, 503)


def test_a_request_has_a_deadline(launch, english, long_wav):
    server = launch("--request-timeout", "1")
    answer = post(server.url, serving.Clip(long_wav, "en", ""), language="en")
    assert answer.status_code == 504 and answer.json()["error"]["code"] == 504
    assert until(lambda: load_of(httpx.Client(base_url=server.url)) == 0)
    assert post(server.url, english, language="en").status_code == 200


def test_a_short_recording_overtakes_a_long_one(server, http, english, long_wav):
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(post, server.url, serving.Clip(long_wav, "en", ""), 300, language="en", temperature="0")
        assert until(lambda: load_of(http) == 1)
        assert post(server.url, english, language="en").status_code == 200
        assert not pending.done()
        assert pending.result().status_code == 200


def test_a_model_that_nobody_uses_is_unloaded_and_comes_back(launch, english):
    server = launch("--idle-unload", "1")
    want = post(server.url, english, language="en").json()
    full = server.rss_kib()
    assert until(lambda: server.rss_kib() < full * 0.7, 15), (full, server.rss_kib())
    assert httpx.get(server.url + "/health").status_code == 200
    assert post(server.url, english, language="en").json() == want


def refused_start(*args):
    ran = subprocess.run([serving.BINARY, "serve", *map(str, args)], capture_output=True, text=True, timeout=60)
    assert ran.returncode not in (0, 101) and "panicked" not in ran.stderr, ran.stderr
    return ran.stderr


@pytest.mark.short
def test_starts_that_make_no_sense(server, tmp_path):
    port = server.url.rsplit(":", 1)[1]
    assert port in refused_start(serving.MODEL, *serving.COMPUTE, "--port", port)
    assert "no-such-folder" in refused_start(tmp_path / "no-such-folder", "--port", "0")
    assert "no-such-keys" in refused_start(serving.MODEL, "--port", "0", "--api-key-file", tmp_path / "no-such-keys")
    assert "nonsense" in refused_start(serving.MODEL, "--port", "0", "--api-style", "nonsense")


@pytest.mark.short
def test_vllms_flags_are_taken_in_both_spellings(launch, english):
    server = launch("--enforce-eager", "--seed", "0", "--no-enable-prefix-caching", "--attention-backend", "TRITON_ATTN",
                    "--dtype", "bfloat16", "--max_num_seqs=4", "--tokenizer_mode=auto", "--gpu_memory_utilization=0.2", "--trust-remote-code",
                    "--enable_force_include_usage", "--served-model-name", "speech")
    assert [model["id"] for model in httpx.get(server.url + "/v1/models").json()["data"]] == ["speech"]
    assert post(server.url, english, language="en", model="speech").status_code == 200
    assert post(server.url, english, model=serving.MODEL).status_code == 404


def adapter(folder, size, scale):
    """A PEFT adapter of one rank on the decoder's first query: its change is `scale` times a dyad of ones."""
    folder.mkdir()
    module = "decoder.layers.0.self_attn.q_proj"
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": [module], "bias": "none",
              "use_rslora": False, "use_dora": False, "task_type": None, "base_model_name_or_path": "openai/whisper-base"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    name = f"base_model.model.model.{module}"
    tensors = {f"{name}.lora_A.weight": ((1, size), 1.0), f"{name}.lora_B.weight": ((size, 1), scale)}
    head, data = {}, b""
    for key, (shape, value) in tensors.items():
        numbers = struct.pack(f"<{size}f", *([value] * size))
        head[key] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(numbers)]}
        data += numbers
    text = json.dumps(head).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return folder


@pytest.mark.short
def test_adapters_are_models_of_their_own(launch, tmp_path, second):
    size = {"tiny": 384, "base": 512, "small": 768}[serving.MODEL.split(".")[0]]
    none, much = adapter(tmp_path / "none", size, 0.0), adapter(tmp_path / "much", size, 0.5)
    server = launch("--lora-modules", f"none={none}", json.dumps({"name": "much", "path": str(much)}))
    models = httpx.get(server.url + "/v1/models").json()["data"]
    assert [(model["id"], model["parent"]) for model in models] == [
        (serving.MODEL, None), ("none", serving.MODEL), ("much", serving.MODEL)]
    # All three at once, so that their windows meet.
    names = [serving.MODEL, "none", "much"] * 3
    with ThreadPoolExecutor(9) as pool, client_of(server) as client:
        ask = lambda name: client.audio.transcriptions.create(model=name, file=second.path, language=second.language).text
        texts = list(pool.map(ask, names))
    base, without, changed = texts[:3]
    assert texts == [base, without, changed] * 3
    assert without == base
    assert changed != base
    with client_of(server) as client, pytest.raises(openai.NotFoundError):
        client.audio.transcriptions.create(model="other", file=second.path)
    refused = lambda *adapters: refused_start(serving.MODEL, "--port", "0", *serving.COMPUTE, "--lora-modules", *adapters)
    assert "no-such-adapter" in refused(f"a={tmp_path}/no-such-adapter")
    assert "two models would be served as a" in refused(f"a={none}", f"a={much}")
    assert "NAME=FOLDER" in refused("a")
    (much / "adapter_model.safetensors").write_bytes(b"damaged")
    assert "adapter_model.safetensors" in refused(f"a={much}")


def test_threads_and_handles_do_not_pile_up(server, http, english):
    """Requests, bad ones and such that are given up leave nothing behind."""
    def some():
        for i in range(20):
            http.post(TRANSCRIPTIONS, files={"file": english.bytes() if i % 2 else b"text"})
        slow = slow_sockets(server, 8)
        for one in slow:
            one.close()
        assert until(lambda: load_of(http) == 0)
    some()
    threads, handles = server.threads(), server.handles()
    some()
    some()
    assert until(lambda: server.threads() <= threads + 4 and server.handles() <= handles + 4), (
        threads, server.threads(), handles, server.handles())


def test_it_listens_on_this_machine_alone_unless_told(launch):
    server = launch()
    assert server.url.startswith("http://127.0.0.1:")
    port = int(server.url.rsplit(":", 1)[1])
    listening = [line.split()[1] for line in open(f"/proc/{server.process.pid}/net/tcp") if line.split()[3] == "0A"]
    assert [address for address in listening if int(address.split(":")[1], 16) == port] == [f"0100007F:{port:04X}"]
    assert os.path.exists(f"/proc/{server.process.pid}")

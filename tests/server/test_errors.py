"""Refusals: status, kind, text and field of each, in which order they come, and what does no harm."""

import csv

import httpx
import pytest

import serving

TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"
BAD, SHAPE = "BadRequestError", "Bad Request"
NO_AUDIO = "Invalid or unsupported audio file."


def post(http, recording, fields=(), path=TRANSCRIPTIONS, **options):
    files = {"file": recording} if recording is not None else {"other": b""}
    return http.post(path, data=dict(fields), files=files, **options)


def error_of(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == status
    return error


# Fields, and what the refusal holds: status, kind, part of the message, field.
REFUSED = [
    ({"language": "hh"}, 400, BAD, "Unsupported language: 'hh'.  Must be one of ['af', 'ar',", "language"),
    ({"to_language": "hh"}, 400, BAD, "Unsupported language: 'hh'.  Must be one of [", "to_language"),
    ({"stream_include_usage": "true"}, 400, BAD,
     "Stream options can only be defined when `stream=True`. (parameter=stream_include_usage)", "stream_include_usage"),
    ({"stream_continuous_usage_stats": "true"}, 400, BAD,
     "Stream options can only be defined when `stream=True`. (parameter=stream_continuous_usage_stats)",
     "stream_continuous_usage_stats"),
    ({"stream": "true", "use_beam_search": "true", "n": "2"}, 400, BAD,
     "Streaming is not currently supported with beam search", None),
    ({"stream": "true", "response_format": "verbose_json"}, 400, BAD,
     "verbose_json format doesn't support streaming case", None),
    ({"stream": "true", "response_format": "srt"}, 400, BAD, "srt format doesn't support streaming case", None),
    ({"response_format": "xml"}, 400, SHAPE, "", "response_format"),
    ({"temperature": "warm"}, 400, SHAPE, "", "temperature"),
    ({"temperature": "nan"}, 400, None, "", "temperature"),
    ({"temperature": "2.5"}, 400, BAD, "", "temperature"),
    ({"temperature": "-0.1"}, 400, BAD, "", "temperature"),
    ({"stream": "perhaps"}, 400, SHAPE, "", "stream"),
    ({"seed": "1.5"}, 400, SHAPE, "", "seed"),
    ({"max_completion_tokens": "many"}, 400, SHAPE, "", "max_completion_tokens"),
    ({"max_completion_tokens": "0"}, 400, BAD, "", "max_completion_tokens"),
    ({"top_p": "1.5"}, 400, BAD, "", "top_p"),
    ({"top_p": "0"}, 400, BAD, "", "top_p"),
    ({"top_k": "-2"}, 400, BAD, "", "top_k"),
    ({"min_p": "1.1"}, 400, BAD, "", "min_p"),
    ({"repetition_penalty": "0"}, 400, BAD, "", "repetition_penalty"),
    ({"frequency_penalty": "2.1"}, 400, BAD, "", "frequency_penalty"),
    ({"presence_penalty": "-2.1"}, 400, BAD, "", "presence_penalty"),
    ({"use_beam_search": "true", "n": "0"}, 400, BAD, "", "n"),
    ({"vllm_xargs": "{"}, 400, None, "", "vllm_xargs"),
    ({"model": "x"}, 404, "NotFoundError", "The model `x` does not exist.", "model"),
]


@pytest.mark.short
@pytest.mark.parametrize("path", [TRANSCRIPTIONS, TRANSLATIONS])
@pytest.mark.parametrize("fields, status, kind, message, param", REFUSED, ids=lambda value: str(value)[:40])
def test_fields_that_are_refused(http, english, path, fields, status, kind, message, param):
    error = error_of(post(http, english.bytes(), fields, path), status)
    assert kind is None or error["type"] == kind, error
    assert message in error["message"]
    assert error["param"] == param


@pytest.mark.short
def test_a_granularity_that_is_none(http, english):
    error = error_of(post(http, english.bytes(), {"timestamp_granularities[]": "syllable"}), 400)
    assert (error["type"], error["param"]) == (SHAPE, "timestamp_granularities")


@pytest.mark.short
@pytest.mark.parametrize("path", [TRANSCRIPTIONS, TRANSLATIONS])
@pytest.mark.parametrize("data", [b"", b"not a valid audio file", b"RIFF\x00\x00\x00\x00WAVE", b"\x00" * 5000])
def test_what_is_no_audio(http, path, data):
    error = error_of(post(http, data, path=path), 400)
    assert error["type"] == BAD
    assert NO_AUDIO in error["message"]


@pytest.mark.short
def test_a_file_that_is_missing_or_a_text(http):
    for path in (TRANSCRIPTIONS, TRANSLATIONS):
        error = error_of(post(http, None, path=path), 400)
        assert (error["type"], error["param"]) == (SHAPE, "file")
    error = error_of(http.post(TRANSCRIPTIONS, data={"model": serving.MODEL}, files=[("file", (None, "a string"))]), 422)
    assert error["type"] in ("Unprocessable Entity", "Unprocessable Content")
    assert error["message"] == "Expected 'file' to be a file-like object, not 'str'."


@pytest.mark.short
def test_bodies_that_are_no_form(http):
    multipart = {"content-type": "multipart/form-data; boundary=X"}
    bodies = [
        (b"{}", {"content-type": "application/json"}),
        (b"", {}),
        (b"file=a", {"content-type": "application/x-www-form-urlencoded"}),
        (b"file=a", {"content-type": "multipart/form-data"}),
        (b"no boundary in here", multipart),
        (b"--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\ncut off", multipart),
        (b"--X\r\nContent-Disposition: form-data\r\n\r\nno name\r\n--X--\r\n", multipart),
        (b"--X\r\nContent-Disposition: form-data; name=\"language\"\r\n\r\n\xff\xfe\r\n--X--\r\n", multipart),
    ]
    for body, headers in bodies:
        error_of(http.post(TRANSCRIPTIONS, content=body, headers=headers), 400)


@pytest.mark.short
def test_paths_and_methods_that_are_not_there(http):
    for path in ("/nowhere", "/v1/nowhere", "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/realtime"):
        for answer in (http.get(path), http.post(path, json={})):
            assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"}), path
    assert http.get(TRANSCRIPTIONS).status_code == 405
    error = error_of(http.get("/v1/models/none"), 404)
    assert error["message"] == "The model `none` does not exist."


# Each pair breaks two rules, of which the first is the one that is named.
ORDER = [
    ("schema before size", {"temperature": "warm"}, "large", "temperature"),
    ("size before stream and beams", {"stream": "true", "use_beam_search": "true", "n": "2"}, "large", "Maximum file size"),
    ("stream and beams before the model", {"stream": "true", "use_beam_search": "true", "n": "2", "model": "x"}, "good", "beam search"),
    ("the model before the stream's format", {"model": "x", "stream": "true", "response_format": "verbose_json"}, "good", "The model `x`"),
    ("the stream's format before the language", {"stream": "true", "response_format": "verbose_json", "language": "hh"}, "good", "streaming case"),
    ("the language before the recording", {"language": "hh"}, "text", "Unsupported language"),
]


def short():
    """A recording of some hundred kilobytes."""
    return serving.recordings()["en_quick_brown_fox.wav"]


@pytest.fixture(scope="module")
def small():
    """A server that takes one megabyte and twenty seconds."""
    server = serving.Server("--max-upload-mb", "1", "--max-duration-s", "20")
    with httpx.Client(base_url=server.url, timeout=60) as http:
        yield http
    assert server.stop() == 0


@pytest.mark.parametrize("what, fields, upload, message", ORDER, ids=[row[0] for row in ORDER])
def test_the_order_of_refusals(small, what, fields, upload, message):
    data = {"large": b"\0" * (2 << 20), "good": short().bytes(), "text": b"text"}[upload]
    answer = post(small, data, fields)
    assert answer.status_code in (400, 404)
    assert message in answer.json()["error"]["message"], what


def test_limits_of_size_and_length(small):
    limit = 1 << 20
    error = error_of(post(small, b"\0" * (limit + 1)), 400)
    assert error["type"] == BAD and error["param"] == "audio_filesize_mb"
    assert error["message"].startswith("Maximum file size exceeded (parameter=audio_filesize_mb, value=1")
    assert NO_AUDIO in error_of(post(small, b"\0" * limit), 400)["message"], "a file at the limit is read"
    long, seconds = serving.repeated(short().path, 8, rate=8000)
    assert seconds > 20 and len(long) < limit
    error = error_of(post(small, long), 400)
    assert "Audio exceeds maximum allowed duration of 20s" in error["message"]
    assert post(small, short().bytes()).status_code == 200


def test_an_upload_is_refused_while_it_is_read(small):
    """Nothing keeps the rest of a body of many gigabytes."""
    sent = 0

    def body():
        nonlocal sent
        yield b"--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n"
        for _ in range(4096):
            sent += 1 << 20
            yield b"\0" * (1 << 20)

    try:
        answer = small.post(TRANSCRIPTIONS, content=body(), headers={"content-type": "multipart/form-data; boundary=X"})
        assert answer.status_code == 400
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        pass  # Closed while this side still wrote: the answer may be lost, the bytes are not taken.
    assert sent < 512 << 20


def test_keys(launch, tmp_path, english):
    keys = tmp_path / "keys"
    keys.write_text("from-a-file\n\nanother\n")
    server = launch("--api-key", "alpha", "--api-key", "beta", "--api-key-file", keys)
    with httpx.Client(base_url=server.url, timeout=60) as http:
        for header in (None, "Bearer wrong", "Bearer", "Bearer alph", "Bearer alphaa", "Basic alpha", "alpha"):
            headers = {"authorization": header} if header else {}
            for answer in (http.get("/v1/models", headers=headers), post(http, english.bytes(), headers=headers)):
                assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"}), header
        for key in ("alpha", "beta", "from-a-file", "another"):
            assert http.get("/v1/models", headers={"authorization": f"Bearer {key}"}).status_code == 200, key
        assert post(http, english.bytes(), headers={"authorization": "Bearer beta"}).status_code == 200
        for path in ("/health", "/version", "/", "/page.js", "/page.css"):
            assert http.get(path).status_code == 200, path
    assert "alpha" not in server.log()


@pytest.mark.short
def test_no_answer_holds_a_path_an_address_or_a_trace(http):
    for data in (b"", b"text", b"fLaC" + b"\0" * 100, b"OggS" + b"\0" * 100, b"\x1aE\xdf\xa3" + b"\0" * 100):
        text = post(http, data).text
        for word in ("/root", "/home", "/tmp", "src/", ".rs", "0x", "panicked", "backtrace"):
            assert word not in text


# What no reading could make into speech, and what every reading must. The rest is as the command line has it.
REFUSED_FILES = {"zero_bytes.wav", "text_named.wav", "no_audio_track.mp4"}


def test_hostile_files(http, skip, english):
    if not serving.REFERENCE:
        skip("files that are broken on purpose: UNDERTONE_REFERENCE is not set")
    folder = serving.REFERENCE / "hostile"
    names = [row["file"] for row in csv.DictReader(open(folder / "README.tsv", encoding="utf-8"), delimiter="\t")]
    files = [folder / name for name in names]
    assert len(files) >= 20
    heard = {}
    for path in files:  # One by one: names that differ in their extension alone write to one file.
        heard[path.name] = serving.transcript(path, "--language", "en")
    wrong = []
    for path in files:
        answer = post(http, path.read_bytes(), {"language": "en"})
        want = heard[path.name]
        if want is None:
            fine = answer.status_code == 400 and NO_AUDIO in answer.json()["error"]["message"]
        else:
            fine = answer.status_code == 200 and answer.json()["text"] == want["text"]
        if not fine or (path.name in REFUSED_FILES and want is not None):
            wrong.append(f"{path.name}: {answer.status_code} {answer.text[:200]}; the command line: {want and want['text']}")
    assert not wrong, "\n".join(wrong)
    assert serving.says(post(http, english.bytes()).json()["text"], english.phrase) == 1
    assert http.get("/ready").status_code == 200

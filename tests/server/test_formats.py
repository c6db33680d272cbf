"""Bodies and streams in both styles, each against what the command line writes for the same recording."""

import json

import httpx
import pytest

import serving

SEGMENT = {"id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob"}
LANGUAGE_NAMES = {"en": "english", "fr": "french"}


@pytest.fixture(scope="session")
def http_of(server, openai_server):
    made = {"vllm": httpx.Client(base_url=server.url, timeout=120),
            "openai": httpx.Client(base_url=openai_server.url, timeout=120)}
    yield made
    for http in made.values():
        http.close()


@pytest.fixture(scope="session")
def written(english):
    """The command line's files for the English recording, without and with times of words."""
    options = ["--language", "en"]
    plain = serving.command_line([english.path], *options, formats="txt,srt,vtt,json")[english.path.stem]
    words = serving.command_line([english.path], *options, "--word_timestamps", "True")[english.path.stem]
    return {**{name: text for name, text in plain.items() if name != "json"},
            "json": json.loads(plain["json"]), "words": json.loads(words["json"])}


def ask(http, clip, format, task="transcriptions", **fields):
    answer = http.post(f"/v1/audio/{task}", data={"language": clip.language, "response_format": format, **fields},
                       files={"file": clip.bytes()})
    assert answer.status_code == 200, answer.text
    return answer


def stream(http, clip, task="transcriptions", **fields):
    data = {"language": clip.language, "stream": "true", **fields}
    with http.stream("POST", f"/v1/audio/{task}", data=data, files={"file": clip.bytes()}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return serving.sse(answer.iter_lines())


def in_style(style, text):
    return text.lstrip() if style == "openai" else text


def ceiling(seconds):
    return -int(-seconds // 1)


@pytest.mark.short
@pytest.mark.parametrize("style", ["vllm", "openai"])
def test_json(http_of, english, written, style):
    answer = ask(http_of[style], english, "json")
    assert answer.headers["content-type"].startswith("application/json")
    usage = {"type": "duration", "seconds": ceiling(serving.seconds_of(english.path))}
    assert answer.json() == {"text": in_style(style, written["json"]["text"]), "usage": usage}
    assert set(ask(http_of[style], english, "json", "translations").json()) == {"text"}


@pytest.mark.short
def test_text_is_json_for_vllm_and_plain_for_openai(http_of, english, written):
    answer = ask(http_of["vllm"], english, "text")
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json()["text"] == written["json"]["text"]
    answer = ask(http_of["openai"], english, "text")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == written["json"]["text"].lstrip() + "\n"


@pytest.mark.short
@pytest.mark.parametrize("style", ["vllm", "openai"])
@pytest.mark.parametrize("format", ["srt", "vtt"])
def test_subtitles(http_of, english, written, style, format):
    answer = ask(http_of[style], english, format)
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == written[format]


@pytest.mark.short
@pytest.mark.parametrize("style", ["vllm", "openai"])
def test_verbose_json(http_of, english, written, style):
    body = ask(http_of[style], english, "verbose_json").json()
    keys = {"duration", "language", "text", "segments", "words", "usage"}
    assert set(body) == (keys | {"task"} if style == "openai" else keys)
    assert all(set(segment) == SEGMENT for segment in body["segments"])
    assert body["segments"] == written["json"]["segments"]
    assert body["text"] == in_style(style, written["json"]["text"])
    assert body["language"] == (LANGUAGE_NAMES["en"] if style == "openai" else "en")
    assert abs(body["duration"] - serving.seconds_of(english.path)) < 0.01
    assert body["usage"] == {"type": "duration", "seconds": ceiling(body["duration"])}
    assert body["words"] is None


@pytest.mark.parametrize("style", ["vllm", "openai"])
def test_words(http_of, english, written, style):
    body = ask(http_of[style], english, "verbose_json", **{"timestamp_granularities[]": "word"}).json()
    want = [word for segment in written["words"]["segments"] for word in segment["words"]]
    assert body["words"] == [{"word": in_style(style, word["word"]), "start": word["start"], "end": word["end"]} for word in want]
    assert body["segments"]


def test_ids_and_times_go_on_through_windows(http_of, english, tmp_path):
    data, seconds = serving.repeated(english.path, 40 // int(serving.seconds_of(english.path)) + 1, pause=16000)
    path = tmp_path / "long.wav"
    path.write_bytes(data)
    clip = serving.Clip(path, "en", "")
    segments = ask(http_of["vllm"], clip, "verbose_json").json()["segments"]
    assert [segment["id"] for segment in segments] == list(range(len(segments)))
    starts = [segment["start"] for segment in segments]
    assert starts == sorted(starts) and starts[-1] > 25 and seconds > 30
    assert segments == serving.transcript(path, "--language", "en")["segments"]


def test_a_translations_language_in_openais_style_is_english(http_of, foreign):
    body = ask(http_of["openai"], foreign, "verbose_json", "translations").json()
    assert (body["task"], body["language"]) == ("translate", "english")
    assert ask(http_of["vllm"], foreign, "verbose_json", "translations").json()["language"] == foreign.language


@pytest.mark.short
@pytest.mark.parametrize("task, verb, kind", [("transcriptions", "transcribe-", "transcription.chunk"),
                                              ("translations", "translate-", "translation.chunk")])
def test_chunks_are_vllms_and_openais_at_once(http_of, second, task, verb, kind):
    messages = stream(http_of["vllm"], second, task)
    head = {"id", "object", "created", "model", "choices", "type", "delta"}
    for message in messages:
        assert set(message) == head
        assert message["object"] == kind and message["model"] == serving.MODEL
        assert message["type"] == "transcript.text.delta"
        [choice] = message["choices"]
        assert isinstance(choice["delta"]["content"], str) and choice["delta"]["content"] == message["delta"]
    assert len({message["id"] for message in messages}) == 1
    assert messages[0]["id"].startswith(verb)
    ends = [message for message in messages if "finish_reason" in message["choices"][0]]
    assert ends == [messages[-1]]
    assert ends[0]["choices"][0]["finish_reason"] == "stop" and ends[0]["choices"][0]["stop_reason"] is None


@pytest.mark.short
def test_events_in_openais_style(http_of, second):
    messages = stream(http_of["openai"], second)
    *deltas, done = messages
    assert deltas and all(message == {"type": "transcript.text.delta", "delta": message["delta"]} for message in deltas)
    text = ask(http_of["openai"], second, "json").json()["text"]
    assert done["type"] == "transcript.text.done" and done["text"] == text
    assert done["usage"] == {"type": "duration", "seconds": ceiling(serving.seconds_of(second.path))}
    assert "".join(message["delta"] for message in deltas) == text


@pytest.mark.parametrize("style", ["vllm", "openai"])
@pytest.mark.parametrize("task", ["transcriptions", "translations"])
def test_a_stream_is_the_answer_byte_for_byte(http_of, style, task):
    for name, clip in sorted(serving.recordings().items()):
        if not clip.path.is_relative_to(serving.ROOT):
            continue
        deltas = stream(http_of[style], clip, task)
        text = "".join(message.get("delta", "") for message in deltas if message["type"] == "transcript.text.delta")
        assert text == ask(http_of[style], clip, "json", task).json()["text"], name


@pytest.mark.parametrize("style", ["vllm", "openai"])
def test_a_stream_with_segments(http_of, second, style):
    fields = {"stream_segments": "true", "timestamp_granularities[]": "word"}
    messages = stream(http_of[style], second, **fields)
    segments = [message["segment"] for message in messages if "segment" in message]
    body = ask(http_of[style], second, "verbose_json", **{"timestamp_granularities[]": "word"}).json()
    assert [{name: segment[name] for name in ("id", "start", "end", "text")} for segment in segments] == [
        {name: segment[name] for name in ("id", "start", "end", "text")} for segment in body["segments"]]
    assert [word for segment in segments for word in segment["words"]] == body["words"]
    assert not any("segment" in message for message in stream(http_of[style], second))


def test_usage_counts(http_of, english):
    fields = {"stream_include_usage": "true"}
    messages = stream(http_of["vllm"], english, **fields)
    assert messages[-1]["choices"] == [] and not any("usage" in message for message in messages[:-1])
    usage = messages[-1]["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    frames = ceiling(serving.seconds_of(english.path) * 100)
    assert frames < usage["prompt_tokens"] <= frames + 8
    prompted = stream(http_of["vllm"], english, prompt="Two words", **fields)[-1]["usage"]
    assert prompted["prompt_tokens"] > usage["prompt_tokens"]


@pytest.mark.short
def test_a_request_has_an_id(http_of, english):
    http = http_of["vllm"]
    fields = {"data": {"language": "en"}, "files": {"file": english.bytes()}}
    answer = http.post("/v1/audio/transcriptions", headers={"X-Request-Id": "abc-1"}, **fields)
    assert answer.headers["x-request-id"] == "abc-1"
    fresh = [http.get("/health").headers["x-request-id"] for _ in range(2)]
    assert fresh[0] != fresh[1] and all(fresh)
    data = {"language": "en", "stream": "true"}
    with http.stream("POST", "/v1/audio/transcriptions", data=data, files={"file": english.bytes()},
                     headers={"X-Request-Id": "abc-2"}) as answer:
        messages = serving.sse(answer.iter_lines())
    assert {message["id"] for message in messages} == {"transcribe-abc-2"}


@pytest.mark.short
def test_the_list_of_models(http_of):
    body = http_of["vllm"].get("/v1/models").json()
    assert body["object"] == "list"
    [model] = body["data"]
    assert (model["id"], model["object"], model["owned_by"]) == (serving.MODEL, "model", "vllm")
    assert {"created", "root", "parent", "max_model_len", "permission"} <= set(model)

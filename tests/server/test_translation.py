"""Translations into English: what vLLM's own tests of this route ask of a server."""

import json

import httpx
import openai
import pytest

import serving
from conftest import client_of

GREEDY = ["--temperature_increment_on_fallback", "none"]


@pytest.fixture(scope="session")
def spoken():
    """Not in English, and short; what it says in English is in `ENGLISH`."""
    return serving.clip(("cheetah_de_norm.flac", "268"), ("fr_bonjour_monde.wav", "monde"))


ENGLISH = {"cheetah_de_norm.flac": "number is 268", "fr_bonjour_monde.wav": "hello world"}


def form(clip, **fields):
    data = {"model": serving.MODEL, "language": clip.language, "temperature": "0", **fields}
    return {"data": {name: value for name, value in data.items() if value is not None}, "files": {"file": clip.bytes()}}


def ask(http, clip, **fields):
    answer = http.post("/v1/audio/translations", **form(clip, **fields))
    assert answer.status_code == 200, answer.text
    return answer.json()


def stream(http, clip, **fields):
    with http.stream("POST", "/v1/audio/translations", **form(clip, stream="true", **fields)) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        return serving.sse(answer.iter_lines())


@pytest.mark.short
def test_a_model_that_is_not_speech_to_text(launch, tmp_path, english):
    folder = tmp_path / "llama"
    folder.mkdir()
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 768, "vocab_size": 32000}
    (folder / "config.json").write_text(json.dumps(config))
    server = launch(model=folder)
    with client_of(server) as client:
        assert [model.id for model in client.models.list().data] == [str(folder)]
        for route in (client.audio.translations, client.audio.transcriptions):
            with pytest.raises(openai.NotFoundError):
                route.create(model=str(folder), file=english.path)
    assert httpx.get(f"{server.url}/health").status_code == 200


@pytest.mark.short
def test_a_recording(client, spoken):
    answer = client.audio.translations.create(
        model=serving.MODEL, file=spoken.path, response_format="text", temperature=0.0,
        extra_body={"language": spoken.language})
    answer = json.loads(answer)
    assert serving.says(answer["text"], ENGLISH[spoken.name]) == 1
    assert set(answer) == {"text"}
    want = serving.transcript(spoken.path, "--language", spoken.language, *GREEDY, task="translate")
    assert answer["text"] == want["text"]


def test_a_prompt_is_not_repeated(http, spoken):
    prompt = "Nor have I ever"
    text = ask(http, spoken, prompt=prompt)["text"]
    assert prompt not in text
    want = serving.transcript(spoken.path, "--language", spoken.language, "--initial_prompt", prompt, *GREEDY,
                              task="translate")
    assert text == want["text"]


@pytest.mark.short
def test_a_stream_adds_up_to_the_answer(http, spoken):
    messages = stream(http, spoken, seed="42")
    assert all(message["object"] == "translation.chunk" for message in messages)
    text = "".join(message["choices"][0]["delta"]["content"] for message in messages)
    assert text == ask(http, spoken, seed="42")["text"]


def test_stream_options(http, spoken):
    messages = stream(http, spoken, stream_include_usage="true", stream_continuous_usage_stats="true")
    assert messages[-1]["choices"] == []
    assert all("usage" in message for message in messages)
    assert all(message["choices"] for message in messages[:-1])


def test_long_audio(http, skip, tmp_path):
    known = serving.recordings().get("az_de_train_audio2.flac")
    if known is None:
        skip("twenty seconds of German: UNDERTONE_REFERENCE is not set")
    twice = tmp_path / "twice.wav"
    data, seconds = serving.repeated(known.path, 2)
    twice.write_bytes(data)
    assert seconds > 30
    answer = http.post("/v1/audio/translations", data={"language": "de", "temperature": "0"}, files={"file": data})
    assert serving.says(answer.json()["text"], "recognition result is correct") == 2
    want = serving.transcript(twice, "--language", "de", *GREEDY, task="translate")
    assert answer.json()["text"] == want["text"]


def test_a_limit_on_tokens(http, spoken):
    one = ask(http, spoken, language=None, max_completion_tokens="1", response_format="verbose_json")
    assert len([token for segment in one["segments"] for token in segment["tokens"] if token < 50257]) == 1
    answer = http.post("/v1/audio/transcriptions", **form(
        spoken, max_completion_tokens="1000000", repetition_penalty="1.3", response_format="verbose_json"))
    assert answer.status_code == 200
    assert 0 < sum(len(segment["tokens"]) for segment in answer.json()["segments"]) < 450


def test_another_language_than_english_cannot_be_had(http, spoken):
    answer = http.post("/v1/audio/translations", **form(spoken, to_language="hh"))
    assert answer.status_code == 400
    assert "Unsupported language: 'hh'." in answer.json()["error"]["message"]


def test_verbose(http, spoken):
    answer = ask(http, spoken, response_format="verbose_json", language=None)
    assert answer["language"] == spoken.language
    assert answer["text"] == "".join(segment["text"] for segment in answer["segments"])

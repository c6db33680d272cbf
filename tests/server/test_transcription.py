"""Transcriptions with the official client: what vLLM's own tests of this route ask of a server."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

import serving
from conftest import client_of

GREEDY = {"temperature": 0.0}


def ask(client, clip, **fields):
    named = {"model": serving.MODEL, "language": clip.language, **fields}
    named = {name: value for name, value in named.items() if value is not None}
    with open(clip.path, "rb") as file:
        return client.audio.transcriptions.create(file=file, **named)


@pytest.mark.short
def test_a_recording(client, english):
    answer = json.loads(ask(client, english, response_format="text", **GREEDY))
    assert serving.words(answer["text"]) == serving.words(english.reference)
    want = serving.transcript(english.path, "--language", "en", "--temperature_increment_on_fallback", "none")
    assert answer["text"] == want["text"]
    assert answer["usage"]["type"] == "duration"
    assert answer["usage"]["seconds"] == {"jfk.flac": 11, "en_quick_brown_fox.wav": 3}[english.name]


def test_two_recordings_at_once(server, english, second):
    async def both():
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
            def one(clip):
                return client.audio.transcriptions.create(
                    model=serving.MODEL, file=clip.path, language=clip.language, response_format="text", **GREEDY)
            return await asyncio.gather(one(english), one(second))

    for clip, answer in zip((english, second), asyncio.run(both())):
        assert serving.says(json.loads(answer)["text"], clip.phrase) == 1


@pytest.mark.short
def test_a_language_that_is_none(client, english):
    for code in ("hh", "EN", "english"):
        with pytest.raises(openai.BadRequestError) as refused:
            ask(client, english, language=code)
        assert f"Unsupported language: '{code}'.  Must be one of [" in str(refused.value)


def test_long_audio(client, english):
    times = 10 if english.name == "jfk.flac" else 12
    data, seconds = serving.repeated(english.path, times)
    assert seconds > 30
    answer = client.audio.transcriptions.create(
        model=serving.MODEL, file=("long.wav", data), language="en", response_format="text", **GREEDY)
    answer = json.loads(answer)
    assert serving.says(answer["text"], english.phrase) == times
    assert answer["usage"]["seconds"] == -int(-seconds // 1)
    assert "  " not in answer["text"]


@pytest.mark.short
def test_what_is_no_audio(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.transcriptions.create(model=serving.MODEL, file=("invalid.wav", b"not a valid audio file"))
    assert refused.value.status_code == 400
    assert "Invalid or unsupported audio file" in str(refused.value)


@pytest.mark.short
def test_text_routes_are_not_there(client):
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=serving.MODEL, messages=[{"role": "user", "content": "Hello"}])
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model=serving.MODEL, prompt="Hello")


@pytest.mark.short
def test_a_stream_adds_up_to_the_answer(client, english, second):
    for clip in (english, second):
        whole = ask(client, clip, **GREEDY).text
        events = list(ask(client, clip, stream=True, **GREEDY))
        assert "".join(event.choices[0]["delta"]["content"] for event in events) == whole
        assert "".join(event.delta for event in events) == whole
        assert events[-1].choices[0]["finish_reason"] == "stop"
        assert not any(hasattr(event, "usage") for event in events)


def test_stream_options(client, second):
    wanted = {"stream_include_usage": True, "stream_continuous_usage_stats": True}
    events = list(ask(client, second, stream=True, extra_body=wanted, **GREEDY))
    last = [event for event in events if not event.choices]
    assert len(last) == 1 and last[0] is events[-1]
    assert all(hasattr(event, "usage") for event in events)
    usage = last[0].usage
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] > 0
    counted = [event.usage["completion_tokens"] for event in events]
    assert counted == sorted(counted)


def test_usage_that_the_server_always_gives(launch, english):
    with client_of(launch("--enable-force-include-usage")) as client:
        events = list(ask(client, english, stream=True, **GREEDY))
    last = [event for event in events if not event.choices]
    assert len(last) == 1 and isinstance(last[0].usage, dict)
    assert all(last[0].usage[name] > 0 for name in ("prompt_tokens", "completion_tokens", "total_tokens"))
    assert not any(hasattr(event, "usage") for event in events if event.choices)


def test_sampling_parameters(client, english):
    """A text that repeats itself, which the penalties forbid."""
    times = 2 if english.name == "jfk.flac" else 6
    data, seconds = serving.repeated(english.path, times)
    assert seconds < 30
    sampling = {"top_k": 12, "top_p": 0.4, "min_p": 0.5, "seed": 42,
                "repetition_penalty": 1.9, "frequency_penalty": 1.8, "presence_penalty": 2.0}

    def text(temperature, **fields):
        return client.audio.transcriptions.create(
            model=serving.MODEL, file=("a.wav", data), language="en", temperature=temperature, extra_body=fields).text

    drawn = [text(0.8, **sampling) for _ in range(2)]
    assert drawn[0] == drawn[1], "a seed gives one text"
    assert serving.says(text(0.0), english.phrase) == times
    assert serving.says(drawn[0], english.phrase) < times


def test_a_seed_decides_what_is_drawn(client, second):
    texts = {ask(client, second, temperature=1.5, extra_body={"seed": seed}).text for seed in range(6)}
    assert len(texts) > 1


def test_a_prompt_is_heeded_and_not_repeated(client, english):
    prompt = "A letter from the archive, read aloud."
    plain, prompted = ask(client, english, **GREEDY).text, ask(client, english, prompt=prompt, **GREEDY).text
    for text in (plain, prompted):
        assert serving.says(text, english.phrase) == 1
    assert "archive" not in prompted
    want = serving.transcript(english.path, "--language", "en", "--initial_prompt", prompt,
                              "--temperature_increment_on_fallback", "none")
    assert prompted == want["text"]


def test_a_prompt_longer_than_the_context(client, english):
    prompt = (serving.ROOT / "README.md").read_text(encoding="utf-8")[:4000]
    answer = ask(client, english, prompt=prompt, **GREEDY)
    want = serving.transcript(english.path, "--language", "en", "--initial_prompt", prompt,
                              "--temperature_increment_on_fallback", "none")
    assert answer.text == want["text"]


def test_segments_with_times(client, english):
    answer = ask(client, english, response_format="verbose_json", timestamp_granularities=["segment"], **GREEDY)
    assert answer.segments
    assert answer.segments[0].avg_logprob is not None and answer.segments[0].compression_ratio is not None
    assert answer.text == "".join(segment.text for segment in answer.segments)


def test_a_limit_on_tokens(client, second):
    one = ask(client, second, response_format="verbose_json", extra_body={"max_completion_tokens": 1}, **GREEDY)
    words = [token for segment in one.segments for token in segment.tokens if token < 50257]
    assert len(words) == 1
    many = ask(client, second, response_format="verbose_json", extra_body={"max_completion_tokens": 1_000_000}, **GREEDY)
    assert many.text == ask(client, second, **GREEDY).text
    assert sum(len(segment.tokens) for segment in many.segments) < 450


@pytest.mark.short
def test_the_language_is_detected(client, english, foreign):
    for clip in (english, foreign):
        answer = ask(client, clip, language=None, response_format="verbose_json", **GREEDY)
        assert answer.language == clip.language
        assert serving.says(answer.text, clip.phrase) == 1


def test_one_beam_is_greedy(client, english):
    beam = ask(client, english, extra_body={"use_beam_search": True, "n": 1}, **GREEDY)
    assert beam.text == ask(client, english, language=None, **GREEDY).text


def test_two_beams(client, english):
    beams = ask(client, english, extra_body={"use_beam_search": True, "n": 2}, **GREEDY)
    assert serving.says(beams.text, english.phrase) == 1
    want = serving.transcript(english.path, "--language", "en", "--beam_size", "2",
                              "--temperature_increment_on_fallback", "none")
    assert beams.text == want["text"]


@pytest.mark.short
def test_beams_cannot_be_streamed(client, english):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, english, stream=True, extra_body={"use_beam_search": True, "n": 2})
    assert "Streaming is not currently supported with beam search" in str(refused.value)


@pytest.mark.short
def test_speech_is_looked_for_where_it_is_asked(client, english):
    text = ask(client, english, **GREEDY, extra_body={"vad_filter": True, "vad_min_silence_duration_ms": 500}).text
    assert serving.says(text, english.phrase) == 1
    nothing = ask(client, english, **GREEDY, extra_body={"vad_filter": True, "vad_threshold": 1.0})
    assert nothing.text.strip() == ""
    with pytest.raises(openai.BadRequestError, match="vad_filter"):
        ask(client, english, extra_body={"vad_threshold": 0.6})


@pytest.mark.short
def test_a_name_or_a_type_of_the_upload_says_nothing(client, english):
    want = ask(client, english).text
    for upload in (("upload", english.bytes(), "application/octet-stream"), ("a.txt", english.bytes(), "text/plain")):
        answer = client.audio.transcriptions.create(model=serving.MODEL, file=upload, language="en")
        assert answer.text == want


def test_openais_other_fields_are_taken(client, english):
    answer = ask(client, english, include=["logprobs"], chunking_strategy="auto",
                 extra_body={"known_speaker_names": ["A"], "keywords": ["B"], "hotwords": "C", "vllm_xargs": "{}",
                             "to_language": "en", "no_such_field": 1})
    assert answer.text == ask(client, english).text


def test_many_at_once_get_their_own_answers(client, english, second, foreign):
    clips = [english, second, foreign] * 4
    with ThreadPoolExecutor(len(clips)) as pool:
        answers = list(pool.map(lambda clip: ask(client, clip, **GREEDY).text, clips))
    for clip, text in zip(clips, answers):
        assert serving.says(text, clip.phrase) == 1, clip.name

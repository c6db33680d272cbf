"""Text through the server is text through the command line: one after another, and sixteen at once."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import serving

MOST_SECONDS = 60
FILES = 40


@pytest.fixture(scope="module")
def clips():
    """The repository's recordings, and the first of the others that are no longer than a minute."""
    known = serving.recordings().values()
    own = [clip for clip in known if clip.path.is_relative_to(serving.ROOT)]
    others = [clip for clip in known if clip not in own and serving.seconds_of(clip.path) <= MOST_SECONDS]
    # From all over the list, which is sorted by language.
    step = max(1, len(others) // (FILES - len(own)))
    return own + others[::step][:FILES - len(own)]


@pytest.fixture(scope="module")
def heard(clips):
    """What the command line hears, by task and stem."""
    def run(task):
        written = serving.command_line([clip.path for clip in clips], task=task)
        return {stem: json.loads(files["json"]) for stem, files in written.items()}
    return {task: run(task) for task in ("transcribe", "translate")}


def ask(http, clip, task="transcriptions", **fields):
    answer = http.post(f"/v1/audio/{task}", data={"response_format": "verbose_json", **fields}, files={"file": clip.bytes()})
    assert answer.status_code == 200, (clip.name, answer.text)
    return answer.json()


def differences(clips, answers, heard):
    return [f"{clip.name}: {answer['text']!r}, the command line: {heard[clip.path.stem]['text']!r}"
            for clip, answer in zip(clips, answers)
            if answer["text"] != heard[clip.path.stem]["text"] or answer["segments"] != heard[clip.path.stem]["segments"]
            or answer["language"] != heard[clip.path.stem]["language"]]


@pytest.mark.short
@pytest.mark.parametrize("task, command", [("transcriptions", "transcribe"), ("translations", "translate")])
def test_the_repositorys_recordings(http, task, command):
    own = [clip for clip in serving.recordings().values() if clip.path.is_relative_to(serving.ROOT)]
    written = serving.command_line([clip.path for clip in own], task=command)
    heard = {stem: json.loads(files["json"]) for stem, files in written.items()}
    with ThreadPoolExecutor(len(own)) as pool:
        answers = list(pool.map(lambda clip: ask(http, clip, task), own))
    assert not differences(own, answers, heard)


def test_one_after_another(http, clips, heard, skip):
    if len(clips) < FILES:
        skip(f"{FILES} recordings: UNDERTONE_REFERENCE is not set")
    assert not differences(clips, [ask(http, clip) for clip in clips], heard["transcribe"])


@pytest.mark.parametrize("task, command", [("transcriptions", "transcribe"), ("translations", "translate")])
def test_sixteen_at_once(server, clips, heard, skip, task, command):
    if len(clips) < FILES:
        skip(f"{FILES} recordings: UNDERTONE_REFERENCE is not set")
    with httpx.Client(base_url=server.url, timeout=300) as http, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda clip: ask(http, clip, task), clips))
    assert not differences(clips, answers, heard[command])


def test_all_sorts_at_once(server, english, second, foreign):
    """Neighbours of another task, language, temperature, width and prompt change nothing."""
    fixed = ["--temperature_increment_on_fallback", "none"]
    sorts = [
        (english, "transcriptions", {"language": "en"}, ["--language", "en"]),
        (second, "transcriptions", {"language": second.language, "prompt": "A speech."},
         ["--language", second.language, "--initial_prompt", "A speech."]),
        (foreign, "translations", {"language": foreign.language}, ["--language", foreign.language]),
        (english, "transcriptions", {"language": "en", "use_beam_search": "true", "n": "3"},
         ["--language", "en", "--beam_size", "3"]),
        (foreign, "transcriptions", {"timestamp_granularities[]": "word"}, ["--word_timestamps", "True"]),
        (english, "translations", {}, []),
    ]
    commands = {"transcriptions": "transcribe", "translations": "translate"}
    want = [serving.transcript(clip.path, *options, *fixed, task=commands[task]) for clip, task, _, options in sorts]
    with httpx.Client(base_url=server.url, timeout=300) as http, ThreadPoolExecutor(len(sorts) * 3) as pool:
        answers = list(pool.map(lambda sort: ask(http, sort[0], sort[1], temperature="0", **sort[2]), sorts * 3))
    for answer, expected in zip(answers, want * 3):
        assert answer["text"] == expected["text"]
        assert [s["tokens"] for s in answer["segments"]] == [s["tokens"] for s in expected["segments"]]

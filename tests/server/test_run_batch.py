"""`undertone run-batch`: OpenAI's batch lines in, one line of an answer out for each."""

import base64
import json
import subprocess

import pytest

import serving


def run(tmp_path, lines, *args):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    command = [serving.BINARY, "run-batch", "-i", source, "-o", target, "--model", serving.MODEL, *serving.COMPUTE, *args]
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert "panicked" not in ran.stderr, ran.stderr
    return ran, [json.loads(line) for line in target.read_text().splitlines()] if target.exists() else []


def line(number, clip, route="transcriptions", url=None, **body):
    data = url or f"data:audio/wav;base64,{base64.b64encode(clip.bytes()).decode()}"
    return {"custom_id": f"request-{number}", "method": "POST", "url": f"/v1/audio/{route}",
            "body": {"model": serving.MODEL, "file_url": data, **body}}


@pytest.mark.short
def test_data_and_files(tmp_path, english, foreign):
    lines = [line(1, english, language="en"), line(2, foreign, "translations", language=foreign.language),
             line(3, english, url=f"file://{english.path}", language="en", response_format="verbose_json")]
    ran, answers = run(tmp_path, lines)
    assert ran.returncode == 0, ran.stderr
    assert [answer["custom_id"] for answer in answers] == ["request-1", "request-2", "request-3"]
    bodies = [answer["response"]["body"] for answer in answers]
    assert all(answer["response"]["status_code"] == 200 and answer["error"] is None for answer in answers)
    want = serving.transcript(english.path, "--language", "en")
    assert bodies[0]["text"] == want["text"] == bodies[2]["text"]
    assert bodies[0]["usage"]["type"] == "duration"
    assert bodies[1]["text"] == serving.transcript(foreign.path, "--language", foreign.language, task="translate")["text"]
    assert bodies[2]["segments"] == want["segments"]


def test_lines_that_fail_do_not_stop_the_others(tmp_path, english):
    lines = [line(1, english, url="data:audio/wav;base64,aGVsbG8="), line(2, english, language="hh"),
             line(3, english, url="file:///no/such/file.wav"), line(4, english, url="https://a.example/b.wav"),
             {**line(5, english), "url": "/v1/chat/completions"}, line(6, english, model="x"), line(7, english, language="en")]
    _, answers = run(tmp_path, lines)
    assert [answer["custom_id"] for answer in answers] == [f"request-{i}" for i in range(1, 8)]
    status = [answer["response"]["status_code"] for answer in answers]
    assert all(400 <= code < 500 for code in status[:6]) and status[6] == 200, status
    assert serving.says(answers[6]["response"]["body"]["text"], english.phrase) == 1
    assert all("text" not in (answer["response"].get("body") or {}) for answer in answers[:6])


def test_what_is_no_list_of_requests(tmp_path, english):
    ran, answers = run(tmp_path, ["{not json", line(2, english, language="en")])
    assert ran.returncode != 0 and len(answers) == 2
    failed, heard = sorted(answers, key=lambda answer: answer["response"]["status_code"], reverse=True)
    assert failed["error"]["code"] == 400 and heard["response"]["status_code"] == 200
    ran = subprocess.run([serving.BINARY, "run-batch", "-i", tmp_path / "none.jsonl", "-o", tmp_path / "o", "--model", serving.MODEL],
                         capture_output=True, text=True)
    assert ran.returncode != 0 and "none.jsonl" in ran.stderr

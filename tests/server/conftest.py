"""What the tests share: servers, clients and recordings. `short` marks what the quick form runs."""

import os

import httpx
import pytest
from openai import OpenAI

import serving

SKIPPED = []


def pytest_configure(config):
    config.addinivalue_line("markers", "short: part of the quick form")


def pytest_terminal_summary(terminalreporter):
    for number, (test, what) in enumerate(SKIPPED, 1):
        terminalreporter.write_line(f"SKIPPED ({number} so far): {test}: {what}")


@pytest.fixture
def skip(request):
    """Says that something cannot be run here; a failure unless skips are allowed."""

    def say(what):
        if os.environ.get("UNDERTONE_ALLOW_SKIPS") != "1":
            pytest.fail(f"cannot be run here: {what}")
        SKIPPED.append((request.node.name, what))
        pytest.skip(what)

    return say


@pytest.fixture
def launch():
    """Starts servers that end with the test, each with status 0 unless the test ended it."""
    started = []

    def start(*args, **options):
        server = serving.Server(*args, **options)
        started.append(server)
        return server

    yield start
    running = [server for server in started if server.process.poll() is None]
    assert [server.stop() for server in running] == [0] * len(running)


def _for_the_session(*args):
    server = serving.Server(*args)
    yield server
    assert server.process.poll() is None, f"the server died:\n{server.log()}"
    assert server.stop() == 0


@pytest.fixture(scope="session")
def server():
    yield from _for_the_session()


@pytest.fixture(scope="session")
def openai_server():
    yield from _for_the_session("--api-style", "openai")


@pytest.fixture(scope="session")
def client(server):
    with client_of(server) as made:
        yield made


@pytest.fixture(scope="session")
def http(server):
    with httpx.Client(base_url=server.url, timeout=120) as made:
        yield made


def client_of(server, key="token-abc123"):
    return OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=120)


@pytest.fixture(scope="session")
def english():
    """A sentence of under 30 seconds, heard without a mistake."""
    return serving.clip(("jfk.flac", "ask what you can do for your country"),
                        ("en_quick_brown_fox.wav", "fox jumps over the lazy dog"))


@pytest.fixture(scope="session")
def second():
    """Another recording, for what happens side by side."""
    return serving.clip(("kennedy_moon.flac", "landing a man on the moon"), ("fr_pangrama.wav", "vieux whisky au juge"))


@pytest.fixture(scope="session")
def foreign():
    """A recording that is not in English."""
    return serving.clip(("leopard_fr.flac", "conservateur des eaux et forêts"), ("fr_pangrama.wav", "vieux whisky au juge"))


@pytest.fixture(scope="session")
def long_wav(english, tmp_path_factory):
    """Ten minutes of speech, so that something is still under way."""
    data, _ = serving.repeated(english.path, round(600 / serving.seconds_of(english.path)), rate=16000)
    path = tmp_path_factory.mktemp("long") / "long.wav"
    path.write_bytes(data)
    return path

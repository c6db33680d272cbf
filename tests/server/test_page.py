"""The web page in headless Chromium: see `page.mjs`."""

import os
import shutil
import subprocess
from pathlib import Path

import serving

PLAYWRIGHT = "playwright-core@1.65.1"
HERE = Path(__file__).resolve().parent


def test_the_page(launch, server, skip):
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not (chromium and shutil.which("node") and shutil.which("npm")):
        skip("Chromium (or $CHROMIUM), node and npm")
    folder = serving.ROOT / "target" / "server-tests" / "node"
    if not (folder / "node_modules" / "playwright-core").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--no-save", "--prefix", folder, PLAYWRIGHT], check=True)
    keyed = launch("--api-key", "sesame")
    recording = serving.ROOT / "examples" / "audio" / "en_quick_brown_fox.wav"
    ran = subprocess.run(["node", HERE / "page.mjs", server.url, recording, keyed.url, "sesame"], cwd=folder,
                         env={**os.environ, "CHROMIUM": chromium}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr

"""What most people run today: faster-whisper behind FastAPI. `load.py` measures against it.

    python rival.py MODEL PORT THREADS
"""

import sys
import tempfile

import uvicorn
from fastapi import FastAPI, Form, UploadFile
from faster_whisper import WhisperModel

path, port, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
model = WhisperModel(path, device="cpu", compute_type="int8", cpu_threads=threads)
app = FastAPI()


# A plain function: FastAPI runs it on a thread, and the model serves one request after another.
@app.post("/v1/audio/transcriptions")
def transcribe(file: UploadFile, language: str | None = Form(None)):
    with tempfile.NamedTemporaryFile() as upload:
        upload.write(file.file.read())
        upload.flush()
        segments, _ = model.transcribe(upload.name, language=language, beam_size=1)
        return {"text": "".join(segment.text for segment in segments)}


@app.get("/health")
def health():
    return {}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")

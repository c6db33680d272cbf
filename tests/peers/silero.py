"""Silero's voice activity model beside its own runtime.

    python -m venv v && v/bin/pip install silero-vad==6.2.3 --no-deps
    v/bin/pip install numpy onnx onnxruntime safetensors faster-whisper==1.2.1
    v/bin/python tests/peers/silero.py weights models/silero/silero_vad_16k.safetensors
    v/bin/python tests/peers/silero.py golden tests/golden/vad.json RECORDING...
    v/bin/python tests/peers/silero.py compare target/release/undertone RECORDING...

`weights` writes the model's tensors as safetensors: of the ONNX file whose numbers the wheel's default
TorchScript model has too (the safetensors file in the same wheel holds an earlier training). `golden` keeps
what the peers say of recordings: probabilities of the ONNX model, rounded to five places, and the spans that
faster-whisper's rules make of these. `compare` runs this program on recordings and prints the largest difference of each.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys

import numpy as np

CHUNK, CONTEXT = 512, 64
# In the order of the ONNX file's graph; the wheel's own safetensors file has these names.
NAMES = {
    "stft.forward_basis_buffer": "stft_conv.weight",
    "encoder.0.reparam_conv": "conv1",
    "encoder.1.reparam_conv": "conv2",
    "encoder.2.reparam_conv": "conv3",
    "encoder.3.reparam_conv": "conv4",
    "decoder.rnn": "lstm_cell",
    "decoder.decoder.2": "final_conv",
}
# Options of the span rules that are compared, beside the defaults.
VARIANTS = [
    {},
    {"min_silence_duration_ms": 160, "max_speech_duration_s": 30},
    {"min_silence_duration_ms": 500, "max_speech_duration_s": 8, "speech_pad_ms": 100},
    {"threshold": 0.35, "min_speech_duration_ms": 400, "min_silence_duration_ms": 100, "speech_pad_ms": 30},
    {"threshold": 0.8, "neg_threshold": 0.6, "min_silence_duration_ms": 0, "speech_pad_ms": 0},
]


def model_file():
    found = importlib.util.find_spec("silero_vad").submodule_search_locations[0]
    return pathlib.Path(found) / "data" / "silero_vad_16k_op15.onnx"


def tensors():
    import onnx

    graph = onnx.load(str(model_file())).graph
    found = {}
    for tensor in graph.initializer:
        name = tensor.name.removeprefix("model.")
        for theirs, ours in NAMES.items():
            if name == theirs:
                found[ours] = onnx.numpy_helper.to_array(tensor)
            elif name.startswith(theirs + "."):
                found[ours + name.removeprefix(theirs)] = onnx.numpy_helper.to_array(tensor)
    return found


def write_weights(target):
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(x) for name, x in tensors().items()}, target)


def probabilities(audio):
    """Of each chunk, and of the one that the end makes: as faster-whisper pads recordings."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model_file()), options)
    audio = np.pad(audio, (0, CHUNK - len(audio) % CHUNK)).astype(np.float32)
    state, context, found = np.zeros((2, 1, 128), np.float32), np.zeros((1, CONTEXT), np.float32), []
    for chunk in audio.reshape(-1, 1, CHUNK):
        heard = np.concatenate([context, chunk], 1)
        inputs = {"input": heard, "state": state, "sr": np.array(16000, np.int64)}
        probability, state = session.run(None, inputs)
        context = heard[:, -CONTEXT:]
        found.append(float(probability[0, 0]))
    return np.array(found)


def spans(audio, found, options):
    """faster-whisper's rules over these probabilities."""
    from faster_whisper import vad

    vad.get_vad_model = lambda: lambda padded: found
    spans = vad.get_speech_timestamps(audio, vad.VadOptions(**options))
    return [[span["start"], span["end"]] for span in spans]


def heard(recording):
    from faster_whisper.audio import decode_audio

    return decode_audio(recording)


def write_golden(target, recordings):
    golden = []
    for recording in recordings:
        audio = heard(recording)
        found = np.round(probabilities(audio), 5)
        golden.append(
            {
                "file": pathlib.Path(recording).name,
                "samples": len(audio),
                "probabilities": [round(float(p), 5) for p in found],
                "spans": [{"options": o, "spans": spans(audio, found, o)} for o in VARIANTS],
            }
        )
    pathlib.Path(target).write_text(json.dumps(golden, separators=(",", ":")) + "\n")


def ours(program, recording, options):
    """Spans and probabilities as the program prints them."""
    flags = [f"--vad_{name}={value}" for name, value in options.items()]
    command = [program, "vad", "--json", "--probabilities", *flags, recording]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(program, recordings):
    worst = off = 0
    for recording in recordings:
        audio = heard(recording)
        found = probabilities(audio)
        for options in VARIANTS:
            mine = ours(program, recording, options)
            theirs = spans(audio, found, options)
            difference = np.abs(np.array(mine["probabilities"]) - found).max()
            worst = max(worst, difference)
            own = [[round(s["start"] * 16000), round(s["end"] * 16000)] for s in mine["speech"]]
            if own != theirs:
                off += 1
                print(f"{recording} {options}: {own} and {theirs}")
        print(f"{recording}: {len(found)} chunks, largest difference {difference:.2e}")
    print(f"{len(recordings)} recordings, largest difference {worst:.2e}, {off} lists of spans differ")
    sys.exit(worst > 1e-3 or off > 0)


if __name__ == "__main__":
    command, target, *rest = sys.argv[1:]
    {"weights": lambda t, _: write_weights(t), "golden": write_golden, "compare": compare}[command](target, rest)

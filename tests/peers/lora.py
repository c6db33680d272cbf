#!/usr/bin/env python3
"""LoRA adapters made by peft, against peft's own merge and transformers' own decoding.

Needs torch, transformers, peft, soundfile (any recent ones), the program, a model folder in Hugging Face's
layout (`undertone models convert base FOLDER`) and recordings of 16 kHz, at most 30 s each.

    python tests/peers/lora.py target/release/undertone FOLDER recording.flac ...

For each adapter, in f32: the same tokens from `--lora ADAPTER` as from transformers' generate on the model that
peft merged, both greedy and without any filter; and, with all of the program's decoding, the same tokens as from
that merged model saved as a folder. Ends with 1 where either differs by more than a tie, or where an adapter changes
no text. One process, one model in memory, two threads, and no more address space than `MOST_BYTES`.
"""

import gc
import json
import math
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MOST_BYTES = 8 << 30
# Before torch is there: its threads take address space, too.
resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))

import soundfile
import torch
from peft import LoraConfig, get_peft_model
from transformers import GenerationConfig, GenerationMixin, WhisperFeatureExtractor
from transformers import WhisperForConditionalGeneration

ALL = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
ADAPTERS = {
    "all six modules": dict(r=16, lora_alpha=32, target_modules=ALL),
    "q and v": dict(r=8, lora_alpha=8, target_modules=["q_proj", "v_proj"]),
    "rank and alpha patterns": dict(
        r=8,
        lora_alpha=16,
        target_modules=ALL,
        rank_pattern={"encoder_attn.q_proj": 3, "q_proj": 4, r"decoder.layers.[0-2].fc1": 12},
        alpha_pattern={"fc2": 5, "model.encoder.layers.1.self_attn.k_proj": 40},
    ),
    "rank-stabilised": dict(r=32, lora_alpha=16, use_rslora=True, target_modules=["k_proj", "fc1", "fc2"]),
    "decoder alone, by pattern": dict(r=4, lora_alpha=4, target_modules=r".*decoder.*(_proj|fc[12])"),
    "two layers": dict(r=8, lora_alpha=8, target_modules=ALL, layers_to_transform=[1, 4]),
    "a .bin file": dict(r=8, lora_alpha=8, target_modules=["out_proj", "fc2"]),
}
# English, transcribed, without times; and the end of a text.
START, END = [50258, 50259, 50359, 50363], 50257
# Two tokens whose logits differ by less than this are as likely: rounding decides.
TIE = 1e-3
# A change of this share of each weight's norm changes texts and leaves them sane.
SHARE = 0.12
# No filter, no gate, no history: what generate computes.
BARE = [
    "--suppress_tokens=", "--suppress_blank", "False", "--without_timestamps", "True",
    "--temperature_increment_on_fallback", "None", "--logprob_threshold", "none", "--no_speech_threshold", "none",
]


def tokens(program, model, recordings, options):
    """Each recording's tokens as the program gives them."""
    with tempfile.TemporaryDirectory() as out:
        command = [program, "-m", model, *recordings, "--language", "en", "-o", out, "-f", "json", "-q", "-j", "1",
                   "--compute-type", "f32", "--beam_size", "1", *options]
        subprocess.run([str(part) for part in command], check=True)
        texts = [json.loads((Path(out) / f"{Path(r).stem}.json").read_text()) for r in recordings]
    return [[token for segment in text["segments"] for token in segment["tokens"]] for text in texts]


def adapted(model, config, seed):
    """The model under a random adapter; its own weights stay as they are."""
    torch.manual_seed(seed)
    model = get_peft_model(model, LoraConfig(**config))
    for module in model.modules():
        if not hasattr(module, "lora_A") or "default" not in module.lora_A:
            continue
        a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
        with torch.no_grad():
            a.normal_(0, 1 / math.sqrt(a.shape[1]))
            b.normal_()
            change = (b @ a) * module.scaling["default"]
            b.mul_(SHARE * module.base_layer.weight.norm() / change.norm())
    return model.eval()


def save(model, folder, name):
    """The adapter as peft saves it, in one case as it did before safetensors."""
    model.save_pretrained(folder, safe_serialization=True)
    if name == "a .bin file":
        from safetensors.torch import load_file
        file = folder / "adapter_model.safetensors"
        torch.save(load_file(file), folder / "adapter_model.bin")
        file.unlink()


def features_of(recording):
    """A recording's spectrogram as transformers makes it, with nothing behind its end as openai/whisper has it."""
    audio, rate = soundfile.read(recording, dtype="float32", always_2d=True)
    # One channel: the extractor would take samples of two for so many recordings.
    extractor = WhisperFeatureExtractor(feature_size=80)
    features = extractor(audio.mean(axis=1), sampling_rate=rate, return_tensors="pt").input_features
    # The extractor adds silence to the recording, openai/whisper zeros to its spectrogram: texts differ by that.
    features[:, :, len(audio) // extractor.hop_length:] = 0
    return features


def generated(model, recordings):
    """Each recording's tokens by transformers' own greedy search."""
    config = GenerationConfig(
        max_new_tokens=224, do_sample=False, decoder_start_token_id=START[0], eos_token_id=END, pad_token_id=END
    )
    start, texts = torch.tensor([START]), []
    for recording in recordings:
        with torch.no_grad():
            out = GenerationMixin.generate(
                model, features_of(recording), decoder_input_ids=start, generation_config=config)
        texts.append([token for token in out[0].tolist()[len(START):] if token != END])
    return texts


def gap(model, recording, ours, theirs):
    """By how much transformers prefers its token to ours where two texts part; 0 where they do not."""
    if ours == theirs:
        return 0.0
    ours, theirs = [*ours, END], [*theirs, END]
    at = next(i for i, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1])
    with torch.no_grad():
        logits = model(features_of(recording), decoder_input_ids=torch.tensor([[*START, *ours[:at]]])).logits[0, -1]
    return float(logits[theirs[at]] - logits[ours[at]])


def compared(program, base, model, recordings, name, work):
    """How many recordings have the same tokens: as transformers, as the merged folder; and as without. And by how
    much transformers prefers its own tokens, at most."""
    adapter, merged = work / "adapter", work / "merged"
    save(model, adapter, name)
    under = tokens(program, base, recordings, ["--lora", adapter])
    bare = tokens(program, base, recordings, [*BARE, "--lora", adapter])
    model = model.merge_and_unload()
    theirs = generated(model, recordings)
    model.save_pretrained(merged)
    shutil.copy(Path(base) / "tokenizer.json", merged)
    folder = tokens(program, merged, recordings, [])
    plain = tokens(program, base, recordings, [])
    preferred = max(gap(model, *each) for each in zip(recordings, bare, theirs))
    same = lambda one, other: sum(a == b for a, b in zip(one, other))
    return same(bare, theirs), preferred, same(under, folder), same(under, plain)


def main():
    program, base, *recordings = sys.argv[1:]
    torch.set_num_threads(2)
    failed, n = False, len(recordings)
    for seed, (name, config) in enumerate(ADAPTERS.items()):
        # peft's merge adds to the weights in place, so that each adapter starts from the file.
        model = WhisperForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
        model = adapted(model, config, seed)
        with tempfile.TemporaryDirectory() as work:
            generate, preferred, folder, unchanged = compared(program, base, model, recordings, name, Path(work))
        del model
        gc.collect()
        failed |= preferred > TIE or folder < n or unchanged == n
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name}: transformers' generate {generate}/{n} (gap {preferred:.6f}); peft's merge {folder}/{n}; "
              f"{n - unchanged} texts are not the model's own; {peak:.0f} MiB at most", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""LoRA adapters made by peft, against peft's own merge and transformers' own decoding.

Needs torch, transformers, peft, soundfile (any recent ones), the program, a model folder in Hugging Face's
layout (`undertone models convert base FOLDER`) and recordings of 16 kHz, at most 30 s each.

    python tests/peers/lora.py target/release/undertone FOLDER recording.flac ...

For each adapter: the same tokens from `--lora ADAPTER` and from the model that peft merged, in f32 and int8,
with all of the program's decoding; and the same tokens as transformers' generate on the adapted model, both
greedy and without any filter. Ends with 1 where the first differs.
"""

import json
import math
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

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
# A change of this share of each weight's norm changes texts and leaves them sane.
SHARE = 0.12
# No filter, no gate, no history: what generate computes.
BARE = [
    "--suppress_tokens=", "--suppress_blank", "False", "--without_timestamps", "True", "--beam_size", "1",
    "--temperature_increment_on_fallback", "None", "--logprob_threshold", "none", "--no_speech_threshold", "none",
]


def tokens(program, model, recordings, options):
    """Each recording's tokens as the program gives them."""
    with tempfile.TemporaryDirectory() as out:
        command = [program, "-m", model, *recordings, "--language", "en", "-o", out, "-f", "json", "-q", *options]
        subprocess.run([str(part) for part in command], check=True)
        texts = [json.loads((Path(out) / f"{Path(r).stem}.json").read_text()) for r in recordings]
    return [[token for segment in text["segments"] for token in segment["tokens"]] for text in texts]


def adapted(folder, config, seed):
    """The model under a random adapter."""
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
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


def generated(model, recordings):
    """Each recording's tokens by transformers' own greedy search."""
    extractor = WhisperFeatureExtractor(feature_size=80)
    config = GenerationConfig(
        max_new_tokens=224, do_sample=False, decoder_start_token_id=50258, eos_token_id=50257, pad_token_id=50257
    )
    start = torch.tensor([[50258, 50259, 50359, 50363]])
    texts = []
    for recording in recordings:
        audio, rate = soundfile.read(recording, dtype="float32")
        features = extractor(audio, sampling_rate=rate, return_tensors="pt").input_features
        with torch.no_grad():
            out = GenerationMixin.generate(model, features, decoder_input_ids=start, generation_config=config)
        texts.append([token for token in out[0].tolist()[start.shape[1]:] if token != 50257])
    return texts


def main():
    program, base, *recordings = sys.argv[1:]
    torch.set_num_threads(2)
    plain = tokens(program, base, recordings, ["--beam_size", "1"])
    failed = False
    for seed, (name, config) in enumerate(ADAPTERS.items()):
        with tempfile.TemporaryDirectory() as work:
            adapter, merged = Path(work) / "adapter", Path(work) / "merged"
            model = adapted(base, config, seed)
            model.save_pretrained(adapter, safe_serialization=True)
            if name == "a .bin file":
                from safetensors.torch import load_file
                file = adapter / "adapter_model.safetensors"
                torch.save(load_file(file), adapter / "adapter_model.bin")
                file.unlink()
            model = model.merge_and_unload()
            model.save_pretrained(merged)
            shutil.copy(Path(base) / "tokenizer.json", merged)
            same = []
            for compute in ["f32", "int8"]:
                options = ["--beam_size", "1", "--compute-type", compute]
                ours = tokens(program, base, recordings, [*options, "--lora", adapter])
                theirs = tokens(program, merged, recordings, options)
                same.append(sum(a == b for a, b in zip(ours, theirs)))
                if compute == "f32":
                    changed = sum(a != b for a, b in zip(ours, plain))
                    failed |= ours != theirs or changed == 0
            bare = tokens(program, base, recordings, [*BARE, "--lora", adapter])
            greedy = sum(a == b for a, b in zip(bare, generated(model, recordings)))
        n = len(recordings)
        print(f"{name}: peft's merge f32 {same[0]}/{n}, int8 {same[1]}/{n}; transformers' generate {greedy}/{n}; "
              f"{changed} texts are not the model's own", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

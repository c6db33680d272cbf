#!/usr/bin/env python3
"""Makes a Whisper of a published size with random 16-bit weights: what time, memory and disk it takes is the real
one's, what it says is noise.

    python3 tests/shapes/make.py large-v3 FOLDER

writes FOLDER/model.safetensors and FOLDER/config.json, a megabyte at a time. Only the standard library is needed. The
weights differ from run to run; --seed N makes them the same again.
"""

import argparse
import json
import math
import pathlib
import random
import struct

# width, heads, blocks of the encoder, blocks of the decoder, mel bands, tokens
SHAPES = {
    "tiny": (384, 6, 4, 4, 80, 51865),
    "base": (512, 8, 6, 6, 80, 51865),
    "small": (768, 12, 12, 12, 80, 51865),
    "medium": (1024, 16, 24, 24, 80, 51865),
    "large-v2": (1280, 20, 32, 32, 80, 51865),
    "large-v3": (1280, 20, 32, 32, 128, 51866),
    "turbo": (1280, 20, 32, 4, 128, 51866),
}
AUDIO_POSITIONS, TEXT_POSITIONS = 1500, 448
PART = 1 << 20


def attention(name, width):
    for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
        yield f"{name}.{part}.weight", (width, width)
        if part != "k_proj":
            yield f"{name}.{part}.bias", (width,)


def norm(name, width):
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def block(name, width, crosses):
    yield from attention(f"{name}.self_attn", width)
    yield from norm(f"{name}.self_attn_layer_norm", width)
    if crosses:
        yield from attention(f"{name}.encoder_attn", width)
        yield from norm(f"{name}.encoder_attn_layer_norm", width)
    yield f"{name}.fc1.weight", (4 * width, width)
    yield f"{name}.fc1.bias", (4 * width,)
    yield f"{name}.fc2.weight", (width, 4 * width)
    yield f"{name}.fc2.bias", (width,)
    yield from norm(f"{name}.final_layer_norm", width)


def tensors(width, encoder, decoder, mels, vocab):
    """Names, as on the Hugging Face Hub, and shapes."""
    yield "model.encoder.conv1.weight", (width, mels, 3)
    yield "model.encoder.conv1.bias", (width,)
    yield "model.encoder.conv2.weight", (width, width, 3)
    yield "model.encoder.conv2.bias", (width,)
    yield "model.encoder.embed_positions.weight", (AUDIO_POSITIONS, width)
    for i in range(encoder):
        yield from block(f"model.encoder.layers.{i}", width, False)
    yield from norm("model.encoder.layer_norm", width)
    yield "model.decoder.embed_tokens.weight", (vocab, width)
    yield "model.decoder.embed_positions.weight", (TEXT_POSITIONS, width)
    for i in range(decoder):
        yield from block(f"model.decoder.layers.{i}", width, True)
    yield from norm("model.decoder.layer_norm", width)


def high_bytes(largest):
    """For each random byte, the upper byte of a half-precision number: its sign, one of the four powers of two up to
    `largest`, two bits of its fraction."""
    top = 15 + round(math.log2(largest))
    return bytes(sign << 7 | (top - down) << 2 | rest for sign in (0, 1) for down in range(4) for rest in range(4)) * 8


def numbers(name, count, largest, rng):
    """Half-precision numbers, a part at a time: a norm leaves its input as it is."""
    if "norm" in name:
        one = 1.0 if name.endswith("weight") else 0.0
        yield struct.pack("<e", one) * count
        return
    table = high_bytes(largest)
    while count > 0:
        some = min(count, PART)
        part = bytearray(2 * some)
        part[0::2] = rng.randbytes(some)
        part[1::2] = rng.randbytes(some).translate(table)
        yield part
        count -= some


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int)
    args = parser.parse_args()
    width, heads, encoder, decoder, mels, vocab = SHAPES[args.shape]
    args.folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "whisper",
        "num_mel_bins": mels,
        "vocab_size": vocab,
        "d_model": width,
        "max_source_positions": AUDIO_POSITIONS,
        "max_target_positions": TEXT_POSITIONS,
        "encoder_layers": encoder,
        "encoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * width,
        "decoder_layers": decoder,
        "decoder_attention_heads": heads,
        "decoder_ffn_dim": 4 * width,
    }
    (args.folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    header, end = {}, 0
    for name, shape in tensors(width, encoder, decoder, mels, vocab):
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = random.Random(args.seed)
    with open(args.folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors(width, encoder, decoder, mels, vocab):
            # So large that a layer's outputs are about as large as its inputs.
            largest = 2.0 ** round(math.log2(2 / math.sqrt(shape[-1]))) if len(shape) > 1 else 2.0**-4
            for part in numbers(name, math.prod(shape), largest, rng):
                file.write(part)
    print(f"{args.folder}: {args.shape}, {end / 1e9:.2f} GB")


if __name__ == "__main__":
    main()

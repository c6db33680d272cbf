#!/usr/bin/env python3
"""Makes pico: a Whisper of 2 + 2 blocks, 64 wide, with random weights and a small vocabulary.

It says nothing sensible, but it goes through every step that a real one does, in milliseconds, and both formats hold
the same numbers. Run it in this folder; it needs numpy and gives the same bytes every time.

The vocabulary: the 256 bytes, then pairs joined as byte-level BPE learns them from the text below, then openai's special
tokens in their order with 99 languages. The 1501 timestamps follow without being listed, as in the files of the first
Whispers.
"""

import json
import re
import struct
from collections import Counter

import numpy as np

MELS, AUDIO_CTX, TEXT_CTX, WIDTH, BLOCKS, HEADS = 80, 1500, 448, 64, 2, 1
JOINED_TOKENS = 256
TIMESTAMPS = 1501
LANGUAGES = """en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi
ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am yi lo uz
fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su""".split()
TEXT = """ The small model listens to the sound of a voice and writes down what it hears, word for word. It knows nothing about
the world, because nobody has taught it anything; its numbers are random. What it says is noise, but the way from the sound to
the text is the same way that the large models take. When someone speaks, the sound is cut into windows of thirty seconds. For
each window the encoder looks at all of the frames at once, and the decoder then gives one token after another, until it comes
to the end of the text or to the end of its patience. There are tokens for letters, for parts of words, for whole words, for
the times at which they start and end, and for the language that is being spoken. Somebody who wants to know whether the parts
fit together can run this model in the time that it takes to read this sentence. And so my friends, that is what it is for: to
ask whether the engine does what it should do, every time that something changes, with no need to wait."""


def random_numbers(name, count, state={"seed": 0}):
    """Nearly normal numbers from a counter (splitmix64), so that no version of numpy gives others."""
    first = state["seed"]
    state["seed"] += 4 * count
    with np.errstate(over="ignore"):
        z = (np.arange(first + 1, first + 4 * count + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    uniform = (z >> np.uint64(40)).astype(np.float64) / 2.0**24
    return (uniform.reshape(count, 4).sum(axis=1) - 2.0) * np.sqrt(3.0)


def sinusoids():
    half = WIDTH // 2
    scales = np.exp(-np.log(10000.0) / (half - 1) * np.arange(half))
    angles = np.arange(AUDIO_CTX)[:, None] * scales[None, :]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def byte_letters():
    """The letter that stands for each byte in byte-level BPE: itself where it can be printed, else one from 256 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


def vocabulary():
    letters = byte_letters()
    tokens = list(letters.values())
    words = Counter(re.findall(r" ?\w+| ?[^\s\w]+", TEXT.replace("\n", " ")))
    words = {tuple(letters[b] for b in word.encode()): n for word, n in words.items()}
    merges = []
    while len(merges) < JOINED_TOKENS:
        pairs = Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        joined = best[0] + best[1]
        if joined not in tokens:
            tokens.append(joined)
        merges.append(best)
        merged = {}
        for word, n in words.items():
            parts, i = [], 0
            while i < len(word):
                both = word[i : i + 2] == best
                parts.append(joined if both else word[i])
                i += 2 if both else 1
            merged[tuple(parts)] = merged.get(tuple(parts), 0) + n
        words = merged
    special = ["endoftext", "startoftranscript", *LANGUAGES]
    special += ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
    return tokens, merges, [f"<|{name}|>" for name in special]


def tokenizer_json(tokens, merges, special):
    added = [
        {"id": len(tokens) + i, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for i, content in enumerate(special)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
             "fuse_unk": False, "vocab": {token: i for i, token in enumerate(tokens)},
             "merges": [f"{a} {b}" for a, b in merges]}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level, "model": model}


def tensors(n_vocab):
    """Hugging Face's names (without `model.`), in f16."""
    out = {}

    def put(name, *shape, std=1.0, mean=0.0):
        out[name] = (random_numbers(name, int(np.prod(shape))).reshape(shape) * std + mean).astype(np.float16)

    def linear(name, outputs, inputs, bias=True, gain=1.0):
        put(f"{name}.weight", outputs, inputs, std=gain / np.sqrt(inputs))
        if bias:
            put(f"{name}.bias", outputs, std=0.1)

    def norm(name, mean=1.0):
        put(f"{name}.weight", WIDTH, std=0.1, mean=mean)
        put(f"{name}.bias", WIDTH, std=0.1)

    def attention(name):
        for part in ("q", "k", "v", "out"):
            linear(f"{name}.{part}_proj", WIDTH, WIDTH, bias=part != "k", gain=4.0 if "encoder_attn" in name else 1.0)
        norm(f"{name}_layer_norm")

    put("encoder.conv1.weight", WIDTH, MELS, 3, std=1 / np.sqrt(3 * MELS))
    put("encoder.conv1.bias", WIDTH, std=0.1)
    put("encoder.conv2.weight", WIDTH, WIDTH, 3, std=1.5 / np.sqrt(3 * WIDTH))
    put("encoder.conv2.bias", WIDTH, std=0.1)
    out["encoder.embed_positions.weight"] = sinusoids().astype(np.float16)
    put("decoder.embed_tokens.weight", n_vocab, WIDTH, std=0.5)
    put("decoder.embed_positions.weight", TEXT_CTX, WIDTH, std=1.0)
    for stack, parts in (("encoder", ["self_attn"]), ("decoder", ["self_attn", "encoder_attn"])):
        for block in range(BLOCKS):
            layer = f"{stack}.layers.{block}"
            for part in parts:
                attention(f"{layer}.{part}")
            linear(f"{layer}.fc1", 4 * WIDTH, WIDTH)
            linear(f"{layer}.fc2", WIDTH, 4 * WIDTH, gain=1.5)
            norm(f"{layer}.final_layer_norm")
        norm(f"{stack}.layer_norm", mean=5.0 if stack == "decoder" else 1.0)
    # Every other sign turned round: else the tied output layer, finding the last token in its input, only repeats it.
    out["decoder.layer_norm.weight"][1::2] *= -1
    return out


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name in sorted(tensors):
        size = tensors[name].nbytes
        header[f"model.{name}"] = {"dtype": "F16", "shape": list(tensors[name].shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            file.write(tensors[name].tobytes())


def ctranslate2_variables(t):
    """CTranslate2's names; projections of one input are joined, with zeros for the key's bias."""
    zeros = np.zeros(WIDTH, np.float16)
    out = {}

    def join(target, source, parts):
        out[f"{target}/weight"] = np.concatenate([t[f"{source}.{p}_proj.weight"] for p in parts])
        out[f"{target}/bias"] = np.concatenate([t.get(f"{source}.{p}_proj.bias", zeros) for p in parts])

    def norm(target, source):
        out[f"{target}/gamma"], out[f"{target}/beta"] = t[f"{source}.weight"], t[f"{source}.bias"]

    for conv in ("conv1", "conv2"):
        for part in ("weight", "bias"):
            out[f"encoder/{conv}/{part}"] = t[f"encoder.{conv}.{part}"]
    out["decoder/embeddings/weight"] = t["decoder.embed_tokens.weight"]
    for stack in ("encoder", "decoder"):
        out[f"{stack}/position_encodings/encodings"] = t[f"{stack}.embed_positions.weight"]
        norm(f"{stack}/layer_norm", f"{stack}.layer_norm")
        for block in range(BLOCKS):
            layer, source = f"{stack}/layer_{block}", f"{stack}.layers.{block}"
            join(f"{layer}/self_attention/linear_0", f"{source}.self_attn", "qkv")
            join(f"{layer}/self_attention/linear_1", f"{source}.self_attn", ["out"])
            norm(f"{layer}/self_attention/layer_norm", f"{source}.self_attn_layer_norm")
            if stack == "decoder":
                join(f"{layer}/attention/linear_0", f"{source}.encoder_attn", "q")
                join(f"{layer}/attention/linear_1", f"{source}.encoder_attn", "kv")
                join(f"{layer}/attention/linear_2", f"{source}.encoder_attn", ["out"])
                norm(f"{layer}/attention/layer_norm", f"{source}.encoder_attn_layer_norm")
            for i, fc in enumerate(("fc1", "fc2")):
                for part in ("weight", "bias"):
                    out[f"{layer}/ffn/linear_{i}/{part}"] = t[f"{source}.{fc}.{part}"]
            norm(f"{layer}/ffn/layer_norm", f"{source}.final_layer_norm")
        out[f"{stack}/num_heads"] = np.array(HEADS, np.int16)
    # What CTranslate2 itself wants to know: GELU, norms before the blocks' parts, and so on.
    for name, value in {"activation": 3, "alibi": 0, "pre_norm": 1, "scale_embeddings": 0, "start_from_zero_embedding": 0}.items():
        out[f"decoder/{name}"] = np.array(value, np.int8)
    return out


def write_ctranslate2(path, variables):
    types = {np.dtype(np.float16): 4, np.dtype(np.int16): 2, np.dtype(np.int8): 1}

    def text(s):
        return struct.pack("<H", len(s) + 1) + s.encode() + b"\0"

    with open(path, "wb") as file:
        file.write(struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(variables)))
        for name in sorted(variables):
            v = variables[name]
            file.write(text(name) + struct.pack(f"<B{v.ndim}I", v.ndim, *v.shape))
            file.write(struct.pack("<BI", types[v.dtype], v.nbytes) + v.tobytes())
        file.write(struct.pack("<I", 1) + text("decoder/projection/weight") + text("decoder/embeddings/weight"))


def main():
    tokens, merges, special = vocabulary()
    n_vocab = len(tokens) + len(special) + TIMESTAMPS
    config = {
        "model_type": "whisper", "num_mel_bins": MELS, "vocab_size": n_vocab, "d_model": WIDTH,
        "max_source_positions": AUDIO_CTX, "max_target_positions": TEXT_CTX,
        "encoder_layers": BLOCKS, "encoder_attention_heads": HEADS, "encoder_ffn_dim": 4 * WIDTH,
        "decoder_layers": BLOCKS, "decoder_attention_heads": HEADS, "decoder_ffn_dim": 4 * WIDTH,
    }
    with open("config.json", "w") as file:
        file.write(json.dumps(config, indent=2) + "\n")
    with open("tokenizer.json", "w") as file:
        file.write(json.dumps(tokenizer_json(tokens, merges, special), ensure_ascii=False, indent=0) + "\n")
    weights = tensors(n_vocab)
    write_safetensors("model.safetensors", weights)
    write_ctranslate2("model.bin", ctranslate2_variables(weights))


main()

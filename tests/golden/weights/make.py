#!/usr/bin/env python3
"""Makes small checkpoints with torch.save, as openai's and other people's are made. Needs torch; 1.12 made these.

A Whisper of 1 + 1 blocks, 8 wide. Number i of tensor k (in the order of the names) is ((7 i + 13 k) % 64 - 32) / 64,
which 16-bit floats hold exactly, so that whoever reads the files can tell whether every number is in its place.

- openai.pt: {"dims": …, "model_state_dict": …} in 16-bit floats, a storage a tensor, as openai publishes them
- views.pt: a bare state dictionary of parameters in 32-bit floats that are all views of one storage
- bfloat16.pt: {"state_dict": …}
- scattered.pt: {"model": …} in 64-bit floats, from behind a wrapper (module.), each a view whose rows do not follow one
  another: matrices turned, vectors every other number of a longer one (made by torch 2.15)
- legacy.pt: the format from before torch 1.6, which is no zip archive
"""

from collections import OrderedDict

import torch

MELS, AUDIO_CTX, TEXT_CTX, VOCAB, WIDTH, HEADS = 4, 6, 5, 11, 8, 2
DIMS = {
    "n_mels": MELS, "n_vocab": VOCAB, "n_audio_ctx": AUDIO_CTX, "n_audio_state": WIDTH, "n_audio_head": HEADS,
    "n_audio_layer": 1, "n_text_ctx": TEXT_CTX, "n_text_state": WIDTH, "n_text_head": HEADS, "n_text_layer": 1,
}


def shapes():
    out = {
        "encoder.conv1.weight": (WIDTH, MELS, 3), "encoder.conv1.bias": (WIDTH,),
        "encoder.conv2.weight": (WIDTH, WIDTH, 3), "encoder.conv2.bias": (WIDTH,),
        "encoder.positional_embedding": (AUDIO_CTX, WIDTH),
        "decoder.token_embedding.weight": (VOCAB, WIDTH), "decoder.positional_embedding": (TEXT_CTX, WIDTH),
    }

    def norm(name):
        out[f"{name}.weight"] = out[f"{name}.bias"] = (WIDTH,)

    for stack, parts in (("encoder", ["attn"]), ("decoder", ["attn", "cross_attn"])):
        block = f"{stack}.blocks.0"
        for part in parts:
            for projection in ("query", "key", "value", "out"):
                out[f"{block}.{part}.{projection}.weight"] = (WIDTH, WIDTH)
                if projection != "key":
                    out[f"{block}.{part}.{projection}.bias"] = (WIDTH,)
            norm(f"{block}.{part}_ln")
        out[f"{block}.mlp.0.weight"], out[f"{block}.mlp.0.bias"] = (4 * WIDTH, WIDTH), (4 * WIDTH,)
        out[f"{block}.mlp.2.weight"], out[f"{block}.mlp.2.bias"] = (WIDTH, 4 * WIDTH), (WIDTH,)
        norm(f"{block}.mlp_ln")
    norm("encoder.ln_post")
    norm("decoder.ln")
    return dict(sorted(out.items()))


def tensors(dtype):
    out = OrderedDict()
    for k, (name, shape) in enumerate(shapes().items()):
        count = torch.Size(shape).numel()
        out[name] = (((7 * torch.arange(count) + 13 * k) % 64 - 32) / 64).reshape(shape).to(dtype)
    return out


def views():
    whole = tensors(torch.float32)
    flat = torch.cat([tensor.flatten() for tensor in whole.values()])
    out, at = OrderedDict(), 0
    for name, tensor in whole.items():
        out[name] = torch.nn.Parameter(flat[at : at + tensor.numel()].view(tensor.shape))
        at += tensor.numel()
    return out


def scattered():
    out = OrderedDict()
    for name, tensor in tensors(torch.float64).items():
        if tensor.dim() == 1:
            longer = torch.full((2 * len(tensor),), float("nan"), dtype=tensor.dtype)
            longer[1::2] = tensor
            tensor = longer[1::2]
        else:
            tensor = tensor.transpose(0, -1).contiguous().transpose(0, -1)
        assert not tensor.is_contiguous(), name
        out[f"module.{name}"] = tensor
    return out


torch.save({"dims": DIMS, "model_state_dict": tensors(torch.float16)}, "openai.pt")
torch.save({"model": scattered(), "epoch": 3}, "scattered.pt")
torch.save(views(), "views.pt")
torch.save({"state_dict": tensors(torch.bfloat16), "epoch": 3, "lr": 1e-4, "betas": [0.9, 0.98]}, "bfloat16.pt")
torch.save({"model_state_dict": tensors(torch.float16)}, "legacy.pt", _use_new_zipfile_serialization=False)

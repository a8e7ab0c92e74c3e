#!/usr/bin/env python3
"""Loads an export of Ablate into transformers and shows that nothing is missing or left over.

    venv/bin/python check_export.py FOLDER [BATCH.safetensors]

Exits with 1 when transformers reports a missing, unexpected or mismatched key. Prints the logits on
the given batch (tensors input_ids, token_type_ids, attention_mask as [batch, seq]; of a file with
stacked steps, the first step), or on the ids 0, 1, 2, ... without one. Needs torch, transformers and
safetensors, so it is run by hand.
"""

import sys

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig


def batch_of(config, path):
    if path is None:
        length = min(8, config.vocab_size, config.max_position_embeddings)
        return dict(input_ids=torch.arange(length).unsqueeze(0))
    tensors = load_file(path)
    names = ("input_ids", "token_type_ids", "attention_mask")
    return {n: t[0] if t.dim() == 3 else t for n, t in tensors.items() if n in names}


def main():
    folder, path = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    config = AutoConfig.from_pretrained(folder)
    architecture = config.architectures[0]
    cls = getattr(transformers, architecture)
    # A bare encoder is stored with or without the pooler.
    more = dict(add_pooling_layer=False) if architecture == "BertModel" else {}
    model, report = cls.from_pretrained(folder, output_loading_info=True, **more)
    problems = {k: v for k, v in report.items() if v}
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{architecture}: {parameters} parameters, transformers {transformers.__version__}")
    print("loading report:", {k: sorted(map(str, v)) for k, v in report.items() if v} or "clean")
    with torch.no_grad():
        out = model.eval()(**batch_of(config, path))
    for name, value in out.items():
        if torch.is_tensor(value):
            flat = value.flatten()
            print(f"{name} {tuple(value.shape)} norm {value.norm():.6f} first {flat[:6].tolist()}")
    assert not problems, problems


if __name__ == "__main__":
    main()

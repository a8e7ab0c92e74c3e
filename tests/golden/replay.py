"""Trains the batches of an Ablate trial again in PyTorch and compares every step's loss.

By hand, not in the gate (needs torch, transformers, safetensors):

    ablate run RECIPE --runs RUNS --set model.bert.dropout=0 --set model.bert.attention_dropout=0
    ablate batches RECIPE --arm baseline --seed 1 --steps 20 --out batches.safetensors (same --set)
    python replay.py RUNS/<pipeline>/trials/baseline/seed-1 batches.safetensors --weight-decay 0.01

Starts from `export/step-0`, takes the batches and the learning rates as recorded, and steps with
torch.optim.AdamW and clip_grad_norm_. The recipe must have mlm and nsp with weight 1, accumulate 1.
"""

import argparse
import json

import torch
from safetensors.torch import load_file
from transformers import BertForPreTraining


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trial", help="folder of the trial")
    parser.add_argument("batches", help="what `ablate batches --out` wrote")
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--clip-norm", type=float, default=1.0)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    args = parser.parse_args()

    batches = load_file(args.batches)
    model = BertForPreTraining.from_pretrained(args.trial + "/export/step-0").train()
    still = lambda name: name.endswith("bias") or "LayerNorm" in name
    groups = [
        {"params": [p for n, p in model.named_parameters() if not still(n)], "weight_decay": args.weight_decay},
        {"params": [p for n, p in model.named_parameters() if still(n)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    rows = [json.loads(line) for line in open(args.trial + "/metrics.jsonl")]
    rows = [row for row in rows if "split" not in row]
    cross_entropy = torch.nn.functional.cross_entropy
    worst = 0.0
    for step in range(min(len(rows), len(batches["input_ids"]))):
        row, batch = rows[step], {name: values[step] for name, values in batches.items()}
        for group in optimizer.param_groups:
            group["lr"] = row["learning_rate"]
        out = model(
            input_ids=batch["input_ids"],
            token_type_ids=batch["token_type_ids"],
            attention_mask=batch["attention_mask"],
        )
        logits = out.prediction_logits
        mlm = cross_entropy(logits.view(-1, logits.shape[-1]), batch["labels"].view(-1), ignore_index=-100)
        nsp = cross_entropy(out.seq_relationship_logits, batch["next_sentence_label"], ignore_index=-100)
        loss = mlm + nsp
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip_norm)
        optimizer.step()
        error = abs(loss.item() - row["loss"]) / loss.item()
        worst = max(worst, error)
        print(f"step {step + 1}: torch {loss.item():.6f} ablate {row['loss']:.6f} relative {error:.1e}"
              f"  norm {norm.item():.5f} {row['grad_norm']:.5f}")
    print(f"largest relative difference of a loss: {worst:.1e}")
    if not worst <= args.tolerance:
        raise SystemExit(f"above the tolerance of {args.tolerance:g}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Freezes what PyTorch and transformers compute for two tiny BERTs, for the Rust tests beside it.

    python3 -m venv venv && venv/bin/pip install torch transformers safetensors
    venv/bin/python generate.py            # writes data/<case>/ next to this file

Every case is a folder:

    config.json, model.safetensors   what BertForPreTraining.save_pretrained wrote: the starting point
    batch.safetensors                input_ids, token_type_ids, attention_mask, labels [batch, seq] and
                                     next_sentence_label [batch], int64, labels -100 where not predicted
    forward.safetensors              prediction_logits [masked, vocab] at the masked positions in
                                     row-major order, seq_relationship_logits [batch, 2], pooled
                                     [batch, hidden], hidden_states.N [batch, seq, hidden] (0 = embeddings)
    gradients.safetensors            d (mlm loss + nsp loss) / d parameter at step 0, by parameter name
    after.safetensors                every parameter after the AdamW steps
    golden.json                      both losses at step 0; per step: losses before the step and the
                                     gradient's norm before clipping; the optimizer's settings; versions

The losses are means over the masked positions and over the rows. Everything is computed in f64 from
parameters that are exact in f32, so that the files hold the true values to f32 precision and the
tests measure the error of Ablate alone. The same versions of torch and transformers give the same
bytes; other versions may differ in the last bit.

All parameters are random, biases and layer norms as well: at transformers' own initial values most of
them are 0 or 1, and a test there would miss a bias that is left out.
"""

import json
import pathlib
import shutil

import torch
import transformers
from safetensors.torch import save_file
from transformers import BertConfig, BertForPreTraining

STEPS = 10
OPTIMIZER = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0

CASES = {
    # Power-of-two sizes, full rows, the default activation.
    "even": dict(
        seed=1,
        lengths=[8, 8],
        seq=8,
        masked=[[1, 4, 6], [2, 3]],
        pad_inside=[],
        config=dict(
            vocab_size=50,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
            hidden_act="gelu",
        ),
    ),
    # Odd sizes, padded rows of three lengths, tanh GELU, another epsilon. The first row holds an
    # *attended* [PAD] token (a random replacement of masked language modelling can put one there):
    # torch gives the padding row of the embedding no gradient from the look-up.
    "odd": dict(
        seed=2,
        lengths=[7, 5, 3],
        seq=7,
        masked=[[1, 2, 5], [3], [1]],
        pad_inside=[(0, 4)],
        config=dict(
            vocab_size=37,
            hidden_size=12,
            num_hidden_layers=1,
            num_attention_heads=3,
            intermediate_size=20,
            max_position_embeddings=11,
            hidden_act="gelu_new",
            layer_norm_eps=1e-5,
        ),
    ),
}


def model_of(case):
    """A BertForPreTraining whose every parameter is random and exact in f32."""
    config = BertConfig(
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=0,
        attn_implementation="eager",
        **case["config"],
    )
    model = BertForPreTraining(config)
    generator = torch.Generator().manual_seed(case["seed"])
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float32)
            norm_scale = name.endswith("LayerNorm.weight")
            p.copy_(1.0 + 0.1 * noise if norm_scale else 0.2 * noise)
    return model.eval()


def batch_of(case):
    """Pairs of two segments with [CLS] = 2, [SEP] = 3 and [MASK] = 4, padded with 0."""
    generator = torch.Generator().manual_seed(case["seed"] + 100)
    rows, seq, vocab = len(case["lengths"]), case["seq"], case["config"]["vocab_size"]
    ids = torch.zeros(rows, seq, dtype=torch.int64)
    types, mask = torch.zeros_like(ids), torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for row, length in enumerate(case["lengths"]):
        ids[row, :length] = torch.randint(5, vocab, (length,), generator=generator)
        ids[row, 0], ids[row, length - 1] = 2, 3
        types[row, (length + 1) // 2 : length] = 1
        mask[row, :length] = 1
        for position in case["masked"][row]:
            labels[row, position] = ids[row, position]
            ids[row, position] = 4
    for row, position in case["pad_inside"]:
        ids[row, position] = 0
    return dict(
        input_ids=ids,
        token_type_ids=types,
        attention_mask=mask,
        labels=labels,
        next_sentence_label=torch.arange(rows) % 2,
    )


def losses_of(model, batch):
    """Both mean losses, and the model's output."""
    out = model(
        input_ids=batch["input_ids"],
        token_type_ids=batch["token_type_ids"],
        attention_mask=batch["attention_mask"],
        output_hidden_states=True,
    )
    cross_entropy = torch.nn.CrossEntropyLoss()
    vocab = model.config.vocab_size
    mlm = cross_entropy(out.prediction_logits.view(-1, vocab), batch["labels"].view(-1))
    nsp = cross_entropy(out.seq_relationship_logits, batch["next_sentence_label"])
    return mlm, nsp, out


def optimizer_of(model):
    """AdamW that decays neither biases nor layer norms."""
    decayed, plain = [], []
    for name, p in model.named_parameters():
        exempt = name.endswith("bias") or "LayerNorm" in name
        (plain if exempt else decayed).append(p)
    return torch.optim.AdamW(
        [dict(params=decayed, weight_decay=WEIGHT_DECAY), dict(params=plain, weight_decay=0.0)],
        **OPTIMIZER,
    )


def store(path, tensors):
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, str(path))


def f32(tensors):
    return {k: v.detach().to(torch.float32) for k, v in tensors.items()}


def freeze(name, case, root):
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model, batch = model_of(case), batch_of(case)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    store(folder / "batch.safetensors", batch)

    model = model.double()
    mlm, nsp, out = losses_of(model, batch)
    golden = dict(
        torch=torch.__version__,
        transformers=transformers.__version__,
        mlm_loss=mlm.item(),
        nsp_loss=nsp.item(),
        optimizer=dict(**OPTIMIZER, weight_decay=WEIGHT_DECAY, clip_norm=CLIP_NORM),
        steps=[],
    )
    chosen = batch["labels"] != -100
    forward = dict(
        prediction_logits=out.prediction_logits[chosen],
        seq_relationship_logits=out.seq_relationship_logits,
        pooled=model.bert.pooler(out.hidden_states[-1]),
    )
    forward.update({f"hidden_states.{i}": h for i, h in enumerate(out.hidden_states)})
    store(folder / "forward.safetensors", f32(forward))
    (mlm + nsp).backward()
    store(
        folder / "gradients.safetensors",
        f32({n: p.grad for n, p in model.named_parameters()}),
    )

    optimizer = optimizer_of(model)
    for _ in range(STEPS):
        optimizer.zero_grad()
        mlm, nsp, _ = losses_of(model, batch)
        (mlm + nsp).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        golden["steps"].append(
            dict(mlm_loss=mlm.item(), nsp_loss=nsp.item(), grad_norm=norm.item())
        )
    store(folder / "after.safetensors", f32(dict(model.named_parameters())))
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(name, golden["mlm_loss"], golden["nsp_loss"], golden["steps"][0]["grad_norm"])


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    root = pathlib.Path(__file__).resolve().parent / "data"
    for name, case in CASES.items():
        freeze(name, case, root)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Freezes what PyTorch computes for the objectives sop, rtd, simcse and distill on the models and batches
that `generate.py` froze, for the Rust tests beside it.

    venv/bin/python objectives.py          # writes data/objectives/ next to this file

    teacher/                               a BertForMaskedLM, the teacher of `distill`
    <case>.heads.safetensors               values of the objectives' own parameters
    <case>.<objective>.safetensors         d loss / d parameter by parameter name, of the summed loss over
                                           its units
    golden.json                            labels of `distill`; for each case and objective: mean loss and metrics, of the
                                           training graph and, where it differs, of the evaluation graph

The losses are written here from the papers' equations, on transformers' own encoder. Everything is computed
in f64. The dropout of `simcse` is drawn from the same counter-based streams as Ablate's (Philox4x32-10, Salmon
et al. 2011, checked against its published vector below), so that the two views are the same ones.
"""

import json
import pathlib
import shutil

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining

HERE = pathlib.Path(__file__).resolve().parent / "data"
OUT = HERE / "objectives"
# As `Engine` of the tests runs graphs.
SEED, STEP = 1, 0
RATES = dict(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.2)
TEMPERATURE = 0.05
DISTILL_TEMPERATURE = 2.0
# Rows of `odd` that count as padding for `simcse`.
PADDING = {"even": 0, "odd": 1}

MASK64 = (1 << 64) - 1


def splitmix64(x):
    z = (x + 0x9E3779B97F4A7C15) & MASK64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
    return z ^ (z >> 31)


def key_of(seed, name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK64
    k = splitmix64(splitmix64(seed) ^ h)
    return [k & 0xFFFFFFFF, k >> 32]


def philox(counter, key):
    c, k = list(counter), list(key)
    for i in range(10):
        if i:
            k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [
            (p1 >> 32) ^ c[1] ^ k[0],
            p1 & 0xFFFFFFFF,
            (p0 >> 32) ^ c[3] ^ k[1],
            p0 & 0xFFFFFFFF,
        ]
    return c


# Random123's known answer for a counter and a key of ones.
assert philox([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


def uniforms(name, n):
    key = key_of(SEED, name)
    out = np.empty(-(-n // 64) * 64)
    for group in range(len(out) // 64):
        for j in range(16):
            block = philox([group * 16 + j, 0, STEP, 0], key)
            for lane in range(4):
                out[group * 64 + lane * 16 + j] = (block[lane] >> 8) / 16777216.0
    return torch.tensor(out[:n])


def sites(layers):
    yield "embeddings"
    for n in range(layers):
        for site in ["attention_probs", "attention_output", "ffn_output"]:
            yield f"layer.{n}.{site}"


class Masks:
    """Takes the place of dropout while a pass runs, in the order of the encoder's sites."""

    def __init__(self, prefix, layers):
        self.left = [f"{prefix}/{site}" for site in sites(layers)]

    def __call__(self, x, p=0.5, training=True, inplace=False):
        u = uniforms(self.left.pop(0), x.numel()).reshape(x.shape)
        kept = (u >= float(np.float32(p))).to(x.dtype)
        return x * kept / (1.0 - p)

    def run(self, bert, batch):
        original = F.dropout
        F.dropout = torch.nn.functional.dropout = self
        try:
            bert.train()
            hidden = hidden_of(bert, batch)
        finally:
            F.dropout = torch.nn.functional.dropout = original
            bert.eval()
        assert not self.left, self.left
        return hidden


def hidden_of(bert, batch):
    return bert(
        input_ids=batch["input_ids"],
        token_type_ids=batch["token_type_ids"],
        attention_mask=batch["attention_mask"],
    ).last_hidden_state


def load_case(name):
    folder = HERE / name
    config = BertConfig.from_pretrained(folder, attn_implementation="eager")
    for key, rate in RATES.items():
        setattr(config, key, rate)
    model = BertForPreTraining.from_pretrained(folder, config=config, dtype=torch.float32)
    return model.eval(), load_file(folder / "batch.safetensors")


def random_heads(hidden, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "sop_classifier.classifier.weight": (2, hidden),
        "sop_classifier.classifier.bias": (2,),
        "discriminator_predictions.dense.weight": (hidden, hidden),
        "discriminator_predictions.dense.bias": (hidden,),
        "discriminator_predictions.dense_prediction.weight": (1, hidden),
        "discriminator_predictions.dense_prediction.bias": (1,),
        "mlp.dense.weight": (hidden, hidden),
        "mlp.dense.bias": (hidden,),
    }
    return {n: 0.3 * torch.randn(s, generator=generator) for n, s in shapes.items()}


def make_teacher():
    folder = OUT / "teacher"
    config = BertConfig(
        vocab_size=50,
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=16,
        hidden_act="gelu_new",
        attn_implementation="eager",
    )
    model = BertForMaskedLM(config)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            p.copy_(1.0 + 0.1 * noise if name.endswith("LayerNorm.weight") else 0.3 * noise)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    return model.double().eval()


def sop(model, head, batch, _):
    pooled = model.bert.pooler(hidden_of(model.bert, batch))
    logits = pooled @ head["sop_classifier.classifier.weight"].T + head["sop_classifier.classifier.bias"]
    labels = batch["next_sentence_label"]
    losses = F.cross_entropy(logits, labels, reduction="none")
    return losses, dict(accuracy=(logits.argmax(1) == labels).double())


def rtd(model, head, batch, _):
    """Tokens with a label of the frozen batch count as replaced; padding does not count."""
    real = batch["attention_mask"] == 1
    y = (batch["labels"] != -100)[real].double()
    act = model.bert.encoder.layer[0].intermediate.intermediate_act_fn
    name = "discriminator_predictions."
    x = hidden_of(model.bert, batch)[real]
    x = act(x @ head[name + "dense.weight"].T + head[name + "dense.bias"])
    x = x @ head[name + "dense_prediction.weight"].T + head[name + "dense_prediction.bias"]
    x = x.squeeze(1)
    losses = -(y * F.logsigmoid(x) + (1 - y) * F.logsigmoid(-x))
    said = (x > 0).double()
    metrics = dict(accuracy=(said == y).double(), replaced=y, said=said, found=said * y)
    return losses, metrics


def simcse(pooling):
    def objective(model, head, batch, training):
        layers = model.config.num_hidden_layers
        rows = batch["input_ids"].shape[0] - batch["padding"]

        def pool(hidden):
            if pooling == "cls":
                return hidden[:rows, 0]
            mask = batch["attention_mask"][:rows, :, None].double()
            return (hidden[:rows] * mask).sum(1) / mask.sum(1)

        def project(x):
            if pooling != "cls":
                return x
            return torch.tanh(x @ head["mlp.dense.weight"].T + head["mlp.dense.bias"])

        first = "dropout" if training else "dropout/simcse/first"
        a = pool(Masks(first, layers).run(model.bert, batch))
        b = pool(Masks("dropout/simcse/second", layers).run(model.bert, batch))
        clean = a if training else pool(hidden_of(model.bert, batch))
        za, zb = project(a), project(b)
        similarity = F.cosine_similarity(za[:, None], zb[None], dim=-1) / TEMPERATURE
        labels = torch.arange(rows)
        losses = F.cross_entropy(similarity, labels, reduction="none")
        unit = lambda x: F.normalize(x, dim=-1)
        uniformity = torch.pdist(unit(clean)).pow(2).mul(-2).exp().mean().log()
        metrics = dict(
            accuracy=(similarity.argmax(1) == labels).double(),
            alignment=(unit(a) - unit(b)).pow(2).sum(1),
            uniformity=uniformity.expand(rows),
        )
        return losses, metrics

    return objective


def distill(teacher):
    def objective(model, _head, batch, _training):
        hidden = batch["labels"] != -100
        inputs = {k: batch[k] for k in ["input_ids", "token_type_ids", "attention_mask"]}
        student = model(**inputs).prediction_logits[hidden]
        with torch.no_grad():
            soft = teacher(**inputs).logits[hidden][:, : student.shape[1]]
        t = DISTILL_TEMPERATURE
        losses = F.kl_div(
            F.log_softmax(student / t, -1), F.softmax(soft / t, -1), reduction="none"
        ).sum(-1) * t**2
        # Labels that now the student, now the teacher, now both or none get right; the loss has none.
        best = student.argmax(1)
        labels = torch.where(torch.arange(len(best)) % 3 == 0, best, soft.argmax(1))
        labels[-1] = (best[-1] + 1) % student.shape[1]
        batch["distill_labels"] = labels
        metrics = dict(
            accuracy=(best == labels).double(),
            teacher_accuracy=(soft.argmax(1) == labels).double(),
            agreement=(best == soft.argmax(1)).double(),
        )
        return losses, metrics

    return objective


def numbers(losses, metrics):
    return dict(loss=losses.mean().item(), **{k: v.mean().item() for k, v in metrics.items()})


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    teacher = make_teacher()
    golden = dict(torch=torch.__version__, **RATES, distill_temperature=DISTILL_TEMPERATURE)
    for seed, case in enumerate(["even", "odd"]):
        model, batch = load_case(case)
        heads = random_heads(model.config.hidden_size, 20 + seed)
        save_file(heads, OUT / f"{case}.heads.safetensors")
        model = model.double()
        batch["padding"] = PADDING[case]
        golden[case] = {}
        for name, objective in [
            ("sop", sop),
            ("rtd", rtd),
            ("simcse_cls", simcse("cls")),
            ("simcse_mean", simcse("mean")),
            ("distill", distill(teacher)),
        ]:
            head = {n: v.double().requires_grad_() for n, v in heads.items()}
            model.zero_grad()
            losses, metrics = objective(model, head, batch, True)
            losses.mean().backward()
            named = list(model.named_parameters()) + list(head.items())
            gradients = {n: p.grad.float().contiguous() for n, p in named if p.grad is not None}
            save_file(gradients, OUT / f"{case}.{name}.safetensors")
            with torch.no_grad():
                evaluated = numbers(*objective(model, head, batch, False))
            if name == "distill":
                golden[case]["distill_labels"] = batch["distill_labels"].tolist()
            golden[case][name] = dict(training=numbers(losses, metrics), evaluation=evaluated)
            print(case, name, golden[case][name])
    (OUT / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()

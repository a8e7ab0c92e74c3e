#!/usr/bin/env python3
"""Freezes ten steps of every optimizer as others compute them, for the Rust tests beside it.

    python3 -m venv venv
    venv/bin/pip install torch transformers optax numpy safetensors pytorch_optimizer
    venv/bin/python generate_optimizers.py [PART ..]   # writes data/optimizers/ next to this file

The parts are `torch` (with transformers and pytorch_optimizer), `optax` and `numpy`; without arguments
all of them. They need not live in one environment: each part replaces its own cases and keeps the rest.

    start.safetensors      the parameters before the first step, by name
    gradients.safetensors  a gradient for each step, [STEPS, ..shape], by name of the parameter
    after.safetensors      "<case>/<parameter>": the parameter after each of the steps in KEPT
    cases.json             the cases: optimizer and configuration in Ablate's words, the reference,
                           the factor on the learning rate at each step; and versions

Parameters and gradients are exact in f32 and everything is computed from them in f64, so that the
files hold the true values to f32 precision and the tests measure the error of Ablate alone. Decay is
left out for the bias, as Ablate does. The learning rate falls from step to step, which a reference
that keeps it in a state would show.
"""

import json
import pathlib
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

STEPS = 10
KEPT = (1, 5, 10)
FACTORS = [1.0 - 0.08 * t for t in range(STEPS)]
ROOT = pathlib.Path(__file__).resolve().parent / "data" / "optimizers"

SHAPES = {
    "bert.bias": (7,),
    "bert.tall.weight": (12, 5),
    "bert.wide.weight": (4, 9),
    "bert.embeddings.word_embeddings.weight": (16, 4),
    "cls.head.weight": (2, 6),
}
BIAS = "bert.bias"
WORDS = "bert.embeddings.word_embeddings.weight"
# What `muon` orthogonalises: matrices of the encoder.
HIDDEN = ("bert.tall.weight", "bert.wide.weight")


def inputs():
    """Parameters and gradients, exact in f32. Of the words only some have a gradient at a step."""
    random = np.random.default_rng(7)
    start = {n: random.normal(0, 0.5, s).astype(np.float32) for n, s in SHAPES.items()}
    gradients = {}
    for name, shape in SHAPES.items():
        g = random.normal(0, 1, (STEPS, *shape))
        # Sizes that differ from step to step and from tensor to tensor, as they do in training.
        g *= 10.0 ** random.uniform(-1.5, 0.5, (STEPS,) + (1,) * len(shape))
        if name == WORDS:
            g *= random.uniform(0, 1, (STEPS, shape[0], 1)) < 0.6
        gradients[name] = g.astype(np.float32)
    return start, gradients


def decays(name):
    return name != BIAS


class Case:
    """A case: how Ablate is configured, and who says what is right."""

    def __init__(self, optimizer, name, reference, config, run, parameters=None):
        self.key = f"{optimizer}/{name}"
        self.optimizer, self.reference, self.config, self.run = optimizer, reference, config, run
        self.parameters = list(parameters or SHAPES)


def trajectory(case, start, gradients):
    """Runs a case; the parameters of the kept steps by name."""
    names = case.parameters
    kept = {n: [] for n in names}
    values = {n: start[n].astype(np.float64) for n in names}
    step = case.run(values)
    for t in range(STEPS):
        now = step(t + 1, FACTORS[t], {n: gradients[n][t].astype(np.float64) for n in names})
        if t + 1 in KEPT:
            for n in names:
                kept[n].append(np.array(now[n], dtype=np.float64))
    return {n: np.stack(v).astype(np.float32) for n, v in kept.items()}


# ---- PyTorch, transformers, pytorch_optimizer ------------------------------------------------------


def torch_cases():
    import torch
    import transformers

    torch.set_num_threads(1)

    class F64InPlaceOfBf16:
        """The module `torch` for torch.optim._muon, which orthogonalises in bf16: that precision is
        an economy and no part of the method."""

        bfloat16 = torch.float64

        def __getattr__(self, name):
            return getattr(torch, name)

    torch.optim._muon.torch = F64InPlaceOfBf16()

    def runs(make):
        """`make(decayed, plain)` gives the optimizers over named parameters."""

        def run(values):
            p = {n: torch.nn.Parameter(torch.tensor(v)) for n, v in values.items()}
            optimizers = make(p)
            base = [[g["lr"] for g in o.param_groups] for o in optimizers]

            def step(_t, factor, gradients):
                for n, g in gradients.items():
                    p[n].grad = torch.tensor(g)
                for o, rates in zip(optimizers, base):
                    for group, rate in zip(o.param_groups, rates):
                        group["lr"] = rate * factor
                    o.step()
                return {n: v.detach().numpy() for n, v in p.items()}

            return step

        return run

    def groups(p, weight_decay):
        some = [v for n, v in p.items() if decays(n)]
        rest = [v for n, v in p.items() if not decays(n)]
        groups = [dict(params=some, weight_decay=weight_decay)]
        return groups + ([dict(params=rest, weight_decay=0.0)] if rest else [])

    def single(kind, weight_decay=0.0, **options):
        return runs(lambda p: [kind(groups(p, weight_decay), **options)])

    o = torch.optim
    cases = []

    def add(optimizer, name, config, run, reference=None, **more):
        reference = reference or f"torch.optim.{NAMES[optimizer]}"
        cases.append(Case(optimizer, name, reference, config, run, **more))

    add("sgd", "plain", dict(learning_rate=0.05), single(o.SGD, lr=0.05))
    add("sgd", "decay", dict(learning_rate=0.05, weight_decay=0.1), single(o.SGD, 0.1, lr=0.05))
    add(
        "sgd",
        "momentum",
        dict(learning_rate=0.05, momentum=0.9, dampening=0.3, weight_decay=0.1),
        single(o.SGD, 0.1, lr=0.05, momentum=0.9, dampening=0.3),
    )
    add(
        "sgd",
        "nesterov",
        dict(learning_rate=0.05, momentum=0.8, nesterov=True, weight_decay=0.1),
        single(o.SGD, 0.1, lr=0.05, momentum=0.8, nesterov=True),
    )
    add("adagrad", "plain", dict(learning_rate=0.1), single(o.Adagrad, lr=0.1))
    add(
        "adagrad",
        "decay",
        dict(
            learning_rate=0.1,
            learning_rate_decay=0.1,
            weight_decay=0.2,
            initial_accumulator_value=0.05,
            eps=1e-6,
        ),
        single(o.Adagrad, 0.2, lr=0.1, lr_decay=0.1, initial_accumulator_value=0.05, eps=1e-6),
    )
    add("rmsprop", "plain", dict(learning_rate=0.02), single(o.RMSprop, lr=0.02))
    add(
        "rmsprop",
        "momentum",
        dict(learning_rate=0.02, momentum=0.7, weight_decay=0.2),
        single(o.RMSprop, 0.2, lr=0.02, momentum=0.7),
    )
    add(
        "rmsprop",
        "centered",
        dict(learning_rate=0.02, alpha=0.9, eps=1e-3, momentum=0.7, centered=True, weight_decay=0.2),
        single(o.RMSprop, 0.2, lr=0.02, alpha=0.9, eps=1e-3, momentum=0.7, centered=True),
    )
    add("adam", "plain", dict(learning_rate=0.03), single(o.Adam, lr=0.03))
    add("adam", "decay", dict(learning_rate=0.03, weight_decay=0.2), single(o.Adam, 0.2, lr=0.03))
    add(
        "adam",
        "amsgrad",
        dict(learning_rate=0.03, betas=[0.8, 0.9], eps=1e-4, weight_decay=0.2, amsgrad=True),
        single(o.Adam, 0.2, lr=0.03, betas=(0.8, 0.9), eps=1e-4, amsgrad=True),
    )
    add("adamw", "plain", dict(learning_rate=0.03, weight_decay=0.0), single(o.AdamW, lr=0.03))
    add("adamw", "decay", dict(learning_rate=0.03, weight_decay=0.5), single(o.AdamW, 0.5, lr=0.03))
    add(
        "adamw",
        "amsgrad",
        dict(learning_rate=0.03, betas=[0.8, 0.9], eps=1e-4, weight_decay=0.5, amsgrad=True),
        single(o.AdamW, 0.5, lr=0.03, betas=(0.8, 0.9), eps=1e-4, amsgrad=True),
    )
    # PyTorch's own default for the first epsilon follows the precision; this is that of f32.
    eps = (float(np.finfo(np.float32).eps), 1e-3)
    add("adafactor", "plain", {}, single(o.Adafactor, lr=0.01, eps=eps))
    add(
        "adafactor",
        "decay",
        # Above 1 / sqrt(t) from the fifth step on.
        dict(learning_rate=0.6, weight_decay=0.1, beta2_decay=-0.5, clip_threshold=1.2),
        single(o.Adafactor, 0.1, lr=0.6, beta2_decay=-0.5, d=1.2, eps=eps),
    )
    for name, options in [
        ("momentum", dict(beta1=0.9, scale_parameter=True)),
        ("absolute", dict(scale_parameter=False)),
    ]:
        add(
            "adafactor",
            name,
            dict(learning_rate=0.05, relative_step=False, **options),
            single(
                transformers.optimization.Adafactor, lr=0.05, relative_step=False, **options
            ),
            reference="transformers.Adafactor",
        )

    def muon(rate, weight_decay, adamw, **options):
        of_rest = adamw.pop("weight_decay")

        def make(p):
            hidden = [v for n, v in p.items() if n in HIDDEN]
            rest = {n: v for n, v in p.items() if n not in HIDDEN}
            return [
                o.Muon(hidden, lr=rate, weight_decay=weight_decay, **options),
                o.AdamW(groups(rest, of_rest), **adamw),
            ]

        return runs(make)

    add(
        "muon",
        "plain",
        dict(learning_rate=0.05, weight_decay=0.0, adamw=dict(learning_rate=0.01, weight_decay=0.0)),
        muon(0.05, 0.0, dict(lr=0.01, weight_decay=0.0)),
        reference="torch.optim.Muon in f64, AdamW",
    )
    add(
        "muon",
        "decay",
        dict(
            learning_rate=0.05,
            adjust_learning_rate="match_rms_adamw",
            adamw=dict(learning_rate=0.02, betas=[0.8, 0.9], eps=1e-6, weight_decay=0.3),
        ),
        muon(
            0.05,
            0.1,
            dict(lr=0.02, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.3),
            adjust_lr_fn="match_rms_adamw",
        ),
        reference="torch.optim.Muon in f64, AdamW",
    )
    add(
        "muon",
        "heavy_ball",
        dict(
            learning_rate=0.05,
            momentum=0.8,
            nesterov=False,
            ns_steps=3,
            ns_coefficients=[2.0, -1.5, 0.5],
            adjust_learning_rate="spectral_unclamped",
            adamw=dict(learning_rate=0.01),
        ),
        muon(
            0.05,
            0.1,
            dict(lr=0.01, weight_decay=0.01),
            momentum=0.8,
            nesterov=False,
            ns_steps=3,
            ns_coefficients=(2.0, -1.5, 0.5),
            adjust_lr_fn="spectral_unclamped",
        ),
        reference="torch.optim.Muon in f64, AdamW",
    )

    import pytorch_optimizer

    # Its matrices start at a ridge that does not grow, ours have one in units of their norm: both
    # small enough not to be seen. It gives vectors whole matrices too, so they are left out.
    add(
        "shampoo",
        "gupta",
        dict(learning_rate=0.05, betas=[0.0, 1.0], epsilon=1e-7, interval=1, graft="none"),
        single(pytorch_optimizer.Shampoo, lr=0.05, matrix_eps=1e-10),
        reference="pytorch_optimizer.Shampoo",
        parameters=[n for n in SHAPES if n != BIAS],
    )
    return cases


NAMES = dict(
    sgd="SGD",
    adagrad="Adagrad",
    rmsprop="RMSprop",
    adam="Adam",
    adamw="AdamW",
    adafactor="Adafactor",
)


# ---- optax -----------------------------------------------------------------------------------------


def optax_cases():
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    import optax

    def runs(make):
        def run(values):
            p = {n: jnp.asarray(v) for n, v in values.items()}
            schedule = lambda count: jnp.asarray(FACTORS)[count]
            optimizer = make(schedule)
            state = optimizer.init(p)

            def step(_t, _factor, gradients):
                nonlocal p, state
                g = {n: jnp.asarray(v) for n, v in gradients.items()}
                updates, state = optimizer.update(g, state, p)
                p = optax.apply_updates(p, updates)
                return {n: np.asarray(v) for n, v in p.items()}

            return step

        return run

    mask = {n: decays(n) for n in SHAPES}
    cases = []
    for name, decay, options in [
        ("plain", 0.0, {}),
        ("decay", 0.3, dict(betas=[0.8, 0.95], eps=1e-4)),
    ]:
        b1, b2 = options.get("betas", [0.9, 0.999])
        eps = options.get("eps", 1e-6)
        cases.append(
            Case(
                "lamb",
                name,
                "optax.lamb",
                dict(learning_rate=0.05, weight_decay=decay, **options),
                runs(
                    lambda s, b1=b1, b2=b2, eps=eps, decay=decay: optax.lamb(
                        lambda c: 0.05 * s(c), b1, b2, eps, 0.0, decay, mask
                    )
                ),
            )
        )
    for name, decay, betas in [("plain", 0.0, [0.9, 0.99]), ("decay", 0.5, [0.8, 0.95])]:
        cases.append(
            Case(
                "lion",
                name,
                "optax.lion",
                dict(learning_rate=0.02, weight_decay=decay, betas=betas),
                runs(
                    lambda s, b=betas, decay=decay: optax.lion(
                        lambda c: 0.02 * s(c), b[0], b[1], weight_decay=decay, mask=mask
                    )
                ),
            )
        )
    return cases


# ---- transcripts in NumPy --------------------------------------------------------------------------


def shampoo(
    learning_rate,
    betas,
    epsilon=1e-6,
    weight_decay=0.0,
    max_preconditioner_dim=1024,
    interval=10,
    graft="adam",
    graft_eps=1e-8,
):
    """Shampoo as plugins/optimizers/shampoo documents it, with roots by eigendecomposition."""

    def power(a, p):
        if a.ndim == 1:
            return (a + epsilon * np.linalg.norm(a)) ** (-1 / p)
        values, vectors = np.linalg.eigh(a + epsilon * np.linalg.norm(a) * np.eye(len(a)))
        return vectors @ np.diag(values ** (-1 / p)) @ vectors.T

    def statistics(g):
        if g.ndim == 1:
            return [g * g]
        whole = [g @ g.T, g.T @ g]
        return [a if len(a) <= max_preconditioner_dim else np.diag(a) for a in whole]

    def multiply(sides, m):
        if m.ndim == 1:
            return sides[0] * m
        left, right = sides
        m = left @ m if left.ndim == 2 else left[:, None] * m
        return m @ right if right.ndim == 2 else m * right[None, :]

    b1, b2 = betas
    adam = b2 if b2 < 1 else 0.999

    def run(values):
        p = {n: v.copy() for n, v in values.items()}
        m = {n: np.zeros_like(v) for n, v in p.items()}
        v = {n: np.zeros_like(v) for n, v in p.items()}
        kept, roots = {}, {}

        def step(t, factor, gradients):
            lr = learning_rate * factor
            for n, g in gradients.items():
                new = statistics(g)
                old = kept.get(n, [np.zeros_like(a) for a in new])
                share = 1 - b2 if b2 < 1 else 1.0
                kept[n] = [b2 * a + share * b for a, b in zip(old, new)]
                right = [a / (1 - b2**t) if b2 < 1 else a for a in kept[n]]
                fresh = [power(a, 2 * g.ndim) for a in right]
                if (t - 1) % interval == 0:
                    roots[n] = fresh
                # Diagonals cost nothing, so they are always fresh.
                roots[n] = [f if f.ndim == 1 else r for f, r in zip(fresh, roots[n])]
                m[n] = b1 * m[n] + (1 - b1) * g
                v[n] = adam * v[n] + (1 - adam) * g * g
                mean = m[n] / (1 - b1**t)
                d = multiply(roots[n], mean)
                lengths = dict(
                    adam=np.linalg.norm(mean / (np.sqrt(v[n] / (1 - adam**t)) + graft_eps)),
                    sgd=np.linalg.norm(mean),
                    none=np.linalg.norm(d),
                )
                if decays(n):
                    p[n] *= 1 - lr * weight_decay
                p[n] -= lr * lengths[graft] / np.linalg.norm(d) * d
            return p

        return step

    return run


def numpy_cases():
    options = dict(
        plain=dict(learning_rate=0.03, betas=[0.9, 0.999], interval=1),
        decay=dict(
            learning_rate=0.2,
            betas=[0.8, 0.9],
            epsilon=1e-4,
            weight_decay=0.3,
            max_preconditioner_dim=8,
            interval=3,
            graft="sgd",
        ),
        # Old roots meet directions that they have not seen, which the ridge alone scales. f32 keeps
        # a ridge of 1e-6 to a few per cent only, so this one is larger.
        sums=dict(learning_rate=0.05, betas=[0.9, 1.0], epsilon=1e-5, interval=4, graft="none"),
    )
    return [
        Case("shampoo", name, "f64 transcript", config, shampoo(**config))
        for name, config in options.items()
    ]


PARTS = dict(torch=torch_cases, optax=optax_cases, numpy=numpy_cases)


def versions(part):
    from importlib.metadata import version

    names = dict(
        torch=["torch", "transformers", "pytorch_optimizer"], optax=["optax", "jax"], numpy=["numpy"]
    )
    found = {}
    for name in names[part]:
        try:
            found[name] = version(name)
        except Exception:
            pass
    return found


def main():
    ROOT.mkdir(parents=True, exist_ok=True)
    start, gradients = inputs()
    save_file(start, str(ROOT / "start.safetensors"))
    save_file(gradients, str(ROOT / "gradients.safetensors"))
    listing, file = ROOT / "cases.json", ROOT / "after.safetensors"
    old = json.loads(listing.read_text()) if listing.exists() else dict(versions={}, cases=[])
    after = load_file(str(file)) if file.exists() else {}
    cases = {c["key"]: c for c in old["cases"]}
    for part in sys.argv[1:] or PARTS:
        for key in [k for k, c in cases.items() if c["part"] == part]:
            del cases[key]
        old["versions"].update(versions(part))
        for case in PARTS[part]():
            cases[case.key] = dict(
                key=case.key,
                part=part,
                optimizer=case.optimizer,
                reference=case.reference,
                config=case.config,
            )
            for name in [k for k in after if k.startswith(case.key + "/")]:
                del after[name]
            for name, values in trajectory(case, start, gradients).items():
                after[f"{case.key}/{name}"] = values
    known = tuple(key + "/" for key in cases)
    after = {k: after[k] for k in sorted(after) if k.startswith(known)}
    save_file(after, str(file))
    listing.write_text(
        json.dumps(
            dict(
                versions=dict(sorted(old["versions"].items())),
                kept=KEPT,
                factors=FACTORS,
                cases=[cases[k] for k in sorted(cases)],
            ),
            indent=1,
        )
        + "\n"
    )
    print(len(cases), "cases,", sum(f.stat().st_size for f in ROOT.iterdir()), "bytes")


if __name__ == "__main__":
    main()

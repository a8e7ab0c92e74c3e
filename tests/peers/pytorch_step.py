"""Measures one BERT pre-training step in PyTorch and prints a line of JSON with the keys of `ablate bench`.

By hand, not in the gate (needs torch and transformers, see requirements.txt):

    python pytorch_step.py --size tiny --batch 32 --threads 2 --dropout 0.1
    python pytorch_step.py --size base --batch 8 --threads 2 --tuned --precision bf16 --compile

The step is the one that Ablate measures: cut a batch from a tokenized corpus and mask it, zero the
gradients, run forward, mean masked-word loss over the gathered masked positions plus mean next-sentence
loss, backward, clip the gradient's norm to 1, AdamW. The model is transformers' BertForPreTraining.

`--tuned` is the best that a user can set without changing the model: no dropout, so that attention is
the fused kernel; memory that glibc keeps instead of giving it back; fused AdamW and foreach clipping.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import time

SIZES = {"tiny": (2, 128), "mini": (4, 256), "small": (4, 512), "medium": (8, 512), "base": (12, 768), "large": (24, 1024)}
PAD, UNK, CLS, SEP, MASK, SPECIAL = 0, 1, 2, 3, 4, 5
IGNORED = -100
# Read by glibc when the process starts, so the script starts itself again with these set.
KEEP_MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(64 << 20)}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="tiny")
    for name in ["layers", "hidden", "heads", "intermediate", "batch"]:
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--vocab", type=int, default=30522)
    parser.add_argument("--seq", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0, help="0 for one a core")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32", help="bf16 is autocast")
    parser.add_argument("--dropout", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    parser.add_argument("--optimizer", choices=["default", "foreach", "fused"])
    parser.add_argument("--keep-malloc", action="store_true", help="glibc keeps freed memory")
    parser.add_argument("--huge-pages", action="store_true", help="glibc asks for huge pages")
    parser.add_argument("--compile", action="store_true", help="torch.compile; needs a C++ compiler")
    parser.add_argument("--tuned", action="store_true", help="dropout 0, kept malloc, huge pages, fused AdamW")
    parser.add_argument("--profile", action="store_true", help="operators by their own time, to standard error")
    args = parser.parse_args()
    layers, hidden = SIZES[args.size]
    args.layers = args.layers or layers
    args.hidden = args.hidden or hidden
    args.heads = args.heads or max(args.hidden // 64, 1)
    args.intermediate = args.intermediate or 4 * args.hidden
    args.batch = args.batch or (32 if hidden < 768 else 8)
    args.threads = args.threads or len(os.sched_getaffinity(0))
    if args.tuned:
        args.keep_malloc = args.huge_pages = True
        args.optimizer = args.optimizer or "fused"
    args.optimizer = args.optimizer or "default"
    if args.dropout is None:
        args.dropout = 0.0 if args.tuned else 0.1
    return args


def restart_with_environment(args):
    """Sets what must be in the environment before the first allocation, by starting the script again."""
    wanted = dict(KEEP_MALLOC) if args.keep_malloc else {}
    if args.huge_pages:
        wanted["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.environ.update(wanted)
        os.execv(sys.executable, [sys.executable, *sys.argv])


def peak_rss_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def gemm_flops(a, predictions):
    """Floating-point operations of the matrix products of a step: forward, and twice that backward."""
    tokens = a.batch * a.seq
    layer = tokens * (4 * a.hidden * a.hidden + 2 * a.hidden * a.intermediate) + 2 * tokens * a.seq * a.hidden
    heads = predictions * (a.hidden * a.hidden + a.hidden * a.vocab) + a.batch * (a.hidden * a.hidden + 2 * a.hidden)
    return 3 * 2 * (a.layers * layer + heads)


class Batches:
    """Pairs of segments cut from a corpus of random tokens, masked as BERT does: 15 %, of these 80 / 10 / 10."""

    def __init__(self, args, torch):
        self.args, self.torch = args, torch
        self.corpus = torch.randint(SPECIAL, args.vocab, ((1 << 20) + args.seq,))

    def next(self):
        torch, b, s = self.torch, self.args.batch, self.args.seq
        words = s - 3
        start = torch.randint(0, 1 << 20, (b, 1))
        first = 1 + torch.randint(0, words - 1, (b, 1))
        at = torch.arange(s).expand(b, s)
        # [CLS] a.. [SEP] b.. [SEP]: the position in the corpus skips the special tokens.
        second = at > first + 1
        ids = self.corpus[start + (at - 1 - second.long()).clamp(min=0)]
        special = (at == 0) | (at == first + 1) | (at == s - 1)
        ids[:, 0] = CLS
        ids[special & (at > 0)] = SEP
        types = second.long()
        chosen = (torch.rand(b, s) < 0.15) & ~special
        positions = chosen.view(-1).nonzero().squeeze(1)
        labels = ids.view(-1)[positions]
        fate = torch.rand(len(positions))
        drawn = torch.randint(SPECIAL, self.args.vocab, (len(positions),))
        hidden = torch.where(fate < 0.8, torch.full_like(labels, MASK), torch.where(fate < 0.9, drawn, labels))
        ids.view(-1)[positions] = hidden
        return ids, types, torch.ones_like(ids), positions, labels, torch.randint(0, 2, (b,))


def build(args, torch):
    from transformers import BertConfig, BertForPreTraining

    config = BertConfig(
        vocab_size=args.vocab,
        hidden_size=args.hidden,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        intermediate_size=args.intermediate,
        hidden_dropout_prob=args.dropout,
        attention_probs_dropout_prob=args.dropout,
        max_position_embeddings=max(args.seq, 512),
        attn_implementation=args.attention,
    )
    model = BertForPreTraining(config).train()
    still = lambda name: name.endswith("bias") or "LayerNorm" in name
    groups = [
        {"params": [p for n, p in model.named_parameters() if not still(n)], "weight_decay": 0.01},
        {"params": [p for n, p in model.named_parameters() if still(n)], "weight_decay": 0.0},
    ]
    how = {"default": {}, "foreach": {"foreach": True}, "fused": {"fused": True}}[args.optimizer]
    return model, torch.optim.AdamW(groups, lr=1e-4, **how)


def make_step(args, torch, model, optimizer, batches):
    cross_entropy = torch.nn.functional.cross_entropy

    def loss_of(ids, types, attention, positions, labels, next_sentence):
        out = model.bert(input_ids=ids, token_type_ids=types, attention_mask=attention)
        states = out.last_hidden_state.view(-1, args.hidden)[positions]
        logits = model.cls.predictions(states)
        pairs = model.cls.seq_relationship(out.pooler_output)
        return cross_entropy(logits.float(), labels) + cross_entropy(pairs.float(), next_sentence)

    if args.compile:
        # The number of masked positions differs from batch to batch.
        loss_of = torch.compile(loss_of, dynamic=None)
    foreach = args.optimizer != "default" or None

    def step():
        batch = batches.next()
        if args.compile:
            torch._dynamo.mark_dynamic(batch[3], 0)
            torch._dynamo.mark_dynamic(batch[4], 0)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision == "bf16"):
            loss = loss_of(*batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=foreach)
        optimizer.step()
        return loss.item(), len(batch[3])

    return step


def gemm_peak(torch, precision):
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    best = 0.0
    for m, k, n in [(2048, 1024, 2048), (1024, 768, 3072), (1024, 3072, 768)]:
        a, b = torch.full((m, k), 0.5, dtype=dtype), torch.full((n, k), 0.25, dtype=dtype)
        for _ in range(4):
            start = time.perf_counter()
            a @ b.T
            best = max(best, 2 * m * n * k / (time.perf_counter() - start))
    return best


def profile(torch, step, steps=3):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as prof:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        total = (time.perf_counter() - start) / steps
    events = sorted(prof.key_averages(), key=lambda e: -e.self_cpu_time_total)
    print(f"{'ms':>10} {'share':>6} {'calls':>7}  operator (self time, {total * 1e3:.1f} ms a step)", file=sys.stderr)
    for event in events[:25]:
        ms = event.self_cpu_time_total / 1e3 / steps
        print(f"{ms:10.3f} {ms / total / 10:5.1f}% {event.count / steps:7.0f}  {event.key}", file=sys.stderr)


def main():
    args = arguments()
    restart_with_environment(args)
    if args.compile and not shutil.which(os.environ.get("CXX", "g++")):
        sys.exit("--compile needs a C++ compiler; install g++ or set CXX")
    os.environ.setdefault("OMP_NUM_THREADS", str(args.threads))
    import torch
    import transformers

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    from transformers import BertForPreTraining  # noqa: F401, counted as import

    import_mb = peak_rss_mb()
    model, optimizer = build(args, torch)
    step = make_step(args, torch, model, optimizer, Batches(args, torch))
    times, predictions, loss = [], [], 0.0
    for _ in range(args.warmup + args.steps):
        start = time.perf_counter()
        loss, masked = step()
        times.append(time.perf_counter() - start)
        predictions.append(masked)
    peak = peak_rss_mb()
    if args.profile:
        profile(torch, step)
    measured = times[args.warmup :]
    median = statistics.median(measured)
    flops = gemm_flops(args, statistics.mean(predictions))
    best = gemm_peak(torch, args.precision)
    names = "size layers hidden heads intermediate vocab seq batch steps warmup threads precision dropout seed attention optimizer keep_malloc huge_pages compile"
    print(
        json.dumps(
            {
                "configuration": {name: getattr(args, name) for name in names.split()},
                "device": f"torch {torch.__version__}, transformers {transformers.__version__}, {torch.backends.cpu.get_cpu_capability()}",
                "params": sum(p.numel() for p in model.parameters()),
                "median_s": median,
                "min_s": min(measured),
                "tokens_per_s": args.batch * args.seq / median,
                "gflops": flops / median / 1e9,
                "gemm_peak_share": flops / median / best,
                "gemm_peak_gflops": best / 1e9,
                "peak_rss_mb": peak,
                "import_rss_mb": import_mb,
                "compile_s": times[0] - median if args.compile else 0.0,
                "first_step_s": times[0],
                "kernels": None,
                "loss": loss,
                "step_s": measured,
            }
        )
    )


if __name__ == "__main__":
    main()

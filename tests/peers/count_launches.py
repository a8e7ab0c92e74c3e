"""Counts what PyTorch would launch on a GPU for one BERT encoder layer, forward and backward.

By hand, not in the gate (needs torch and transformers, see requirements.txt):

    python count_launches.py
    python count_launches.py --operations      # which they are

It needs no GPU, and what it counts are operations of eager mode on the processor, from PyTorch's own profiler: each aten
operation that computes or copies is one launch, views are none. The count is what a third layer adds to two,
in training, with gradients of the input and every parameter. Where the processor does in several operations what
a GPU does in one kernel, it is counted as one: dropout (bernoulli_, div_ and mul here, native_dropout there). An
operation that takes several kernels on a GPU (the backward of layer norm, a sum in two passes) still counts as one, so that
a GPU launches at least as many. `sdpa` is counted without dropout of the attention's probabilities, because with it
the processor has no fused attention; dropout of hidden states is on.
"""

import argparse
import collections

# One launch each. Of what happens inside of them on the processor nothing is counted: copies of scalars, zeroing.
PRODUCTS = {"addmm", "mm", "bmm", "baddbmm"}
ATTENTION = {"_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention_for_cpu_backward"}
KERNELS = ATTENTION | {
    "add", "add_", "sub", "mul", "mul_", "div", "div_", "bernoulli_", "copy_", "fill_", "zero_", "sum", "gelu",
    "gelu_backward", "_softmax", "_softmax_backward_data", "native_layer_norm", "native_layer_norm_backward",
}
# Nothing is computed or moved.
FREE = {
    "view", "_unsafe_view", "_reshape_alias", "t", "transpose", "as_strided", "expand", "select", "unsqueeze", "squeeze", "permute",
    "slice", "detach", "empty", "empty_like", "empty_strided", "resolve_conj", "resize_",
}
# Made of others, which are counted.
COMPOSED = {
    "linear", "matmul", "reshape", "contiguous", "clone", "to", "_to_copy", "softmax", "layer_norm", "ones_like",
    "scaled_dot_product_attention",
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operations", action="store_true", help="list the operations")
    return parser.parse_args()


def launches(event):
    """Names of what an event and those inside of it would launch."""
    name = event.name
    if not name.startswith("aten::"):
        # A node of autograd or one of our own marks.
        return [found for child in event.cpu_children for found in launches(child)]
    name = name.removeprefix("aten::")
    if name == "dropout":
        return ["native_dropout"]
    if name in PRODUCTS | KERNELS:
        return [name]
    if name in FREE:
        return []
    if name in COMPOSED:
        return [found for child in event.cpu_children for found in launches(child)]
    raise SystemExit(f"aten::{name} is not known to this script: say in it what it is")


def count(torch, layers, attention):
    """Operations of an encoder, by phase and name."""
    from torch.profiler import ProfilerActivity, profile, record_function
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertEncoder

    config = BertConfig(
        hidden_size=64,
        num_attention_heads=2,
        intermediate_size=128,
        num_hidden_layers=layers,
        attention_probs_dropout_prob=0.0 if attention == "sdpa" else 0.1,
        attn_implementation=attention,
    )
    encoder = BertEncoder(config).train()
    hidden = torch.randn(4, 16, 64, requires_grad=True)
    mask = torch.zeros(4, 1, 16, 16)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        with record_function("forward"):
            out = encoder(hidden, attention_mask=mask)[0]
        gradient = torch.randn_like(out)
        with record_function("backward"):
            out.backward(gradient)
    found = {}
    for event in profiler.events():
        if event.name in ["forward", "backward"] and event.cpu_parent is None:
            found[event.name] = collections.Counter(launches(event))
    return found


def main():
    args = arguments()
    import torch
    import transformers

    print(f"torch {torch.__version__}, transformers {transformers.__version__}, one encoder layer, eager mode")
    print(f"{'attention':10} {'phase':9} {'kernels':>8} {'products':>9} {'all':>5}")
    for attention in ["eager", "sdpa"]:
        two, three = count(torch, 2, attention), count(torch, 3, attention)
        for phase in ["forward", "backward"]:
            layer = three[phase] - two[phase]
            products = sum(n for name, n in layer.items() if name in PRODUCTS)
            total = sum(layer.values())
            print(f"{attention:10} {phase:9} {total - products:8} {products:9} {total:5}")
            if args.operations:
                for name, n in sorted(layer.items(), key=lambda item: (-item[1], item[0])):
                    print(f"    {n:3} {name}")


if __name__ == "__main__":
    main()

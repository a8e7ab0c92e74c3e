"""Runs PyTorch and Ablate in turn on the same training step and prints the ratio of their medians.

By hand, not in the gate (needs torch and transformers, see requirements.txt, and `cargo build --release`):

    python compare.py --size tiny --batch 32
    python compare.py --size base --batch 8 --tuned                # PyTorch at its best, no dropout in both
    python compare.py --size base --precision bf16 --peer-precision bf16

Each round starts one process of PyTorch and one of Ablate (A B A B ..), so that whatever else the machine
does meets both. All measured steps of all rounds of a side make one median. The last line is JSON.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ablate", default=str(HERE.parents[1] / "target/release/ablate"), help="the binary")
    parser.add_argument("--python", default=sys.executable, help="a Python with torch and transformers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="measured steps a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--seq", type=int, default=128)
    parser.add_argument("--dropout", type=float, help="of both; 0.1, or 0 with --tuned, when not given")
    parser.add_argument("--precision", default="f32", help="of Ablate: f32, f32_split, bf16")
    parser.add_argument("--peer-precision", default="f32", help="of PyTorch: f32, bf16")
    parser.add_argument("--tuned", action="store_true", help="PyTorch at its best, see pytorch_step.py")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    args = parser.parse_args()
    if args.dropout is None:
        args.dropout = 0.0 if args.tuned else 0.1
    return args


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    args = arguments()
    common = ["--size", args.size, "--seq", str(args.seq), "--steps", str(args.steps)]
    common += ["--threads", str(args.threads), "--dropout", str(args.dropout)]
    common += ["--batch", str(args.batch)] if args.batch else []
    peer = [args.python, str(HERE / "pytorch_step.py"), *common, "--precision", args.peer_precision]
    peer += ["--tuned"] * args.tuned + ["--compile"] * args.compile
    ours = [args.ablate, "bench", *common, "--precision", args.precision]

    rounds = []
    for number in range(args.rounds):
        pair = {"pytorch": run(peer), "ablate": run(ours)}
        rounds.append(pair)
        shown = [f"{name} {line['median_s']:.4f} s" for name, line in pair.items()]
        print(f"round {number + 1}: {', '.join(shown)}", file=sys.stderr)

    result = {"command": sys.argv[1:]}
    for name in ["pytorch", "ablate"]:
        steps = [second for pair in rounds for second in pair[name]["step_s"]]
        result[name] = {
            "device": rounds[0][name]["device"],
            "median_s": statistics.median(steps),
            "min_s": min(steps),
            "steps": len(steps),
            "peak_rss_mb": max(pair[name]["peak_rss_mb"] for pair in rounds),
            "gemm_peak_gflops": max(pair[name]["gemm_peak_gflops"] for pair in rounds),
        }
    if rounds[0]["pytorch"]["params"] != rounds[0]["ablate"]["params"]:
        sys.exit("the two models differ in size; this is no comparison")
    ratio = lambda key: result["pytorch"][key] / result["ablate"][key]
    result["speedup"] = ratio("median_s")
    result["speedup_of_minima"] = ratio("min_s")
    result["speedup_by_round"] = [p["pytorch"]["median_s"] / p["ablate"]["median_s"] for p in rounds]
    result["memory_share"] = 1 / ratio("peak_rss_mb")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

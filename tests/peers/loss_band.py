"""Does one arithmetic follow the loss curve of another, within the band of the seeds?

By hand, not in the gate. Two runs of the same recipe, one in f32 and one in bf16, three seeds or more:

    ablate run PIPELINE --runs runs-f32 --set 'experiment={}' --set 'stop=[{max_steps: {steps: 500}}]'
    ablate run PIPELINE --runs runs-bf16 --set precision=bf16 --set 'experiment={}' --set 'stop=[{max_steps: {steps: 500}}]'
    python loss_band.py runs-f32/NAME runs-bf16/NAME

For every window of steps, the mean training loss of each seed in both runs. The band of a window goes from
the lowest seed of the first run to the highest. Prints the windows, how many means over the seeds of
the second run lie in the band, and how far seeds of equal number are apart, as a share of the band. The
last line is JSON.
"""

import argparse
import json
import pathlib
import statistics


def curves(run, arm, width):
    """Mean training loss by window, for each seed."""
    found = {}
    for trial in sorted((run / "trials" / arm).glob("seed-*")):
        rows = [json.loads(line) for line in (trial / "metrics.jsonl").read_text().splitlines()]
        losses = [row["loss"] for row in rows if row.get("split") in (None, "train")]
        windows = [losses[i : i + width] for i in range(0, len(losses) - width + 1, width)]
        found[trial.name] = [statistics.fmean(window) for window in windows]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=pathlib.Path, help="folder of the run that gives the band")
    parser.add_argument("second", type=pathlib.Path, help="folder of the run that is to lie in it")
    parser.add_argument("--arm", default="baseline")
    parser.add_argument("--window", type=int, default=50, help="steps")
    args = parser.parse_args()
    first, second = (curves(run, args.arm, args.window) for run in (args.first, args.second))
    if not first or first.keys() != second.keys():
        raise SystemExit(f"seeds differ: {sorted(first)} and {sorted(second)}")
    inside, apart = 0, []
    windows = min(len(curve) for curve in [*first.values(), *second.values()])
    for w in range(windows):
        low, high = (pick(curve[w] for curve in first.values()) for pick in (min, max))
        mean = statistics.fmean(curve[w] for curve in second.values())
        inside += low <= mean <= high
        off = max(abs(first[seed][w] - second[seed][w]) for seed in first)
        apart.append(off / (high - low))
        print(f"steps {w * args.window + 1:4}..{(w + 1) * args.window:4}  band {low:.4f}..{high:.4f}  second {mean:.4f}  pairs apart at most {off:.4f}")
    print(json.dumps({
        "seeds": len(first), "windows": windows, "inside": inside,
        "largest_share_of_band": max(apart), "median_share_of_band": statistics.median(apart),
    }))


if __name__ == "__main__":
    main()

"""Cairn's trainer beside PEFT and torch: rounds in turn, one at a time; prints a table and writes it to a file.

    training.py TRAIN_SPEED TORCH_PYTHON CHECKPOINT REPORT [ROUNDS]
"""

import datetime
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

ROWS, LENGTH, STEPS = 4, 256, 3


def cairn(binary, checkpoint, method):
    out = run([binary, checkpoint, method, str(ROWS), str(LENGTH), str(STEPS)])
    steps = re.findall(r"step \d+: loss ([\d.]+), norm [\d.]+, ([\d.]+) tokens/s", out)
    peak = float(re.search(r"at most ([\d.]+) GB", out).group(1)) * 1e9
    return {"rates": [float(rate) for _, rate in steps[1:]], "loss": float(steps[0][0]), "peak": peak}


def peft(python, checkpoint):
    script = pathlib.Path(__file__).with_name("peft_train.py")
    found = json.loads(run([python, script, "train", checkpoint, str(ROWS), str(LENGTH), str(STEPS)]).splitlines()[-1])
    rates = [found["tokens"] / seconds for seconds in found["seconds"]]
    return {"rates": rates, "loss": found["losses"][0], "peak": found["peak"]}


def run(command):
    environment = os.environ | {"RAYON_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    return subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout


def main(binary, python, checkpoint, report, rounds="3"):
    engines = {
        "PEFT + torch, LoRA, float32": lambda: peft(python, checkpoint),
        "Cairn, LoRA, float32": lambda: cairn(binary, checkpoint, "lora"),
        "Cairn, QLoRA (NF4)": lambda: cairn(binary, checkpoint, "qlora"),
    }
    seen = {name: [] for name in engines}
    for number in range(int(rounds)):
        for name, measure in engines.items():
            seen[name].append(measure())
            print(f"round {number + 1}: {name}: {statistics.median(seen[name][-1]['rates']):.0f} tokens/s", flush=True)
    losses = {name: rounds[0]["loss"] for name, rounds in seen.items()}
    exact = abs(losses["PEFT + torch, LoRA, float32"] - losses["Cairn, LoRA, float32"])
    if exact > 1e-3:
        sys.exit(f"the losses of the first step differ, so these are not the same computation: {losses}")
    peer = seen["PEFT + torch, LoRA, float32"]
    speed = lambda rounds: statistics.median(rate for one in rounds for rate in one["rates"])
    peak = lambda rounds: max(one["peak"] for one in rounds)
    lines = [
        "# Benchmarks: training beside PEFT",
        "",
        f"Written by `./loadtest/run training` on {datetime.date.today()}; run it to get your machine's. {rounds} rounds in "
        "turn, one at a time, two threads each; median over all steps but the first, peak of the process over all rounds.",
        "",
        "| | tokens/s | to PEFT | peak memory | to PEFT | loss of step 0 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, rounds in seen.items():
        rate, memory = speed(rounds), peak(rounds)
        lines.append(
            f"| {name} | {rate:.0f} | {rate / speed(peer):.2f} | {memory / 1e9:.2f} GB | {memory / peak(peer):.2f} | "
            f"{losses[name]:.4f} |"
        )
    versions = run([python, "-c", "import torch,peft,transformers as t;print('torch',torch.__version__,'peft',peft.__version__,'transformers',t.__version__)"])
    processor = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    lines += [
        "",
        f"A random checkpoint of SmolLM2-135M's shapes, float32; r = 16 on all linear layers, batches of {ROWS} x {LENGTH} tokens, all "
        "supervised, gradient checkpointing, AdamW. Both start from B = 0, so the loss of the first step says that they "
        "compute the same; NF4 rounds the weights. Peak memory is that of the whole process; torch's wheel for CUDA, the one on "
        "PyPI, brings large libraries along.",
        "",
        f"- Processor: {processor}",
        f"- {versions.strip()}",
        f"- Load average at the end (the run itself makes about 2): {os.getloadavg()[0]:.1f}",
    ]
    text = "\n".join(lines) + "\n"
    pathlib.Path(report).write_text(text)
    print("\n" + text)


if __name__ == "__main__":
    main(*sys.argv[1:])

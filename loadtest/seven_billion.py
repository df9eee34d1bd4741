"""QLoRA's memory on Llama-2-7B's shapes: runs the trainer's example once, holds its peak against 6 GB, and writes a report.

    seven_billion.py EXAMPLE REPORT [LAYERS [LENGTH]]

Other layers or lengths than 32 and 512 are for trying it out: they are measured and printed, and no report is written.
"""

import datetime
import os
import pathlib
import platform
import re
import resource
import subprocess
import sys

MOST = 6e9


def line(path, name):
    found = (text.split(":", 1)[1].strip() for text in open(path) if text.startswith(name))
    return next(found, "unknown")


def main(example, report, *shape):
    seen = ""
    with subprocess.Popen([example, *shape], stdout=subprocess.PIPE, text=True) as process:
        for text in process.stdout:
            print(text, end="", flush=True)
            seen += text
    if process.returncode:
        sys.exit(f"{example} failed ({process.returncode})")
    number = lambda pattern: float(re.search(pattern, seen).group(1))
    half, predicted = number(r"([\d.]+) GB in 16 bits"), number(r"predicted ([\d.]+) GB")
    weights = number(r"made ([\d.]+) GB of weights")
    loss, seconds, rate = number(r"loss ([\d.]+)"), number(r"([\d.]+) s, [\d.]+ tokens/s"), number(r"([\d.]+) tokens/s")
    # The system's own word for it, not the example's.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"\npredicted {predicted:.2f} GB, measured at its peak {peak / 1e9:.2f} GB (limit {MOST / 1e9:.0f} GB)")
    if peak > MOST:
        sys.exit(f"the peak is {peak / 1e9:.2f} GB, above {MOST / 1e9:.0f} GB")
    if shape:
        return
    memory = int(line("/proc/meminfo", "MemTotal").split()[0]) * 1024
    text = f"""# Benchmarks: QLoRA on seven billion weights

Written by `./loadtest/run seven-billion` on {datetime.date.today()}; run it to get your machine's. One optimizer step on random weights
of exactly Llama-2-7B's shapes, made layer by layer, in NF4 with double quantization; r = 16 on all linear layers, one row of 512
tokens, gradient checkpointing, AdamW with 32-bit states.

| | |
| --- | --- |
| weights in 16 bits alone | {half:.2f} GB |
| weights as held here | {weights:.2f} GB |
| predicted before the start | {predicted:.2f} GB |
| **measured at its peak** | **{peak / 1e9:.2f} GB** |
| limit of this check | {MOST / 1e9:.2f} GB |
| the step | {seconds:.0f} s, {rate:.2f} tokens/s, loss {loss:.3f} |

GB are 10⁹ bytes; the peak is the greatest resident size of the whole process, as the system counts it (`ru_maxrss`).

- Processor: {line("/proc/cpuinfo", "model name")}, {os.cpu_count()} cores, of which this process may use {len(os.sched_getaffinity(0))}
- Memory: {memory / 1e9:.1f} GB; {platform.system()} {platform.release()}
- Load average at the end (the run itself makes about as much as there are cores): {os.getloadavg()[0]:.1f}
"""
    pathlib.Path(report).write_text(text)
    print(f"written: {report}")


if __name__ == "__main__":
    main(*sys.argv[1:])

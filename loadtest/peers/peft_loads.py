"""Does Hugging Face PEFT load what Cairn trained, and does it then say the same? Run by `./loadtest/run peft-loads`, with a
Python that has torch, transformers and peft:

    peft_loads.py TRAINED CHECKPOINT…

Each checkpoint gets an adapter of each kind from the trainer's example TRAINED; PEFT loads each and scores the same held-out
rows in float32. Fails where a perplexity differs by more than 0.1 %.
"""

import json
import math
import pathlib
import subprocess
import sys
import tempfile

import peft
import torch
import transformers

MOST = 1e-3


@torch.no_grad()
def token_nlls(base, adapter, rows):
    """Of each row the negative log-likelihood, in nats, of each token after the first."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, str(adapter))
    model.eval()
    found = []
    for row in rows:
        tokens = torch.tensor([row])
        logits = model(tokens).logits[0]
        found.append(torch.nn.functional.cross_entropy(logits[:-1], tokens[0, 1:], reduction="none").tolist())
    return found


def perplexity(nlls):
    values = [value for row in nlls for value in row]
    return math.exp(sum(values) / len(values))


def versions():
    return f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"


def main(trained, *checkpoints):
    print(versions())
    print(f"{'checkpoint':16} {'adapter':8} {'base':>10} {'Cairn':>10} {'PEFT':>10} {'differs':>9}")
    worst = 0.0
    for checkpoint in map(pathlib.Path, checkpoints):
        name = checkpoint.parent.name if checkpoint.name == "base" else checkpoint.name
        with tempfile.TemporaryDirectory() as out:
            subprocess.run([trained, checkpoint, out], check=True, stdout=subprocess.DEVNULL)
            ours = json.loads((pathlib.Path(out) / "ours.json").read_text())
            for case, said in ours["cases"].items():
                theirs = perplexity(token_nlls(checkpoint, pathlib.Path(out) / case, ours["rows"]))
                off = abs(said["perplexity"] / theirs - 1)
                worst = max(worst, off)
                print(
                    f"{name:16} {case:8} {ours['base_perplexity']:10.3f} {said['perplexity']:10.3f} {theirs:10.3f} "
                    f"{100 * off:8.4f}%",
                    flush=True,
                )
                if said["perplexity"] > 0.95 * ours["base_perplexity"]:
                    sys.exit(f"{name} {case}: the adapter has learnt nothing, so this compares nothing")
    if worst > MOST:
        sys.exit(f"a perplexity differs by {100 * worst:.3f} %, more than {100 * MOST} %")
    print(f"PEFT loads all of them; the largest difference is {100 * worst:.4f} %")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""How near are sampled Shapley values to exact ones, on real answers?

Asks a running gateway about FOLDOC entries with so many passages that influence is sampled, fetches each proof, and has
`cairn recompute --exact` value every set of its passages on the same weights.

Usage: sampling.py URL KEY CAIRN KEY_FILE DICTIONARY MODEL REPORT [QUESTIONS]
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time

from influence import Gateway, entries

PASSAGES = 7
SEED = 21


def main(url, key, cairn, key_file, dictionary, model, report, questions=12):
    gateway = Gateway(url, key)
    rows = [(head, text) for head, text in entries(dictionary) if 80 < len(text) < 600 and not head.startswith("00")]
    random.Random(SEED).shuffle(rows)
    gateway.ingest("sampling", [{"id": f"e{n}", "text": text, "contributor": "Denis Howe", "metadata": {"headword": head}}
                                for n, (head, text) in enumerate(rows[:400])])
    found, seconds = [], []
    for head, _ in rows[: int(questions)]:
        answer = gateway.call("POST", "/v1/chat/completions", {
            "model": model, "temperature": 0, "max_tokens": 48, "datanets": ["sampling"], "retrieval": {"top_k": PASSAGES},
            "attribution": {"influence": "shapley", "wait": True},
            "messages": [{"role": "user", "content": f"What is {head}?"}]})
        proof = gateway.call("GET", f"/v1/attributions/{answer['attribution']['id']}/proof")
        with tempfile.TemporaryDirectory() as scratch:
            path = os.path.join(scratch, "answer.cairn.json")
            with open(path, "w", encoding="utf-8") as file:
                file.write(json.dumps(proof, ensure_ascii=False, sort_keys=True, separators=(",", ":")) + "\n")
            begun = time.monotonic()
            done = subprocess.run([cairn, "recompute", path, "--key", key_file, "--exact", "--json"], capture_output=True, text=True)
            seconds.append(time.monotonic() - begun)
        if done.returncode:
            sys.exit(f"{head}: {done.stdout}{done.stderr}")
        found.append(json.loads(done.stdout))
        print(f"{head}: {found[-1]}", file=sys.stderr)
    total = {name: sum(one[name] for one in found) for name in ("values", "within_two_errors", "same_best")}
    weighted = {name: sum(one[name] * one["values"] for one in found) / total["values"] for name in ("mean_difference", "mean_size")}
    with open(report, "w", encoding="utf-8") as file:
        file.write(f"""# Are sampled Shapley values near the exact ones?

Written by `./loadtest/run sampling`: {len(found)} answers of `{model}` from {PASSAGES} passages of FOLDOC each. Above five passages
influence is estimated from orders of the passages, drawn from the record's hash; `cairn recompute PROOF --exact` values all
2^{PASSAGES} = {2**PASSAGES} sets of them on the same weights ({sum(seconds) / len(seconds):.0f} s an answer, loading the model included).

| | |
| --- | --- |
| answers whose most influential passage is the same | {total['same_best']} of {len(found)} |
| values (a passage on a sentence) within two of their stated standard errors | {total['within_two_errors']} of {total['values']} ({100 * total['within_two_errors'] / total['values']:.0f} %) |
| mean difference | {weighted['mean_difference']:.3f} nats, of {weighted['mean_size']:.3f} on average |

The error is estimated from few pairs of orders, so it is itself uncertain: with Student's t of that many, two standard errors hold
less often than the 95 % of a normal distribution.
""")


if __name__ == "__main__":
    main(*sys.argv[1:])

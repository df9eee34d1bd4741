"""Cairn's embedder beside sentence-transformers: the same checkpoint, texts and threads, in turns.

Usage: embedding.py PROGRAM PYTHON MODEL_DIR DICTIONARY REPORT [ROUNDS]    (run by ./loadtest/run embedding)
       embedding.py --peer MODEL_DIR TEXTS THREADS                         (in PYTHON, which has sentence-transformers)
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

THREADS = 2
TEXTS = 1500
SEED = 5


def peer(model_dir, texts, threads):
    import torch
    from sentence_transformers import SentenceTransformer, models

    torch.set_num_threads(int(threads))
    transformer = models.Transformer(model_dir, max_seq_length=256)
    pooling = models.Pooling(transformer.get_word_embedding_dimension(), pooling_mode="mean")
    model = SentenceTransformer(modules=[transformer, pooling, models.Normalize()], device="cpu")
    rows = [json.loads(line) for line in open(texts, encoding="utf-8")]
    model.encode(rows[:64], batch_size=32)
    begun = time.monotonic()
    vectors = model.encode(rows, batch_size=32, show_progress_bar=False)
    seconds = time.monotonic() - begun
    times = []
    for row in rows[:50]:
        begun = time.monotonic()
        model.encode(" ".join(row.split()[:12]), show_progress_bar=False)
        times.append((time.monotonic() - begun) * 1e3)
    print(json.dumps({"texts_per_s": len(rows) / seconds, "query_ms": sorted(times)[len(times) // 2],
                      "vectors": [[float(x) for x in vector] for vector in vectors[:20]]}))


def main(program, python, model_dir, dictionary, report, rounds=3):
    from influence import entries

    texts = [text for head, text in entries(dictionary) if not head.startswith("00")]
    random.Random(SEED).shuffle(texts)
    texts = texts[:TEXTS]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", delete=False, encoding="utf-8") as file:
        file.writelines(json.dumps(text) + "\n" for text in texts)
    sides = {
        "Cairn in float32": [program, model_dir, file.name, str(THREADS)],
        "Cairn in eight bits, the default": [program, model_dir, file.name, str(THREADS), "q8_0"],
        "sentence-transformers": [python, os.path.abspath(__file__), "--peer", model_dir, file.name, str(THREADS)],
    }
    found = {name: [] for name in sides}
    for _ in range(int(rounds)):
        for name, command in sides.items():
            environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "RAYON_NUM_THREADS": str(THREADS)}
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                sys.exit(f"{name}: {done.stderr[-2000:]}")
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(name, {key: value for key, value in found[name][-1].items() if key != "vectors"}, file=sys.stderr)
    os.unlink(file.name)
    def near(name):
        pairs = zip(found[name][0]["vectors"], found["sentence-transformers"][0]["vectors"])
        return min(sum(a * b for a, b in zip(one, other)) for one, other in pairs)

    middle = {name: {key: statistics.median(run[key] for run in runs) for key in ("texts_per_s", "query_ms")}
              for name, runs in found.items()}
    theirs = middle["sentence-transformers"]

    def line(name):
        ours = middle[name]
        return (f"| {name} | {ours['texts_per_s']:.0f} | {ours['texts_per_s'] / theirs['texts_per_s']:.2f} | "
                f"{ours['query_ms']:.1f} ms | {theirs['query_ms'] / ours['query_ms']:.2f} | {near(name):.6f} |\n")

    with open(report, "w", encoding="utf-8") as out:
        out.write(f"""# How fast are texts embedded?

Written by `./loadtest/run embedding`: all-MiniLM-L6-v2, {TEXTS} entries of FOLDOC of which the first 256 tokens count, {THREADS} threads,
{rounds} rounds in turns, medians. sentence-transformers computes in float32. What eight bits (`retrieval.embedding_form`) do
to retrieval is in [retrieval.md](retrieval.md).

| | texts/s | times as many | a query of at most 12 words | times as fast | least cosine with sentence-transformers' vector |
| --- | --- | --- | --- | --- | --- |
{"".join(line(name) for name in sides)}""")
    print(open(report, encoding="utf-8").read())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        peer(*sys.argv[2:])
    else:
        main(*sys.argv[1:])

"""Chroma over the rows that index/examples/scale.rs left: ingest, latency, recall, memory. Prints one JSON object.

Usage: chroma.py DIRECTORY DATA    (in a Python that has chromadb)

DIRECTORY holds vectors.f32, texts.jsonl and queries.f32; DATA is where Chroma keeps its own. As a service would, it is opened in a process
of its own for the searches; what that one holds in memory is reported.
"""

import json
import os
import subprocess
import sys
import time

import numpy

DIMENSIONS = 384
BATCH = 5000


def collection(data):
    import chromadb
    from chromadb.config import Settings

    client = chromadb.PersistentClient(path=data, settings=Settings(anonymized_telemetry=False))
    # Its defaults but for the distance: the vectors are compared by cosine.
    return client.get_or_create_collection("scale", metadata={"hnsw:space": "cosine"}, embedding_function=None)


def vectors(directory, name):
    return numpy.fromfile(os.path.join(directory, name), dtype="<f4").reshape(-1, DIMENSIONS)


def search(directory, data):
    rows, queries = vectors(directory, "vectors.f32"), vectors(directory, "queries.f32")
    exact = [set(numpy.argpartition(-(rows @ query), 10)[:10]) for query in queries]
    del rows
    opened = collection(data)
    times, right = [], 0
    for _ in range(2):
        times, right = [], 0
        for query, best in zip(queries, exact):
            begun = time.monotonic()
            found = opened.query(query_embeddings=[query], n_results=50, include=["documents", "metadatas", "distances"])
            times.append((time.monotonic() - begun) * 1e3)
            right += sum(int(name) in best for name in found["ids"][0][:10])
    times.sort()
    with open("/proc/self/status", encoding="ascii") as status:
        resident = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS:"))
    print(json.dumps({"p50_ms": times[len(times) // 2], "p99_ms": times[round((len(times) - 1) * 0.99)],
                      "recall_10": right / (10 * len(queries)), "resident_mib": resident}))


def main(directory, data):
    import chromadb

    rows = vectors(directory, "vectors.f32")
    with open(os.path.join(directory, "texts.jsonl"), encoding="utf-8") as file:
        texts = [json.loads(line) for line in file]
    opened = collection(data)
    begun = time.monotonic()
    for first in range(0, len(rows), BATCH):
        some = texts[first:first + BATCH]
        opened.add(ids=[str(first + at) for at in range(len(some))], embeddings=rows[first:first + BATCH],
                   documents=[row["text"] for row in some],
                   metadatas=[{"contributor": row["contributor"]} for row in some])
    seconds = time.monotonic() - begun
    done = subprocess.run([sys.executable, os.path.abspath(__file__), "--search", directory, data],
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    print(json.dumps({"version": chromadb.__version__, "rows": len(rows), "ingest_s": seconds,
                      **json.loads(done.stdout.splitlines()[-1])}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--search"]:
        search(*sys.argv[2:])
    else:
        main(*sys.argv[1:])

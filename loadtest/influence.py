"""Is the influence that Cairn measures the right one? Planted facts, beside similarity, rank and the model's own markers.

For each of some FOLDOC entries the year in it is changed to one that no model can know, so where an answer has that year
only the changed passage can explain it. Some questions get decoys: a passage that repeats the question and says nothing,
which every measure of similarity likes best; others get the changed passage twice, from two contributors.

Usage: influence.py URL KEY DICTIONARY MODEL REPORT [QUESTIONS]
"""

import gzip
import json
import random
import re
import statistics
import sys
import time
import urllib.error
import urllib.request

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
SEED = 20


def number(text):
    value = 0
    for char in text:
        value = value * 64 + DIGITS.index(char)
    return value


def entries(path):
    with gzip.open(path + ".dict.dz", "rb") as file:
        data = file.read()
    for line in open(path + ".index", encoding="utf-8"):
        headword, start, length = line.rstrip("\n").split("\t")[:3]
        text = data[number(start) : number(start) + number(length)].decode("utf-8", "replace")
        yield headword, re.sub(r"\s+", " ", text).strip()


class Gateway:
    def __init__(self, url, key):
        self.url, self.key = url, key

    def call(self, method, path, body=None, kind="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, method=method)
        request.add_header("authorization", f"Bearer {self.key}")
        request.add_header("content-type", kind)
        try:
            with urllib.request.urlopen(request, timeout=600) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            sys.exit(f"{method} {path}: {error.read().decode()}")

    def ingest(self, datanet, rows):
        self.call("POST", "/v1/datanets", {"name": datanet})
        lines = "\n".join(json.dumps(row) for row in rows).encode()
        form = b"--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"rows.jsonl\"\r\n\r\n" + lines + b"\r\n--x--\r\n"
        job = self.call("POST", f"/v1/datanets/{datanet}/ingest?format=jsonl", form, "multipart/form-data; boundary=x")
        while job["state"] not in ("succeeded", "failed", "cancelled"):
            time.sleep(0.5)
            job = self.call("GET", f"/v1/jobs/{job['id']}")
        if job["state"] != "succeeded":
            sys.exit(f"ingest: {job}")


def plant(all_entries, count):
    draw = random.Random(SEED)
    usable = []
    for headword, text in all_entries:
        sentences = re.split(r"(?<=[.?!]) ", text)
        for sentence in sentences:
            year = re.search(r"\b(19[4-9]\d|200\d)\b", sentence)
            if year and 150 <= len(text) <= 700 and 40 <= len(sentence) <= 220 and headword.isascii():
                usable.append((headword, text, sentence, year[1]))
                break
    draw.shuffle(usable)
    rows, questions = [], []
    for at, (headword, text, sentence, year) in enumerate(usable[:count]):
        planted = str(draw.randrange(1701, 1900))
        question = f'Which year belongs in the gap? "{sentence.replace(year, "____")}"'
        changed = {"id": f"fact-{at}", "text": text.replace(year, planted), "contributor": f"planter {at}"}
        causes = [changed["id"]]
        rows.append(changed)
        kind = ("plain", "decoy", "duplicate")[at % 3]
        if kind == "decoy":
            rows.append({"id": f"decoy-{at}", "text": question, "contributor": f"decoy {at}"})
        if kind == "duplicate":
            rows.append({**changed, "id": f"again-{at}", "contributor": f"copier {at}"})
            causes.append(f"again-{at}")
        questions.append((question, planted, kind, causes))
    rest = [(headword, text) for headword, text in all_entries if 100 < len(text) < 700]
    draw.shuffle(rest)
    used = {headword for headword, *_ in usable[:count]}
    rest = [entry for entry in rest if entry[0] not in used][:400]
    rows += [{"id": f"entry-{at}", "text": text, "contributor": "Denis Howe"} for at, (_, text) in enumerate(rest)]
    return rows, questions


def main():
    url, key, dictionary, model, report = sys.argv[1:6]
    count = int(sys.argv[6]) if len(sys.argv) > 6 else 60
    gateway = Gateway(url, key)
    rows, questions = plant(list(entries(dictionary)), count)
    gateway.ingest("planted", rows)
    ways = ("influence", "similarity", "rank", "marker")
    right = {kind: dict.fromkeys(ways, 0) for kind in ("plain", "decoy", "duplicate")}
    kept = dict.fromkeys(right, 0)
    splits, asked_s, measured_s = [], [], []
    for at, (question, planted, kind, causes) in enumerate(questions):
        began = time.monotonic()
        body = {
            "model": model,
            "temperature": 0,
            "max_tokens": 48,
            "datanets": ["planted"],
            "messages": [{"role": "user", "content": question}],
            "attribution": {"influence": "none"},
        }
        answer = gateway.call("POST", "/v1/chat/completions", body)
        took = time.monotonic() - began
        print(f"\r{at + 1} of {len(questions)} questions", end="", file=sys.stderr, flush=True)
        attribution = answer["attribution"]
        passages = attribution["datapoints"]
        text = answer["choices"][0]["message"]["content"] or ""
        if planted not in text or not any(passage["id"] in causes for passage in passages):
            continue
        began = time.monotonic()
        path = f"/v1/attributions/{attribution['id']}/influence"
        influence = gateway.call("POST", path, {"influence": "shapley", "wait": True})
        measured_s.append(time.monotonic() - began)
        asked_s.append(took)
        nats = {one["n"]: one["nats"] for one in influence["passages"]}
        kept[kind] += 1
        marked = {citation["n"] for citation in attribution["citations"] if citation["kind"] == "marker"}
        best = {
            "influence": max(passages, key=lambda passage: nats[passage["n"]]),
            "similarity": max(passages, key=lambda passage: passage["why"]["vector_score"] or 0),
            "rank": min(passages, key=lambda passage: passage["why"]["rank"]),
        }
        for way, passage in best.items():
            right[kind][way] += passage["id"] in causes
        right[kind]["marker"] += any(passage["n"] in marked and passage["id"] in causes for passage in passages)
        if kind == "duplicate":
            both = [nats[passage["n"]] for passage in passages if passage["id"] in causes]
            if len(both) == 2 and sum(both) > 0:
                splits.append(min(both) / sum(both))
    print(file=sys.stderr)
    total = sum(kept.values())
    lines = [
        "# Does influence name the right passage?",
        "",
        f"Written by `./loadtest/run influence`: {len(questions)} questions on FOLDOC entries whose year was changed to one "
        f"that no model can know, among 400 unchanged entries, answered by `{model}` from four passages. In {total} answers "
        "the changed year stands, so the changed passage is what they rest on; those are judged. The year itself was not "
        "given to any of the ways.",
        "",
        "Which passage does each way name first?",
        "",
        "| questions | judged | influence (Shapley) | similarity of embeddings | rank of retrieval | `[n]` by the model |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    names = {
        "plain": "plain",
        "decoy": "with a decoy that repeats the question",
        "duplicate": "with the changed passage twice",
    }
    share = lambda part, of: f"{part} ({100 * part / of:.0f} %)" if of else "–"
    for kind, name in names.items():
        cells = [share(right[kind][way], kept[kind]) for way in ways]
        lines.append(f"| {name} | {kept[kind]} | " + " | ".join(cells) + " |")
    cells = [share(sum(right[kind][way] for kind in right), total) for way in ways]
    lines.append(f"| **all** | {total} | " + " | ".join(cells) + " |")
    if splits:
        lines += [
            "",
            f"Where the passage was there twice, the lesser of the two got {100 * statistics.median(splits):.0f} % of what "
            f"both got (median of {len(splits)}; 50 % is an equal split).",
        ]
    if asked_s:
        lines += [
            "",
            f"Measuring took {statistics.median(measured_s) / statistics.median(asked_s):.1f} times as long as retrieving and "
            f"answering (medians {statistics.median(measured_s):.1f} s and {statistics.median(asked_s):.1f} s): 16 prompts "
            "are scored, with cached beginnings.",
        ]
    text = "\n".join(lines) + "\n"
    open(report, "w", encoding="utf-8").write(text)
    print(text)


if __name__ == "__main__":
    main()

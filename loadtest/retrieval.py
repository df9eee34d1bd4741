"""Retrieval at scale: three dictionaries, a million made-up rows, and Chroma on the first hundred thousand of them.

Usage: retrieval.py EXAMPLES PYTHON MODEL_DIR DICTIONARIES WORK REPORT PICTURE [--quick] [--rows]
(run by ./loadtest/run retrieval)

EXAMPLES is the directory of the built examples, PYTHON one that has chromadb. What an earlier run left in WORK is removed first, but for
what it measured: with --rows only the rows and Chroma are measured anew, and the report says when the dictionaries were.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import time

FULL = {"gcide": 0, "seconds": 30, "questions": 200, "rows": 1_000_000, "peer": 100_000}
QUICK = {"gcide": 600, "seconds": 3, "questions": 20, "rows": 60_000, "peer": 10_000}


def lines(command, label):
    """The JSON objects that a program prints; what else it says goes through."""
    begun = time.monotonic()
    print(f"{label} …", file=sys.stderr)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{label}: it ended with {done.returncode}")
    print(f"{label}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def percent(value):
    return f"{value:.1f}%"


def known(found, name, kind):
    row = lambda way: found[f"{name}_known"][f"{kind}_{way}"]
    cells = [f"{row(way)['recall_1']:.1f}% / {row(way)['recall_5']:.1f}% / {row(way)['mrr']:.4f}"
             for way in ("vector", "text", "hybrid")]
    return " | ".join(cells)


def dictionaries(found, plan):
    names = {"foldoc": "FOLDOC", "jargon": "Jargon File", "gcide": "GCIDE"}
    rates = "".join(
        f"| {title} | {found[name]['added']:,} | {found[name]['added'] / found[name]['searchable_s']:.0f} | "
        f"{found[name]['tokens'] / found[name]['searchable_s']:,.0f} | {found[name]['near_duplicates']} |\n"
        for name, title in names.items())
    loads = "".join(
        f"| {title} | {found[key]['per_s']:.1f} | {found[key]['p50_ms']:.0f} ms | {found[key]['p99_ms']:.0f} ms |\n"
        for key, title in {"calm_1": "1, nothing else runs", "calm_16": "16, nothing else runs",
                           "ingesting_1": "1, while an ingest runs", "ingesting_16": "16, while an ingest runs"}.items())
    kinds = {"sentence": "an entry's first sentence, without its headword", "name": "\"What is HEADWORD?\""}
    items = "".join(
        f"| {title}, {how} | {known(found, name, kind)} |\n"
        for name, title in names.items() for kind, how in kinds.items())
    part = "all entries" if not plan["gcide"] else f"about {plan['gcide']:,} of its 126,000 entries, evenly drawn"
    lasted = "" if found["still_ingesting"] else " The ingest ended before the last search."
    return f"""## Three dictionaries

FOLDOC, the Jargon File and GCIDE ({part}), each a datanet; every search asks all three, by vectors and full text. Ingest is
everything until the rows are searchable: reading, near-duplicates, embedding, commitments, the commit.

| | entries | entries/s | tokens/s | named as near-duplicates |
| --- | --- | --- | --- | --- |
{rates}
Hybrid searches by so many clients, each of which asks again as soon as it is answered; nothing is answered from memory. While an
ingest runs, it embeds on all cores.{lasted}

| clients | searches/s | p50 | p99 |
| --- | --- | --- | --- |
{loads}
Known items, {plan['questions']} a dictionary (seed 1), sought in all three: recall@1 / recall@5 / MRR. Only the very entry that was drawn is
right; GCIDE has several for many a headword, and so have the three together.

| | vector | full text | hybrid |
| --- | --- | --- | --- |
{items}"""


def growth(steps, picture, report):
    measured = [step for step in steps if "search" in step]
    last = measured[-1]["search"]
    rows = "".join(
        f"| {step['rows']:,} | {it['vector_p50_ms']:.1f} / {it['vector_p99_ms']:.1f} ms | {it['ten_p50_ms']:.1f} / {it['ten_p99_ms']:.1f} ms | "
        f"{it['ten_recall_10']:.3f} | {it['embedded_p50_ms']:.1f} ms | {it['hybrid_p50_ms']:.1f} ms | {it['exact_p50_ms']:.0f} ms | {it['recall_10']:.3f} | {it['resident_mib']:,.0f} MiB |\n"
        for step in measured for it in [step["search"]])
    added = sum(step["ingest"]["rows"] for step in steps)
    searchable = sum(step["ingest"]["searchable_s"] for step in steps)
    indexed = sum(step["ingest"]["indexed_s"] for step in steps)
    where = os.path.relpath(picture, os.path.dirname(report))
    return f"""## Growing to {added:,} rows

Made-up rows: vectors around the embeddings of 4,000 entries of FOLDOC (at a cosine of about 0.86), texts of real words, a hundred
thousand an ingest, with their vectors staged beforehand. The next ingest begins when the indices are up to the rows. All
{added:,} were searchable after {searchable:.0f} s of ingesting ({added / searchable:,.0f} rows/s), and indexed after {indexed:.0f} s.

Each size is searched by a process that only opened it; 200 queries that are no rows, 50 candidates with all that is known of
them; the second round is counted, the first (cold) one had a p50 of {last['first_p50_ms']:.1f} ms at the last size. Recall@10 is against a
comparison with every vector; a search for 10 is what most others measure. Resident memory is that process's after its searches, the embedding model included.

| rows | vector, 50 rows: p50 / p99 | 10 rows: p50 / p99 | recall@10 of these | 50 rows, with the query's embedding | hybrid: p50 | scan of all: p50 | recall@10 | resident |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{rows}
Most of the time goes into reading the rows found, column by column, from anywhere in the table. Under a filter at the last size: a
thousandth of the rows (by contributor) {last['filter_thousandth_p50_ms']:.1f} ms with recall@10 {last['filter_thousandth_recall']:.3f}, a tenth (by metadata, which no index holds) {last['filter_tenth_p50_ms']:.1f} ms with {last['filter_tenth_recall']:.3f}.

![Growth]({where})
"""


def peer(steps, found):
    ours = next(step for step in steps if step["rows"] == found["rows"])
    until = [step["ingest"] for step in steps if step["rows"] <= found["rows"]]
    search = ours["search"]
    indexed = sum(step["indexed_s"] for step in until)
    return f"""## Beside Chroma

Chroma {found['version']} from PyPI, embedded, with its defaults (HNSW) and cosine distance: the same {found['rows']:,} rows, vectors and
200 queries, 50 results with their texts, in the same run on the same machine. Of Cairn's ingest everything counts until the indices are
built; it also computes commitments and a full-text index, which Chroma's time has no counterpart for (Chroma keeps its texts for
substring search).

| {found['rows']:,} rows | ingest | search: p50 / p99 | recall@10 | resident while searching |
| --- | --- | --- | --- | --- |
| Cairn | {indexed:.0f} s ({found['rows'] / indexed:,.0f} rows/s) | {search['vector_p50_ms']:.1f} / {search['vector_p99_ms']:.1f} ms | {search['recall_10']:.3f} | {search['resident_mib']:,.0f} MiB |
| Chroma | {found['ingest_s']:.0f} s ({found['rows'] / found['ingest_s']:,.0f} rows/s) | {found['p50_ms']:.1f} / {found['p99_ms']:.1f} ms | {found['recall_10']:.3f} | {found['resident_mib']:,.0f} MiB |
"""


def draw(steps, picture):
    """Four panels over a logarithmic axis of rows."""
    import math

    points = [(step["rows"], step["search"]) for step in steps if "search" in step]
    panels = [
        ("Vector search, p50 (ms)", [("vector_p50_ms", "#2563a8")]),
        ("Hybrid search, p50 (ms)", [("hybrid_p50_ms", "#2563a8")]),
        ("Recall@10", [("recall_10", "#2f7d4f")]),
        ("Resident memory (MiB)", [("resident_mib", "#a8551f")]),
    ]
    low, high = math.log10(points[0][0]), math.log10(points[-1][0])
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 440" font-family="sans-serif" font-size="12" '
             'role="img" aria-label="Latency, recall and memory by number of rows">',
             '<rect width="800" height="440" fill="#ffffff"/>']
    for number, (title, series) in enumerate(panels):
        left, top, width, height = 50 + 395 * (number % 2), 35 + 215 * (number // 2), 325, 140
        values = [it[key] for key, _ in series for _, it in points]
        most = 1.0 if "Recall" in title else max(values) * 1.15
        x = lambda rows: left + width * (math.log10(rows) - low) / ((high - low) or 1)
        y = lambda value: top + height * (1 - value / most)
        parts.append(f'<text x="{left}" y="{top - 12}" font-weight="bold" fill="#222222">{title}</text>')
        for share in (0, 0.5, 1):
            at, value = y(most * share), most * share
            label = f"{value:.2f}" if most <= 1 else f"{value:.1f}" if most < 20 else f"{value:.0f}"
            parts.append(f'<line x1="{left}" y1="{at:.1f}" x2="{left + width}" y2="{at:.1f}" stroke="#dddddd"/>')
            parts.append(f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end" fill="#555555">{label}</text>')
        for rows, _ in points:
            name = f"{rows // 1_000_000}M" if rows % 1_000_000 == 0 else f"{rows // 1000}k"
            parts.append(f'<text x="{x(rows):.1f}" y="{top + height + 18}" text-anchor="middle" fill="#555555">{name}</text>')
        for key, colour in series:
            line = " ".join(f"{x(rows):.1f},{y(it[key]):.1f}" for rows, it in points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
            for rows, it in points:
                value = it[key]
                label = f"{value:.3f}" if most <= 1 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"
                parts.append(f'<circle cx="{x(rows):.1f}" cy="{y(value):.1f}" r="3" fill="{colour}"/>')
                above = y(value) - 8 if y(value) - 8 > top + 6 else y(value) + 16
                parts.append(f'<text x="{x(rows):.1f}" y="{above:.1f}" text-anchor="middle" fill="#222222">{label}</text>')
    parts.append("</svg>\n")
    with open(picture, "w", encoding="utf-8") as out:
        out.write("\n".join(parts))


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            return next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main(examples, python, model, dicts, work, report, picture, *flags):
    plan = QUICK if "--quick" in flags else FULL
    kept = os.path.join(work, "measured-quick.json" if "--quick" in flags else "measured.json")
    before = None
    if "--rows" in flags:
        if not os.path.exists(kept):
            sys.exit("no run has measured the dictionaries here yet; leave out --rows")
        with open(kept, encoding="utf-8") as file:
            before = json.load(file)
    here = os.path.dirname(os.path.abspath(__file__))
    million, chroma, words = (os.path.join(work, name) for name in ("million", "chroma", "dictionaries"))
    for used in (million, chroma, words):
        shutil.rmtree(used, ignore_errors=True)
    os.makedirs(work, exist_ok=True)
    today = time.strftime("%Y-%m-%d", time.gmtime())
    steps = lines([os.path.join(examples, "scale"), model, dicts, million, str(plan["rows"]), str(plan["peer"])],
                  f"{plan['rows']:,} rows")
    theirs = lines([python, os.path.join(here, "peers", "chroma.py"), os.path.join(million, "peer"), chroma], "Chroma")[-1]
    if before:
        found, of_words = before["dictionaries"], before["dictionaries_on"]
    else:
        found = lines([os.path.join(examples, "dictionaries"), model, dicts, words, str(plan["gcide"]), str(plan["seconds"]),
                       str(plan["questions"])], "dictionaries")[-1]
        of_words = today
    with open(kept, "w", encoding="utf-8") as out:
        json.dump({"steps": steps, "chroma": theirs, "dictionaries": found, "dictionaries_on": of_words}, out, indent=1)
    os.makedirs(os.path.dirname(picture), exist_ok=True)
    draw(steps, picture)
    quick = "**A quick run, to see that it works; the figures mean little.** " if "--quick" in flags else ""
    with open(report, "w", encoding="utf-8") as out:
        out.write(f"""# Retrieval at scale

{quick}Written by `./loadtest/run retrieval`: {os.cpu_count()} cores of {processor()}; the rows and Chroma on {today}, the dictionaries {"in an earlier run on" if before else "on"}
{of_words}, all embedded in eight bits. How searches are ranked, and how quality is measured on one
dictionary, is in [retrieval.md](retrieval.md).

{growth(steps, picture, report)}
{peer(steps, theirs)}
{dictionaries(found, plan)}""")
    print(open(report, encoding="utf-8").read())
    for used in (million, chroma, words):
        shutil.rmtree(used, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

#!/usr/bin/env python3
"""Compares tests/verify_bundle.py with the Rust verifier on thousands of bundles, right and wrong.

    python3 tests/test_verify_bundle.py

Needs the binary `cairn-verify` (`cargo build -p cairn-proof`): its path in CAIRN_VERIFY, or target/debug/cairn-verify.
The golden bundle is in index/proof/tests/golden, or in the directory CAIRN_PROOF_GOLDEN.
"""

import base64
import copy
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import verify_bundle
from verify_bundle import NotProved, canonical, verify

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = Path(os.environ.get("CAIRN_PROOF_GOLDEN", ROOT / "index/proof/tests/golden"))
BINARY = Path(os.environ.get("CAIRN_VERIFY", ROOT / "target/debug/cairn-verify"))
DATA = (GOLDEN / "bundle.json").read_bytes()
KEY = (GOLDEN / "cairn.pub").read_text().strip()
ZERO = "0" * 64


def verdict(data, key=KEY):
    """`proved`, or the code of what does not hold."""
    try:
        list(verify(data, key))
    except NotProved as error:
        return error.args[0]
    return "proved"


def rust(directory, number, data, key="key"):
    """The same from the Rust verifier; `no key` where it refuses the key."""
    file = Path(directory, f"bundle-{number}")
    file.write_bytes(data)
    command = [BINARY, file, "--key", Path(directory, key), "--json"]
    done = subprocess.run(command, capture_output=True, check=False)
    file.unlink()
    if done.returncode == 2:
        return "no key"
    result = json.loads(done.stdout)
    assert done.returncode == (0 if result["verdict"] == "proved" else 1), done
    return result.get("code", result["verdict"])


def file(bundle):
    return canonical(bundle).encode() + b"\n"


def places(value, path=()):
    """The paths of all values within a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


def changes(value):
    """What a value could be instead."""
    yield from (None, True, 0, 1, 2, 7, -1, 0.5, "", "x", ZERO, [], {}, [value], {"x": value}, str(value))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from (value + 1, value - 1, 2**53 - 1)
    if isinstance(value, str) and value:
        yield from (value + " ", value[:-1], value.upper(), value + "\u202e\x1b", "\U0001f600" * 60, value[::-1])
    if isinstance(value, list) and value:
        yield from (value[1:], value[:-1], value[::-1], value + value[:1])
    if isinstance(value, dict):
        yield from ({k: v for k, v in value.items() if k != key} for key in value)
        yield from ({**value, key: None} for key in value)
        yield {**value, "extra": 1}


def variants(bundle):
    """Every value of the bundle, changed in every way: what was done, and the changed bundle."""
    for path in places(bundle):
        if not path:
            continue
        value = bundle
        for key in path:
            value = value[key]
        for change in changes(value):
            if json.dumps(change) == json.dumps(value):
                continue
            changed = copy.deepcopy(bundle)
            parent = changed
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = change
            yield f"{'/'.join(map(str, path))} = {str(change)[:80]}", changed


def resigned(bundle):
    """The bundle in a log of its record alone, signed with the golden key."""
    bundle = copy.deepcopy(bundle)
    bundle["log"] = {"index": 0, "path": [], "checkpoint": signed(verify_bundle.leaf_hash(bundle["record"]), 1)}
    return bundle


def signed(root, size):
    """A checkpoint by the golden key."""
    origin, key_id, _ = KEY.split("+", 2)
    body = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    signature = bytes.fromhex(key_id) + Ed25519PrivateKey.from_private_bytes(bytes([42] * 32)).sign(body.encode())
    return f"{body}\n\u2014 {origin} {base64.b64encode(signature).decode()}\n"


def climb(leaves, index):
    """The root over these leaves, and the audit path of one of them."""
    if len(leaves) == 1:
        return leaves[0], []
    half = 1 << (len(leaves) - 1).bit_length() - 1
    left, of_left = climb(leaves[:half], min(index, half - 1))
    right, of_right = climb(leaves[half:], max(index - half, 0))
    root = hashlib.sha256(b"\1" + left + right).digest()
    return root, [*of_left, right.hex()] if index < half else [*of_right, left.hex()]


def relogged(bundle, late=False):
    """A bundle in a log of its terms, grants and record, which cites the grants as they are. `late`: record first."""
    bundle = copy.deepcopy(bundle)
    grants, record = bundle["grants"], bundle["record"]
    cites = [datanet["access"] for datanet in record["retrieval"]["datanets"] if "grant" in datanet["access"]]
    for proof, access in zip(grants, cites):
        access["grant"] = verify_bundle.leaf_hash(proof["entry"]).hex()
    placed = [(proof["terms"], proof["terms"]["entry"]) for proof in grants if "terms" in proof]
    placed += [(proof, proof["entry"]) for proof in grants]
    placed.insert(0 if late else len(placed), (bundle["log"], record))
    leaves = [verify_bundle.leaf_hash(entry) for _, entry in placed]
    for index, (place, _) in enumerate(placed):
        place["index"], (root, place["path"]) = index, climb(leaves, index)
    bundle["log"]["checkpoint"] = signed(root, len(leaves))
    return bundle


def recommitted(value):
    """A bundle whose response is `value`, with commitment and signature to fit."""
    bundle = resigned(json.loads(DATA))
    bundle["datapoints"].pop()
    salt = bytes([9] * 32)
    bundle["openings"]["response"] = {"salt": salt.hex(), "value": value}
    found = verify_bundle.hmac.new(salt, canonical(value).encode(), "sha256").hexdigest()
    bundle["record"]["response"] = found
    return resigned(bundle)


def cosigned(bundle, seeds):
    """The bundle with the cosignatures of these witnesses."""
    bundle = copy.deepcopy(bundle)
    body, rest = bundle["log"]["checkpoint"].split("\n\n")
    lines = []
    for seed in sorted(seeds):
        key = Ed25519PrivateKey.from_private_bytes(bytes([seed] * 32))
        line = with_id(f"witness{seed}.example", b"\4" + key.public_key().public_bytes_raw())
        signature = key.sign(f"cosignature/v1\ntime 1767225600\n{body}\n".encode())
        blob = bytes.fromhex(line.split("+")[1]) + (1767225600).to_bytes(8, "big") + signature
        lines.append((line, f"\u2014 witness{seed}.example {base64.b64encode(blob).decode()}\n"))
    bundle["log"]["witnesses"] = [line for line, _ in lines]
    bundle["log"]["checkpoint"] = f"{body}\n\n{rest}" + "".join(line for _, line in lines)
    return bundle


class Agreement(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not BINARY.exists():
            raise unittest.SkipTest(f"{BINARY} is not there: cargo build -p cairn-proof, or set CAIRN_VERIFY")
        cls.pool = ThreadPoolExecutor(4)
        cls.directory = tempfile.TemporaryDirectory()
        Path(cls.directory.name, "key").write_text(KEY + "\n")

    @classmethod
    def tearDownClass(cls):
        cls.pool.shutdown()
        cls.directory.cleanup()

    def agree(self, files):
        """Both verifiers must give the same verdict, with the same code, on each; counts the verdicts."""
        counts = {}
        numbered = [(number, what, data) for number, (what, data) in enumerate(files)]
        theirs = self.pool.map(lambda item: rust(self.directory.name, item[0], item[2]), numbered)
        for (_, what, data), code in zip(numbered, theirs):
            self.assertEqual(verdict(data), code, f"{what}\n{data[:200]}")
            counts[code] = counts.get(code, 0) + 1
        return counts

    def test_flipped_bytes(self):
        chosen = random.Random(1)
        files = []
        for at in range(len(DATA)):
            changed = bytearray(DATA)
            changed[at] ^= chosen.choice([0x01, 0x02, 0x10, 0x20, 0x80, 0xFF])
            files.append((f"byte {at}", bytes(changed)))
        counts = self.agree(files)
        self.assertNotIn("proved", counts)
        self.assertEqual(sum(counts.values()), len(DATA))

    def test_every_value_changed(self):
        counts = self.agree((what, file(changed)) for what, changed in variants(json.loads(DATA)))
        # Redactions alone still prove: leaving an opening out, or a datapoint that was not in the prompt.
        self.assertEqual(counts["proved"], 9)
        self.assertGreater(sum(counts.values()), 4000)
        print(f"\nevery value changed: {counts}", file=sys.stderr)

    def test_every_value_of_the_record_changed_and_signed_again(self):
        bundle = resigned(json.loads(DATA))
        bundle["datapoints"].pop()
        self.assertEqual(verdict(file(resigned(bundle))), "proved")
        files = []
        for what, changed in variants({"record": bundle["record"]}):
            try:
                files.append((what, file(resigned({**bundle, **changed}))))
            except NotProved:  # it cannot be written in canonical form
                continue
        counts = self.agree(files)
        for code in ("proved", "record", "form", "datapoint_missing", "leaf_mismatch", "opening_mismatch"):
            self.assertGreater(counts[code], 0, code)
        print(f"\nthe record changed and signed again: {counts}", file=sys.stderr)

    def test_responses(self):
        text = "a" * 57
        answers = [
            [{"message": {"content": text}}],
            {"choices": [{"text": text}]},
            [{"text": text}],
            [{"text": text[1:]}],
            [{"message": {"content": None}, "text": text}],
            [{"message": {}, "text": text}],
            [{"message": None, "text": text}],
            [{"message": [], "text": text}],
            [{"message": "x", "text": text}],
            {"choices": None},
            {"choices": {"0": 1}},
            [],
            {},
            None,
            "text",
            7,
            [None],
            [[text]],
            [text],
            {"0": {"text": text}},
            [{"message": {"content": "\U0001f600" * 57}}],
            [{"message": {"content": "\U0001f600" * 56}}],
            {"choices": [{"text": text}], "text": 1},
            [{"message": {"content": [text]}}],
        ]
        counts = self.agree((str(answer)[:60], file(recommitted(answer))) for answer in answers)
        self.assertEqual(set(counts), {"proved", "no_such_choice", "citation_outside"})

    def test_values_that_languages_write_differently(self):
        numbers = [
            0.1,
            1e-6,
            1e-7,
            1.5e-7,
            5e-324,
            -2.5,
            123456.789,
            333333333.33333325,
            9007199254740991,
            4503599627370495.5,
        ]
        chosen = random.Random(2)
        numbers += [chosen.uniform(-1, 1) * 10 ** chosen.randint(-20, 15) for _ in range(200)]
        texts = ["\x7f\u2028\u2029\ufeff", "".join(map(chr, range(32))) + '"\\/', "\ue000\U00010000", "e\u0301"]
        values = [*numbers, *texts, {"\ue000": 1, "\U00010000": 2, "\u20ac": 3, "": 4, "__proto__": 5}, nested(118)]
        answer = {"text": "a" * 57}
        counts = self.agree((str(value)[:60], file(recommitted([{**answer, "x": value}]))) for value in values)
        self.assertEqual(counts, {"proved": len(values)})

    def test_files_that_are_no_canonical_json(self):
        text = DATA.decode()
        spoiled = lambda old, new: (new, text.replace(old, new, 1).encode())  # noqa: E731
        files = [
            ("", b""),
            ("newline", b"\n"),
            ("null", b"null\n"),
            ("array", b"[]\n"),
            ("object", b"{}\n"),
            ("no newline", DATA[:-1]),
            ("two", DATA + b"\n"),
            ("CR", DATA[:-1] + b"\r\n"),
            ("BOM", b"\xef\xbb\xbf" + DATA),
            ("deep", b"[" * 100000 + b"\n"),
            ("deep and closed", b"[" * 5000 + b"]" * 5000 + b"\n"),
            ("many digits", b"1" * 5000 + b"\n"),
            ("NaN", b"NaN\n"),
            ("Infinity", b"-Infinity\n"),
            ("surrogate bytes", b'"\xed\xa0\x80"\n'),
            spoiled('"n":1', '"n":1,"n":1'),
            spoiled('"n":1', '"n":1.0'),
            spoiled('"n":1', '"n":1e0'),
            spoiled('"n":1', '"n":"n"'),
            spoiled('"n":1', '"n": 1'),
            spoiled('"weight":0.1', '"weight":0.10'),
            spoiled('"weight":0.1', '"weight":1e400'),
            spoiled('"weight":0.1', '"weight":-0'),
            spoiled('"weight":0.1', '"weight":-0.0'),
            spoiled('"weight":0.1', '"weight":9007199254740992'),
            spoiled('"weight":0.1', '"weight":NaN'),
            spoiled("notice period", "notice\\u0020period"),
            spoiled("notice period", "notice\\/period"),
            spoiled("notice period", "\\ud800"),
            spoiled('"query":{', '"\\udc00":{'),
            spoiled("notice period", "notice\tperiod"),
            spoiled('"weight":0.1', '"weight":' + json.dumps(nested(121))),
            spoiled('"weight":0.1', '"weight":' + json.dumps(nested(200))),
        ]
        self.assertNotIn("proved", self.agree(files))
        # The deepest that is allowed reaches the check of the opening; one level more does not.
        deep = [(levels, file({**json.loads(DATA), "key": nested(levels)})) for levels in (125, 126)]
        self.assertEqual(self.agree(deep), {"form": 2})

    def test_checkpoints(self):
        bundle = json.loads(DATA)
        note = bundle["log"]["checkpoint"]
        origin, size, root = note.split("\n")[:3]
        spoiled = [
            note.replace(f"\n{size}\n", f"\n{other}\n")
            for other in ("266", "0265", "+265", "-265", "265 ", "", "18446744073709551616", "9" * 5000)
        ] + [
            note + "\n",
            note[:-1],
            note.replace("\u2014", "-"),
            note.replace("\n\n", "\n"),
            note.replace("\n\n", "\nextra\n\n"),
            note.replace("\n", "\r\n"),
            note + note.split("\n\n")[1],
            note.replace(root, root[:-2] + "Z="),
            note.replace(root, root[:-1]),
            note.replace(root, root[:-4] + "AA=="),
            note.replace(f"{origin} 9Hd", f"{origin}  9Hd"),
            note.replace(f"{origin} 9Hd", "other 9Hd"),
            note.replace("9Hd", "AHd"),
            note[:-5],
            note.replace(origin, "other.example.com"),
            "",
            "\n\n\n\n\n",
        ]
        files = [(text[:80], file({**bundle, "log": {**bundle["log"], "checkpoint": text}})) for text in spoiled]
        self.assertEqual(self.agree(files), {"checkpoint": len(files)})

    def test_influence_is_in_the_log_or_fails(self):
        data = (GOLDEN / "influence.json").read_bytes()
        self.assertEqual(verdict(data), "proved")
        start, end = data.index(b'"influence"'), data.index(b'"key":')
        self.assertGreater(end, start + 1000)
        for at in range(start, end):
            changed = bytearray(data)
            changed[at] ^= 1
            self.assertNotEqual(verdict(bytes(changed)), "proved", at)
        changed = []
        for member, value in (("index", 0), ("path", []), ("entry", None), ("entry", {}), ("entry", [])):
            bundle = json.loads(data)
            bundle["influence"][member] = value
            changed.append((member, file(bundle)))
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "key").write_text(KEY + "\n")
            for number, (member, bundle) in enumerate(changed):
                self.assertNotIn("proved", (verdict(bundle), rust(directory, number, bundle)), member)

    def test_grants(self):
        data = (GOLDEN / "granted.json").read_bytes()
        granted = json.loads(data)
        self.known(granted, "grants")
        self.assertEqual(verdict(data), "proved")
        start, end = data.index(b'"grants"'), data.index(b'"key":')
        files = [(f"byte {at}", data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]) for at in range(start, end)]
        self.assertEqual({verdict(changed) == "proved" for _, changed in files}, {False})
        files = []
        for what, changed in variants({key: granted[key] for key in ("grants", "record", "openings")}):
            # What terms say is not looked at here, only that they are those of the grant.
            ours = r"grants(?!.*terms(/entry| = {'entry': None))|record/retrieval/(datanets|filter|rerank)"
            if re.match(f"{ours}|openings/filter", what):
                files.append((what, file({**granted, **changed})))
        files.append(("no grants", file({key: value for key, value in granted.items() if key != "grants"})))
        counts = self.agree(files)
        # Leaving out whom a grant was given to, or its terms.
        self.assertEqual(counts["proved"], 3)
        for code in ("form", "grants_differ", "grant", "grant_mismatch", "grant_not_in_log", "opening_mismatch"):
            self.assertGreater(counts[code], 0, code)
        print(f"\nthe grants changed: {counts}", file=sys.stderr)

    def test_grants_changed_and_signed_again(self):
        granted = json.loads((GOLDEN / "granted.json").read_bytes())
        self.known(granted, "grants")
        self.assertEqual(verdict(file(relogged(granted))), "proved")
        files = [("late", file(relogged(granted, late=True)))]
        for what, changed in variants({"grants": granted["grants"], "time": granted["record"]["time"]}):
            if not re.match("grants/[01]/(entry|subject|datanet)|time", what):
                continue
            record = {**granted["record"], "time": changed["time"]}
            try:
                files.append((what, file(relogged({**granted, "record": record, "grants": changed["grants"]}))))
            except (NotProved, TypeError):  # it cannot be written in canonical form, or is no entry at all
                continue
        times = ["2026-01-31T11:59:59.999999999Z", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z"]
        times += ["2026-03-02T11:59:59.5Z", "2026-03-02T12:00:00Z", "2026-03-02T12:00:00.000000001Z"]
        for time in times:
            files.append((time, file(relogged({**granted, "record": {**granted["record"], "time": time}}))))
        for member, values in (
            ("purposes", [["training"], ["retrieval"], ["retrieval", "evaluation"], ["retrieval"] * 2]),
            ("expires", ["", "2026-02-03T04:05:06Z", "2026-02-03T04:05:06.1Z", "2026-01-31T12:00:00Z"]),
            ("issued", ["", "2026-02-03T04:05:06Z", "2026-02-03T04:05:06.1Z", "2026-03-02T12:00:00.0Z"]),
        ):
            for value in values:
                changed = copy.deepcopy(granted)
                changed["grants"][0]["entry"][member] = value
                files.append((f"{member} {value}", file(relogged(changed))))
        salt, other = bytes([7] * 32), copy.deepcopy(granted)
        other["grants"][1]["subject"] = {"salt": salt.hex(), "value": "key-2"}
        commitment = verify_bundle.hmac.new(salt, b'"key-2"', "sha256").hexdigest()
        other["grants"][1]["entry"]["subject"] = commitment
        files.append(("another subject", file(relogged(other))))
        counts = self.agree(files)
        for code in ("proved", "grant", "grant_not_in_force", "grants_differ", "grant_of_another", "grant_mismatch"):
            self.assertGreater(counts[code], 0, code)
        print(f"\nthe grants changed and signed again: {counts}", file=sys.stderr)

    def test_an_anchor_is_not_checked_here_and_breaks_nothing(self):
        anchored = (GOLDEN / "anchored.json").read_bytes()
        self.known(json.loads(anchored), "anchors")
        self.assertEqual(self.agree([("anchored", anchored)]), {"proved": 1})
        self.assertEqual(sum("log.anchor is NOT checked" in line for line in verify(anchored, KEY)), 1)
        self.assertFalse(any("log.anchor" in line for line in verify(DATA, KEY)))
        for member in (None, [], {}, {"anchor": {}}, {"anchor": {}, "path": ["x"]}, {"anchor": {}, "path": [], "x": 1}):
            bundle = json.loads(anchored)
            bundle["log"]["anchor"] = member
            self.assertEqual(self.agree([(str(member), file(bundle))]), {"form": 1})

    def known(self, bundle, what):
        """Skips where the binary is from before bundles held `what`."""
        if rust(self.directory.name, 0, file(bundle)) == "form":
            self.skipTest(f"{BINARY} does not know {what}")

    def test_uses(self):
        bundle = resigned(json.loads(DATA))
        bundle["datapoints"].pop()
        one, two = (
            {"contributor": "1" * 64, "count": 1, "passages": [1]},
            {"contributor": "2" * 64, "count": 9, "passages": [2]},
        )
        with_uses = lambda uses: resigned({**bundle, "record": {**bundle["record"], "uses": uses}})  # noqa: E731
        self.known(with_uses([one, two]), "uses")
        both = {**one, "passages": [1, 2]}
        spoiled = [
            [both],
            [one, two],
            [two, one],
            [one],
            [],
            [one, one],
            [one, {**two, "contributor": "1" * 64}],
            [{**one, "count": 0}, two],
            [both, two],
            [{**one, "passages": []}, two],
            [{**both, "passages": [2, 1]}],
            [{**both, "passages": [1, 1, 2]}],
            [{**both, "passages": [1, 2, 3]}],
            [{**one, "x": 1}, two],
            None,
            [{**one, "passages": [None]}, two],
            [{**both, "passages": 1}],
        ]
        counts = self.agree((str(uses), file(with_uses(uses))) for uses in spoiled)
        self.assertEqual((counts["proved"], counts["record"]), (2, 11))

    def test_cosignatures(self):
        bundle = cosigned(json.loads(DATA), (3, 1, 2))
        self.known(bundle, "witnesses")
        self.assertEqual(verdict(file(bundle)), "proved")
        lines = bundle["log"]["checkpoint"].split("\n")
        files = [("as it is", file(bundle))]
        for i in range(4, len(lines)):
            moved = [*lines[:i], *lines[i + 1 :]]
            for changed in (moved, [*moved[:4], lines[i], *moved[4:]], [*lines[:i], lines[i], *lines[i:]]):
                files.append(
                    (f"line {i}", file({**bundle, "log": {**bundle["log"], "checkpoint": "\n".join(changed)}}))
                )
        files += [(what, file(changed)) for what, changed in variants(bundle) if what.startswith("log/witnesses")]
        text = file(bundle)
        for at in range(text.index(b'"checkpoint"'), text.index(b'"openings"')):
            files.append((f"byte {at}", text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]))
        counts = self.agree(files)
        # The bundle as it is, and with the log's own line first, where it was.
        self.assertEqual(counts["proved"], 2)
        for code in ("checkpoint", "witness_count", "cosignature", "form"):
            self.assertGreater(counts[code], 0, code)

    def test_a_changed_key_is_left_to_the_other_verifier(self):
        bundle = json.loads(DATA)
        bundle["log"]["rotations"] = [{}]
        self.assertEqual(verdict(file(bundle)), "key")

    def test_keys(self):
        origin, key_id, blob = KEY.split("+", 2)
        keys = [KEY[:at] + chr(ord(KEY[at]) ^ 1) + KEY[at + 1 :] for at in range(len(KEY))]
        keys += [
            "",
            "x",
            f"{origin}+{key_id}",
            f" {KEY}",
            f"{KEY}=",
            KEY.upper(),
            f"{origin}+{key_id.upper()}+{blob}",
            blob,
        ]
        keys += [with_id(name, base64.b64decode(blob)) for name in ("", "a b", "a\u2003b", "a\x7f", "a\nb", "x" * 256)]
        keys += [with_id(origin, b"\2" + bytes(32)), with_id(origin, b"\1" + bytes(31))]
        for key in keys:
            Path(self.directory.name, "bad").write_text(key)
            self.assertEqual(rust(self.directory.name, 0, DATA, "bad"), "no key", key)
            self.assertEqual(verdict(DATA, key), "key", key)
        # A key of small order: a signature that holds for every message, if the verifier lets it.
        neutral = b"\1" + bytes(31)
        key = with_id(origin, b"\1" + neutral)
        bundle = json.loads(DATA)
        body = bundle["log"]["checkpoint"].split("\n\n")[0]
        signature = base64.b64encode(bytes.fromhex(key.split("+")[1]) + neutral + bytes(32)).decode()
        forged = {
            **bundle,
            "key": key,
            "log": {**bundle["log"], "checkpoint": f"{body}\n\n\u2014 {origin} {signature}\n"},
        }
        Path(self.directory.name, "small").write_text(key)
        self.assertEqual(rust(self.directory.name, 0, file(forged), "small"), "checkpoint")
        self.assertEqual(verdict(file(forged), key), "checkpoint")


class CommandLine(unittest.TestCase):
    def run_it(self, *arguments):
        command = [sys.executable, Path(verify_bundle.__file__), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_exit_status_and_words(self):
        bundle, key = GOLDEN / "bundle.json", GOLDEN / "cairn.pub"
        done = self.run_it(bundle, "--key", key)
        self.assertEqual((done.returncode, done.stdout[:7]), (0, "PROVED\n"))
        for words in ("entry 260", "passage 1", "contributor 3", "erased on 2026-03-01", "thirty days"):
            self.assertIn(words, done.stdout)
        with tempfile.TemporaryDirectory() as directory:
            changed = Path(directory, "changed.json")
            changed.write_bytes(DATA.replace(b"thirty", b"ninety"))
            done = self.run_it(changed, "--key", key)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stdout, r"^NOT PROVED\n[^$]*datapoints\[0\]\.disclosed\.text")
            done = self.run_it(changed, "--key", key, "--json")
            self.assertEqual((done.returncode, json.loads(done.stdout)["code"]), (1, "opening_mismatch"))

    def test_trouble_is_not_a_verdict(self):
        bundle, key = GOLDEN / "bundle.json", GOLDEN / "cairn.pub"
        cases = [
            (),
            (bundle,),
            (bundle, "--key"),
            (bundle, "--key", bundle),
            ("absent", "--key", key),
            (bundle, bundle, "--key", key),
        ]
        for arguments in cases:
            done = self.run_it(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            self.assertTrue(done.stderr)

    def test_it_is_as_short_as_promised(self):
        source = Path(verify_bundle.__file__).read_text()
        self.assertLess(source.count("\n"), 300)
        lines = re.findall(r"^(?:import (.+)|from (\w+)\..+)$", source, re.MULTILINE)
        imports = {name for line in lines for name in "".join(line).split(", ")}
        self.assertEqual(imports - set(sys.stdlib_module_names), {"cryptography"})


def nested(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


def with_id(origin, blob):
    key_id = hashlib.sha256(origin.encode() + b"\n" + blob).hexdigest()[:8]
    return f"{origin}+{key_id}+{base64.b64encode(blob).decode()}"


if __name__ == "__main__":
    unittest.main()

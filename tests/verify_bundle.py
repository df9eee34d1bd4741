#!/usr/bin/env python3
"""Checks a Cairn proof bundle offline: docs/log-format.md once more, sharing no code with the other verifiers.

Needs Python 3.9 and the package cryptography. Usage: verify_bundle.py BUNDLE --key KEY [--json]
Exit status: 0 proved, 1 not proved, 2 the files could not be read or the arguments are wrong.
"""

import argparse, base64, decimal, hashlib, hmac, json, re, sys, unicodedata
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# Points of small order, by their y coordinate: a signature of such a key holds for every message (section 3).
SMALL = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05|(00|01)(00){31}|e[cde](ff){30}7f"
SMALL += "|c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"
# A stranger's file must not send a terminal control and direction characters.
SAFE = {c: f"\\u{{{c:x}}}" for c in [*range(32), *range(127, 160), 8206, 8207, *range(8234, 8239), *range(8294, 8298)]}
# The members of each object, sections 6 to 8 and 16, as kind:names: s string, n count, h hash, a anything, [x] array,
# |x|y one of these strings, else another of these objects. With `?` it may be null, with `~` absent.
SHAPES = """
bundle |cairn/bundle/v1:type s:key record:record log:log [proof]:datapoints openings:openings ~logged:influence \
    ~[given]:grants; given s:datanet grant:entry n:index [h]:path ~logged:terms ~opening:subject; opening h:salt a:value
log n:index [h]:path s:checkpoint ~[s]:witnesses ~[a]:rotations ~anchor:anchor; logged a:entry n:index [h]:path
proof n?:n leaf:commitment inclusion:inclusion fields:disclosed |disclosed|erased|withheld:status ~erased:erased
fields ~opening:text,contributor,source,metadata; inclusion n:index,size [h]:path; share s:generation,weight
leaf |cairn/datapoint/v1:type s:datanet,id,contributed_at,licence n:seq h:contributor,text,source,metadata
tombstone |cairn/tombstone/v1:type s:datanet,time n:seq h:leaf; openings ~opening:request,response,query,caller,filter
erased n:index [h]:path tombstone:tombstone; access |grant|owner|public|administrator:basis ~h:grant
record |cairn/record/v1:type |chat.completions|completions:endpoint s:id,time,model h:request,response,caller \
    h:base_weights s?:adapter_generation retrieval?:retrieval [citation]:citations ~[use]:uses ~[share]:adapters
retrieval h:query s:mode n:top_k,candidates_per_source [datanet]:datanets [candidate]:candidates ~h:filter ~s:rerank
datanet s:name n:lance_version,size h:root ~access:access; citation n:choice,n,start,end |marker|overlap:kind s?:score
candidate s:datanet h:leaf n:seq n?:rank,in_prompt,vector_rank,text_rank s?:vector_score,text_score,fused_score \
    ~s:phrase_score,rerank_score ~|minimum_score|contributor_cap:left_out; use h:contributor n:count [n]:passages
grant |cairn/grant/v1:type s:id,datanet,issued h:subject [|evaluation|retrieval|training]:purposes s?:rows \
    |policy|review|owner:by n?:retrievals_per_day s?:request,expires h?:terms; anchor a:anchor [h]:path
"""
SHAPES = {line.split()[0]: [part.split(":") for part in line.split()[1:]] for line in re.split("[;\n]", SHAPES.strip())}


class NotProved(Exception):
    """The first thing that does not hold: its code in `cairn verify --json`, and what. Code `key` is no verdict."""


def need(holds, code, what):
    if not holds:
        raise NotProved(code, what)


def canonical(value, depth=0):
    need(depth < 127 or not isinstance(value, (list, dict)), "form", "file: it is nested deeper than 127 levels")
    if isinstance(value, list):
        return "[" + ",".join(canonical(item, depth + 1) for item in value) + "]"
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(key)}:{canonical(value[key], depth + 1)}" for key in keys) + "}"
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    need(abs(value) <= 2**53 - 1, "form", f"file: the number {value} is beyond 2^53 - 1")
    if value == int(value):
        return str(int(value))
    # ECMAScript has the same digits, but 0.00001 in place of 1e-05, and 1e-7 in place of 1e-07.
    return format(decimal.Decimal(repr(value)), "f") if abs(value) >= 1e-6 else repr(value).replace("e-0", "e-")


def leaf_hash(entry):
    return hashlib.sha256(b"\0" + canonical(entry).encode()).digest()


def check_inclusion(leaf, proof, size, root, code, name):
    index, path, found = proof["index"], proof["path"], leaf
    need(index < size, code, f"{name}: index {index} is outside a tree of {size} leaves")
    border = bin(index >> (inner := (index ^ (size - 1)).bit_length())).count("1")
    need(len(path) == inner + border, code, f"{name}: {len(path)} hashes where {inner + border} are needed")
    for i, sibling in enumerate(map(bytes.fromhex, path)):
        found = hashlib.sha256(b"\1" + (sibling + found if i >= inner or index >> i & 1 else found + sibling)).digest()
    need(found == root, code, f"{name}: the proof leads to root {found.hex()}, not to {root.hex()}")


def unbase64(text, length, code, name):
    fits = re.fullmatch("[A-Za-z0-9+/]+={0,2}", text) and len(text) == -(-length // 3) * 4
    data = base64.b64decode(text) if fits else b""
    need(len(data) == length and base64.b64encode(data).decode() == text, code, f"{name}: not base64 of {length} bytes")
    return data


def parse_key(line, kind=1, code="key"):
    name, key_id, blob = [*line.split("+", 2), "", ""][:3]
    odd = any(unicodedata.category(char) in ("Cc", "Zs", "Zl", "Zp") for char in name)
    blob = unbase64(blob, 33, code, "the public key")
    right = not odd and 1 <= len(name.encode()) <= 255 and blob[0] == kind
    right = right and hashlib.sha256(name.encode() + b"\n" + blob).hexdigest()[:8] == key_id
    need(right, code, "the public key is not that of a log, or its key id does not fit name and key")
    return name, key_id, blob[1:]


def check_signature(key, signer, signature, message, code, name):
    points = [(point[:31] + bytes([point[31] & 127])).hex() for point in (key[2], signature[:32])]
    right = signer == (key[0], bytes.fromhex(key[1])) and not any(re.fullmatch(SMALL, point) for point in points)
    try:
        Ed25519PublicKey.from_public_bytes(key[2]).verify(signature, message.encode())
    except InvalidSignature:
        right = False
    need(right, code, f"{name}: the signature is not that of {key[0]}+{key[1]}")


def check_checkpoint(log, key):
    code, name, text = "checkpoint", "log.checkpoint", log["checkpoint"]
    form = re.fullmatch("((.+)\n(0|[1-9][0-9]{0,19})\n(.+)\n)\n((?:\u2014 [^ \n]* [^ \n]+\n){1,100})", text)
    right = form and form[2] == key[0] and int(form[3]) < 2**64 and len(text.encode()) <= 65536
    need(right, code, f"{name}: it is malformed, or not of {key[0]}")
    (own, signature), *others = (line.split(" ")[1:] for line in form[5].split("\n")[:-1])
    root, signature = unbase64(form[4], 32, code, name), unbase64(signature, 68, code, name)
    others = [(who, unbase64(blob, 76, code, name)) for who, blob in others]
    order = [(who.encode(), blob[:4]) for who, blob in others]
    right = sorted(order) == order and len({key_id for _, key_id in order}) == len(order)
    need(right and all(blob[4] < 128 for _, blob in others), code, f"{name}: witnesses out of order or there twice")
    check_signature(key, (own, signature[:4]), signature[4:], form[1], code, name)
    yield f"The log {key[0]} signed a checkpoint over {form[3]} entries with the key you trust."
    need(len(log.get("witnesses", [])) == len(others), "witness_count", "log.witnesses: not one for each cosignature")
    for line, (who, blob) in zip(log.get("witnesses", []), others):
        body = f"cosignature/v1\ntime {int.from_bytes(blob[4:12], 'big')}\n{form[1]}"
        check_signature(parse_key(line, 4, "cosignature"), (who, blob[:4]), blob[12:], body, "cosignature", line)
        yield f"{who} cosigned it; whether you trust this witness, with key {line}, is for you to say."
    return int(form[3]), root


def check_shape(value, kind, place):
    bare = kind.rstrip("?")
    if bare in SHAPES and isinstance(value, dict):
        kinds = {name: inner for inner, names in SHAPES[bare] for name in names.split(",")}
        wrong = {name for name in kinds if kinds[name][0] != "~"} - value.keys() | value.keys() - kinds.keys()
        need(not wrong, "form", f"{place}: members missing or too many: {', '.join(sorted(wrong))}")
        for name, item in value.items():
            check_shape(item, kinds[name].lstrip("~"), f"{place}.{name}")
    elif kind[0] == "[" and isinstance(value, list):
        for i, item in enumerate(value):
            check_shape(item, kind[1:-1], f"{place}[{i}]")
    else:
        right = kind == "a" or value is None and kind != bare or bare == "n" and type(value) is int and value >= 0
        if isinstance(value, str) and not right:
            right = bare == "s" or bare == "h" and re.fullmatch("[0-9a-f]{64}", value) or value in bare.split("|")[1:]
        need(right, "form", f"{place}: it is not what it must be ({kind})")


def instant(time, code, name):
    form = re.fullmatch(r"(?a)(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", time)
    need(form, code, f"{name}: {time} is no time in UTC")
    return form[1], (form[2] or "").ljust(9, "0")


def check_record(record, datanets, candidates):
    instant(record["time"], "record", "record.time")
    sizes = {datanet["name"]: datanet["size"] for datanet in datanets}
    places = {(c["datanet"], c["seq"]) for c in candidates if c["seq"] < sizes.get(c["datanet"], 0)}
    right = (len(sizes), len(places)) == (len(datanets), len(candidates))
    need(right, "record", "record: a datanet or candidate is listed twice, or one in no datanet that was searched")
    passages = [c["in_prompt"] for c in candidates if c["in_prompt"] is not None]
    left_out = {c["in_prompt"] for c in candidates if "left_out" in c}
    right = all(cited["n"] in passages and cited["start"] < cited["end"] for cited in record["citations"])
    right = right and len({0, *passages} - left_out) == 1 + len(passages)
    need(right, "record", "record: a passage number is 0, left out or there twice, or a citation is empty or of none")
    right = [share["generation"] for share in record.get("adapters", [])][:1] == [record["adapter_generation"]]
    need(right or "adapters" not in record, "record", "record.adapters: the first is not adapter_generation")
    uses = record.get("uses", [])
    right = all(use["count"] and use["passages"] and use["passages"] == sorted(use["passages"]) for use in uses)
    right = right and all(a["contributor"] < b["contributor"] for a, b in zip(uses, uses[1:]))
    right = right and sorted(n for use in uses for n in use["passages"]) == sorted(passages)
    need(right or "uses" not in record, "record", "record.uses: not every passage is counted once, in order")


def check_opening(opening, expected, name):
    found = hmac.new(bytes.fromhex(opening["salt"]), canonical(opening["value"]).encode(), "sha256").hexdigest()
    need(found == expected, "opening_mismatch", f"{name}: it gives commitment {found}, but {expected} was logged")
    yield f"{name} is shown, and as it was committed to: {canonical(opening['value'])[:160]}"


def check_datapoint(proof, candidate, snapshot, log, name):
    datapoint, inclusion, disclosed = proof["commitment"], proof["inclusion"], proof["disclosed"]
    place, leaf = (datapoint["datanet"], datapoint["seq"]), leaf_hash(datapoint)
    need(leaf.hex() == candidate["leaf"], "leaf_mismatch", f"{name}.commitment: its leaf is {leaf.hex()}")
    numbers = (proof["n"], inclusion["index"], inclusion["size"])
    need(numbers == (candidate["in_prompt"], candidate["seq"], snapshot[0]), "number_mismatch", f"{name}: {numbers}")
    check_inclusion(leaf, inclusion, *snapshot, "not_in_snapshot", f"{name}.inclusion")
    yield f"{name}, passage {proof['n']}, is number {numbers[1]} of {numbers[2]} in {place[0]}: {datapoint['id']}"
    for field in [field for field in ("text", "contributor", "source", "metadata") if field in disclosed]:
        yield from check_opening(disclosed[field], datapoint[field], f"{name}.disclosed.{field}")
    if "erased" in proof:
        need(not disclosed, "disclosed_after_erasure", f"{name}: fields are disclosed although its erasure is logged")
        tombstone = proof["erased"]["tombstone"]
        right = [tombstone[member] for member in ("datanet", "seq", "leaf")] == [*place, leaf.hex()]
        need(right, "tombstone_mismatch", f"{name}.erased: the tombstone is of another datapoint")
        check_inclusion(leaf_hash(tombstone), proof["erased"], *log, "tombstone_not_in_log", f"{name}.erased")
        yield f"{name} was erased on {tombstone['time']}"
    status = "disclosed" if disclosed else "erased" if "erased" in proof else "withheld"
    need(proof["status"] == status, "status_mismatch", f"{name}.status: expected {status}, found {proof['status']}")


def check_grant(proof, leaf, log, bundle, name):
    grant, purposes, subject = proof["entry"], proof["entry"]["purposes"], proof.get("subject")
    issued = instant(grant["issued"], "grant", f"{name}.entry.issued")
    ended = ("never",) if grant["expires"] is None else instant(grant["expires"], "grant", f"{name}.entry.expires")
    need(purposes == sorted(set(purposes)) != [] and issued < ended, "grant", f"{name}.entry: it contradicts itself")
    parts = [(name, proof, leaf), (f"{name}.terms", proof.get("terms"), grant["terms"])]
    for place, part, expected in parts[: 1 + ("terms" in proof)]:
        found = leaf_hash(part["entry"])
        need(found.hex() == expected, "grant_mismatch", f"{place}.entry: its leaf is not {expected}")
        check_inclusion(found, part, *log, "grant_not_in_log", place)
    right = "retrieval" in purposes and grant["datanet"] == proof["datanet"] and proof["index"] < bundle["log"]["index"]
    right = right and issued <= instant(bundle["record"]["time"], "record", "record.time") < ended
    need(right, "grant_not_in_force", f"{name}: it does not allow this search, or was logged after it")
    if subject:
        yield from check_opening(subject, grant["subject"], f"{name}.subject")
        caller = bundle["openings"].get("caller", subject)["value"]
        need(canonical(caller) == canonical(subject["value"]), "grant_of_another", f"{name}.subject: not the caller")
    yield "{datanet} was searched by grant {id}: {}; rows: {rows}; until {expires}".format(", ".join(purposes), **grant)


def cited(response, citation, name):
    choices = response.get("choices") if isinstance(response, dict) else response
    choice = dict(enumerate(choices if isinstance(choices, list) else [])).get(citation["choice"])
    message, text = (choice.get("message"), choice.get("text")) if isinstance(choice, dict) else (None, None)
    text = message["content"] if isinstance(message, dict) and "content" in message else text
    need(isinstance(text, str), "no_such_choice", f"{name}: the response has no text for choice {citation['choice']}")
    need(citation["end"] <= len(text), "citation_outside", f"{name}: it ends beyond {len(text)} characters")
    return canonical(text[citation["start"] : citation["end"]])


def verify(data, line):
    key = parse_key(line)
    need(data.endswith(b"\n"), "no_newline", "file: it must end with one newline after the JSON")
    try:
        bundle = json.loads(data[:-1].decode())
        need(canonical(bundle).encode() == data[:-1], "form", "file: the JSON is not in canonical form")
    except (ValueError, RecursionError) as error:
        raise NotProved("form", f"file: it is not JSON that all agree on: {error}") from None
    check_shape(bundle, "bundle", "bundle")
    record, openings, place, grants = bundle["record"], bundle["openings"], bundle["log"], bundle.get("grants", [])
    datanets, candidates = map((record["retrieval"] or {}).get, ("datanets", "candidates"), ([], []))
    right = all(("grant" in d["access"]) == (d["access"]["basis"] == "grant") for d in datanets if "access" in d)
    right = right and place.get("witnesses", True) and bundle.get("grants", True)
    need(right, "form", "file: a basis of access without its grant, or an empty array that must be left out")
    need("rotations" not in place, "key", "the log's key was changed; only `cairn verify` follows such changes")
    need(bundle["key"] == line, "wrong_key", f"key: expected the trusted key {line}, found {bundle['key']}")
    log = yield from check_checkpoint(place, key)
    check_record(record, datanets, candidates)
    check_inclusion(leaf_hash(record), place, *log, "record_not_in_log", "record")
    yield f"The record of answer {record['id']} of {record['time']} is entry {place['index']}, unchanged."
    yield from ["log.anchor is NOT checked here: `cairn verify --anchor` does."] if "anchor" in place else []
    places, proved = [(candidate["datanet"], candidate["seq"]) for candidate in candidates], [-1]
    snapshots = {d["name"]: (d["size"], bytes.fromhex(d["root"])) for d in datanets}
    for i, proof in enumerate(bundle["datapoints"]):
        at = (proof["commitment"]["datanet"], proof["commitment"]["seq"])
        need(at in places, "datapoint_not_in_record", f"datapoints[{i}]: {at} is no candidate of the record")
        proved.append(places.index(at))
        need(proved[-1] > proved[-2], "datapoint_order", f"datapoints[{i}]: {at} is out of order or there twice")
        yield from check_datapoint(proof, candidates[proved[-1]], snapshots[at[0]], log, f"datapoints[{i}]")
    for i, candidate in enumerate(candidates):
        need(candidate["in_prompt"] is None or i in proved, "datapoint_missing", f"datapoints: candidate {i} has none")
    for name in [name for name in ("request", "response", "query", "caller", "filter") if name in openings]:
        expected = {**(record["retrieval"] or {}), **record}.get(name)
        need(expected, f"no_{name}", f"openings.{name}: the record holds none")
        yield from check_opening(openings[name], expected, f"openings.{name}")
    for i, citation in enumerate(record["citations"]):
        name, answer = f"record.citations[{i}]", openings.get("response")
        words = cited(answer["value"], citation, name) if answer else ""
        yield "Characters {start} to {end} {} cite passage {n} ({kind})".format(words, **citation)
    if measured := bundle.get("influence"):
        own = f'"record":"{leaf_hash(record).hex()}"' in canonical(measured["entry"])
        need(own, "influence", "influence: the entry is of another record")
        check_inclusion(leaf_hash(measured["entry"]), measured, *log, "influence_not_in_log", "influence")
        yield "What the log says of each passage's influence is as it was logged; its sums are not checked here."
    granted = [d for d in datanets if "grant" in d.get("access", {})]
    right = [proof["datanet"] for proof in grants] == [datanet["name"] for datanet in granted]
    need(right, "grants_differ", "grants: they are not those of the record, in its order")
    for i, (proof, datanet) in enumerate(zip(grants, granted)):
        yield from check_grant(proof, datanet["access"]["grant"], log, bundle, f"grants[{i}]")


def main():
    arguments = argparse.ArgumentParser(description="Check a Cairn proof bundle offline.", allow_abbrev=False)
    arguments.add_argument("bundle", help="the proof bundle, a .json file as received")
    arguments.add_argument("--key", required=True, help="file with the log's public key, from a source you trust")
    arguments.add_argument("--json", action="store_true", help="print the result as JSON")
    given = arguments.parse_args()
    try:
        with open(given.key, encoding="utf-8") as key, open(given.bundle, "rb") as bundle:
            result = {"verdict": "proved", "proved": list(verify(bundle.read(), key.read().rstrip()))}
        text = "PROVED\n" + "".join(f"\n{i:3}. {what.translate(SAFE)}" for i, what in enumerate(result["proved"], 1))
    except (OSError, ValueError, NotProved) as error:
        if (code := error.args[0] if isinstance(error, NotProved) else "key") == "key":
            return print(f"verify_bundle: {error.args[-1]}", file=sys.stderr) or 2
        result = {"verdict": "not_proved", "code": code, "error": error.args[1]}
        text = f"NOT PROVED\n\n  {error.args[1].translate(SAFE)}\n\nDo not rely on this bundle."
    print(json.dumps(result, indent=2) if given.json else text)
    return 0 if result["verdict"] == "proved" else 1


if __name__ == "__main__":
    sys.exit(main())

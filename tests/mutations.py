"""Damage to files, decided by a random generator: the same seed, the same damage."""

import copy
import csv
import io
import json
import random
import zipfile

# What stands where another value should: by its size, its type or its text.
VALUES = [
    *(None, True, False, 0, -1, 1, 2, 3, 7, 64, 1000, 2**31, 2**63, 10**9, 10**30),
    *(0.5, -0.0, 1e308, float("nan"), float("inf"), "", "a", "nan", "../../x", "/etc"),
    *("\x1b[31mred", "\ud800", "\udcff", "\u202egnp", "é" * 3, "x" * 5000, "1" * 400),
    *([], {}, [[]], [0], ["a"], {"a": 1}, [1] * 1000, [[1, 2], [3]]),
]


def a_value(rng: random.Random):
    """One of them, which may be changed in turn."""
    return copy.deepcopy(rng.choice(VALUES))


def changed_bytes(rng: random.Random, data: bytes) -> bytes:
    """Bits flipped, parts overwritten, cut, doubled or put in."""
    start = rng.randrange(len(data) + 1)
    stop = min(len(data), start + rng.choice([1, 4, 64, 1024]))
    junk = rng.choice([b"\0", b"\xff", rng.randbytes(7)]) * (stop - start)
    kind = rng.randrange(8)
    if kind <= 2:
        return _flipped(rng, data, 1 if kind else rng.randrange(1, 33))
    return {
        3: data[:start] + junk[: stop - start] + data[stop:],
        4: data[:start],
        5: data[:stop] + data[start:],
        6: data[:start] + junk + data[start:],
        7: b"" if rng.random() < 0.3 else data[start:stop],
    }[kind]


def _flipped(rng: random.Random, data: bytes, count: int) -> bytes:
    changed = bytearray(data)
    for _ in range(count if data else 0):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def changed_json(rng: random.Random, data: bytes) -> bytes:
    """A value, a field or the text of a JSON file changed."""
    if rng.random() < 0.2:
        return changed_bytes(rng, data)
    content = json.loads(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        content = _changed_value(rng, content)
    text = json.dumps(content)
    digit = next((c for c in text if c.isdigit()), "")
    return rng.choice(
        [
            *[text.encode("utf-8", "surrogatepass")] * 8,
            b"\xef\xbb\xbf" + text.encode(),
            text.encode("utf-16"),
            text.replace(digit, "9" * rng.choice([40, 4000, 6000]), 1).encode(),
            text.replace("[", "[" * rng.choice([70, 900, 10**5]), 1).encode(),
            text.replace("{", '{"name": 1, "name": 2, ', 1).encode(),
            b'{"a":' * 10**5,
            text.encode() + b" " * 2**24,
        ]
    )


def _changed_value(rng: random.Random, content):
    """Goes down to a place in it at random, and changes what is there."""
    inner = isinstance(content, dict | list) and content
    if type(content) is int and rng.random() < 0.5:
        return rng.choice([content + 1, content * rng.choice([2, 10, 10**3, 10**6])])
    if not inner or rng.random() < 0.1:
        return a_value(rng)
    key = rng.choice([*content] if isinstance(content, dict) else range(len(content)))
    kind = rng.random()
    if kind < 0.1:
        del content[key]
    elif kind < 0.15 and isinstance(content, list):
        content.insert(key, a_value(rng))
    elif kind < 0.15:
        content[f"{key}x"] = content.pop(key)
    else:
        content[key] = _changed_value(rng, content[key])
    return content


def changed_csv(rng: random.Random, data: bytes) -> bytes:
    """A cell, a row or a column of a table changed, or its bytes."""
    if rng.random() < 0.3:
        return changed_bytes(rng, data)
    rows = list(csv.reader(io.StringIO(data.decode())))
    row = rng.choice(rows)
    column = rng.randrange(len(row))
    kind = rng.randrange(4)
    if kind == 0:
        row[column] = str(a_value(rng))
    elif kind == 1:
        rows = [[*r[:column], *r[column + 1 :]] for r in rows]
    elif kind == 2:
        del row[column:]
    else:
        row += [str(a_value(rng))]
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def changed_archive(rng: random.Random, data: bytes) -> bytes:
    """A member of a zip archive changed, with the checksum of what it is now."""
    if rng.random() < 0.4:
        return changed_bytes(rng, data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice([*members])
    kind = rng.randrange(6)
    if kind == 0:
        del members[name]
    elif kind == 1:
        members[rng.choice(["../x", "/tmp/x", "a\\b", "x" * 999])] = b"x"
    elif kind == 2:
        members[name] = b"\0" * 2**27
    elif name.endswith(".json"):
        members[name] = changed_json(rng, members[name])
    else:
        members[name] = changed_bytes(rng, members[name])
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return file.getvalue()

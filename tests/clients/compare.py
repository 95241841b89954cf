# SPDX-License-Identifier: MIT
"""compare.py - what of a run is compared, and how: the fourth column of cases.conf

  text           what it printed, to the byte
  file:NAME,...  files that it left in its folder, to the byte
  floats:NAME    the same of a file of 32-bit floating-point numbers, none of which is a NaN or infinite
  json[:NAME]    JSON that it printed, or a file of it, but for times, names and versions
  vector[:NAME]  all numbers that it printed, or of a file, in their order: four different ones or more, all finite
  success        that it succeeded: for one that judges itself, and prints nothing
  figure:REGEX   what the groups of a regular expression find, in what it printed and said, at least once
"""
import array
import hashlib
import json
import math
import os
import re

# Keys of JSON that say when, how fast, and on which device.
VOLATILE = re.compile(r"timings?$|created|^id$|_id$|_ms$|per_second|^speed|^t$|^t_|_ns$|_ts$|fingerprint|build|"
                      r"samples_|backends?$|gpu_info|cpu_info|devices?$|^systeminfo$|test_time")
NUMBER = re.compile(rb"(?<![\w.])-?\d+\.\d+(?:[eE][-+]?\d+)?|(?<![\w.])-?(?:nan|inf)\b")


class Nothing(Exception):
    """A run gave nothing to compare."""


def content(kind, result):
    """What the part behind the colon names: a file's bytes, or what was printed."""
    name = kind.partition(":")[2]
    if not name:
        return result.stdout
    path = os.path.join(result.folder, name)
    if not os.path.exists(path):
        raise Nothing(f"it left no {name}")
    with open(path, "rb") as file:
        return file.read()


def steady(value):
    """JSON without what differs from run to run."""
    if isinstance(value, dict):
        return {key: steady(v) for key, v in value.items() if not VOLATILE.search(key)}
    return [steady(v) for v in value] if isinstance(value, list) else value


def check_numbers(numbers):
    """Numbers that say something: several different ones, all finite."""
    if len(set(numbers)) < 4:
        raise Nothing(f"it gave {len(numbers)} numbers, {len(set(numbers))} different ones")
    wrong = sum(not math.isfinite(n) for n in numbers)
    if wrong:
        raise Nothing(f"{wrong} of its {len(numbers)} numbers are not finite")


def take(kind, result):
    """What is compared of a run. Raises Nothing if that is nothing."""
    how, _, rest = kind.partition(":")
    if how == "success":
        return "success"
    if how == "text":
        if not result.stdout.strip():
            raise Nothing("it printed nothing")
        return result.stdout
    if how == "file":
        files = {name: content(f"file:{name}", result) for name in rest.split(",")}
        for name, data in files.items():
            if not data:
                raise Nothing(f"{name} is empty")
        return files
    if how == "floats":
        data = content(kind, result)
        numbers = array.array("f", data[:len(data) // 4 * 4])
        check_numbers(numbers)
        return {rest: data}
    if how == "json":
        text = content(kind, result).decode(errors="replace")
        try:
            return [steady(json.loads(text))]
        except json.JSONDecodeError:
            pass
        try:
            lines = [steady(json.loads(line)) for line in text.splitlines() if line.strip()]
        except json.JSONDecodeError as e:
            raise Nothing(f"it gave no JSON: {e}") from e
        if not lines:
            raise Nothing("it gave no JSON")
        return lines
    if how == "vector":
        numbers = [float(n) for n in NUMBER.findall(content(kind, result))]
        check_numbers(numbers)
        return numbers
    if how == "figure":
        found = re.findall(rest, result.stdout.decode(errors="replace") + result.stderr)
        if not found:
            raise Nothing("it gave no such figure")
        return tuple(found)
    raise ValueError(f"cases.conf: nothing is compared so: {kind}")


def first_difference(want, got, where=""):
    """Where two values of JSON differ, in a phrase, or None."""
    parts = []
    if isinstance(want, dict) and isinstance(got, dict) and want.keys() == got.keys():
        parts = [(f"{where}.{key}", want[key], got[key]) for key in want]
    elif isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        parts = [(f"{where}[{i}]", a, b) for i, (a, b) in enumerate(zip(want, got))]
    # By their words: one NaN is as good as another.
    elif repr(want) != repr(got):
        return f"{where or 'it'} is {want!r:.60} natively, {got!r:.60} through vgr"
    return next(filter(None, (first_difference(a, b, at) for at, a, b in parts)), None)


def difference(kind, want, got):
    """What differs, in a phrase, or None."""
    how = kind.partition(":")[0]
    if how == "json":
        return first_difference(want, got)
    if how == "vector" and len(want) != len(got):
        return f"{len(want)} numbers natively, {len(got)} through vgr"
    if how == "vector":
        if list(map(repr, want)) == list(map(repr, got)):
            return None
        return f"numbers differ by up to {max(abs(a - b) for a, b in zip(want, got)):g}"
    if how in ("file", "floats"):
        for name, data in want.items():
            if data != got[name]:
                at = next((i for i, (a, b) in enumerate(zip(data, got[name])) if a != b), "its end")
                return f"{name} differs at byte {at}"
        return None
    return None if want == got else "they differ"


def digest(data):
    return hashlib.sha256(data).hexdigest()[:8]


def show(value):
    """A value in some words."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes {digest(value)} ...{value.decode(errors='replace').strip()[-24:]!r}"
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        words = [" ".join(v) if isinstance(v, tuple) else v for v in value]
        return ", ".join(words[:4]) + (", ..." if len(words) > 4 else "")
    if isinstance(value, dict):
        return ", ".join(f"{name} {len(data)} bytes {digest(data)}" for name, data in value.items())
    if value and isinstance(value[0], float):
        return f"{len(value)} numbers {digest(repr(value).encode())} from {value[0]:g}"
    text = json.dumps(value)
    return f"{len(text)} bytes of JSON {digest(text.encode())}"

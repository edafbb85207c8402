"""Whether a written answer means the same as the key of a cloze question.

upstream: ruixiangcui/AGIEval, src/post_process.py (parse_math_answer) and src/math_equivalence.py,
which is that of hendrycks/math. What both read alike counts as upstream has it. More is right here:
keys that hold an equation or dollar signs, which upstream compares with what is left of the answer
after it has taken them out, and answers that are the key, word for word.
"""

from __future__ import annotations

import re

LEFT_HAND_SIDE = 2  # upstream: characters before a lone "=" that only name the unknown

# Spellings of LaTeX and of punctuation that mean the same, in the order they are applied.
SPELLINGS: tuple[tuple[str, str], ...] = (
    (r"\\!|\\,|\\;|\\:|~|\n", ""),
    (r"\\\\", r"\\"),
    (r"\\[td]frac", r"\\frac"),
    (r"\\(left|right)(?![a-z])", ""),
    (r"\^\{\\circ\}|\^\\circ|°", ""),
    (r"\\?[$%]", ""),
    (r"；", ";"),
    (r"，", ","),
    (r"（", "("),
    (r"）", ")"),
    (r"\\text\{ .*", ""),  # units, which only ever follow
    (r"(^|[ {])\.(?=\d)", r"\g<1>0."),
)
# Applied once the spaces are gone.
COMPACT: tuple[tuple[str, str], ...] = (
    (r"\\sqrt([^{])", r"\\sqrt{\1}"),
    (r"\\frac([^{])([^{])", r"\\frac{\1}{\2}"),
    (r"\\frac([^{])\{", r"\\frac{\1}{"),
    (r"^0\.5$", r"\\frac{1}{2}"),
    (r"^(-?\d+)/(-?\d+)$", r"\\frac{\1}{\2}"),
)


def canonical(text: str) -> str:
    """One spelling for answers that differ in spelling alone."""
    for pattern, spelling in SPELLINGS:
        text = re.sub(pattern, spelling, text)
    parts = text.split("=")
    if len(parts) == 2 and len(parts[0]) <= LEFT_HAND_SIDE:
        text = parts[1]
    text = re.sub(r"\s", "", text)
    for pattern, spelling in COMPACT:
        text = re.sub(pattern, spelling, text)
    return text


def matching(key: str, text: str) -> tuple[str, bool]:
    """The reading of an answer that equals the key and True, or the likeliest one and False."""
    found = readings(text)
    wanted = canonical(key)
    for reading in found:
        if reading and canonical(reading) == wanted:
            return reading, True
    return next(filter(None, found), ""), False


def readings(text: str) -> list[str]:
    """What an answer may be saying, likeliest first: upstream's reading, then what it cuts from."""
    line = text.strip()
    cut = next((part for find in (boxed, _in_dollars) if (part := find(line)) is not None), None)
    whole = line.rstrip(".。")
    if cut is not None:
        return [_after_equals(cut), cut, whole]
    if "=" in line:
        return [_after_equals(line).rstrip("."), whole]
    numbers = re.findall(r"\d+(?:\.\d+)?(?!\w)", line)
    return [*numbers[-1:], whole]


def boxed(text: str) -> str | None:
    r"""Content of the last `\boxed{...}`, braces balanced; None where there is none."""
    start = text.rfind(BOXED)
    if start < 0:
        return None
    depth, first = 1, start + len(BOXED)
    for place in range(first, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[first:place]
    return None


BOXED = r"\boxed{"


def _in_dollars(text: str) -> str | None:
    """From the first dollar sign to the last; None where there are not two."""
    found = re.search(r"\$(.+)\$", text)
    return None if found is None else found[1]


def _after_equals(text: str) -> str:
    return text.rsplit("=", 1)[-1].lstrip(" ")

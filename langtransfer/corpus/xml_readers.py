"""Readers of XML: translation memories, the Universal Declaration, any elements."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

from langtransfer.corpus.archives import BROKEN
from langtransfer.errors import UserError

Rows = Iterator[tuple[int, str]]
UDHR = "{http://efele.net/udhr}"
"""XML name space of the Universal Declaration files, https://efele.net/udhr"""
XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
NOT_XML = (ElementTree.ParseError, LookupError, ValueError)
"""The last two are for an encoding that is unknown or that expat does not read."""
UDHR_TEXT = (f"{UDHR}title", f"{UDHR}para")


def read_udhr(path: Path, field: str) -> Rows:
    """One document per article (and the preamble): title and paragraphs."""
    try:
        root = ElementTree.parse(path).getroot()  # expat bounds entity expansion by itself
    except NOT_XML as error:
        raise UserError("file", str(path), f"not XML ({error}): fetch it again") from error
    sections = (node for node in root if node.tag in (f"{UDHR}preamble", f"{UDHR}article"))
    for number, section in enumerate(sections):
        texts = (node.text or "" for node in section.iter() if node.tag in UDHR_TEXT)
        yield number, "\n".join(text.strip() for text in texts if text.strip())


def read_tmx(path: Path, field: str) -> Rows:
    """Segments of one language (`field`, as xml:lang) of a translation memory, zipped or not.

    upstream: TMX 1.4b. Formatting codes inside a segment are read as its text.
    """
    there: set[str] = set()
    found = False
    try:
        with _opened_tmx(path) as file:
            nodes = (node for _, node in ElementTree.iterparse(file))  # streamed, bombs as above
            for number, unit in enumerate((node for node in nodes if node.tag == "tu"), start=1):
                for variant in unit.iter("tuv"):
                    there.add(language := variant.get(XML_LANG, ""))
                    text = "".join(s for seg in variant.iter("seg") for s in seg.itertext()).strip()
                    if text and language.lower() == field.lower():
                        found = True
                        yield number, text
                        break
                unit.clear()
    # zipfile says NotImplementedError of a compression it does not know.
    except (*NOT_XML, *BROKEN, NotImplementedError) as error:
        raise UserError("file", str(path), f"not TMX ({error}): fetch it again") from error
    if not found:
        remedy = f"no segment of {path} is in this language: name one of {', '.join(sorted(there))}"
        raise UserError("field", field, remedy)


def read_xml(path: Path, field: str) -> Rows:
    """The text of every element called `field`, whatever its name space: `seg` of cesDoc."""
    found: set[str] = set()
    number = 0
    try:
        with path.open("rb") as file:
            for _, node in ElementTree.iterparse(file):
                found.add(name := str(node.tag).rpartition("}")[2])
                if name == field:
                    number += 1
                    if text := "".join(node.itertext()).strip():
                        yield number, text
                    node.clear()
    except NOT_XML as error:
        raise UserError("file", str(path), f"not XML ({error}): fetch it again") from error
    if not number:
        remedy = f"no element of {path} has this name: name one of {', '.join(sorted(found)[:20])}"
        raise UserError("field", field, remedy)


@contextmanager
def _opened_tmx(path: Path) -> Iterator[IO[bytes]]:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith(".tmx")]
        if len(names) != 1:
            remedy = f"must hold one file .tmx, not {len(names)}: unpack it and name them"
            raise UserError("file", str(path), remedy)
        with archive.open(names[0]) as file:
            yield file

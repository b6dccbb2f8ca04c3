"""The reader of PDF: the text of each page (pypdf), under the heading ``page 3``."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pellucid.apps.rag.reading import Heading, Reading, needed
from pellucid.errors import InputError

_NO_TEXT = re.compile(r"[\0\ud800-\udfff]")
BETWEEN = "\n\n"


def pdf(path: Path, data: bytes) -> Reading:
    """The pages' texts, a blank line between them. Raises ``InputError`` for a file that asks for a password, holds
    pictures of text alone, or is broken."""
    library = needed("pypdf", "pypdf", f"reading {path}")
    try:
        with _unheard():
            reader = library.PdfReader(io.BytesIO(data))
            if reader.is_encrypted and not reader.decrypt(""):
                raise InputError(f"{path} is encrypted: save a copy without a password")
            pages = [_NO_TEXT.sub("\ufffd", page.extract_text()) for page in reader.pages]
    except InputError:
        raise
    except library.errors.DependencyError as e:  # AES, and no package that knows it
        raise InputError(f"{path} is encrypted, and reading it needs another package: {_line(e)}") from None
    except Exception as e:  # a broken file can make the library fail anywhere
        raise InputError(f"{path} cannot be read as a PDF: {_line(e)}") from None
    if not any(p.strip() for p in pages):
        said = "one page" if len(pages) == 1 else f"{len(pages)} pages"
        raise InputError(f"{path} holds {said} without text (a scan?): run text recognition (OCR) on it first")
    text, headings = "", []
    for number, page in enumerate(pages, 1):
        text += BETWEEN if text else ""
        headings.append(Heading(len(text), len(text), f"page {number}"))
        text += page
    return Reading(text, tuple(headings))


@contextmanager
def _unheard() -> Iterator[None]:
    """The library logs every oddity of a file: to whoever set up logging, and not to standard error by default."""
    logger, handler = logging.getLogger("pypdf"), logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _line(e: BaseException) -> str:
    return (str(e).strip().splitlines() or [type(e).__name__])[0]

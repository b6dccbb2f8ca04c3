"""SQuAD-style JSON: paragraphs, questions and marked answers.

    examples = read(Path("xquad-en.json"))
    examples[0].context, examples[0].question, examples[0].spans

The layout is SQuAD 1.1's (Rajpurkar et al. 2016, arXiv:1606.05250), which XQuAD and CMRC 2018 share: ``data`` ->
``paragraphs`` -> ``context``, ``qas`` -> ``question``, ``answers`` -> ``text``, ``answer_start``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import InputError


@dataclass(frozen=True)
class Example:
    """One question about one paragraph. ``spans`` are the marked answers (start, end) in characters of ``context``;
    empty where the paragraph has none."""

    id: str
    context: str
    question: str
    spans: tuple[tuple[int, int], ...]


def read(path: Path, *, each: str = "first") -> list[Example]:
    """The questions of a file: of each paragraph the ``first``, or ``all``.

    A marked answer that does not stand where the file says is taken where it stands nearest; one that the paragraph
    does not hold is left out. Raises ``InputError`` for a file that cannot be read, is not JSON, or is not laid out as
    SQuAD is.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from None
    except UnicodeDecodeError as e:
        raise InputError(f"{path} is not UTF-8 text (byte {e.start}): expected a SQuAD-style JSON file") from None
    except json.JSONDecodeError as e:
        raise InputError(
            f"{path} is not JSON ({e.msg} at line {e.lineno}): expected a SQuAD-style file, or it was cut short"
        ) from None
    found: list[Example] = []
    try:
        for article in data["data"]:
            for paragraph in article["paragraphs"]:
                # CMRC 2018's trial set has a question or two without a word in them: nothing can be asked there.
                asked = [q for q in paragraph["qas"] if str(q["question"]).strip()]
                questions = asked[:1] if each == "first" else asked
                found += [_example(paragraph["context"], q, len(found) + k) for k, q in enumerate(questions)]
    except (KeyError, TypeError) as e:
        raise InputError(
            f"{path} is not laid out as SQuAD is (after {len(found)} questions: {type(e).__name__} {e}): expected "
            "data -> paragraphs -> context, qas -> question, answers -> text, answer_start"
        ) from None
    if not found:
        raise InputError(f"{path} holds no question: expected data -> paragraphs -> qas")
    return found


def _example(context: str, question: dict[str, Any], number: int) -> Example:
    spans = []
    for answer in question["answers"]:
        start, text = int(answer["answer_start"]), str(answer["text"])
        if (
            context[start : start + len(text)] != text or start < 0
        ):  # published files have such: CMRC's are off by a few
            places = [m.start() for m in re.finditer(re.escape(text), context)] if text else []
            if not places:
                continue
            start = min(places, key=lambda at: abs(at - int(answer["answer_start"])))
        spans.append((start, start + len(text)))
    return Example(str(question.get("id", number)), context, str(question["question"]), tuple(dict.fromkeys(spans)))

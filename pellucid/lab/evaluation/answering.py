"""Question answering on SQuAD-style JSON: exact match and F1, of a span head or of a model that writes the answer.

    [[task]]
    name = "xquad"
    kind = "question_answering"
    data = "xquad-zh.json"
    prompt = "{context}\\n\\n问题：{question}\\n答案："
    max_new_tokens = 16
    limit = 100

English answers are compared as SQuAD's own script does (Rajpurkar et al. 2016, arXiv:1606.05250): in lower case,
without marks and articles, F1 over the words that both have. Chinese ones by character, without marks. Of several
marked answers the best counts. ``language`` is "en", "zh" or "auto" (by what the questions are). A written answer is
the first line of what the model writes. Questions without an answer are left out, and counted in the note.
"""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.errors import InputError, OptionError, unknown
from pellucid.lab.evaluation.bootstrap import of_mean
from pellucid.lab.evaluation.extractive import extract
from pellucid.lab.evaluation.inputs import spread, text_of
from pellucid.lab.evaluation.result import Row
from pellucid.lab.evaluation.sampling import answers, room
from pellucid.lab.evaluation.setting import LANGUAGES
from pellucid.lab.evaluation.tasks import Task, data_of, template
from pellucid.lab.evaluation.words import chinese, words
from pellucid.models.encode import encode
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent

TITLES = {"exact_match": "exact match", "f1": "F1"}
KEYS: dict[str, Any] = {
    "prompt": str,
    "max_new_tokens": int,
    "chat": bool,
    "language": str,
    "window": int,
    "stride": int,
}
PROMPTS = {
    "en": "{context}\n\nQuestion: {question}\nAnswer:",
    "zh": "{context}\n\n问题：{question}\n答案：",
}
NEW_TOKENS = 24


@dataclass(frozen=True)
class Question:
    """A question about a paragraph, and its marked answers."""

    context: str
    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Questions(Sequence[Question]):
    """The questions of a task. ``left_out`` are the file's without an answer."""

    rows: tuple[Question, ...]
    left_out: int
    language: str

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]


def english(text: str) -> list[str]:
    """Words as SQuAD compares them: lower case, no ASCII marks, no articles."""
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def by_character(text: str) -> list[str]:
    """Chinese characters, and runs of other letters, in lower case; marks of any script are left out."""
    return words("".join(" " if unicodedata.category(c)[0] == "P" else c for c in text))


def _exact(said: list[str], right: list[str]) -> float:
    return float(said == right)


def _f1(said: list[str], right: list[str]) -> float:
    if not said or not right:
        return float(said == right)
    both = sum((Counter(said) & Counter(right)).values())
    return 2 * both / (len(said) + len(right))


MODELS = ("causal", "seq2seq", "span")
METRICS: dict[str, Callable[[list[str], list[str]], float]] = {"exact_match": _exact, "f1": _f1}
DEFAULT = ("exact_match", "f1")


def score(said: str, right: Sequence[str], metric: str, language: str) -> float:
    """Of one answer, the best over the marked ones."""
    split = by_character if language == "zh" else english
    return max(METRICS[metric](split(said), split(r)) for r in right)


def read(task: Task) -> Questions:
    """The questions. Raises ``InputError`` for another layout, ``OptionError`` for options."""
    language = task.options.get("language", "auto")
    if language not in LANGUAGES:
        raise unknown(f"language of the task '{task.name}':", language, list(LANGUAGES))
    template(task, ["context", "question"], PROMPTS["en"])
    if task.options.get("max_new_tokens", 1) < 1:
        raise OptionError(f"max_new_tokens of the task '{task.name}' should be 1 or more")
    path = data_of(task)
    found: list[Question] = []
    left_out = 0
    try:
        for article in json.loads(text_of(path))["data"]:
            for paragraph in article["paragraphs"]:
                for q in paragraph["qas"]:
                    right = tuple(dict.fromkeys(str(a["text"]) for a in q["answers"] if str(a["text"]).strip()))
                    left_out += not right
                    if right and not str(paragraph["context"]).strip():
                        raise InputError(f"{path}: question {len(found) + 1} is about an empty context")
                    if right:
                        found.append(Question(str(paragraph["context"]), str(q["question"]), right))
    except json.JSONDecodeError as e:
        raise InputError(f"{path} is not JSON ({e.msg} at line {e.lineno}): expected a SQuAD-style file") from None
    except (KeyError, TypeError) as e:
        raise InputError(
            f"{path} is not laid out as SQuAD is (after {len(found)} questions: {type(e).__name__} {e}): expected "
            "data -> paragraphs -> context, qas -> question, answers -> text"
        ) from None
    if not found:
        raise InputError(f"{path} holds no question with an answer: expected data -> paragraphs -> qas -> answers")
    if language == "auto":
        language = "zh" if chinese([q.question for q in found]) else "en"
    return Questions(tuple(spread(found, task.limit)), left_out, language)


def check(loaded: LoadedModel, task: Task) -> None:
    """Raise ``ContextError`` for a prompt that does not fit. A span head reads in windows."""
    if loaded.kind != "span":
        _prompts(loaded, task)


def run(loaded: LoadedModel, task: Task, *, seed: int = 0, progress: Progress = silent) -> list[Row]:
    """A row for each metric. Raises ``ContextError`` for a prompt that does not
    fit."""
    questions = task.examples
    assert isinstance(questions, Questions)
    if loaded.kind == "span":
        window, stride = task.options.get("window"), task.options.get("stride")
        pairs = [(q.question, q.context) for q in questions.rows]
        said = extract(loaded, pairs, window=window, stride=stride, stage=task.name, progress=progress)
        note = "span head"
    else:
        new = task.options.get("max_new_tokens", NEW_TOKENS)
        found = answers(loaded, _prompts(loaded, task), max_new_tokens=new, stage=task.name, progress=progress)
        said, note = [first_line(w.text) for w in found], "written"
    note += ", by character" if questions.language == "zh" else ""
    note += f"; {questions.left_out} questions without an answer left out" if questions.left_out else ""
    rows = []
    for metric in task.metrics:
        values = [score(a, q.answers, metric, questions.language) for a, q in zip(said, questions.rows, strict=True)]
        rows.append(Row.of(task.group, TITLES[metric], of_mean(values, seed=seed), "share", "up", note))
    return rows


def _prompts(loaded: LoadedModel, task: Task) -> list[tuple[int, ...]]:
    """Token ids of each question's prompt. Raises ``ContextError``."""
    questions = task.examples
    assert isinstance(questions, Questions)
    frame = template(task, ["context", "question"], PROMPTS[questions.language])
    raw = not task.options.get("chat")
    prompts = [
        tuple(encode(loaded, frame.format(context=q.context, question=q.question), raw=raw).ids) for q in questions.rows
    ]
    new = task.options.get("max_new_tokens", NEW_TOKENS)
    for k, ids in enumerate(prompts, 1):
        room(loaded, len(ids), new, f"question {k} of the task '{task.name}'")
    return prompts


def first_line(text: str) -> str:
    """The first line that holds something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")

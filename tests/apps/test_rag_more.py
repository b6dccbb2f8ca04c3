"""What stands on answers from passages: turns, routes, steps, contradictions, checks. Scripted models are known
exactly; the pairs of ``statement_pairs`` measure the rules; the embedded model is asked a few times for real."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from statement_pairs import MATCHED, PAIRS

from pellucid.apps.rag.ask import ask
from pellucid.apps.rag.content import content, keywords
from pellucid.apps.rag.contradictions import Contradictions, contradictions, contradictions_among
from pellucid.apps.rag.facts import facts, names
from pellucid.apps.rag.hops import ask_hops, numbered
from pellucid.apps.rag.hops import unusable as no_steps
from pellucid.apps.rag.passage import Found, Passage
from pellucid.apps.rag.quantities import quantities
from pellucid.apps.rag.rewriting import Turn, standalone, unusable
from pellucid.apps.rag.routing import Routed, route
from pellucid.apps.rag.rules import clash
from pellucid.apps.rag.standalone import Conversation
from pellucid.apps.rag.verified import CONTRADICTED, NOT_FOUND, SUPPORTED, Verified
from pellucid.apps.rag.verify import missing, verify
from pellucid.errors import OptionError
from pellucid.model import Model
from pellucid.render import blocks as B
from pellucid.render.appviews import app_view
from pellucid.testing import KNOWN, UNKNOWN, Scripted


def found(*texts: str, collection: str = "") -> list[Found]:
    return [
        Found(Passage(f"{collection}{k}", f"doc{k}.md", 0, len(t), t, "", collection), 1.0 / k, k)
        for k, t in enumerate(texts, 1)
    ]


class Shelf:
    """Finds the passages that share most content words with the query; keeps what it was asked."""

    def __init__(self, *texts: str) -> None:
        self.found, self.queries = found(*texts), []

    def search(self, query: str, k: int = 5) -> Sequence[Found]:
        self.queries.append(query)
        asked = set(content(query))
        scored = [(len(asked & set(content(f.passage.text))), f) for f in self.found]
        return [f for n, f in sorted(scored, key=lambda s: -s[0]) if n][:k]


BRIDGE = "The Brindle Bridge was designed by Clara Voss. It opened in 1932."
VOSS = "Clara Voss was born in Lund. She studied in Paris."


# -- words ----------------------------------------------------------------------------------------------------------


def test_content_words() -> None:
    assert content("The bridges were opened on the 3 hills") == ["bridg", "open", "3", "hill"]
    assert content("这座桥建成了") == ["桥", "建", "成"]
    assert keywords("When was the Brindle Bridge opened?") == ["Brindle", "Bridge", "opened"]
    assert set("".join(keywords("布林德桥是谁设计的？"))) >= set("布林德设计")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It seats 1,200 people and is 0.5 km long.", [(1200, "person"), (500, "metre")]),
        ("twenty-five layers cost $3 million", [(25, "layer"), (3e6, "dollar")]),
        ("票价三十五元，共两百人。", [(35, "yuan"), (200, "person")]),
        ("销量1.5万辆，占30%。", [(15000, "辆"), (30, "percent")]),
        ("Open from 9:30 a.m. to 5 pm.", [(570, "clock"), (1020, "clock")]),
        ("下午3点半开会", [(930, "clock")]),
        ("gpt-2 v1.2 float32 3D 5th 2/3 one of them", []),
        ("第三座桥", []),
    ],
)
def test_quantities(text: str, expected: list[tuple[float, str]]) -> None:
    assert [(pytest.approx(q.value), q.kind) for q in quantities(text)] == expected
    assert all(text[q.start : q.start + len(q.text)] == q.text for q in quantities(text))


def test_dates_denials_names() -> None:
    dates = facts("On 3 May 1998, in May 2020, since 1871 and 2020-03-04; it may rain.").dates
    assert {(d.year, d.month, d.day) for d in dates} == {
        (1998, 5, 3),
        (2020, 5, None),
        (1871, None, None),
        (2020, 3, 4),
    }
    assert [(d.year, d.month, d.day) for d in facts("1998年5月3日开工").dates] == [(1998, 5, 3)]
    assert facts("It may rain.").open
    assert not facts("It opened in May 2020.").open
    denied = {
        "It isn't open.": True,
        "It is never not open.": False,
        "Not only this.": False,
        "并未开放": True,
        "非常好": False,
    }
    assert {t: facts(t).denied for t in denied} == denied
    assert names("Bridges by Clara Voss of IBM's lab use AdamW.") == ["Clara", "Voss", "IBM", "AdamW"]


# -- contradictions -------------------------------------------------------------------------------------------------


def test_rules_on_pairs() -> None:
    """docs/retrieval.md gives these figures."""
    seen = [clash(a, b) is not None for _, a, b, _ in PAIRS]
    assert seen == [clash(b, a) is not None for _, a, b, _ in PAIRS]
    truth = [t for *_, t in PAIRS]
    assert (sum(truth), len(truth)) == (12, 24)
    assert [s and not t for s, t in zip(seen, truth, strict=True)].count(True) == 0  # precision 1
    assert [s and t for s, t in zip(seen, truth, strict=True)].count(True) == 9  # recall 0.75
    assert all(clash(a, a) is None for _, a, _, _ in PAIRS)
    assert [(a, b) for a, b, _ in MATCHED if clash(a, b)] == [
        ("All rooms face the garden.", "None of the rooms face the garden.")
    ]


def test_rules_say_what_stands_against_what() -> None:
    c = clash("The Alder Bridge was opened in 1932.", "The Alder Bridge opened to traffic in May 1950.")
    assert c is not None
    assert (c.rule, c.first, c.second) == ("date", "1932", "May 1950")
    c = clash("The road is 2 km long.", "The road is 2 miles long.")
    assert c is not None
    assert (c.rule, c.first, c.second) == ("number", "2 km", "2 miles")
    assert clash("The road is about 2 km long.", "The road is 2.1 km long.") is None
    assert clash("The cat is bigger than the dog.", "The dog is not bigger than the cat.") is None
    assert clash("The red room holds 40 paintings.", "The blue room holds 60 paintings.") is None


def test_contradictions_among_passages() -> None:
    passages = found(
        "The hall is old. The hall seats 300 people.",
        "The hall seats 450 people. 300 people came.",
        "The hall is not old.",
    )
    result = contradictions_among(passages, "How many does the hall seat?")
    told = {(p.rule, p.first.number, p.second.number, p.one, p.other) for p in result.pairs}
    assert told == {
        ("number", 1, 2, "300 people", "450 people"),
        ("denial", 1, 3, "The hall is old.", "The hall is not old."),
    }
    assert result.compared == 2 * 2 + 2 * 1 + 2 * 1
    assert (result.judged, result.model) == (0, None)
    for p in result.pairs:
        for s in (p.first, p.second):
            assert passages[s.number - 1].passage.text[s.start : s.end] == s.text
    again = Contradictions.from_dict(result.to_dict())
    assert again.to_dict() == result.to_dict()
    assert len(result.rows()) == 2


def test_model_judges_the_likest_pairs_against_what_it_says_anyway() -> None:
    """The double says contradicts, unless it sees one sentence twice, and 'red' and 'green' by chance apart."""

    def weigh(prompt: str, before: Sequence[str], word: str) -> float:
        bias = {"contradicts": -1.0, "agrees": -2.0, "unrelated": -3.0}[word]
        return bias + (2.0 if word == "contradicts" and "red" in prompt and "green" in prompt else 0.0)

    me = Scripted([], weigh=weigh)
    passages = found("The door is red. Ships sail far.", "The door is green.", "The door is old and red.")
    result = contradictions_among(passages, model=me, most=2)
    assert (result.candidates, result.judged, result.most) == (3, 2, 2)
    (pair,) = [p for p in result.pairs if {p.first.number, p.second.number} == {1, 2}]
    # The pair's own odds over those of the two neutral ones, which are the biases: e^2 to 1 to 1.
    assert pair.judged == pytest.approx(
        {"contradicts": math.e**2 / (math.e**2 + 2), "agrees": 1 / (math.e**2 + 2), "unrelated": 1 / (math.e**2 + 2)}
    )
    assert pair.rule == "model"
    with pytest.raises(OptionError, match="at least 2 to compare"):
        contradictions(Shelf("a"), "why?", passages=1)


# -- turns ----------------------------------------------------------------------------------------------------------


def test_conversation_searches_for_what_was_meant() -> None:
    def script(messages: Sequence[dict[str, str]]) -> str:
        text = messages[-1]["content"]
        if "Next question:" in text:
            assert "Who designed the Brindle Bridge?" in text
            assert "Clara Voss." in text
            return 'Question: "When did the Brindle Bridge open?"\nBecause it is clear.'
        return "In 1932." if "open" in text.splitlines()[-1] else "Clara Voss."

    shelf = Shelf(BRIDGE, VOSS)
    talk = Conversation(Scripted(script), shelf)
    first = talk.ask("Who designed the Brindle Bridge?")
    assert first.standalone == first.question
    assert not first.notes
    second = talk.ask("When did it open?")
    assert (second.question, second.standalone) == ("When did it open?", "When did the Brindle Bridge open?")
    assert shelf.queries[-1] == second.standalone
    assert second.answer == "In 1932."
    assert not second.notes
    assert [t.question for t in talk.turns] == [first.question, second.standalone]
    assert second.sentences[0].citations[0].number == 1
    assert second.passages[0].passage.text == BRIDGE


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("", "empty"),
        ("When did it open? " + "And how and where and with whom and why " * 4, "longer"),
        ("Clara Voss designed the Brindle Bridge.", "other"),
        ("布林德桥何时建成？", "language"),
        ("When did the Sydney Opera House open in Australia?", "new"),
    ],
)
def test_a_rewriting_that_cannot_be_the_question_is_not_used(written: str, why: str) -> None:
    turns = [Turn("Who designed the Brindle Bridge?", "Clara Voss.")]
    assert unusable(written, "When did it open?", turns) == why
    made = standalone(Scripted([written]), turns, "When did it open?")
    assert made.question == "When did it open? (designed Brindle Bridge)"
    assert "was not used" in made.note
    assert (
        made.question
        == ask(Scripted([written, "In 1932."]), Shelf(BRIDGE), "When did it open?", history=turns).standalone
    )


def test_a_chinese_turn() -> None:
    turns = [Turn("布林德桥是谁设计的？", "沃斯。")]
    assert standalone(Scripted(["布林德桥是什么时候建成的？"]), turns, "它是什么时候建成的？").note == ""
    made = standalone(Scripted(["天气真好"]), turns, "它是什么时候建成的？")
    assert made.question.startswith("它是什么时候建成的？（")
    assert "布林" in made.question
    assert "未采用" in made.note


# -- collections ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Described:
    name: str
    description: str


SHELVES = (
    Described("handbook", "What staff may do: leave, pay and travel"),
    Described("code", "How to train and test models"),
)


def test_route_by_words() -> None:
    chosen = route("How many days of leave may staff take?", SHELVES)
    # staff and leave are in one of the two, day and take in none: all that is known is there.
    assert (chosen.collection, chosen.scores, chosen.note) == ("handbook", {"handbook": 1.0, "code": 0.0}, "")
    both = route("When do staff who travel train and test?", SHELVES)
    # staff, travel against train, test: equally rare, so even.
    assert both.scores == {"handbook": 0.5, "code": 0.5}
    assert both.collection is None
    assert "all of them" in both.note
    assert route("Why is the sky blue?", SHELVES).collection is None
    assert route("anything", SHELVES[:1]).collection == "handbook"


def test_route_by_model_is_what_the_question_adds() -> None:
    """Without a question the double prefers 'code' by 3 nats; a question about leave adds 4 to 'handbook'."""

    def weigh(prompt: str, before: Sequence[str], word: str) -> float:
        return {"code": -1.0, "handbook": -4.0}[word] + (4.0 if word == "handbook" and "days off" in prompt else 0.0)

    me = Scripted([], weigh=weigh)
    chosen = route("How many days off are there?", SHELVES, by="model", model=me)
    assert chosen.scores["handbook"] == pytest.approx(1 / (1 + math.exp(-4)))
    assert chosen.collection == "handbook"
    even = route("Why?", SHELVES, by="model", model=me)
    assert even.scores == pytest.approx({"handbook": 0.5, "code": 0.5})
    assert even.collection is None


def test_route_by_vectors_and_the_index_that_routes() -> None:
    class Two:
        def passages(self, texts: Sequence[str]) -> np.ndarray:
            return np.array([[1, 0], [0.6, 0.8]], dtype=np.float32)

        def query(self, text: str) -> np.ndarray:
            return np.array([1, 0], dtype=np.float32)

    chosen = route("x", SHELVES, by="vectors", vectors=Two())
    assert chosen.scores == pytest.approx({"handbook": 1.0, "code": 0.6})
    assert chosen.collection == "handbook"
    assert route("x", SHELVES, by="vectors", vectors=Two(), margin=0.5).collection is None

    class Index:
        collections = SHELVES

        def search(self, query: str, k: int = 5, *, collection: str | None = None) -> list[Found]:
            return [f for f in found("Staff take 30 days.", collection="handbook") + found("x", collection="code")
                    if collection in (None, f.passage.collection)][:k]  # fmt: skip

    routed = Routed(Index(), partial(route, margin=0.1))
    answer = ask(Scripted(["30 days."]), routed, "How many days of leave may staff take?")
    assert answer.collection == "handbook"
    assert len(answer.passages) == 1
    assert routed.routes[0][1].collection == "handbook"
    assert len(routed.search("sky", 5)) == 2
    for bad, message in (
        ({"by": "magic"}, "magic"),
        ({"by": "model"}, "needs a model"),
        ({"margin": -1}, "at least 0"),
    ):
        with pytest.raises(OptionError, match=message):
            route("x", SHELVES, **bad)


# -- steps ----------------------------------------------------------------------------------------------------------


def test_steps_are_read_strictly() -> None:
    assert numbered("1. Who?\n2) Where?") == ("Who?", "Where?")
    assert numbered("Here they are:\n\n1、谁设计的？\n2、在哪里？") == ("谁设计的？", "在哪里？")
    for text in ("Who? Where?", "1. Who?\n3. Where?", "1. Who?\nand then\n2. Where?", "2. Who?", "- Who?", ""):
        assert numbered(text) == ()
    asked = "Where was the designer of the bridge born?"
    assert no_steps(["Who designed it?"], asked) == "one"
    assert no_steps([f"Who is designer {k}?" for k in range(6)], asked) == "many"
    assert no_steps(["Who designed it?", "Who is it?"], asked) == "empty"
    assert no_steps(["Who designed it?", "Who designed this?"], asked) == "same"
    assert no_steps(["Who designed it?", "她出生在哪里？"], asked) == "language"
    assert no_steps(["Who designed it?", "Where was #1 born?"], asked) is None


def test_two_steps_each_with_its_own_evidence() -> None:
    def script(messages: Sequence[dict[str, str]]) -> str:
        text = messages[-1]["content"]
        if "numbered list" in text:
            return "1. Who designed the Brindle Bridge?\n2. Where was #1 born?"
        if "Known so far:" in text:
            assert "1. Who designed the Brindle Bridge? Clara Voss." in text
            assert "2. Where was Clara Voss born? Lund." in text
            return "Lund."
        return "Lund." if text.endswith("Where was Clara Voss born?") else "Clara Voss."

    shelf = Shelf(BRIDGE, VOSS, "Ships sail far.")
    me = Scripted(script)
    answer = ask_hops(me, shelf, "Where was the designer of the Brindle Bridge born?", passages=1)
    assert shelf.queries == ["Who designed the Brindle Bridge?", "Where was Clara Voss born?"]
    assert [(h.question, h.answer) for h in answer.hops] == list(
        zip(shelf.queries, ("Clara Voss.", "Lund."), strict=True)
    )
    assert [h.passages[0].passage.text for h in answer.hops] == [BRIDGE, VOSS]
    assert all(h.sentences[0].supported for h in answer.hops)
    assert answer.answer == "Lund."
    assert [f.passage.text for f in answer.passages] == [BRIDGE, VOSS]
    (c,) = answer.sentences[0].citations
    # "Lund" is in the second passage alone; the steps' answers, which hold it too, are not in what is measured.
    assert (c.number, c.drop) == (2, pytest.approx(KNOWN - UNKNOWN))
    assert "measured without them" in answer.notes[0]
    assert type(answer).from_dict(answer.to_dict()).to_dict() == answer.to_dict()


@pytest.mark.parametrize(
    ("text", "why"), [("It was Clara.", "no numbered list"), ("1. Where was the designer born?", "one item")]
)
def test_what_cannot_be_taken_apart_is_asked_as_it_is(text: str, why: str) -> None:
    shelf = Shelf(BRIDGE, VOSS)
    answer = ask_hops(Scripted([text, "Lund."]), shelf, "Where was Clara Voss born?")
    assert answer.hops == ()
    assert answer.answer == "Lund."
    assert why in answer.notes[0]
    assert shelf.queries == ["Where was Clara Voss born?"]


# -- checks ---------------------------------------------------------------------------------------------------------


def test_verdicts_of_the_double() -> None:
    answer = "The Brindle Bridge opened in 1932. The Brindle Bridge opened in 1950. It was painted by Otto Lind."
    texts = ["The Brindle Bridge opened in 1932. It is made of stone.", "Ships sail far."]
    checked = verify(Scripted([]), texts, answer)
    assert [c.verdict for c in checked.claims] == [SUPPORTED, CONTRADICTED, NOT_FOUND]
    first, second, third = checked.claims
    # Of six words and a mark, the frame of the prompt holds "the", the passage all.
    assert first.gain == pytest.approx(5 * (KNOWN - UNKNOWN) / 7)
    assert (first.passage, first.words, first.missing) == (1, 1.0, ())
    assert first.sentence is not None
    assert first.sentence.text == "The Brindle Bridge opened in 1932."
    # The same but for one word that the passage does not hold: likely, and still not so.
    assert second.gain == pytest.approx(4 * (KNOWN - UNKNOWN) / 7)
    assert second.gain > checked.least
    assert second.missing == ("1950",)
    assert second.against is not None
    assert (second.against.rule, second.against.claimed, second.against.stated) == ("date", "1950", "1932")
    assert third.missing == ("Otto", "Lind")
    assert third.against is None
    assert not checked.supported
    again = Verified.from_dict(checked.to_dict())
    assert again.to_dict() == checked.to_dict()
    assert [r["verdict"] for r in checked.rows()] == [c.verdict for c in checked.claims]


def test_passages_that_disagree_make_a_claim_disputed() -> None:
    texts = ["The hall is open on Sundays.", "The hall is not open on Sundays."]
    (c,) = verify(Scripted([]), texts, "The hall is open on Sundays.").claims
    assert c.verdict == SUPPORTED
    assert c.passage == 1
    assert c.disputed
    assert c.against is not None
    assert c.against.place.number == 2
    (c,) = verify(Scripted([]), Shelf(texts[1]), "The hall is open on Sundays.", "Is it open?").claims
    assert c.verdict == CONTRADICTED
    assert not c.disputed
    (c,) = verify(Scripted([]), Shelf(*texts), "Whales sing.").claims
    assert (c.verdict, c.passage, c.gain) == (NOT_FOUND, None, None)


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ("The Brindle Bridge opened in 1932.", SUPPORTED),
        ("The Brindle Bridge opened in 1950.", CONTRADICTED),  # "It" is the bridge, and "and opened" goes on about it
        ("The bridge is 30 metres long.", CONTRADICTED),
        ("The Lode museum is closed on Mondays.", SUPPORTED),
        ("The museum is not closed on Mondays.", CONTRADICTED),
        ("The river opened in 1950.", NOT_FOUND),  # the river is no subject there
        ("Clara Voss painted the Brindle Bridge.", NOT_FOUND),  # the names are there, and what she did is not
        ("Cars are allowed on the bridge.", NOT_FOUND),  # all its words are there, and denied
    ],
)
def test_what_a_passage_says_of_its_subject(claim: str, verdict: str) -> None:
    text = (
        "The Brindle Bridge crosses the river. It was designed by Clara Voss and opened in 1932. Its arches are stone, "
        "and it is 48 metres long. Here cars, if they are on the bridge, are not allowed to stay. The Lode museum "
        "shows boats and is closed on Mondays."
    )
    (c,) = verify(Scripted([]), [text], claim).claims
    assert c.verdict == verdict


def test_missing_numbers_dates_names() -> None:
    passage = "Clara Voss built it in May 1932 for 3 million euros; the tower is 1.2 km away."
    assert missing("Voss built it in 1932, 1,200 metres away, for 3,000,000 euros.", passage) == ()
    assert missing("一个大花园，两个门", "花园有一个门") == ("两个",)
    assert missing("Lind built it on 3 May 1932 for 4 million euros with Ada Voss.", passage) == (
        "4 million euros",
        "3 May 1932",
        "Ada",
    )


@pytest.mark.parametrize(
    ("texts", "message"), [("one text", "a single text"), (["fine", " "], "passage 2"), ([3], "passage 1")]
)
def test_bad_passages(texts: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        verify(Scripted([]), texts, "It is so.")  # type: ignore[arg-type]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_views(lang: str) -> None:
    checked = verify(Scripted([]), ["The hall seats 300 people."], "The hall seats 450 people. Whales sing.")
    compared = contradictions_among(found("The hall seats 300 people.", "The hall seats 450 people."), "How many?")
    for result, said in ((checked, ("450 people", "300 people")), (compared, ("300 people", "450 people"))):
        view = app_view(result)(result, lang)
        table = next(b for b in view if isinstance(b, B.Table))
        cells = " ".join(c.text for row in table.rows for c in row)
        assert all(s in cells for s in said)
        title = view[0]
        assert isinstance(title, B.Heading)
        assert title.text.isascii() == (lang == "en")
    none = app_view(compared)(contradictions_among(found("a", "b")), lang)
    assert not any(isinstance(b, B.Table) for b in none)


# -- a real model ---------------------------------------------------------------------------------------------------


def test_a_real_model_checks_claims(embedded: Model) -> None:
    texts = [
        "The Brindle Bridge is a stone bridge over the river Lode. It was designed by Clara Voss and opened in 1932.",
        "The Lode museum stands on the north bank. It shows boats and is closed on Mondays.",
    ]
    answer = "The bridge was designed by Clara Voss. The museum is not closed on Mondays. The town has a large airport."
    checked = verify(embedded, texts, answer)
    assert [c.verdict for c in checked.claims] == [SUPPORTED, CONTRADICTED, NOT_FOUND]
    first = checked.claims[0]
    assert first.passage == 1
    assert first.sentence is not None
    assert "Clara Voss" in first.sentence.text

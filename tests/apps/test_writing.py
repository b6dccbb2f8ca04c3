"""Writing: templates are filled and refused by their rules; what was used is what a known rule and a loop of what-ifs
say."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.apps.speaker import Decoding, speaker
from pellucid.apps.writing import evidence
from pellucid.apps.writing.evidence import FLOOR, NEUTRAL, owned, weigh, with_line
from pellucid.apps.writing.result import Written
from pellucid.apps.writing.tasks import PROSE, TASKS, values
from pellucid.apps.writing.template import file_name, find, read
from pellucid.apps.writing.write import write
from pellucid.cli.main import main
from pellucid.errors import InputError, OptionError
from pellucid.model import Model
from pellucid.relevance.prompts import LANGUAGES
from pellucid.render.blocks import Heat
from pellucid.render.lensviews import blocks_of
from pellucid.testing import KNOWN, UNKNOWN, Scripted
from pellucid.trace.segments import paragraphs

MAIL = {"purpose": "ask leave", "points": ["Friday", "Priya helps"], "tone": "polite"}
TEXT = "Dear boss,\n\nmay I leave Friday?\n\nPriya helps. Friday I watch the window."


def test_values_stand_where_they_are_said_to_and_empty_lines_go() -> None:
    filled = find("mail", "en").fill(values(TASKS["mail"], {**MAIL, "recipient": "  ", "sender": None}))
    (message,) = filled.messages
    assert message["content"] == (
        "Write an email.\n\nPurpose: ask leave\nPoint to make: Friday\nPoint to make: Priya helps\nTone: polite\n\n"
        "Write whole paragraphs, with a blank line between them. Write the email alone."
    )
    assert [message["content"][g.start : g.end] for g in filled.given] == [
        "ask leave",
        "Friday",
        "Priya helps",
        "polite",
    ]
    assert [(g.field, g.number, g.text) for g in filled.given[1:3]] == [
        ("points", 1, "Friday"),
        ("points", 2, "Priya helps"),
    ]


def test_rules_of_templates() -> None:
    text = "\n\nA {{brace}} for {topic}\n\n{audience}\n\n* {points}\nby {style} in {tone}\nend\n"
    template = read(text, "mine", TASKS["article"])
    given = {"topic": "tea {hot}", "points": ["one\n\ntwo", "three"], "style": "plain"}
    filled = template.fill(values(TASKS["article"], given))
    content = filled.messages[0]["content"]
    # The audience's line is gone, with one of the blank lines beside it; a line with one empty value of two is, too;
    # a value's own braces and blank lines stay.
    assert content == "A {brace} for tea {hot}\n\n* one\n\ntwo\n* three\nend"
    assert [content[g.start : g.end] for g in filled.given] == ["tea {hot}", "one\n\ntwo", "three"]
    code = "    a\n\tb  \n\n"
    assert values(TASKS["fix"], {"code": f"\n{code}", "error": "e", "language": "c"})["code"] == ("    a\n\tb",)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_task_has_a_template_that_takes_all_of_its_fields(lang: str) -> None:
    for name, task in TASKS.items():
        given = {f.name: ([f"{f.name} one", f"{f.name} two"] if f.many else f"a {f.name}") for f in task.fields}
        filled = find(name, lang).fill(values(task, given))
        assert len(filled.given) == sum(2 if f.many else 1 for f in task.fields)
        assert {g.field for g in filled.given} == set(task.known)
    assert all(name in TASKS for name in PROSE)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (
            b"{topic} {topc}",
            r"line 1, holds \{topc\}, which the task article does not have; known are \{topic\}, \{poi",
        ),
        (b"x\n{topic", "line 2, holds a brace without its other half"),
        (b"topic} {topic}", "line 1, holds a brace without its other half"),
        (b"{topic!r}", r"holds \{topic!r\}: expected a name in braces"),
        (b"{topic:>9} {}", r"holds \{topic:>9\}: expected a name"),
        (b"{} {topic}", r"holds \{\}: expected a name"),
        (b"{topic}\n{topic}", r"line 2, holds \{topic\} again"),
        (b"{topic}: {points}", r"written once for each of \{points\}: expected no other"),
        (b"about {style}", r"lacks \{topic\}, which the task article needs"),
        (b"\xffabc {topic}", "is not UTF-8: byte 0xff at 0"),
    ],
)
def test_a_broken_template_is_named_with_what_is_wrong(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "article.en.txt"
    path.write_bytes(data)
    me = Scripted(["never"])
    for where in ({"template": path}, {"templates": tmp_path}):
        with pytest.raises(InputError, match=said) as caught:
            write(me, "article", topic="tea", **where)  # type: ignore[arg-type]
        assert str(path) in str(caught.value)
    assert me.asked == []


def test_templates_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mail.zh.txt").write_bytes("\ufeff请写：{purpose}\r\n{points}\r\n".encode())
    me = Scripted(["好的。"])
    done = write(me, "mail", purpose="请假", points=["星期五"], templates=tmp_path)
    assert me.asked[0][0]["content"] == "请写：请假\n星期五"
    assert (done.lang, done.template) == ("zh", str(tmp_path / "mail.zh.txt"))
    with pytest.raises(InputError, match=r"has no mail.en.txt: it holds mail.zh.txt"):
        write(me, "mail", purpose="ask", templates=tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        write(me, "mail", purpose="ask", templates=tmp_path / "no")
    with pytest.raises(InputError, match="cannot read the template"):
        write(me, "mail", purpose="ask", template=tmp_path / "no.txt")
    with pytest.raises(OptionError, match="exclude each other"):
        write(me, "mail", purpose="ask", template=tmp_path / "mail.zh.txt", templates=tmp_path)
    with pytest.raises(OptionError, match="templates in en and zh, given 'fr'"):
        write(me, "mail", purpose="ask", lang="fr")


@pytest.mark.parametrize(
    ("task", "fields", "said"),
    [
        ("poem", {}, "unknown task 'poem': expected one of article, story, personal, mail"),
        ("fix", {}, "unknown task 'fix'"),
        ("mail", {}, "the task mail needs purpose .* none was given"),
        ("mail", {"purpose": " \n"}, "the task mail needs purpose"),
        ("mail", {"purpose": "x", "recipent": "y"}, "Did you mean 'recipient'"),
        ("mail", {"purpose": ["x", "y"]}, "purpose should be a text"),
        ("mail", {"purpose": "x", "points": ["y", 3]}, "points should be texts"),
        ("mail", {"purpose": "x", "max_new_tokens": 0}, "max_new_tokens should be at least 1, given 0"),
        ("mail", {"purpose": "x", "strategy": "gredy"}, "unknown strategy 'gredy'.*Did you mean 'greedy'"),
    ],
)
def test_what_cannot_be_written(task: str, fields: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        write(Scripted(["never"]), task, **fields)  # type: ignore[arg-type]


def test_points_that_are_used_where_and_never() -> None:
    """By the double's rule an answer's word costs 3.9 nats where the one value that holds it goes."""
    pieces: list[str] = []
    me = Scripted([TEXT])
    done = write(me, "mail", **MAIL, stream=pieces.append, trace=True, max_new_tokens=99)
    assert "".join(pieces) == done.text == TEXT
    assert me.decodings == [Decoding("temperature:0.7+top_p:0.9", 99)] == [done.decoding]
    each = KNOWN - UNKNOWN
    purpose, friday, priya, polite = done.points
    assert purpose.falls == pytest.approx([0, each, 0])  # "leave"
    assert friday.falls == pytest.approx([0, each, each])
    assert priya.falls == pytest.approx([0, 0, 2 * each])
    assert polite.falls == pytest.approx([0, 0, 0])
    # One neutral line holds "window": what is worth no more than that is not used by the third paragraph.
    held = ["window" in line for line in NEUTRAL["en"]]
    assert sum(held) == 1
    assert done.paragraphs[2].neutral == pytest.approx([each * h for h in held])
    assert [p.threshold for p in done.paragraphs] == pytest.approx([FLOOR, FLOOR, each])
    assert [(p.used, p.first) for p in done.points] == [(True, 2), (True, 2), (True, 3), (False, None)]
    assert [p.text for p in done.unused] == ["polite"]
    assert [done.text[p.start : p.end] for p in done.paragraphs] == TEXT.split("\n\n")
    assert sum(p.tokens for p in done.paragraphs) == done.tokens
    again = Written.from_dict(json.loads(done.to_json()))
    assert again.to_json() == done.to_json()
    assert [(p.used, p.first, p.text) for p in again.points] == [(p.used, p.first, p.text) for p in done.points]
    assert done.rows()[3]["used"] is False
    assert done.rows()[2]["paragraph 3"] == pytest.approx(2 * each)
    for lang, unused in (("en", "Never used: tone: polite"), ("zh", "从未用到：语气：polite")):
        assert unused in str(blocks_of(done, lang))


def test_nothing_written_and_nothing_asked() -> None:
    quiet = write(Scripted([""]), "article", topic="tea", trace=True)
    assert (quiet.note, quiet.trace, quiet.unused) == ("the model wrote nothing", None, ())
    plain = write(Scripted(["Tea is hot."]), "article", topic="tea")
    assert (plain.trace, plain.note, plain.points[0].used) == (None, "", None)
    assert Written.from_dict(json.loads(plain.to_json())) == plain
    full = write(Scripted(["Tea is hot."]), "story", genre="a tale", lang="zh", seed=3, strategy="top-p:0.5")
    assert full.messages[0]["content"].startswith("写一个故事。")
    assert (full.decoding.strategy, full.decoding.seed) == ("top_p:0.5", 3)

    class Broken(Scripted):
        def explain(self, messages, answer=None, **options):  # type: ignore[no-untyped-def]
            raise InputError("no unit there")

    kept = write(Broken(["Tea is hot."]), "article", topic="tea", trace=True)
    assert (kept.text, kept.note) == ("Tea is hot.", "no unit there")
    assert "No trace: no unit there" in str(blocks_of(kept, "en"))


def test_falls_are_those_of_one_prompt_after_another(embedded: Model) -> None:
    """Against the log-probabilities of prompts with the value's tokens gone, one at a time."""
    import torch

    from pellucid.models.encode import encode, encode_target

    filled = find("mail", "en").fill(values(TASKS["mail"], {"purpose": "ask for leave", "points": ["room 417", "tea"]}))
    text = "Dear Bo,\n\nI write from room 417.\n\nThere is tea."
    ranges = paragraphs(text)
    me, loaded = speaker(embedded), embedded.loaded
    found = weigh(me, filled, "mail", text, ranges, "en", trust=False)
    encoded = encode(loaded, list(filled.messages))
    answer = encode_target(loaded, encoded, text)

    def logprobs(ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            logits = loaded.network(torch.tensor([ids + answer])).logits[0, len(ids) - 1 : -1].double()
        return torch.log_softmax(logits, -1)[range(len(answer)), answer]

    owners = owned(found.trace.targets, ranges, text)
    assert [i for tokens in owners for i in tokens] == [
        i for i, t in enumerate(found.trace.targets) if text[t.start : t.end].strip()
    ]
    whole = logprobs(encoded.ids)
    for k, unit in enumerate(found.trace.units):
        without = logprobs([t for i, t in enumerate(encoded.ids) if i not in unit.tokens])
        for part, tokens in enumerate(owners):
            assert found.falls[k][part] == pytest.approx(float((whole - without)[tokens].sum()), abs=2e-3)
    line = logprobs(encode(loaded, with_line(filled, NEUTRAL["en"][0], "mail")).ids)
    for part, tokens in zip(found.parts, owners, strict=True):
        assert part.neutral[0] == pytest.approx(float((line - whole)[tokens].sum()), abs=2e-3)
        assert part.logprob == pytest.approx(float(whole[tokens].sum()), abs=2e-3)
        assert part.threshold == max(FLOOR, *map(abs, part.neutral))
    room = [g.text for g in filled.given].index("room 417")
    assert found.used(room) == [1]


def test_a_neutral_line_comes_dressed_as_the_point_before_it() -> None:
    filled = find("mail", "en").fill(values(TASKS["mail"], MAIL))
    content = with_line(filled, "Rain.", "mail")[0]["content"]
    assert "Point to make: Priya helps\nPoint to make: Rain.\nTone: polite\n" in content
    alone = find("article", "zh").fill(values(TASKS["article"], {"topic": "茶"}))
    assert "主题：茶\n下雨。\n" in with_line(alone, "下雨。", "article")[0]["content"]
    assert evidence.NEUTRAL.keys() == set(LANGUAGES)
    assert file_name("mail", "zh") == "mail.zh.txt"


def test_the_command_writes_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_folder: Path) -> None:
    out = tmp_path / "a.json"
    asked = ["write", "article", "tea", "--points", "hot", "--points", "green", "--max-new-tokens", "6", "--quiet"]
    template = tmp_path / "short.txt"
    template.write_text("{topic}\n{points}", encoding="utf-8")
    run = [*asked, "--template", str(template), "--model", str(tiny_folder), "--json", str(out)]
    assert main([*run, "--trace", "--no-trust", "--html", str(tmp_path / "a.html")]) == 0
    done = Written.load(out)
    assert done.fields == {"topic": ("tea",), "points": ("hot", "green")}
    assert done.tokens <= 6
    assert len(done.points[0].falls) == len(done.paragraphs)
    assert "Never used" in (tmp_path / "a.html").read_text(encoding="utf-8") or not done.unused
    capsys.readouterr()
    for bad, said in (
        (["write", "poem", "tea"], "invalid choice: 'poem'"),
        (["write", "mail", " "], "the task mail needs purpose"),
        (["write", "personal", "tea"], "--audience"),
        (["write", "mail", "x", "--template", str(tmp_path / "no.txt")], "cannot read the template"),
        (["write", "mail", "x", "--strategy", "warm"], "unknown strategy 'warm'"),
    ):
        assert _code(bad) == 2
        assert said in capsys.readouterr().err


def test_a_model_without_a_chat_template_shows_its_prompt_too(tmp_path: Path, tiny) -> None:  # type: ignore[no-untyped-def]
    loaded = tiny("gpt2")
    bare = copy.deepcopy(loaded.tokenizer)
    bare.chat_template = None
    template = tmp_path / "short.txt"
    template.write_text("{topic}\n{points}", encoding="utf-8")
    given = {"topic": "one two", "points": ["three"]}
    done = write(replace(loaded, tokenizer=bare), "article", **given, template=template, trace=True, max_new_tokens=6)
    assert done.note == ""
    shaded = [b for b in blocks_of(done, "en") if isinstance(b, Heat)][-1]
    assert "".join(text for text, _, _ in shaded.parts) == done.messages[0]["content"] == "one two\nthree"
    assert any(share for _, share, _ in shaded.parts)


def _code(arguments: list[str]) -> int | str | None:
    """How the command ends; argparse ends by itself."""
    try:
        return main(arguments)
    except SystemExit as e:
        return e.code

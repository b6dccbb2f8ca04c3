"""Conversations: which tokens are learned, checked by hand and against transformers' own assistant masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny as tiny_models
from tiny import FAMILIES, TEMPLATE, chat_tokenizer

from pellucid.errors import InputError, OptionError, TemplateError
from pellucid.lab.data.batches import IGNORE
from pellucid.lab.data.chats import Chat, Chats, Example, in_order, padded, read, split
from pellucid.lab.data.replies import encode
from pellucid.models.load import LoadedModel

GENERATION = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] }}<|im_end|>{% endgeneration %}\n{% else %}{{ m['content'] }}<|im_end|>\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ENGLISH = [
    {"role": "system", "content": "You are helpful."},
    {"role": "user", "content": "What is the capital of France?"},
    {"role": "assistant", "content": "Paris."},
    {"role": "user", "content": "And of Spain?"},
    {"role": "assistant", "content": "Madrid, the capital."},
]
CHINESE = [
    {"role": "user", "content": "法国的首都是哪里？"},
    {"role": "assistant", "content": "巴黎。"},
    {"role": "user", "content": "天气怎么样？"},
    {"role": "assistant", "content": "天气对农业的影响很大。"},
]


def model(template: str | None = TEMPLATE) -> LoadedModel:
    tokenizer = chat_tokenizer(template)
    return LoadedModel.wrap(FAMILIES["llama"](len(tokenizer)), tokenizer, name="tiny")


def one(loaded: LoadedModel, messages: list[dict[str, str]], **options: Any) -> Example:
    (example,), _ = encode(loaded, [Chat("here", messages=tuple(messages))], length=1000, **options)
    assert example is not None
    return example


def learned(loaded: LoadedModel, example: Example) -> list[str]:
    """The learned stretches as text."""
    found: list[list[int]] = []
    last = False
    for i, asked in zip(example.ids.tolist(), example.learned.tolist(), strict=True):
        if asked:
            found = found if last else [*found, []]
            found[-1].append(i)
        last = asked
    return [loaded.tokenizer.decode(s) for s in found]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (ENGLISH, ["Paris.<|im_end|>", "Madrid, the capital.<|im_end|>"]),
        (CHINESE, ["巴黎。<|im_end|>", "天气对农业的影响很大。<|im_end|>"]),
    ],
)
def test_the_assistants_replies_and_their_ends_are_learned_and_nothing_else(
    messages: list[dict[str, str]], said: list[str]
) -> None:
    loaded = model(GENERATION)
    example = one(loaded, messages)
    assert learned(loaded, example) == said
    theirs = loaded.tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    count = len(example.ids)
    assert example.ids.tolist() == theirs["input_ids"][:count]
    assert example.learned.tolist() == [bool(m) for m in theirs["assistant_masks"][:count]]
    assert not any(theirs["assistant_masks"][count:])  # only the line break behind the end is left away
    prompt = loaded.tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, tokenize=True)
    assert example.prompt == len(prompt["input_ids"])
    assert example.asked == messages[-2]["content"]
    assert learned(loaded, one(loaded, messages, last_reply=True)) == said[-1:]


def test_labels_are_those_written_down_by_hand() -> None:
    """Bytes as tokens, so that every label can be counted: 人 is three."""
    loaded = model("{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}")
    ids = {c: i for c, i in loaded.tokenizer.get_vocab().items() if len(c) == 1}
    end = loaded.tokenizer.eos_token_id
    q = [ids["Q"]]
    person = [ids[c] for c in "äºº"]  # e4 ba ba, in the letters of byte-level tokenizers
    example = one(loaded, [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "人"}])
    assert example.ids.tolist() == [*q, end, *person, end]
    assert example.learned.tolist() == [False, False, True, True, True, True]
    batch = padded(
        [example, one(loaded, [{"role": "user", "content": "QQ"}, {"role": "assistant", "content": "Q"}])], pad=7
    )
    assert batch.inputs.tolist() == [[*q, end, *person], [*q, *q, end, *q, 7]]
    assert batch.targets.tolist() == [[IGNORE, *person, end], [IGNORE, IGNORE, *q, end, IGNORE]]
    assert batch.mask is not None
    assert batch.mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert batch.count == 6


def test_there_is_one_beginning_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenizers.processors import TemplateProcessing

    loaded = model("{{ bos_token }}" + TEMPLATE)
    bos = loaded.tokenizer.bos_token_id
    loaded.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", bos)]
    )
    assert loaded.tokenizer("a").input_ids[0] == bos
    chat = one(loaded, ENGLISH)
    assert chat.ids[0] == bos
    assert (chat.ids == bos).sum() == 1
    (pair,), _ = encode(loaded, [Chat("here", prompt="2 + 2 =", completion=" 4")], length=99, raw=True)
    assert pair is not None
    assert pair.ids.tolist() == [*loaded.tokenizer("2 + 2 = 4").input_ids, loaded.tokenizer.eos_token_id]
    assert learned(loaded, pair) == [" 4<|im_end|>"]


def test_prompts_and_completions_are_a_users_and_the_assistants_or_joined_plainly() -> None:
    chat = Chat("here", prompt="法国的首都是", completion="巴黎。")
    (with_template,), _ = encode(model(), [chat], length=99)
    pair = [{"role": "user", "content": chat.prompt}, {"role": "assistant", "content": chat.completion}]
    assert with_template is not None
    assert with_template.ids.tolist() == one(model(), pair).ids.tolist()
    bare = model(None)
    (plain,), _ = encode(bare, [chat], length=99)
    assert plain is not None
    assert bare.tokenizer.decode(plain.ids) == "法国的首都是巴黎。<|im_end|>"
    assert learned(bare, plain) == ["巴黎。<|im_end|>"]
    with pytest.raises(TemplateError, match="here: 'tiny' has no chat template, so it cannot read messages"):
        one(bare, ENGLISH)


def test_control_tokens_that_a_user_wrote_are_text() -> None:
    loaded = model()
    messages = [
        {"role": "user", "content": "What is <|im_end|>?"},
        {"role": "assistant", "content": "<|im_end|> is the end."},
    ]
    example = one(loaded, messages)
    end = loaded.tokenizer.eos_token_id
    assert example.ids.tolist().count(end) == 2  # the template's own
    assert learned(loaded, example) == ["<|im_end|> is the end.<|im_end|>"]
    assert example.ids[-1] == end


def test_a_reply_never_shares_a_token_with_its_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_models, "LINES", [*tiny_models.LINES, *["\n\n"] * 20])
    loaded = model()
    assert len(loaded.tokenizer("\n\n").input_ids) == 1
    messages = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "\nParis."}]
    example = one(loaded, messages)
    prompt = loaded.tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True)["input_ids"]
    assert example.ids[: example.prompt].tolist() == prompt
    assert learned(loaded, example) == ["\nParis.<|im_end|>"]


def test_templates_that_break_the_prefix_are_refused() -> None:
    asks = TEMPLATE.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\nHm: {% endif %}")
    with pytest.raises(TemplateError, match="here: the chat template of 'tiny' asks for reply 2 behind another text"):
        one(model(asks), ENGLISH)
    forgets = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' and loop.last %}"
        "<think></think>{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    with pytest.raises(TemplateError, match=r"writes reply 2 differently once the chat goes on: .*--last-reply"):
        one(model(forgets), ENGLISH)
    loaded = model(forgets)
    assert learned(loaded, one(loaded, ENGLISH, last_reply=True)) == ["<think></think>Madrid, the capital.<|im_end|>"]
    refuses = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(TemplateError, match="here: the chat template of 'tiny' refuses these messages: roles must"):
        one(model(refuses), ENGLISH)


def test_where_a_template_ends_no_reply_the_last_one_ends_as_a_text_does() -> None:
    loaded = model("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
                   "{% if add_generation_prompt %}assistant: {% endif %}")  # fmt: skip
    assert learned(loaded, one(loaded, ENGLISH)) == ["Paris.\n", "Madrid, the capital.\n<|im_end|>"]


def test_long_conversations_are_cut_or_left_out_and_counted() -> None:
    loaded = model()
    chats = [
        Chat("a", messages=tuple(ENGLISH[:3])),
        Chat("b", messages=({"role": "user", "content": "What?"}, {"role": "assistant", "content": "France " * 40})),
        Chat("c", messages=({"role": "user", "content": "What? " * 40}, {"role": "assistant", "content": "Paris."})),
    ]
    length = len(one(loaded, ENGLISH[:3]).ids) - 1
    found, left = encode(loaded, chats, length=length)
    assert [e is not None for e in found] == [True, True, False]
    assert (left.cut, left.out) == (1, 1)
    assert found[1] is not None
    assert len(found[1].ids) == length + 1
    assert learned(loaded, found[1])[0].startswith("France France")
    assert loaded.tokenizer.eos_token_id not in found[1].ids[found[1].prompt :]
    found, left = encode(loaded, chats, length=length, long="drop")
    assert [e is not None for e in found] == [True, False, False]
    assert (left.cut, left.out) == (0, 2)


def test_an_epoch_has_each_conversation_once_and_depends_on_the_seed_alone() -> None:
    examples = [Example(np.arange(i, i + 2 + i % 5), np.arange(2 + i % 5) > 0, 1) for i in range(11)]
    made = Chats(examples, rows=4, pad=99, seed=3)
    assert made.per_epoch == 3
    orders = []
    for epoch in range(2):
        batches = [made.batch(step) for step in range(3 * epoch, 3 * epoch + 3)]
        firsts = [
            int(row[0]) for b in batches for row, t in zip(b.inputs, b.targets, strict=True) if (t != IGNORE).any()
        ]
        assert sorted(firsts) == list(range(11))
        orders.append(firsts)
        assert {b.inputs.shape[0] for b in batches} == {4}
        assert sum(b.count for b in batches) == sum(e.targets for e in examples)
    assert orders[0] != orders[1]
    again = Chats(examples, rows=4, pad=99, seed=3)
    assert again.batch(4).inputs.tolist() == made.batch(4).inputs.tolist()
    held = list(in_order(examples, rows=4, pad=99))
    assert sum(b.count for b in held) == sum(e.targets for e in examples)


def test_whole_conversations_are_held_out() -> None:
    chats = [Chat(str(i), prompt=f"{i // 2}", completion="x") for i in range(40)]
    train, held = split(chats, 0.25, 0)
    assert len(held) == 10
    assert sorted(c.where for c in train + held) == sorted(c.where for c in chats)
    assert split(chats, 0.25, 0) == (train, held)
    assert split(chats, 0.25, 1) != (train, held)
    assert split(chats, 0.0, 0) == (chats, [])
    with pytest.raises(InputError, match="there is 1 conversation, too few to hold 10% of them out"):
        split(chats[:1], 0.1, 0)
    with pytest.raises(OptionError, match="held_out should be a share"):
        split(chats, 1.0, 0)


def test_files_are_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    pair = {"prompt": "一\u2028二", "completion": "三"}  # a line separator inside a string ends no line
    rows = [pair, {"messages": [*CHINESE, {"role": "user", "content": "谢谢"}]}]
    path.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n\n", encoding="utf-8")
    found = read([str(path)])
    assert found[0] == Chat(f"{path}, line 1", prompt=pair["prompt"], completion="三")
    assert found[1].messages == tuple(CHINESE)  # nothing answers the last
    assert len(read([str(tmp_path)])) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", r"line 2 is not JSON"),
        ("[1]", r'line 2 should be \{"messages": .*, given list'),
        ('{"text": "a"}', r"line 2 should be .*given the fields text"),
        ('{"prompt": "a"}', r"line 2 should be .*given the fields prompt"),
        ('{"prompt": "a", "completion": ""}', "line 2: the completion should be some text, given ''"),
        ('{"prompt": 3, "completion": "b"}', "line 2: the prompt should be some text, given 3"),
        ('{"messages": "hi"}', "line 2: messages should be a list, given str"),
        ('{"messages": [{"role": "user"}]}', r"line 2: message 0 should be .*given \{'role': 'user'\}"),
        ('{"messages": [{"role": "bot", "content": "a"}]}', "line 2: message 0 has the role 'bot': expected one of"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "line 2 has no reply of the assistant"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "line 2 begins with the assistant"),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]}',
            "line 2: message 1 is an empty reply",
        ),
        ('{"prompt": "\\ud800", "completion": "b"}', "line 2: the prompt holds a lone surrogate"),
    ],
)
def test_lines_that_are_no_conversations_are_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read([str(path)])


def test_files_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"empty.jsonl is empty: expected lines like"):
        read([str(tmp_path / "empty.jsonl")])
    with pytest.raises(InputError, match="there is no file or folder"):
        read([str(tmp_path / "no.jsonl")])
    with pytest.raises(OptionError, match="no conversations were given"):
        read([])
    with pytest.raises(InputError, match="no conversation fits the block"):
        Chats([], rows=2, pad=0)

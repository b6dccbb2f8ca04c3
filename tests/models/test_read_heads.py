"""What heads read: ids, token types, roles and offsets against transformers' own tokenizers; labels; bad input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tiny_heads import LABELS, TOKENIZERS, config, with_head

from pellucid.errors import ContextError, InputError
from pellucid.models.heads import encode_head, find_label, longest, problem, token_types
from pellucid.models.load import LoadedModel

TEXTS = ["The film was not good.", " two  blanks and a line\nbreak ", "法国的首都是巴黎。"]
PAIRS = [("Who came?", "Ann came at noon."), ("法国?", " the film ")]


@pytest.fixture(params=sorted(TOKENIZERS), scope="module")
def model(request: pytest.FixtureRequest) -> LoadedModel:
    return with_head(request.param)


@pytest.mark.parametrize("prompt", [*TEXTS, *PAIRS], ids=str)
def test_ids_and_types_are_transformers(model: LoadedModel, prompt: str | tuple[str, str]) -> None:
    encoded = encode_head(model, prompt)
    given = [prompt] if isinstance(prompt, str) else prompt
    expected = model.tokenizer(*given)
    assert encoded.ids == expected["input_ids"]
    types = token_types(model, encoded.ids)
    if "token_type_ids" in expected and model.name.startswith("bert"):
        assert types == expected["token_type_ids"]
    else:
        assert types is None, "RoBERTa has one type, DistilBERT and decoders take none"


def test_parts_keep_their_roles_and_characters(model: LoadedModel) -> None:
    first, second = PAIRS[0]
    encoded = encode_head(model, (first, second))
    assert encoded.text is None
    assert [m["content"] for m in encoded.messages or ()] == [first, second]
    for k, (role, text) in enumerate((("first", first), ("second", second))):
        own = [t for t in encoded.tokens if t.message == k]
        assert {t.role for t in own} == {role}
        covered = [c for t in own for c in range(t.start or 0, t.end or 0)]
        assert covered == list(range(len(text))), "every character once, in order"
    rest = [t for t in encoded.tokens if t.message is None]
    assert {t.role for t in rest} <= {"special"}
    assert all(t.start is None for t in rest)
    numbers = [t.word for t in encoded.tokens]
    assert numbers == sorted(numbers)
    for again in ({"text": first, "text_pair": second}, [first, second], encoded.messages):
        assert encode_head(model, again) == encoded


def test_markers_in_a_text_are_text() -> None:
    model = with_head("bert")
    encoded = encode_head(model, ("a [SEP] b", "[CLS] c"))
    special = [t.id for t in encoded.tokens if t.role == "special"]
    tokenizer: Any = model.tokenizer
    assert special == [tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.sep_token_id]
    written = [t.id for t in encoded.tokens if t.role != "special"]
    assert not set(written) & {tokenizer.cls_token_id, tokenizer.sep_token_id}
    types = token_types(model, encoded.ids)
    assert types == [0 if t.message == 0 or i <= encoded.ids.index(special[1]) else 1
                     for i, t in enumerate(encoded.tokens)]  # fmt: skip


def test_a_chat_goes_through_the_template(tokenizer: Any) -> None:
    model = with_head("llama")
    chat = [{"role": "user", "content": "What is the capital?"}, {"role": "assistant", "content": "Paris."}]
    rewarded = LoadedModel(model.network, tokenizer, "reward", "memory", None, 128, "classifier")
    encoded = encode_head(rewarded, chat)
    expected = tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
    assert encoded.ids == expected
    assert encode_head(rewarded, "What is it?").raw, "a bare text is read as it is, as in transformers' pipelines"


def test_longest_knows_where_positions_begin() -> None:
    assert longest(with_head("bert")) == 128
    assert longest(with_head("roberta")) == 128, "130 positions, of which padding takes two"
    with pytest.raises(ContextError, match=r"tokens do not fit the 128 that 'bert-classifier' can read: shorten it by"):
        encode_head(with_head("bert"), "word " * 300)


def test_labels() -> None:
    model = with_head("bert")
    assert [find_label(model, name) for name in LABELS] == [0, 1, 2]
    with pytest.raises(InputError, match=r"no class 'positiv': expected one of NEGATIVE, NEUTRAL, POSITIVE\. Did you"):
        find_label(model, "positiv")
    with pytest.raises(InputError, match=r"no class 'xyz': expected one of NEGATIVE, NEUTRAL, POSITIVE$"):
        find_label(model, "xyz")
    many = with_head("bert", num_labels=40)
    with pytest.raises(InputError, match=r"LABEL_19, \.\.\. \(40 in all\)"):
        find_label(many, "xyz")


def test_problems_by_the_rule_of_pipelines() -> None:
    assert problem(with_head("bert")) == "softmax"
    assert problem(with_head("bert", problem_type="multi_label_classification")) == "sigmoid"
    assert problem(with_head("bert", num_labels=1)) == "sigmoid"
    assert problem(with_head("bert", num_labels=1, problem_type="regression")) == "value"


@pytest.mark.parametrize(
    ("kind", "prompt", "message"),
    [
        ("classifier", "  ", "the prompt is empty"),
        ("classifier", ("a", " "), "the second text is empty"),
        ("classifier", ("a", "b", "c"), r"reads a text, two texts \(first, second\).*given 3 texts"),
        ("classifier", {"question": "a"}, "given the keys 'question'"),
        ("classifier", 3, "given int"),
        ("classifier", ("a", 3), "the second text should be text and is int"),
        ("span", "a", r"reads a question and a context: .*given 1 text$"),
        ("span", ("a", ""), "the context is empty"),
        ("span", [{"role": "user", "content": "a"}], "given messages of a chat"),
    ],
)
def test_bad_prompts_are_one_sentence(kind: str, prompt: Any, message: str) -> None:
    from pellucid.models.heads import read_parts

    with pytest.raises(InputError, match=message):
        read_parts(with_head("bert", kind), prompt)


def test_types_in_a_frame_that_follows_the_text() -> None:
    """A frame at the end, with a third type, as XLNet has it; and a context without a limit."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertForSequenceClassification, PreTrainedTokenizerFast

    t = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["<sep>", "<cls>", "<unk>", "a", "b"])}, "<unk>"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.post_processor = processors.TemplateProcessing(
        single="$A <sep> <cls>:2", pair="$A <sep> $B:1 <sep>:1 <cls>:2", special_tokens=[("<sep>", 0), ("<cls>", 1)]
    )
    names: Sequence[str] = ["input_ids", "token_type_ids", "attention_mask"]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=t, sep_token="<sep>", cls_token="<cls>", unk_token="<unk>", model_input_names=list(names)
    )
    network = BertForSequenceClassification(config("bert", 5, type_vocab_size=3, pad_token_id=2))
    model = replace(LoadedModel.wrap(network, fast, name="behind"), context=-1)
    assert longest(model) is None
    for prompt in ("a b", ("a b a", "b")):
        encoded = encode_head(model, prompt)
        expected = fast(*([prompt] if isinstance(prompt, str) else prompt))
        assert encoded.ids == expected["input_ids"]
        assert token_types(model, encoded.ids) == expected["token_type_ids"]

"""The seam: a real model writes and weighs as transformers does; the double follows its script and its rule."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from pellucid.apps.speaker import Decoding, Speaker, speaker
from pellucid.apps.stepping import Stream
from pellucid.errors import ContextError, OptionError
from pellucid.model import Model
from pellucid.testing import KNOWN, UNKNOWN, Scripted

ASK = [{"role": "user", "content": "What is the capital of France?"}]


def test_writes_what_generate_writes_and_weighs_it(embedded: Model) -> None:
    me, loaded = speaker(embedded), embedded.loaded
    pieces: list[str] = []
    said = me.write(ASK, Decoding(max_new_tokens=12), on_text=pieces.append)
    ids = loaded.tokenizer.apply_chat_template(ASK, add_generation_prompt=True, return_dict=False)
    rows = torch.tensor([ids])
    with torch.no_grad():
        out = loaded.network.generate(rows, attention_mask=torch.ones_like(rows), max_new_tokens=12, do_sample=False)
        logits = loaded.network(out).logits[0].double()
    new = out[0, len(ids) :].tolist()
    assert said.text == loaded.tokenizer.decode(new, skip_special_tokens=True)
    assert "".join(pieces) == said.text
    assert len(pieces) > 3  # streamed, not at once
    logp = torch.log_softmax(logits, -1)
    each = [float(logp[len(ids) - 1 + k, t]) for k, t in enumerate(new)]
    assert said.logprob == pytest.approx(sum(each) / len(each), abs=1e-4)
    ended = new[-1] == loaded.tokenizer.eos_token_id
    assert said.end == ("stop" if ended else "length")
    weighed = me.logprobs([ASK], [said.text])[0]
    assert weighed == pytest.approx(each[: len(weighed)], abs=1e-4)
    assert me.count(ASK) == len(ids)


def test_next_turn_goes_on_from_what_was_read(embedded: Model) -> None:
    first = speaker(embedded)
    said = first.write(ASK, Decoding(max_new_tokens=8))
    chat = [*ASK, {"role": "assistant", "content": said.text}, {"role": "user", "content": "And of Norway?"}]
    warm = first.write(chat, Decoding("top_p:0.9", 8, seed=3))
    cold = speaker(embedded).write(chat, Decoding("top_p:0.9", 8, seed=3))
    assert warm.reused > first.count(ASK) - 8
    assert cold.reused == 0
    assert warm.text == cold.text
    assert warm.logprob == pytest.approx(cold.logprob, abs=1e-4)
    back = first.write(ASK, Decoding(max_new_tokens=8))  # an earlier place again
    assert back.text == said.text


def test_stop_texts_are_never_shown() -> None:
    shown: list[str] = []
    stream = Stream(("END", "\n\n"), shown.append)
    for text in ("Hel", "Hello E", "Hello EN", "Hello ENd, w", "Hello ENd, wE", "Hello ENd, wEND more"):
        ended = stream.grow(text)
    assert ended
    assert "".join(shown) == stream.text == "Hello ENd, w"
    assert not any("E" in s and not s.endswith("ENd, w") for s in shown[:-1])
    half: list[str] = []
    stream = Stream((), half.append)
    stream.grow("a\ufffd")
    stream.grow("a语")
    assert half == ["a", "语"]
    with pytest.raises(OptionError, match="stop text is empty"):
        Stream(("",), None)


def test_a_prompt_without_room_and_no_model(embedded: Model) -> None:
    with pytest.raises(ContextError, match="reads 8192"):
        speaker(embedded).write([{"role": "user", "content": "word " * 9000}])
    with pytest.raises(OptionError, match="expected a model"):
        speaker("smollm2")  # type: ignore[arg-type]


def test_models_without_a_template_read_one_text(tiny) -> None:  # type: ignore[no-untyped-def]
    loaded = tiny("gpt2")
    me = speaker(replace(loaded, tokenizer=_bare(loaded.tokenizer)))
    chat = [{"role": "user", "content": "one two"}, {"role": "assistant", "content": "three"}]
    trace = me.explain(chat, "four", unit=[(0, 4, 7), (1, 0, 5)], trust=False)
    assert [u.text for u in trace.units] == ["two", "three"]
    assert trace.prompt.text == "User: one two\n\nAssistant: three\n\nAssistant:"


def _bare(tokenizer):  # type: ignore[no-untyped-def]
    import copy

    found = copy.deepcopy(tokenizer)
    found.chat_template = None
    return found


def test_the_double_follows_its_script_and_its_rule() -> None:
    me = Scripted({"capital": "Paris it is"}, context=40)
    assert isinstance(me, Speaker)
    chat = [{"role": "system", "content": "Paris. Lyon."}, {"role": "user", "content": "the capital"}]
    said = me.write(chat)
    assert (said.text, said.tokens, said.end) == ("Paris it is", 3, "stop")
    assert me.logprobs([chat], [said.text]) == [[KNOWN, UNKNOWN, UNKNOWN]]
    trace = me.explain(chat, said.text, unit="sentence", spans={"city": "Paris"}, per_token=True)
    assert [u.score for u in trace.units] == pytest.approx([KNOWN - UNKNOWN, 0, 0])
    assert trace.spans[0].unit_scores == pytest.approx((KNOWN - UNKNOWN, 0, 0))
    assert trace.top(1)[0].text == "Paris"
    assert trace.scores is not None
    assert trace.scores[0, :2] == pytest.approx([(KNOWN - UNKNOWN) / 2] * 2)  # a unit's number, shared by its tokens
    assert math.isnan(trace.scores[0, -1])
    assert type(trace).from_dict(trace.to_dict()).answer.text == said.text
    with pytest.raises(OptionError, match="no pattern"):
        me.write([{"role": "user", "content": "hello"}])
    with pytest.raises(ContextError, match="reads 40"):
        me.write([{"role": "user", "content": "capital " * 50}])
    lines = Scripted(["one", "two words here"])
    assert lines.write(chat).text == "one"
    cut = lines.write(chat, Decoding(max_new_tokens=2))
    assert (cut.text, cut.end) == ("two words", "length")

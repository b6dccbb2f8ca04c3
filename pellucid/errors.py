"""Every error that Pellucid raises on purpose, in one tree.

::

    Error                      anything below; the command line prints it in one line and exits with 2
    ├── InputError             the text, target or span that was given cannot be explained
    │   └── ContextError       prompt and answer are longer than the model's context
    ├── ModelError             a model cannot be found, fetched, read or used
    │   ├── UnknownModelError  no embedded model, folder, file or Hub repository of that name
    │   ├── OfflineError       it is not in the cache, and the network is off or out of reach
    │   ├── LicenceError       its terms have not been accepted
    │   ├── DamagedFileError   a truncated, foreign or corrupt model file
    │   └── TemplateError      its chat template fails, or changes the messages beyond recognition
    ├── OptionError            an unknown method, objective, device or other option
    ├── NumericError           scores came out as NaN or infinite
    ├── OutputError            a result cannot be written where it was asked for
    ├── SchemaError            a file is not a trace, is damaged, or is of a newer schema
    └── MissingExtraError      an optional package is needed; the message says which

Each message is one sentence or two: what was given, what was expected, what to do.
"""

from __future__ import annotations


class Error(Exception):
    """Base of every error that Pellucid raises on purpose."""


class InputError(Error):
    """The text, target or span that was given cannot be explained."""


class ContextError(InputError):
    """Prompt and answer are longer than the model's context."""


class ModelError(Error):
    """A model cannot be found, fetched, read or used."""


class UnknownModelError(ModelError):
    """No embedded model, folder, file or Hub repository has that name."""


class OfflineError(ModelError):
    """The model is not in the cache, and the network is off or out of reach."""


class LicenceError(ModelError):
    """The model's terms have not been accepted."""


class DamagedFileError(ModelError):
    """A truncated, foreign or corrupt model file."""


class TemplateError(ModelError):
    """The chat template fails, or changes the messages beyond recognition."""


class OptionError(Error):
    """An unknown method, objective, device or other option."""


class NumericError(Error):
    """Scores came out as NaN or infinite."""


class OutputError(Error):
    """A result cannot be written where it was asked for."""


class SchemaError(Error):
    """A file is not a trace, is damaged, or is of a newer schema."""


class MissingExtraError(Error):
    """An optional package is needed."""


def unknown(kind: str, given: object, known: list[str]) -> OptionError:
    """``OptionError`` for a name that is not in ``known``: says what was given, what there is, what is near."""
    import difflib

    near = difflib.get_close_matches(str(given), known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return OptionError(f"unknown {kind} '{given}': expected one of {', '.join(known)}.{hint}")

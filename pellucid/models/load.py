"""Any name to a ``LoadedModel``: embedded, Hub id, folder, or ``.gguf`` file.

    loaded = load_model("smollm2-135m-instruct", device="cpu")

Order of meaning: an embedded name (``catalog``), an existing file or folder, a Hub id. Remote code is never run unless
asked for, and pickled weights are read by transformers with ``weights_only``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pellucid.errors import (
    DamagedFileError,
    LicenceError,
    MissingExtraError,
    ModelError,
    OfflineError,
    OptionError,
    UnknownModelError,
    unknown,
)
from pellucid.models import cache, packed
from pellucid.models.catalog import CATALOG, Embedded
from pellucid.models.convert import check_gguf, convert
from pellucid.models.fetch import fetch, offline
from pellucid.models.kinds import auto_class, kind_of, kind_of_config
from pellucid.models.quantization import config as quantization_config
from pellucid.models.quantization import import_modelling
from pellucid.models.quiet import quiet_bars
from pellucid.progress import Progress, silent

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

DTYPES = ("auto", "float32", "bfloat16", "float16")
#: Extra: packages that tokenizers ask for.
_EXTRAS = {"sentencepiece": ("sentencepiece", "protobuf"), "sacremoses": ("sacremoses",), "tiktoken": ("tiktoken",)}


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready to be asked: what every room's functions take as their first argument.

    ``network`` is in evaluation mode and its weights carry no gradients. ``context`` is the longest input in tokens
    that the model was made for, None where its configuration does not say. ``kind`` is what it answers with
    (``pellucid.models.kinds``). ``source_language`` and ``target_language`` are what an encoder-decoder that knows
    several was told (``pellucid.models.seq2seq.speaking``).
    """

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    name: str
    source: str
    revision: str | None
    context: int | None
    kind: str = "causal"
    source_language: str | None = None
    target_language: str | None = None

    @property
    def device(self) -> torch.device:
        """Where inputs go: the device of the input embeddings."""
        return cast("torch.device", self.network.get_input_embeddings().weight.device)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the network's activations."""
        return self.network.dtype

    @property
    def parameters(self) -> int:
        """How many weights (tied ones once; of packed ones, those that they stand for)."""
        return int(self.network.num_parameters())

    @classmethod
    def wrap(cls, network: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, *, name: str = "model") -> LoadedModel:
        """A model that is in memory already (tests, the lab): set to evaluation, weights without gradients."""
        network.eval()
        network.requires_grad_(False)
        context = getattr(network.config.get_text_config(), "max_position_embeddings", None)
        return cls(network, tokenizer, name, "memory", None, context, kind_of(network))


def load_model(
    name: str | os.PathLike[str],
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    device_map: str | dict[str, Any] | None = None,
    quantization: str | object | None = None,
    trust_remote_code: bool = False,
    accept_license: bool = False,
    progress: Progress = silent,
) -> LoadedModel:
    """Load a model with its head (``pellucid.models.kinds``) and its tokenizer.

    - ``name``: embedded (``pellucid models`` lists them), a folder, a ``.gguf`` file, or a Hub id (the Hub's own
      settings hold: ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, its cache).
    - ``device``: ``auto`` (CUDA, else MPS, else CPU), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    - ``dtype``: ``auto`` is float32 on the CPU and the dtype of the file on a GPU (bfloat16 for a folder of int4
      weights); or one of ``DTYPES``.
    - ``device_map``: as in transformers (``"auto"`` spreads layers over devices); instead of ``device``.
    - ``quantization``: ``int8`` (extra ``torchao``), ``8bit`` or ``4bit`` (extra ``bitsandbytes``), or a transformers
      quantisation config.
    - ``accept_license``: accepts the terms of an embedded model that has any (Gemma); remembered in the cache.

    Raises a ``ModelError`` of the kind that fits, ``OptionError`` for an unknown option.
    """
    if isinstance(name, os.PathLike):
        name = os.fspath(name)
    if not isinstance(name, str) or not name.strip():
        raise UnknownModelError(
            f"a model needs a name, given {name!r}: one of {', '.join(CATALOG)}, a Hub id, or a path"
        )
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, list(DTYPES))
    place = None if device_map is not None else resolve_device(device)
    config = quantization_config(quantization)

    if name in CATALOG:
        _licence(CATALOG[name], accept_license)
        folder, source, hub = _embedded(CATALOG[name], progress), "embedded", False
    elif name.endswith(".gguf") or Path(name).is_file():
        folder, source, hub = _from_gguf(Path(name), progress), "gguf", False
    elif Path(name).is_dir():
        folder, source, hub = Path(name), "folder", False
        if not (folder / "config.json").is_file():
            raise UnknownModelError(f"the folder {name} holds no config.json: it is not a model in the Hub's layout")
    else:
        folder, source, hub = Path(name), "hub", True
        _hub_name(name)

    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if hub and revision is not None:
        options["revision"] = revision
    weights: dict[str, Any] = {"dtype": _dtype(dtype, place), **options}
    if device_map is not None:
        weights["device_map"] = device_map
    if config is not None:
        weights["quantization_config"] = config
        if place is not None:  # quantised weights cannot be moved afterwards
            weights["device_map"] = {"": place}
    target = name if hub else str(folder)
    network, tokenizer = _read(target, name, hub, options, weights, dtype, progress)
    if quantization == "int8":
        packed.check_packed(network, name)
    if place is not None and config is None:
        network = _move(network, place, name)
    packed.ready(network)
    network.eval()
    network.requires_grad_(False)
    commit = getattr(network.config, "_commit_hash", None) if hub else None
    context = getattr(network.config.get_text_config(), "max_position_embeddings", None)
    return LoadedModel(network, tokenizer, name, source, commit or revision, context, kind_of(network))


def resolve_device(device: str) -> str:
    """``auto`` to the best there is; a named one if torch knows it and it is present. Raises ``OptionError``."""
    import torch

    here = ["cpu"]
    if torch.cuda.is_available():
        here = [f"cuda:{i}" for i in range(torch.cuda.device_count())] + here
    if torch.backends.mps.is_available():
        here = ["mps", *here]
    if device == "auto":
        return "cuda" if here[0].startswith("cuda") else here[0]
    if device in here or (device == "cuda" and here[0].startswith("cuda")):
        return device
    raise OptionError(f"device '{device}' is not there: expected auto or one of {', '.join(here)}")


def _dtype(dtype: str, place: str | None) -> Any:
    import torch

    if dtype != "auto":
        return getattr(torch, dtype)
    return torch.float32 if place == "cpu" else "auto"


def _licence(model: Embedded, accepted: bool) -> None:
    """Terms are accepted once; a small file in the cache remembers."""
    if model.terms is None:
        return
    note = cache.root() / "accepted" / model.name
    if note.is_file():
        return
    if not accepted:
        raise LicenceError(
            f"'{model.name}' comes under the {model.licence} ({model.terms}): read them, and if you accept them say so "
            "once with --accept-license, or accept_license=True in Python"
        )
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{model.terms}\n", encoding="utf-8")
    except OSError as e:
        raise LicenceError(f"your acceptance cannot be kept in {note}: {e.strerror or e}") from None


def _embedded(model: Embedded, progress: Progress) -> Path:
    key = f"{model.name}-{model.gguf_sha256[:12]}-f{cache.FORMAT}"
    return _converted(key, model.name, lambda stage: fetch(model, stage, progress), progress)


def _from_gguf(path: Path, progress: Progress) -> Path:
    if not path.exists():
        raise UnknownModelError(f"there is no file {path}")
    check_gguf(path)
    print_ = hashlib.sha256(f"{path.resolve()}{path.stat().st_mtime_ns}{cache.fingerprint(path)}".encode()).hexdigest()
    return _converted(f"gguf-{print_[:16]}-f{cache.FORMAT}", str(path.resolve()), lambda _: path, progress)


def _converted(key: str, name: str, gguf: Any, progress: Progress) -> Path:
    """The folder of a converted model, from the cache or made now from ``gguf(stage)``."""
    found = cache.find(key)
    if found is not None:
        return found
    with cache.building(key, name, progress) as (stage, ready):
        if ready is not None:
            return ready
        work = stage / "work"
        work.mkdir()
        path = gguf(work)
        check_gguf(path)
        convert(path, stage, Path(name).name, progress)
        shutil.rmtree(work)
    made = cache.find(key)
    if made is None:
        raise DamagedFileError(f"the cache entry of {name} changed while it was written: try again")
    return made


def _hub_name(name: str) -> None:
    """Refuse what cannot be a Hub id before the network is asked."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        raise UnknownModelError(
            f"no model '{name}': it is not embedded ({', '.join(CATALOG)}), no file or folder, and no possible Hub id"
        ) from None


def _read(
    target: str,
    name: str,
    hub: bool,
    options: dict[str, Any],
    weights: dict[str, Any],
    dtype: str,
    progress: Progress,
) -> tuple[Any, Any]:
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoTokenizer

    stage = f"loading {name}"
    progress(stage, 0, 2)
    try:
        import_modelling()
        know_our_own(target, options)
        config = AutoConfig.from_pretrained(target, **options)
        packed.adapt(config, weights, dtype, name)
        auto = auto_class(kind_of_config(config))
        if hub:  # the Hub's own bars show the download
            tokenizer = AutoTokenizer.from_pretrained(target, **options)
            progress(stage, 1, 2)
            network = auto.from_pretrained(target, **weights)
        else:
            with quiet_bars():
                tokenizer = AutoTokenizer.from_pretrained(target, **options)
                progress(stage, 1, 2)
                network = auto.from_pretrained(target, **weights)
    except ImportError as e:
        raise _missing(name, e) from None
    except AttributeError as e:  # transformers 5.0 trips over tokenizers that it left out for want of sentencepiece
        if importlib.util.find_spec("sentencepiece") is not None:
            raise
        raise _missing(name, ImportError("sentencepiece")) from e
    except SafetensorError as e:
        raise DamagedFileError(f"the weights of '{name}' are damaged: {_sentence(e)}") from None
    except (OSError, ValueError, KeyError, RuntimeError) as e:
        raise _load_error(name, hub, e) from None
    progress(stage, 2, 2)
    return network, tokenizer


def know_our_own(target: str, options: dict[str, Any]) -> None:
    """Tell transformers about the lab's architecture, where this is one: nothing of it is registered before."""
    from transformers import PreTrainedConfig

    if PreTrainedConfig.get_config_dict(target, **options)[0].get("model_type") == "pellucid":
        from pellucid.lab.network import register

        register()


def _missing(name: str, e: ImportError) -> MissingExtraError:
    """What to install, in one sentence: transformers' own take a page."""
    for extra, packages in _EXTRAS.items():
        for package in packages:
            if package in str(e).lower():
                return MissingExtraError(
                    f"'{name}' needs {package}, which is not installed: pip install 'pellucid[{extra}]'"
                )
    return MissingExtraError(f"'{name}' needs a package that is not installed: {_sentence(e)}")


def _sentence(e: BaseException) -> str:
    return (str(e).strip().splitlines() or [type(e).__name__])[0]


def _load_error(name: str, hub: bool, e: Exception) -> ModelError:
    """What went wrong, told from the chain of causes: the Hub's own errors are wrapped in OSError by transformers."""
    import difflib

    from huggingface_hub import errors

    causes: list[BaseException] = []
    cause: BaseException | None = e
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if not hub:
        return DamagedFileError(f"'{name}' cannot be loaded: {_sentence(e)}")
    near = difflib.get_close_matches(name, CATALOG, n=1, cutoff=0.4)
    hint = f" Did you mean '{near[0]}'?" if near else f" Embedded models: {', '.join(CATALOG)}."
    if any(isinstance(c, errors.GatedRepoError) for c in causes):
        return ModelError(f"'{name}' is gated on the Hub: accept its terms there, then log in with 'hf auth login'")
    if any(isinstance(c, errors.RepositoryNotFoundError | errors.RevisionNotFoundError) for c in causes):
        return UnknownModelError(f"the Hub has no model '{name}' (or no such revision, or it is private).{hint}")
    variable = offline()
    if variable is not None:
        return OfflineError(f"'{name}' is not in the Hub's cache, and {variable} is set: unset it to fetch it.{hint}")
    network = (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError, TimeoutError)
    if any(isinstance(c, network) for c in causes) or "connect" in str(e).lower():
        return OfflineError(
            f"'{name}' is not embedded, no file or folder, not in the Hub's cache, and the Hub cannot be reached.{hint}"
        )
    return ModelError(f"'{name}' cannot be loaded: {_sentence(e)}.{hint}")


def _move(network: Any, place: str, name: str) -> Any:
    import torch

    try:
        return network.to(place)
    except torch.OutOfMemoryError:
        raise ModelError(
            f"'{name}' does not fit the memory of {place}: try dtype='bfloat16', quantization='8bit', device='cpu' or "
            "device_map='auto'"
        ) from None

"""The `tokenizer` provider: a Hugging Face tokenizer file as a `Tokenizer` model, by the `tokenizers` library alone.

`models: {tok: {use: tokenizer, model: HuggingFaceTB/SmolLM3-3B}}`. What `model` may be:
- a path to a `tokenizer.json`, or to a folder that holds one;
- the id of a model on the Hugging Face hub, fetched once into the hub's own cache (only its few tokenizer files);
- `builtin`: a small byte-level BPE (4,096 entries, chatml) that ships with sftrecipe. It is for trying recipes and for
  counting without a download, not for training a released model. Its origin: builtin_tokenizer.md.

Beside `tokenizer.json`, `tokenizer_config.json` gives the chat template and the begin- and end-of-sequence tokens, and
`chat_template.jinja`, where there is one, the template. Nothing is ever added to, cut from or padded around a text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from sftrecipe import Param, Provider, StepError
from sftrecipe.chat import BUILT_IN

__all__ = ["LiveTokenizer", "TokenizerFiles", "TokenizerModel", "find"]

BUILTIN = Path(__file__).with_name("builtin_tokenizer.json")
_FILES = ("tokenizer_config.json", "chat_template.jinja")
_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


class TokenizerFiles:
    """The texts that make a tokenizer: `tokenizer` (tokenizer.json), `config`, `template`."""

    def __init__(self, tokenizer: str, config: Mapping[str, Any], template: str | None) -> None:
        self.tokenizer, self.config, self.template = tokenizer, config, template

    @cached_property
    def digest(self) -> str:
        """sha256 of all that encoding and rendering depend on."""
        roles = {role: _text(self.config.get(role)) for role in _ROLES}
        parts = (self.tokenizer, self.template or "", json.dumps(roles, sort_keys=True))
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


class TokenizerModel(Provider):
    """A tokenizer file, a folder or hub model that has one, or `builtin`."""

    serves: ClassVar[Sequence[str]] = ("Tokenizer",)
    place: ClassVar[str] = "pool"
    version: ClassVar[int] = 1

    model: str = Param("builtin", doc="Path to tokenizer.json or its folder, a hub model id, or `builtin`.")
    revision: str | None = Param(
        None, doc="Branch, tag or commit of a hub model. A commit makes the recipe repeatable for good."
    )
    eos: str | None = Param(None, doc="Text of the end-of-sequence token, where the files do not say.")

    @cached_property
    def files(self) -> TokenizerFiles:
        """Found once. Raises StepError that says what was looked for."""
        return find(self.model, self.revision)

    def identity(self) -> Mapping[str, Any]:
        return {"tokenizer": self.files.digest, "eos": self.eos}

    def open(self) -> LiveTokenizer:
        return LiveTokenizer(self.files, self.eos)


class LiveTokenizer:
    """The `Tokenizer` protocol, and what chat templates need beside it.

    `special_tokens`: role (`bos_token`, `eos_token`, ...) -> text. `control_tokens`: texts that are always read as one
    control token.
    """

    def __init__(self, files: TokenizerFiles, eos: str | None = None) -> None:
        from tokenizers import Tokenizer as Fast

        try:
            self._fast = Fast.from_str(files.tokenizer)
        except Exception as error:  # the library raises bare Exception for a file that it cannot read
            raise StepError(f"this is no tokenizer.json that the tokenizers library can read: {error}") from error
        self._fast.no_truncation()
        self._fast.no_padding()
        named = {role: text for role in _ROLES if (text := _text(files.config.get(role)))}
        self.special_tokens: Mapping[str, str] = {**named, "eos_token": eos} if eos else named
        self.control_tokens = frozenset(t.content for t in self._fast.get_added_tokens_decoder().values() if t.special)
        self._template = files.template
        end = self.special_tokens.get("eos_token")
        self._eos = self.id_of(end) if end else None
        if end and self._eos is None:
            raise StepError(
                f"the end-of-sequence token {end!r} is not in the tokenizer's vocabulary",
                help="name another with `eos:`",
            )

    def encode(self, text: str) -> list[int]:
        """Token ids; nothing is added."""
        return list(self._fast.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many texts."""
        return [list(e.ids) for e in self._fast.encode_batch(list(texts), add_special_tokens=False)]

    def encode_offsets(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Of each text the ids, and of each id the [start, stop) characters that it stands for."""
        return [(list(e.ids), list(e.offsets)) for e in self._fast.encode_batch(list(texts), add_special_tokens=False)]

    def id_of(self, token: str) -> int | None:
        """The id of one token by its text."""
        found = self._fast.token_to_id(token)
        return None if found is None else int(found)

    @property
    def eos_id(self) -> int | None:
        """The id that ends a sequence."""
        return self._eos

    @property
    def chat_template(self) -> str | None:
        """The Jinja template that came with it."""
        return self._template


def find(model: str, revision: str | None = None) -> TokenizerFiles:
    """The files of a path, a folder, a hub id or `builtin`. Raises StepError."""
    if model == "builtin":
        end = BUILT_IN["chatml"].eos
        return TokenizerFiles(BUILTIN.read_text(encoding="utf-8"), {"eos_token": end}, BUILT_IN["chatml"].source)
    path = Path(model).expanduser()
    if path.is_dir():
        path = path / "tokenizer.json"
    if path.is_file():
        return _read(path, {name: path.with_name(name) for name in _FILES if path.with_name(name).is_file()})
    if path.suffix == ".json" or path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise StepError(
            f"no tokenizer at {path}",
            help="give the path of a tokenizer.json or its folder, a hub model id, or `builtin`",
        )
    return _fetch(model, revision)


def _fetch(model: str, revision: str | None) -> TokenizerFiles:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        main = hf_hub_download(model, "tokenizer.json", revision=revision)
        beside = {}
        for name in _FILES:
            try:
                beside[name] = Path(hf_hub_download(model, name, revision=revision))
            except LocalEntryNotFoundError:
                if name != "chat_template.jinja" and not _known_absent(model, name, revision):
                    raise  # offline, and perhaps never fetched: without the config, end and template would be guessed
            except EntryNotFoundError:
                continue  # not every model has both
    except GatedRepoError as error:
        raise StepError(
            f"`{model}` is gated on the hub", help="accept its terms there, then `hf auth login` or set HF_TOKEN"
        ) from error
    except LocalEntryNotFoundError as error:
        raise StepError(
            f"the tokenizer of `{model}` is not in the local cache and the hub cannot be reached",
            help="go online once (unset HF_HUB_OFFLINE), point `model:` at a downloaded folder, "
            "or use `model: builtin` for a trial run",
        ) from error
    except RepositoryNotFoundError as error:
        raise StepError(f"there is no model `{model}` on the hub, nor a file of that name here") from error
    except (EntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise StepError(
            f"cannot get the tokenizer of `{model}`: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from error
    return _read(Path(main), beside)


def _known_absent(model: str, name: str, revision: str | None) -> bool:
    """Whether the hub said earlier that the model has no such file."""
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

    return try_to_load_from_cache(model, name, revision=revision) is _CACHED_NO_EXIST


def _read(path: Path, beside: Mapping[str, Path]) -> TokenizerFiles:
    config: Mapping[str, Any] = {}
    if name := beside.get("tokenizer_config.json"):
        try:
            config = json.loads(name.read_text(encoding="utf-8"))
        except ValueError as error:
            raise StepError(f"{name} is no JSON: {error}") from error
    template = _template(config.get("chat_template"), str(path))
    if jinja := beside.get("chat_template.jinja"):
        template = jinja.read_text(encoding="utf-8")
    return TokenizerFiles(path.read_text(encoding="utf-8"), config, template)


def _template(value: Any, where: str) -> str | None:
    """A config holds one template, or several with names, of which `default` is the one for chat."""
    if value is None or isinstance(value, str):
        return value
    named = {t["name"]: t["template"] for t in value}
    if "default" not in named:
        raise StepError(
            f"the tokenizer at {where} has chat templates {', '.join(sorted(named))} and none called default"
        )
    return str(named["default"])


def _text(token: Any) -> str:
    """A token in a config is its text, or a mapping with `content`."""
    return str(token.get("content") or "") if isinstance(token, Mapping) else str(token or "")

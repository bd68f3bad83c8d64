"""`use: transformers`: a local model, generating in batches.

Requests that wait at the same time share a batch, padded on the left. Sampling draws one number per row and token from
the request's own hash (with `seed`, from the seed), through the inverse of the cumulative distribution: so an answer
depends on its request, not on who shares its batch or on global random state. What may still differ between batches is
the last digits of the logits: `approximate`. Only safetensors weights are loaded, and no code that a model brings.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sftrecipe import Param, Provider, StepError
from sftrecipe.models import Limits, Reply, Request, Unusable
from sftrecipe.models.keys import canonical

__all__ = ["LocalTransport", "Transformers"]


class Transformers(Provider):
    """A causal language model on this machine, by the transformers library."""

    serves = ("Chat",)
    needs = ("lm",)
    place = "device"

    model: str = Param(doc="A folder, or a name on the Hugging Face hub (fetched when it is not here yet).")
    revision: str | None = Param(None, doc="Commit or branch on the hub.")
    device: str = Param("auto", doc="cpu, cuda, cuda:1, mps; auto takes a GPU where there is one.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Param(
        "auto", doc="Precision; auto is the one of the weights."
    )
    batch: int = Param(8, ge=1, doc="Conversations generated together, at most.")
    max_tokens: int = Param(512, ge=1, doc="Length of an answer in tokens where the step gives none.")

    def identity(self) -> Mapping[str, Any]:
        """The model's name and revision (for a folder, a hash of its weights and configuration) and the precision."""
        folder = Path(self.model)
        revision = _folder_hash(folder) if folder.is_dir() else self.revision or "main"
        name = folder.name if folder.is_dir() else self.model
        return {
            "provider": "transformers",
            "model": name,
            "revision": revision,
            "dtype": self.dtype,
            "max_tokens": self.max_tokens,
        }

    def limits(self) -> Limits:
        """None: the device sets the pace."""
        return Limits()

    def open(self) -> LocalTransport:
        """Loads the weights. Raises StepError when they cannot be had."""
        return LocalTransport(_load(self.model, self.revision, self.device, self.dtype), self.batch, self.max_tokens)


@dataclass(frozen=True)
class _Loaded:
    model: Any
    tokenizer: Any
    device: Any


@dataclass
class _Job:
    """One request on its way through a batch."""

    request: Request
    ids: list[int]
    limit: int
    future: asyncio.Future[Reply]
    drawn: random.Random
    tops: list[dict[str, float]] = field(default_factory=list)


class LocalTransport:
    """The loaded model, and the queue of those who wait for it."""

    adaptive = False
    completes = True

    def __init__(self, loaded: _Loaded, batch: int, max_tokens: int) -> None:
        self._loaded, self._batch, self._max_tokens = loaded, batch, max_tokens
        self.concurrency = 2 * batch  # the next batch is ready when one ends
        self._queue: deque[_Job] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sftrecipe-model")

    async def send(self, request: Request) -> Reply:
        """The answer of the local model. Raises Unusable when the conversation does not fit its window."""
        limit = int(request.sampling.get("max_tokens") or self._max_tokens)
        ids = _prompt_ids(self._loaded.tokenizer, request)
        window = getattr(self._loaded.model.config, "max_position_embeddings", None)
        if window is not None and len(ids) + limit > window:
            raise Unusable(
                "context_overflow", f"{len(ids)} tokens and {limit} to come are more than the window of {window}"
            )
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._queue.append(_Job(request, ids, limit, future, random.Random(_seed(request))))  # noqa: S311
        if self._worker is None or self._worker.done():
            self._worker = asyncio.ensure_future(self._work())
        return await future

    async def _work(self) -> None:
        await asyncio.sleep(0)  # lets those who ask in the same turn into the first batch
        loop = asyncio.get_running_loop()
        while self._queue:
            jobs = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
            jobs = [job for job in jobs if not job.future.done()]
            if not jobs:
                continue
            try:
                replies = await loop.run_in_executor(self._thread, generate, self._loaded, jobs)
            except BaseException as error:
                for job in jobs:
                    if not job.future.done():
                        job.future.set_exception(error)
                raise
            for job, reply in zip(jobs, replies, strict=True):
                if not job.future.done():
                    job.future.set_result(reply)

    def redact(self, text: str) -> str:
        """Nothing is secret here."""
        return text

    async def leave(self) -> None:
        """Gives up what waits; the weights stay."""
        self._queue.clear()
        if self._worker is not None:
            self._worker.cancel()
            self._worker = None

    def close(self) -> None:
        """Waits for the batch under way and lets the weights go."""
        self._thread.shutdown(wait=True, cancel_futures=True)


def generate(loaded: _Loaded, jobs: Sequence[_Job]) -> list[Reply]:
    """One batch, padded on the left: greedy search over scores that already hold each row's draw.

    Cost: one forward pass a token for the longest answer of the batch.
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    tokenizer, width = loaded.tokenizer, max(len(job.ids) for job in jobs)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0
    rows = [[pad] * (width - len(job.ids)) + job.ids for job in jobs]
    mask = [[0] * (width - len(job.ids)) + [1] * len(job.ids) for job in jobs]
    ends = _end_ids(loaded)
    config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max(job.limit for job in jobs),
        pad_token_id=pad,
        eos_token_id=ends or None,
    )
    with torch.inference_mode():
        out = loaded.model.generate(
            input_ids=torch.tensor(rows, device=loaded.device),
            attention_mask=torch.tensor(mask, device=loaded.device),
            generation_config=config,
            logits_processor=LogitsProcessorList([_Draw(jobs, tokenizer)]),
        )
    return [_finish(job, new, ends, tokenizer) for job, new in zip(jobs, out[:, width:].tolist(), strict=True)]


class _Draw:
    """A logits processor:

    notes the log-probabilities of the top tokens, and leaves one token possible, drawn or best.
    """

    def __init__(self, jobs: Sequence[_Job], tokenizer: Any) -> None:
        self._jobs, self._tokenizer = jobs, tokenizer

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        chosen = [self._choose(job, row) for job, row in zip(self._jobs, scores.float(), strict=True)]
        only = torch.full_like(scores, -torch.inf)
        return only.scatter_(1, torch.tensor(chosen, device=scores.device)[:, None], 0.0)

    def _choose(self, job: _Job, logits: Any) -> int:
        import torch

        sampling = job.request.sampling
        if wanted := int(sampling.get("logprobs") or 0):
            self._note(job, torch.log_softmax(logits, 0), wanted)
        temperature = float(sampling.get("temperature", 1.0))
        draw = job.drawn.random()  # drawn even where it is not used: a row's numbers depend on the token's place alone
        if temperature <= 0:
            return int(logits.argmax())
        ranked, order = torch.sort(torch.softmax(logits / temperature, 0), descending=True, stable=True)
        total = ranked.cumsum(0)
        top_p = min(1.0, float(sampling.get("top_p", 1.0)))
        kept = int((total - ranked < top_p).sum())  # the smallest set whose mass reaches top_p
        at = int(torch.searchsorted(total[:kept], draw * float(total[kept - 1]), right=True))
        return int(order[min(at, kept - 1)])

    def _note(self, job: _Job, logprobs: Any, wanted: int) -> None:
        values, ids = logprobs.topk(min(wanted, logprobs.shape[0]))
        tops: dict[str, float] = {}
        for token, value in zip(ids.tolist(), values.tolist(), strict=True):
            tops.setdefault(self._tokenizer.decode([token]), value)  # two tokens may read alike: the likelier counts
        job.tops.append(tops)


def _finish(job: _Job, new: list[int], ends: Sequence[int], tokenizer: Any) -> Reply:
    new = new[: job.limit]
    stop = next((at for at, token in enumerate(new) if token in ends), None)
    body = new if stop is None else new[:stop]
    text, reason = tokenizer.decode(body, skip_special_tokens=True), "length" if stop is None else "stop"
    words = job.request.sampling.get("stop") or []
    for word in [words] if isinstance(words, str) else words:
        if word and word in text:
            text, reason = text[: text.index(word)], "stop"
    count = len(body) + (stop is not None)
    return Reply(text, reason, tokens_in=len(job.ids), tokens_out=count, logprobs=tuple(job.tops[:count]))


def _prompt_ids(tokenizer: Any, request: Request) -> list[int]:
    """The model's own template; a model without one gets `role: text` lines."""
    if request.prompt is not None:
        return list(tokenizer(request.prompt, add_special_tokens=False)["input_ids"])
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    lines = [f"{m['role']}: {m.get('content') or ''}\n" for m in request.messages]
    return list(tokenizer("".join(lines) + "assistant:")["input_ids"])


def _seed(request: Request) -> int:
    if (seed := request.sampling.get("seed")) is not None:
        return int(seed) + request.sample
    asked = canonical([request.messages, dict(request.sampling), request.sample])
    return int.from_bytes(hashlib.sha256(asked).digest()[:8], "big")


def _end_ids(loaded: _Loaded) -> list[int]:
    own = loaded.model.generation_config.eos_token_id
    found = own if isinstance(own, list) else [own, loaded.tokenizer.eos_token_id]
    return sorted({token for token in found if token is not None})


def _load(name: str, revision: str | None, device: str, dtype: str) -> _Loaded:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    precision = dtype if dtype == "auto" else getattr(torch, dtype)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(name, revision=revision, dtype=precision, use_safetensors=True)
    except (OSError, ValueError) as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise StepError(
            f"the model `{name}` cannot be loaded: {cause}", code="R621", help="check `model` and `revision`"
        ) from error
    return _Loaded(model.to(device).eval(), tokenizer, device)


def _folder_hash(folder: Path) -> str:
    """sha256 over the weights and JSON files of a model's folder, by name. Cost: about a second a gigabyte."""
    total = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.json"), *folder.glob("*.jinja")]):
        total.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
    return total.hexdigest()[:16]

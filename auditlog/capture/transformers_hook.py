"""Record what a transformers model generates: token ids in and out, sampling, seed (capture hop
`in_process`).

    hook = install(model)            or a pipeline; or `with install(model): ...`; hook.remove() undoes it

`model.generate` is replaced on that object alone, so pipelines that use the model are covered; a pipeline
whose model does not generate is observed at its call. Token ids, not text: they are what the model really saw
and chose.

    request   {"input_ids": [[..]], "attention_mask": [[..]] only if it masks, "seed": n, "rng_state_sha256":
    hex} response  {"output_ids": [[..]]}, as `generate` returned them

`seed` is the last one given to torch; the state of the generator moves with every sampled call, so its digest
stands beside it. Neither torch nor transformers is imported here: whoever has a model has loaded them.
Promises: results, exceptions and the model stay what they were. Must never raise an exception of its own, but
for `UnrecordableError` in fail_closed, as `@audited` does.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from auditlog.capture.audited import audited
from auditlog.capture.in_process import CallNature, CallSampling, InProcessCall, recorder_for_calls
from auditlog.capture.plain_json import digest_array, plain
from auditlog.capture.process import RecorderSource, recorder_of_this_process
from auditlog.capture.recorder import Recorder

SAMPLING_NAMES = (
    "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff",
    "top_h", "repetition_penalty", "encoder_repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "penalty_alpha", "guidance_scale", "num_beams", "num_beam_groups", "diversity_penalty",
    "early_stopping", "num_return_sequences", "max_new_tokens", "max_length", "min_new_tokens",
    "min_length", "max_time", "renormalize_logits",
)  # fmt: skip
"""The parameters of `generate` that shape the choice of tokens."""

_TOKEN_IDS = {"inputs": "input_ids", "input_ids": "input_ids", "decoder_input_ids": "decoder_input_ids"}


class GenerationHook:
    """An installed hook; a context manager that removes itself. Removing twice is fine."""

    def __init__(self, remove: Callable[[], None]) -> None:
        self._remove: Callable[[], None] | None = remove

    def remove(self) -> None:
        """Put the object back as it was found."""
        remove, self._remove = self._remove, None
        if remove is not None:
            remove()

    def __enter__(self) -> GenerationHook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def install(target: Any, *, recorder: Recorder | None = None, values: bool = True) -> GenerationHook:
    """Observe a model with `generate`, or a pipeline. The process's own recorder is used by default.

    Raises:
        TypeError: the target is neither; a programming mistake that should show when the server starts.
    """
    source = recorder_of_this_process if recorder is None else RecorderSource.of(recorder)
    if callable(getattr(target, "generate", None)):
        return _install_on_model(target, source, keeps_values=values)
    model = getattr(target, "model", None)
    if model is not None and callable(target):
        if getattr(model, "generation_config", None) is not None and callable(
            getattr(model, "generate", None)
        ):
            return _install_on_model(model, source, keeps_values=values)
        return _install_on_pipeline(target, recorder, keeps_values=values)
    raise TypeError(f"expected a transformers model or pipeline, found {type(target).__name__}")


def _install_on_model(model: Any, source: RecorderSource, *, keeps_values: bool) -> GenerationHook:
    generate = model.generate
    nature = CallNature("text_completion", f"{type(model).__name__}.generate", keeps_values)

    @functools.wraps(generate)
    def observed(*args: Any, **kwargs: Any) -> Any:
        call = InProcessCall.begin(
            recorder_for_calls(source),
            nature,
            lambda: _request(args, kwargs),
            sampling=lambda: CallSampling(_given(args, kwargs), _texts(_settings_of(model))),
        )
        try:
            result = generate(*args, **kwargs)
        except BaseException as error:
            if call is not None:
                call.failed(error)
                if isinstance(error, Exception):
                    call.settle()
            raise
        if call is not None:
            call.returned({"output_ids": getattr(result, "sequences", result)})
            call.settle()
        return result

    had_own = "generate" in vars(model)
    model.generate = observed

    def remove() -> None:
        if vars(model).get("generate") is observed:
            if had_own:
                model.generate = generate
            else:
                del model.generate

    return GenerationHook(remove)


def _install_on_pipeline(pipeline: Any, recorder: Recorder | None, *, keeps_values: bool) -> GenerationHook:
    """Python looks `__call__` up on the class, so the one object gets a class of its own."""
    found = type(pipeline)
    operation = "classify" if "classification" in str(getattr(pipeline, "task", "")) else "predict"

    def run(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return found.__call__(pipeline, inputs, *args, **kwargs)

    observed = audited(
        operation=operation, values=keeps_values, recorder=recorder, name=f"{found.__name__}.__call__"
    )(run)

    def call(_self: Any, *args: Any, **kwargs: Any) -> Any:
        return observed(*args, **kwargs)

    pipeline.__class__ = type(found.__name__, (found,), {"__call__": call, "__module__": found.__module__})

    def remove() -> None:
        pipeline.__class__ = found

    return GenerationHook(remove)


def _request(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What goes in: token ids as they are, other tensors (images, sound, embeddings) as digests."""
    request: dict[str, Any] = {}
    given = {**kwargs, **({"inputs": args[0]} if args and args[0] is not None else {})}
    for name, value in given.items():
        if name in _TOKEN_IDS and value is not None:
            request[_TOKEN_IDS[name]] = value
        elif name == "attention_mask":
            if value is not None and _masks(plain(value)):
                request[name] = value
        elif hasattr(value, "detach"):
            request[f"{name}_sha256"] = digest_array(value)
    return {**request, **_random_state()}


def _masks(mask: Any) -> bool:
    """Whether an attention mask hides anything; one of ones only says nothing."""
    return any(_masks(row) for row in mask) if isinstance(mask, list) else not mask


def _random_state() -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    return {"seed": torch.initial_seed(), "rng_state_sha256": digest_array(torch.get_rng_state())}


def _given(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, str]:
    """What the call itself said: a generation configuration, overruled by single parameters."""
    config = kwargs.get("generation_config") or (args[1] if len(args) > 1 else None)
    return {**_texts(_members(config)), **_texts(kwargs)}


def _settings_of(model: Any) -> Mapping[str, Any]:
    return _members(getattr(model, "generation_config", None))


def _members(config: Any) -> Mapping[str, Any]:
    return config.to_dict() if config is not None and hasattr(config, "to_dict") else {}


def _texts(settings: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for name in SAMPLING_NAMES:
        value = settings.get(name)
        if isinstance(value, bool):
            found[name] = "true" if value else "false"
        elif isinstance(value, int | float):
            found[name] = repr(value)
    return found

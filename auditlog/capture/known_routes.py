"""The inference and admin routes of common servers. Tests hold them against those servers' own tables.

Any method but HEAD, OPTIONS, TRACE and CONNECT, values kept; a GET except of those in `NOT_BY_GET`. `{x}` is
one path segment; `also`: with `/versions/{v}` too. A leading `/openai` is allowed before every `/v1`.

    path                                                         operation         stream fold
    /v1/chat/completions, /chat/completions                      chat              openai.chat
    /v1/chat/completions/batch                                   chat              -
    /v1/completions, /completions                                text_completion   openai.completions
    /v1/responses, /responses, also GET .../{id}                 chat              openai.responses
    /v1/chat/completions/{id}                                    chat              -   GET: a stored one
    /v1/messages/batches/{id}/results, /v1/files/{id}/content    chat              -   GET: of a batch
    /v1/messages                                                 chat              anthropic.messages
    /api/chat, /cohere/v2/chat                                   chat              -
    /v1/embeddings, /embeddings, /embedding, /v2/embed, /embed   embeddings        -
    /embed_all, /embed_sparse, /pooling, /encode                 embeddings        -
    /api/embed, /api/embeddings                                  embeddings        -
    /v1/audio/transcriptions|translations|speech                 generate_content  -
    /audio/transcriptions                                        generate_content  -
    /v1/images/generations|edits|variations, /v1/videos          generate_content  -
    /v1/meshes, /rollout/generate                                generate_content  -
    /v1/images|videos|meshes/{id}/content                        generate_content  -   GET: what an order made
    /v1/stream, /v1/stream/{id}                                  chat              openai.chat   GET: resumed
    /, /generate, /generate_stream, /vertex, /infill             text_completion   -
    /completion, /inference/v1/generate, /api/generate           text_completion   -
    /v1/engines/copilot-codex/completions                        text_completion   openai.completions
    /v1/score, /score, /generative_scoring, /similarity          score             -
    /v1/rerank, /v2/rerank, /rerank                              rerank            -
    /v1/reranking, /reranking                                    rerank            -
    /classify, /v1/classify, /v1/moderations, /v1/decisions      classify          -
    /v1/systemone                                                classify          -
    /invocations, /predict, /v1/predict                          predict           -
    /v1/timeseries/forecast, /v1/actions/generations             predict           -
    /predictions/{model}, /predictions/{model}/{v}               predict           -
    /v1/models/{model}:predict|:explain                          predict           -   also
    /v2/models/{model}/infer|infer_stream|explain                predict           -   also
    /v2/models/{model}/generate|generate_stream                  text_completion   -   also
    websocket /v1/realtime                                       chat              openai.realtime
    websocket /v1/realtime_video/generate                        generate_content  -
    websocket /v1/actions/realtime, /openpi/policy               predict           -

Admin routes change what is loaded; each has an effect, which `admin_routes` turns into `model` entries. The
module holds tables only. Words are OpenTelemetry's `gen_ai.operation.name` where it has one.
"""

from __future__ import annotations

from enum import Enum

CHAT, TEXT, EMBEDDINGS, CONTENT = "chat", "text_completion", "embeddings", "generate_content"
SCORE, RERANK, CLASSIFY, PREDICT = "score", "rerank", "classify", "predict"

LITERAL: dict[str, tuple[str, str | None]] = {
    "/v1/chat/completions": (CHAT, "openai.chat"),
    "/chat/completions": (CHAT, "openai.chat"),
    "/v1/chat/completions/batch": (CHAT, None),
    "/v1/completions": (TEXT, "openai.completions"),
    "/completions": (TEXT, "openai.completions"),
    "/v1/engines/copilot-codex/completions": (TEXT, "openai.completions"),
    "/v1/responses": (CHAT, "openai.responses"),
    "/responses": (CHAT, "openai.responses"),
    "/v1/messages": (CHAT, "anthropic.messages"),
    **dict.fromkeys(("/api/chat", "/cohere/v2/chat"), (CHAT, None)),
    **dict.fromkeys(
        (
            "/v1/embeddings", "/embeddings", "/embedding", "/v2/embed", "/embed", "/embed_all",
            "/embed_sparse", "/pooling", "/encode", "/api/embed", "/api/embeddings",
        ),
        (EMBEDDINGS, None),
    ),
    **dict.fromkeys(
        (
            "/v1/audio/transcriptions", "/audio/transcriptions", "/v1/audio/translations", "/v1/audio/speech",
            "/v1/images/generations", "/v1/images/edits", "/v1/images/variations", "/v1/videos", "/v1/meshes",
            "/rollout/generate",
        ),
        (CONTENT, None),
    ),
    **dict.fromkeys(
        (
            "/", "/generate", "/generate_stream", "/vertex", "/infill", "/completion",
            "/inference/v1/generate", "/api/generate",
        ),
        (TEXT, None),
    ),
    **dict.fromkeys(("/v1/score", "/score", "/generative_scoring", "/similarity"), (SCORE, None)),
    **dict.fromkeys(
        ("/v1/rerank", "/v2/rerank", "/rerank", "/v1/reranking", "/reranking"), (RERANK, None)
    ),
    **dict.fromkeys(
        ("/classify", "/v1/classify", "/v1/moderations", "/v1/decisions", "/v1/systemone"), (CLASSIFY, None)
    ),
    **dict.fromkeys(
        ("/invocations", "/predict", "/v1/predict", "/v1/timeseries/forecast", "/v1/actions/generations"),
        (PREDICT, None),
    ),
}  # fmt: skip
"""Paths without parameters: the operation, and the fold of their event streams."""

TEMPLATES: tuple[tuple[str, str], ...] = (
    ("/predictions/{model}", PREDICT),
    ("/predictions/{model}/{version}", PREDICT),
    ("/v1/models/{model}:predict", PREDICT),
    ("/v1/models/{model}:explain", PREDICT),
    ("/v1/models/{model}/versions/{version}:predict", PREDICT),
    ("/v2/models/{model}/infer", PREDICT),
    ("/v2/models/{model}/infer_stream", PREDICT),
    ("/v2/models/{model}/explain", PREDICT),
    ("/v2/models/{model}/generate", TEXT),
    ("/v2/models/{model}/generate_stream", TEXT),
    ("/v2/models/{model}/versions/{version}/infer", PREDICT),
    ("/v2/models/{model}/versions/{version}/infer_stream", PREDICT),
    ("/v2/models/{model}/versions/{version}/explain", PREDICT),
    ("/v2/models/{model}/versions/{version}/generate", TEXT),
    ("/v2/models/{model}/versions/{version}/generate_stream", TEXT),
)

NOT_BY_GET = frozenset({"/", "/v1/videos", "/v1/meshes"})
"""Known paths whose GET is a page or a list; a GET of the others is answered with what a model made."""

FETCHES: tuple[tuple[str, str, str | None], ...] = (
    ("/v1/responses/{response}", CHAT, "openai.responses"),
    ("/responses/{response}", CHAT, "openai.responses"),
    ("/v1/chat/completions/{completion}", CHAT, None),
    ("/v1/messages/batches/{batch}/results", CHAT, None),
    ("/v1/files/{file}/content", CHAT, None),
    ("/v1/images/{image}/content", CONTENT, None),
    ("/v1/videos/{video}/content", CONTENT, None),
    ("/v1/meshes/{mesh}/content", CONTENT, None),
    ("/v1/stream", CHAT, "openai.chat"),
    ("/v1/stream/{conversation}", CHAT, "openai.chat"),
)
"""GET routes by which the result of an earlier order leaves: without them it would leave unrecorded."""

SOCKETS: dict[str, tuple[str, str | None]] = {
    "/v1/realtime": (CHAT, "openai.realtime"),
    "/v1/realtime_video/generate": (CONTENT, None),
    "/v1/actions/realtime": (PREDICT, None),
    "/openpi/policy": (PREDICT, None),
}


class AdminEffect(Enum):
    """What a successful call of an admin route does to what is loaded."""

    ADAPTER_LOADED = "adapter_loaded"
    ADAPTER_REMOVED = "adapter_removed"
    ADAPTER_UNKNOWN = "adapter_unknown"
    WEIGHTS_FROM_FILES = "weights_from_files"
    WEIGHTS_UNKNOWN = "weights_unknown"
    MODEL_LOADED = "model_loaded"
    MODEL_REMOVED = "model_removed"
    FILES_CHANGED = "files_changed"
    ASLEEP = "asleep"
    AWAKE = "awake"


ADMIN: dict[str, AdminEffect] = {
    "/v1/load_lora_adapter": AdminEffect.ADAPTER_LOADED,
    "/load_lora_adapter": AdminEffect.ADAPTER_LOADED,
    "/v1/unload_lora_adapter": AdminEffect.ADAPTER_REMOVED,
    "/unload_lora_adapter": AdminEffect.ADAPTER_REMOVED,
    "/load_lora_adapter_from_tensors": AdminEffect.ADAPTER_UNKNOWN,
    "/update_weights_from_disk": AdminEffect.WEIGHTS_FROM_FILES,
    **dict.fromkeys(
        (
            "/update_weights", "/start_weight_update", "/start_draft_weight_update", "/finish_weight_update",
            "/begin_weight_update", "/end_weight_update", "/update_weights_from_tensor",
            "/update_weights_from_distributed", "/update_weights_from_ipc", "/v1/merge_lora_weights",
            "/v1/unmerge_lora_weights", "/v1/set_lora", "/lora-adapters", "/collective_rpc",
        ),
        AdminEffect.WEIGHTS_UNKNOWN,
    ),
    "/models/load": AdminEffect.MODEL_LOADED,
    "/models/unload": AdminEffect.MODEL_REMOVED,
    **dict.fromkeys(("/api/create", "/api/pull", "/api/copy"), AdminEffect.FILES_CHANGED),
    **dict.fromkeys(("/sleep", "/release_memory_occupation"), AdminEffect.ASLEEP),
    **dict.fromkeys(("/wake_up", "/wakeup", "/resume_memory_occupation"), AdminEffect.AWAKE),
}  # fmt: skip
"""POST routes that change what is loaded. SGLang takes some of them by GET as well."""

ADMIN_TEMPLATES: tuple[tuple[str, AdminEffect], ...] = (
    ("/v2/repository/models/{model}/load", AdminEffect.MODEL_LOADED),
    ("/v2/repository/models/{model}/unload", AdminEffect.MODEL_REMOVED),
    ("/v1/models/{model}/load", AdminEffect.MODEL_LOADED),
    ("/v1/models/{model}/unload", AdminEffect.MODEL_REMOVED),
)

ADMIN_BY_GET = frozenset({"/release_memory_occupation", "/resume_memory_occupation"})

ADMIN_OF_ENGINES = frozenset(
    {
        "/sleep", "/wake_up", "/wakeup", "/models/load", "/models/unload", "/update_weights",
        "/api/create", "/api/pull", "/api/copy", "/v1/models/{model}/load", "/v1/models/{model}/unload",
    }
)  # fmt: skip
"""Admin routes that any application might have for something else: they change what is loaded only where a
package of `ENGINES` answers them. Elsewhere a call of them is a decision.
"""

ENGINES = frozenset(
    {"vllm", "vllm_omni", "sglang", "ray", "kserve", "mlserver", "litserve", "lmdeploy", "frontend.fastapi"}
)
"""Packages of model servers whose handlers are in this process, Triton's OpenAI frontend among them."""

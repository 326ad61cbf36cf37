"""deploy/: every file is accepted by the tool that will read it, and no secret has another form than a
file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from auditlog.cli.main import run as auditlog
from auditlog.service.app import create_app
from auditlog.service.run import EXIT_TRY_AGAIN
from auditlog.service.settings import ENVIRONMENT, AnchoringSettings, ServiceSettings, Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
COMPOSE = DEPLOY / "compose" / "compose.yaml"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNIT = DEPLOY / "systemd" / "auditlog.service"
WITNESS_UNIT = DEPLOY / "witness" / "auditlog-witness.service"
MONITOR = DEPLOY / "monitor"
MONITOR_UNIT = MONITOR / "auditlog-monitor.service"
SECRETIVE = re.compile(r"PASSWORD|TOKEN|SECRET|KEY|CREDENTIAL|DATABASE_URL|RPC_URL")


def check(*command: str | Path, **options: Any) -> str:
    """Run a tool; it must be content."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": f"{BIN}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"},
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def configurations() -> dict[str, dict[str, Any]]:
    """Every auditlog.toml of this folder, the one inside the Kubernetes manifest too."""
    found = {path.parent.name: path.read_text("utf-8") for path in DEPLOY.glob("*/auditlog.toml")}
    for path in KUBERNETES:
        for part in yaml.safe_load_all(path.read_text("utf-8")):
            if part["kind"] == "ConfigMap":
                found["kubernetes"] = part["data"]["auditlog.toml"]
    return {name: tomllib.loads(text) for name, text in found.items()}


def test_the_dockerfile_passes_hadolint() -> None:
    """No finding of any severity."""
    check(BIN / "hadolint", "--failure-threshold", "style", DEPLOY / "Dockerfile")


def test_the_images_do_not_run_as_root_and_take_no_secret() -> None:
    """Each final stage drops to the fixed user, and nothing secret enters a layer."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    stages = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", text, re.M | re.S))
    for target in ("service", "witness", "demo"):
        assert "USER 10001:10001" in stages[target]
    for line in re.findall(r"^(?:ENV|ARG) (.*)$", text, re.M):
        assert not SECRETIVE.search(line), line


def test_what_the_images_copy_is_there_and_let_through() -> None:
    """Every copied path exists, and the ignore file does not hide it."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    allowed = set(re.findall(r"^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8"), re.M))
    copied = {part for line in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.M) for part in line.split()}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_the_yaml_passes_yamllint() -> None:
    """Strict: a warning fails."""
    check(BIN / "yamllint", "--strict", "-c", DEPLOY / ".yamllint", DEPLOY)


@pytest.mark.parametrize("file", [COMPOSE, MONITOR / "compose.yaml"], ids=lambda path: path.parent.name)
def test_the_compose_file_is_valid(file: Path) -> None:
    """Against the schema of the Compose specification, offline."""
    check(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)


def test_the_monitor_of_the_examples_runs(tmp_path: Path) -> None:
    """The command of the unit, and that of the container, its paths moved: one look at a log, and exit 0."""
    from tests.support.monitor_world import honest
    from tests.support.tlog_writer import log_signer

    world, log = honest(), tmp_path / "log"
    for path, content in world.serve().files.items():
        (log / path).parent.mkdir(parents=True, exist_ok=True)
        (log / path).write_bytes(content)
    (tmp_path / "etc").mkdir()
    policy = f"log {log_signer().vkey}\nquorum none\n"
    trust = {"v": "auditlog/trust@v1", "policy": policy, "issuer": {"name": "x", "role": "regulator"}}
    (tmp_path / "etc" / "trust.json").write_text(json.dumps(trust))
    unit = re.findall(r"^ExecStart=/opt/auditlog/bin/auditlog (.*)$", MONITOR_UNIT.read_text("utf-8"), re.M)
    service = yaml.safe_load((MONITOR / "compose.yaml").read_text("utf-8"))["services"]["monitor"]
    assert service["command"] == unit[0].split()
    moved = unit[0].replace("/etc/auditlog-monitor", str(tmp_path / "etc"))
    moved = moved.replace("/var/lib/auditlog-monitor", str(tmp_path / "state"))
    arguments = [*moved.split(), str(log), "--once", "--stale-after", "1e12", "--anchor-after", "1e12"]
    told = auditlog([*arguments, "--json"])
    alarms = tmp_path / "state" / "alarms.jsonl"
    words = [json.loads(line)["alarm"] for line in alarms.read_text().splitlines()] if alarms.exists() else []
    # The log is of January: that its host is silent since is all there is to say.
    assert (told, words) in ((0, []), (1, ["silent"]))
    text = (DEPLOY / "README.md").read_text("utf-8")
    assert all(f"`monitor/{name}`" in text for name in ("auditlog-monitor.service", "compose.yaml"))
    assert "/var/lib/auditlog-monitor" in (DEPLOY / "Dockerfile").read_text("utf-8")


def test_the_kubernetes_manifests_are_valid() -> None:
    """Against the schemas of Kubernetes, unknown members refused."""
    said = check(BIN / "kubernetes-validate", "--strict", *KUBERNETES)
    for kind in ("statefulset/auditlog", "job/create-log", "persistentvolumeclaim/guard", "service/auditlog"):
        assert f"{kind} against" in said
    assert "statefulset/model against" in said


def test_the_shell_script_passes_shellcheck() -> None:
    """As POSIX sh."""
    check(BIN / "shellcheck", "--severity", "style", DEPLOY / "compose" / "make-secrets.sh")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
@pytest.mark.parametrize("source", [UNIT, WITNESS_UNIT, MONITOR_UNIT], ids=lambda path: path.stem)
def test_systemd_accepts_the_unit_and_finds_it_contained(source: Path, tmp_path: Path) -> None:
    """No warning from verify; the exposure level of the sandbox is rated OK (below 2.5)."""
    unit = tmp_path / source.name
    unit.write_text(source.read_text("utf-8").replace("/opt/auditlog/bin/auditlog", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    check("systemd-analyze", "security", "--offline=true", "--threshold=25", unit)


def test_the_unit_says_what_the_service_needs() -> None:
    """Read without systemd: each assignment in a known section; it drains, and is not restarted in vain."""
    section, found = "", dict[str, list[str]]()
    for line in UNIT.read_text("utf-8").splitlines():
        if line.startswith("["):
            section = line
            assert section in {"[Unit]", "[Service]", "[Install]"}
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            assert re.fullmatch(r"[A-Za-z]+", key), line
            found.setdefault(f"{section}{key}", []).append(value)
    (command,) = found["[Service]ExecStart"]
    assert command.split()[1:] == ["serve", "--config", "/etc/auditlog/auditlog.toml"]
    drain_s = ServiceSettings(data_dir=Path("/x")).drain_s
    assert int(found["[Service]TimeoutStopSec"][0].removesuffix("s")) > drain_s
    assert found["[Service]RestartPreventExitStatus"] == ["2 3"]
    assert found["[Service]Restart"] == ["on-failure"]
    assert str(EXIT_TRY_AGAIN) not in found["[Service]RestartPreventExitStatus"][0].split()
    assert found["[Unit]StartLimitIntervalSec"] == ["0"], "a node may be away for longer than five starts"
    assert found["[Install]WantedBy"] == ["multi-user.target"]


def test_the_witness_of_the_example_serves(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Made as the README says and configured by the example, its paths moved: it listens; its unit and
    its image start it from there.
    """
    from auditlog.cli.witness_serve import Overrides, build

    text = (DEPLOY / "witness" / "witness.toml").read_text("utf-8")
    etc, states, guard = (tmp_path / name for name in ("etc", "states", "guard/high-water"))
    init = ["witness", "init", str(etc), "--name", "witness.example.net/w1", "--state-dir", str(states)]
    assert auditlog([*init, "--high-water", str(guard)]) == 0
    moved = text.replace("/var/lib/auditlog-witness-guard/high-water", str(guard))
    moved = moved.replace("/var/lib/auditlog-witness", str(states)).replace("/etc/auditlog-witness", str(etc))
    (etc / "witness.toml").write_text(moved, "utf-8")
    running = build(etc / "witness.toml", Overrides(port=0))
    try:
        assert running.judging is not None
        assert running.server.url.startswith("http://127.0.0.1:")
    finally:
        running.close()
    assert "PRIVATE" not in capfd.readouterr().out
    unit = WITNESS_UNIT.read_text("utf-8")
    assert "ExecStart=/opt/auditlog/bin/auditlog witness serve /etc/auditlog-witness/witness.toml\n" in unit
    assert "RestartPreventExitStatus=2 3\n" in unit
    image = (DEPLOY / "Dockerfile").read_text("utf-8")
    assert 'CMD ["witness", "serve", "/etc/auditlog-witness/witness.toml"]' in image


@pytest.mark.parametrize("name", ["compose", "systemd", "kubernetes"])
def test_each_configuration_is_accepted_by_the_service(name: str) -> None:
    """Loaded as the service loads it, dangerous combinations refused; every secret is a file."""
    raw = configurations()[name]
    settings = Settings.build(raw, base=Path("/etc/auditlog"), environ={})
    assert settings.service.database_url_file is not None
    assert settings.service.model_dump()["database_url"] is None
    assert settings.anchoring.rpc_url is None
    assert all(token.token_file is not None for token in settings.tokens)
    assert all(log.key_file and log.receipt_secret_file and log.high_water_file for log in settings.logs)


def test_every_secret_setting_has_a_file_form() -> None:
    """Of all settings and variables, those that can hold a secret have a twin that names a file."""
    for model in (ServiceSettings, AnchoringSettings):
        for field in ("database_url", "rpc_url"):
            if field in model.model_fields:
                assert f"{field}_file" in model.model_fields
    for variable in ENVIRONMENT:
        if SECRETIVE.search(variable) and not variable.endswith("_FILE"):
            assert f"{variable}_FILE" in ENVIRONMENT


def test_compose_and_kubernetes_pass_secrets_as_files_alone() -> None:
    """No variable holds a secret's value; each file a variable or configuration names is mounted as a
    secret.
    """
    compose = yaml.safe_load(COMPOSE.read_text("utf-8"))
    for service in compose["services"].values():
        mounted = {f"/run/secrets/{name}" for name in service.get("secrets", [])}
        for variable, value in service.get("environment", {}).items():
            if SECRETIVE.search(variable):
                assert variable.endswith("_FILE"), variable
                assert value in mounted, variable
    held = set(compose["services"]["service"]["secrets"])
    named = re.findall(r"/run/secrets/(\w+)\"$", _active(DEPLOY / "compose" / "auditlog.toml"), re.M)
    assert set(named) == held
    for path in KUBERNETES:
        text = path.read_text("utf-8")
        assert "kind: Secret" not in text
        for variable, value in re.findall(r"- name: (AUDITLOG_\w+)\n +value: (\S+)", text):
            assert not SECRETIVE.search(variable) or (
                variable.endswith("_FILE") and value.startswith("/run/secrets/")
            )
        assert path.name == "serving.yaml" or "\n          env:" not in text


def _active(path: Path) -> str:
    return "\n".join(line for line in path.read_text("utf-8").splitlines() if not line.startswith("#"))


def test_the_kubernetes_secret_holds_what_the_configuration_names() -> None:
    """The command in the manifest and in the README makes exactly those files."""
    named = set(re.findall(r"/run/secrets/auditlog/(\w+)", json.dumps(configurations()["kubernetes"])))
    for path in (DEPLOY / "kubernetes" / "base.yaml", DEPLOY / "README.md"):
        assert set(re.findall(r"--from-file=(\w+)", path.read_text("utf-8"))) == named


def test_the_model_server_comes_in_keeps_its_state_and_drains(tmp_path: Path) -> None:
    """Its variables are good settings, its token is what the log expects, its state outlives the pod, and its
    preStop is a command that fits into the time it has.
    """
    from auditlog.capture import CaptureSettings

    parts = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "serving.yaml").read_text("utf-8")))
    account, workload = parts
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    values = {each["name"]: each.get("value", "model-0") for each in container["env"]}
    settings = CaptureSettings.from_environ(values)
    assert settings.problems == ()
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert str(settings.state_dir) == mounts["state"]
    assert [each["metadata"]["name"] for each in workload["spec"]["volumeClaimTemplates"]] == ["state"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "token"]
    token = volume["projected"]["sources"][0]["serviceAccountToken"]
    assert str(settings.token_file) == f"{mounts['token']}/{token['path']}"
    log = Settings.build(configurations()["kubernetes"], base=tmp_path).enrolment.kubernetes
    assert log is not None
    assert log.audience == token["audience"]
    names = account["metadata"]["namespace"], account["metadata"]["name"]
    assert log.subjects == [f"system:serviceaccount:{names[0]}:{names[1]}"]
    assert pod["serviceAccountName"] == names[1]
    assert fnmatchcase(f"{workload['metadata']['name']}-1-0", log.producers or "*")
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    assert auditlog([*command[1:3], "--help"]) == 0
    assert pod["terminationGracePeriodSeconds"] > float(command[-1]) + settings.close_timeout_s
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)


def test_create_is_never_a_part_of_a_start() -> None:
    """A lost volume must not silently become a second history: creating is a step of its own."""
    compose = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
    assert compose["setup"]["profiles"] == ["setup"]
    assert "create" not in json.dumps(compose["service"])
    assert "setup" not in json.dumps(compose["service"]["depends_on"])
    workload = (DEPLOY / "kubernetes" / "service.yaml").read_text("utf-8")
    assert "initContainers" not in workload
    assert '"create"' not in workload


def test_make_secrets_makes_what_compose_mounts_once_and_prints_none(tmp_path: Path) -> None:
    """Run for real; a second run is refused and changes nothing."""
    script = tmp_path / "make-secrets.sh"
    shutil.copy(DEPLOY / "compose" / script.name, script)
    said = check("sh", script)
    folder = tmp_path / "secrets"
    made = {path.name: path.read_text("utf-8").strip() for path in folder.iterdir()}
    declared = yaml.safe_load(COMPOSE.read_text("utf-8"))["secrets"]
    assert {name: f"./secrets/{name}" for name in made} == {n: s["file"] for n, s in declared.items()}
    assert all(len(value) >= 64 and value not in said for value in made.values())
    assert made["database_password"] in made["database_url"]
    assert folder.stat().st_mode & 0o077 == 0, "the folder is the owner's alone"
    again = subprocess.run(["sh", str(script)], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert {path.name: path.read_text("utf-8").strip() for path in folder.iterdir()} == made


def test_the_compose_configuration_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its paths moved and SQLite for PostgreSQL: set up as the `setup` service does, then ready."""
    script = tmp_path / "make-secrets.sh"
    shutil.copy(DEPLOY / "compose" / script.name, script)
    check("sh", script)
    text = (DEPLOY / "compose" / "auditlog.toml").read_text("utf-8")
    moved = text.replace("/run/secrets", str(tmp_path / "secrets")).replace("/var/lib", str(tmp_path))
    config = tmp_path / "auditlog.toml"
    config.write_text(moved, "utf-8")
    monkeypatch.setenv("AUDITLOG_CONFIG", str(config))
    monkeypatch.setenv("AUDITLOG_SERVE_DATABASE_URL", f"sqlite:///{tmp_path / 'log.sqlite'}")
    (tmp_path / "auditlog-guard").mkdir()
    (tmp_path / "auditlog-keys").mkdir()
    key = tmp_path / "auditlog-keys" / "devnet.key"
    assert auditlog(["keys", "generate", "log.example.org/decisions/devnet", "--out", str(key)]) == 0
    assert auditlog(["log", "create", "main"]) == 0
    with TestClient(create_app(Settings.load(config))) as client:
        assert client.get("/ready").status_code == 200
        assert client.get("/logs/main").json()["origin"] == "log.example.org/decisions"
        assert client.get("/logs/main/entries/0").status_code == 401
        token = (tmp_path / "secrets" / "reader_token").read_text("utf-8").strip()
        entry = client.get("/logs/main/entries/0", headers={"Authorization": f"Bearer {token}"})
        assert entry.status_code == 200


def test_the_readme_names_every_file_and_only_real_commands() -> None:
    """Each file of the folder is in the table; each `auditlog` command in the text exists."""
    text = (DEPLOY / "README.md").read_text("utf-8")
    assert "`witness/auditlog-witness.service`" in text
    assert "`witness/witness.toml`" in text
    for name in ("Dockerfile", "compose/compose.yaml", "compose/make-secrets.sh", "systemd/auditlog.service"):
        assert f"`{name}`" in text
    spelling = r"^(?:runuser .*)?(?:/opt/auditlog/bin/)?auditlog ((?:[a-z]+ ?){1,2})"
    commands = set(re.findall(spelling, text, re.M))
    assert commands
    for command in commands:
        words = [word for word in command.split() if word not in {"main"}]
        assert auditlog([*words, "--help"]) == 0, command


def test_the_request_in_the_readme_is_one_the_demo_understands() -> None:
    """The example application has exactly the inputs of the model."""
    from auditlog.demo.loan_model import FEATURES

    text = (DEPLOY / "README.md").read_text("utf-8")
    found = re.search(r"/decide .*-d '(\{.*?\})'", text, re.S)
    assert found is not None
    assert set(json.loads(found[1])) == set(FEATURES)


def alert_rules() -> list[dict[str, Any]]:
    """The alert rules for hosts that record."""
    found = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text("utf-8"))
    assert set(found) == {"groups"}
    assert all(set(group) == {"name", "rules"} for group in found["groups"])
    return [rule for group in found["groups"] for rule in group["rules"]]


def test_the_alert_rules_are_rules_of_prometheus() -> None:
    """Members and durations as its rule files have them; every expression parses and is a vector."""
    import promql_parser

    rules = alert_rules()
    assert len(rules) == len({rule["alert"] for rule in rules}) == 10
    for rule in rules:
        assert {"alert", "expr", "labels", "annotations"} <= set(rule) <= {
            "alert", "expr", "for", "labels", "annotations",
        }  # fmt: skip
        assert re.fullmatch(r"[A-Z][A-Za-z]+", rule["alert"])
        assert re.fullmatch(r"[0-9]+[smhd]", rule.get("for", "0s"))
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert {"summary", "description"} == set(rule["annotations"])
        assert type(promql_parser.parse(rule["expr"])).__name__ == "BinaryExpr"


def test_every_metric_an_alert_names_exists() -> None:
    """And each of the conditions asked for has a rule: age, losses, promises, refusal, disk and key."""
    from auditlog.capture.prometheus import METRIC_NAMES
    from auditlog.service.witness_metrics import METRIC_NAMES as WITNESS_METRICS

    named = {name for rule in alert_rules() for name in re.findall(r"auditlog_[a-z_]+", rule["expr"])}
    assert named <= {*METRIC_NAMES, *WITNESS_METRICS}
    words = (
        "spool_oldest",
        "gaps_total",
        "lost_total",
        "past_due",
        "sender_refused",
        "disk_free",
        "key_expiry",
        "quorum_reached",
        "quorum_age",
        "held",
        "witness_failures",
        "witness_asks",
    )
    assert all(any(word in name for name in named) for word in words)


def test_the_readme_explains_every_alert() -> None:
    """What fires, and what to do then."""
    text = (DEPLOY / "README.md").read_text("utf-8")
    assert all(f"`{rule['alert']}`" in text for rule in alert_rules())

"""Settings: what is read, what is refused, what is never said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.keys import Ed25519Signer
from auditlog.errors import ConfigurationError
from auditlog.log.witness_guard import Silence
from auditlog.service.ledgers import rpc_settings
from auditlog.service.settings import Settings, read_secret
from auditlog.service.settings_buckets import StoreUrls
from auditlog.service.witnessing import silence_of, witnessing_of

LOG = {"name": "main", "origin": "example.org/log", "allow_unguarded_start": True}


def build(tmp_path: Path, *, environ: dict[str, str] | None = None, **raw: Any) -> Settings:
    """Settings from tables, with a data directory and one log unless given."""
    tables = {"service": {"data_dir": "data"}, "logs": [LOG], **raw}
    return Settings.build(tables, base=tmp_path, environ=environ)


def test_a_file_is_read_and_paths_start_where_it_lies(tmp_path: Path) -> None:
    """Relative paths of the file are made absolute from its own directory."""
    (tmp_path / "auditlog.toml").write_text(
        '[service]\ndata_dir = "data"\n'
        '[[logs]]\nname = "main"\norigin = "example.org/log"\nhigh_water_file = "hw/main"\n'
    )
    settings = Settings.load(tmp_path / "auditlog.toml", environ={})
    assert settings.service.data_dir == tmp_path / "data"
    assert settings.paths(settings.logs[0]).high_water_file == tmp_path / "hw" / "main"
    assert settings.paths(settings.logs[0]).key_file == tmp_path / "data" / "logs" / "main" / "log.key"
    assert (settings.service.host, settings.service.port) == ("127.0.0.1", 8700)


@pytest.mark.parametrize(
    "text", ["[service", "\xff\xfe", "[service]\ndata_dir = 5\n", "[service]\nport = 1\n"]
)
def test_a_bad_file_is_one_clear_error(tmp_path: Path, text: str) -> None:
    """A file that is not TOML, or lacks what is needed, is a ConfigurationError."""
    path = tmp_path / "auditlog.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError):
        Settings.load(path, environ={})


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    """A file that is not there is a ConfigurationError."""
    with pytest.raises(ConfigurationError, match=r"none\.toml"):
        Settings.load(tmp_path / "none.toml", environ={})


def test_variables_override_the_file(tmp_path: Path) -> None:
    """A variable takes the place of the setting, a number is a number."""
    environ = {"AUDITLOG_SERVE_PORT": "9000", "AUDITLOG_SERVE_PUBLIC_URL": "https://log.example"}
    settings = build(tmp_path, environ=environ)
    assert settings.service.port == 9000
    assert settings.public_url == "https://log.example"


def test_a_variable_replaces_both_forms_of_a_secret(tmp_path: Path) -> None:
    """A database URL of the file gives way to the secret file of the environment."""
    (tmp_path / "url").write_text("postgresql://db/log\n")
    settings = build(
        tmp_path,
        service={"data_dir": "data", "database_url": "sqlite:///x"},
        environ={"AUDITLOG_SERVE_DATABASE_URL_FILE": str(tmp_path / "url")},
    )
    assert settings.database_url == "postgresql://db/log"


def test_the_default_database_is_sqlite_in_the_data_directory(tmp_path: Path) -> None:
    """Without a setting the database lies in the data directory."""
    assert build(tmp_path).database_url == f"sqlite:///{tmp_path}/data/auditlog.sqlite"


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"service": {"data_dir": "data", "host": "0.0.0.0"}}, "https://"),
        (
            {"service": {"data_dir": "data", "host": "10.0.0.1", "public_url": "http://log.example"}},
            "https://",
        ),
        ({"service": {"data_dir": "data", "max_waiting_bytes": 1 << 17}}, "max_waiting_bytes"),
        ({"service": {"data_dir": "data", "database_url": "a", "database_url_file": "b"}}, "both"),
        ({"service": {"data_dir": "data", "colour": "red"}}, "service.colour"),
        ({"service": {"data_dir": "data", "port": "8700"}}, "service.port"),
        ({"logs": [LOG, {**LOG, "origin": "example.org/2"}]}, "every name once"),
        ({"logs": [LOG, {**LOG, "name": "b"}]}, "every origin once"),
        (
            {"logs": [{**LOG, "key_file": "k"}, {**LOG, "name": "b", "origin": "b", "key_file": "k"}]},
            "every key_file",
        ),
        (
            {"logs": [{**LOG, "public_dir": "p"}, {**LOG, "name": "b", "origin": "b", "public_dir": "p"}]},
            "public_dir",
        ),
        ({"logs": [{**LOG, "public_dir": "p", "key_file": "p/key"}]}, "outside"),
        ({"logs": [{**LOG, "public_dir": "p", "private_dir": "p/q"}]}, "outside"),
        ({"logs": [{**LOG, "public_dir": "."}]}, "outside"),
        ({"logs": [{**LOG, "public_dir": "data"}]}, "expected outside"),
        ({"logs": [{**LOG, "high_water_file": "data/hw"}]}, "high_water_file"),
        ({"logs": [{"name": "main", "origin": "example.org/log"}]}, "rollback guard"),
        ({"logs": [{**LOG, "publish_interval_s": 100.0}]}, "publish_interval_s"),
        ({"logs": [{**LOG, "name": "Main"}]}, "logs.0.name"),
        ({"logs": [{**LOG, "origin": "a b"}]}, "logs.0.origin"),
        ({"logs": [{**LOG, "visibility": "open"}]}, "logs.0.visibility"),
        ({"tokens": [{"name": "t", "scopes": ["read"]}]}, "one of sha256 and token_file"),
        ({"tokens": [{"name": "t", "scopes": ["read"], "sha256": "0" * 64, "token_file": "f"}]}, "one of"),
        ({"tokens": [{"name": "t", "scopes": ["root"], "sha256": "0" * 64}]}, "tokens.0.scopes"),
        (
            {"tokens": [{"name": "t", "scopes": ["read"], "sha256": "0" * 64, "logs": ["x"]}]},
            "configured logs",
        ),
        ({"tokens": [{"name": "t", "scopes": ["read"], "token": "alt_secret"}]}, "tokens.0.token"),
        ({"anchoring": {"mode": "rpc", "rpc_url": "http://127.0.0.1:1"}}, "no chain_id, key_file"),
        ({"anchoring": {"mode": "rpc", "chain_id": 1, "key_file": "k"}}, "no rpc_url or rpc_url_file"),
        ({"anchoring": {"password_file": "p"}}, "keystore in anchoring.key_file"),
        ({"anchoring": {"chain_id": 0}}, "anchoring.chain_id"),
        ({"anchoring": {"first_block": -1}}, "anchoring.first_block"),
        ({"anchoring": {"max_fee_gwei": 0}}, "anchoring.max_fee_gwei"),
        ({"anchoring": {"stalled_after_s": 0}}, "anchoring.stalled_after_s"),
        ({"anchoring": {"rpc_url": "a", "rpc_url_file": "b"}}, "both"),
        ({"logs": [{**LOG, "public_store": "s3://bkt/p", "public_dir": "p"}]}, "one of public_store and"),
        ({"logs": [{**LOG, "private_store": "s3://bkt/p", "private_dir": "p"}]}, "one of private_store and"),
        (
            {"logs": [{**LOG, "public_store": "s3://bkt/p", "private_store": "s3://bkt/p/q"}]},
            "inside s3://bkt/p/",
        ),
        ({"logs": [{**LOG, "public_store": "s3://bkt/p", "staging_store": "s3://bkt/p"}]}, "apart"),
        ({"logs": [{**LOG, "public_store": "s3://id:key@bkt/p"}]}, "logs.0.public_store"),
        ({"logs": [{**LOG, "public_store": "s3://bkt/../p"}]}, "logs.0.public_store"),
        ({"logs": [{**LOG, "public_store": "file:///p"}]}, "logs.0.public_store"),
        ({"buckets": {"endpoint": "http://s3.example"}}, "allow_http"),
        ({"buckets": {"endpoint": "https://id:key@s3.example"}}, "buckets.endpoint"),
        ({"buckets": {"access_key_id_file": "i"}}, "both buckets.access_key_id_file and"),
        ({"buckets": {"session_token_file": "t"}}, "beside session_token_file"),
        ({"buckets": {"endpoint": "https://s3.example", "root": "gs://bkt"}}, "only s3://"),
    ],
)
def test_dangerous_or_odd_settings_are_refused(tmp_path: Path, tables: dict[str, Any], said: str) -> None:
    """Each danger is refused with a message that names it."""
    with pytest.raises(ConfigurationError, match=said):
        build(tmp_path, **tables)


def test_a_root_gives_every_log_its_own_prefixes(tmp_path: Path) -> None:
    """What a log names no folder or store for lies below the root, under its name; the rest stays."""
    logs = [
        {**LOG, "public_store": "s3://shown/main"},
        {**LOG, "name": "b", "origin": "b", "private_dir": "p"},
    ]
    settings = build(tmp_path, logs=logs, buckets={"root": "s3://kept/logs"})
    assert [settings.stores(log) for log in settings.logs] == [
        StoreUrls("s3://shown/main", "s3://kept/logs/main/private", "s3://kept/logs/main/staging"),
        StoreUrls("s3://kept/logs/b/public", None, "s3://kept/logs/b/staging"),
    ]
    assert build(tmp_path).stores(settings.logs[1]) == StoreUrls(None, None, None)


def test_an_explicit_flag_lets_a_danger_through(tmp_path: Path) -> None:
    """Plain HTTP on a network is possible when it was asked for by name."""
    settings = build(tmp_path, service={"data_dir": "data", "host": "0.0.0.0", "allow_plain_http": True})
    assert settings.service.host == "0.0.0.0"


def test_a_chain_is_a_rollback_guard(tmp_path: Path) -> None:
    """With a real chain configured no high-water file is asked for."""
    anchoring = {"mode": "rpc", "rpc_url": "http://127.0.0.1:1", "chain_id": 1, "key_file": "key"}
    assert build(tmp_path, logs=[{"name": "main", "origin": "o"}], anchoring=anchoring).logs


def test_the_chain_is_reached_with_what_was_configured(tmp_path: Path) -> None:
    """Every setting of a chain arrives at the ledger; the URL is read from its secret file."""
    (tmp_path / "url").write_text("http://127.0.0.1:1\n")
    anchoring = {
        "mode": "rpc",
        "rpc_url_file": "url",
        "chain_id": 5,
        "contract": "0x" + "1" * 40,
        "key_file": "key",
        "password_file": "pass",
        "first_block": 7,
        "max_fee_gwei": 3,
    }
    wanted = rpc_settings(build(tmp_path, anchoring=anchoring))
    assert (wanted.url, wanted.chain_id, wanted.first_block) == ("http://127.0.0.1:1", 5, 7)
    assert (wanted.key_file, wanted.password_file) == (tmp_path / "key", tmp_path / "pass")
    assert (wanted.contract, wanted.fees.max_fee_cap) == ("0x" + "1" * 40, 3 * 10**9)
    assert wanted.journal == tmp_path / "data" / "anchoring" / "journal.sqlite"


def test_one_folder_can_guard_every_log(tmp_path: Path) -> None:
    """With `high_water_dir` every log has its own file there; inside the data directory it is refused."""
    bare = [{"name": "main", "origin": "o"}]
    settings = build(tmp_path, service={"data_dir": "data", "high_water_dir": "guard"}, logs=bare)
    assert settings.paths(settings.logs[0]).high_water_file == tmp_path / "guard" / "main.high-water"
    with pytest.raises(ConfigurationError, match="high_water_file"):
        build(tmp_path, service={"data_dir": "data", "high_water_dir": "data/guard"}, logs=bare)


def test_no_secret_is_ever_in_a_message(tmp_path: Path) -> None:
    """A value that was refused is not repeated."""
    with pytest.raises(ConfigurationError) as caught:
        build(tmp_path, tokens=[{"name": "t", "scopes": ["read"], "sha256": "alt_the-secret-itself"}])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"  \n", b"\xff\xfe"])
def test_an_unreadable_secret_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    """An empty or binary secret file is refused by its name."""
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ConfigurationError, match="secret"):
        read_secret(tmp_path / "secret")


WITNESS = CosignatureSigner.from_seed("witness.example.org/1", bytes(32)).vkey
TWIN = CosignatureSigner.from_seed("witness.example.org/2", bytes(32)).vkey
OTHER = CosignatureSigner.from_seed("witness.example.org/2", b"o" * 32).vkey


def test_witnesses_of_a_log_are_read(tmp_path: Path) -> None:
    """In their order, with how long they are waited for."""
    given = [{"vkey": WITNESS, "url": "https://w.example/1"}, {"vkey": OTHER, "url": "http://127.0.0.1:1"}]
    settings = build(tmp_path, logs=[{**LOG, "witnesses": given}])
    assert [each.vkey for each in settings.logs[0].witnesses] == [WITNESS, OTHER]
    assert settings.logs[0].witness_timeout_s == 2.0


@pytest.mark.parametrize(
    "change",
    [
        {"witnesses": [{"vkey": WITNESS}]},
        {"witnesses": [{"vkey": "x", "url": "https://w.example"}]},
        {"witnesses": [{"vkey": WITNESS, "url": "ftp://w.example"}]},
        {"witnesses": [{"vkey": WITNESS, "url": "https://w.example/?a=b"}]},
        {"witnesses": [{"vkey": Ed25519Signer.from_seed("w", bytes(32)).vkey, "url": "https://w.example"}]},
        {"witnesses": [{"vkey": WITNESS, "url": "https://w.example"}] * 2},
        {"witnesses": [{"vkey": key, "url": "https://w.example"} for key in (WITNESS, TWIN)]},
        {"witnesses": [{"vkey": key, "url": "https://w.example"} for key in (TWIN, OTHER)]},
        {"witnesses": [{"vkey": WITNESS, "url": "https://w.example"}], "witness_timeout_s": 60.0},
        {"witness_timeout_s": 0.0},
    ],
)
def test_odd_witnesses_are_refused_at_the_start(tmp_path: Path, change: dict[str, Any]) -> None:
    """Keys of another type, one witness twice under whatever name, addresses that are none."""
    with pytest.raises(ConfigurationError):
        build(tmp_path, logs=[{**LOG, **change}])


LISTED = [{"vkey": key, "url": "https://w.example"} for key in (WITNESS, OTHER)]
POLICY = f"witness a {WITNESS} https://w.example/1\nwitness b {OTHER} http://127.0.0.1:1\n"
OWN = Ed25519Signer.from_seed(LOG["origin"], b"l" * 32).vkey
ELSEWHERE = Ed25519Signer.from_seed("elsewhere.example", bytes(32)).vkey


@pytest.mark.parametrize(
    ("change", "quorum"),
    [
        ({"witnesses": LISTED}, 2),
        ({"witnesses": LISTED, "witness_quorum": 1}, 1),
        ({"witnesses": LISTED, "witness_quorum": 0}, None),
        ({"witness_policy": POLICY + "group g any a b\nquorum g\n"}, 1),
        ({"witness_policy": f"log {OWN}\n{POLICY}quorum none\n"}, None),
        ({"witness_policy": f"{POLICY}group g all a b\nquorum g\n", "when_no_quorum": "hold"}, 2),
    ],
)
def test_a_list_or_a_policy_says_who_is_enough(
    tmp_path: Path, change: dict[str, Any], quorum: int | None
) -> None:
    """Of a list more than half unless a number is given; of a policy what it says."""
    found = witnessing_of(build(tmp_path, logs=[{**LOG, **change}]).logs[0])
    assert found is not None
    assert [each.verifier.vkey for each in found.witnesses] == [WITNESS, OTHER]
    assert (None if found.policy.quorum is None else found.policy.groups[0].threshold) == quorum
    assert found.may_part is (quorum == 1)


@pytest.mark.parametrize(
    "change",
    [
        {"witnesses": LISTED, "witness_quorum": 3},
        {"witness_quorum": 1},
        {"witnesses": LISTED, "witness_policy": f"{POLICY}quorum none\n"},
        {"witness_policy": "quorum none\n"},
        {"witness_policy": f"{POLICY}quorum c\n"},
        {"witness_policy": f"log {ELSEWHERE}\n{POLICY}quorum none\n"},
        {"witness_policy": f"witness a {WITNESS}\nquorum a\n"},
        {"witness_policy": f"witness a {WITNESS} ftp://w.example\nquorum a\n"},
        {"witnesses": LISTED, "witness_quorum": 0, "when_no_quorum": "hold"},
        {"when_no_quorum": "hold"},
        {"witness_guard": "all"},
        {"witnesses": LISTED, "witness_guard": "some"},
        {"witnesses": LISTED, "when_no_quorum": "wait"},
    ],
)
def test_a_quorum_that_cannot_be_is_refused_at_the_start(tmp_path: Path, change: dict[str, Any]) -> None:
    """More than there are, two policies, another log's, witnesses without an address, holding for none."""
    with pytest.raises(ConfigurationError):
        build(tmp_path, logs=[{**LOG, **change}])


def test_witnesses_are_a_rollback_guard_and_silence_is_safe(tmp_path: Path) -> None:
    """Without another guard all must answer if fewer than a quorum may have seen a checkpoint."""
    bare = {key: value for key, value in LOG.items() if key != "allow_unguarded_start"}
    log = build(tmp_path, logs=[{**bare, "witnesses": LISTED}]).logs[0]
    assert silence_of(log, is_alone=True) is Silence.ALL
    assert silence_of(log, is_alone=False) is Silence.QUORUM
    held = build(tmp_path, logs=[{**bare, "witnesses": LISTED, "when_no_quorum": "hold"}]).logs[0]
    assert silence_of(held, is_alone=True) is Silence.QUORUM
    told = build(tmp_path, logs=[{**bare, "witnesses": LISTED, "witness_guard": "answered"}]).logs[0]
    assert silence_of(told, is_alone=True) is Silence.ANSWERED
    with pytest.raises(ConfigurationError, match="rollback guard"):
        build(tmp_path, logs=[{**bare, "witnesses": LISTED, "witness_guard": "off"}])

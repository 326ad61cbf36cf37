"""Service accounts of Kubernetes: what a projected token must be to come in, and the keys that check it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from auditlog.errors import AuthenticationError, ConfigurationError, Pushback, TokenExpired
from auditlog.service.identities import ServiceAccounts, looks_like_jwt
from auditlog.service.jwks import KEEP_S, LOOK_AGAIN_S, REFRESH_S, KeySet, parse_keys
from auditlog.service.settings import KubernetesSettings, Settings
from auditlog.service.tokens import TokenBook, token_sha256
from tests.unit.service.fakes import FakeOpener, FakeTokens, expect_problem, running, settings_for

NOW = 1_800_000_000
ISSUER, AUDIENCE = "https://kubernetes.default.svc.cluster.local", "auditlog"
SUBJECT = "system:serviceaccount:serving:model"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SMALL = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())


def jwk(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    """The public half as the issuer publishes it."""
    kind = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", **more}


JWKS = {"keys": [jwk(RSA, "rsa-1"), jwk(EC, "ec-1", alg="ES256"), jwk(SMALL, "small"), jwk(P384, "p384")]}
CLAIMS = {
    "iss": ISSUER,
    "aud": [AUDIENCE],
    "sub": SUBJECT,
    "iat": NOW - 10,
    "nbf": NOW - 10,
    "exp": NOW + 3600,
    "kubernetes.io": {"namespace": "serving"},
}


def settings(**more: Any) -> KubernetesSettings:
    """One service account may come in."""
    members = {"issuer": ISSUER, "audience": AUDIENCE, "subjects": [SUBJECT], "jwks_file": "keys", **more}
    return KubernetesSettings.model_validate(members)


def accounts(now: float = NOW, keys: dict[str, Any] = JWKS, **more: Any) -> ServiceAccounts:
    """With these keys and this clock."""
    key_set = KeySet(lambda: json.dumps(keys).encode(), monotonic=lambda: 1000.0)
    return ServiceAccounts(settings(**more), key_set, clock=lambda: now)


def token(key: Any = RSA, algorithm: str = "RS256", kid: str | None = "rsa-1", **changes: Any) -> str:
    """A token; a claim changed to None is left out."""
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={} if kid is None else {"kid": kid})


def check(text: str, **more: Any) -> Any:
    """Verify it."""
    return accounts(**more).verify(text, token_sha256(text))


@pytest.mark.parametrize(("key", "algorithm", "kid"), [(RSA, "RS256", "rsa-1"), (EC, "ES256", "ec-1")])
def test_a_true_token_comes_in_with_the_scopes_of_the_table(key: Any, algorithm: str, kid: str) -> None:
    """The record is like any other: scopes, logs, names, and its end."""
    found = check(token(key, algorithm, kid), logs=["main"], producers="model-*")
    assert found.name == f"kubernetes:{SUBJECT}"
    assert (found.scopes, found.logs, found.producers) == ({"enrol", "submit"}, {"main"}, "model-*")
    assert found.expires_us == (NOW + 3600 + 60) * 1_000_000


def unsigned(header: dict[str, Any]) -> str:
    """A token whose signature is empty, whatever its header says."""
    parts = [json.dumps(part).encode() for part in (header, CLAIMS)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


FORGED = {
    "alg none": unsigned({"alg": "none", "kid": "rsa-1"}),
    "alg NONE": unsigned({"alg": "NonE", "typ": "JWT", "kid": "rsa-1"}),
    "no signature": unsigned({"alg": "RS256", "kid": "rsa-1"}),
    "hmac with a public key": "",
    "another key, same kid": token(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    "ec token for the rsa key": token(EC, "ES256", "rsa-1"),
    "rsa token for the ec key": token(RSA, "RS256", "ec-1"),
    "another algorithm of the key": token(RSA, "RS512"),
    "pss": token(RSA, "PS256"),
    "wrong kid": token(kid="rsa-2"),
    "no kid": token(kid=None),
    "small rsa key": "",
    "p-384": token(P384, "ES384", "p384"),
    "wrong audience": token(aud=["https://kubernetes.default.svc"]),
    "no audience": token(aud=None),
    "wrong issuer": token(iss="https://example.org"),
    "no issuer": token(iss=None),
    "no expiry": token(exp=None),
    "no start": token(nbf=None),
    "no subject": token(sub=None),
    "for later": token(nbf=NOW + 61),
    "for ever": token(exp=NOW + 500 * 86_400),
    "expiry that is no number": token(exp="tomorrow"),
    "expiry that is no time": token(exp=True),
    "expiry that is not a number": token(exp=float("nan")),
    "expiry without end": token(exp=float("inf")),
    "expiry that no float holds": token(exp=10**400),
    "start that is not a number": token(nbf=float("nan")),
    "start that no float holds": token(nbf=-(10**400)),
    "a deep header": base64.urlsafe_b64encode(b"[" * 5000).decode().rstrip("=") + ".e30.",
    "nonsense": "a.b.c",
    "a list as header": "W10.e30.",
}


def hmac_token() -> str:
    """Signed with the issuer's public key as if that were a secret: the oldest trick there is."""
    import hashlib
    import hmac

    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = unsigned({"alg": "HS256", "kid": "rsa-1"})[:-1]
    mac = hmac.digest(pem, signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def small_token() -> str:
    """Signed by an RSA key of 1,024 bits that the issuer lists."""
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.hashes import SHA256

    signed = unsigned({"alg": "RS256", "kid": "small"})[:-1]
    signature = SMALL.sign(signed.encode(), padding.PKCS1v15(), SHA256())
    return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


@pytest.mark.parametrize("what", FORGED)
def test_anything_else_stays_out(what: str) -> None:
    """Each forgery is a stranger (401), and no error repeats any of it."""
    text = {"hmac with a public key": hmac_token, "small rsa key": small_token}.get(
        what, lambda: FORGED[what]
    )()
    with pytest.raises(AuthenticationError) as refusal:
        check(text)
    assert not refusal.value.known
    assert all(part not in str(refusal.value) for part in text.split(".") if len(part) > 8)


def test_an_expired_token_is_told_so() -> None:
    """After a minute of grace for the clocks, and not before."""
    assert check(token(), now=NOW + 3659)
    with pytest.raises(TokenExpired):
        check(token(), now=NOW + 3660)


def test_another_service_account_is_known_and_refused() -> None:
    """403: the cluster vouches for it, the configuration does not name it."""
    for subject in ("system:serviceaccount:serving:other", SUBJECT + "x", SUBJECT[:-1]):
        with pytest.raises(AuthenticationError) as refusal:
            check(token(sub=subject))
        assert refusal.value.known


def test_keys_that_are_replaced_are_found() -> None:
    """An unknown kid makes us look again, not oftener than every so many seconds."""
    documents, now, reads = [{"keys": []}, JWKS], [0.0], []

    def read() -> bytes:
        reads.append(now[0])
        return json.dumps(documents.pop(0) if len(documents) > 1 else documents[0]).encode()

    keys = KeySet(read, monotonic=lambda: now[0])
    assert keys.find("rsa-1") is None
    for _ in range(5):
        assert keys.find("rsa-1") is None
    now[0] = LOOK_AGAIN_S
    assert keys.find("rsa-1") is not None
    assert keys.find("stranger") is None
    assert reads == [0.0, LOOK_AGAIN_S]
    now[0] += REFRESH_S
    assert keys.find("rsa-1") is not None
    assert len(reads) == 3


def test_an_issuer_that_is_away_is_waited_for() -> None:
    """Known keys are believed for a while, then callers are told to come back; a withdrawn key ends."""
    now, answers = [0.0], [json.dumps(JWKS).encode()]

    def read() -> bytes:
        if not answers:
            raise OSError("away")
        return answers[0]

    keys = KeySet(read, monotonic=lambda: now[0])
    assert keys.find("rsa-1") is not None
    answers.clear()
    now[0] = KEEP_S - 1
    assert keys.find("rsa-1") is not None
    now[0] = KEEP_S
    with pytest.raises(Pushback):
        keys.find("rsa-1")
    answers.append(b'{"keys":[]}')
    now[0] += LOOK_AGAIN_S
    assert keys.find("rsa-1") is None


def test_a_document_that_is_no_key_set_leaves_the_old_keys() -> None:
    """However deep it is nested."""
    answers, now = [json.dumps(JWKS).encode()], [0.0]
    keys = KeySet(lambda: answers[-1], monotonic=lambda: now[0])
    assert keys.find("rsa-1") is not None
    for document in (
        b"[" * 100_000,
        b'{"keys":' * 100_000,
        b'{"keys":[' + b'{"n":' * 100_000,
        b"9" * 100_000,
    ):
        answers.append(document)
        now[0] += 301
        assert keys.find("rsa-1") is not None


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys":{}}', b"\xff", b'{"keys":null}'])
def test_other_documents_are_no_keys(document: bytes) -> None:
    """Whatever the issuer's address answers, it is keys or a ValueError."""
    with pytest.raises(ValueError, match="JWKS"):
        parse_keys(document)


def test_keys_for_something_else_are_left_out() -> None:
    """Encryption keys, secrets, odd curves, broken ones: none of them signs tokens."""
    odd: list[Any] = [
        7,
        {"kid": 7},
        jwk(RSA, "enc", use="enc"),
        jwk(RSA, "rs512", alg="RS512"),
        {"kty": "oct", "kid": "secret", "k": "AAAA"},
        {"kty": "RSA", "kid": "broken", "n": "AQ"},
        {"kty": ["RSA"], "kid": "list"},
        jwk(SMALL, "small"),
        jwk(P384, "p384"),
        jwk(RSA, "good"),
    ]
    assert list(parse_keys(json.dumps({"keys": odd}).encode())) == ["good"]


def test_our_own_tokens_are_not_taken_for_theirs() -> None:
    """A JWT is asked about only if the book does not know it; what is no JWT never is."""
    assert looks_like_jwt(token())
    assert not looks_like_jwt("alt_" + "A" * 43)
    assert not looks_like_jwt("a." * 5000)
    book = TokenBook(
        [], FakeTokens(), monotonic=lambda: 0.0, unix_us=lambda: NOW * 1_000_000, accounts=accounts()
    )
    text = token()
    assert book.find(token_sha256(text), text) == book.cached(token_sha256(text))


def test_the_service_lets_a_pod_in(tmp_path: Path) -> None:
    """Over HTTP, with the key file of the configuration: enrolment, and nothing else."""
    import time

    (tmp_path / "keys").write_text(json.dumps(JWKS))
    now = int(time.time())
    table = settings(jwks_file=tmp_path / "keys", scopes=["enrol"]).model_dump()
    built = settings_for(tmp_path)
    built = built.model_copy(
        update={
            "enrolment": built.enrolment.model_copy(
                update={"kubernetes": KubernetesSettings.model_validate(table)}
            )
        }
    )
    pod = token(iat=now, nbf=now, exp=now + 600)
    with running(built, FakeOpener()) as call:
        body = {"name": "model-0", "vkey": "v", "note": "n"}
        assert call("POST", "/logs/hashes/producers", token=pod, json=body).status_code == 200
        expect_problem(call("GET", "/logs", token=pod), 403, "authentication")
        late = token(iat=now, nbf=now - 900, exp=now - 600)
        expect_problem(call("POST", "/logs/hashes/producers", token=late, json=body), 401, "token_expired")


@pytest.mark.parametrize(
    "wrong",
    [
        {"jwks_file": None},
        {"jwks_url": "https://example.org/keys"},
        {"jwks_file": None, "jwks_url": "http://example.org/keys"},
        {"subjects": ["system:serviceaccount:serving:*"]},
        {"subjects": ["model"]},
        {"scopes": ["admin"]},
        {"logs": ["nowhere"]},
    ],
)
def test_a_dangerous_table_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Two sources or none, keys in clear, wildcards, admin, logs that are not there."""
    table = {"issuer": ISSUER, "audience": AUDIENCE, "subjects": [SUBJECT], "jwks_file": "keys"} | wrong
    raw = {"service": {"data_dir": "d"}, "enrolment": {"kubernetes": {k: v for k, v in table.items() if v}}}
    with pytest.raises(ConfigurationError):
        Settings.build(raw, base=tmp_path)

"""Where a public key is configured, a bundle is what was signed by it, to the last byte, or it is refused by name."""

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from healthrisk.bundle import FILES, MANIFEST, Bundle, bundle, signed_statement, store
from healthrisk.bundle.classifier import LINEAR
from healthrisk.bundle.manifest import Provenance
from healthrisk.bundle.signature import SIGNATURE, SignatureError
from healthrisk.errors import BundleError, ConfigError
from tests.support.patience import run
from tests.support.s3 import BUCKET
from tests.support.signing import key_pair

ROOT = Path(__file__).parents[2]
MODEL_SIGNING = ROOT / ".tools" / "model-signing" / "bin" / "model_signing"
OURS, OTHER = key_pair(1), key_pair(2)


@pytest.fixture
def rewrite(make_bundle: Callable[..., Path], tmp_path: Path) -> Callable[[str], Bundle]:
    """Return a writer of one bundle's bytes into a folder, as the register step writes them."""
    source = make_bundle("heart-disease", "logistic_regression")

    def write(folder: str) -> Bundle:
        manifest = json.loads((source / MANIFEST).read_text())

        def fill(path: Path) -> Provenance:
            for name in manifest["files"]:
                shutil.copyfile(source / name, path / name)
            return Provenance.model_validate({key: manifest[key] for key in Provenance.model_fields})

        return bundle.write(tmp_path / folder, fill)

    return write


@pytest.fixture
def signed(rewrite: Callable[[str], Bundle], environment: Callable[..., None]) -> Path:
    """A bundle that was signed by a key, which is the one that is believed."""
    environment(OURS.signs | OURS.believes)
    return rewrite("signed").path


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Return a setter of this process's keys: those that are given, and no other."""

    def put(keys: dict[str, str]) -> None:
        for name in OURS.signs | OURS.believes:
            monkeypatch.delenv(name, raising=False)
        for name, value in keys.items():
            monkeypatch.setenv(name, value)

    return put


def sign_again(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what is stated of a bundle, and sign that with the key that is believed."""
    document = json.loads((path / SIGNATURE).read_text())
    envelope = document["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    change(statement)
    payload = json.dumps(statement).encode()
    key = serialization.load_pem_private_key(OURS.private.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(signed_statement.encode(payload), ec.ECDSA(hashes.SHA256()))
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"] = [{"sig": base64.b64encode(signature).decode()}]
    (path / SIGNATURE).write_text(json.dumps(document))


def test_a_signature_changes_neither_digest_nor_itself(
    rewrite: Callable[[str], Bundle], environment: Callable[..., None]
) -> None:
    environment({})
    plain = rewrite("one")
    assert (plain.signature, (plain.path / SIGNATURE).exists()) == ("unsigned", False)
    environment(OURS.signs)
    added, again = rewrite("one"), rewrite("two")
    assert plain.digest == added.digest == again.digest
    assert added.signature == "signed, by whom was not checked"
    assert (added.path / SIGNATURE).read_bytes() == (again.path / SIGNATURE).read_bytes()
    environment(OURS.believes)
    opened = Bundle.open(again.path, again.digest)
    assert opened.signature.startswith("signed by ")


def test_any_of_several_keys_is_believed_given_as_text_or_by_a_file(
    signed: Path, environment: Callable[..., None], tmp_path: Path
) -> None:
    both = OTHER.public + OURS.public
    (tmp_path / "keys.pem").write_text(both)
    for value in (both, str(tmp_path / "keys.pem")):
        environment({"HEALTHRISK_BUNDLE_PUBLIC_KEY": value})
        assert Bundle.open(signed).signature.startswith("signed by ")


@pytest.mark.parametrize("name", [*FILES, LINEAR])
def test_a_file_that_was_altered_with_its_manifest_is_refused(signed: Path, name: str) -> None:
    content = bytearray((signed / name).read_bytes())
    content[len(content) // 2] ^= 1
    (signed / name).write_bytes(content)
    manifest = json.loads((signed / MANIFEST).read_text())
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (signed / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(SignatureError, match="is not what was signed"):
        Bundle.open(signed)


def test_a_flipped_byte_of_the_manifest_is_refused(signed: Path) -> None:
    text = (signed / MANIFEST).read_text()
    (signed / MANIFEST).write_text(text.replace('"seed": 7', '"seed": 8'))
    assert text != (signed / MANIFEST).read_text()
    with pytest.raises(SignatureError, match=rf"{MANIFEST} is not what was signed"):
        Bundle.open(signed)


def test_a_file_too_many_and_one_too_few_are_refused(signed: Path) -> None:
    (signed / "linear.json").rename(signed / "more.json")
    with pytest.raises(BundleError, match=r"linear\.json cannot be read"):
        Bundle.open(signed)
    shutil.copyfile(signed / "more.json", signed / "linear.json")
    with pytest.raises(SignatureError, match=r"more\.json was added after it was signed"):
        Bundle.open(signed)


def test_what_is_unsigned_or_signed_by_another_key_is_refused(signed: Path, environment: Callable[..., None]) -> None:
    environment(OTHER.believes)
    with pytest.raises(SignatureError, match=r"is by none of the keys of HEALTHRISK_BUNDLE_PUBLIC_KEY"):
        Bundle.open(signed)
    (signed / SIGNATURE).unlink()
    with pytest.raises(SignatureError, match=r"is unsigned: expected model\.sig"):
        Bundle.open(signed)


def test_the_signature_of_another_bundle_is_refused(
    signed: Path, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    other = Path(shutil.copytree(make_bundle(seed=8, family="logistic_regression"), tmp_path / "other"))
    shutil.copyfile(signed / SIGNATURE, other / SIGNATURE)
    with pytest.raises(SignatureError, match="is not what was signed"):
        Bundle.open(other)


def _damaged(text: str) -> dict[str, bytes]:
    document = json.loads(text)
    envelope = document["dsseEnvelope"]

    def having(**fields: object) -> bytes:
        return json.dumps(document | {"dsseEnvelope": envelope | fields}).encode()

    return {
        "empty": b"",
        "cut": text[: len(text) // 2].encode(),
        "garbage": b"\x00\xff" * 100,
        "a list": b"[]",
        "deep": b"[" * 100_000,
        "huge": b" " * 2_000_000,
        "no envelope": b'{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}',
        "media type": json.dumps(document | {"mediaType": "text/plain"}).encode(),
        "payload of a number": having(payload=1),
        "payload not base64": having(payload="%%%"),
        "payload of nothing": having(payload=""),
        "payload type": having(payloadType="text/plain"),
        "signatures as an object": having(signatures={}),
        "no signature": having(signatures=[]),
        "two signatures": having(signatures=envelope["signatures"] * 2),
        "null": having(signatures=[{"sig": None}]),
        "signature not base64": having(signatures=[{"sig": "=a"}]),
        "signature not DER": having(signatures=[{"sig": "AAAA"}]),
        "signature of zeros": having(signatures=[{"sig": "MAYCAQACAQA="}]),
    }


def test_what_is_no_signature_is_refused_in_one_line(signed: Path) -> None:
    for name, content in _damaged((signed / SIGNATURE).read_text()).items():
        (signed / SIGNATURE).write_bytes(content)
        with pytest.raises(SignatureError, match=SIGNATURE) as refused:
            Bundle.open(signed)
        assert "\n" not in str(refused.value), name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda stated: stated.update(predicateType="https://model_signing/Digests/v0.1"), "predicateType"),
        (lambda stated: stated.update(_type="https://in-toto.io/Statement/v0.1"), "_type"),
        (lambda stated: stated["subject"].append(stated["subject"][0]), "subject"),
        (lambda stated: stated["subject"][0]["digest"].update(sha256="0" * 64), "root digest"),
        (lambda stated: stated["predicate"]["resources"].pop(), "root digest"),
        (lambda stated: stated["predicate"]["resources"][0].update(digest=1), "resources.0.digest"),
        (lambda stated: stated["predicate"]["resources"][0].update(digest="AB"), "resources.0.digest"),
        (lambda stated: stated["predicate"]["resources"][0].update(algorithm="blake3"), "resources.0.algorithm"),
        (lambda stated: stated["predicate"]["serialization"].update(method="shards"), "serialization.method"),
        (lambda stated: stated["predicate"].update(resources={}), "predicate.resources"),
    ],
)
def test_a_statement_of_another_kind_is_refused_whoever_signed_it(
    signed: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    sign_again(signed, change)
    with pytest.raises(SignatureError, match=says):
        Bundle.open(signed)


def test_a_signed_statement_of_other_files_is_refused(signed: Path) -> None:
    def drop(stated: dict[str, Any], keep: slice) -> None:
        resources = stated["predicate"]["resources"] = stated["predicate"]["resources"][keep]
        root = b"".join(bytes.fromhex(one["digest"]) for one in resources)
        stated["subject"][0]["digest"]["sha256"] = hashlib.sha256(root).hexdigest()

    sign_again(signed, lambda stated: drop(stated, slice(1, None)))
    with pytest.raises(SignatureError, match="was added after it was signed"):
        Bundle.open(signed)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"HEALTHRISK_BUNDLE_PUBLIC_KEY": "/no/such/file"}, "path of one that can be read"),
        ({"HEALTHRISK_BUNDLE_PUBLIC_KEY": OURS.public.replace("M", "*")}, "key 1 is no public key"),
        ({"HEALTHRISK_BUNDLE_PUBLIC_KEY": OURS.private}, "expected public keys"),
        (
            {"HEALTHRISK_BUNDLE_PUBLIC_KEY": OURS.public + key_pair(1, ec.SECP384R1).public},
            "key 2 is no public key",
        ),
        ({"HEALTHRISK_BUNDLE_SIGNING_KEY": OURS.public}, "expected a private key in PEM"),
        ({"HEALTHRISK_BUNDLE_SIGNING_KEY": key_pair(1, ec.SECP384R1).private}, "P-256"),
        ({"HEALTHRISK_BUNDLE_SIGNING_KEY": "my-own-secret"}, "path of one that can be read"),
        ({**OTHER.signs, **OURS.believes}, "none of the keys"),
    ],
)
def test_keys_that_cannot_be_used_are_named_and_never_quoted(
    keys: dict[str, str], says: str, rewrite: Callable[[str], Bundle], environment: Callable[..., None]
) -> None:
    environment(keys | ({} if "HEALTHRISK_BUNDLE_SIGNING_KEY" in keys else OURS.signs))
    with pytest.raises((ConfigError, SignatureError), match=says) as refused:
        rewrite("here")
    assert "my-own-secret" not in str(refused.value)
    assert OURS.private.splitlines()[1] not in str(refused.value)


def test_a_signature_travels_through_both_stores_and_is_renewed(
    signed: Path, environment: Callable[..., None], endpoint: str, tmp_path: Path
) -> None:
    for number, root in enumerate([(tmp_path / "store").as_uri(), f"s3://{BUCKET}/{tmp_path.name}"]):
        cache = tmp_path / f"cache-{number}"
        environment(OURS.believes)
        uri = store.put(Bundle.open(signed), root)
        assert store.fetch(uri, signed.name, cache).signature.startswith("signed by ")
        environment(OTHER.believes)
        with pytest.raises(SignatureError, match="none of the keys"):
            store.fetch(uri, signed.name, cache)
        # The next key: what is in the cache bears the old one's signature still.
        environment({})
        renewed = Path(shutil.copytree(signed, tmp_path / f"renewed-{number}"))
        opened = Bundle.open(renewed)
        opened.sign(OTHER.private)
        assert store.put(opened, root) == uri
        environment(OTHER.believes)
        assert store.fetch(uri, signed.name, cache).signature.startswith("signed by ")


def test_an_unsigned_bundle_in_a_bucket_is_one_without_a_key(
    rewrite: Callable[[str], Bundle], environment: Callable[..., None], endpoint: str, tmp_path: Path
) -> None:
    environment({})
    made = rewrite("unsigned")
    uri = store.put(made, f"s3://{BUCKET}/{tmp_path.name}")
    assert store.fetch(uri, made.digest, tmp_path / "cache").signature == "unsigned"
    environment(OURS.believes)
    with pytest.raises(SignatureError, match="is unsigned"):
        store.fetch(uri, made.digest, tmp_path / "cache")


def test_openssfs_own_tool_believes_our_signature_and_we_believe_its(
    signed: Path, environment: Callable[..., None], tmp_path: Path
) -> None:
    if not MODEL_SIGNING.exists():
        pytest.skip("OpenSSF's model_signing is not here: make test-tools")
    for name, pair in (("ours", OURS), ("other", OTHER)):
        (tmp_path / f"{name}.pem").write_text(pair.private)
        (tmp_path / f"{name}.pub").write_text(pair.public)

    def tool(action: str, *words: object) -> Any:
        return run([MODEL_SIGNING, action, "key", signed, "--signature", signed / SIGNATURE, *words])

    verified = tool("verify", "--public_key", tmp_path / "ours.pub")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    made = tool("sign", "--private_key", tmp_path / "other.pem")
    assert made.returncode == 0, made.stdout + made.stderr
    environment(OTHER.believes)
    assert Bundle.open(signed).signature.startswith("signed by ")
    (signed / "golden.json").write_text("altered")
    refused = tool("verify", "--public_key", tmp_path / "other.pub")
    assert refused.returncode != 0
    assert "golden.json" in refused.stdout + refused.stderr

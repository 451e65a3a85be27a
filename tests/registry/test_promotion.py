"""A version goes from hand to hand: between two homes on one machine, and to a site of real servers."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from healthrisk.bundle import Bundle, store
from healthrisk.config import settings
from healthrisk.errors import ConfigError, StoreError
from healthrisk.registry import contexts, placement, promotion, retirement, versions
from healthrisk.registry.evidence_run import digest_of
from tests.support import sample_bundle
from tests.support.commands import healthrisk
from tests.support.container_registry import TOOLS, container_registry, crane, push_image
from tests.support.patience import ANSWER, until
from tests.support.records import done_to
from tests.support.s3 import BUCKET
from tests.support.servers import free_ports
from tests.support.signing import key_pair

pytestmark = pytest.mark.slow

NAME = "heart-disease"
OURS, OTHER = key_pair(1), key_pair(2)


@pytest.fixture
def sites(empty_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two homes, `dev` and `staging`, each with an empty registry."""
    for name in ("dev", "staging"):
        (tmp_path / name).mkdir()
        shutil.copy(empty_registry, tmp_path / name)
    for variable in (*OURS.signs, *OURS.believes, "MLFLOW_TRACKING_URI", "HEALTHRISK_BUNDLES", "HEALTHRISK_CONTEXTS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HEALTHRISK_HOME", str(tmp_path / "dev"))
    (tmp_path / "ours.pem").write_text(OURS.public)
    (tmp_path / "other.pem").write_text(OTHER.public)
    return tmp_path


@pytest.fixture
def trained(sites: Path, make_bundle: Callable[..., Path]) -> Callable[..., Bundle]:
    """Return a maker of signed versions in `dev`, each with evidence: the first is version 1, and so on."""

    def make(family: str = "logistic_regression") -> Bundle:
        source = make_bundle(NAME, family)
        made = Bundle.open(Path(shutil.copytree(source, sites / family / source.name)))
        made.sign(OURS.private)
        client = versions.client()
        experiment = client.get_experiment_by_name(NAME)
        number = experiment.experiment_id if experiment else client.create_experiment(NAME, (sites / "files").as_uri())
        run = client.create_run(number, tags={"family": family}).info.run_id
        client.log_text(run, "<html>the report</html>", "report.html")
        client.log_text(run, "a picture", "plots/calibration.png")
        client.log_metric(run, "cv.log_loss.mean", 0.5)
        decision = sample_bundle.decision(made.spec, made.manifest.family, 0.4)
        placement.register_bundle(made, store.put(made, settings().bundles), decision, run, "nothing to compare")
        return made

    return make


@pytest.fixture
def site(sites: Path, postgres: str, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A context of real servers: MLflow on PostgreSQL, and S3; they believe the key that `trained` signs with."""
    engine = sa.create_engine(postgres, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE promotion"))
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--workers=1", "--host=127.0.0.1", f"--port={port}"]
    command += [f"--backend-store-uri={postgres.rpartition('/')[0]}/promotion", "--serve-artifacts"]
    command += [f"--artifacts-destination={(sites / 'served').as_uri()}", f"--expose-prometheus={sites / 'metrics'}"]
    (sites / "credentials").write_text("AWS_ACCESS_KEY_ID=tests\nAWS_SECRET_ACCESS_KEY=testsecret\n")
    described = {"registry": url, "bundles": f"s3://{BUCKET}/{tmp_path.name}", "endpoint": endpoint}
    described |= {"credentials": "credentials", "public_key": "ours.pem"}
    (sites / "contexts.yaml").write_text(json.dumps({"dev": {"home": "dev"}, "hospital": described}))
    monkeypatch.setenv("HEALTHRISK_CONTEXTS", str(sites / "contexts.yaml"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    log = sites / "mlflow.log"
    with log.open("wb") as output:
        own = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        server = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, cwd=sites, env=own)
    try:
        until(lambda: server.poll() is not None or is_up(f"{url}/health"), log.read_text)
        assert server.poll() is None, log.read_text()
        yield "hospital"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(ANSWER)
        with engine.connect() as connection:
            connection.execute(sa.text("DROP DATABASE promotion WITH (FORCE)"))
        engine.dispose()


def is_up(url: str) -> bool:
    try:
        return httpx.get(url, timeout=ANSWER).status_code == 200
    except httpx.TransportError:
        return False


def promote(sites: Path, *words: str, **environment: str) -> dict[str, Any]:
    """Promote by the command line, and return what it printed."""
    done = healthrisk("promote", *words, **environment)
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def refused(*words: object, **environment: str) -> str:
    """Return the one line that a command ends with."""
    done = healthrisk(*words, **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_bytes_arrive_verified_and_proven_and_it_is_said_who_promoted_them(
    sites: Path, trained: Callable[..., Bundle]
) -> None:
    made = trained()
    way = ("1", "--from", str(sites / "dev"), "--to", str(sites / "staging"), "--by", "Dr. Grete Example")
    first = promote(sites, *way, HEALTHRISK_BUNDLE_PUBLIC_KEY=str(sites / "ours.pem"))
    assert (first["version"], first["alias"], first["digest"]) == ("1", "champion", made.digest)
    assert (first["by"], first["golden_rows"]) == ("Dr. Grete Example", 20)
    assert first["signature"].startswith("signed by ")
    assert promote(sites, *way[:-1], "somebody else") == first | {"signature": "signed, by whom was not checked"}
    with contexts.entered(str(sites / "staging")):
        there = versions.champion(NAME)
        assert there is not None
        (stored,) = (sites / "staging" / "bundles" / NAME).iterdir()
        assert there.uri == stored.as_uri()
        assert files_of(stored) == files_of(made.path)
        client = versions.client()
        tags = versions.tags_of(NAME, "1")
        assert (tags["promoted.from"], tags["promoted.version"]) == (str(sites / "dev"), "1")
        run = client.get_run(there.run_id)
        assert run.data.metrics == {"cv.log_loss.mean": 0.5}
        folder = sites / "evidence"
        folder.mkdir()
        assert {file.path for file in client.list_artifacts(there.run_id)} == {"report.html", "plots"}
        client.download_artifacts(there.run_id, "", str(folder))
        assert digest_of(folder) == tags["promoted.evidence"] == first["evidence"]
        assert (folder / "report.html").read_text() == "<html>the report</html>"
        experiment = client.get_experiment_by_name(NAME)
        assert len(client.search_runs([experiment.experiment_id])) == 1


def test_both_sites_have_it_on_record_and_a_record_that_takes_nothing_stops_nothing(
    sites: Path, trained: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trained(), trained("random_forest")
    monkeypatch.setenv("HEALTHRISK_ACTIONS", (sites / "elsewhere").as_uri())
    kept, full = (sites / "kept").as_uri(), (sites / "ours.pem").as_uri()
    (sites / "contexts.yaml").write_text(
        f"dev: {{home: dev, actions: '{kept}'}}\n"
        f"staging: {{home: staging}}\nfull: {{home: staging, actions: '{full}'}}\n"
    )
    monkeypatch.setenv("HEALTHRISK_CONTEXTS", str(sites / "contexts.yaml"))
    promote(sites, "2", "--from", "dev", "--to", "staging", "--by", "Dr. Grete Example")
    line = ("promoted", "version 2 of dev is version 1 of staging, champion; by Dr. Grete Example")
    for name, version in (("dev", "2"), ("staging", "1")):
        with contexts.entered(name):
            assert done_to(version) == [line]
    assert (sites / "kept").is_dir()
    assert not (sites / "elsewhere").exists()
    assert promote(sites, "1", "--from", "dev", "--to", "full")["alias"] == "challenger"
    assert "promoted of heart-disease 2 is not on record: record" in caplog.text


def test_a_site_of_real_servers_gets_the_same(sites: Path, trained: Callable[..., Bundle], site: str) -> None:
    made = trained()
    done = promote(sites, "1", "--from", "dev", "--to", site)
    assert done["signature"].startswith("signed by ")
    assert promote(sites, "1", "--from", "dev", "--to", site) == done
    with contexts.entered(site):
        there = versions.champion(NAME)
        assert there is not None
        assert there.uri.startswith(f"s3://{BUCKET}/")
        carried = store.fetch(there.uri, there.digest, sites / "cache")
        assert files_of(carried.path) == files_of(made.path)
        (sites / "back").mkdir()
        versions.client().download_artifacts(there.run_id, "", str(sites / "back"))
        assert digest_of(sites / "back") == done["evidence"]
        # What Prometheus reads of the server, as the alert RegistryFails names it.
        assert re.search(
            r'^mlflow_http_request_total{.*status="200"',
            httpx.get(f"{settings().tracking_uri}/metrics").text,
            re.MULTILINE,
        )
    # And on, from there.
    assert promote(sites, "1", "--from", site, "--to", str(sites / "staging"))["digest"] == made.digest


def test_images_go_along_by_digest_where_both_sites_name_them(
    sites: Path, trained: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained()
    file, there = sites / "dev.env", sites / "staging.env"
    with container_registry() as registry:
        target = f"images: staging.env, image_registry: '{registry}/hospital'"
        (sites / "contexts.yaml").write_text(
            f"dev: {{home: dev, images: dev.env}}\nstaging: {{home: staging, {target}}}\n"
            "same: {home: staging, images: same.env}\nnone: {home: staging}\n"
        )
        monkeypatch.setenv("HEALTHRISK_CONTEXTS", str(sites / "contexts.yaml"))
        assert "cannot be read" in refused("promote", "1", "--from", "dev", "--to", "staging")
        names = {what: f"healthrisk/{what}:python3.11-0.2" for what in ("pipeline", "serving")}
        for what, name in names.items():
            (sites / what).write_text(what)
            push_image(f"{registry}/dev/{name}", sites / what)
        digests = {what: crane("digest", f"{registry}/dev/{name}") for what, name in names.items()}
        lines = [f"{what.upper()}_IMAGE={{}}/{name}@{digests[what]}\n" for what, name in names.items()]
        file.write_text("".join(lines).format(*[f"{registry}/dev"] * 2))
        with monkeypatch.context() as patched:
            patched.setenv("PATH", "/bin")
            assert "crane, which copies them, is not on" in refused("promote", "1", "--from", "dev", "--to", "staging")
        monkeypatch.setenv("PATH", TOOLS["PATH"])
        done = promote(sites, "1", "--from", "dev", "--to", "staging")
        assert {what: crane("digest", f"{registry}/hospital/{name}") for what, name in names.items()} == digests
        assert there.read_text() == "".join(lines).format(*[f"{registry}/hospital"] * 2)
        assert done["images"] == [line.partition("=")[2] for line in there.read_text().split()]
        assert promote(sites, "1", "--from", "dev", "--to", "staging") == done
        with contexts.entered("staging"):
            assert versions.tags_of(NAME, "1")["promoted.images"].split() == done["images"]
        assert promote(sites, "1", "--from", "dev", "--to", "none")["images"] == []
        # One registry for both.
        promote(sites, "1", "--from", "dev", "--to", "same")
        assert (sites / "same.env").read_text() == file.read_text()
        file.write_text(file.read_text().replace(digests["serving"], f"sha256:{'0' * 64}"))
        assert "crane copy" in refused("promote", "1", "--from", "dev", "--to", "staging")


def test_the_next_one_is_challenger_unless_it_is_to_be_champion(sites: Path, trained: Callable[..., Bundle]) -> None:
    trained(), trained("random_forest")
    way = ("--from", str(sites / "dev"), "--to", str(sites / "staging"))
    assert [promote(sites, number, *way)["alias"] for number in ("1", "2", "1", "2")] == [
        *("champion", "challenger", "champion", "challenger")
    ]
    assert promote(sites, "2", *way, "--champion")["alias"] == "champion"
    with contexts.entered(str(sites / "staging")):
        champion = versions.champion(NAME)
        assert champion is not None
        assert (champion.number, champion.aliases) == ("2", ("champion",))


@pytest.mark.parametrize("ends", ["put", "fetch", "upload", "create", "make_champion"])
def test_a_run_that_was_killed_is_run_again(
    sites: Path, trained: Callable[..., Bundle], ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each part that writes, and in the middle of the evidence."""

    class Killed(BaseException):
        pass

    trained()
    owner = {"put": promotion.store, "fetch": promotion.store, "upload": promotion.evidence_run}.get(ends, versions)
    whole = getattr(owner, ends)

    def killed(*words: Any, **options: Any) -> None:
        whole(*words, **options)
        raise Killed

    way = (NAME, "1", str(sites / "dev"), str(sites / "staging"), "me")
    with monkeypatch.context() as patched:
        patched.setattr(owner, ends, killed)
        with pytest.raises(Killed):
            promotion.promote(*way)
    done = promotion.promote(*way)
    assert (done.version, done.alias) == ("1", "champion")
    with contexts.entered(str(sites / "staging")):
        client = versions.client()
        assert len(client.search_model_versions(f"name = '{NAME}'")) == 1
        assert len(client.search_runs([client.get_experiment_by_name(NAME).experiment_id])) == 1


def test_what_the_target_does_not_believe_never_enters_its_store(sites: Path, trained: Callable[..., Bundle]) -> None:
    made = trained()
    (sites / "contexts.yaml").write_text(
        "dev: {home: dev}\nstaging: {home: staging, public_key: other.pem}\n"
        "own: {home: staging, public_key: ours.pem}\n"
    )
    where = {"HEALTHRISK_CONTEXTS": str(sites / "contexts.yaml")}
    assert "none of the keys" in refused("promote", "1", "--from", "dev", "--to", "staging", **where)
    (stored,) = (sites / "dev" / "bundles" / NAME).iterdir()
    (stored / "golden.json").write_text("{}")
    assert "golden.json has digest" in refused("promote", "1", "--from", "dev", "--to", "own", **where)
    shutil.copyfile(made.path / "golden.json", stored / "golden.json")
    (stored / "model.sig").unlink()
    assert "is unsigned" in refused("promote", "1", "--from", "dev", "--to", "own", **where)
    assert not (sites / "staging" / "bundles").exists()
    with contexts.entered(str(sites / "staging")):
        assert versions.champion(NAME) is None
    signed = healthrisk("sign", stored, **OURS.signs)
    assert signed.stdout == f"signed    {NAME} {made.version}\n"
    assert promote(sites, "1", "--from", "dev", "--to", "own", **where)["signature"].startswith("signed by ")


def test_bad_input_is_refused_in_one_line(sites: Path, trained: Callable[..., Bundle]) -> None:
    trained()
    dev, staging = str(sites / "dev"), str(sites / "staging")
    file = sites / "contexts.yaml"
    for words, says in (
        (("promote", "9", "--from", dev, "--to", staging), "9"),
        (("promote", "one", "--from", dev, "--to", staging), "there is no version 'one'"),
        (("promote", "1", "--from", staging, "--to", dev), "1"),
        (("promote", "1", "--from", dev, "--to", dev), "are one place"),
        (("promote", "1", "--from", dev, "--to", "nowhere"), "context 'nowhere': expected one of"),
        (("promote", "1", "--from", dev, "--to", staging, "--dataset", "obesity"), "obesity"),
        (("retire", "9", "--reason", "wrong"), "9"),
        (("retire", "1", "--reason", "  "), "expected 1 to 1,000 characters"),
        (("retire", "1", "--reason", "x" * 1001), "expected 1 to 1,000 characters"),
        (("sign", sites / "none"), "HEALTHRISK_BUNDLE_SIGNING_KEY is not set"),
    ):
        assert says in refused(*words), words
    assert "no such folder" in refused("sign", sites / "none", **OURS.signs)
    for text, says in (
        ("[", "not valid YAML"),
        ("- dev", "valid dictionary"),
        ("dev: {hom: x}", "dev.hom: Extra inputs"),
        ("dev: {home: dev, credentials: secret}", "credentials"),
        ("dev: {registry: 'http://h'}", "expected a home, or both a registry and bundles"),
        ("dev: {bundles: 's3://healthrisk/bundles'}", "expected a home, or both a registry and bundles"),
        ("dev: {home: dev}", "it knows dev"),
    ):
        file.write_text(text)
        (sites / "secret").write_text("AWS_ACCESS_KEY_ID=my-own-key\n")
        line = refused("promote", "1", "--from", "dev", "--to", "x", HEALTHRISK_CONTEXTS=str(file))
        assert says in line
        assert "my-own-key" not in line
    line = refused("promote", "1", "--from", "dev", "--to", "x", HEALTHRISK_CONTEXTS=str(sites / "no.yaml"))
    assert "there is no such file" in line


def test_a_retired_version_is_kept_and_refused_by_name_everywhere(
    sites: Path, trained: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trained()
    done = healthrisk("retire", "1", "--reason", "wrong for\nwomen", "--by", "me")
    assert done.returncode == 0, done.stderr
    assert done_to("1") == [("retired", "wrong for women; by me")]
    retired = json.loads(done.stdout)
    assert (retired["reason"], retired["by"], retired["aliases"]) == ("wrong for women", "me", ["champion"])
    again = json.loads(healthrisk("retire", "1", "--reason", "another").stdout)
    assert (again["reason"], again["at"], again["aliases"]) == ("wrong for women", retired["at"], [])
    version = versions.by_number(NAME, "1")
    assert (version.aliases, version.digest) == ((), made.digest)
    assert store.fetch(version.uri, version.digest, sites).digest == made.digest
    says = f"version 1 of {NAME} is retired: wrong for women"
    way = ("--from", str(sites / "dev"), "--to", str(sites / "staging"))
    assert says in refused("promote", "1", *way)
    # Someone points the alias at it again, by hand.
    versions.make_champion(NAME, "1")
    table = sites / "table.csv"
    assert says in refused("predict", table, "--out", sites / "out.csv")
    # By its address, too, wherever its bytes lie; a place without a registry knows of nothing that was retired.
    for address in (version.uri, made.path):
        assert says in refused("predict", table, "--out", sites / "out.csv", "--bundle", address)
    elsewhere = {"HEALTHRISK_HOME": str(sites / "elsewhere")}
    assert "table.csv" in refused("predict", table, "--out", sites / "out.csv", "--bundle", made.path, **elsewhere)
    assert "table.csv" in refused("drift", table, "--reference", made.path)
    # The same bytes are trained once more.
    versions.remove_alias(NAME, "champion")
    decision = sample_bundle.decision(made.spec, "logistic_regression", 0.4)
    registered, standing = placement.register_bundle(made, version.uri, decision, "", "nothing to compare")
    assert (registered.number, registered.aliases) == ("1", ())
    assert (standing.alias, standing.reason) == ("", "it is retired: wrong for women")


def test_a_retirement_is_on_record_though_the_registry_goes_away_in_the_midst(
    sites: Path, trained: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained()

    def away(name: str, alias: str) -> None:
        raise StoreError(f"the registry does not answer: {name} {alias}")

    with monkeypatch.context() as patched:
        patched.setattr(versions, "remove_alias", away)
        with pytest.raises(StoreError, match="does not answer"):
            retirement.retire(NAME, "1", "wrong for women", "me")
    assert done_to("1") == [("retired", "wrong for women; by me")]
    assert retirement.retire(NAME, "1", "another", "me").aliases == ("champion",)


def test_a_context_takes_no_place_from_another_and_leaves_nothing_behind(
    sites: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sites / "keys").write_text("AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\n")
    (sites / "contexts.yaml").write_text(
        "here: {home: dev}\nthere: {home: x, credentials: keys, endpoint: 'http://h'}\n"
    )
    monkeypatch.setenv("HEALTHRISK_CONTEXTS", str(sites / "contexts.yaml"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere")
    before = settings()
    with contexts.entered("here"):
        assert settings().tracking_uri == f"sqlite:///{sites / 'dev' / 'mlflow.db'}"
        assert "elsewhere" not in settings().s3_endpoint
    with contexts.entered("there"):
        assert (settings().home, settings().s3_endpoint) == (sites / "x", "http://h")
        assert settings().tracking_uri == f"sqlite:///{sites / 'x' / 'mlflow.db'}"
    assert settings() == before
    with pytest.raises(ConfigError, match="context 'none'"), contexts.entered("none"):
        pass

"""The compose stack as users start it. `make test-deploy` runs this; the other tests do not, for it takes minutes.

Base image and Milvus' image are those of docker-compose.yml, or BASE_IMAGE and MILVUS_IMAGE of the environment.
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from embedding.model_import import import_model
from search_api.client import ApiError, Client
from search_api.schemas import Duplicate, PutListing, PutPhoto, PutVerdict, SearchRequest
from tests.support.environment import forget_settings
from tests.support.exports import part_of_listings
from tests.support.paths import LISTINGS, WEIGHTS
from tests.support.pictures import jpeg, picture

ROOT = Path(__file__).parents[1]
forget_settings()
# Another address of this machine: a stack that is in use here keeps its ports.
ADDRESS = "127.0.0.77"
CANARY = "root:canary-of-the-deploy-test"
LASTING = ("milvus", "api", "dashboard")
UP_SECONDS = 300.0
INGEST = ("--profile", "ingest", "run", "--rm", "-T", "ingest")

pytestmark = pytest.mark.timeout(3600)


@dataclass
class Stack:
    """A stack in a clean copy of the repository, under a project name of its own."""

    folder: Path
    environment: dict[str, str]
    key: str = ""

    def run(self, *command: str, check: bool = True) -> str:
        """Standard output of a command in the copy; the rest is shown."""
        result = subprocess.run(
            command, cwd=self.folder, env=os.environ | self.environment, stdout=subprocess.PIPE, text=True, check=False
        )
        assert not check or result.returncode == 0, f"{' '.join(command)}: exit {result.returncode}\n{result.stdout}"
        return result.stdout

    def compose(self, *arguments: str, check: bool = True) -> str:
        return self.run(*compose_command(), *arguments, check=check)

    def ingest(self, *arguments: str) -> str:
        """A command of the ingest image, the export's ingest without one."""
        return self.compose(*INGEST, *arguments)

    def keys(self, *arguments: str) -> str:
        return self.compose("run", "--rm", "-T", "--entrypoint", "marketlens", "keys", "keys", *arguments)

    def containers(self, *services: str) -> list[dict[str, Any]]:
        """What Docker says of them, those that ended too."""
        ids = self.compose("ps", "--all", "--quiet", *services).split()
        found: list[dict[str, Any]] = json.loads(self.run("docker", "inspect", *ids))
        return found

    def wait_until_well(self) -> None:
        """Until every container is healthy and the API answers searches."""
        until(lambda: all(one["State"]["Health"]["Status"] == "healthy" for one in self.containers(*LASTING)))
        until(lambda: bool(self.api().ready().photos))

    def api(self) -> Client:
        return Client(f"http://{ADDRESS}:8080", self.key, tries=1)

    def kept(self) -> dict[str, Any]:
        """All that must outlive every container."""
        api = self.api()
        ours = api.listing("put-by-test")
        return {
            "photos": api.ready().photos,
            "categories": {one.category: one.photos for one in api.categories().categories},
            "listing": (ours.title, ours.price, [photo.photo_id for photo in ours.photos]),
            "its photo": len(httpx.get(api.photo_address(ours.photos[0].photo_url, 64)).raise_for_status().content),
            "verdicts": [(one.verdict_id, one.decision, one.decided_by) for one in api.verdicts().verdicts],
            "runs": [one.run_id for one in api.runs().runs],
            "dashboard's key": self.dashboard_key(),
        }

    def dashboard_key(self) -> str:
        path = "/secrets/dashboard/MARKETLENS_DASHBOARD__API_KEY"
        return self.compose("exec", "-T", "dashboard", "cat", path).strip()


def compose_command() -> list[str]:
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"]


def until(holds: Callable[[], bool]) -> None:
    """Wait for it; what it raises counts as not yet."""
    end = time.monotonic() + UP_SECONDS
    while True:
        try:
            if holds():
                return
            last: Exception = AssertionError("not yet")
        except (ApiError, httpx.HTTPError, AssertionError, KeyError) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"not within {UP_SECONDS:.0f} seconds") from last
        time.sleep(1)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 200 listings of the real export: enough for an ingest to be killed on its way."""
    if not LISTINGS.exists():
        pytest.skip(f"needs {LISTINGS}, which is not part of the repository")
    folder = part_of_listings(tmp_path_factory.mktemp("listings"), 200)
    folder.chmod(0o755)  # the container's user is another one
    return folder


@pytest.fixture(scope="module")
def stack(export: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack of a clean clone after `cp .env.example .env` and `docker compose up`."""
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no Docker engine answers")
    folder = tmp_path_factory.mktemp("clone")
    for name in subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).rstrip("\0").split("\0"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    settings = f"MARKETLENS_MILVUS__TOKEN={CANARY}\nMARKETLENS_INGEST__BATCH_SIZE=16\n"
    (folder / ".env").write_text((folder / ".env.example").read_text() + settings)
    stack = Stack(
        folder,
        {
            "COMPOSE_PROJECT_NAME": f"marketlens-test-{os.getpid()}",
            "MARKETLENS_EXPORT": str(export),
            "MARKETLENS_BIND": ADDRESS,
            "MARKETLENS_MILVUS_IMAGE": "marketlens-milvus:test",
            **{f"{name.upper()}_IMAGE": f"marketlens-{name}:test" for name in ("api", "dashboard", "ingest")},
        },
    )
    for name in ("BASE_IMAGE", "MILVUS_IMAGE"):
        default = re.search(rf"\${{{name}:-([^}}]+)}}", (ROOT / "docker-compose.yml").read_text())
        assert default
        print(f"\n{name}: {os.environ.get(name) or default[1] + ' (of docker-compose.yml)'}")
    try:
        stack.compose("--profile", "ingest", "build")
        stack.compose("up", "--detach")
        stack.key = stack.keys("create", "tester", "--scope", "admin").split()[-1]
        yield stack
    finally:
        if request.session.testsfailed:
            print(stack.compose("logs", "--tail", "40", check=False))
        stack.compose(
            "--profile", "ingest", "--profile", "monitoring", "down", "--volumes", "--timeout", "30", check=False
        )


def test_a_killed_ingest_goes_on(stack: Stack, export: Path) -> None:
    """An ingest that is killed on its way and started again leaves every photo of the export in the catalogue."""
    container = stack.compose("--profile", "ingest", "run", "--detach", "ingest").split()[-1]
    until(lambda: bool(stack.api().ready().photos))
    stack.run("docker", "kill", container)
    stack.run("docker", "rm", container)
    said = stack.ingest()
    stack.wait_until_well()
    photos = len((export / "Images.csv").read_text().splitlines()) - 1
    assert stack.api().ready().photos == photos, said


def test_a_photo_finds_its_listing(stack: Stack, export: Path) -> None:
    """A photo of the export, sent to the container, finds its own listing first."""
    _, photo, listing = (export / "Images.csv").read_text().splitlines()[7].split(",")
    sent = (export / "images" / f"{photo}.jpg").read_bytes()
    first = stack.api().search(SearchRequest(limit=5), photos=[sent]).hits[0]
    assert (first.listing_id, first.photo_id) == (listing, photo)
    assert first.score > 0.999


def test_the_dashboard_answers(stack: Stack) -> None:
    """The page comes; its key may see, not decide; and it cannot reach Milvus."""
    assert "Streamlit" in httpx.get(f"http://{ADDRESS}:8501/").raise_for_status().text
    caller = Client(f"http://{ADDRESS}:8080", stack.dashboard_key()).whoami()
    assert (caller.name, caller.scope) == ("dashboard", "read")
    reach = "import socket; socket.create_connection(('milvus', 19530), timeout=5)"
    said = stack.compose("exec", "-T", "dashboard", "python", "-c", f"try:\n {reach}\nexcept OSError: print('away')")
    assert said.strip() == "away"


def test_containers_may_do_little(stack: Stack) -> None:
    """As Docker sees it: nobody is root, nothing of a root file system can be written."""
    for one in stack.containers():
        assert int(one["Config"]["User"].split(":")[0]) > 0, one["Name"]
        assert one["HostConfig"]["ReadonlyRootfs"] is True, one["Name"]
        assert one["HostConfig"]["Privileged"] is False, one["Name"]
    for service in LASTING:
        tried = "id -u; for f in / /opt /usr /etc; do touch $f/x 2>/dev/null && echo wrote $f; done; true"
        assert stack.compose("exec", "-T", service, "sh", "-c", tried).strip() == "10001"


def test_secrets_are_in_files_alone(stack: Stack) -> None:
    """No key, and nothing of .env, is in `docker inspect`, an image's history or an image's files."""
    containers = stack.containers()
    images = sorted({one["Image"] for one in containers} | {"marketlens-ingest:test"})
    told = json.dumps(containers) + stack.run("docker", "inspect", *images)
    for image in images:
        told += stack.run("docker", "history", "--no-trunc", image)
        names = r"find / -xdev \( -name '.env*' -o -name 'api-keys*' -o -path '/secrets/*/*' \) ! -path '/proc/*'"
        assert stack.run("docker", "run", "--rm", "--user", "0", "--entrypoint", "sh", image, "-c", names) == "", image
    for secret in (CANARY, stack.key, stack.dashboard_key()):
        assert len(secret) > 20
        assert secret not in told


def test_all_is_well(stack: Stack) -> None:
    """What the runbook asks says so, and what insights finds is what the API shows."""
    assert httpx.get(f"http://{ADDRESS}:8080/readyz").status_code == 200
    stack.ingest("doctor")
    assert "finished" in stack.ingest("ingest", "status")
    stack.ingest("insights")
    until(lambda: stack.api().insights().photos == stack.api().ready().photos)


def test_another_model(stack: Stack, export: Path, tmp_path: Path) -> None:
    """Built beside the live one, checked, promoted, ingested with, rolled back and dropped, while the API answers."""
    model = tmp_path / "model"
    import_model(model, WEIGHTS)
    model.chmod(0o755)
    copy = ("--entrypoint", "sh", "ingest", "-c", "mkdir -p /data/models && cp -r /new /data/models/")
    stack.compose("--profile", "ingest", "run", "--rm", "-T", "--volume", f"{model}:/new:ro", *copy)
    old = stack.api().ready()
    stack.ingest("index", "build", "--model", "/data/models/new")
    # Not fine-tuned, it is worse, and the check says so.
    assert "Failed: the other photo of a listing" in stack.compose(*INGEST, "index", "check", check=False)
    assert stack.api().ready().collection == old.collection
    stack.ingest("index", "promote")
    until(lambda: stack.api().ready().collection != old.collection)
    new = stack.api().ready()
    assert (new.photos, new.pending) == (old.photos, None)
    assert new.model_fingerprint != old.model_fingerprint
    test_a_photo_finds_its_listing(stack, export)
    stack.environment["MARKETLENS_MODEL__PATH"] = "/data/models/new"  # as a line of .env would
    stack.ingest()
    del stack.environment["MARKETLENS_MODEL__PATH"]
    stack.ingest("index", "rollback")
    until(lambda: stack.api().ready() == old)
    assert new.collection
    stack.ingest("index", "drop", new.collection)
    assert new.collection not in stack.ingest("index", "status")


def test_a_key_is_changed(stack: Stack) -> None:
    """A revoked key ends with the next request; the dashboard goes on with its new one, and with another secret."""
    old = stack.dashboard_key()
    assert {"dashboard", "tester"} <= set(stack.keys("list").split())
    stack.keys("revoke", "dashboard")
    with pytest.raises(ApiError) as refused:
        Client(f"http://{ADDRESS}:8080", old).whoami()
    assert refused.value.status == 401
    stack.keys("rotate-secret")
    stack.compose("run", "--rm", "-T", "keys")
    stack.compose("restart", "dashboard")
    stack.wait_until_well()
    assert stack.dashboard_key() != old
    test_the_dashboard_answers(stack)


def test_prometheus_reads_both(stack: Stack) -> None:
    """It finds the API with its own key, and Milvus; it takes the alerts."""
    default = re.search(r"\${PROMETHEUS_IMAGE:-([^}]+)}", (ROOT / "docker-compose.yml").read_text())
    assert default
    image = os.environ.get("PROMETHEUS_IMAGE", default[1])
    for look in ("inspect", "pull"):
        if subprocess.run(["docker", "image", look, image], capture_output=True, check=False).returncode == 0:
            break
    else:
        pytest.skip(f"{image} can neither be found here nor pulled: PROMETHEUS_IMAGE names another")
    compose = ("--profile", "monitoring")
    try:
        stack.compose(*compose, "up", "--detach", "prometheus")
        ask = (*compose, "exec", "-T", "prometheus", "promtool")
        stack.compose(*ask, "check", "config", "/etc/prometheus/prometheus.yml")
        up = (*ask, "query", "instant", "http://127.0.0.1:9090", "sum(up) by (job)")
        until(
            lambda: (
                sorted(re.findall(r'job="(\w+)"} => 1 ', stack.compose(*up, check=False))) == ["marketlens", "milvus"]
            )
        )
    finally:
        stack.compose(*compose, "rm", "--stop", "--force", "prometheus")


@pytest.fixture(scope="module")
def kept(stack: Stack) -> dict[str, Any]:
    """What is stored, once a listing was put and a verdict given through the API."""
    put = PutListing(title="A lamp", price=12.5, currency="GBP", photos=[PutPhoto(photo_id="lamp-1", upload=0)])
    stack.api().put_listing("put-by-test", put, photos=[jpeg(picture(1))])
    stack.api().decide(PutVerdict(question=Duplicate(listing_ids=["put-by-test", "another"]), decision="reject"))
    # The counts of categories are kept for some seconds.
    until(lambda: "" in stack.kept()["categories"])
    return stack.kept()


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("service", LASTING)
def test_nothing_is_lost_with_a_container(stack: Stack, kept: dict[str, Any], service: str, how: str) -> None:
    """Each in turn is stopped and killed; what remains goes on living, and after its return all is there."""
    stack.compose(how, service)
    try:
        if service == "milvus":
            with pytest.raises(ApiError) as refused:
                stack.api().listing("put-by-test")  # is looked up each time; categories are kept for some seconds
            assert refused.value.status == 503
        if service != "api":
            assert httpx.get(f"http://{ADDRESS}:8080/livez").status_code == 200
    finally:
        stack.compose("start", service)
    stack.wait_until_well()
    assert stack.kept() == kept


def test_nothing_is_lost_with_all_containers(stack: Stack, kept: dict[str, Any]) -> None:
    """`down` and `up` again: containers are new, volumes and keys are the old ones."""
    stack.compose("down")
    stack.compose("up", "--detach")
    stack.wait_until_well()
    assert stack.kept() == kept


def test_a_lost_milvus_comes_back_from_a_backup(stack: Stack, kept: dict[str, Any]) -> None:
    """As docs/runbook.md says: Milvus with its volume is gone, an empty one takes its place and is filled."""
    stack.ingest("backup", "/data/backup")
    stack.compose("rm", "--stop", "--force", "milvus")
    stack.run("docker", "volume", "rm", f"{stack.environment['COMPOSE_PROJECT_NAME']}_milvus")
    stack.compose("up", "--detach")
    stack.ingest("restore", "/data/backup")
    stack.wait_until_well()
    assert stack.kept() == kept

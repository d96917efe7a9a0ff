"""Tests of the compose stack as users start it. They take minutes, so only `make test-deploy` runs them.

The environment variables BASE_IMAGE and MILVUS_IMAGE replace the base image and Milvus' image of docker-compose.yml.
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
from tests.support.data.exports import part_of_listings
from tests.support.data.pictures import jpeg, picture
from tests.support.environment import forget_settings
from tests.support.paths import LISTINGS, WEIGHTS

ROOT = Path(__file__).parents[1]
forget_settings()
# A separate loopback address, so that a stack running on this machine keeps its ports.
ADDRESS = "127.0.0.77"
CANARY = "root:canary-of-the-deploy-test"
SERVICES = ("milvus", "api", "dashboard")
UP_SECONDS = 300.0
INGEST = ("--profile", "ingest", "run", "--rm", "-T", "ingest")

pytestmark = pytest.mark.timeout(3600)


@dataclass
class Stack:
    """A stack in a clean copy of the repository, under its own project name."""

    folder: Path
    environment: dict[str, str]
    key: str = ""

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command in the copy; return its standard output and print the rest."""
        result = subprocess.run(
            command, cwd=self.folder, env=os.environ | self.environment, stdout=subprocess.PIPE, text=True, check=False
        )
        assert not check or result.returncode == 0, f"{' '.join(command)}: exit {result.returncode}\n{result.stdout}"
        return result.stdout

    def compose(self, *arguments: str, check: bool = True) -> str:
        return self.run(*compose_command(), *arguments, check=check)

    def ingest(self, *arguments: str) -> str:
        """Run a command of the ingest image; without arguments, ingest the export."""
        return self.compose(*INGEST, *arguments)

    def keys(self, *arguments: str) -> str:
        return self.compose("run", "--rm", "-T", "--entrypoint", "marketlens", "keys", "keys", *arguments)

    def containers(self, *services: str) -> list[dict[str, Any]]:
        """Return `docker inspect` of the containers, including stopped ones."""
        ids = self.compose("ps", "--all", "--quiet", *services).split()
        containers: list[dict[str, Any]] = json.loads(self.run("docker", "inspect", *ids))
        return containers

    def wait_until_healthy(self) -> None:
        """Wait until every container is healthy and the API answers searches."""
        wait_until(
            lambda: all(container["State"]["Health"]["Status"] == "healthy" for container in self.containers(*SERVICES))
        )
        wait_until(lambda: bool(self.api().ready().photos))

    def api(self) -> Client:
        return Client(f"http://{ADDRESS}:8080", self.key, tries=1)

    def stored_state(self) -> dict[str, Any]:
        """Return everything that must survive the loss of any container."""
        api = self.api()
        listing = api.listing("put-by-test")
        photo = httpx.get(api.photo_address(listing.photos[0].photo_url, 64)).raise_for_status()
        return {
            "photos": api.ready().photos,
            "categories": {category.category: category.photos for category in api.categories().categories},
            "listing": (listing.title, listing.price, [photo.photo_id for photo in listing.photos]),
            "its photo": len(photo.content),
            "verdicts": [
                (verdict.verdict_id, verdict.decision, verdict.decided_by) for verdict in api.verdicts().verdicts
            ],
            "runs": [run.run_id for run in api.runs().runs],
            "dashboard's key": self.dashboard_key(),
        }

    def dashboard_key(self) -> str:
        path = "/secrets/dashboard/MARKETLENS_DASHBOARD__API_KEY"
        return self.compose("exec", "-T", "dashboard", "cat", path).strip()


def compose_command() -> list[str]:
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"]


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true; errors count as false."""
    end = time.monotonic() + UP_SECONDS
    while True:
        try:
            if condition():
                return
            last: Exception = AssertionError("not yet")
        except (ApiError, httpx.HTTPError, AssertionError, KeyError) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"not true within {UP_SECONDS:.0f} seconds") from last
        time.sleep(1)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 200 listings of the real export: enough to kill an ingest halfway."""
    if not LISTINGS.exists():
        pytest.skip(f"needs {LISTINGS}, which is not part of the repository")
    folder = part_of_listings(tmp_path_factory.mktemp("listings"), 200)
    folder.chmod(0o755)  # the container runs as another user
    return folder


@pytest.fixture(scope="module")
def stack(export: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack of a clean clone after `cp .env.example .env` and `docker compose up`."""
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no Docker engine answered")
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


def test_a_killed_ingest_resumes(stack: Stack, export: Path) -> None:
    """An ingest that is killed halfway and started again leaves every photo of the export in the catalogue."""
    container = stack.compose("--profile", "ingest", "run", "--detach", "ingest").split()[-1]
    wait_until(lambda: bool(stack.api().ready().photos))
    stack.run("docker", "kill", container)
    stack.run("docker", "rm", container)
    output = stack.ingest()
    stack.wait_until_healthy()
    photos = len((export / "Images.csv").read_text().splitlines()) - 1
    assert stack.api().ready().photos == photos, output


def test_a_photo_finds_its_listing(stack: Stack, export: Path) -> None:
    """A search by a photo of the export returns its listing first."""
    _, photo, listing = (export / "Images.csv").read_text().splitlines()[7].split(",")
    upload = (export / "images" / f"{photo}.jpg").read_bytes()
    first = stack.api().search(SearchRequest(limit=5), photos=[upload]).hits[0]
    assert (first.listing_id, first.photo_id) == (listing, photo)
    assert first.score > 0.999


def test_the_dashboard_answers(stack: Stack) -> None:
    """The dashboard serves its page; its key has read scope; it cannot reach Milvus."""
    assert "Streamlit" in httpx.get(f"http://{ADDRESS}:8501/").raise_for_status().text
    caller = Client(f"http://{ADDRESS}:8080", stack.dashboard_key()).whoami()
    assert (caller.name, caller.scope) == ("dashboard", "read")
    connect = "import socket; socket.create_connection(('milvus', 19530), timeout=5)"
    script = f"try:\n {connect}\nexcept OSError: print('unreachable')"
    assert stack.compose("exec", "-T", "dashboard", "python", "-c", script).strip() == "unreachable"


def test_containers_are_unprivileged(stack: Stack) -> None:
    """No container runs as root, is privileged, or can write to its root file system."""
    for container in stack.containers():
        assert int(container["Config"]["User"].split(":")[0]) > 0, container["Name"]
        assert container["HostConfig"]["ReadonlyRootfs"] is True, container["Name"]
        assert container["HostConfig"]["Privileged"] is False, container["Name"]
    for service in SERVICES:
        script = "id -u; for f in / /opt /usr /etc; do touch $f/x 2>/dev/null && echo wrote $f; done; true"
        assert stack.compose("exec", "-T", service, "sh", "-c", script).strip() == "10001"


def test_secrets_are_only_in_files(stack: Stack) -> None:
    """No key and no setting from .env is in `docker inspect`, an image's history or an image's files."""
    containers = stack.containers()
    images = sorted({container["Image"] for container in containers} | {"marketlens-ingest:test"})
    output = json.dumps(containers) + stack.run("docker", "inspect", *images)
    for image in images:
        output += stack.run("docker", "history", "--no-trunc", image)
        find = r"find / -xdev \( -name '.env*' -o -name 'api-keys*' -o -path '/secrets/*/*' \) ! -path '/proc/*'"
        assert stack.run("docker", "run", "--rm", "--user", "0", "--entrypoint", "sh", image, "-c", find) == "", image
    for secret in (CANARY, stack.key, stack.dashboard_key()):
        assert len(secret) > 20
        assert secret not in output


def test_the_stack_is_healthy(stack: Stack) -> None:
    """The runbook's checks pass, and the API shows the computed insights."""
    assert httpx.get(f"http://{ADDRESS}:8080/readyz").status_code == 200
    stack.ingest("doctor")
    assert "finished" in stack.ingest("ingest", "status")
    stack.ingest("insights")
    wait_until(lambda: stack.api().insights().photos == stack.api().ready().photos)


def test_another_model(stack: Stack, export: Path, tmp_path: Path) -> None:
    """A build with another model is checked, promoted, ingested into, rolled back and dropped while the API serves."""
    model = tmp_path / "model"
    import_model(model, WEIGHTS)
    model.chmod(0o755)
    copy = ("--entrypoint", "sh", "ingest", "-c", "mkdir -p /data/models && cp -r /new /data/models/")
    stack.compose("--profile", "ingest", "run", "--rm", "-T", "--volume", f"{model}:/new:ro", *copy)
    old = stack.api().ready()
    stack.ingest("index", "build", "--model", "/data/models/new")
    # The model is not fine-tuned, so it is worse, and the check reports it.
    assert "Failed: the other photo of a listing" in stack.compose(*INGEST, "index", "check", check=False)
    assert stack.api().ready().collection == old.collection
    stack.ingest("index", "promote")
    wait_until(lambda: stack.api().ready().collection != old.collection)
    new = stack.api().ready()
    assert (new.photos, new.pending) == (old.photos, None)
    assert new.model_fingerprint != old.model_fingerprint
    test_a_photo_finds_its_listing(stack, export)
    stack.environment["MARKETLENS_MODEL__PATH"] = "/data/models/new"  # as a line of .env would
    stack.ingest()
    del stack.environment["MARKETLENS_MODEL__PATH"]
    stack.ingest("index", "rollback")
    wait_until(lambda: stack.api().ready() == old)
    assert new.collection
    stack.ingest("index", "drop", new.collection)
    assert new.collection not in stack.ingest("index", "status")


def test_a_key_is_replaced(stack: Stack) -> None:
    """A revoked key is refused at the next request; the dashboard works with a new key and a new signing secret."""
    old = stack.dashboard_key()
    assert {"dashboard", "tester"} <= set(stack.keys("list").split())
    stack.keys("revoke", "dashboard")
    with pytest.raises(ApiError) as refused:
        Client(f"http://{ADDRESS}:8080", old).whoami()
    assert refused.value.status == 401
    stack.keys("rotate-secret")
    stack.compose("run", "--rm", "-T", "keys")
    stack.compose("restart", "dashboard")
    stack.wait_until_healthy()
    assert stack.dashboard_key() != old
    test_the_dashboard_answers(stack)


def test_prometheus_scrapes_api_and_milvus(stack: Stack) -> None:
    """Prometheus scrapes the API with its own key, and Milvus; it accepts the alert rules."""
    default = re.search(r"\${PROMETHEUS_IMAGE:-([^}]+)}", (ROOT / "docker-compose.yml").read_text())
    assert default
    image = os.environ.get("PROMETHEUS_IMAGE", default[1])
    for command in ("inspect", "pull"):
        if subprocess.run(["docker", "image", command, image], capture_output=True, check=False).returncode == 0:
            break
    else:
        pytest.skip(f"{image} is neither here nor can it be pulled: set PROMETHEUS_IMAGE to another image")
    compose = ("--profile", "monitoring")
    try:
        stack.compose(*compose, "up", "--detach", "prometheus")
        promtool = (*compose, "exec", "-T", "prometheus", "promtool")
        stack.compose(*promtool, "check", "config", "/etc/prometheus/prometheus.yml")
        up = (*promtool, "query", "instant", "http://127.0.0.1:9090", "sum(up) by (job)")
        wait_until(
            lambda: (
                sorted(re.findall(r'job="(\w+)"} => 1 ', stack.compose(*up, check=False))) == ["marketlens", "milvus"]
            )
        )
    finally:
        stack.compose(*compose, "rm", "--stop", "--force", "prometheus")


@pytest.fixture(scope="module")
def stored_state(stack: Stack) -> dict[str, Any]:
    """The stored state after the API has received a listing and a verdict."""
    put = PutListing(title="A lamp", price=12.5, currency="GBP", photos=[PutPhoto(photo_id="lamp-1", upload=0)])
    stack.api().put_listing("put-by-test", put, photos=[jpeg(picture(1))])
    stack.api().decide(PutVerdict(question=Duplicate(listing_ids=["put-by-test", "another"]), decision="reject"))
    # The API caches category counts for some seconds.
    wait_until(lambda: "" in stack.stored_state()["categories"])
    return stack.stored_state()


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("service", SERVICES)
def test_nothing_is_lost_with_a_container(stack: Stack, stored_state: dict[str, Any], service: str, how: str) -> None:
    """Stop and kill each container in turn: the others stay alive, and after its restart no data is lost."""
    stack.compose(how, service)
    try:
        if service == "milvus":
            with pytest.raises(ApiError) as refused:
                stack.api().listing("put-by-test")  # not cached, unlike category counts
            assert refused.value.status == 503
        if service != "api":
            assert httpx.get(f"http://{ADDRESS}:8080/livez").status_code == 200
    finally:
        stack.compose("start", service)
    stack.wait_until_healthy()
    assert stack.stored_state() == stored_state


def test_nothing_is_lost_with_all_containers(stack: Stack, stored_state: dict[str, Any]) -> None:
    """After `down` and `up`, new containers use the old volumes and keys."""
    stack.compose("down")
    stack.compose("up", "--detach")
    stack.wait_until_healthy()
    assert stack.stored_state() == stored_state


def test_a_lost_milvus_is_restored_from_a_backup(stack: Stack, stored_state: dict[str, Any]) -> None:
    """As in docs/runbook.md: Milvus and its volume are lost, and a backup is restored into an empty Milvus."""
    stack.ingest("backup", "/data/backup")
    stack.compose("rm", "--stop", "--force", "milvus")
    stack.run("docker", "volume", "rm", f"{stack.environment['COMPOSE_PROJECT_NAME']}_milvus")
    stack.compose("up", "--detach")
    stack.ingest("restore", "/data/backup")
    stack.wait_until_healthy()
    assert stack.stored_state() == stored_state

"""What deploys marketlens keeps its promises, as far as files can show: nothing here needs Docker or a cluster."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from catalog.settings import Settings
from search_api.telemetry.metrics import Metrics
from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = "1.30"
CHART = DEPLOY / "helm" / "marketlens"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
RUN_ONCE = {"keys", "monitoring-keys", "ingest"}
# What PyPI's packages call themselves, without extras and versions.
NAME = re.compile(r"[A-Za-z0-9._-]+")


def setting_names(group: type[BaseModel] = Settings, prefix: str = "MARKETLENS_") -> Iterator[str]:
    """Every variable that the settings know."""
    for name, field in group.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from setting_names(field.annotation, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}"


def compose_variables() -> set[str]:
    return set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))


def stages() -> dict[str, str]:
    """The Dockerfile's stages with their instructions, those of the stages they begin from before their own."""
    found: dict[str, str] = {}
    text = (DEPLOY / "Dockerfile").read_text()
    for base, name, body in re.findall(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)", text, re.M | re.S):
        found[name] = found.get(base, "") + body
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_every_container_may_do_little(service: str) -> None:
    """Not root, nothing of its root file system to write to, no capabilities, limits, and bounded logs."""
    said = SERVICES[service]
    assert int(said["user"].split(":")[0]) > 0
    assert said["read_only"] is True
    assert said["cap_drop"] == ["ALL"]
    assert "cap_add" not in said
    assert "privileged" not in said
    assert "no-new-privileges:true" in said["security_opt"]
    assert said["mem_limit"]
    assert said["cpus"]
    assert said["pids_limit"]
    assert said["logging"]["options"]["max-size"]


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_says_how_it_is(service: str) -> None:
    """What stays up has a health check; what runs once has its exit status, and is not started again."""
    said = SERVICES[service]
    if service in RUN_ONCE:
        assert said["healthcheck"] == {"disable": True}
        assert said["restart"] == "no"
    else:
        assert said["healthcheck"]["test"][0] == "CMD"
        assert said["restart"] == "unless-stopped"


def test_what_waits_for_what() -> None:
    """A service starts when those it needs answer, not when they are started; none waits for one of another profile."""
    for name, said in SERVICES.items():
        for other, how in said.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in RUN_ONCE else "service_healthy"
            assert how == {"condition": wanted}, f"{name} -> {other}"
            assert set(SERVICES[other].get("profiles", ())) <= set(said.get("profiles", ()))
    assert set(SERVICES["api"]["depends_on"]) == {"milvus", "keys"}
    assert set(SERVICES["dashboard"]["depends_on"]) == {"api"}


def test_two_ports_on_this_machine_alone() -> None:
    """API and dashboard are published, on loopback by default; Milvus, Prometheus and Grafana are not."""
    published = {name: said["ports"] for name, said in SERVICES.items() if "ports" in said}
    assert published == {
        "api": ["${MARKETLENS_BIND:-127.0.0.1}:8080:8080"],
        "dashboard": ["${MARKETLENS_BIND:-127.0.0.1}:8501:8501"],
    }
    assert not any(said.get("network_mode") == "host" for said in SERVICES.values())
    assert COMPOSE["networks"]["backend"]["internal"] is True
    assert SERVICES["milvus"]["networks"] == ["backend"]
    assert "backend" not in SERVICES["dashboard"]["networks"]


def test_no_secret_is_in_an_environment() -> None:
    """`docker inspect` shows environments. Secrets come as files, and .env with them is a file too."""
    for name, said in SERVICES.items():
        assert "env_file" not in said, name
        for variable in said.get("environment", {}):
            is_secret = re.search(r"TOKEN|PASSWORD|SECRET|API_KEY|VERDICTS__URL|ACCESS_KEY", variable)
            assert not is_secret or variable.endswith(("__FILE", "_DIR")), f"{name}: {variable}"
        for argument in said.get("build", {}).get("args", {}):
            assert not re.search(r"TOKEN|PASSWORD|SECRET|KEY", argument), f"{name}: {argument}"
    mounts = {
        name: [one for one in said.get("volumes", ()) if one.startswith("keys:")] for name, said in SERVICES.items()
    }
    assert {name: where for name, where in mounts.items() if where} == {
        "keys": ["keys:/keys"],
        "monitoring-keys": ["keys:/keys"],
        "api": ["keys:/keys:ro"],
    }


def test_every_volume_and_image_is_named() -> None:
    """A volume is named at the end of the file, or a path; an image of others has a version."""
    for name, said in SERVICES.items():
        for mount in said.get("volumes", ()):
            source = re.sub(r"\$\{[^}]*:-([^}]*)\}", r"\1", mount).split(":")[0]
            assert source.startswith("./") or source in COMPOSE["volumes"], f"{name}: {mount}"
        if "build" not in said:
            assert re.search(r":v?\d+\.\d+\.\d+\}$", said["image"]), f"{name}: {said['image']}"


@pytest.mark.parametrize("target", ["api", "dashboard", "ingest"])
def test_images_are_not_roots(target: str) -> None:
    """The last user of an image is a number that is not 0: Kubernetes cannot tell whether a name is root's."""
    said = stages()[target]
    users = re.findall(r"^USER (\S+)", said, re.M)
    assert users
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    assert re.search(r"^HEALTHCHECK ", said, re.M)
    assert "ARG PIP" not in said, "an address with a password would stay in the image's history"
    assert "curl" not in said


def test_images_name_no_index() -> None:
    """Base and index are arguments; whoever builds says where they come from."""
    for path in (DEPLOY / "Dockerfile", DEPLOY / "milvus" / "Dockerfile", ROOT / "docker-compose.yml"):
        assert not re.search(r"https?://(?!127\.0\.0\.1|milvus:|api:)", path.read_text()), path
    bases = set(re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.M)) - set(stages())
    assert bases == {"${BASE_IMAGE}"}


def test_figures_that_are_drawn_exist() -> None:
    """Alerts and Grafana's panels ask for nothing that the service does not tell."""
    told = {sample for family in Metrics().families() for sample in _sample_names(family.name, family.type)}
    panels = json.loads((DEPLOY / "grafana" / "dashboards" / "marketlens.json").read_text())["panels"]
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    asked += [rule["expr"] for group in rules for rule in group["rules"]]
    asked += [(CHART / "templates" / "api.yaml").read_text()]
    names = {name for expression in asked for name in re.findall(r"\bmarketlens_\w+", expression)}
    assert len(names) > 8
    assert names <= told


def _sample_names(name: str, kind: str) -> list[str]:
    ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return [name + end for end in ends.get(kind, ("",))]


def test_the_example_names_every_setting() -> None:
    """.env.example has each setting once, or one of the compose file's variables; nothing that means nothing."""
    named = re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M)
    assert set(setting_names()) <= set(named)
    assert set(named) <= set(setting_names()) | compose_variables() | {"DASHBOARD_SCOPE"}


def test_containers_are_told_settings_that_exist() -> None:
    """A misspelt variable would be ignored."""
    told = {name for said in SERVICES.values() for name in said.get("environment", {})}
    told |= set(re.findall(r"MARKETLENS_[A-Z_]+", (DEPLOY / "Dockerfile").read_text()))
    for path in CHART.rglob("*.yaml"):
        told |= set(re.findall(r"MARKETLENS_[A-Z_]+", path.read_text()))
    told = {name for name in told if name.startswith("MARKETLENS_")}
    assert told
    assert told <= {*setting_names(), "MARKETLENS_SECRETS_DIR"}


def chart_values() -> list[Path]:
    return sorted(CHART.glob("values*.yaml"))


def test_the_charts_schema_knows_every_value() -> None:
    """Each size's values fit it, it has the very values of values.yaml, and refuses what is misspelt or secret."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert len(chart_values()) == 4
    for path in chart_values():
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(schema["properties"]) - {"global"} == set(values)
    for name, group in values.items():
        if isinstance(group, dict) and name != "settings":
            assert set(schema["properties"][name]["properties"]) == set(group), name
    for wrong in ({"api": {"replica": 2}}, {"settings": {"MARKETLENS_MILVUS__TOKEN": "root:secret"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


@pytest.mark.slow
@pytest.mark.parametrize("values", chart_values(), ids=lambda path: path.stem)
def test_the_chart_renders(values: Path) -> None:
    """`helm lint` finds nothing, each size is valid for Kubernetes; pods are restricted, limited, tokenless."""
    helm = pytest.importorskip("helm_python.chart", reason="make test-slow installs what renders the chart")
    import kubernetes_validate

    chart = helm.Chart.load(CHART)
    given = yaml.safe_load(values.read_text())
    assert helm.lint(CHART, given, strict=True)["errors"] == []
    chart.validate_schema(given)
    rendered = chart.render(given, name="shop")
    found = [
        one for name, text in rendered.items() if name.endswith(".yaml") for one in yaml.safe_load_all(text) if one
    ]
    for one in found:
        group = one["apiVersion"].partition("/")[0]
        if "." not in group or group.endswith(".k8s.io"):  # not those of KubeRay and Prometheus' operator
            kubernetes_validate.validate(one, KUBERNETES, strict=True)
    pods = [pod for one in found for pod in _pods(one)]
    assert len(pods) >= 2
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            may = container["securityContext"]
            assert may["readOnlyRootFilesystem"] is True
            assert may["allowPrivilegeEscalation"] is False
            assert may["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert {"api", "dashboard", "ingest"} == {
        one["metadata"]["name"].removeprefix("shop-") for one in found if one["kind"] == "NetworkPolicy"
    }


def _pods(thing: Any) -> Iterator[dict[str, Any]]:
    """Every pod's specification in a manifest, however deep."""
    if isinstance(thing, dict):
        if "containers" in thing:
            yield thing
        for value in thing.values():
            yield from _pods(value)
    elif isinstance(thing, list):
        for value in thing:
            yield from _pods(value)

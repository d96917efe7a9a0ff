"""Checks of the deployment files that need neither Docker nor a cluster."""

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


def setting_names(group: type[BaseModel] = Settings, prefix: str = "MARKETLENS_") -> Iterator[str]:
    """Yield the name of every environment variable of the settings."""
    for name, field in group.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from setting_names(field.annotation, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}"


def compose_variables() -> set[str]:
    return set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))


def stages() -> dict[str, str]:
    """Return the Dockerfile's stages with their instructions, each preceded by those of its base stage."""
    found: dict[str, str] = {}
    text = (DEPLOY / "Dockerfile").read_text()
    for base, name, body in re.findall(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)", text, re.M | re.S):
        found[name] = found.get(base, "") + body
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_every_container_may_do_little(service: str) -> None:
    """Not root, a read-only root file system, no capabilities, resource limits, and bounded logs."""
    config = SERVICES[service]
    assert int(config["user"].split(":")[0]) > 0
    assert config["read_only"] is True
    assert config["cap_drop"] == ["ALL"]
    assert "cap_add" not in config
    assert "privileged" not in config
    assert "no-new-privileges:true" in config["security_opt"]
    assert config["mem_limit"]
    assert config["cpus"]
    assert config["pids_limit"]
    assert config["logging"]["options"]["max-size"]


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_reports_its_health(service: str) -> None:
    """A long-running service has a health check; a one-off service has its exit status and is not restarted."""
    config = SERVICES[service]
    if service in RUN_ONCE:
        assert config["healthcheck"] == {"disable": True}
        assert config["restart"] == "no"
    else:
        assert config["healthcheck"]["test"][0] == "CMD"
        assert config["restart"] == "unless-stopped"


def test_start_order() -> None:
    """A service starts when its dependencies are healthy, not merely started; none depends on another profile."""
    for name, config in SERVICES.items():
        for other, condition in config.get("depends_on", {}).items():
            expected = "service_completed_successfully" if other in RUN_ONCE else "service_healthy"
            assert condition == {"condition": expected}, f"{name} -> {other}"
            assert set(SERVICES[other].get("profiles", ())) <= set(config.get("profiles", ()))
    assert set(SERVICES["api"]["depends_on"]) == {"milvus", "keys"}
    assert set(SERVICES["dashboard"]["depends_on"]) == {"api"}


def test_only_two_ports_are_published() -> None:
    """API and dashboard are published, by default on loopback; Milvus, Prometheus and Grafana are not."""
    published = {name: config["ports"] for name, config in SERVICES.items() if "ports" in config}
    assert published == {
        "api": ["${MARKETLENS_BIND:-127.0.0.1}:8080:8080"],
        "dashboard": ["${MARKETLENS_BIND:-127.0.0.1}:8501:8501"],
    }
    assert not any(config.get("network_mode") == "host" for config in SERVICES.values())
    assert COMPOSE["networks"]["backend"]["internal"] is True
    assert SERVICES["milvus"]["networks"] == ["backend"]
    assert "backend" not in SERVICES["dashboard"]["networks"]


def test_no_secret_is_in_an_environment() -> None:
    """`docker inspect` shows environments, so secrets are passed as files, and no service loads .env."""
    for name, config in SERVICES.items():
        assert "env_file" not in config, name
        for variable in config.get("environment", {}):
            is_secret = re.search(r"TOKEN|PASSWORD|SECRET|API_KEY|VERDICTS__URL|ACCESS_KEY", variable)
            assert not is_secret or variable.endswith(("__FILE", "_DIR")), f"{name}: {variable}"
        for argument in config.get("build", {}).get("args", {}):
            assert not re.search(r"TOKEN|PASSWORD|SECRET|KEY", argument), f"{name}: {argument}"
    mounts = {
        name: [volume for volume in config.get("volumes", ()) if volume.startswith("keys:")]
        for name, config in SERVICES.items()
    }
    assert {name: volumes for name, volumes in mounts.items() if volumes} == {
        "keys": ["keys:/keys"],
        "monitoring-keys": ["keys:/keys"],
        "api": ["keys:/keys:ro"],
    }


def test_every_volume_and_image_is_named() -> None:
    """A volume is declared at the end of the file, or is a path; third-party images have a version."""
    for name, config in SERVICES.items():
        for mount in config.get("volumes", ()):
            source = re.sub(r"\$\{[^}]*:-([^}]*)\}", r"\1", mount).split(":")[0]
            assert source.startswith("./") or source in COMPOSE["volumes"], f"{name}: {mount}"
        if "build" not in config:
            assert re.search(r":v?\d+\.\d+\.\d+\}$", config["image"]), f"{name}: {config['image']}"


@pytest.mark.parametrize("target", ["api", "dashboard", "ingest"])
def test_images_do_not_run_as_root(target: str) -> None:
    """The last user of an image is a number other than 0: Kubernetes cannot tell whether a name means root."""
    instructions = stages()[target]
    users = re.findall(r"^USER (\S+)", instructions, re.M)
    assert users
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    assert re.search(r"^HEALTHCHECK ", instructions, re.M)
    assert "ARG PIP" not in instructions, "a URL with a password would stay in the image's history"
    assert "curl" not in instructions


def test_images_name_no_index() -> None:
    """Base image and package index are arguments of the build."""
    for path in (DEPLOY / "Dockerfile", DEPLOY / "milvus" / "Dockerfile", ROOT / "docker-compose.yml"):
        assert not re.search(r"https?://(?!127\.0\.0\.1|milvus:|api:)", path.read_text()), path
    bases = set(re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.M)) - set(stages())
    assert bases == {"${BASE_IMAGE}"}


def test_metrics_in_panels_and_alerts_exist() -> None:
    """Alerts and Grafana panels use only metrics that the service exposes."""
    exposed = {sample for family in Metrics().families() for sample in _sample_names(family.name, family.type)}
    panels = json.loads((DEPLOY / "grafana" / "dashboards" / "marketlens.json").read_text())["panels"]
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    expressions += [rule["expr"] for group in rules for rule in group["rules"]]
    expressions += [(CHART / "templates" / "api.yaml").read_text()]
    names = {name for expression in expressions for name in re.findall(r"\bmarketlens_\w+", expression)}
    assert len(names) > 8
    assert names <= exposed


def _sample_names(name: str, kind: str) -> list[str]:
    ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return [name + end for end in ends.get(kind, ("",))]


def test_the_example_names_every_setting() -> None:
    """.env.example names every setting, and besides them only variables of the compose file."""
    named = re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M)
    assert set(setting_names()) <= set(named)
    assert set(named) <= set(setting_names()) | compose_variables() | {"DASHBOARD_SCOPE"}


def test_containers_get_settings_that_exist() -> None:
    """A misspelt variable would be ignored."""
    variables = {name for config in SERVICES.values() for name in config.get("environment", {})}
    variables |= set(re.findall(r"MARKETLENS_[A-Z_]+", (DEPLOY / "Dockerfile").read_text()))
    for path in CHART.rglob("*.yaml"):
        variables |= set(re.findall(r"MARKETLENS_[A-Z_]+", path.read_text()))
    variables = {name for name in variables if name.startswith("MARKETLENS_")}
    assert variables
    assert variables <= {*setting_names(), "MARKETLENS_SECRETS_DIR"}


def values_files() -> list[Path]:
    return sorted(CHART.glob("values*.yaml"))


def test_the_chart_schema_covers_every_value() -> None:
    """It accepts each size's values, has exactly the keys of values.yaml, and refuses misspelt keys and secrets."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert len(values_files()) == 4
    for path in values_files():
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
@pytest.mark.parametrize("values", values_files(), ids=lambda path: path.stem)
def test_the_chart_renders(values: Path) -> None:
    """`helm lint` finds no error, each size is valid for Kubernetes; pods are restricted, limited, without tokens."""
    helm = pytest.importorskip("helm_python.chart", reason="make test-slow installs the package that renders the chart")
    import kubernetes_validate

    chart = helm.Chart.load(CHART)
    chart_values = yaml.safe_load(values.read_text())
    assert helm.lint(CHART, chart_values, strict=True)["errors"] == []
    chart.validate_schema(chart_values)
    rendered = chart.render(chart_values, name="shop")
    manifests = [
        manifest
        for name, text in rendered.items()
        if name.endswith(".yaml")
        for manifest in yaml.safe_load_all(text)
        if manifest
    ]
    for manifest in manifests:
        group = manifest["apiVersion"].partition("/")[0]
        if "." not in group or group.endswith(".k8s.io"):  # not those of KubeRay and the Prometheus operator
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    pods = [pod for manifest in manifests for pod in _pods(manifest)]
    assert len(pods) >= 2
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert {"api", "dashboard", "ingest"} == {
        manifest["metadata"]["name"].removeprefix("shop-")
        for manifest in manifests
        if manifest["kind"] == "NetworkPolicy"
    }


def _pods(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every pod specification in a manifest, at any depth."""
    if isinstance(node, dict):
        if "containers" in node:
            yield node
        for value in node.values():
            yield from _pods(value)
    elif isinstance(node, list):
        for value in node:
            yield from _pods(value)

"""Test the files for Docker Compose and Kubernetes against the schemas of these tools."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

import loadgen.cli.serve  # noqa: F401  adds its command
from analysis import extras
from loadgen.cli.app import app
from loadgen.run.options import JOIN_MASTER, JOIN_WORKER
from tests.paths import REPO

DEPLOY = REPO / "docs" / "deploy"


def documents(name: str) -> list[dict[str, Any]]:
    loaded = list(YAML(typ="safe").load_all((DEPLOY / name).read_text()))
    assert loaded
    return loaded


JOBS = documents("kubernetes/jobs.yaml")
(OPERATED,) = documents("kubernetes/locusttest.yaml")
(COMPOSE,) = documents("compose.yaml")


def test_the_compose_file_is_one_by_the_compose_specification(tmp_path: Path) -> None:
    def checked(path: Path) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
        return subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)

    done = checked(DEPLOY / "compose.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / "compose.yaml"
    wrong.write_text((DEPLOY / "compose.yaml").read_text().replace("stop_grace_period:", "stop_grace:"))
    assert checked(wrong).returncode != 0


@pytest.mark.parametrize("document", JOBS, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_the_manifests_are_what_kubernetes_takes(document: dict[str, Any]) -> None:
    import kubernetes_validate

    for version in ("1.30", "1.34"):
        kubernetes_validate.validate(document, version, strict=True)


def test_a_mistake_in_a_manifest_would_be_found() -> None:
    import kubernetes_validate

    wrong = {**JOBS[-1], "spec": {**JOBS[-1]["spec"], "parallel": 4}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.34", strict=True)


#: For each part of a resource of the operator's API locust.io/v2, its members and its required members (source: the
#: operator's api/v2/locusttest_types.go). Parts that Kubernetes defines are checked in the pod that the operator makes.
_PARTS: dict[str, tuple[set[str], set[str]]] = {
    "spec": (
        {"image", "imagePullPolicy", "imagePullSecrets", "master", "worker", "testFiles", "scheduling", "env"}
        | {"volumes", "volumeMounts", "security", "observability"},
        {"image", "master", "worker"},
    ),
    "master": (
        {"command", "resources", "labels", "annotations", "autostart", "autoquit", "extraArgs"},
        {"command"},
    ),
    "worker": (
        {"command", "replicas", "resources", "labels", "annotations", "extraArgs"},
        {"command", "replicas"},
    ),
    "env": ({"configMapRefs", "secretRefs", "variables", "secretMounts"}, set()),
    "scheduling": ({"affinity", "tolerations", "nodeSelector", "runtimeClassName"}, set()),
    "security": ({"podSecurityContext", "containerSecurityContext"}, set()),
}


def test_the_operators_resource_has_the_members_of_its_api_and_makes_valid_pods() -> None:
    import kubernetes_validate

    assert (OPERATED["apiVersion"], OPERATED["kind"]) == ("locust.io/v2", "LocustTest")
    spec = OPERATED["spec"]
    for name, (known, required) in _PARTS.items():
        part = spec if name == "spec" else spec[name]
        assert required <= set(part) <= known, name
    assert set(spec["master"]["autoquit"]) <= {"enabled", "timeout"}
    assert 1 <= spec["worker"]["replicas"] <= 500
    for role in ("master", "worker"):
        mounts = [
            {name: value for name, value in mount.items() if name != "target"}
            for mount in spec["volumeMounts"]
            if mount["target"] in (role, "both")
        ]
        container = {
            "name": "locust",
            "image": spec["image"],
            "args": [*spec[role]["command"].split(), *spec[role].get("extraArgs", [])],
            "env": spec["env"]["variables"],
            "resources": spec[role]["resources"],
            "securityContext": spec["security"]["containerSecurityContext"],
            "volumeMounts": mounts,
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": role},
            "spec": {
                "containers": [container],
                "volumes": spec["volumes"],
                "affinity": spec["scheduling"]["affinity"],
                "securityContext": spec["security"]["podSecurityContext"],
            },
        }
        kubernetes_validate.validate(pod, "1.34", strict=True)


def commands() -> list[list[str]]:
    """Return every loadgen command line in the files, with the default values of their variables."""
    found = [service["command"] for service in COMPOSE["services"].values()]
    found += [
        container["args"]
        for document in JOBS
        if document["kind"] == "Job"
        for container in document["spec"]["template"]["spec"]["containers"]
    ]
    return [[re.sub(r"\$\{\w+:-(.*?)\}", r"\1", part) for part in command] for command in found]


@pytest.mark.parametrize("command", commands(), ids=lambda each: " ".join(each[:3]))
def test_every_command_is_one_that_loadgen_understands(command: list[str]) -> None:
    # The arguments before --help are parsed too, so an unknown option among them is an error.
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0, result.output
    options = {part.split("=")[0] for part in command if part.startswith("--")}
    assert all(option in result.output or option[:24] in result.output for option in options), command


def test_the_operators_arguments_are_locusts_and_ours() -> None:
    spec = OPERATED["spec"]
    master = [*spec["master"]["command"].split(), "--master", "--master-port=5557", "--expect-workers=4"]
    master += ["--enable-rebalancing", "--only-summary", *spec["master"]["extraArgs"]]
    worker = [*spec["worker"]["command"].split(), "--worker", "--master-port=5557", "--master-host=it"]
    code = (
        "import json, sys\n"
        "from loadgen.run.install import install\n"
        "install()\n"
        "from locust.argument_parser import get_parser\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    try:\n"
        "        get_parser().parse_args(arguments)\n"
        "        print('good')\n"
        "    except SystemExit:\n"
        "        print('bad')\n"
    )
    asked = json.dumps([master, worker, [*worker, "--no-such-option"]])
    done = subprocess.run([sys.executable, "-c", code, asked], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["good", "good", "bad"], done.stderr


def test_no_file_holds_a_secret_and_all_take_it_from_the_platform() -> None:
    for container in (
        document["spec"]["template"]["spec"]["containers"][0]
        for document in JOBS
        if document["kind"] == "Job"
    ):
        (key,) = (entry for entry in container["env"] if entry["name"] == "EVENTS_API_KEY")
        assert "value" not in key
        assert key["valueFrom"]["secretKeyRef"]["name"] == "events-api"
    for service in COMPOSE["services"].values():
        assert service["environment"]["EVENTS_API_KEY"].startswith("${EVENTS_API_KEY:?")
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            assert not re.search(r"da2-[a-z0-9]{8}", path.read_text())


def test_master_and_workers_each_get_their_own_half_of_the_keys_and_nothing_else_reaches_the_port() -> None:
    policies = {}
    for document in JOBS:
        if document["kind"] == "NetworkPolicy":
            policies[document["metadata"]["name"]] = document["spec"]
        if document["kind"] != "Job":
            continue
        (container,) = document["spec"]["template"]["spec"]["containers"]
        half = {"loadgen-master": JOIN_MASTER, "loadgen-worker": JOIN_WORKER}[document["metadata"]["name"]]
        joined = [entry for entry in container["env"] if entry["name"].startswith("LOADGEN_JOIN")]
        assert joined == [
            {"name": half, "valueFrom": {"secretKeyRef": {"name": "loadgen-join", "key": half}}},
        ]
        labels = document["spec"]["template"]["metadata"]["labels"]
        assert policies[document["metadata"]["name"]]["podSelector"]["matchLabels"] == labels
    (rule,) = policies["loadgen-master"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "loadgen", "role": "worker"}}}]
    assert rule["ports"] == [{"protocol": "TCP", "port": 5557}]
    assert "ingress" not in policies["loadgen-worker"]
    services = COMPOSE["services"]
    assert services["master"]["environment"][JOIN_MASTER].startswith(f"${{{JOIN_MASTER}:?")
    assert services["worker"]["environment"][JOIN_WORKER].startswith(f"${{{JOIN_WORKER}:?")
    for name, of in ((JOIN_MASTER, "worker"), (JOIN_WORKER, "master")):
        assert name not in services[of]["environment"]
    assert not [name for name in services["target"]["environment"] if name.startswith("LOADGEN_JOIN")]


def test_a_master_in_a_container_listens_for_others_only_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without keys, the files' master commands accept no other machine, and worker commands join no remote master."""
    monkeypatch.delenv(JOIN_MASTER, raising=False)
    monkeypatch.delenv(JOIN_WORKER, raising=False)
    for command in commands():
        if "--worker" in command:
            result = CliRunner().invoke(app, command)
            assert result.exit_code == 2
            assert "is another machine, and without a key" in result.stderr
        if "--master" in command:
            result = CliRunner().invoke(app, command)
            assert result.exit_code == 2
            assert "can be reached from other machines" in result.stderr


def test_workers_are_given_time_to_hand_over_and_as_many_as_the_master_expects() -> None:
    workers = {"parallelism": 0, "completions": 0}
    for document in JOBS:
        if document["kind"] == "Job":
            pod = document["spec"]["template"]["spec"]
            assert pod["terminationGracePeriodSeconds"] >= 60
            assert pod["securityContext"]["runAsNonRoot"]
            if document["metadata"]["name"] == "loadgen-worker":
                workers = {name: document["spec"][name] for name in workers}
            else:
                args = pod["containers"][0]["args"]
    assert set(workers.values()) == {4}
    assert "--expect-workers=4" in args
    for service in COMPOSE["services"].values():
        assert service["ulimits"]["nofile"]["hard"] >= 65_536


def test_the_dockerfile_passes_its_linter() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint has no wheel for this platform")
    done = subprocess.run([hadolint, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_everything_that_the_image_is_built_from_is_in_the_build_context() -> None:
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (REPO / source).exists(), source
                assert f"!{source}" in ignore, source


def test_the_image_tells_of_its_extras_as_the_sentence_says() -> None:
    """`analysis.extras` tells users of the image to build it with `--build-arg EXTRAS=aws,live,…`."""
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert "\nARG EXTRAS=aws,live\n" in dockerfile
    assert f" {extras.IMAGE}=1 " in dockerfile
    assert '".[$EXTRAS]"' in dockerfile

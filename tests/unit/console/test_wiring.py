from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.stack import ports
from console.stack.guard import MARK
from console.stack.state import StateFolder
from console.stack.wiring import Wiring, storage, wire, with_login
from tonewatch import secrets
from tonewatch.errors import PortTaken, StackError
from tonewatch.settings import read


def wired(path: Path, **given: str) -> Wiring:
    settings = read({"TONEWATCH_STATE_DIR": str(path)} | {f"TONEWATCH_{name.upper()}": v for name, v in given.items()})
    return wire(settings, StateFolder(path), secrets.load_or_generate(path), "run")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_a_taken_port_names_its_owner_and_the_setting(taken: int) -> None:
    with pytest.raises(PortTaken, match=rf"port {taken} is taken by process \d+ .*TONEWATCH_MLFLOW_PORT"):
        ports.choose(taken, 5000, "TONEWATCH_MLFLOW_PORT")


def test_without_a_wish_a_free_port_is_chosen(taken: int) -> None:
    found = ports.choose(None, taken, "TONEWATCH_MLFLOW_PORT")
    assert found != taken
    assert ports.is_free(found)


def test_a_restart_takes_the_same_ports_again_where_they_are_free(tmp_path: Path, taken: int) -> None:
    StateFolder(tmp_path).keep_ports({"gateway": taken})
    first = wired(tmp_path)
    assert first.gateway_port != taken
    StateFolder(tmp_path).forget()
    again = wired(tmp_path)
    assert (again.gateway_port, again.prefect_port) == (first.gateway_port, first.prefect_port)
    assert wired(tmp_path, gateway_port=str(ports.any_free())).gateway_port != first.gateway_port, "what is set wins"


def test_kept_ports_that_can_not_be_read_are_none(tmp_path: Path) -> None:
    for text in ("{", '["8414"]', '{"gateway": "many"}', '{"gateway": 0}'):
        (tmp_path / "ports.json").write_text(text)
        assert StateFolder(tmp_path).kept_ports() == {}


def test_a_light_profile_knows_of_no_mlflow(tmp_path: Path, taken: int) -> None:
    wiring = wired(tmp_path, profile="station", mlflow_port=str(taken))
    assert wiring.settings.mlflow_tracking_uri is None
    assert (wiring.mlflow, wiring.mlflow_port) == ("", 0)
    own = wired(tmp_path, profile="station", mlflow_tracking_uri="http://mlflow:5000")
    assert own.mlflow == "http://mlflow:5000"
    given = {"database_url": "postgresql://a:b@db/t", "dispatcher_database_url": "postgresql://c:d@db/t"}
    wired(tmp_path, **given, profile="station", prefect_api_url="http://p/api")


def test_every_address_is_filled_in(tmp_path: Path) -> None:
    wiring = wired(tmp_path)
    kept = secrets.load(tmp_path)
    assert wiring.settings.database_url is not None
    assert wiring.settings.database_url.get_secret_value() == (
        f"postgresql://tonewatch_app:{kept.app}@/tonewatch?host={tmp_path}/run/postgres"
    )
    assert wiring.server_database("prefect").startswith(f"postgresql://prefect:{kept.prefect}@/prefect?host=")
    assert wiring.prefect_api == f"http://127.0.0.1:{wiring.prefect_port}/api"


def test_no_process_but_the_provisioning_knows_the_superuser(tmp_path: Path) -> None:
    environment = wired(tmp_path).environment()
    assert secrets.load(tmp_path).superuser not in " ".join(environment.values())


def test_a_process_of_ours_gets_the_settings_and_the_runs_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")
    monkeypatch.setenv("PREFECT_PROFILE", "mine")
    monkeypatch.setenv("TONEWATCH_SETTINGS_FILE", "/some/where.toml")
    monkeypatch.setenv("no_proxy", "example.org")
    wiring = wired(tmp_path, tenant="radio")
    environment = wiring.environment({"MORE": "1"})
    assert environment["PREFECT_API_URL"] == wiring.prefect_api
    assert environment["MLFLOW_TRACKING_URI"] == wiring.mlflow
    assert environment["no_proxy"] == "example.org,127.0.0.1,localhost,::1"
    assert environment[MARK] == "run"
    assert environment["MORE"] == "1"
    assert "PREFECT_PROFILE" not in environment
    ours = {name: value for name, value in environment.items() if name.startswith("TONEWATCH_")}
    assert read(ours) == wiring.settings.model_copy(update={"admin_database_url": None})


def test_servers_of_the_users_keep_their_addresses(tmp_path: Path) -> None:
    wiring = wired(tmp_path, prefect_api_url="http://prefect:4200/api", mlflow_tracking_uri="http://mlflow:5000/")
    assert (wiring.prefect_api, wiring.mlflow) == ("http://prefect:4200/api", "http://mlflow:5000")
    assert (wiring.prefect_port, wiring.mlflow_port) == (0, 0)


def test_a_real_database_serves_all_when_its_administrator_is_known(tmp_path: Path) -> None:
    wiring = wired(tmp_path, admin_database_url="postgresql://boss:w@db:5433/postgres?sslmode=require")
    kept = secrets.load(tmp_path)
    assert wiring.postgres is None
    assert wiring.settings.dispatcher_database_url is not None
    assert wiring.settings.dispatcher_database_url.get_secret_value() == (
        f"postgresql://tonewatch_dispatcher:{kept.dispatcher}@db:5433/tonewatch?sslmode=require"
    )
    assert wiring.server_database("mlflow") == f"postgresql://mlflow:{kept.mlflow}@db:5433/mlflow?sslmode=require"


def test_a_real_database_without_its_administrator_is_refused_for_servers_of_ours(tmp_path: Path) -> None:
    given = {"database_url": "postgresql://a:b@db/t", "dispatcher_database_url": "postgresql://c:d@db/t"}
    with pytest.raises(StackError, match="TONEWATCH_ADMIN_DATABASE_URL"):
        wired(tmp_path, **given)
    wired(tmp_path, **given, prefect_api_url="http://p/api", mlflow_tracking_uri="http://m")


def test_the_apps_database_alone_is_refused(tmp_path: Path) -> None:
    settings = read({"TONEWATCH_DATABASE_URL": "postgresql://a:b@db/t"})
    with pytest.raises(StackError, match="TONEWATCH_DISPATCHER_DATABASE_URL"):
        storage(settings, StateFolder(tmp_path), secrets.load_or_generate(tmp_path))


def test_a_login_is_quoted() -> None:
    assert with_login("postgresql://a:b@h/x", "u@s", "p/w", "d b") == "postgresql://u%40s:p%2Fw@h/d%20b"
    with pytest.raises(StackError, match="postgresql://"):
        with_login("host=db user=a", "u", "p", "d")

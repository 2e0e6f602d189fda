"""What all tests with real servers share. The servers themselves come from tests/conftest.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.servers import Mlflow, empty, mlflow_in, prefect_in

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    """One MLflow for all files: families and tenants of each test are its own."""
    with mlflow_in(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="module")
def own_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    """An MLflow of the file's own: families have the names of today's features, the first model of each is champion."""
    with mlflow_in(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prefect_in(tmp_path_factory.mktemp("prefect")) as api:
        yield api


@pytest.fixture
def prefect_api(prefect_server: str) -> str:
    """The API of a Prefect that holds nothing: the server starts once, which takes longer than most flows."""
    empty(prefect_server)
    return prefect_server

from __future__ import annotations

import pytest

from tonewatch.errors import SettingsError
from warehouse.links import driver_url, plain_url, with_database


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:p%40ss%2Fword@host:5432/name",
        "postgresql://user:p%40ss%2Fword@/name?host=%2Frun%2Fpostgres",
        "postgresql://user@host/name?sslmode=verify-full",
    ],
)
def test_a_url_keeps_its_parts_for_both_drivers(url: str) -> None:
    parsed = driver_url(url)
    assert parsed.drivername == "postgresql+psycopg"
    assert parsed.database == "name"
    assert driver_url(plain_url(url)) == parsed
    assert driver_url(plain_url(str(url.replace("postgresql:", "postgresql+psycopg:")))) == parsed
    assert plain_url(url.replace("postgresql:", "postgres:")).startswith("postgresql://user")
    assert driver_url(with_database(url, "other")) == parsed.set(database="other")


@pytest.mark.parametrize(
    "url",
    ["", "mysql://user:hunter2@host/name", "sqlite:///hunter2", "hunter2", "postgresql://user:hunter2@host:port/name"],
)
def test_a_url_of_something_else_is_refused_without_telling_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="postgresql://") as refused:
        driver_url(url)
    assert "hunter2" not in str(refused.value)

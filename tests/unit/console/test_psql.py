from __future__ import annotations

from console.psql import login


def test_password_goes_into_the_environment_and_the_socket_folder_is_the_host() -> None:
    values = login("postgresql://tonewatch_app:p%40ss@/tonewatch?host=%2Fvar%2Flib%2Ftonewatch%2Frun")
    assert values == {
        "PGHOST": "/var/lib/tonewatch/run",
        "PGUSER": "tonewatch_app",
        "PGPASSWORD": "p@ss",
        "PGDATABASE": "tonewatch",
    }


def test_port_of_a_server_elsewhere_is_kept() -> None:
    assert login("postgresql://app:x@db.example:6543/w")["PGPORT"] == "6543"

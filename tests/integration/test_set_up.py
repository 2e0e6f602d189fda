"""Set-up on a bare machine: it says what is missing and what brings it, and the second time it costs nothing."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent.parent
SCRIPT = "deployments/setup.sh"
#: Everything that the script calls besides Python and uv.
PROGRAMS = ["bash", "cat", "cksum", "cut", "dirname", "flock", "id", "mkdir", "rm", "sed", "sort", "tail", "tr"]

pytestmark = pytest.mark.integration


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with what set-up reads, and nothing else."""
    folder = tmp_path / "a check out"
    (folder / "deployments").mkdir(parents=True)
    for name in (SCRIPT, "pyproject.toml", "uv.lock"):
        shutil.copy(HOUSE / name, folder / name)
    return folder


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of programs that is the whole PATH; Python is put there by each test."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in PROGRAMS:
        found = shutil.which(program)
        assert found, program
        (folder / program).symlink_to(found)
    return folder


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/usr/bin/env bash\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def set_up(checkout: Path, machine: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(machine), "HOME": str(checkout.parent / "home"), **more}
    command = [str(machine / "bash"), SCRIPT]
    return subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=False, timeout=240
    )


def test_another_python_is_named_and_the_right_one_asked_for(checkout: Path, machine: Path) -> None:
    program(machine / "python3", "[ $1 = --version ] && echo Python 3.13.1 || exit 1")
    said = set_up(checkout, machine)
    assert said.returncode == 1
    assert "Tonewatch needs Python 3.11; Python 3.13.1 was found" in said.stderr
    assert "apt-get install python3 python3-venv" in said.stderr


def test_no_python_is_told_alike(checkout: Path, machine: Path) -> None:
    said = set_up(checkout, machine)
    assert said.returncode == 1
    assert "Tonewatch needs Python 3.11; no python3 was found" in said.stderr


def test_a_python_without_venv_names_the_package_that_brings_it(checkout: Path, machine: Path) -> None:
    program(machine / "python3.11", 'case "$2" in *venv*) exit 1;; *) echo "$0";; esac')
    said = set_up(checkout, machine)
    assert said.returncode == 1
    assert "has no venv. Install it (Debian: apt-get install python3-venv)" in said.stderr


def test_an_index_that_is_away_is_told_with_what_to_set(checkout: Path, machine: Path) -> None:
    (machine / "python3.11").symlink_to(Path(sys.base_prefix) / "bin" / "python3.11")
    away = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    said = set_up(checkout, machine, **away)
    assert said.returncode == 1
    assert "Is the package index reachable?" in said.stderr
    assert "PIP_INDEX_URL" in said.stderr
    assert not (checkout / ".venv" / ".tonewatch-setup").exists()


class TestWithUvOnThePath:
    """uv stands in as a program that writes down how it was called: what is tested is what we tell it."""

    @pytest.fixture
    def told(self, checkout: Path, machine: Path) -> Path:
        (machine / "python3.11").symlink_to(Path(sys.base_prefix) / "bin" / "python3.11")
        for name in ("env", "touch", "ln"):
            (machine / name).symlink_to(shutil.which(name) or name)
        notes = checkout.parent / "told"
        program(
            machine / "uv",
            f"""[ "$1" = --version ] && echo uv 0.13.9 && exit
echo "uv $*" >>'{notes}'; env >>'{notes}'
mkdir -p .venv/bin; ln -sf "$(command -v python3.11)" .venv/bin/python""",
        )
        return notes

    def test_the_second_time_returns_at_once(self, checkout: Path, machine: Path, told: Path) -> None:
        assert set_up(checkout, machine).returncode == 0
        told.unlink()
        started = time.monotonic()
        again = set_up(checkout, machine)
        assert (again.returncode, again.stdout) == (0, "")
        assert time.monotonic() - started < 1
        assert not told.exists()

    def test_another_lock_file_is_installed_again(self, checkout: Path, machine: Path, told: Path) -> None:
        set_up(checkout, machine)
        told.unlink()
        with (checkout / "uv.lock").open("a", encoding="utf-8") as lock:
            lock.write("\n")
        assert set_up(checkout, machine).returncode == 0
        assert "uv sync --frozen" in told.read_text()

    def test_a_checkout_that_moved_is_installed_again(self, checkout: Path, machine: Path, told: Path) -> None:
        set_up(checkout, machine)
        told.unlink()
        moved = checkout.rename(checkout.parent / "moved")
        assert set_up(moved, machine).returncode == 0
        assert "uv sync --frozen" in told.read_text()

    def test_python_is_named_itself_and_not_by_a_stand_in(self, checkout: Path, machine: Path, told: Path) -> None:
        """uv removes and remakes .venv, under whatever runs in it, when a version manager's shim is what it is told."""
        (machine / "python3.11").unlink()
        real = Path(sys.base_prefix) / "bin" / "python3.11"
        program(machine / "python3.11", f'exec "{real}" "$@"')
        set_up(checkout, machine)
        assert f"--python {real.resolve()}" in told.read_text()

    def test_a_right_python_beside_a_wrong_one_is_found(self, checkout: Path, machine: Path, told: Path) -> None:
        (machine / "python3.11").rename(machine / "python3")
        program(machine / "python3.11", "exit 1")
        set_up(checkout, machine)
        assert f"--python {machine / 'python3'} " in told.read_text()

    def test_the_lock_is_installed_as_it_is_and_no_python_is_fetched(
        self, checkout: Path, machine: Path, told: Path
    ) -> None:
        set_up(checkout, machine, PIP_CONFIG_FILE=os.devnull)
        assert "uv sync --frozen --inexact" in told.read_text()
        assert "UV_PYTHON_DOWNLOADS=never" in told.read_text()

    def test_pips_index_and_certificates_reach_uv(self, checkout: Path, machine: Path, told: Path) -> None:
        set_up(
            checkout,
            machine,
            PIP_CONFIG_FILE=os.devnull,
            PIP_INDEX_URL="https://mirror.test/simple",
            PIP_EXTRA_INDEX_URL="https://other.test/simple",
            PIP_CERT="/etc/company.crt",
            PIP_TRUSTED_HOST="mirror.test",
        )
        calls = told.read_text()
        assert "UV_DEFAULT_INDEX=https://mirror.test/simple" in calls
        assert "UV_INDEX=https://other.test/simple" in calls
        assert "SSL_CERT_FILE=/etc/company.crt" in calls
        assert "UV_INSECURE_HOST=mirror.test" in calls
        assert "--require-hashes" in calls

    def test_pips_files_count_like_its_variables(self, checkout: Path, machine: Path, told: Path) -> None:
        config = checkout.parent / "pip.conf"
        config.write_text(
            "[global]\nindex-url = https://mirror.test/simple\ncert = /etc/company.crt\n", encoding="utf-8"
        )
        set_up(checkout, machine, PIP_CONFIG_FILE=str(config))
        assert "UV_DEFAULT_INDEX=https://mirror.test/simple" in told.read_text()
        assert "SSL_CERT_FILE=/etc/company.crt" in told.read_text()

    def test_what_is_set_for_uv_wins(self, checkout: Path, machine: Path, told: Path) -> None:
        set_up(
            checkout,
            machine,
            PIP_INDEX_URL="https://pips.test/simple",
            UV_DEFAULT_INDEX="https://uvs.test/simple",
            PIP_CERT="/etc/pips.crt",
            SSL_CERT_FILE="/etc/uvs.crt",
        )
        assert "UV_DEFAULT_INDEX=https://uvs.test/simple" in told.read_text()
        assert "SSL_CERT_FILE=/etc/uvs.crt" in told.read_text()

    def test_an_optional_group_stays(self, checkout: Path, machine: Path, told: Path) -> None:
        command = [str(machine / "bash"), SCRIPT, "learning"]
        environment = {"PATH": str(machine), "HOME": str(checkout.parent)}
        subprocess.run(command, cwd=checkout, env=environment, check=True, capture_output=True, timeout=60)
        with (checkout / "uv.lock").open("a", encoding="utf-8") as lock:
            lock.write("\n")
        told.unlink()
        set_up(checkout, machine)
        assert "--group learning" in told.read_text()

    def test_a_closed_home_moves_the_cache_into_the_checkout(self, checkout: Path, machine: Path, told: Path) -> None:
        said = set_up(checkout, machine, HOME="/proc/nowhere")
        assert f"UV_CACHE_DIR={checkout}/.tools/cache" in told.read_text()
        assert "using .tools/cache" in said.stdout

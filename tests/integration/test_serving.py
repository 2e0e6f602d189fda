"""The gateway as a process that others reach by TLS: real certificates, real handshakes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.api.serving import Certificate, listener
from tests.integration.pushed import answers, until
from tests.ports import free_port
from tonewatch.errors import SettingsError
from tonewatch.secrets import load_or_generate
from tonewatch.settings import read, to_environment

pytestmark = pytest.mark.integration
ADDRESS = "127.0.0.1"


def certify(folder: Path, name: str = "tone") -> tuple[Path, Path]:
    """A certificate for this machine that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(ADDRESS))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    certificate, secret = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return certificate, secret


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The settings of a gateway whose database is away: what is tried here needs none."""
    load_or_generate(folder)
    given = {
        "STATE_DIR": str(folder),
        "DATABASE_URL": "postgresql://x:x@127.0.0.1:1/x",
        "GATEWAY_PORT": str(free_port()),
    }
    return to_environment(read({f"TONEWATCH_{name}": value for name, value in (given | more).items()}))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, str, Path]]:
    """Its address for this machine and for others, and its certificate."""
    certificate, key = certify(tmp_path)
    port = free_port()
    told = environment(
        tmp_path,
        GATEWAY_LISTEN=f"{ADDRESS}:{port}",
        GATEWAY_CERTIFICATE=str(certificate),
        GATEWAY_PRIVATE_KEY=str(key),
    )
    process = subprocess.Popen([sys.executable, "-m", "gateway.api"], env=os.environ | told)
    try:
        yield f"http://{ADDRESS}:{told['TONEWATCH_GATEWAY_PORT']}", f"https://{ADDRESS}:{port}", certificate
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0, "it ends in order"


def shake_hands(url: str, context: ssl.SSLContext) -> str | None:
    """The version of TLS that was agreed on."""
    place = urlsplit(url)
    with (
        socket.create_connection((ADDRESS, place.port or 0), timeout=10) as line,
        context.wrap_socket(line, server_hostname=ADDRESS) as secured,
    ):
        return secured.version()


async def test_others_are_served_by_tls_1_3_alone_and_this_machine_in_plain(served: tuple[str, str, Path]) -> None:
    plain, secure, certificate = served
    await until(lambda: answers(f"{plain}/health"), 30, "the gateway serves")
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with httpx.AsyncClient(verify=trusting) as client:
        assert (await client.get(f"{secure}/health")).json() == {"status": "alive"}
        assert (await client.get(f"{secure}/v1/live")).status_code == 401, "the same app"
    assert await asyncio.to_thread(shake_hands, secure, trusting) == "TLSv1.3"
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        await asyncio.to_thread(shake_hands, secure, trusting)
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"{secure.replace('https', 'http')}/health")


def test_a_renewed_certificate_is_taken_over_and_half_of_one_is_not(tmp_path: Path) -> None:
    certificate, key = certify(tmp_path)
    held = Certificate.read(certificate, key)
    assert not held.renew(), "nothing has changed"
    other = tmp_path / "other"
    other.mkdir()
    fresh, fresh_key = certify(other)
    certificate.write_bytes(fresh.read_bytes())
    os.utime(certificate, (1, 1))
    assert not held.renew(), "the key is not there yet"
    key.write_bytes(fresh_key.read_bytes())
    assert held.renew()
    key.unlink()
    assert not held.renew()
    with pytest.raises(SettingsError, match="gateway_certificate"):
        Certificate.read(certificate, key)


@pytest.mark.parametrize(
    "given",
    [
        {"GATEWAY_LISTEN": "0.0.0.0:8443"},
        {"GATEWAY_CERTIFICATE": "/x"},
        {"GATEWAY_LISTEN": "0.0.0.0", "GATEWAY_CERTIFICATE": "/x", "GATEWAY_PRIVATE_KEY": "/y"},
        {"GATEWAY_LISTEN": "0.0.0.0:99999", "GATEWAY_CERTIFICATE": "/x", "GATEWAY_PRIVATE_KEY": "/y"},
    ],
)
def test_others_can_not_be_served_in_plain(tmp_path: Path, given: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="gateway_listen"):
        environment(tmp_path, **given)


async def test_a_certificate_that_is_none_is_told_before_anything_is_served(tmp_path: Path) -> None:
    told = environment(
        tmp_path, GATEWAY_LISTEN="127.0.0.1:8443", GATEWAY_CERTIFICATE="/nowhere", GATEWAY_PRIVATE_KEY="/nowhere"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.api", env=os.environ | told, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == SettingsError.exit_status
    assert b"gateway_certificate" in said


async def test_an_answer_is_not_held_back_for_an_acknowledgement_of_its_head() -> None:
    """asyncio sets TCP_NODELAY on what such a listener takes, which it does for sockets that say that they are TCP."""
    taken: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async with await asyncio.start_server(talk, sock=listener(ADDRESS, free_port(), "gateway_port")) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await asyncio.wait_for(taken, 5) != 0
        writer.close()

"""Pseudonyms: what stands for a listener's or client's id from the door on."""

from __future__ import annotations

import hashlib
import hmac

DIGITS = 32


def pseudonym(key: bytes, tenant: str, value: str) -> str:
    """32 hex digits of HMAC-SHA256 (RFC 2104) over tenant and value: without `key` nobody can try values out, and the
    same listener looks different to two tenants. Raises ValueError: a key of less than 16 bytes.
    """
    if len(key) < 16:
        raise ValueError("the pseudonyms' key has less than 16 bytes: take root_key of the stack's secrets")
    message = f"{tenant}\0{value}".encode("utf-8", "surrogatepass")
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:DIGITS]

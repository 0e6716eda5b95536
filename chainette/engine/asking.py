"""Requests to a server of ours beside its calls: is it healthy, what does it do, go to sleep. They block."""

from __future__ import annotations


def answers(url: str, api_key: str, path: str = "/health", *, method: str = "GET", within_s: float = 5.0) -> bool:
    """Whether a server says 200 to a request beside its `/v1`."""
    return fetch(url, api_key, path, method=method, within_s=within_s) is not None


def fetch(url: str, api_key: str, path: str, *, method: str = "GET", within_s: float = 5.0) -> bytes | None:
    """What a server answers to a request beside its `/v1`; None unless that is with 200."""
    from http.client import HTTPConnection, HTTPException
    from urllib.parse import urlsplit

    connection = HTTPConnection(urlsplit(url).netloc, timeout=within_s)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {api_key}"})
        response = connection.getresponse()
        return response.read() if response.status == 200 else None
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()

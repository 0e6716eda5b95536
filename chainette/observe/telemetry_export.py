"""How telemetry leaves: to an OTLP endpoint, or as OTLP-JSON lines for a file. With `telemetry.py` the one door to
OpenTelemetry; opens no file itself.

Nothing here tries for longer than a few seconds, or raises: a receiver that is gone costs telemetry, never the run.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from chainette.errors import ChainError, Problem

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.trace import ReadableSpan

TIMEOUT_S = 3.0
"""Of one request to the receiver, its retries included."""
REST_S = 15.0
"""After a failure nothing is sent for so long; what is made meanwhile is dropped."""


class Way(Protocol):
    """How spans and metrics leave this process."""

    def spans(self, spans: Sequence[ReadableSpan]) -> bool: ...
    def metrics(self, data: MetricsData) -> bool: ...
    def close(self) -> None: ...


FILE = "file:"
Append = Callable[[bytes], bool]
"""Adds a line to the user's file; whether it could."""


def check_target(target: str) -> None:
    """
    Raises:
        ChainError: it is none of `env`, `file:PATH` and a URL.
    """
    if target == "env" or (target.startswith(FILE) and target != FILE):
        return
    try:
        parts = urlsplit(target)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        hint = "http://localhost:4318, env, or file:spans.json"
        raise ChainError([Problem("otel", f'"{target.rpartition("@")[2]}" is no place for telemetry', hint)])


def shown(target: str) -> str:
    """A good target as it may stand in a message: without user, password and query."""
    if target == "env":
        return "the endpoint that OTEL_EXPORTER_OTLP_ENDPOINT or its kin name"
    if target.startswith(FILE):
        return target
    parts = urlsplit(target)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def way_to(target: str, append: Append) -> Way:
    """`append` is for a target that is a file.

    Raises:
        ChainError: its package is missing.
    """
    try:
        import opentelemetry.exporter.otlp.proto.http
        import opentelemetry.sdk  # noqa: F401
    except ImportError as error:
        raise ChainError(
            [Problem("otel", f"needs a package that is not installed ({error.name})", "pip install 'chainette[otel]'")]
        ) from None
    return FileWay(append) if target.startswith(FILE) else HttpWay(target)


class HttpWay:
    """OTLP over HTTP. `env` leaves the endpoint to OTEL_EXPORTER_OTLP_ENDPOINT and its kin; headers always come from
    there."""

    def __init__(self, target: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        base = None if target == "env" else target.rstrip("/")
        own: Any = {"timeout": TIMEOUT_S, "session": _session()}
        self._spans: Any = OTLPSpanExporter(endpoint=base and f"{base}/v1/traces", **own)
        self._metrics: Any = OTLPMetricExporter(endpoint=base and f"{base}/v1/metrics", **own)

    def spans(self, spans: Sequence[ReadableSpan]) -> bool:
        return self._sent(lambda: self._spans.export(spans))

    def metrics(self, data: MetricsData) -> bool:
        return self._sent(lambda: self._metrics.export(data))

    def _sent(self, export: Callable[[], Any]) -> bool:
        with _quiet():
            try:
                return bool(export().name == "SUCCESS")
            except Exception:
                return False

    def close(self) -> None:
        with _quiet(), contextlib.suppress(Exception):
            self._spans.shutdown()
            self._metrics.shutdown()


def _session() -> Any:
    """None where the user's environment names another: the SDK makes that one itself."""
    if any(
        name.startswith("OTEL_PYTHON_EXPORTER_OTLP") and name.endswith("CREDENTIAL_PROVIDER") for name in os.environ
    ):
        return None
    import requests

    def refuse(response: Any, *_rest: Any, **_more: Any) -> None:
        if response.is_redirect:  # the SDK follows none and takes it for success
            response.close()
            raise requests.RequestException("the receiver is somewhere else")

    session = requests.Session()
    session.hooks["response"].append(refuse)
    return session


class FileWay:
    """A line for each export: an OTLP request as JSON, which is what OpenTelemetry's collector writes and reads."""

    def __init__(self, append: Append) -> None:
        self._append = append

    def spans(self, spans: Sequence[ReadableSpan]) -> bool:
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        return self._add(encode_spans(spans))

    def metrics(self, data: MetricsData) -> bool:
        from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

        return self._add(encode_metrics(data))

    def _add(self, message: Any) -> bool:
        from google.protobuf.json_format import MessageToDict

        line = json.dumps(_with_hex_ids(MessageToDict(message, use_integers_for_enums=True)), ensure_ascii=False)
        return self._append(line.encode("utf-8", "replace") + b"\n")

    def close(self) -> None:
        return


_IDS = ("traceId", "spanId", "parentSpanId")


def _with_hex_ids(value: Any) -> Any:
    """OTLP's JSON has ids in hex, where protobuf's has base64."""
    if isinstance(value, dict):
        return {
            k: base64.b64decode(v).hex() if k in _IDS and isinstance(v, str) else _with_hex_ids(v)
            for k, v in value.items()
        }
    return [_with_hex_ids(item) for item in value] if isinstance(value, list) else value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The SDK logs each failure with its traceback; ours is one warning."""
    logger = logging.getLogger("opentelemetry")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


class Sender:
    """Sends what it is given, and after a failure nothing for a while."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._rests_till_s = 0.0
        self.lost = 0
        """Spans that reached nobody."""
        self.failed = False
        """Whether anything ever did not get through."""

    def spans(self, spans: Sequence[ReadableSpan]) -> None:
        if spans and not self._try(lambda: self._way.spans(spans)):
            self.lost += len(spans)

    def metrics(self, data: MetricsData) -> None:
        self._try(lambda: self._way.metrics(data))

    def _try(self, send: Callable[[], bool]) -> bool:
        if time.monotonic() < self._rests_till_s:
            return False
        if send():
            return True
        self.failed = True
        self._rests_till_s = time.monotonic() + REST_S
        return False

    def close(self) -> None:
        self._way.close()

"""A receiver of OTLP over HTTP on loopback, and what it was sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Received:
    """What an OTLP receiver was sent."""

    url: str = ""
    traces: list[Any] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def spans(self) -> list[Any]:
        return [
            s for request in self.traces for r in request.resource_spans for one in r.scope_spans for s in one.spans
        ]

    def named(self, begins: str) -> list[Any]:
        return [span for span in self.spans if span.name.startswith(begins)]

    def parent(self, span: Any) -> Any:
        return next((other for other in self.spans if other.span_id == span.parent_span_id), None)

    def points(self, metric: str) -> list[Any]:
        """The data points of the metric, as it was told last."""
        found: list[Any] = []
        for request in self.metrics:
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    for one in scope.metrics:
                        if one.name == metric:
                            found = list(getattr(one, one.WhichOneof("data")).data_points)
        return found


def attributes(of: Any) -> dict[str, Any]:
    return {pair.key: value_of(pair.value) for pair in of.attributes}


def value_of(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    return getattr(value, kind)


@contextmanager
def receiver(status: int = 200, until: threading.Event | None = None) -> Iterator[Received]:
    """Answers with `status`; with `until`, only then."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if until is not None:
                until.wait(60)
            received.headers.append(dict(self.headers.items()))
            if self.path == "/v1/traces":
                received.traces.append(ExportTraceServiceRequest.FromString(body))
            elif self.path == "/v1/metrics":
                received.metrics.append(ExportMetricsServiceRequest.FromString(body))
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    received.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield received
    finally:
        if until is not None:
            until.set()
        server.shutdown()
        server.server_close()
        thread.join()


def read_file(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Spans and metrics in a file of OTLP-JSON lines."""
    spans: list[dict[str, Any]] = []
    metrics: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        request = json.loads(line)
        for resource in request.get("resourceSpans", ()):
            spans += [span for scope in resource["scopeSpans"] for span in scope["spans"]]
        for resource in request.get("resourceMetrics", ()):
            metrics += [metric for scope in resource["scopeMetrics"] for metric in scope["metrics"]]
    return spans, metrics

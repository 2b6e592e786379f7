"""The peers, each started in the mode that its own documentation recommends for one machine."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any  # Envoy's configuration is a JSON document

from dormouse_control.gateway.run import binary
from suite import installs
from suite.processes import free_port, started, until
from suite.subjects import Subject

_TYPE = "type.googleapis.com/envoy.extensions.filters"


@contextlib.contextmanager
def bare_envoy(folder: Path, predictor: int) -> Iterator[Subject]:
    """Nothing but a route to the predictor: what any gateway on Envoy costs at least."""
    port, log = free_port(), folder / "bare.log"
    config = folder / "bare.json"
    config.write_text(json.dumps(_envoy_config(port, predictor)))
    command = [binary(), "--config-path", str(config), "--disable-hot-restart", "-l", "error"]
    command += ["--concurrency", str(os.cpu_count() or 1)]
    with started(command, log=log) as process:
        subject = Subject("bare Envoy", port, "none", (process.pid,))
        until(subject.answers, "the bare Envoy", log=log)
        yield subject


@contextlib.contextmanager
def litellm(folder: Path, predictor: int, models: int) -> Iterator[Subject]:
    """One worker, no log lines of calls, without database. Raises `NotInstalled`, `NotReady`."""
    command = installs.litellm()
    port, log = free_port(), folder / "litellm.log"
    config = folder / "litellm.json"
    config.write_text(json.dumps(_litellm_config(predictor, models)))  # JSON is YAML
    arguments = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    environment = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "NO_PROXY": "127.0.0.1"}
    with started(
        [str(command), *arguments, "--num_workers", "1"], log=log, environment=environment
    ) as process:
        subject = Subject("LiteLLM", port, "sk-bench", (process.pid,))
        until(subject.answers, "LiteLLM", log=log, seconds=180)
        yield subject


@contextlib.contextmanager
def portkey(folder: Path, predictor: int) -> Iterator[Subject]:
    """Raises `NotInstalled`, `NotReady`."""
    script = installs.portkey()
    port, log = free_port(), folder / "portkey.log"
    headers = {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{predictor}/v1",
    }
    environment = {"NODE_ENV": "production"}
    command = ["node", str(script), f"--port={port}", "--headless"]
    with started(command, log=log, environment=environment) as process:
        subject = Subject("Portkey", port, "sk-bench", (process.pid,), headers=headers)
        until(subject.answers, "Portkey", log=log)
        yield subject


def _litellm_config(predictor: int, models: int) -> dict[str, Any]:
    to = {"api_base": f"http://127.0.0.1:{predictor}/v1", "api_key": "none"}
    names = [f"model-{number:03}" for number in range(models)]
    return {
        "model_list": [
            {"model_name": name, "litellm_params": {"model": f"openai/{name}", **to}}
            for name in names
        ],
        "general_settings": {"master_key": "sk-bench"},
        "litellm_settings": {"telemetry": False, "request_timeout": 600, "set_verbose": False},
    }


def _envoy_config(port: int, predictor: int) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bare",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "predictor"}}],
                }
            ]
        },
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    endpoint = {"endpoint": {"address": _tcp(predictor)}}
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "bare",
                    "address": _tcp(port),
                    "enable_reuse_port": False,
                    "filter_chains": [{"filters": filters}],
                }
            ],
            "clusters": [
                {
                    "name": "predictor",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "predictor",
                        "endpoints": [{"lb_endpoints": [endpoint]}],
                    },
                }
            ],
        }
    }


def _tcp(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

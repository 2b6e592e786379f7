"""`python -m dormouse_predictors --service chat …`: one predictor, no nest, as in a container."""

import argparse
import gc
import os
import sys

gc.disable()  # all that importing makes stays: to look through it again and again is a tenth of it

from dormouse_predictors import lean_imports, maths_threads  # noqa: E402, F401  before all others


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="dormouse_predictors", description=__doc__)
    parser.add_argument("--service", required=True)
    parser.add_argument("--services-folder", default="services")
    parser.add_argument("--profile", default="starter", choices=["starter", "standard"])
    parser.add_argument("--model", help="loaded first; default: the service's default model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--metrics-port", type=int, default=9090)
    parser.add_argument("--jwks", required=True, help="file with the keys of internal tokens")
    parser.add_argument("--spool", required=True, help="folder for usage events")
    parser.add_argument("--internal-api", required=True, help="Unix socket's path, or a URL")
    parser.add_argument("--weights", default=os.path.expanduser("~/.dormouse/weights"))
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    parser.add_argument("--log-level", default="info")
    return _run(vars(parser.parse_args(arguments)))


def _run(options: dict[str, object]) -> int:
    from pathlib import Path

    from dormouse.catalog import CatalogError, read_catalog
    from dormouse_predictors import predictor
    from dormouse_predictors.config import PredictorConfig
    from dormouse_predictors.engines import engine_class

    try:
        service = read_catalog(Path(str(options["services_folder"]))).services[
            str(options["service"])
        ]
    except (CatalogError, KeyError) as error:
        print(f"dormouse_predictors: no such service: {error}", file=sys.stderr)
        return 2
    model = options.pop("model") or service.spec.default_model.get(str(options["profile"]))  # type: ignore[call-overload]
    config = PredictorConfig(
        engine=service.spec.engine,
        model=str(model),
        timeout_seconds=service.spec.scale.timeout_seconds,
        queue_length=service.spec.scale.queue_length,
        **options,  # type: ignore[arg-type]
    )
    try:
        engine_class(config.engine)
    except KeyError:
        print(f"dormouse_predictors: no such engine: {config.engine}", file=sys.stderr)
        return 2
    gc.freeze()
    gc.enable()
    return predictor.run(config, None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m dormouse_control PROCESS`: starts one process of the platform, or all (`up`)."""

import argparse
import sys
from typing import TYPE_CHECKING

from dormouse_control.lean import without_what_only_developers_need

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PROCESSES = ("up", "control-plane", "authorizer", "nest", "gateway")


def main() -> int:
    parser = argparse.ArgumentParser(prog="dormouse_control", description=__doc__)
    parser.add_argument("process", choices=PROCESSES, help="what to start")
    parser.add_argument("--logs", action="store_true", help="up: show every log line here")
    options, rest = parser.parse_known_args()
    match options.process:
        case "up":
            return _up(logs=options.logs)
        case "control-plane":
            from dormouse_control import control_plane

            control_plane.main()
        case "authorizer":
            from dormouse_control.authorizer import run as authorizer

            authorizer.main(rest)
        case "nest":
            from dormouse_control.nest import prepare as nest

            nest.main()
        case "gateway":
            from dormouse_control.gateway import run as gateway

            gateway.main()
    return 0


def _up(*, logs: bool) -> int:
    from pydantic import ValidationError
    from pydantic_settings import SettingsError
    from yaml import YAMLError

    from dormouse.catalog import CatalogError
    from dormouse_control.gateway.run import EnvoyMissing
    from dormouse_control.predictor_users import NotArranged
    from dormouse_control.supervisor import run as supervisor

    try:
        supervisor.main(logs=logs)
    except (
        CatalogError,
        EnvoyMissing,
        OSError,
        YAMLError,
        supervisor.AlreadyRunning,
        supervisor.CannotListen,
        NotArranged,
    ) as error:
        print(f"dormouse up: {error}", file=sys.stderr)
    except SettingsError as error:
        print(f"dormouse up: {error}: in the environment it is JSON", file=sys.stderr)
    except ValidationError as error:
        for found in error.errors():
            if found["type"] != "default_factory_not_called":  # follows from another
                print(f"dormouse up: setting {_wrong(found)}", file=sys.stderr)
    return 1


def _wrong(found: "ErrorDetails") -> str:
    where = ".".join(str(part) for part in found["loc"])
    if found["type"] == "extra_forbidden":
        return f"{where}: there is none of this name; docs/reference/settings.md has all"
    text = found["msg"].removeprefix("Value error, ")  # pydantic's, before what we say
    return f"{where}: {text}" if where else text  # ours begins with the setting's name


if __name__ == "__main__":
    without_what_only_developers_need()
    sys.exit(main())

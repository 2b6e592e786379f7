"""`python -m dormouse_predictors.starter train|evaluate`: make or measure a starter chat model.

python -m dormouse_predictors.starter train --out services/chat/dormouse-chat
python -m dormouse_predictors.starter train --recipe mini --out services/chat/dormouse-chat-mini
python -m dormouse_predictors.starter evaluate services/chat/dormouse-chat
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

from dormouse_predictors.starter import evaluate, export, train


def main() -> None:
    options = _parser().parse_args()
    if options.command == "train":
        _train(options.out, replace(train.RECIPES[options.recipe], seed=options.seed))
    else:
        result = evaluate.evaluate(options.folder, options.seed)
        print(evaluate.table(result))


def _train(folder: Path, recipe: train.Recipe) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    trained = train.train(recipe, print)
    seconds = round(time.monotonic() - started)
    export.export(trained, evaluate.model_file(folder))
    result = evaluate.evaluate(folder, recipe.seed)
    result["training"] = {
        "parameters": sum(weight.numel() for weight in trained.network.parameters()),
        "steps": recipe.steps,
        "tokens": trained.tokens_seen,
        "threads": recipe.threads,
        "seconds": seconds,
    }
    evaluate.write(folder, result)
    print(f"trained in {seconds} s")
    print(evaluate.table(result))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dormouse_predictors.starter", description="The starter chat models."
    )
    parser.add_argument(
        "--seed", type=int, default=train.Recipe.seed, help="decides split, data and weights"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("train", help="train, export and evaluate; takes minutes")
    making.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for the model, which is named after it, and for its evaluation",
    )
    making.add_argument(
        "--recipe", choices=sorted(train.RECIPES), default="base", help="which model"
    )
    measuring = commands.add_parser("evaluate", help="measure an exported model")
    measuring.add_argument("folder", type=Path, help="folder with the model")
    return parser


if __name__ == "__main__":
    main()

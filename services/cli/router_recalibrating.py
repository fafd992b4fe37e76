"""`fulcrum router recalibrate`: a router calibrated anew on what it has logged while it served."""

import argparse
import sys

from services.cli.router_cascades import asked_first
from services.router.artefact import load_artefact
from services.router.logged_decisions import decisions, logged
from services.router.predictor import Predictor
from services.router.recalibration import explored_harm, recalibrated


def recalibrate(arguments: argparse.Namespace) -> None:
    """Writes the calibrated router, and says what it was calibrated on and what exploring tells.

    Raises:
        ConfigError: the router cannot be used.
        InvalidOutcomes: nor can the log, or it tells of too few prompts.
    """
    artefact = load_artefact(arguments.artefact)
    lines = list(logged(arguments.log, lambda told: print(f"note: {told}", file=sys.stderr)))
    for line in explored_harm(artefact, decisions(lines, artefact.version)):
        print(line)
    found = recalibrated(artefact, lines)
    found.save(arguments.out)
    harms = {name: share for name, share in found.facts.metrics.items() if name.startswith("harm.")}
    told = ", ".join(f"{name.removeprefix('harm.')} {share:.2%}" for name, share in harms.items())
    counted = f"{len(found.calibration_losses)} decisions of {len(set(found.calibration_groups.tolist()))} prompts"
    print(f"{arguments.out}: calibrated on {counted}; harm where all were scored: {told}")
    for line in asked_first(Predictor(found)):
        print(line)

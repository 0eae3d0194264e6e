"""A program that trains a study on Ray and prints JSON lines, with leases short enough for a test."""

import json
import sys

from lrsearch.cli.display import JsonDisplay
from lrsearch.service.ray_engine import RayEngine, RayOptions
from lrsearch.service.studies import open_study, resolved
from lrsearch.spec import spec_from
from lrsearch.storage.database import open_database

LEASE_S = 5.0


def main(url: str, address: str, content: str) -> None:
    """Train.

    Args:
        url: of the database, which the workers find in their environment.
        address: of the Ray cluster.
        content: of a study file, as JSON.
    """
    spec, display = resolved(spec_from(json.loads(content), "test")), JsonDisplay()
    with open_database(url) as database:
        options = RayOptions(address, lease_s=LEASE_S)
        with RayEngine(database, spec, options) as engine:
            engine.wait_for_workers()
            for progress in engine.run(open_study(database, spec)):
                display.show(progress)


if __name__ == "__main__":
    main(*sys.argv[1:])

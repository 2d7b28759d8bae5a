"""`python -m multiposenet.models [PRESET ...]`: parameters and FLOPs of the presets, part by part."""

import sys

from multiposenet.commands.common import quiet_tensorflow, run
from multiposenet.config import PRESETS, preset_model


def summaries(names, size=480):
    """Print one table a preset."""
    configs = {name: preset_model(name) for name in names or PRESETS}
    with quiet_tensorflow():
        from multiposenet.models.summary import format_table, summarise
    for name, config in configs.items():
        print(format_table(f"{name} at {size} x {size}", *summarise(config, size)) + "\n")


if __name__ == "__main__":
    raise SystemExit(run(summaries, sys.argv[1:]))

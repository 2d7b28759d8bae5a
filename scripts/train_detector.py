"""Train the person detector: see --help."""

from multiposenet.commands.train import detector

if __name__ == "__main__":
    raise SystemExit(detector())

"""Train the refiner: see --help."""

from multiposenet.commands.train import refiner

if __name__ == "__main__":
    raise SystemExit(refiner())

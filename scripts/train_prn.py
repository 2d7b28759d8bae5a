"""Train the Pose Residual Network: see --help."""

from multiposenet.commands.train import prn

if __name__ == "__main__":
    raise SystemExit(prn())

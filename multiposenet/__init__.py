"""MultiPoseNet for Keras: people, their joints and their activity from one look at a picture."""

__version__ = "0.1.0"

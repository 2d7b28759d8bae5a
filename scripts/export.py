"""Write a model as one file for ONNX Runtime, OpenVINO, LiteRT or TensorFlow Serving: see --help."""

from multiposenet.commands.export import main

if __name__ == "__main__":
    raise SystemExit(main())

"""Installation: `pip install -e .` from a checkout, with extras `demo`, `export`, `ray`, `retinanet`, `test`."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
RETINANET = ["keras-retinanet==1.0.0"]  # the archived reference our detector is tested against; needs gcc
EXPORT = ["onnx", "tf2onnx>=1.17", "onnxruntime", "openvino", "ai-edge-litert"]  # an older tf2onnx wants protobuf 3
DEMO = ["gradio>=6.31", "scikit-image"]  # the page of demo.py; the pictures of infer.py --sample
RAY = ["ray[data]>=2.60,<2.64"]  # infer.py --engine ray; 2.64 takes away how often a block is retried
NOTEBOOKS = ["nbclient", "nbformat", "ipykernel"]  # tests/test_notebooks.py runs them

setup(
    name="multiposenet",
    version=next(line.split('"')[1] for line in (HERE / "multiposenet/__init__.py").read_text().splitlines()
                 if line.startswith("__version__")),
    description="MultiPoseNet for Keras: people, their joints and their activity from one look at a picture",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["multiposenet", "multiposenet.*"]),
    package_data={"multiposenet": ["pretrained/*"]},
    install_requires=["tensorflow>=2.16", "keras>=3.15", "numpy", "opencv-python-headless", "pycocotools", "scikit-learn",
                      "matplotlib", "tqdm", "pyyaml", "pydantic>=2", "pillow", "h5py", "supervision", "tensorboard",
                      "av>=15.1"],  # videos; supervision depends on it too
    extras_require={
        "demo": DEMO,
        "export": EXPORT,
        "docs": ["pdoc"],  # the API reference, CONTRIBUTING.md
        "ray": RAY,
        "retinanet": RETINANET,
        "test": ["pytest", "pytest-xdist", "hypothesis", "jax", *NOTEBOOKS, *DEMO, *EXPORT, *RAY, *RETINANET],
    },
    entry_points={"console_scripts": [
        "multiposenet-infer = multiposenet.commands.infer:main",
        "multiposenet-train-keypoints = multiposenet.commands.train:keypoints",
        "multiposenet-train-detector = multiposenet.commands.train:detector",
        "multiposenet-train-refiner = multiposenet.commands.train:refiner",
        "multiposenet-train-prn = multiposenet.commands.train:prn",
        "multiposenet-train-activity = multiposenet.commands.train:activity",
        "multiposenet-demo = multiposenet.commands.demo:main",
        "multiposenet-build-activity-dataset = multiposenet.commands.build_activity_dataset:main",
        "multiposenet-benchmark = multiposenet.commands.benchmark:main",
        "multiposenet-evaluate = multiposenet.commands.evaluate:main",
        "multiposenet-export = multiposenet.commands.export:main",
        "multiposenet-import-weights = multiposenet.commands.import_weights:main",
        "multiposenet-inspect-data = multiposenet.commands.inspect_data:main",
        "multiposenet-merge-weights = multiposenet.commands.merge:main",
    ]},
)

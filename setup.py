"""Installs the package `lib`, and `transcmd`, the same under another name. The commands in `tracking/` run from the
checkout."""

from pathlib import Path

from setuptools import find_packages, setup

DEPLOY = ("onnx", "openvino")  # export and runtimes of trained networks; docs/deploy.md says what a runtime alone needs
EVENTS = ("aedat", "h5py")  # files of event cameras
DEVELOPMENT = ("ruff", "pytest", "hypothesis", "scipy", "rgbt", "selenium")

lines = (Path(__file__).parent / "requirements.txt").read_text(encoding="utf-8").splitlines()
requirements = [line for line in lines if line.strip() and not line.startswith("#")]

setup(
    name="transcmd",
    version="0.1.0",
    description="Cross-modality distillation for multi-modal tracking (RGB-T, RGB-D, RGB-E)",
    license="MIT",
    python_requires=">=3.10",
    packages=[*find_packages(include=["lib", "lib.*"]), "transcmd"],
    package_data={"lib.data.datasets": ["splits/*.txt"], "lib.report": ["report_template.html", "*.js"]},
    extras_require={
        "deploy": [line for line in requirements if line.startswith(DEPLOY)],
        "events": [line for line in requirements if line.startswith(EVENTS)],  # .aedat4 and .h5 files
        "wandb": ["wandb>=0.16"],  # train.py --logger
        "mlflow": ["mlflow>=2.9"],
    },
    install_requires=[line for line in requirements if not line.startswith(DEVELOPMENT + DEPLOY + EVENTS)],
)

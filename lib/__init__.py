"""TransCMD: cross-modality distillation for multi-modal (RGB + thermal, depth or event) tracking."""

__version__ = "0.1.0"

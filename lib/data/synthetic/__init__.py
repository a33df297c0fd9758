"""Synthetic RGB + thermal, depth and event sequences, in the layouts of LasHeR, DepthTrack and VisEvent.

In every sequence, the target is invisible in RGB in some frames and invisible in the auxiliary modality in others, so
that only a tracker that uses both can follow it. The modules in order of the data flow: motion and appearance → scene
(a description) → render (arrays) → write (files).
"""

from lib.data.synthetic.dataset import read_manifest, write_datasets
from lib.data.synthetic.render import ATTRIBUTES, Rendered, render_scene
from lib.data.synthetic.scene import DATASETS, GENERATOR_VERSION, Scene, make_scene, sequence_name
from lib.data.synthetic.write import digest

__all__ = [
    "ATTRIBUTES",
    "DATASETS",
    "GENERATOR_VERSION",
    "Rendered",
    "Scene",
    "digest",
    "make_scene",
    "read_manifest",
    "render_scene",
    "sequence_name",
    "write_datasets",
]

"""Version 2 of the generator: sequences that are drawn from photographs on request, with no file written.

A frame is a pure function of (textures, seed, split, index, frame), at random access. The modules in order of the data
flow: textures (pictures in memory) → scene (a description of one sequence) → render (colours and auxiliary values of
any part of a frame) → sensors (the two images) → sequence (the interface of a data set).
"""

from lib.data.synthetic.v2.sequence import DrawnSequence
from lib.data.synthetic.v2.textures import TextureKeys, Textures

__all__ = ["DrawnSequence", "TextureKeys", "Textures"]

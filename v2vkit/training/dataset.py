"""The names of `v2vkit.training.data` of before; goes with their last users."""

from v2vkit.training.data.batch import VideoBatch as Sequence
from v2vkit.training.data.batch import downsampled as halved
from v2vkit.training.data.batch import mirrored, stack
from v2vkit.training.data.dataset import VideoDataset as SequenceDataset
from v2vkit.training.data.sampler import Window

__all__ = ["Sequence", "SequenceDataset", "Window", "halved", "mirrored", "stack"]

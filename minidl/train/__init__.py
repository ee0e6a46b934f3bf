"""Training: the loop, run folders, pictures. Takes modules and data sets as objects and knows no architecture."""

from minidl.train.loop import BaseTrainer, DivergedError
from minidl.train.run import RunFolder
from minidl.train.trainer import Trainer, evaluate

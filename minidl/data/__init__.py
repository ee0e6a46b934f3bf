"""Data sets, transforms, loaders and downloads."""

from minidl.data import transforms
from minidl.data.collate import default_collate
from minidl.data.dataset import ConcatDataset, Dataset, ImageArrays, Subset, TensorDataset, random_split
from minidl.data.digits import Digits
from minidl.data.idx import read_idx
from minidl.data.loader import DataLoader
from minidl.data.mnist import MNIST, FashionMNIST

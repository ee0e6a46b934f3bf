"""Data sets, transforms, loaders and downloads."""

from minidl.data import box_transforms, transforms
from minidl.data.cifar import CIFAR10, CIFAR100
from minidl.data.coco import CocoDetection
from minidl.data.collate import default_collate
from minidl.data.dataset import ConcatDataset, Dataset, ImageArrays, Subset, TensorDataset, random_split
from minidl.data.detection import DetectionDataset, detection_collate, pad_images
from minidl.data.digits import Digits
from minidl.data.folder import ImageFiles, ImageFolder, PackedImages
from minidl.data.idx import read_idx
from minidl.data.imagenet import ImageNet, Imagenette
from minidl.data.loader import DataLoader
from minidl.data.mnist import MNIST, FashionMNIST
from minidl.data.prefetch import prefetch
from minidl.data.scenes import Scenes
from minidl.data.voc import BCCD, VOCDetection

"""Paths of the checkout, the shared folder next to it, and the shipped model."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "marketlens-resnet50"
SHARED = ROOT.parent / "shared"
LISTINGS = SHARED / "listings"
WEIGHTS = SHARED / "weights" / "resnet50-imagenet.safetensors.xz"

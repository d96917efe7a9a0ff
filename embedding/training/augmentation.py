"""Random augmentation of training photos, with torchvision's transforms."""

from torchvision.transforms import InterpolationMode, v2


def train_transform(size: int) -> v2.Compose:
    """PIL image -> uint8 tensor (3, size, size), randomly varied as another phone photo of the item may vary.

    Crop, shift, mirror, tilt, change the light, blur, compress again. Colours change little: photos of a listing share
    a room and its light, which helps to find them.
    """
    return v2.Compose(
        [
            v2.RandomResizedCrop((size, size), scale=(0.35, 1.0), ratio=(0.7, 1.43), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.RandomRotation(10, InterpolationMode.BILINEAR)], p=0.2),
            v2.ColorJitter(brightness=0.25, contrast=0.15, saturation=0.15, hue=0.02),
            v2.RandomApply([v2.GaussianBlur(5, (0.1, 1.5))], p=0.1),
            v2.PILToTensor(),
            v2.RandomApply([v2.JPEG((40, 90))], p=0.2),
        ]
    )

"""Worker of benchmarks.peers: embeds a folder of photos with one package.

    python -m benchmarks.workers.embedder_peers PACKAGE MODEL

Each package runs in its own environment and is loaded once, including weights, before the first measurement. Measured
times include reading and decoding the files. All weights except ours are random, because they cannot be downloaded
here; speed does not depend on them. Each package reads, batches and calls its network in its own way, or as its
documentation shows.
"""

import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.workers.worker_process import answer_all

BATCH = 64

Embed = Callable[[Path], object]


def main() -> None:
    """Answer each folder with the seconds that its photos took."""
    packages: dict[str, Callable[[Path], Embed]] = {
        "marketlens": marketlens,
        "student": student,
        "clip-retrieval": clip_retrieval,
        "img2vec": img2vec,
        "timm": timm,
    }
    embed = packages[sys.argv[1]](Path(sys.argv[2]))

    def seconds(folder: str) -> float:
        started = time.perf_counter()
        reported = embed(Path(folder))
        return reported if isinstance(reported, float) else time.perf_counter() - started

    answer_all(seconds)


def marketlens(model: Path) -> Embed:
    """Run `marketlens ingest` into an empty Milvus Lite, including writes and ledger, which the others do not have."""
    from benchmarks.workers.ingest_worker import Job, run_ingest
    from catalog.exports.export import open_export

    def embed(folder: Path) -> float:
        export = str(folder / "manifest.csv")
        return run_ingest(Job("c ingest, Lite", export, str(model), "milvus.db"), open_export(export))

    return embed


def student(_: Path) -> Embed:
    """Run the student system: one photo at a time, raw pixels of 0 to 255, the network left in training mode."""
    import numpy as np
    import torch
    import torchvision.models
    from PIL import Image

    network = torchvision.models.resnet50()  # the student system never calls eval()

    def embed_photo(file: Path) -> Any:
        pixels = np.asarray(Image.open(file).convert("RGB").resize((224, 224)), np.float32)
        with torch.no_grad():
            return network(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].numpy()  # 1000-d, not normalised

    return lambda folder: [embed_photo(file) for file in files(folder)]


def clip_retrieval(_: Path) -> Embed:
    """Run clip-retrieval's reader with its default workers and batches, and the steps of its mapper for each batch."""
    import open_clip
    import torch

    # Load only the reader: the package itself imports its web server, sentence-transformers and wandb.
    package = importlib.util.find_spec("clip_retrieval")
    assert package and package.submodule_search_locations
    file = Path(package.submodule_search_locations[0]) / "clip_inference" / "reader.py"
    spec = importlib.util.spec_from_file_location("clip_retrieval_reader", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    network, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32", pretrained=None)
    network.eval()

    def embed(folder: Path) -> None:
        reader = module.FilesReader(lambda keys: keys, preprocess, None, str(folder), 256, 4, enable_text=False)
        for batch in reader:
            with torch.no_grad():
                features = network.encode_image(batch["image_tensor"])
                features /= features.norm(dim=-1, keepdim=True)
                features.cpu().to(torch.float16).numpy()

    return embed


def img2vec(_: Path) -> Embed:
    """Run img2vec_pytorch with its ResNet50 and lists of photos, as in its README."""
    import torchvision.models
    from img2vec_pytorch import img_to_vec
    from PIL import Image

    img_to_vec.resnet50 = lambda weights: torchvision.models.resnet50()  # noqa: ARG005 - otherwise it downloads them
    embedder = img_to_vec.Img2Vec(model="resnet50", layer_output_size=2048)
    return lambda folder: [
        embedder.get_vec([Image.open(file).convert("RGB") for file in batch]) for batch in batches(folder)
    ]


def timm(_: Path) -> Embed:
    """Run timm's ResNet50 as a feature extractor, with its own transform, as in its documentation."""
    import timm as models
    import torch
    from PIL import Image

    network = models.create_model("resnet50", pretrained=False, num_classes=0).eval()
    transform = models.data.create_transform(**models.data.resolve_model_data_config(network), is_training=False)

    def embed(folder: Path) -> None:
        for batch in batches(folder):
            with torch.inference_mode():
                network(torch.stack([transform(Image.open(file).convert("RGB")) for file in batch])).numpy()

    return embed


def files(folder: Path) -> list[Path]:
    """Return the photos of a folder, sorted."""
    return sorted(folder.glob("*.jpg"))


def batches(folder: Path) -> list[list[Path]]:
    """Return the photos of a folder in batches."""
    photos = files(folder)
    return [photos[start : start + BATCH] for start in range(0, len(photos), BATCH)]


if __name__ == "__main__":
    main()

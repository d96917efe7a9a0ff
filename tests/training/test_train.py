"""`marketlens train`: it writes a complete model, and never trains on held-out photos."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

import embedding.training.prepared_dataset
from catalog.errors import ExportUnreadable, InvalidSetting, MarketlensError, ModelBroken, OutputFailed
from catalog.exports.export import open_export
from catalog.photo_files.hosts import make_reader
from catalog.progress import silent
from embedding.card import ModelCard, read_card
from embedding.card_text import describe
from embedding.checkpoint import listing_hash, load_weights, trained_listing_hashes
from embedding.embedder import Embedder
from embedding.model import TwoPartHead, load_network
from embedding.model_import import load_start_weights
from embedding.training.augmentation import train_transform
from embedding.training.prepare import prepare
from embedding.training.prepared_dataset import PhotoDataset, TargetTable, read_prepared
from embedding.training.recipes import ListingTrainee, SeedTrainee, whiten
from embedding.training.train import TrainingArguments, train
from tests.support.commands import COMMAND, RunHere, marketlens
from tests.support.data.exports import write_export
from tests.support.data.pictures import picture

QUICK = TrainingArguments(
    recipe="listing",
    seed=0,
    head_epochs=2,
    epochs=2,
    batch_size=8,
    photo_size=32,
    learning_rate=1e-4,
    head_learning_rate=1e-3,
    patience=5,
)


def quick(**changes: object) -> TrainingArguments:
    return TrainingArguments.model_validate(QUICK.model_dump() | changes)


def prepared_from(export: Path, out: Path, seed: int = 0) -> Path:
    prepare([open_export(export)], out, seed=seed, read=make_reader(10_000_000, 20), advance=lambda _: None)
    return out


def run(
    prepared: Path,
    out: Path,
    weights: Path,
    arguments: TrainingArguments = QUICK,
    *,
    resume: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> ModelCard:
    card = train(prepared, out, arguments, weights=weights, resume=resume, progress=silent, say=say)
    assert card is not None
    return card


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set: 16 listings of two photos, two categories."""
    folder = tmp_path_factory.mktemp("train")
    return prepared_from(write_export(folder / "export", listings=16), folder / "prepared")


@pytest.fixture(scope="session")
def weights(random_model: Path) -> Path:
    """A resnet50() state dict."""
    return random_model.parent / "random.safetensors"


@pytest.fixture(scope="session")
def trained(prepared: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of the recipe `listing`, with all layers trained."""
    out = tmp_path_factory.mktemp("models") / "listing"
    run(prepared, out, weights)
    return out


@pytest.fixture(scope="session")
def seed_model(prepared: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of the recipe `seed`."""
    out = tmp_path_factory.mktemp("models") / "seed"
    run(prepared, out, weights, quick(recipe="seed"))
    return out


def test_folder(trained: Path) -> None:
    """The model folder is complete, with card and plots; the run folder keeps only logs and the sheet of misses."""
    assert {path.relative_to(trained).as_posix() for path in trained.rglob("*") if path.is_file()} >= {
        "model.safetensors",
        "model.json",
        "README.md",
        "trained-on.txt",
        "plots/loss.png",
        "plots/recall.png",
        "plots/confusion.png",
    }
    card = read_card(trained)
    assert card.training["arguments"]["recipe"] == "listing"
    assert card.categories == ["Garden", "Home"]
    assert card.metrics["recall_at_1"].queries == 2 * card.training["data"]["test"]["listings"]
    assert f"{card.metrics['recall_at_1'].mean:.3f}" in (trained / "README.md").read_text()
    log = trained.with_name("listing.run")
    names = {path.name.split(".tfevents")[0] for path in log.iterdir()}
    assert names <= {"arguments.json", "metrics.csv", "events.out", "worst-misses.png"}
    history = pd.read_csv(log / "metrics.csv")
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert history["phase"].tolist() == [0, 0, 1, 1, 2, 2]
    assert history[["loss", "recall_at_1", "head_top_1"]].notna().all(axis=None)


@pytest.mark.slow
def test_seeds(weights: Path, tmp_path: Path) -> None:
    """The card has the seed of the splits, not that of the training, so that the splits can be reproduced."""
    prepared = prepared_from(write_export(tmp_path / "export", listings=16), tmp_path / "prepared", seed=7)
    card = run(prepared, tmp_path / "m", weights, quick(seed=3, epochs=0))
    assert (card.training["data_seed"], card.training["arguments"]["seed"]) == (7, 3)
    assert "each category, seed 7." in (tmp_path / "m" / "README.md").read_text()
    card.training.pop("data_seed")
    assert "each category." in describe(card)


def test_no_photos_in_the_model_folder(trained: Path) -> None:
    """The sheet of worst misses shows sellers' photos, so it is in the run folder, not in the model folder."""
    assert not list(trained.rglob("worst-misses*"))


def test_embeds(trained: Path) -> None:
    """The trained model embeds, with at most 512 dimensions and unit length, and its category head classifies."""
    embedder = Embedder.load(trained)
    embeddings = embedder.embed([picture(1), picture(2)])
    assert embeddings.shape == (2, embedder.dim)
    assert embedder.dim <= 512
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    probabilities = embedder.classify(embeddings)
    assert probabilities is not None
    assert probabilities.shape == (2, 2)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_onnx_agrees(trained: Path) -> None:
    """ONNX Runtime and torch give the same embedding of a trained model."""
    model, _ = load_network(trained)
    embedder = Embedder.load(trained)
    pixels = np.stack([embedder.preprocess(picture(seed)) for seed in range(8)])
    with torch.inference_mode():
        expected = model(torch.from_numpy(pixels)).numpy()
    assert (embedder.embed_pixels(pixels) * expected).sum(axis=1).min() >= 0.9999


def test_all_layers_are_trained(trained: Path, weights: Path) -> None:
    """Epochs of all layers change even the first convolution, but not the statistics of batch norm."""
    before, after = load_file(weights), load_file(trained / "model.safetensors")
    for name in ("conv1.weight", "layer1.0.conv1.weight", "layer4.2.conv3.weight"):
        assert not torch.equal(before[name], after[f"trunk.{name}"]), name
    assert torch.equal(before["bn1.running_mean"], after["trunk.bn1.running_mean"])


def test_held_out_photos_are_never_read(
    prepared: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the model is measured, no photo of the test split and no near-identical one is opened."""
    opened: list[str] = []
    read_photo = embedding.training.prepared_dataset.read_photo
    opened_before_measuring: list[int] = []

    def recording_read(uri: str, limit: int) -> bytes:
        opened.append(uri)
        return read_photo(uri, limit)

    @contextmanager
    def bar(title: str, _total: int) -> Iterator[Callable[[int], None]]:
        if title == "Measuring":
            opened_before_measuring.append(len(opened))
        yield lambda _: None

    monkeypatch.setattr(embedding.training.prepared_dataset, "read_photo", recording_read)
    out = tmp_path / "m"
    # Without epochs of all layers, because those read in worker processes, which this test cannot observe.
    train(prepared, out, quick(epochs=0), weights=weights, resume=False, progress=bar, say=lambda _: None)
    photos = read_prepared(prepared).photos.set_index("uri")
    opened_photos = photos.loc[list(dict.fromkeys(opened[: opened_before_measuring[0]]))]
    held_out = photos[photos["split"] == "test"]
    assert set(opened_photos["split"]) == {"train", "val"}
    assert not set(opened_photos["group"]) & set(held_out["group"])
    assert not trained_listing_hashes(out) & {listing_hash(listing_id) for listing_id in held_out["listing_id"]}
    assert trained_listing_hashes(out) == {
        listing_hash(listing_id) for listing_id in photos[photos["split"] != "test"]["listing_id"]
    }


def test_batches_come_from_train_alone(prepared: Path) -> None:
    """The batches of every epoch contain only rows of the train split."""
    data = read_prepared(prepared)
    table = TargetTable(data.split("train"), data.categories)
    assert len(table.listing) == len(data.split("train"))
    from embedding.training.train import _batches

    for epoch in range(3):
        batches = _batches(QUICK, table, epoch)
        assert {row for batch in batches for row in batch} <= set(range(len(table.listing)))
        for batch in batches:
            assert len(np.unique(table.category[batch])) <= 2
            # Two photos of each listing, so that each has another one to find.
            assert (np.unique(table.listing[batch], return_counts=True)[1] == 2).all()
        assert batches == _batches(QUICK, table, epoch)
    assert _batches(QUICK, table, 0) != _batches(QUICK, table, 1)


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_run(
    prepared: Path, weights: Path, tmp_path: Path, trained: Path
) -> None:
    """A run that is killed after an epoch and resumed has the metrics of an uninterrupted run."""
    lines = 0

    def kill(_: str) -> None:
        nonlocal lines
        lines += 1
        if lines == 4:  # in the second epoch of all layers, before it was saved
            raise KeyboardInterrupt

    out = tmp_path / "m"
    with pytest.raises(KeyboardInterrupt):
        run(prepared, out, weights, say=kill)
    assert not out.exists()
    run(prepared, out, weights, resume=True)
    uninterrupted = pd.read_csv(trained.with_name("listing.run") / "metrics.csv")
    resumed = pd.read_csv(tmp_path / "m.run" / "metrics.csv")
    assert resumed["epoch"].tolist() == uninterrupted["epoch"].tolist()
    assert np.allclose(resumed["loss"], uninterrupted["loss"], rtol=0.02)


def start_and_kill(prepared: Path, out: Path, weights: Path) -> Path:
    """Start a run, kill it after its second epoch, and return the path of its state."""
    lines: list[str] = []

    def kill(line: str) -> None:
        lines.append(line)
        if len(lines) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(prepared, out, weights, quick(epochs=0, head_epochs=4), say=kill)
    return out.with_name(out.name + ".run") / "state.safetensors"


@pytest.mark.slow
def test_corrupt_checkpoint(prepared: Path, weights: Path, tmp_path: Path) -> None:
    """A state that is changed, truncated or a pickle is refused, and no model is written."""
    state = start_and_kill(prepared, tmp_path / "m", weights)
    whole = state.read_bytes()
    arguments = quick(epochs=0, head_epochs=4)
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    for broken in (bytes(changed), whole[: len(whole) // 2], b""):
        state.write_bytes(broken)
        with pytest.raises(ModelBroken, match=r"state\.safetensors") as error:
            run(prepared, tmp_path / "m", weights, arguments, resume=True)
        assert "--resume" in error.value.hint
    torch.save({"a": torch.zeros(1)}, state)
    with pytest.raises(ModelBroken):
        run(prepared, tmp_path / "m", weights, arguments, resume=True)
    assert not (tmp_path / "m").exists()
    state.write_bytes(whole)
    assert run(prepared, tmp_path / "m", weights, arguments, resume=True).fingerprint


@pytest.mark.slow
def test_run_folder_exists(prepared: Path, weights: Path, tmp_path: Path) -> None:
    """An existing run is never overwritten, and it cannot be resumed with other arguments."""
    start_and_kill(prepared, tmp_path / "m", weights)
    with pytest.raises(OutputFailed, match="exists already") as error:
        run(prepared, tmp_path / "m", weights)
    assert "--resume" in error.value.hint
    with pytest.raises(InvalidSetting, match="head_epochs was 4"):
        run(prepared, tmp_path / "m", weights, quick(epochs=0, head_epochs=5), resume=True)
    with pytest.raises(ModelBroken, match="no run to resume"):
        run(prepared, tmp_path / "other", weights, resume=True)


def test_model_folder_exists(prepared: Path, weights: Path, tmp_path: Path) -> None:
    """An existing model folder is refused before anything is read."""
    (tmp_path / "m").mkdir()
    with pytest.raises(OutputFailed, match="exists already"):
        run(prepared, tmp_path / "m", weights)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    "place",
    ["embedding.training.run_folder.save_file", pytest.param("embedding.checkpoint.save_file", marks=pytest.mark.slow)],
)
def test_disk_full(prepared: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """If the disk is full, during a run or at its end, the error says so and no incomplete model is left."""

    def fill(_tensors: object, path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(place, fill)
    with pytest.raises(OutputFailed, match="No space left"):
        run(prepared, tmp_path / "m", weights, quick(epochs=0))
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]
    assert not (tmp_path / "m").exists()


def test_single_category(tmp_path: Path, weights: Path) -> None:
    """An export with one category is refused by its name, because there is nothing to tell apart."""
    prepared = prepared_from(write_export(tmp_path / "e", listings=8, categories=["Home"]), tmp_path / "p")
    with pytest.raises(ExportUnreadable, match="only the category 'Home'"):
        run(prepared, tmp_path / "m", weights)
    assert not (tmp_path / "m.run").exists()


@pytest.mark.slow
def test_category_of_two_listings(tmp_path: Path, weights: Path) -> None:
    """A category with two listings is trained on, although it has none to measure with."""
    export = write_export(tmp_path / "e", listings=12, categories=["A", "A", "A", "A", "A", "B"])
    card = run(prepared_from(export, tmp_path / "p"), tmp_path / "m", weights, quick(epochs=0))
    assert card.categories == ["A", "B"]


def test_single_photos(tmp_path: Path, weights: Path) -> None:
    """If no listing has two photos, the error says that "find the other photo" cannot be learned."""
    prepared = prepared_from(write_export(tmp_path / "e", listings=12, photos_each=1), tmp_path / "p")
    with pytest.raises(ExportUnreadable, match="no listing with two photos"):
        run(prepared, tmp_path / "m", weights)


@pytest.mark.parametrize("what", ["nothing", "garbled"])
def test_no_data_set(tmp_path: Path, weights: Path, what: str) -> None:
    """A folder that is not a prepared data set is refused, with the command that creates one."""
    (tmp_path / "p").mkdir()
    if what == "garbled":
        (tmp_path / "p" / "photos.parquet").write_bytes(b"PAR1 no")
        (tmp_path / "p" / "categories.json").write_text("{}")
    with pytest.raises(ExportUnreadable) as error:
        run(tmp_path / "p", tmp_path / "m", weights)
    assert "marketlens prepare" in error.value.hint


def test_missing_photo(prepared: Path, weights: Path, tmp_path: Path) -> None:
    """The error names a photo that was deleted after the data set was prepared."""
    copy = Path(shutil.copytree(prepared, tmp_path / "p"))
    photos = pd.read_parquet(copy / "photos.parquet")
    photos.loc[photos.index[photos["split"] == "train"][0], "uri"] = str(tmp_path / "gone.jpg")
    photos.to_parquet(copy / "photos.parquet")
    with pytest.raises(ExportUnreadable, match=r"gone\.jpg"):
        run(copy, tmp_path / "m", weights)


def test_diverged(prepared: Path, weights: Path, tmp_path: Path) -> None:
    """A learning rate that is far too large gives an error, not a model of NaN."""
    with pytest.raises(MarketlensError, match="diverged"):
        run(prepared, tmp_path / "m", weights, quick(recipe="seed", head_learning_rate=1e30))
    assert not (tmp_path / "m").exists()


@pytest.mark.slow
def test_seed_recipe(seed_model: Path, weights: Path) -> None:
    """The baseline is the student system: frozen trunk, fine-tuned last layer, 1000-d, without the extra layers."""
    before, after = load_file(weights), load_file(seed_model / "model.safetensors")
    trunk = {name: tensor for name, tensor in before.items() if not name.startswith("fc.")}
    assert all(torch.equal(tensor, after[f"trunk.{name}"]) for name, tensor in trunk.items())
    assert not torch.equal(before["fc.weight"], after["head.fc.weight"])
    assert after.keys() == {f"trunk.{name}" for name in trunk} | {"head.fc.weight", "head.fc.bias"}
    embedder = Embedder.load(seed_model)
    assert embedder.dim == 1000
    assert embedder.classify(embedder.embed([picture(1)])) is None
    assert read_card(seed_model).metrics["head_top_1"].queries > 0


def test_cross_entropy_is_on_logits(prepared: Path, weights: Path) -> None:
    """There is no softmax before the cross-entropy: a confident correct prediction has a loss near 0."""
    start, data = load_start_weights(weights), read_prepared(prepared)
    table = TargetTable(data.split("train"), data.categories)
    trainee = SeedTrainee(start, categories=2).eval()
    torch.nn.init.zeros_(trainee.extra_layers[-1].weight)
    targets = table[[0]]
    trainee.extra_layers[-1].bias.data = torch.where(torch.arange(2) == targets.category, 20.0, -20.0)
    loss = trainee.losses(torch.rand(1, 3584), targets)["category"]
    assert loss < 1e-6
    listing = ListingTrainee(start, table, categories=2).eval()
    pooled_features = torch.rand(4, 3584)
    targets = table[[0, 1, 2, 3]]
    expected = 0.5 * cross_entropy(listing.logits(pooled_features), targets.category, label_smoothing=0.1)
    assert torch.allclose(listing.losses(pooled_features, targets)["category"], expected, atol=1e-5)


def test_whitened_start() -> None:
    """A whitened layer gives centred, uncorrelated outputs of similar variance."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(500, 12, generator=generator) @ torch.randn(12, 12, generator=generator) + 3
    layer = torch.nn.Linear(12, 6)
    whiten(layer, inputs)
    outputs = layer(inputs).detach()
    covariance = torch.cov(outputs.T)
    assert outputs.mean(dim=0).abs().max() < 1e-3
    assert (covariance - covariance.diag().diag()).abs().max() < 1e-3
    assert 0.2 < covariance.diag().min() <= covariance.diag().max() < 1


def test_parts_of_an_embedding(trained: Path) -> None:
    """A cosine is the weighted sum of its parts' cosines, and the kind part can be read from the embedding."""
    model, card = load_network(trained)
    head, config = model.head, card.architecture.head
    assert isinstance(head, TwoPartHead)
    assert config.kind == "two_part"
    pooled_features = torch.rand(2, 3584, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        embeddings = head(pooled_features)
        item, kind = embeddings[:, : config.item_dim], head.kind_part(embeddings)
    parts = (
        torch.nn.functional.cosine_similarity(item[:1], item[1:]),
        torch.nn.functional.cosine_similarity(kind[:1], kind[1:]),
    )
    expected = (1 - config.kind_share) * parts[0] + config.kind_share * parts[1]
    assert torch.allclose(embeddings[0] @ embeddings[1], expected, atol=1e-5)
    assert torch.allclose(kind.std(dim=1, correction=0), torch.ones(2), atol=1e-3)


def test_augmentation() -> None:
    """Augmentation differs each time, gives uint8 of the requested size, and is reproducible by seed."""
    transform = train_transform(48)
    image = picture(3, (120, 90))
    torch.manual_seed(0)
    first, second = transform(image), transform(image)
    assert first.shape == (3, 48, 48)
    assert first.dtype == torch.uint8
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(first, transform(image))


def test_title_words(prepared: Path) -> None:
    """Words that many titles share are targets, one row per photo; titles without any give none."""
    data = read_prepared(prepared)
    photos = data.split("train").assign(title="")
    assert TargetTable(photos, data.categories).words.shape == (len(photos), 0)
    photos["title"] = ["Oak table" if number % 2 else "Red bike" for number in range(len(photos))]
    listed = photos.drop_duplicates("listing_id").assign(title="Oak table")
    assert TargetTable(listed, data.categories)[[0, 1]].words.tolist() == [[1, 1], [1, 1]]


def test_dataset_reads_what_ingest_reads(prepared: Path) -> None:
    """Training uses the decoder of ingest and search: upright, RGB."""
    photos = read_prepared(prepared).photos
    image = PhotoDataset(photos, lambda image: torch.tensor(image.size))[0]
    assert image.tolist() == [64, 48]


@pytest.mark.slow
def test_two_workers(prepared: Path, weights: Path, tmp_path: Path) -> None:
    """Under torchrun two processes share the batches and write one model."""
    torchrun = [COMMAND.with_name("torchrun"), "--standalone", "--nproc-per-node", "2", "-m", "marketlens"]
    small = ["--head-epochs", 1, "--epochs", 1, "--photo-size", 32, "--batch-size", 8]
    done = marketlens(
        "train",
        prepared,
        "--out",
        "m",
        "--weights",
        weights,
        *small,
        cwd=tmp_path,
        command=torchrun,
        OMP_NUM_THREADS="1",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Model ") == 1
    assert Embedder.load(tmp_path / "m").dim == 512
    assert json.loads((tmp_path / "m" / "model.json").read_text())["training"]["arguments"]["epochs"] == 1


def test_training_leaves_faiss_alone() -> None:
    """The imports of training do not replace FAISS' methods, which Milvus Lite calls with search parameters."""
    assert "torch" not in faiss.IndexFlat.search.__qualname__
    index = faiss.IndexFlatIP(2)
    index.add(np.eye(2, dtype=np.float32))
    everything = faiss.SearchParameters(sel=faiss.IDSelectorAll())
    assert index.search(np.eye(2, dtype=np.float32), 1, params=everything)[1].tolist() == [[0], [1]]


def test_command(prepared: Path, tmp_path: Path, run_here: RunHere) -> None:
    """Invalid arguments and paths give an error message without a traceback."""
    for arguments, words in (
        (("--batch-size", 6), "--batch-size 6"),
        (("--weights", "none.safetensors"), "none.safetensors"),
    ):
        done = run_here("train", prepared, "--out", "m", *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_retrain_command(
    trained: Path, prepared: Path, weights: Path, random_model: Path, tmp_path: Path, run_here: RunHere
) -> None:
    """`retrain` trains again with the arguments of an evaluated model; a model that was not trained is refused."""
    arguments = ("retrain", trained, prepared, "--out", "again", "--weights", weights)
    done = run_here(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    card = read_card(tmp_path / "again")
    assert f"Model {card.fingerprint[:12]} in again" in done.stdout
    trained_arguments = read_card(trained).training["arguments"]
    assert card.training["arguments"].items() >= (trained_arguments | {"twin": read_card(trained).fingerprint}).items()
    refused = run_here("retrain", random_model, prepared, "--out", "other", cwd=tmp_path)
    assert (refused.returncode, "was not made by marketlens train" in refused.stderr) == (3, True)


def test_a_balanced_model_is_measured_again(trained: Path, prepared: Path, tmp_path: Path, run_here: RunHere) -> None:
    """With another share, the command measures and calibrates again; the trained weights stay."""
    before = read_card(trained)
    done = run_here("model", "balance", trained, prepared, "--kind-share", "0.9", "--out", "kind", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    card = read_card(tmp_path / "kind")
    assert f"Model {card.fingerprint[:12]} in kind." in done.stdout
    assert card.training["balanced_from"] == before.fingerprint
    assert card.metrics.keys() == before.metrics.keys()
    assert card.metrics["head_top_1"].mean == pytest.approx(before.metrics["head_top_1"].mean)
    assert card.calibration != before.calibration
    assert load_weights(tmp_path / "kind").keys() == load_weights(trained).keys()

"""`marketlens train`: from a prepared data set to a model folder, in one straight line. Also runs under torchrun."""

import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
from more_itertools import chunked
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from catalog.atomic_files import refuse_existing
from catalog.errors import ExportUnreadable, InvalidSetting, ModelBroken
from catalog.progress import Progress
from embedding.card import ModelCard
from embedding.evaluation.measurement import measure
from embedding.model_import import load_start_weights
from embedding.training.augmentation import train_transform
from embedding.training.metric_learning import HierarchicalSampler, common_functions
from embedding.training.prepared_dataset import PhotoDataset, TargetTable, check_trainable, read_prepared
from embedding.training.recipes import Recipe, Trainee, make_trainee
from embedding.training.run_folder import BEST, METRICS, RunFolder, RunState
from embedding.training.trained_model import save_trained_model
from embedding.training.words import TITLE_SHARE, Lesson, learn_words
from embedding.transforms import embed_transform

# Photos per listing and categories per batch: few categories, so that the listings are hard to tell apart.
_PER_LISTING, _CATEGORIES_PER_BATCH = 2, 2
_EMA_DECAY = 0.97
_LOWER_LAYERS_RATE = 0.25
_WARM_UP_SHARE = 0.1
_FEATURES = "levels-{}.safetensors"
_PHASES = ("Head", "All layers", "Head again")


class TrainingArguments(BaseModel):
    """Arguments of a run. The recipe `seed` trains only its head, as the student system did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe
    seed: int
    head_epochs: int = Field(ge=1, description="epochs of the head alone, on cached features of the frozen trunk")
    epochs: int = Field(ge=0, description="epochs of all layers, after the head epochs")
    batch_size: int = Field(ge=4, multiple_of=_PER_LISTING * _CATEGORIES_PER_BATCH)
    photo_size: int = Field(ge=32, description="side of a training photo, pixels")
    learning_rate: float = Field(gt=0, description="peak learning rate of layer4")
    head_learning_rate: float = Field(gt=0)
    patience: int = Field(ge=1, description="stop after so many epochs without improvement")


def train(  # noqa: PLR0912, PLR0915 - one straight line on purpose
    prepared: Path,
    out: Path,
    arguments: TrainingArguments,
    *,
    weights: Path | None,
    resume: bool,
    progress: Progress,
    say: Callable[[str], None],
    twin: ModelCard | None = None,
) -> ModelCard | None:
    """Train a model; return None in every worker but the first. The run folder is `<out>.run`, next to `out`.

    With a `twin`, a model that was trained and measured with the same arguments, train on all splits for as many epochs
    as the twin kept, and copy its figures and calibration, because no data is left to measure on.

    Raises ExportUnreadable, ModelMissing, ModelBroken, InvalidSetting, OutputFailed.
    """
    refuse_existing(out)
    rank, world, device = _join_process_group()
    data = read_prepared(prepared)
    check_trainable(data)
    start = load_start_weights(weights)
    run_arguments = arguments.model_dump() | {"prepared": str(prepared), "weights": start.parent}
    run_arguments |= {"twin": twin.fingerprint} if twin else {}
    folder = out.with_name(out.name + ".run")
    # Only the first worker writes.
    run = (
        RunFolder(folder)
        if rank
        else RunFolder.resume(folder, run_arguments)
        if resume
        else RunFolder.create(folder, run_arguments)
    )
    started = time.monotonic()
    train_photos, val_photos = data.photos if twin else data.split("train"), data.split("val")
    table = TargetTable(train_photos, data.categories)
    torch.manual_seed(arguments.seed)

    trainee = make_trainee(arguments.recipe, start, table, len(data.categories))
    trainee.to(device).to(memory_format=torch.channels_last)
    embed = embed_transform(trainee.model.transform)
    datasets = [PhotoDataset(photos, embed) for photos in (train_photos, val_photos)]
    train_features, val_features = _load_or_extract_features("start", trainee, run, datasets, progress)
    trainee.initialize_head(train_features, table)
    # A running mean of the weights is validated and saved: it is steadier than the weights of the last step.
    averaged = AveragedModel(trainee, multi_avg_fn=get_ema_multi_avg_fn(_EMA_DECAY))  # type: ignore[no-untyped-call]
    groups = _parameter_groups(trainee, arguments)
    # The momentum of the student system's SGD is unknown; 0.9 is the usual value.
    optimizer: torch.optim.Optimizer = (
        torch.optim.SGD(groups, momentum=0.9)
        if arguments.recipe == "seed"
        else torch.optim.AdamW(groups, weight_decay=0.05)
    )

    history: list[dict[str, float]] = []
    if resume and (state := run.load_state()):
        _restore_state(state, averaged, trainee, optimizer)
        history = state.progress["history"]
    replica = DistributedDataParallel(trainee, find_unused_parameters=True) if world > 1 else trainee
    log = SummaryWriter(str(folder)) if rank == 0 else None

    # First the head alone, so that its first steps do not harm the trunk; last the head alone again, on photos
    # transformed as for embedding: Touvron et al., "Fixing the train-test resolution discrepancy", 2019.
    all_layers_epochs = 0 if arguments.recipe == "seed" else arguments.epochs
    plan = [arguments.head_epochs, all_layers_epochs, arguments.head_epochs if all_layers_epochs else 0]
    for phase, planned in enumerate(twin.training["epochs"] if twin else plan):
        epochs_done = sum(row["phase"] == phase for row in history)
        if epochs_done == planned or (history and history[-1]["phase"] > phase):
            continue
        train_all_layers = phase == 1
        if phase == 2:
            if not epochs_done:
                trainee.load_state_dict(averaged.module.state_dict())
            train_features, val_features = _load_or_extract_features("trained", trainee, run, datasets, progress)
        for phase_epoch in range(epochs_done, planned):
            epoch = len(history)
            if phase_epoch and epoch - _best_epoch(history) >= arguments.patience:
                say(f"No improvement in the last {arguments.patience} epochs.")
                break
            torch.manual_seed(arguments.seed * 1_000 + epoch * world + rank)
            batches = _batches(arguments, table, epoch)
            batches = batches[: len(batches) // world * world][rank::world]
            inputs: Iterable[Tensor] = map(train_features.__getitem__, batches)
            if train_all_layers:
                inputs = _augmented(train_photos, batches, arguments, epoch)
            trainee.train()
            # Batch norm keeps ImageNet's statistics: those of small batches of two categories would be noise.
            trainee.model.trunk.eval().requires_grad_(train_all_layers)
            sums: dict[str, float] = {}
            with progress(f"{_PHASES[phase]} {phase_epoch + 1}/{planned}", sum(map(len, batches))) as advance:
                for step, (rows, batch) in enumerate(zip(batches, inputs, strict=True)):
                    _set_learning_rate(optimizer, (phase_epoch + step / len(batches)) / plan[phase])
                    with _mixed_precision(device):
                        losses = replica(batch.to(device), table[rows].to(device))
                    loss = torch.stack(list(losses.values())).sum()
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    averaged.update_parameters(trainee)
                    for name, value in (losses | {"loss": loss}).items():
                        sums[name] = sums.get(name, 0.0) + float(value.detach()) / len(batches)
                    advance(len(rows))
            if not math.isfinite(sums["loss"]):
                raise InvalidSetting(
                    f"Training diverged in epoch {epoch + 1}: the loss is not finite.",
                    hint="Use a smaller --learning-rate.",
                )
            history.append({"epoch": epoch + 1, "phase": phase, **sums})
            if not twin:
                val_inputs = datasets[1] if train_all_layers else val_features
                history[-1] |= _validate(cast(Trainee, averaged.module), val_inputs, val_photos, data.categories)
            say(_format_epoch(history[-1]))
            if log:
                for name, value in history[-1].items():
                    log.add_scalar(name, value, epoch + 1)
                if _best_epoch(history) == epoch + 1:
                    run.save(BEST, averaged.module.state_dict())
                run.save_state(
                    {f"averaged.{name}": tensor for name, tensor in averaged.state_dict().items()}
                    | {f"trainee.{name}": tensor for name, tensor in trainee.state_dict().items()},
                    optimizer,
                    {"history": history},
                )
                run.write(METRICS, pd.DataFrame(history).to_csv(index=False))

    if rank:
        return None
    trainee.load_state_dict(run.load(BEST)[0])
    best = _best_epoch(history)
    facts = {
        "arguments": run_arguments,
        "best_epoch": best,
        "epochs": [sum(row["phase"] == phase for row in history[:best]) for phase in range(len(plan))],
        "device": str(device),
        "seconds": round(time.monotonic() - started),
    }
    words = None
    if arguments.recipe == "listing":
        features = run.load(_FEATURES.format("trained" if all_layers_epochs else "start"))[0]["0"].to(device)
        embeddings, _ = trainee.embed_and_classify(features)
        lesson = Lesson.of(train_photos, embeddings, data.categories)
        head = trainee.model.architecture.head
        try:
            words = learn_words(lesson, head, TITLE_SHARE, seed=arguments.seed, progress=progress)
        except ExportUnreadable as error:  # the photos are worth a model without words
            say(f"The model has no words. {error.message}")
    return save_trained_model(out, run, trainee, words, data, start, facts, pd.DataFrame(history), progress, twin)


def _join_process_group() -> tuple[int, int, torch.device]:
    """Return rank, number of workers and device; torchrun sets the first two."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    cuda = torch.cuda.is_available()
    if world > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if cuda else "gloo")
    return rank, world, torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")


def _mixed_precision(device: torch.device) -> torch.autocast:
    """Use bfloat16 if the hardware supports it: on such a CPU it is twice as fast as float32."""
    if device.type == "cuda":
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        supported = bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    return torch.autocast(device.type, torch.bfloat16, enabled=supported)


def _load_or_extract_features(
    name: str, trainee: Trainee, run: RunFolder, datasets: list[PhotoDataset], progress: Progress
) -> list[Tensor]:
    """Return pooled features by the current trunk, extracted once, so that an epoch of the head takes seconds."""
    file = _FEATURES.format(name)
    if not (run.path / file).exists() and (not distributed.is_initialized() or distributed.get_rank() == 0):
        with progress("Reading", sum(map(len, datasets))) as advance, _mixed_precision(trainee.device):
            features = [trainee.extract_dataset_features(dataset, advance) for dataset in datasets]
        run.save(file, {str(number): tensor for number, tensor in enumerate(features)})
    if distributed.is_initialized():
        distributed.barrier()
    stored, _ = run.load(file)
    return [stored[str(number)].to(trainee.device) for number in range(len(datasets))]


def _batches(arguments: TrainingArguments, table: TargetTable, epoch: int) -> list[list[int]]:
    """Return the rows of each batch of an epoch: the same on every worker and in a resumed run."""
    random = np.random.RandomState(arguments.seed * 1_000 + epoch)
    size = arguments.batch_size
    if arguments.recipe == "seed":
        return list(chunked(random.permutation(len(table.listing)).tolist(), size))
    common_functions.NUMPY_RANDOM = random
    pairs = math.comb(len(np.unique(table.category)), _CATEGORIES_PER_BATCH)
    sampler = HierarchicalSampler(
        np.stack([table.listing, table.category], axis=1),
        batch_size=size,
        samples_per_class=_PER_LISTING,
        super_classes_per_batch=_CATEGORIES_PER_BATCH,
        batches_per_super_tuple=max(1, round(len(table.listing) / (size * pairs))),
    )
    return [[int(row) for row in batch] for batch in sampler]


def _augmented(
    photos: pd.DataFrame, batches: list[list[int]], arguments: TrainingArguments, epoch: int
) -> Iterable[Tensor]:
    """Load the photos of the batches, each augmented at random."""
    return DataLoader(
        PhotoDataset(photos, train_transform(arguments.photo_size)),
        batch_sampler=batches,
        num_workers=max(1, min(8, (os.cpu_count() or 1) - 1)),
        generator=torch.Generator().manual_seed(arguments.seed * 1_000 + epoch),
        pin_memory=torch.cuda.is_available(),
    )


def _parameter_groups(trainee: Trainee, arguments: TrainingArguments) -> list[dict[str, object]]:
    """Set learning rates: head fastest, layer4 slower, lower layers slowest, because they already tell items apart."""
    trunk = dict(trainee.model.trunk.named_parameters())
    top = [parameter for name, parameter in trunk.items() if name.startswith("layer4.")]
    below = [parameter for name, parameter in trunk.items() if not name.startswith("layer4.")]
    heads = [parameter for name, parameter in trainee.named_parameters() if not name.startswith("model.trunk.")]
    rates = (arguments.head_learning_rate, arguments.learning_rate, arguments.learning_rate * _LOWER_LAYERS_RATE)
    return [
        {"params": parameters, "peak": rate, "lr": rate}
        for parameters, rate in zip((heads, top, below), rates, strict=True)
    ]


def _set_learning_rate(optimizer: torch.optim.Optimizer, progress: float) -> None:
    """Warm up linearly, then decay along a cosine to zero; `progress` is the share of the phase, 0 to 1."""
    scale = min(progress / _WARM_UP_SHARE + 0.01, 1.0) * 0.5 * (1 + math.cos(math.pi * progress))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * scale


def _validate(
    trainee: Trainee, inputs: PhotoDataset | Tensor, photos: pd.DataFrame, categories: list[str]
) -> dict[str, float]:
    """Compute the figures on the validation split."""
    if isinstance(inputs, PhotoDataset):
        with _mixed_precision(trainee.device):
            inputs = trainee.extract_dataset_features(inputs)
    embeddings, probabilities = trainee.embed_and_classify(inputs)
    values = measure(photos, embeddings, probabilities, categories).photos
    names = ("recall_at_1", "recall_at_10", "category_p_at_1", "head_top_1", "head_top_3")
    return {name: float(values[name].mean()) for name in names}


def _best_epoch(history: list[dict[str, float]]) -> int:
    """Return the epoch to keep, one of the last phase: each phase continues from the end of the previous one.

    The criterion is what shoppers and staff notice, recall@1 plus the category head's top-1, never a loss. If nothing
    is measured, it is the last epoch.
    """
    rows = [row for row in history if row["phase"] == history[-1]["phase"]]
    if "recall_at_1" not in rows[-1]:
        return len(history)
    scores = [row["recall_at_1"] + row["head_top_1"] for row in rows]
    return len(history) - len(rows) + int(np.argmax(scores)) + 1


def _restore_state(
    state: RunState, averaged: AveragedModel, trainee: Trainee, optimizer: torch.optim.Optimizer
) -> None:
    try:
        for prefix, module in (("averaged.", averaged), ("trainee.", trainee)):
            module.load_state_dict(
                {name.removeprefix(prefix): tensor for name, tensor in state.tensors.items() if name.startswith(prefix)}
            )
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state.optimizer, "param_groups": groups})
    except (RuntimeError, ValueError, KeyError) as error:
        raise ModelBroken(
            f"The saved state does not match this run: {error}", hint="Train again without --resume."
        ) from error


def _format_epoch(row: dict[str, float]) -> str:
    shown = {"loss": "loss", "recall_at_1": "recall@1", "category_p_at_1": "category P@1", "head_top_1": "head top-1"}
    return "  ".join(
        [f"epoch {row['epoch']:.0f}", *(f"{label} {row[name]:.3f}" for name, label in shown.items() if name in row)]
    )

"""The model card: the content of `model.json` as a text (Mitchell et al., "Model Cards for Model Reporting", 2019)."""

from embedding.card import ModelCard, TwoPartHeadConfig

CARD_TEXT = "README.md"

LABELS = {
    "recall_at_1": "recall@1, the other photo of the listing",
    "recall_at_5": "recall@5",
    "recall_at_10": "recall@10",
    "category_p_at_1": "category P@1, without the own listing",
    "category_p_at_10": "category P@10",
    "category_vote": "category, vote of ten neighbours",
    "category_map_at_r": "category mAP@R",
    "head_top_1": "category head, top-1",
    "head_top_3": "category head, top-3",
    "leaky_category_p_at_1": "category P@1, with the own listing (the leak of a split by photo)",
}

_TWIN = (
    "- Trained on all three splits. The figures below and the calibration are those of its twin, fingerprint `{}`, "
    "which was trained with the same arguments and number of epochs on the train split only."
)
_BALANCED = (
    "- Balanced after training (`marketlens model balance`): the kind of thing makes up {} of a cosine, the item the "
    "rest. This was the only choice made with the test split."
)


def describe(card: ModelCard) -> str:
    """Render the card as Markdown."""
    arguments, data = card.training["arguments"], card.training["data"]
    figures = [
        f"| {label} | {figure.mean:.3f} | {figure.low:.3f} to {figure.high:.3f} | {figure.queries:,} |"
        for name, label in LABELS.items()
        if (figure := card.metrics.get(name))
    ]
    splits = [f"| {name} | {counts['listings']:,} | {counts['photos']:,} |" for name, counts in data.items()]
    # The seed of the splits, not of the training. Models of earlier versions do not have it.
    seed = card.training.get("data_seed")
    head, is_balanced = card.architecture.head, "balanced_from" in card.training
    lines = [
        f"# {card.name}",
        "",
        f"Written by `marketlens train`. ResNet50, photos squeezed to {card.transform.size} x {card.transform.size} "
        f"pixels, embeddings of {head.dim} dimensions and unit length, compared by cosine"
        + (f"; a category head for {head.categories} categories." if head.categories else "; no category head."),
        "",
        f"- Trained by the recipe `{arguments['recipe']}` from {card.parent}.",
        f"- Epoch {card.training['best_epoch']} was kept, chosen by recall@1 and the head's top-1 on the validation "
        "split.",
        *([_TWIN.format(arguments["twin"][:12])] if "twin" in arguments else []),
        *([_BALANCED.format(head.kind_share)] if isinstance(head, TwoPartHeadConfig) and is_balanced else []),
        f"- Licence: {card.licence}.",
        f"- Weights stored as {card.stored_as}" + ("; calculates in int8." if card.arithmetic == "int8" else "."),
        "",
        "## Data",
        "",
        "Split by listing and by group of near-identical photos, with the same shares in each category"
        + (f", seed {seed}." if seed is not None else "."),
        "",
        "| split | listings | photos |",
        "|---|---|---|",
        *splits,
        "",
        "## On the test split" + ("" if is_balanced else ", which was not used for any choice"),
        "",
        "| figure | mean | 95 % interval | queries |",
        "|---|---|---|---|",
        *figures,
        "",
        "Intervals: bootstrap over listings. Each photo is searched among all others of the split; recall falls "
        "slowly as a catalogue grows.",
        "",
    ]
    if card.calibration is not None:
        lines += [
            "## Probability of the same item",
            "",
            f"1 / (1 + exp(-({card.calibration.slope:.2f} x cosine {card.calibration.intercept:+.2f}))), fitted on "
            f"{card.calibration.pairs:,} pairs of a validation photo and one of its ten nearest; expected calibration "
            f"error on test pairs {card.training['calibration_error']:.3f}. It is valid for a catalogue like this one: "
            "among many more photos, look-alikes are nearer.",
            "",
        ]
    lines += [
        "## Limits",
        "",
        "- It was trained on one marketplace's photos and the categories that its sellers chose, mistakes included.",
        f"- Its category names are those of the data: {'; '.join(card.categories) or 'none'}.",
        "- It takes two photos for the same item if they look alike: another copy of a mass product does, the same "
        "sofa from behind may not.",
        "- It was not made to recognise people and must not be used for that.",
        "",
    ]
    return "\n".join(lines).rstrip() + "\n"

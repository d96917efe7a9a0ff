"""The model card: the content of `model.json` as a text (Mitchell et al., "Model Cards for Model Reporting", 2019)."""

from embedding.card import ModelCard, TextConfig, TwoPartHeadConfig

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
    "title_top_1": "category by the title, top-1",
    "title_top_3": "category by the title, top-3",
    "together_top_1": "category by photo and title, top-1",
    "together_top_3": "category by photo and title, top-3",
    "words_recall_at_1": "a title finds a photo of its listing first, photos stored without titles",
    "words_recall_at_10": "the same among the first 10",
    "words_recall_at_100": "the same among the first 100",
    "words_category_p_at_10": "a title's ten nearest photos of other listings that have its category",
    "photos_only_recall_at_1": "recall@1, photos stored without titles",
    "photos_only_recall_at_10": "recall@10, photos stored without titles",
    "photos_only_category_p_at_1": "category P@1, photos stored without titles",
    "photos_only_category_p_at_10": "category P@10, photos stored without titles",
    "photos_only_category_vote": "category, vote of ten, photos stored without titles",
    "leaky_category_p_at_1": "category P@1, with the own listing (the leak of a split by photo)",
}

_TWIN = (
    "- Trained on all three splits. The figures below and the calibration are those of its twin, fingerprint `{}`, "
    "which was trained with the same arguments and number of epochs on the train split only."
)
_ALL_SPLITS = "- The photos' tower was trained on all three splits. Its twin has the fingerprint `{}`."
_SHARES = (
    "- Balanced after training: the kind of thing makes up {} of a cosine of two photos, the item the rest. If this "
    "share and the title's were chosen by the figures below, these are a little too good."
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
    is_measured_anew = "held_out_listings" in card.training.get("words", {})
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
        *([(_ALL_SPLITS if is_measured_anew else _TWIN).format(arguments["twin"][:12])] if "twin" in arguments else []),
        *([_describe_words(card.architecture.text, card.training["words"])] if card.architecture.text else []),
        *(
            [(_SHARES if is_measured_anew else _BALANCED).format(head.kind_share)]
            if isinstance(head, TwoPartHeadConfig) and is_balanced
            else []
        ),
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
        "## On listings that the model was not trained on"
        if is_measured_anew
        else "## On the test split" + ("" if is_balanced else ", which was not used for any choice"),
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
        error = card.training.get("calibration_error")
        lines += [
            "## Probability of the same item",
            "",
            f"1 / (1 + exp(-({card.calibration.slope:.2f} x cosine {card.calibration.intercept:+.2f}))), fitted on "
            f"{card.calibration.pairs:,} pairs of a held-out photo and one of its ten nearest"
            + ("" if error is None else f"; expected calibration error on test pairs {error:.3f}")
            + ". It is valid for a catalogue like this one: among many more photos, look-alikes are nearer.",
            "",
        ]
    if card.words_calibration is not None:
        lines += [
            "## Probability that a photo shows the kind of thing that the words name",
            "",
            f"1 / (1 + exp(-({card.words_calibration.slope:.2f} x cosine {card.words_calibration.intercept:+.2f}))), "
            f"fitted on {card.words_calibration.pairs:,} pairs of a held-out title and one of the ten nearest photos "
            "of other listings, which agree if category and subcategory are equal.",
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


def _describe_words(text: TextConfig, facts: dict[str, int]) -> str:
    sentences = [
        f"- A text tower of {text.features:,} words and pieces of words, learned from the titles of "
        f"{facts['listings']:,} listings.",
        f"A stored vector is {text.title_share:.0%} title, the rest photo.",
    ]
    if "held_out_listings" in facts:
        sentences.append(
            f"The figures are of a twin that was learned without {facts['held_out_listings']:,} of these listings; the "
            "photos' tower does not know them either."
        )
    return " ".join(sentences)

"""The source of a search, converted to examples. Pure."""

from catalog.errors import InvalidQuery
from search_api.schemas import Example, Source

_KINDS = ("photos_base64", "photo_id", "listing_id", "embedding", "query_id", "positives", "uploads")


def positives_of(source: Source, uploads: int, *, all_uploads: bool = True) -> list[Example]:
    """Return the positive examples of a source that came with `uploads` photos. Raises InvalidQuery.

    With `all_uploads`, every uploaded photo has to be used, and photos that no field names are the source.
    """
    examples_given = (*(source.positives or ()), *source.negatives)
    named = {example.upload for example in examples_given if example.upload is not None}
    if all_uploads and uploads and source.uploads is None and not named:
        source = source.model_copy(update={"uploads": list(range(uploads))})
    given = [kind for kind in _KINDS if getattr(source, kind) is not None]
    if source.text is not None and not given:
        given = ["text"]
    if len(given) != 1:
        raise InvalidQuery(
            f"A search has exactly one source, and this one has {' and '.join(given) or 'none'}.",
            hint="Send photos (multipart or photos_base64), text, or one of photo_id, listing_id, embedding, query_id "
            "and positives. Text and negatives can be combined with any of them.",
        )
    (kind,) = given
    named |= set(source.uploads or ())
    if missing := [number for number in sorted(named) if number >= uploads]:
        raise InvalidQuery(f"There is no uploaded photo {missing[0]}: {uploads} were sent, counted from 0.")
    if all_uploads and (unused := set(range(uploads)) - named):
        raise InvalidQuery(f"The uploaded photo {min(unused)} is not used by any field.")
    match kind:
        case "positives":
            examples = source.positives or []
        case "uploads":
            examples = [Example(upload=number) for number in source.uploads or ()]
        case "photos_base64":
            examples = [Example(photo_base64=text) for text in source.photos_base64 or ()]
        case _:
            examples = [Example.model_validate({kind: getattr(source, kind)})]
    if source.box is not None:
        if kind not in {"photos_base64", "photo_id", "uploads"} or len(examples) > 1:
            raise InvalidQuery(
                f"A box is a part of one photo; here it comes with {kind}.",
                hint="Send one photo or its photo_id. To use boxes with examples, set the box of each example.",
            )
        examples = [example.model_copy(update={"box": source.box}) for example in examples]
    if source.text is not None and kind != "text":
        # As heavy as all the others together.
        examples = [*examples, Example(text=source.text, weight=sum(example.weight for example in examples))]
    return examples

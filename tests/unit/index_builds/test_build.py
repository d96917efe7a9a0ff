"""Fill builds in a real Milvus Lite: no photo is lost or embedded twice, and all counts add up."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from catalog.errors import BuildRefused, ModelMismatch, NotFound
from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from index_builds.build import BuildMethod, resume_build, start_build
from tests.support.data.builds import OTHER, OtherEngine, new_build, other_embedder, run
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport
from tests.support.data.models import fake_embedder, random_copy, with_words, worded_embedder
from tests.support.data.pictures import jpeg, picture


@pytest.fixture
def export(make_export: MakeExport) -> Path:
    return make_export(listings=8, photos_each=2)


@pytest.fixture
def catalogue(export: Path, embedder: Embedder, photos: PhotoCollection) -> PhotoCollection:
    """A live collection of sixteen photos."""
    ingest_export(export, embedder, photos)
    return photos


def test_the_same_model_copies_embeddings(catalogue: PhotoCollection, export: Path) -> None:
    """Changing index parameters needs no photos: no file is read, and the embeddings are identical."""
    for photo in (export / "images").iterdir():
        photo.unlink()
    info = new_build(catalogue, catalogue.info().fingerprint, IndexSettings(type="HNSW"))
    report = run(catalogue, info, None)
    assert (report.read, report.copied) == (16, 16)
    ids = ["l0-0", "l7-1"]
    assert np.array_equal(catalogue.at(info).reader.embeddings(ids), catalogue.reader.embeddings(ids))
    assert catalogue.at(info).info().index.type == "HNSW"


def test_another_model_embeds_every_photo_once(catalogue: PhotoCollection) -> None:
    """The build has the new model's embeddings and the old records, including their ingest time."""
    embedder, engine = other_embedder()
    info = new_build(catalogue)
    report = run(catalogue, info, embedder)
    assert (report.embedded, engine.photos) == (16, 16)
    old, new = catalogue.reader.embeddings(["l3-0"]), catalogue.at(info).reader.embeddings(["l3-0"])
    assert np.allclose(new, old[:, ::-1], atol=1e-6)
    assert catalogue.at(info).reader.photo("l3-0") == catalogue.reader.photo("l3-0")


def test_unreadable_photos_are_rejected(catalogue: PhotoCollection, export: Path) -> None:
    """A photo that can no longer be read is rejected once, with its reason; a later run embeds it if it is back."""
    (export / "images" / "l1-0.jpg").unlink()
    (export / "images" / "l2-1.jpg").write_bytes(b"[bold]no photo[/bold]")
    embedder, engine = other_embedder()
    info = new_build(catalogue)
    report = run(catalogue, info, embedder)
    assert (report.read, report.embedded) == (16, 14)
    assert {rejected.photo_id: rejected.reason for rejected in report.rejected.values()} == {
        "l1-0": "missing",
        "l2-1": "not_an_image",
    }
    (export / "images" / "l1-0.jpg").write_bytes(jpeg(picture(1)))
    second = run(catalogue, info, embedder)
    assert (second.embedded, list(second.rejected), engine.photos) == (1, ["l2-1"], 15)


def test_a_stopped_build_is_resumed(catalogue: PhotoCollection) -> None:
    """Photos that the build already holds are not embedded again; its state is `building` until it is complete."""

    def stop(photos: int) -> None:
        if photos == 8:
            raise KeyboardInterrupt

    info = new_build(catalogue)
    with pytest.raises(KeyboardInterrupt):
        run(catalogue, info, other_embedder(stop)[0])
    assert catalogue.builds.describe(info.name).state == "building"
    embedder, engine = other_embedder()
    assert run(catalogue, info, embedder).embedded == engine.photos == 8


def test_the_live_collection_may_change_during_a_build(catalogue: PhotoCollection) -> None:
    """New, changed and removed photos are carried over before the build becomes ready."""
    cheaper = catalogue.reader.photo("l0-0")
    cheaper = replace(
        cheaper, photo=replace(cheaper.photo, listing=replace(cheaper.photo.listing, price=0.5)), ingested_at=1
    )
    new = replace(cheaper, photo=replace(cheaper.photo, photo_id="new"), sha256="e" * 64)

    def change(photos: int) -> None:
        if photos == 12:
            catalogue.writer.upsert([cheaper, new], catalogue.reader.embeddings(["l0-0", "l0-1"]))
            catalogue.writer.remove(["l0-1", "l7-1"])

    embedder, engine = other_embedder(change)
    info = new_build(catalogue)
    report = run(catalogue, info, embedder)
    build = catalogue.at(info)
    assert build.reader.count() == catalogue.reader.count() == 15
    assert build.reader.photo("l0-0") == cheaper
    assert build.reader.photo("new") == new
    assert (report.copied, report.embedded) == (1, engine.photos)


def test_a_collection_that_keeps_changing(catalogue: PhotoCollection) -> None:
    """The build fails with an error and does not become ready."""
    changes = iter(range(1_000))

    def change(_: int) -> None:
        photo = catalogue.reader.photo("l0-0")
        catalogue.writer.upsert([replace(photo, sha256=f"{next(changes):064x}")], catalogue.reader.embeddings(["l0-0"]))

    info = new_build(catalogue)
    with pytest.raises(BuildRefused, match="keeps changing"):
        run(catalogue, info, other_embedder(change)[0])
    assert catalogue.builds.describe(info.name).state == "building"


def test_changed_bytes_are_left_for_the_next_ingest(catalogue: PhotoCollection, export: Path) -> None:
    """A build keeps the record of a photo whose bytes changed, so the next ingest notices the change."""
    (export / "images" / "l5-0.jpg").write_bytes(jpeg(picture(99)))
    info = new_build(catalogue)
    run(catalogue, info, other_embedder()[0])
    catalogue.builds.promote(catalogue.builds.describe(info.name))
    promoted = PhotoCollection(catalogue._milvus, IndexSettings(), "Session")
    report = ingest_export(export, other_embedder()[0], promoted)
    assert (report.embedded, report.unchanged) == (1, 15)


def test_a_build_takes_over_count_and_date(catalogue: PhotoCollection, embedder: Embedder, export: Path) -> None:
    """A promoted build has the current time of last change and number of photos, even if it was filled before."""

    def live() -> PhotoCollection:
        return catalogue.at(catalogue.builds.live())

    catalogue.notes.end_changes(at=1_700_000_000)
    info = new_build(catalogue, catalogue.info().fingerprint)
    run(catalogue, info, None)
    catalogue.builds.promote(catalogue.builds.describe(info.name))
    assert (live().notes.changed_at(), live().notes.lost()) == (1_700_000_000, 0)
    live().writer.remove(["l0-0"])
    assert live().notes.lost() == 1
    assert ingest_export(export, embedder, live()).photos == 16
    catalogue.builds.rollback()
    for name in ("Products.csv", "Images.csv"):
        rows = [row for row in (export / name).read_text().splitlines() if ",l7," not in f"{row},"]
        (export / name).write_text("\n".join(rows) + "\n")
    assert ingest_export(export, embedder, live(), sync=True).removed == 2
    live().notes.end_changes(at=1_700_000_001)
    run(catalogue, info, None)
    catalogue.builds.promote(catalogue.builds.describe(info.name))
    assert (live().reader.count(), live().notes.lost(), live().notes.changed_at()) == (14, 0, 1_700_000_001)


def test_start_and_resume(catalogue: PhotoCollection, random_model: Path, tmp_path: Path) -> None:
    """A build records its model's folder; no second build starts until it is complete; resuming needs its model."""
    info, method = start_build(catalogue, random_model, IndexSettings(), own=tmp_path)
    assert method.embedder is not None
    assert (info.fingerprint, info.model, info.state) == (method.embedder.fingerprint, str(random_model), "building")
    with pytest.raises(BuildRefused, match="not complete") as caught:
        start_build(catalogue, random_model, IndexSettings(), own=tmp_path)
    assert "--resume" in caught.value.hint
    assert f"drop {info.name}" in caught.value.hint
    resumed, method = resume_build(catalogue, None, own=tmp_path)
    assert resumed.name == info.name
    assert method.embedder is not None
    catalogue.builds.drop(info)
    other = new_build(catalogue)
    with pytest.raises(ModelMismatch, match=other.name):
        resume_build(catalogue, random_model, own=tmp_path)
    catalogue.builds.drop(other)
    with pytest.raises(NotFound):
        resume_build(catalogue, None, own=tmp_path)


def test_the_live_model_is_recorded_for_rollback(lite: MilvusSettings, random_model: Path, tmp_path: Path) -> None:
    """If a collection does not record its model's folder, the settings' folder is recorded if it holds that model."""
    photos = PhotoCollection.connect(lite, IndexSettings(), consistency="Session")
    try:
        live_embedder = Embedder.load(random_model)
        photos.ensure(live_embedder.fingerprint, live_embedder.dim)
        info, method = start_build(
            photos, random_copy(random_model, tmp_path / "copy"), IndexSettings(), own=random_model
        )
        assert method == BuildMethod()  # the same model in another folder
        assert photos.builds.live().model == str(random_model)
        assert info.model == str(tmp_path / "copy")
    finally:
        photos.close()


def test_titles_are_mixed_anew_without_photos(export: Path, photos: PhotoCollection) -> None:
    """A model with the same photos and other words: the build has its vectors, and no photo is read."""
    plain, worded, reworded = fake_embedder(), worded_embedder("0d" * 32), worded_embedder("0e" * 32, 0.2, seed=9)
    ingest_export(export, plain, photos)
    alone = photos.reader.embeddings(["l3-0"])
    title = [photos.reader.photo("l3-0").photo.listing.title]
    for photo in (export / "images").iterdir():
        photo.unlink()
    method = BuildMethod(new_words=worded)
    info = new_build(photos, worded.fingerprint)
    assert run(photos, info, None, method).copied == 16
    assert "without reading photos" in str(method)
    assert np.allclose(photos.at(info).reader.embeddings(["l3-0"]), worded.add_titles(alone, title), atol=1e-5)
    photos.builds.promote(photos.builds.describe(info.name))
    # From one set of words to another: the photo is recovered first.
    info = new_build(photos, reworded.fingerprint)
    run(photos, info, None, BuildMethod(old_words=worded, new_words=reworded))
    assert np.allclose(photos.at(info).reader.embeddings(["l3-0"]), reworded.add_titles(alone, title), atol=1e-5)


def test_a_retitled_photo_in_a_build(catalogue: PhotoCollection) -> None:
    """A title that changes while another model's build is filled is mixed into the vector that the build has."""
    engine = OtherEngine()
    worded = worded_embedder(OTHER)
    embedder = Embedder(worded.card, engine, words=worded.words)
    info = new_build(catalogue)
    run(catalogue, info, embedder)
    stored = catalogue.reader.photo("l3-0")
    listing = replace(stored.photo.listing, title="old oak table")
    renamed = replace(stored, photo=replace(stored.photo, listing=listing))
    catalogue.writer.upsert([renamed], catalogue.reader.embeddings(["l3-0"]))
    assert run(catalogue, info, embedder).copied == 1
    vector = catalogue.at(info).reader.embeddings(["l3-0"])
    alone = np.ascontiguousarray(catalogue.reader.embeddings(["l3-0"])[:, ::-1])
    assert np.allclose(vector, embedder.add_titles(alone, ["old oak table"]), atol=1e-5)


def test_a_model_with_words_is_recognised(random_model: Path, tmp_path: Path, photos: PhotoCollection) -> None:
    """A collection from before the model had words is brought over without photos, in both directions of words."""
    embedder = Embedder.load(random_model)
    photos.ensure(embedder.fingerprint, embedder.dim, model=str(random_model))
    worded = with_words(random_model, tmp_path / "worded", seed=1)
    info, method = start_build(photos, worded, IndexSettings(), own=tmp_path)
    assert (method.embedder, method.old_words) == (None, None)
    assert method.new_words is not None
    photos.builds.finish(info.name)
    photos.builds.promote(photos.builds.describe(info.name))
    _, method = start_build(photos, with_words(random_model, tmp_path / "again", seed=2), IndexSettings(), own=tmp_path)
    assert method.embedder is None
    assert method.old_words is not None
    assert method.old_words.fingerprint == info.fingerprint

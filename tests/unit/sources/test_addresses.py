import pytest

from catalog.errors import PhotoUnusable
from catalog.photo_files.addresses import folder_of, host_of, is_url, join_below, name_of


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://cdn.example/a.jpg", True),
        ("s3://bucket/a.jpg", True),
        ("simplecache::https://cdn.example/a.jpg", False),
        ("https://cdn.example/a.jpg::file:///etc/hostname", False),
        ("zip://a.jpg::/exports/a.zip", False),
        ("file:///etc/hostname", False),
        ("images/a.jpg", False),
        ("/images/a.jpg", False),
        ("C:\\images\\a.jpg", False),
        ("c://images/a.jpg", False),
        ("", False),
    ],
)
def test_is_url(location: str, url: bool) -> None:
    """Paths are not URLs, not even with a drive letter."""
    assert is_url(location) is url


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("https://CDN.example:8000/a.jpg?x", "https://cdn.example:8000"),
        ("http://name:secret@cdn.example/a.jpg", "http://cdn.example"),
        ("http://cdn.example?x=/@other", "http://cdn.example"),
        ("http://[oops/x.jpg", "http://[oops"),
        ("s3://bucket/a/b@c.jpg", "s3://bucket"),
        ("zip://a.jpg::s3://bucket/a.zip", "s3://bucket"),
        ("zip://https://x/a.jpg::/exports/a.zip", ""),
        ("/exports/https://x/a.jpg", ""),
    ],
)
def test_host(uri: str, host: str) -> None:
    """The host of a URI has no password; for an archive's member it is the archive's host; this machine is ''."""
    assert host_of(uri) == host


@pytest.mark.parametrize(
    ("root", "path", "uri"),
    [
        ("https://h/d/", "a b#?%20.jpg", "https://h/d/a%20b%23%3F%2520.jpg"),
        ("https://h/d?key=1", "x/../ü.jpg", "https://h/d/%C3%BC.jpg"),
        ("s3://b/d", "a b#?%20.jpg", "s3://b/d/a b#?%20.jpg"),
        ("zip://::/e/a.zip", "./images/urn::1.jpg", "zip://images/urn::1.jpg::/e/a.zip"),
        ("tar://top::s3://b/a.tar", "images/1.jpg", "tar://top/images/1.jpg::s3://b/a.tar"),
    ],
)
def test_below(root: str, path: str, uri: str) -> None:
    """A photo's path is a name, not a URL: in http URLs its special characters are percent-encoded."""
    assert join_below(root, path) == uri


@pytest.mark.parametrize("root", ["https://h/d", "s3://b/d", "zip://top::/e/a.zip", "tar://::s3://b/a.tar"])
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../a.jpg", "outside_root"),
        ("x/../../a.jpg", "outside_root"),
        ("..", "outside_root"),
        ("/etc/hostname", "outside_root"),
        ("//h/a.jpg", "outside_root"),
        ("a\0.jpg", "bad_path"),
    ],
)
def test_outside(root: str, path: str, reason: str) -> None:
    """No path leads out of the export's folder, local or remote."""
    with pytest.raises(PhotoUnusable) as error:
        join_below(root, path)
    assert error.value.reason == reason


@pytest.mark.parametrize(
    ("location", "folder", "name"),
    [
        ("https://h/d/m%20x.csv?key=a/b.zip#c", "https://h/d", "m x.csv"),
        ("https://h/o/exports%2Fm.csv?alt=media", "https://h/o", "m.csv"),
        ("https://h/o/..%2F%2Fhome%2Fme%2Fm.csv", "https://h/o", "m.csv"),
        ("s3://b/d/m?#.csv", "s3://b/d", "m?#.csv"),
        ("d/m?#%20.csv", "d", "m?#%20.csv"),
    ],
)
def test_place(location: str, folder: str, name: str) -> None:
    """A URL's query is part of neither the manifest's name nor its folder, and a name contains no folder."""
    assert (folder_of(location), name_of(location)) == (folder, name)

"""Files are digested once each, by threads where they are large."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import histokit
from histokit.errors import PluginError
from histokit.features import FeatureStore
from histokit.ingest import digest_process, file_digests
from histokit.ingest.file_digests import FileDigests
from histokit.plugin import Dataset, Sample
from histokit.plugin.digests import digest_and_content, digest_file


class Files(Dataset):
    """Two samples of each file, and a file that is not there."""

    def samples(self) -> Iterator[Sample]:
        """Yield them."""
        for path in [*sorted(self.root.glob("*.bin")), Path("absent.bin")]:
            yield Sample(f"{path.name} 1", (path.name,))
            yield Sample(f"{path.name} 2", (path.name,))


class Own(Files):
    """Has digests of its own."""

    def file_digest(self, path: Path) -> bytes:
        """Return the name of the thread's digest."""
        self.threads = {*getattr(self, "threads", ()), threading.current_thread().name}
        return b"0123456789abcdef"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(300):
        (tmp_path / f"{number:03d}.bin").write_bytes(bytes([number % 256]) * (number + 1))
    return tmp_path


@pytest.mark.parametrize("large", [0, 1 << 40])
def test_large_files_are_digested_by_threads(root: Path, monkeypatch: pytest.MonkeyPatch, large: int) -> None:
    asked: list[tuple[str, str]] = []

    def seen(path: str, size: int) -> tuple[bytes, bytes | None]:
        asked.append((Path(path).name, threading.current_thread().name.partition("_")[0]))
        return digest_and_content(path, size)

    monkeypatch.setattr("histokit.plugin.digests.digest_and_content", seen)
    monkeypatch.setattr(digest_process, "digest_and_content", seen)
    monkeypatch.setattr(file_digests, "_LARGE", large)
    dataset = Files(root)
    digests = FileDigests(dataset, None, Path())
    found = []
    for sample in digests.ahead(dataset.samples()):
        found.append((sample.id, *(digests(path) for path in sample.image)))
    assert [name for name, _ in found] == [sample.id for sample in dataset.samples()]
    assert sorted(name for name, _ in asked) == [f"{number:03d}.bin" for number in range(300)]
    assert {thread for _, thread in asked} == ({"digest"} if large == 0 else {"MainThread"})
    assert digests.read == 300
    for number in (0, 255, 299):
        content = bytes([number % 256]) * (number + 1)
        state = found[2 * number][1]
        assert (state.size, state.digest) == (number + 1, hashlib.blake2b(content, digest_size=16).digest())
    assert "absent.bin cannot be read" in str(found[-1][1].reason)
    files = digests.to_rows().to_table()
    again = FileDigests(dataset, files, Path())
    assert len(files) == len({path for sample in dataset.samples() for path in sample.image})
    assert [list(again(row.pop("path"))) for row in files.to_pylist()] == [
        list(row.values())[1:] for row in files.to_pylist()
    ]
    assert again.read == 0


class FromTheTop(Files):
    """Names a file as if it stood at the top of the file system."""

    def samples(self) -> Iterator[Sample]:
        """Yield it."""
        yield Sample("top", ("/000.bin",))


@pytest.mark.parametrize("large", [0, 1 << 40])
def test_a_path_from_the_top_is_outside(root: Path, monkeypatch: pytest.MonkeyPatch, large: int) -> None:
    monkeypatch.setattr(file_digests, "_LARGE", large)
    dataset = FromTheTop(root)
    digests = FileDigests(dataset, None, Path())
    assert len(list(digests.ahead(dataset.samples()))) == 1
    assert digests("/000.bin").reason == f"/000.bin lies outside the dataset's root {root}"


def test_digests_of_a_plugin_are_asked_for_one_by_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_digests, "_LARGE", 0)
    dataset = Own(root)
    digests = FileDigests(dataset, None, Path())
    for sample in digests.ahead(dataset.samples()):
        digests(sample.image[0])
    assert dataset.threads == {"MainThread"}


def test_what_a_thread_fails_in_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, path: str) -> Any:
        raise PluginError("no digest", next="Mend it.")

    monkeypatch.setattr(file_digests, "_LARGE", 0)
    monkeypatch.setattr(FileDigests, "_look", broken)
    dataset = Files(root)
    with pytest.raises(PluginError, match="no digest"):
        list(FileDigests(dataset, None, Path()).ahead(dataset.samples()))


def test_a_file_of_more_than_one_block(tmp_path: Path) -> None:
    content = b"0123456789" * 250_000
    (tmp_path / "large").write_bytes(content)
    assert digest_file(tmp_path / "large") == hashlib.blake2b(content, digest_size=16).digest()


@pytest.mark.parametrize("large", [0, 1 << 40])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "is a pointer of Git LFS, not the file that it stands for: run git lfs pull, then ingest the dataset ag",
        ),
        (
            "/annex/objects/MD5E-s1--0\n",
            "is a pointer of git-annex, not the file that it stands for: run git annex get",
        ),
    ],
)
def test_pointers_in_the_place_of_images_are_told(
    root: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch, large: int, text: str, told: str
) -> None:
    monkeypatch.setattr(file_digests, "_LARGE", large)
    (root / "000.bin").unlink()
    histokit.ingest(store, Files(root), name="d")
    assert not [text for text in store.dataset("d").warnings if "pointer" in text]
    for name in ("041.bin", "007.bin"):
        (root / name).write_text(text)
    for _ in range(2):
        # The second time, their digests are known.
        histokit.ingest(store, Files(root), name="d")
        (warning,) = [text for text in store.dataset("d").warnings if "pointer" in text]
        assert warning.startswith(f"2 files are not what they should be; the first, 007.bin, {told}")

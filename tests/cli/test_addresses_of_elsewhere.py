"""An address of another machine in the place of a path is said to be not supported yet; a dry run writes nothing."""

import hashlib

import pytest

from histokit.errors import ExitCode


@pytest.mark.parametrize("address", ["s3://bucket/x", "gs://bucket", "az://c/y", "http://host/x", "file:///tmp/x"])
def test_addresses(extracted, images, tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    shown = address.replace("///", "//")
    table = f"{address}.csv"
    for arguments in (
        ["list", "datasets", "--store", address],
        ["ingest", "folder", images, "--name", "d", "--store", address],
        ["extract", "cells", "--backbone", "tiny", "--store", address],
        ["ingest", "folder", address, "--name", "d"],
        ["ingest", "table", images, "--name", "d", "-o", f"table={table}"],
        ["split", "cells", "--name", "s", "--from", table],
        ["import-features", "new", table, "--name", "x", "--version", "1", "--create"],
        ["extract", "cells", "--backbone", "squeezenet1_1", "--weights", address],
        ["export", "cells", "--features", "tiny/last", "--out", table],
        ["study", "plan", f"{address}.toml"],
    ):
        result = extracted.fails(*arguments, code=ExitCode.USAGE)
        assert f"error: {shown}" in result.err
        assert "are not supported yet" in result.err
    monkeypatch.setenv("HISTOKIT_STORE", address)
    assert "are not supported yet" in extracted.fails("list", "runs", code=ExitCode.USAGE).err
    assert {path.name for path in tmp_path.iterdir()} == {"images", "store"}


def test_a_folder_that_is_called_so(histokit, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    images.rename(tmp_path / "s3:/bucket")
    assert histokit.ok("ingest", "folder", "s3:/bucket", "--name", "d").out == "d\n"


def contents(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_dry_run_writes_nothing(extracted, tmp_path):
    before = contents(tmp_path / "store")
    for options in (
        ["--backbone", "tiny"],
        ["--backbone", "tiny", "--layers", "2", "--retry"],
        ["--backbone", "squeezenet1_1", "--weights", "random:7"],
        ["--backbone", "texture", "--layers", "all"],
    ):
        extracted.ok("extract", "cells", *options, "--dry-run")
    assert contents(tmp_path / "store") == before
    elsewhere = ["--store", tmp_path / "nowhere"]
    extracted.fails("extract", "cells", "--backbone", "tiny", "--dry-run", *elsewhere, code=ExitCode.STORE)
    assert not (tmp_path / "nowhere").exists()

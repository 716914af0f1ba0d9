"""Where weights are found, and what is said where they are not."""

import socket
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import huggingface_hub.constants
import pytest
import torch
from huggingface_hub.errors import GatedRepoError
from safetensors.torch import save_file

from histokit.errors import StoreError, UsageError
from histokit.plugin.weights import (
    Source,
    fetch,
    file_stem,
    in_folder,
    local_file,
    locate,
    normalise_weights,
    random_seed,
    seeded,
)

HUB = Source(repository="timm/tiny.v1")
URL = Source(url="https://download.pytorch.org/models/tiny-0123abcd.pth")


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


@pytest.fixture(autouse=True)
def no_caches(monkeypatch, tmp_path):
    monkeypatch.delenv("HISTOKIT_WEIGHTS", raising=False)
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_arguments, **_options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    path = tmp_path / "weights"
    path.mkdir()
    monkeypatch.setenv("HISTOKIT_WEIGHTS", str(path))
    return path


@pytest.mark.parametrize(
    ("given", "expected"), [("pretrained", "pretrained"), ("random", "random:0"), ("random:007", "random:7")]
)
def test_requests_have_one_form(given, expected):
    assert normalise_weights(given) == expected


def test_a_path_stays(tmp_path):
    path = touch(tmp_path / "net.pth")
    assert normalise_weights(str(path)) == str(path)


@pytest.mark.parametrize("given", ["random:x", "random:-1", "random:1.5", f"random:{2**63}"])
def test_a_seed_is_a_whole_number(given):
    with pytest.raises(UsageError, match="no whole number"):
        normalise_weights(given)


def test_a_missing_path_suggests_its_neighbour(tmp_path):
    touch(tmp_path / "resnet50.safetensors")
    with pytest.raises(UsageError) as caught:
        normalise_weights(str(tmp_path / "resnet5.safetensors"))
    assert "resnet50.safetensors" in caught.value.next


def test_a_misspelt_word_suggests_it():
    with pytest.raises(UsageError) as caught:
        normalise_weights("pretraind")
    assert "Did you mean 'pretrained'?" in caught.value.next


@pytest.mark.parametrize(("weights", "seed"), [("pretrained", None), ("random:3", 3), ("/x/random:3", None)])
def test_random_seed(weights, seed):
    assert random_seed(weights) == seed


def test_seeded_is_reproducible_and_leaves_no_trace():
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(4)
    with seeded(3):
        second = torch.rand(4)
    with seeded(4):
        third = torch.rand(4)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert torch.equal(before, torch.get_rng_state())


def test_a_folder_prefers_safetensors(tmp_path):
    touch(tmp_path / "pytorch_model.bin")
    assert local_file(str(tmp_path)) == tmp_path / "pytorch_model.bin"
    touch(tmp_path / "model.safetensors")
    assert local_file(str(tmp_path)) == tmp_path / "model.safetensors"


def test_a_folder_with_one_file_of_any_name(tmp_path):
    touch(tmp_path / "mine.pth")
    touch(tmp_path / "config.json")
    assert local_file(str(tmp_path)) == tmp_path / "mine.pth"


@pytest.mark.parametrize(("names", "message"), [([], "no weights file"), (["a.pth", "b.pth"], "2 weights files")])
def test_a_folder_without_one_clear_file(tmp_path, names, message):
    for name in names:
        touch(tmp_path / name)
    with pytest.raises(StoreError, match=message):
        local_file(str(tmp_path))


@pytest.mark.parametrize("weights", ["pretrained", "random:0"])
def test_words_are_no_files(weights):
    assert local_file(weights) is None


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("timm:mobilenetv2_100,pad_type=same", "timm.mobilenetv2_100"),
        ("timm:hf-hub:MahmoodLab/uni", "timm.hf-hub.MahmoodLab.uni"),
        ("resnet50", "resnet50"),
    ],
)
def test_names_of_files(name, stem):
    assert file_stem(name) == stem


def test_a_file_is_found_with_and_without_a_tag(folder):
    assert in_folder("timm:net") is None
    tagged = touch(folder / "timm.net.in1k-tf.safetensors")
    assert in_folder("timm:net,pad_type=same") == tagged
    assert in_folder("timm:net.in1k-tf") == tagged
    assert in_folder("timm:net.tv_in1k") is None
    assert in_folder("net") is None
    exact = touch(folder / "timm.net.safetensors")
    assert in_folder("timm:net") == exact


def test_several_tags_are_listed(folder):
    touch(folder / "timm.net.a1.safetensors")
    touch(folder / "timm.net.tv.safetensors")
    with pytest.raises(StoreError) as caught:
        in_folder("timm:net")
    assert "timm.net.a1.safetensors, timm.net.tv.safetensors" in caught.value.message
    assert in_folder("timm:net.tv") == folder / "timm.net.tv.safetensors"


def test_a_folder_that_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("HISTOKIT_WEIGHTS", str(tmp_path / "absent"))
    with pytest.raises(StoreError, match="not a folder"):
        in_folder("net")


def test_an_alias_is_looked_for_too(folder):
    path = touch(folder / "torchvision.squeezenet1_1.in1k.safetensors")
    assert locate("squeezenet1_1", lambda: pytest.fail("asked"), ("torchvision:squeezenet1_1",)) == path


def test_the_hub_cache_comes_next(tmp_path, offline):
    repository = tmp_path / "hub" / "models--timm--tiny.v1"
    path = touch(repository / "snapshots" / "abc" / "pytorch_model.bin")
    touch(repository / "refs" / "main").write_text("abc")
    assert fetch("timm:tiny", HUB) == path


def test_the_torch_cache_comes_next(tmp_path, offline):
    path = touch(tmp_path / "torch" / "hub" / "checkpoints" / "tiny-0123abcd.pth")
    assert torch.hub.get_dir() == str(tmp_path / "torch" / "hub")
    assert fetch("torchvision:tiny", URL) == path


@pytest.mark.parametrize("source", [HUB, URL])
def test_offline_says_how_to_supply_a_file(source, offline):
    with pytest.raises(StoreError) as caught:
        fetch("timm:tiny,pad_type=same", source)
    assert source.address in caught.value.message
    assert "--weights FILE" in caught.value.next
    assert "$HISTOKIT_WEIGHTS/timm.tiny.safetensors" in caught.value.next


def test_offline_names_the_folder_that_is_set(folder, offline):
    with pytest.raises(StoreError) as caught:
        fetch("timm:tiny", HUB)
    assert str(folder / "timm.tiny.safetensors") in caught.value.next


def test_unpublished_weights():
    with pytest.raises(StoreError, match="No pretrained weights of 'net' are published"):
        fetch("net", Source())


@pytest.mark.parametrize("status", [401, 403])
def test_a_licence_to_accept(monkeypatch, status):
    def refuse(*_arguments, **_options):
        response = SimpleNamespace(status_code=status, headers={}, request=None)
        raise GatedRepoError("Access is restricted.", response=response)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(StoreError) as caught:
        fetch("uni", Source(repository="MahmoodLab/uni"))
    assert "Accept the licence at https://huggingface.co/MahmoodLab/uni and set HF_TOKEN" in caught.value.next
    assert "--weights FILE" in caught.value.next


def test_a_download_takes_the_first_name_that_exists(monkeypatch, tmp_path):
    from huggingface_hub.errors import EntryNotFoundError

    def download(repository, filename, revision=None):
        assert (repository, revision) == ("timm/tiny.v1", "main")
        if filename == "model.safetensors":
            raise EntryNotFoundError("404")
        return str(touch(tmp_path / filename))

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert fetch("timm:tiny", Source(repository="timm/tiny.v1@main")) == tmp_path / "pytorch_model.bin"


def test_a_download_by_address(monkeypatch, tmp_path):
    def download(url, target, hash_prefix, progress):
        assert (url, hash_prefix, progress) == (URL.url, "0123abcd", False)
        save_file({"w": torch.zeros(1)}, target)

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    assert fetch("torchvision:tiny", URL) == tmp_path / "torch" / "hub" / "checkpoints" / "tiny-0123abcd.pth"

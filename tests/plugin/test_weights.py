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

from histokit.errors import DataError, StoreError, UsageError
from histokit.plugin.weights import (
    Source,
    fetch,
    local_file,
    locate,
    normalise_weights,
    offline,
    random_seed,
    seeded,
)
from histokit.plugin.weights_folder import file_stem, in_folder, strays

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
def no_network(monkeypatch):
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


@pytest.mark.parametrize("given", ["random:x", "random:-1", "random:1.5"])
def test_a_seed_is_a_whole_number(given):
    with pytest.raises(UsageError, match="no whole number"):
        normalise_weights(given)


@pytest.mark.parametrize("seed", [2**63, 2**80, "9" * 5000])
def test_a_seed_that_is_too_large_is_called_so(seed):
    with pytest.raises(UsageError, match=f"is larger than {2**63 - 1}, the largest there is") as caught:
        normalise_weights(f"random:{seed}")
    assert len(str(caught.value)) < 300
    assert normalise_weights(f"random:{'0' * 50}{2**63 - 1}") == f"random:{2**63 - 1}"


def test_links_to_nothing_are_not_suggested_in_their_own_place(tmp_path):
    circle, dead = tmp_path / "circle.pth", tmp_path / "dead.pth"
    circle.symlink_to(circle)
    dead.symlink_to(tmp_path / "gone.pth")
    with pytest.raises(DataError, match=r"circle\.pth is a symbolic link that leads in a circle"):
        normalise_weights(str(circle))
    with pytest.raises(
        UsageError, match=r"dead\.pth' is a symbolic link to '.*gone\.pth', which does not exist"
    ) as caught:
        normalise_weights(str(dead))
    assert "Did you mean" not in str(caught.value)


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


def test_a_file_is_taken_with_the_tag_that_is_asked_for_and_with_no_other(folder):
    assert in_folder("timm:net") is None
    tagged = touch(folder / "timm.net.in1k-tf.safetensors")
    assert in_folder("timm:net.in1k-tf,pad_type=same") == tagged
    assert in_folder("timm:net,pad_type=same") is None
    assert in_folder("timm:net", lambda: "tv_in1k") is None
    assert in_folder("timm:net.tv_in1k") is None
    assert in_folder("net") is None
    assert in_folder("timm:net", lambda: "in1k-tf") == tagged
    exact = touch(folder / "timm.net.safetensors")
    assert in_folder("timm:net", lambda: "in1k-tf") == exact


def test_the_default_tag_is_asked_for_only_where_files_have_tags(folder):
    touch(folder / "timm.net.safetensors")
    touch(folder / "timm.network.a1.safetensors")
    assert in_folder("timm:net", lambda: pytest.fail("asked")) == folder / "timm.net.safetensors"
    assert in_folder("timm:ne", lambda: pytest.fail("asked")) is None


def test_files_that_were_not_taken_are_named_with_what_to_type(folder, no_network):
    touch(folder / "timm.tiny.a1.safetensors")
    touch(folder / "timm.tiny.pth")
    touch(folder / "timm.tinier.a1.safetensors")
    touch(folder / "timm.tiny.txt")
    for name in ("timm:tiny,pad_type=same", "timm:tiny.v2,pad_type=same"):
        with pytest.raises(StoreError) as caught:
            locate(name, lambda: HUB, (), lambda: "v1", lambda: "--preprocess mean=0.1", lambda: ["a1", "v1"])
        said = "timm.tiny.a1.safetensors (tag 'a1'), timm.tiny.pth (no .safetensors file), not taken"
        assert f"In {folder} lie {said}" in caught.value.message
        assert "--backbone timm:tiny.a1,pad_type=same" in caught.value.next
        file = folder / "timm.tiny.a1.safetensors"
        assert f"--weights {file} --preprocess mean=0.1, with the values that it was trained with" in caught.value.next
    with pytest.raises(StoreError) as caught:
        locate("timm:tiny", lambda: HUB, (), lambda: "v1", lambda: "--preprocess mean=0.1", lambda: ["v1"])
    assert "--backbone" not in caught.value.next, "nobody would tell how images are prepared for an unknown tag"
    assert f"or take the file: --weights {file} --preprocess mean=0.1" in caught.value.next
    with pytest.raises(StoreError, match=r"published\. In .* lie timm\.tiny\.a1"):
        locate("timm:tiny", Source)
    assert [stray.file.name for stray in strays(["timm:tinier"])] == ["timm.tinier.a1.safetensors"]


def test_published_weights_are_taken_although_another_tag_lies_there(folder, tmp_path, no_network):
    touch(folder / "timm.tiny.a1.safetensors")
    path = touch(tmp_path / "torch" / "hub" / "checkpoints" / "tiny-0123abcd.pth")
    assert locate("timm:tiny", lambda: URL) == path


def test_offline_nothing_is_downloaded(monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_: pytest.fail("downloaded"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("asked"))
    with offline(), pytest.raises(StoreError, match="no copy is on this machine"):
        fetch("torchvision:tiny", URL)


def test_a_folder_that_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("HISTOKIT_WEIGHTS", str(tmp_path / "absent"))
    with pytest.raises(StoreError, match="not a folder"):
        in_folder("net")


def test_an_alias_is_looked_for_too(folder):
    path = touch(folder / "torchvision.squeezenet1_1.in1k.safetensors")
    names = ("torchvision:squeezenet1_1",)
    assert locate("squeezenet1_1", lambda: pytest.fail("asked"), names, lambda: "in1k") == path


def test_the_hub_cache_comes_next(tmp_path, no_network):
    repository = tmp_path / "hub" / "models--timm--tiny.v1"
    path = touch(repository / "snapshots" / "abc" / "pytorch_model.bin")
    touch(repository / "refs" / "main").write_text("abc")
    assert fetch("timm:tiny", HUB) == path


def test_the_torch_cache_comes_next(tmp_path, no_network):
    path = touch(tmp_path / "torch" / "hub" / "checkpoints" / "tiny-0123abcd.pth")
    assert torch.hub.get_dir() == str(tmp_path / "torch" / "hub")
    assert fetch("torchvision:tiny", URL) == path


@pytest.mark.parametrize("source", [HUB, URL])
def test_offline_says_how_to_supply_a_file(source, no_network):
    with pytest.raises(StoreError) as caught:
        fetch("timm:tiny,pad_type=same", source)
    assert source.address in caught.value.message
    assert "--weights FILE" in caught.value.next
    assert "among several networks --weights timm:tiny,pad_type=same=FILE" in caught.value.next
    assert "$HISTOKIT_WEIGHTS/timm.tiny.safetensors" in caught.value.next


def test_offline_names_the_folder_that_is_set(folder, no_network):
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


@pytest.mark.parametrize(
    ("name", "digest"),
    [("tiny-0123abcd.pth", "0123abcd"), ("IN1K-vit.h.14-300e.pth.tar", None), ("tiny-v2.pth", None), ("w.pth", None)],
)
def test_a_download_by_address(monkeypatch, tmp_path, name, digest):
    address = f"https://download.pytorch.org/models/{name}"

    def download(url, target, hash_prefix, progress):
        assert (url, hash_prefix, progress) == (address, digest, False)
        save_file({"w": torch.zeros(1)}, target)

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    assert fetch("torchvision:tiny", Source(url=address)) == tmp_path / "torch" / "hub" / "checkpoints" / name

"""Channels, planes, bits and scales of images that are more than RGB of 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from histokit.datasets.folder import Folder
from histokit.datasets.table import Table
from histokit.errors import DataError, UsageError
from histokit.plugin.guarded import Guarded
from histokit.plugin.images import read_image
from histokit.plugin.manager import registry
from histokit.plugin.options import announced_options
from histokit.plugin.remarks import ImageWarning, collected_remarks
from histokit.plugin.testing import check_dataset

DRAWN = np.random.default_rng(3)
PATTERN = "{plate}/{well}_s{site}_w{channel}.tif"
CHANNELS = "DAPI:1,Tubulin:2,Actin:4"


def deep(shape=(9, 11), top=65536) -> np.ndarray:
    return DRAWN.integers(0, top, shape, dtype=np.uint16)


@pytest.fixture
def plates(tmp_path):
    """Two images of two plates: three channels each, a fourth that nobody asks for, and one image without actin."""
    values = {}
    for plate, well, site in (("P1", "B02", 1), ("P2", "C03", 2)):
        (tmp_path / plate).mkdir()
        for channel in (1, 2, 3, 4):
            values[plate, channel] = deep()
            tifffile.imwrite(tmp_path / plate / f"{well}_s{site}_w{channel}.tif", values[plate, channel])
    tifffile.imwrite(tmp_path / "P2" / "D04_s1_w1.tif", deep())
    return tmp_path, values


def read(dataset) -> dict[str, np.ndarray]:
    guarded = Guarded(dataset)
    guarded.fit()
    return {sample.id: dataset.read(sample) for sample in dataset.samples()}


def test_files_are_the_channels_of_one_image(plates):
    root, values = plates
    dataset = Folder.from_options(root, {"pattern": PATTERN, "channels": CHANNELS})
    samples = list(dataset.samples())
    assert [sample.id for sample in samples] == ["P1/B02_s1_w*.tif", "P2/C03_s2_w*.tif"]
    assert samples[0].image == tuple(f"P1/B02_s1_w{channel}.tif" for channel in (1, 2, 4))
    assert dict(samples[1].metadata) == {"plate": "P2", "well": "C03", "site": "2"}
    assert dataset.channels == ("DAPI", "Tubulin", "Actin")
    wanted = np.dstack([values["P1", channel] for channel in (1, 2, 4)])
    assert dataset.read(samples[0]).tolist() == wanted.tolist()
    assert dataset.warnings == [
        "1 image lacks a channel and was left out, for example P2/D04_s1_w1.tif (no 2, 4)",
        "2 files of other channels were left out, for example 'P1/B02_s1_w3.tif'",
    ]
    check_dataset(Folder, root, pattern=PATTERN, channels=CHANNELS, group="plate")
    # In another order, it is another image.
    other = Folder.from_options(root, {"pattern": PATTERN, "channels": "Actin:4,DAPI:1,Tubulin:2"})
    assert other.read(next(other.samples())).tolist() == wanted[..., [2, 0, 1]].tolist()


def test_two_files_of_one_channel_are_named(plates):
    root, _ = plates
    tifffile.imwrite(root / "P1" / "B02_s7_w1.tif", deep())
    with pytest.raises(DataError, match=r"'P1/B02_s1_w1.tif' and 'P1/B02_s7_w1.tif' are both the channel 1"):
        list(Folder.from_options(root, {"pattern": "{plate}/{well}_s*_w{channel}.tif", "channels": CHANNELS}).samples())


def test_channels_of_another_size_or_in_colour_are_named(plates):
    root, _ = plates
    dataset = Folder.from_options(root, {"pattern": PATTERN, "channels": CHANNELS})
    sample = next(dataset.samples())
    tifffile.imwrite(root / sample.image[1], deep((9, 12)))
    with pytest.raises(DataError, match=r"w2.tif is of 12 × 9 \(uint16\), and .*w1.tif.* of 11 × 9"):
        dataset.read(sample)
    tifffile.imwrite(root / sample.image[1], deep((9, 11, 3)), photometric="rgb")
    with pytest.raises(DataError, match=r"w2\.tif holds 3 channels that differ, in place of one"):
        dataset.read(sample)


def test_no_file_of_the_channels(plates):
    root, _ = plates
    with pytest.raises(DataError, match=r"has all channels: .*files of other channels"):
        list(Folder.from_options(root, {"pattern": PATTERN, "channels": "DAPI:w1"}).samples())
    with pytest.raises(UsageError, match="gives a channel of the files twice"):
        Folder.from_options(root, {"pattern": PATTERN, "channels": "DAPI:1,Actin:1"})


def test_channels_within_one_file_by_name_and_number(tmp_path):
    values = deep((4, 9, 11))
    names = ["DAPI", "GFP", "Actin", "Mito"]
    tifffile.imwrite(tmp_path / "a.ome.tif", values, metadata={"axes": "CYX", "Channel": {"Name": names}})
    for given, wanted in (("Actin,DAPI", [2, 0]), ("A:4,B:GFP,C:1", [3, 1, 0])):
        dataset = Folder.from_options(tmp_path, {"pattern": "*.tif", "channels": given})
        (found,) = read(dataset).values()
        assert found.tolist() == np.moveaxis(values[wanted], 0, 2).tolist()
    dataset = Folder.from_options(tmp_path, {"pattern": "*.tif", "channels": "Actn,DAPI"})
    with pytest.raises(DataError, match=r"has no channel 'Actn': it has 4: DAPI, GFP, Actin, Mito.*\n?.*'Actin'"):
        read(dataset)
    with pytest.raises(DataError, match=r"has 4 channels, 11 × 9 pixels each, which are not one RGB"):
        read(Folder.from_options(tmp_path, {"pattern": "*.tif"}))


def test_planes_each_one_and_their_maximum(tmp_path):
    values = deep((2, 3, 9, 11))
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        values,
        metadata={
            "axes": "TZYX",
            "PhysicalSizeX": 0.25,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 250,
            "PhysicalSizeYUnit": "nm",
        },
    )
    grey = np.repeat(values[..., None], 3, axis=-1)
    options = {"pattern": "*.tif", "mpp": "metadata"}
    each = Folder.from_options(tmp_path, options | {"planes": "each"})
    found = read(each)
    assert list(found) == [f"a.ome.tif#t={t},z={z}" for t in range(2) for z in range(3)]
    assert found["a.ome.tif#t=1,z=2"].tolist() == grey[1, 2].tolist()
    assert {sample.mpp for sample in each.samples()} == {0.25}
    (one,) = read(Folder.from_options(tmp_path, options | {"planes": "t=0,z=1"})).values()
    assert one.tolist() == grey[0, 1].tolist()
    (most,) = read(Folder.from_options(tmp_path, options | {"planes": "max"})).values()
    assert most.tolist() == grey.max((0, 1)).tolist()
    with pytest.raises(DataError, match=r"has no plane 't=5,z=0': it has t=0 to 1, z=0 to 2"):
        read(Folder.from_options(tmp_path, options | {"planes": "t=5,z=0"}))
    check_dataset(Folder, tmp_path, pattern="*.tif", planes="each", mpp="metadata")


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_what_a_file_says_of_itself_counts_where_scales_are_given_too(tmp_path, photometric, orientation):
    values = deep((9, 11), 4096)
    values[0, :2] = 0, 4095
    extratags = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", values, photometric=photometric, extratags=extratags)
    (found,) = read(Folder.from_options(tmp_path, {"pattern": "*.tif", "scale": "minmax"})).values()
    shown = 4095 - values.astype(float) if photometric == "miniswhite" else values.astype(float)
    shown = shown if orientation == 1 else shown.T[:, ::-1]
    assert abs(found[..., 0] - shown * 65535 / 4095).max() <= 0.5 + 1e-6


def test_signed_and_floating_point_numbers_need_a_scale(tmp_path):
    values = DRAWN.normal(0, 300, (9, 11))
    for name, stored in (("a.tif", values.astype(np.int16)), ("b.tif", values.astype(np.float32))):
        root = tmp_path / name[0]
        root.mkdir()
        tifffile.imwrite(root / name, stored)
        with pytest.raises(DataError, match=r"which have no one meaning as RGB"):
            read(Folder.from_options(root, {"pattern": "*.tif"}))
        with pytest.raises(DataError, match=r"it does not say which is black or white"):
            read(Folder.from_options(root, {"pattern": "*.tif", "channels": "A:1"}))
        (found,) = read(Folder.from_options(root, {"pattern": "*.tif", "scale": "range:-300,300"})).values()
        wanted = (stored.astype(float).clip(-300, 300) + 300) / 600
        assert abs(found[..., 1] / 65535 - wanted).max() < 1e-5


def test_scales_over_image_crop_and_dataset(tmp_path):
    first, second = deep((9, 11), 1000) + 500, deep((9, 11), 30000)
    tifffile.imwrite(tmp_path / "a.tif", first)
    tifffile.imwrite(tmp_path / "b.tif", second)
    (tmp_path / "t.csv").write_text("image,x,y,w,h\na.tif,0,0,4,4\nb.tif,2,3,5,5\n")
    crops = [first[:4, :4], second[3:8, 2:7]]
    over = {"crop": crops, "image": [first, second], "dataset": [np.concatenate([first, second])] * 2}
    for name, among in over.items():
        options = {"table": "t.csv", "box": "x,y,w,h", "scale": "minmax", "scale_over": name}
        found = list(read(Table.from_options(tmp_path, options)).values())
        for pixels, crop, whole in zip(found, crops, among, strict=True):
            low, high = float(whole.min()), float(whole.max())
            assert abs(pixels[..., 2] - (crop - low) * 65535 / (high - low)).max() <= 0.5 + 1e-6
    options = {"table": "t.csv", "box": "x,y,w,h", "scale": "percentile:1,99", "scale_over": "image"}
    found = list(read(Table.from_options(tmp_path, options)).values())
    low, high = np.percentile(second, [1, 99])
    assert abs(found[1][..., 0] - ((crops[1] - low) / (high - low)).clip(0, 1) * 65535).max() <= 0.5 + 1e-6
    for name in over:
        check_dataset(Table, tmp_path, table="t.csv", box="x,y,w,h", scale="minmax", scale_over=name)


def test_an_image_of_no_numbers_has_no_part_in_limits_over_a_dataset(tmp_path):
    values = DRAWN.normal(0, 1, (2, 9, 11)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", values[0])
    values[1, 3, 4] = np.inf
    tifffile.imwrite(tmp_path / "b.tif", values[1])
    dataset = Folder.from_options(tmp_path, {"pattern": "*.tif", "scale": "minmax", "scale_over": "dataset"})
    Guarded(dataset).fit()
    whole, broken = dataset.samples()
    wanted = np.interp(values[0], [values[0].min(), values[0].max()], [0, 65535])
    assert abs(dataset.read(whole)[..., 1] - wanted).max() <= 0.5 + 1e-2
    with pytest.raises(DataError, match=r"b.tif has pixels that are no numbers"):
        dataset.read(broken)


def test_channels_have_limits_of_their_own_and_colours_have_not(tmp_path):
    colours = np.dstack([deep((9, 11), 100), deep((9, 11), 200) + 1000, deep((9, 11), 50)])
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb")
    (joint,) = read(Folder.from_options(tmp_path, {"pattern": "*.tif", "scale": "minmax"})).values()
    assert joint[..., 1].min() > 50_000
    assert joint[..., 0].max() < 6_000
    options = {"pattern": "*.tif", "scale": "minmax", "channels": "A:1,B:2,C:3"}
    (own,) = read(Folder.from_options(tmp_path, options)).values()
    assert own.min((0, 1)).tolist() == [0, 0, 0]
    assert own.max((0, 1)).tolist() == [65535] * 3


def test_tables_name_the_files_of_channels(plates):
    root, values = plates
    rows = "\n".join(f"P{k}/{w}_w4.tif,P{k}/{w}_w1.tif,{k}" for k, w in ((1, "B02_s1"), (2, "C03_s2"), (2, "D04_s1")))
    (root / "t.csv").write_text("actin,dapi,well\n" + rows)
    dataset = Table.from_options(root, {"table": "t.csv", "channels": "DAPI:dapi,Actin:actin"})
    samples = list(dataset.samples())
    assert [sample.image for sample in samples] == [
        ("P1/B02_s1_w1.tif", "P1/B02_s1_w4.tif"),
        ("P2/C03_s2_w1.tif", "P2/C03_s2_w4.tif"),
    ]
    assert dataset.read(samples[1]).tolist() == np.dstack([values["P2", 1], values["P2", 4]]).tolist()
    assert dict(samples[1].metadata) == {"well": 2}
    assert "1 row was left out because its image is missing, for example 'P2/D04_s1_w4.tif'" in dataset.warnings
    check_dataset(Table, root, table="t.csv", channels="DAPI:dapi,Actin:actin")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"scale": "minmx"}, "scale='minmx' is none of full, bits:12"),
        ({"scale": "bits:17"}, "is none of"),
        ({"scale": "range:5,5"}, "is none of"),
        ({"scale": "percentile:5,101"}, "is none of"),
        ({"scale": "percentile:a,b"}, "is none of"),
        ({"scale": "bits:12", "bits": "12"}, "both say how many bits"),
        ({"scale_over": "dataset"}, "needs a scale that is sought in the data"),
        ({"bits": "20"}, "cannot have 20 bits"),
    ],
)
def test_options_that_mean_nothing(tmp_path, options, told):
    with pytest.raises(UsageError, match=told):
        Folder.from_options(tmp_path, options)


def test_more_than_the_bits_that_were_said(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", deep((9, 11), 5000))
    for options in ({"bits": "12"}, {"scale": "bits:12"}, {"bits": "12", "channels": "A"}):
        with pytest.raises(DataError, match=r"more than the (12 bits|4095)"):
            read(Folder.from_options(tmp_path, {"pattern": "*.tif", **options}))


def test_8_bits_in_files_of_channels_stay_8_bits(tmp_path):
    values = DRAWN.integers(0, 256, (2, 9, 11), dtype=np.uint8)
    for channel in (0, 1):
        Image.fromarray(values[channel]).save(tmp_path / f"a_{channel}.png")
    (found,) = read(Folder.from_options(tmp_path, {"pattern": "{field}_{channel}.png", "channels": "A:0,B:1"})).values()
    assert found.dtype == np.uint8
    assert found.tolist() == np.moveaxis(values, 0, 2).tolist()


def test_pages_that_nobody_names_are_channels_where_channels_are_named(tmp_path):
    values = deep((3, 9, 11))
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    (found,) = read(Folder.from_options(tmp_path, {"pattern": "*.tif", "channels": "A:3,B:1"})).values()
    assert found.tolist() == np.moveaxis(values[[2, 0]], 0, 2).tolist()
    pages = read(Folder.from_options(tmp_path, {"pattern": "*.tif", "planes": "each"}))
    assert list(pages) == [f"a.tif#page={k}" for k in range(3)]
    assert pages["a.tif#page=1"][..., 0].tolist() == values[1].tolist()
    # They are not taken for red, green and blue.
    with pytest.raises(DataError, match=r"(?s)has 3 pages \(page=0 to 2\), not one image.*-o planes=each"):
        read(Folder.from_options(tmp_path, {"pattern": "*.tif", "scale": "minmax"}))


def test_dark_images_that_are_scaled_are_no_matter(tmp_path):
    Image.fromarray(deep((9, 11), 1000)).save(tmp_path / "a.png")
    with pytest.warns(ImageWarning, match="less than a quarter of its range"):
        read(Folder.from_options(tmp_path, {"pattern": "*.png"}))
    read(Folder.from_options(tmp_path, {"pattern": "*.png", "scale": "minmax"}))
    read(Folder.from_options(tmp_path, {"pattern": "*.png", "channels": "A:1", "scale": "range:0,1000"}))


@pytest.mark.parametrize("mode", ["P", "YCbCr", "CMYK"])
def test_colours_are_those_of_the_default_where_scales_are_given(tmp_path, mode):
    colours = DRAWN.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    Image.fromarray(colours).convert(mode).save(tmp_path / "a.tif")
    (plain,) = read(Folder.from_options(tmp_path, {"pattern": "*.tif"})).values()
    (found,) = read(Folder.from_options(tmp_path, {"pattern": "*.tif", "scale": "range:0,255"})).values()
    assert found.tolist() == (plain.astype(int) * 257).tolist()


@pytest.mark.parametrize(
    ("stored", "tags", "told"),
    [
        (np.zeros((9, 11), np.int16), {"photometric": "miniswhite"}, "0 is white of numbers with a sign"),
        (np.zeros((9, 11, 3), np.uint8), {"photometric": "cielab"}, "CIE Lab pixels"),
        (np.zeros((9, 11), np.complex64), {}, "complex numbers"),
        (np.zeros((9, 11), np.uint8), {"subfiletype": 1}, "only a reduced image"),
    ],
)
def test_numbers_that_mean_something_else_are_refused_with_a_scale_too(tmp_path, stored, tags, told):
    tifffile.imwrite(tmp_path / "a.tif", stored, **tags)
    with pytest.raises(DataError, match=told):
        read(Folder.from_options(tmp_path, {"pattern": "*.tif", "scale": "range:0,255"}))


def test_truncated_files_are_told_of_as_without_a_scale(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", deep())
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[:-40])
    with pytest.raises(DataError, match=r"a\.tif cannot be read \(the image file is truncated"):
        read(Folder.from_options(tmp_path, {"pattern": "*.tif", "scale": "minmax"}))


def test_one_bit_is_black_and_white_with_a_scale_too(tmp_path):
    values = DRAWN.integers(0, 2, (9, 16)).astype(bool)
    Image.fromarray(values).save(tmp_path / "a.tif")
    (found,) = read(Folder.from_options(tmp_path, {"pattern": "*.tif", "scale": "range:0,255"})).values()
    assert found[..., 0].tolist() == (values * 65535).tolist()


def test_pages_that_were_written_one_by_one_are_planes(tmp_path):
    values = deep((5, 9, 11))
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in values:
            file.write(page, photometric="minisblack")
    (most,) = read(Folder.from_options(tmp_path, {"pattern": "*.tif", "planes": "max"})).values()
    assert most[..., 0].tolist() == values.max(0).tolist()
    pages = read(Folder.from_options(tmp_path, {"pattern": "*.tif", "planes": "each"}))
    assert [pages[f"a.tif#page={k}"][..., 1].tolist() for k in range(5)] == values.tolist()
    (named,) = read(Folder.from_options(tmp_path, {"pattern": "*.tif", "channels": "a:2,b:5"})).values()
    assert named.tolist() == np.moveaxis(values[[1, 4]], 0, 2).tolist()
    with pytest.raises(DataError, match=r"(?s)has 5 pages \(page=0 to 4\).*-o planes=each.*-o channels="):
        read(Folder.from_options(tmp_path, {"pattern": "*.tif", "scale": "minmax"}))


def test_images_of_other_sizes_in_one_file(tmp_path):
    for first, second in (((9, 11), (20, 20)), ((20, 20), (9, 11))):
        with tifffile.TiffWriter(tmp_path / "a.tif") as file:
            file.write(deep(first), photometric="minisblack")
            file.write(deep(second), photometric="minisblack")
        dataset = Folder.from_options(tmp_path, {"pattern": "*.tif", "scale": "minmax"})
        if first < second:
            with pytest.raises(DataError, match="a larger image than its first"):
                read(dataset)
        else:
            with pytest.warns(ImageWarning, match="1 more image"):
                assert next(iter(read(dataset).values())).shape == (20, 20, 3)


def test_several_files_of_an_image_of_ome_are_its_channels(tmp_path):
    values = [deep(), deep()]
    uuids = [f"urn:uuid:0000000{k}-0000-0000-0000-000000000000" for k in range(2)]
    parts = "".join(
        f'<TiffData FirstC="{k}" IFD="0" PlaneCount="1"><UUID FileName="c{k}.ome.tif">{uuids[k]}</UUID></TiffData>'
        for k in range(2)
    )
    for k in range(2):
        ome = (
            f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuids[k]}">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" Type="uint16" DimensionOrder="XYCZT" SizeX="11" SizeY="9" '
            f'SizeC="2" SizeZ="1" SizeT="1"><Channel ID="Channel:0:0"/><Channel ID="Channel:0:1"/>{parts}</Pixels>'
            "</Image></OME>"
        )
        tifffile.imwrite(tmp_path / f"c{k}.ome.tif", values[k], description=ome, metadata=None)
    (found,) = read(Folder.from_options(tmp_path, {"pattern": "c{channel}.ome.tif", "channels": "A:1,B:0"})).values()
    assert found.tolist() == np.dstack(values[::-1]).tolist()
    with (
        pytest.warns(ImageWarning, match="is one of several files that hold one image"),
        pytest.raises(DataError, match=r"(?s)has no channel '2': it has 1, .*-o pattern=…{channel}"),
    ):
        read(Folder.from_options(tmp_path, {"pattern": "c0.ome.tif", "channels": "A:1,B:2"}))


def test_micrometres_that_no_file_states_are_told(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", deep())
    dataset = Folder.from_options(tmp_path, {"pattern": "*.tif", "mpp": "metadata"})
    assert [sample.mpp for sample in dataset.samples()] == [None]
    assert "1 image does not state micrometres per pixel, for example 'a.tif'" in dataset.warnings


@pytest.mark.parametrize("options", [{"scale": "range:0,255"}, {"scale": "minmax"}, {"channels": "x:1"}])
def test_one_bit_of_which_0_is_white(tmp_path, options):
    values = DRAWN.integers(0, 2, (9, 16)).astype(bool)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    (found,) = read(Folder.from_options(tmp_path, {"pattern": "*.tif", **options})).values()
    assert (found[..., 0] > 0).tolist() == (~values).tolist()


def test_inks_of_16_bits_are_inks(tmp_path):
    inks = np.zeros((4, 8, 4), np.uint16)
    inks[:, :4, 0] = 65535
    inks[:, 4:, 3] = 65535
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated", planarconfig="contig")
    for options in ({}, {"scale": "full"}):
        with pytest.warns(ImageWarning, match="of which the upper eight are read"):
            (found,) = read(Folder.from_options(tmp_path, {"pattern": "*.tif", **options})).values()
        assert found.dtype == np.uint8
        assert found[0, [0, 7]].tolist() == [[0, 255, 255], [0, 0, 0]]


@pytest.mark.parametrize("written", ["imagej", "pages"])
@pytest.mark.parametrize("options", [{"planes": "max"}, {"scale": "minmax"}, {"planes": "each"}, {"channels": "a:1"}])
def test_stacks_that_lost_planes_are_no_images(tmp_path, written, options):
    how = {"imagej": True, "metadata": {"axes": "ZYX"}} if written == "imagej" else {"metadata": None}
    tifffile.imwrite(
        tmp_path / "a.tif", deep((6, 40, 56)), **how, **({} if written == "imagej" else {"photometric": 1})
    )
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"a\.tif (cannot be read|has \d+ (planes|channels))"):
        read(Folder.from_options(tmp_path, {"pattern": "*.tif", **options}))


def test_images_of_one_file_that_name_their_channels_otherwise(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        for names in (["D", "A"], ["A", "D"]):
            file.write(deep((2, 9, 11)), metadata={"axes": "CYX", "Channel": {"Name": names}})
    with pytest.raises(DataError, match="holds images of different channels or bits"):
        read(Folder.from_options(tmp_path, {"pattern": "*.tif", "planes": "each", "channels": "D"}))


@pytest.mark.parametrize(("dtype", "low", "high"), [("i1", -100, 120), ("i2", -30000, 31000)])
def test_percentiles_lie_between_numbers_whatever_their_type(tmp_path, dtype, low, high):
    image = np.full((10, 10), low, dtype)
    image[5:] = high
    image[0, 0] = low + (high - low) // 8
    tifffile.imwrite(tmp_path / "a.tif", image)
    # In order, 49 are low, then comes the other one, then 50 are high: white is a fifth of the way between these.
    options = {"pattern": "*.tif", "scale": f"percentile:0,{100 * 49.2 / 99}"}
    (found,) = read(Folder.from_options(tmp_path, options)).values()
    other = float(image[0, 0])
    white = other + 0.2 * (high - other)
    assert found[[0, 1, 9], [0, 1, 9], 0].tolist() == [round(65535 * (other - low) / (white - low)), 0, 65535]


def many_pages(file, count: int, **how) -> np.ndarray:
    pages = deep((count, 8, 9))
    with tifffile.TiffWriter(file) as tiff:
        for each in pages:
            tiff.write(each, metadata=None, photometric="minisblack", contiguous=False, **how)
    return pages


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_late_page_that_was_never_written_is_no_image(tmp_path, compression):
    pages = many_pages(tmp_path / "a.tif", 300, compression=compression)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        tiff.pages[290].tags[273].overwrite(0)
    for planes in ("page=290", "max"):
        with pytest.raises(DataError, match=r"a\.tif cannot be read \(some of its pixels were never written"):
            read(Folder.from_options(tmp_path, {"pattern": "*.tif", "planes": planes}))
    (found,) = read(Folder.from_options(tmp_path, {"pattern": "*.tif", "planes": "page=289"})).values()
    np.testing.assert_array_equal(found[..., 0], pages[289])


@pytest.mark.parametrize("planes", ["page=280", "max", "each"])
def test_a_file_cut_behind_its_256th_page_is_damaged(tmp_path, planes):
    many_pages(tmp_path / "a.tif", 300)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[: len(data) * 98 // 100])
    with pytest.raises(DataError, match=r"a\.tif cannot be read \(the directory of the TIFF file is damaged"):
        read(Folder.from_options(tmp_path, {"pattern": "*.tif", "planes": planes}))


def test_planes_of_separate_colours_that_are_missing_are_not_black(tmp_path):
    colours = DRAWN.integers(0, 256, (3, 3, 9, 11), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "whole.ome.tif",
        colours,
        metadata={"axes": "ZSYX"},
        photometric="rgb",
        planarconfig="separate",
    )
    with tifffile.TiffFile(tmp_path / "whole.ome.tif") as tiff:
        described = tiff.pages.first.description
    (tmp_path / "whole.ome.tif").unlink()
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tiff:
        for number, each in enumerate(colours[:2]):
            tiff.write(
                each,
                description=None if number else described,
                metadata=None,
                photometric="rgb",
                planarconfig="separate",
                contiguous=False,
            )
    for planes in ("max", "z=2"):
        with pytest.raises(DataError, match="lacks one of its planes"):
            read(Folder.from_options(tmp_path, {"pattern": "*.tif", "planes": planes}))


def remarks_on(root, values, **options) -> tuple[np.ndarray, list[str]]:
    tifffile.imwrite(root / "a.tif", values)
    dataset = Folder.from_options(root, {"pattern": "*.tif", **options})
    with collected_remarks() as found:
        (pixels,) = read(dataset).values()
    return pixels, [f"{each.kind}: {each.detail}" for each in found]


def test_images_that_a_scale_makes_black_or_white_are_told(tmp_path):
    flat = np.full((4, 5), 700, np.uint16)
    for scale in ("minmax", "percentile:1,99"):
        pixels, told = remarks_on(tmp_path, flat, scale=scale)
        assert pixels.max() == 0
        assert told == ["flat: numbers from 700 to 700, where 700 is black and 700 white"]
    assert remarks_on(tmp_path, flat, scale="minmax", scale_over="dataset")[1] == told
    # One bright spot beyond the percentile is lost with the rest.
    spot = flat.copy()
    spot[0, 0] = 900
    assert remarks_on(tmp_path, spot, scale="percentile:0,90")[1] == [
        "flat: numbers from 700 to 900, where 700 is black and 700 white"
    ]
    assert remarks_on(tmp_path, spot, scale="minmax")[1] == []
    # Numbers of another range than the one that is given.
    fractions = np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5)
    assert remarks_on(tmp_path, fractions, scale="range:0,4095")[1] == [
        "flat: numbers from 0 to 1, where 0 is black and 4095 white"
    ]
    pixels, told = remarks_on(tmp_path, flat, scale="range:0,255")
    assert pixels.min() == 65535
    assert told == ["flat: numbers from 700 to 700, where 0 is black and 255 white"]
    assert remarks_on(tmp_path, fractions, scale="range:0,1")[1] == []
    channels = np.stack([deep((4, 5)), flat, deep((4, 5))])
    tifffile.imwrite(tmp_path / "b.tif", channels, metadata={"axes": "CYX"}, photometric="minisblack")
    dataset = Folder.from_options(tmp_path, {"pattern": "b.tif", "channels": "A:1,B:2", "scale": "minmax"})
    with collected_remarks() as found:
        read(dataset)
    assert [each.detail for each in found] == [
        "1 of 2 channels; numbers from 700 to 700, where 700 is black and 700 white"
    ]


def test_numbers_below_0_are_no_bits(tmp_path):
    values = np.arange(-3, 17, dtype=np.int16).reshape(4, 5)
    with pytest.raises(DataError, match=r"(?s)a\.tif holds -3, less than 0 of scale=bits.*-o scale=range"):
        remarks_on(tmp_path, values, scale="bits:12")
    assert remarks_on(tmp_path, np.maximum(values, 0), scale="bits:5")[0].max() == round(16 * 65535 / 31)


def test_pixels_that_are_no_numbers_are_told_where_a_range_is_given(tmp_path):
    values = np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5)
    values[1, 1], values[2, 2], values[3, 3] = np.nan, np.inf, -np.inf
    pixels, told = remarks_on(tmp_path, values, scale="range:0,1")
    assert told == ["no numbers: 15 % of them"]
    assert pixels[[1, 2, 3], [1, 2, 3], 0].tolist() == [0, 65535, 0]
    with pytest.raises(DataError, match="no numbers"):
        remarks_on(tmp_path, values, scale="minmax")


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_in_tiff_is_scaled_by_its_own_numbers(tmp_path: Path, bits: int) -> None:
    values = np.arange(64, dtype=np.uint8).reshape(8, 8) % (1 << bits)
    tifffile.imwrite(tmp_path / "a.tif", values, bitspersample=bits)
    white = (1 << bits) - 1
    dataset = Folder(tmp_path, pattern="*.tif", scale=f"range:0,{white}")
    (sample,) = dataset.samples()
    assert np.array_equal(dataset.read(sample)[..., 0], values.astype(np.uint16) * (65535 // white))
    assert dataset.pixel_key(sample) != Folder(tmp_path, pattern="*.tif").pixel_key(sample)


def test_12_bits_of_jpeg_in_rows_of_an_odd_number_are_whole(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:19, :23]
    values = (columns * 100 + rows * 50).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, compression="jpeg", bitspersample=12)
    found = read_image(tmp_path / "a.tif", deep=True)[..., 0].astype(float) * 4095 / 65535
    assert np.abs(found - values).max() < 40


@pytest.mark.parametrize(("options", "shape"), [({}, (4,)), ({"scale": "minmax"}, (4,)), ({"channels": "A:1"}, (2, 3))])
def test_planes_are_advised_of_the_plugins_that_have_them(tmp_path, options, shape):
    """Annotations, say, are drawn on whole files."""
    known = registry().datasets
    able = [name for name in known if "planes" in announced_options(registry().dataset(name).__init__)]
    tifffile.imwrite(tmp_path / "a.tif", deep((*shape, 9, 11)), photometric="minisblack", imagej=len(shape) > 1)
    with pytest.raises(DataError, match="planes=each") as caught:
        read(Folder.from_options(tmp_path, {"pattern": "*.tif", **options}))
    told = f"{caught.value.message} {caught.value.next}"
    assert " or ".join(sorted(able)) in told
    assert "save each alone" in told

"""The published comparison of strategies: its table and its ranks come out again."""

import numpy as np
import pytest

from histokit.compare.compare import compare_scores
from histokit.features import FeatureStore
from tests.compare.made_up import with_scores
from tests.evaluate.made_up import make_record


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


DATASETS = "CPGNBMLH"


#: Detailed scores of Mormont et al. 2018, in units of 1e-4: classifier, network, scores on eight datasets.
LAST = """
svm mobile 9749 8844 9935 9953 9427 7611 9043 6882
svm densenet 9794 8852 9938 9864 9257 7010 9133 7820
svm incresv2 9795 8698 9928 9982 9485 6566 9077 7351
svm resnet 9748 8893 9924 9882 9372 7633 9122 7791
svm incv3 9722 8670 9910 9964 8951 6371 9088 7175
svm vgg19 8853 8654 9860 9905 9241 7237 8885 7302
svm vgg16 8824 8808 9859 9893 9413 7438 9020 7028
et mobile 9608 8848 9854 9840 9487 5872 8648 7126
et densenet 9726 8889 9891 9870 9556 6381 8874 7410
et incresv2 9618 8699 9824 9953 9408 4789 8570 6676
et resnet 9634 8832 9758 9929 9507 6186 8851 7752
et incv3 9481 8795 9793 9929 9428 4583 8300 6305
et vgg19 8551 8430 9795 9861 9231 5379 8536 6989
et vgg16 8412 8791 9690 9888 9254 5791 8659 6833
fc mobile 9796 8661 9794 9935 9603 7941 8986 6823
fc densenet 9822 8668 8316 9852 9482 7291 9054 7664
fc incresv2 9756 8676 9729 9976 9597 6598 9043 7038
fc resnet 9726 8670 9771 9899 9583 7996 9133 7674
fc incv3 9714 8417 9796 9893 9377 6538 8998 7038
fc vgg19 8447 8553 9661 9899 9237 6636 8863 7410
fc vgg16 8298 8718 9573 9852 9421 6956 9088 7185
"""


SELECTED = """
et mobile 9617 8798 9799 9888 9581 6582 8694 7400
et densenet 9676 8861 9843 9994 9489 6939 8919 6667
et incresv2 9609 8646 9743 9944 9421 5330 8491 6500
et resnet 9503 8786 9799 9852 9488 6961 8863 7038
et incv3 9473 8410 9786 9959 9466 5531 8378 7703
et vgg19 8506 8492 9732 9947 9186 5850 8468 7019
et vgg16 8232 8774 9659 9953 9282 6349 8615 6745
"""


MERGED_NETWORKS = """
et EVERY 9897 8573 9948 9858 8851 8169 9155 7928
svm EVERY 9784 8984 9912 9864 9549 6896 8615 6063
"""


MERGED_LAYERS = """
svm densenet 9757 8090 9835 9870 9470 7042 8840 7761
svm incresv2 9808 8418 9920 9964 9559 7031 9155 7761
svm resnet 9789 8576 9927 9953 9234 7941 9268 7977
et densenet 9605 8892 9875 9911 9588 6993 8818 7370
et incresv2 9799 8906 9944 9920 9639 6495 8897 7370
et resnet 9424 8787 9847 9929 9619 7080 8885 7683
"""


TUNED_FEATURES = """
svm densenet 9883 8556 9944 9870 9777 8342 9119 8553
svm incresv2 9841 8377 9909 9941 9403 6847 9039 7390
svm resnet 9921 8705 9897 9941 9637 8147 9119 8456
et densenet 9828 8965 9950 9876 9827 7887 8982 8094
et incresv2 9769 8776 9850 9929 9477 5406 8446 7048
et resnet 9909 8806 9879 9870 9772 7763 8845 8289
"""


TUNED = """
network densenet 9892 8797 9977 9893 9835 8483 9405 8641
network incresv2 9851 8795 9971 9929 9873 8727 9165 8182
network resnet 9926 8778 9953 9970 9827 8288 8971 8416
"""


BASELINE = "et-fl images 9250 8268 9551 9805 9345 7568 8547 6960"


#: Layers that the supplement names among the inner ones, the last included; every other one scored less.
INNER = {
    "resnet": {"C": ["activation_49", 9748], "M": ["activation_28", 8131], "B": ["activation_40", 9664]}
    | {"G": ["activation_40", 9949], "H": ["activation_40", 8113], "L": ["activation_46", 9291]},
    "densenet": {"G": ["conv4_block48_concat", 9962], "B": ["conv4_block48_concat", 9699], "P": ["pool4_pool", 8984]}
    | {"M": ["conv4_block48_concat", 8012], "L": ["pool4_pool", 9268], "H": ["bn", 7967]},
    "incresv2": {"C": ["block8_3", 9873], "P": ["block17_20", 8948], "G": ["mixed_7a", 9962], "N": ["conv_7b", 9982]}
    | {"B": ["block17_10", 9720], "M": ["block17_10", 8137], "L": ["block17_10", 9234], "H": ["block17_5", 7713]},
}


#: Table 2 of the paper; 0 where the published details do not hold it: selected features with SVM (their block is
#: misprinted for one dataset and left out here), and layers of two networks that the supplement's text does not name.
TABLE_2 = {
    "ET-FL": [9250, 8268, 9551, 9805, 9345, 7568, 8547, 6960],
    "last layer": [9822, 8893, 9938, 9982, 9603, 7996, 9133, 7820],
    "feature selection": [9676, 8861, 9843, 9994, 0, 0, 0, 7703],
    "merged networks": [9897, 8984, 9948, 9864, 9549, 8169, 9155, 7928],
    "merged layers": [9808, 8906, 9944, 9964, 9639, 7941, 9268, 7977],
    "inner layer resnet": [9748, 0, 9949, 0, 9664, 8131, 9291, 8113],
    "inner layer densenet": [0, 8984, 9962, 0, 9699, 8012, 9268, 7967],
    "inner layer incresv2": [9873, 8948, 9962, 9982, 9720, 8137, 9234, 7713],
    "fine-tuning": [9926, 8797, 9977, 9970, 9873, 8727, 9405, 8641],
}


EVERY = "mobile/last+densenet/last+incresv2/last+resnet/last+incv3/last+vgg19/last+vgg16"


def block(text, layer="/last", **changes):
    for line in text.strip().splitlines():
        classifier, network, *values = line.split()
        for dataset, value in zip(DATASETS, values, strict=True):
            yield (
                make_record(dataset, classifier, f"{network.replace('EVERY', EVERY)}{layer}", **changes),
                int(value) / 1e4,
            )


def published(tuned_features=True):
    yield from block(BASELINE, layer="")
    yield from block(LAST)
    yield from block(SELECTED, rfe=True)
    yield from block(MERGED_NETWORKS)
    yield from block(MERGED_LAYERS, layer="/all")
    yield from block(TUNED, layer="", kind="finetune")
    if tuned_features:
        for record, score in block(TUNED_FEATURES):
            yield make_record(record.dataset, record.classifier, f"run:{record.address}"), score
    for network, found in INNER.items():
        for dataset, (layer, value) in found.items():
            yield make_record(dataset, "svm", f"{network}/{layer}", choose="test"), value / 1e4


def best_scores(found):
    names = {method["method"]: method["cells"] for method in found.methods}
    return {
        name: [round(1e4 * cells[d]["score"]) if d in cells else 0 for d in DATASETS] for name, cells in names.items()
    }


def test_the_best_of_each_strategy_is_table_2_of_paper_003(empty):
    scored = with_scores(empty, list(published(tuned_features=False)))
    found = compare_scores(scored, best_of="strategy")
    shown = best_scores(found)
    assert set(shown) == set(TABLE_2)
    for strategy, expected in TABLE_2.items():
        held = [value for value, wanted in zip(shown[strategy], expected, strict=True) if wanted]
        assert held == [wanted for wanted in expected if wanted], strategy
    cells = {method["method"]: method["cells"] for method in found.methods}
    assert cells["last layer"]["C"]["chosen"] == "densenet/last fc"
    # Green and orange in the paper: on C fine-tuning, then merged networks; on N selected features, then two of .9982.
    assert (cells["fine-tuning"]["C"]["mark"], cells["merged networks"]["C"]["mark"]) == ("best", "second")
    assert cells["feature selection"]["N"]["mark"] == "best"
    assert [s for s, c in cells.items() if "N" in c and c["N"]["mark"] == "second"] == [
        s for s in cells if s in ("last layer", "inner layer incresv2")
    ]
    assert found.best_of == ["strategy"]
    assert any("optimistic" in note for note in found.notes)


def test_features_of_fine_tuned_networks_beat_what_table_2_prints(empty):
    # The printed row takes predictions of the networks alone: on P, ET on the features of DenseNet scores .8965.
    found = compare_scores(with_scores(empty, list(published())), best_of="strategy")
    expected = list(TABLE_2["fine-tuning"])
    expected[DATASETS.index("P")] = 8965
    assert best_scores(found)["fine-tuning"] == expected


def test_ranks_of_the_last_layers_are_those_of_the_text(empty):
    # Section 5.2: the best performance is obtained by ResNet with SVM; of 22 methods the best may have the rank 22.
    entries = [*block(BASELINE, layer=""), *block(LAST)]
    found = compare_scores(with_scores(empty, entries))
    assert found.methods[0]["method"] == "resnet/last svm"
    assert len(found.ranking["average_ranks"]) == 22
    values = np.array([[score for record, score in entries if record.dataset == d] for d in DATASETS])
    by_hand = np.mean([[(row < v).sum() + ((row == v).sum() + 1) / 2 for v in row] for row in values], axis=0)
    assert found.methods[0]["average_rank"] == pytest.approx(by_hand.max())
    assert sum(found.ranking["average_ranks"].values()) == pytest.approx(22 * 23 / 2)
    assert found.ranking["tests"]["friedman"]["p"] < 0.001

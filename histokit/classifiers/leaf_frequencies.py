"""ET-FL: random subwindows, extremely randomised trees, leaf frequencies, linear support vector machine.

Marée, Geurts and Wehenkel 2016, "Towards generic image classification using tree-based learning: an extensive
empirical study", Pattern Recognition Letters; the baseline of Mormont et al. 2018.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.svm import LinearSVC

from histokit.classifiers.windows import COLOURS, SIDE, cut_windows, window_boxes
from histokit.errors import DataError, UsageError
from histokit.features.images import Images

#: Windows that go through the trees at once.
_CHUNK = 20_000


class LeafFrequencySVM(ClassifierMixin, BaseEstimator):
    """A linear support vector machine on the frequencies with which an image's windows reach the leaves of trees.

    Trees are grown on random windows of the training images, each with the label of its image. The vector of an
    image holds, for each leaf of each tree, the fraction of the image's windows that end there.

    Parameters
    ----------
    trees, min_leaf, k : int
        Number of trees; windows that a leaf holds at least; numbers of a window tried at each split.
    C : float
        Of the support vector machine.
    windows : int
        Of all training images together, about: each gets as many as any other, at least one. They take 3 kB of
        memory each.
    w_min, w_max : float
        Smallest and largest side of a window, as a fraction of the image's smaller side.
    colour : str
        ``trgb`` or ``hsv``.
    frequencies : str
        ``scaled``: divided by the largest of each leaf over the training images, as in the authors' public code;
        or ``raw``.
    class_weight : str, optional
        ``balanced``.
    random_state : int
    """

    def __init__(
        self,
        *,
        trees: int = 20,
        min_leaf: int = 1000,
        k: int = 384,
        C: float = 0.01,
        windows: int = 1_000_000,
        w_min: float = 0.25,
        w_max: float = 0.5,
        colour: str = "hsv",
        frequencies: str = "scaled",
        class_weight: str | None = None,
        random_state: int = 0,
    ):
        self.trees, self.min_leaf, self.k, self.C, self.windows = trees, min_leaf, k, C, windows
        self.w_min, self.w_max, self.colour, self.frequencies = w_min, w_max, colour, frequencies
        self.class_weight, self.random_state = class_weight, random_state

    def fit(self, X: Images, y: NDArray[Any]) -> LeafFrequencySVM:
        """Grow the trees on windows of images, and fit the machine on their leaf frequencies.

        Parameters
        ----------
        X : Images
            n images.
        y : (n,) array

        Raises
        ------
        UsageError
            If there are too few windows for a tree to split.
        DataError
            If the colour space does not fit the channels.
        """
        self.windows_per_image_ = ceil(self.windows / len(X))
        self._check(X)
        windows = self._draw(X)
        # All cores, whatever their number: it changes no result.
        self.trees_ = ExtraTreesClassifier(
            n_estimators=self.trees,
            min_samples_leaf=self.min_leaf,
            max_features=min(self.k, windows.shape[1]),
            class_weight=self.class_weight,
            random_state=self.random_state,
            n_jobs=-1,
        ).fit(windows, np.repeat(y, self.windows_per_image_))
        step = self._images_at_once * self.windows_per_image_
        parts = [self._count(windows[start : start + step]) for start in range(0, len(windows), step)]
        found = sparse.vstack(parts, format="csr")
        largest = found.max(axis=0).toarray().ravel()
        self.scale_ = np.where((largest > 0) & (self.frequencies == "scaled"), largest, 1.0)
        self.svm_ = LinearSVC(C=self.C, class_weight=self.class_weight, random_state=self.random_state, dual="auto")
        self.svm_.fit(found @ sparse.diags(1 / self.scale_), y)
        return self

    def _check(self, X: Images) -> None:
        if self.colour == "hsv" and len(X.channels) != 3:
            raise DataError(
                f"The images have the channels {', '.join(X.channels)}; hue and saturation need three.",
                next="Use --grid colour=trgb.",
            )
        drawn = len(X) * self.windows_per_image_
        if drawn < 2 * self.min_leaf:
            raise UsageError(
                f"No tree can split {drawn} windows: each leaf is to hold {self.min_leaf} or more.",
                next=f"Use more windows, or smaller leaves such as --grid min_leaf={max(1, drawn // 1000)}.",
            )

    @property
    def _images_at_once(self) -> int:
        return max(1, _CHUNK // self.windows_per_image_)

    @property
    def classes_(self) -> NDArray[Any]:
        """The classes, in the order of the decision values."""
        return np.asarray(self.svm_.classes_)

    @property
    def n_iter_(self) -> int:
        """Iterations of the support vector machine."""
        return int(self.svm_.n_iter_)

    @property
    def max_iter(self) -> int:
        """Its last iteration."""
        return int(self.svm_.max_iter)

    @property
    def facts(self) -> dict[str, int]:
        """What a run keeps of the fit: the number of windows of each image, and of leaves of all trees."""
        leaves = sum(tree.get_n_leaves() for tree in self.trees_.estimators_)
        return {"windows_per_image": self.windows_per_image_, "leaves": int(leaves)}

    def leaf_frequencies(self, X: Images) -> sparse.csr_matrix:
        """Return the fraction of each image's windows that ends in each leaf.

        Parameters
        ----------
        X : Images
            n images.

        Returns
        -------
        (n, nodes) sparse float64 matrix
            A column for each node of each tree in turn, zero where it is no leaf; those of a tree add up to 1.
        """
        chunks = (X[start : start + self._images_at_once] for start in range(0, len(X), self._images_at_once))
        return sparse.vstack([self._count(self._draw(images)) for images in chunks], format="csr")

    def decision_function(self, X: Images) -> NDArray[np.float64]:
        """Return the decision values of n images: (n,) for two classes, else (n, classes)."""
        return np.asarray(self.svm_.decision_function(self.leaf_frequencies(X) @ sparse.diags(1 / self.scale_)))

    def _draw(self, X: Images) -> NDArray[np.float32]:
        """Return the windows of all images as rows of one matrix."""
        count, sizes = self.windows_per_image_, (self.w_min, self.w_max)
        # Column after column in memory, as trees read it: several times as fast as row after row.
        columns = _matrix(SIDE * SIDE * len(X.channels), count * len(X))
        for number, (pixels, content) in enumerate(zip(X, X.contents, strict=True)):
            height, width, _ = pixels.shape
            boxes = window_boxes(height, width, count, sizes, self.random_state, content)
            drawn = COLOURS[self.colour](cut_windows(pixels, boxes))
            columns[:, number * count : (number + 1) * count] = drawn.reshape(count, -1).T
        return columns.T

    def _count(self, windows: NDArray[np.float32]) -> sparse.csr_matrix:
        """Return the leaf frequencies of images of which the windows are given, one image after the other."""
        images = len(windows) // self.windows_per_image_
        nodes = np.cumsum([0, *(tree.tree_.node_count for tree in self.trees_.estimators_)])
        columns = self.trees_.apply(windows) + nodes[:-1]
        rows = np.repeat(np.arange(images), columns.size // images)
        share = np.full(columns.size, 1 / self.windows_per_image_)
        return sparse.csr_matrix((share, (rows, columns.ravel())), shape=(images, int(nodes[-1])))


def _matrix(numbers: int, windows: int) -> NDArray[np.float32]:
    try:
        return np.empty((numbers, windows), np.float32)
    except (MemoryError, ValueError) as error:
        gigabytes = 4 * numbers * windows / 1e9
        raise UsageError(
            f"{windows:,} windows take {gigabytes:,.0f} GB, which this machine has not.",
            next="Use fewer, such as --grid windows=1000000.",
        ) from error

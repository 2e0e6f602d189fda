"""What the principal components of calm rows can not rebuild (Jackson, Mudholkar: Technometrics 21, 1979)."""

from __future__ import annotations

import numpy as np

from ml.detectors.base import Floats
from ml.detectors.rows import RowDetector

#: Components are taken until they explain this share of the calm variance.
EXPLAINED = 0.7
#: Training rows are cut here, in standard deviations: a few odd ones must not turn the components their way.
TRAINED_CLIP = 5.0


class ReconstructionDetector(RowDetector):
    """Parts are the residuals of the projection on the leading components."""

    def learn(self, deviations: Floats) -> None:
        calm = np.clip(deviations, -TRAINED_CLIP, TRAINED_CLIP)
        variances, directions = np.linalg.eigh(calm.T @ calm / len(calm))
        shares = np.cumsum(variances[::-1]) / max(float(variances.sum()), np.finfo(float).tiny)
        count = min(int(np.searchsorted(shares, EXPLAINED)) + 1, len(variances))
        self.learned = {"directions": directions[:, ::-1][:, :count]}

    def parts(self, deviations: Floats) -> Floats:
        directions: Floats = self.learned["directions"]
        return deviations - deviations @ directions @ directions.T

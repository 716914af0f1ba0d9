"""Stored models as earlier versions wrote them."""

import io
from zipfile import ZipFile


def as_before(data):
    """Return a stored model as earlier versions wrote it: their classes were in another room."""
    found = io.BytesIO()
    with ZipFile(io.BytesIO(data)) as now, ZipFile(found, "w") as then:
        for name in now.namelist():
            then.writestr(name, now.read(name).replace(b"histokit.classifiers.", b"histokit.protocol."))
    return found.getvalue()

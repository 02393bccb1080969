"""A file that was only laid out holds zeros, never what was in memory before."""

from __future__ import annotations

import h5py
import numpy as np

from diffcam_core.session import skeleton


def test_tables_without_a_fill_value_are_zero(tmp_path) -> None:
    with h5py.File(tmp_path / "file.h5", "w") as file:
        for index in range(200):
            # Memory that HDF5 reuses must not show through.
            np.full(4096, 255, np.uint8).tobytes()
            table = skeleton._table(file, f"t{index}", (3 + index % 50,), "uint8")
            assert not table[...].any()
            creation = table.id.get_create_plist()
            assert creation.get_fill_time() == h5py.h5d.FILL_TIME_ALLOC

# SPDX-License-Identifier: MIT
"""What bench/run is made of: the peers, the measurements, the report."""

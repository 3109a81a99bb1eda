"""Private attributes that PS3.15 Table E.3.10-1 lists as safe and that hold numbers only."""

SAFE_PRIVATE: dict[tuple[str, int, int], str] = {
    ("SIEMENS MR HEADER", 0x0019, 0x0C): "IS",  # b-value
    ("SIEMENS MR HEADER", 0x0019, 0x0E): "FD",  # gradient direction
    ("SIEMENS MR HEADER", 0x0019, 0x27): "FD",  # b-matrix
    ("GEMS_PARM_01", 0x0043, 0x39): "IS",  # the first value is the b-value
    ("GEMS_PARM_01", 0x0043, 0x6F): "DS",  # scanner table entry, gradient coil
    ("GEMS_ACQU_01", 0x0019, 0x23): "DS",  # table speed
    ("GEMS_ACQU_01", 0x0019, 0x24): "DS",  # mid scan time
    ("GEMS_ACQU_01", 0x0019, 0x27): "DS",  # rotation speed
    ("GEMS_HELIOS_01", 0x0045, 0x01): "SS",  # macro rows of the detector
    ("GEMS_HELIOS_01", 0x0045, 0x02): "FL",  # macro width
    ("GEMS_SERS_01", 0x0025, 0x07): "SL",  # images in series
    ("PHILIPS IMAGING DD 001", 0x2001, 0x03): "FL",  # diffusion b-factor
    ("PHILIPS PET PRIVATE GROUP", 0x7053, 0x00): "DS",  # SUV factor
    ("PHILIPS PET PRIVATE GROUP", 0x7053, 0x09): "DS",  # activity concentration factor
    ("ELSCINT1", 0x00E1, 0x21): "DS",  # DLP
    ("ELSCINT1", 0x00E1, 0x50): "DS",  # acquisition duration
    ("ELSCINT1", 0x01F1, 0x07): "DS",  # table velocity
    ("ELSCINT1", 0x01F1, 0x26): "DS",  # pitch
    ("ELSCINT1", 0x01F1, 0x27): "DS",  # rotation time
}
"""(private creator in upper case, group, lower byte of the element) -> value representation."""

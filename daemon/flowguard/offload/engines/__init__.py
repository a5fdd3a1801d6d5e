"""Optional eyes into the packet engine of a system on chip."""

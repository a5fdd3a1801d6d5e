"""What differs between OpenWrt and systemd distributions."""

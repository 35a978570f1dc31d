"""Object storage and shared file systems."""

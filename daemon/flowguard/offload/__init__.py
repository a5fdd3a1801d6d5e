"""The only code that changes the kernel."""

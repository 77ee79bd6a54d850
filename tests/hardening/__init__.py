"""Bytes, calls and moments that nobody plans for; docs/security.md says what each program here has shown."""

"""Coverage-guided fuzzing: `python -m tests.hardening.fuzz` runs its targets, which docs/security.md lists.

Four targets are Python under atheris (targets.py), of which three also run the C core, built by clang with
AddressSanitizer, UndefinedBehaviorSanitizer and coverage. Two are C under libFuzzer (plan.c, steps.c), built likewise.
"""
